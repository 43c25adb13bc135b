"""What is in a photo: a head, its predictions, and what is known of both."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from petrieve.api.opened import Opened, compute_of
from petrieve.api.photos import Photo, Place, path, several
from petrieve.api.results import Audit, Comparison, Page, Predictions
from petrieve.classifier import head
from petrieve.extractor.trunks.choice import Compute
from petrieve.extractor.trunks.kinds import kind
from petrieve.gallery import sheet as sheets
from petrieve.gallery import spreadsheet, submission, words
from petrieve.store.cache import Cache
from petrieve.store.errors import PetrieveError, warn
from petrieve.store.trunks import trunks_of

if TYPE_CHECKING:
    from petrieve.api.fitted import Report


class Heads(Opened):
    """A store's head and what it predicts."""

    def fit_head(self, *, method: str | None = None, l2: float | None = None, balanced: bool = False) -> "Report":
        """The report of a head that is fitted on the labelled photos and kept: how well it does on others.

        `method` is `logistic`, or `linear`, read from disk, by default that where photos are very many. `l2` is its
        strength instead of the best of a grid; `balanced` gives every class the same weight.

        Raises:
            PetrieveError: there are too few labelled photos, or a setting cannot be used.
        """
        from petrieve.api.fitted import Report
        from petrieve.classifier.fitting import fit

        cache = self.cache()
        fitted, report = fit.fit(cache, method=method, l2=l2, balanced=balanced)
        head.save(fitted, cache)
        return Report(**vars(report))

    def predict(
        self,
        sources: "Photo | Iterable[Photo]",
        *,
        weights: str | None = None,
        device: str = "auto",
        precision: str = "auto",
        views: int = 0,
        max_error: str | float | None = None,
        csv: Place | None = None,
        kaggle: Place | None = None,
    ) -> Predictions:
        """What is in photos, and how sure that is: of files, folders, bytes, or pictures that Pillow holds.

        Probabilities are averaged over `views` augmented views too. `max_error` is the share of predictions that may be
        wrong: those that are less sure are marked `unsure`. All are also written to `csv`, and
        as Kaggle's submission to `kaggle`.

        Raises:
            PetrieveError: there is no head, a source or a setting cannot be used, or a file cannot be written.
        """
        from petrieve.api import predicting
        from petrieve.classifier import predict
        from petrieve.extractor import query
        from petrieve.extractor.find import photos_of

        cache = self.cache()
        fitted = head.load(cache)
        if max_error is not None:
            predict.share(max_error)  # a slip is told before the photos are embedded
        parts = predicting.parts_of(several(sources))
        numbers = submission.ids(list(map(words.name, photos_of(parts))), fitted.classes) if kaggle else {}
        compute = compute_of(weights, device, precision)
        results = query.of_parts(parts, cache, compute, views=views, trunk=partial(self._warm, cache, compute))
        found = Predictions(tuple(predicting.predicted(cache, fitted, results, max_error)))
        if csv:
            spreadsheet.predictions(path(csv), found.document())
        if kaggle:
            labels, clip = cache.counts()["labels"], fitted.report.clip
            submission.write_submission(path(kaggle), found.document(), numbers, labels=labels, clip=clip)
        return found

    def audit(self, *, csv: Place | None = None, sheet: Place | None = None) -> Audit:
        """The labelled photos, the worst first: wrong labels, near-copies that contradict them, leaks, outliers.

        All are also written to `csv`, and the worst drawn into the JPEG `sheet`.

        Raises:
            PetrieveError: fewer than two classes have photos that are not near-copies, or a file cannot be written.
        """
        from petrieve.classifier import labelled
        from petrieve.classifier.auditing import audit
        from petrieve.extractor.picture import pictures

        cache = self.cache()
        photos = labelled.read(cache, bounded=True)
        audited = audit.audit(photos, name=words.name)
        found = Audit(
            rows=tuple(audited.findings),
            of=photos.of,
            found=audit.counts(audited.findings),
            expected_wrong=audited.expected_wrong,
            picture=pictures(cache, (one.photo for one in audited.findings if one.kinds)),
        )
        if csv:
            spreadsheet.findings(path(csv), found.document()["ranked"])
        if sheet and (worst := found.worst()):
            assert found.picture
            sheets.findings_sheet(path(sheet), [asdict(one) for one in worst], picture=found.picture)
        elif sheet:
            warn(f"nothing was found that {sheet} could show: it is not written")
        return found

    def report(self, out: Place = "report.html") -> Page:
        """The HTML page that was written about the head and the labels, with its photos inside.

        Raises:
            PetrieveError: there is no head, or the page cannot be written.
        """
        from petrieve.classifier import labelled
        from petrieve.classifier.auditing import audit
        from petrieve.classifier.auditing.outcomes import outcomes
        from petrieve.extractor.picture import pictures
        from petrieve.gallery.report import page

        cache = self.cache()
        fitted = head.load(cache)
        photos = labelled.read(cache, bounded=True)
        mistakes, curves = outcomes(photos, fitted)
        suspects = [asdict(one) for one in audit.audit(photos, name=words.name).findings if one.kinds]
        about = {"weights": cache.weights, "fingerprint": cache.fingerprint, "trunk": kind(cache.made.kind).title}
        size = page.write(
            path(out),
            {**asdict(fitted.report), "roc": [asdict(one) for one in curves]},
            store={"photos": len(cache), "looked_at": len(photos), "of": photos.of, **about},
            suspects=suspects,
            mistakes=[asdict(one) for one in mistakes],
            picture=pictures(cache, [*(one["photo"] for one in suspects), *(one.photo for one in mistakes)]),
        )
        return Page(str(out), size, len(photos), photos.of, len(mistakes), len(suspects))

    def compare_trunks(
        self, trunks: str | Sequence[str] | None = None, *, device: str = "auto", precision: str = "auto"
    ) -> Comparison:
        """The store's trunks side by side on its own labels: how often each is right, and what it costs.

        Raises:
            PetrieveError: there is one trunk alone, or none of such a name.
        """
        from petrieve.classifier.figures import agreement

        trunks = [trunks] if isinstance(trunks, str) else trunks
        found: dict[str, dict[str, Any]] = {}
        said: dict[str, dict[str, bool]] = {}
        for name in trunks_of(self.path, trunks):
            cache = Cache.open(self.path, name)
            found[name], said[name] = _measured(cache, compute_of(None, device, precision))
        if len(found) < 2:
            raise PetrieveError(
                f"the store {self.path} has one trunk", "run `petrieve embed FOLDER --trunk densenet201` first"
            )
        shared, alone = agreement.alone(said)
        for name, count in alone.items():
            found[name]["right_alone"] = count
        return Comparison(shared, list(found.values()))


def _measured(cache: Cache, compute: Compute) -> tuple[dict[str, Any], dict[str, bool]]:
    """A trunk's figures, and of each labelled photo whether a head told it right."""
    from petrieve.classifier import labelled
    from petrieve.classifier.auditing.outcomes import right
    from petrieve.classifier.fitting import fit
    from petrieve.extractor.checks import speed
    from petrieve.index import build
    from petrieve.index.evaluate import evaluate

    photos = labelled.read(cache, bounded=True)
    fitted, report = fit.fit(cache, photos=photos)
    measured = evaluate(build.build(cache))
    figures = {
        "trunk": cache.made.name,
        "weights": cache.weights,
        "dimension": cache.dimension,
        "photos": report.photos,
        "looked_at": len(photos),
        "of": photos.of,
        "accuracy": report.accuracy,
        "accuracy_interval": list(report.accuracy_interval),
        "precision_at_5": asdict(measured.precision_at_5),
        "seconds_a_photo": round(speed.seconds_a_photo(cache, compute), 4),
        "bytes_a_photo": round(speed.bytes_a_photo(cache)),
    }
    return figures, right(photos, fitted)
