"""What a store holds: embedded, listed, held against itself."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from petrieve.api.opened import Opened, compute_of
from petrieve.api.photos import Place, home, places
from petrieve.api.results import Info
from petrieve.classifier import head
from petrieve.gallery import progress, terminal, words
from petrieve.gallery.advice import to_imagenet
from petrieve.index import build, plane
from petrieve.store.cache import Cache
from petrieve.store.columns import alike
from petrieve.store.errors import PetrieveError
from petrieve.store.folder import Store
from petrieve.store.key import where
from petrieve.store.trunks import trunks_of

if TYPE_CHECKING:
    from petrieve.api.checked import Diagnosis, Verification
    from petrieve.api.embedded import Summary


def _nothing(_: "Summary") -> None:
    """Do nothing with a summary."""


def _never() -> bool:
    return False


class Embedding(Opened):
    """What makes a store, and what it holds."""

    def embed(
        self,
        sources: Place | Iterable[Place],
        *,
        labels: Place | None = None,
        label_level: int | None = None,
        photo_column: str | None = None,
        label_column: str | None = None,
        weights: str | None = None,
        device: str = "auto",
        precision: str = "auto",
        on: str = "local",
        workers: int | None = None,
        views: int = 0,
        prune: bool = False,
        forget: int | None = None,
        retry: bool = False,
        keep_damaged: bool = False,
        drop_trunk: str | None = None,
        quiet: bool = False,
        on_progress: Callable[[int, int, int], None] | None = None,
        stop: Callable[[], bool] = _never,
        then: "Callable[[Summary], None]" = _nothing,
    ) -> "Summary":
        """The summary of a run that embeds photos that are new or have changed; it makes the store where there is none.

        Photos that the store knows are not opened again. The arguments mean what the command's options mean. The
        progress goes to stderr unless the run is `quiet`, or to `on_progress`: photos done, of how many, bytes read.
        The run ends early, with what is ready, once `stop` says so. Where photos are many, their index is brought up
        to date at the end: `then` gets the summary before that.

        Raises:
            PetrieveError: a source, the labels, the weights, the device or the store cannot be used; or no photo be
                read.
        """
        from petrieve.api.embedded import Summary
        from petrieve.extractor.embed import embed
        from petrieve.index.codes import update

        if labels is None and (photo_column or label_column):
            raise PetrieveError("`photo_column=…` and `label_column=…` are columns of a CSV", "name it with `labels=…`")
        if forget is not None and not prune:
            raise PetrieveError("`forget=…` goes with `prune=True`", "give both, or neither")
        if workers is not None and on == "local":
            raise PetrieveError("`workers=…` goes with `on=…`", "give both, or neither")
        asked = places(sources)
        with progress.progress(quiet) as (listing, draw):
            ran, cache = embed(
                asked,
                store=self.path,
                labels=None if labels is None else home(labels),
                label_level=label_level,
                photo_column=photo_column,
                label_column=label_column,
                trunk=self.trunk,
                weights=weights and home(weights),
                device=device,
                precision=precision,
                on=on,
                workers=workers,
                views=views,
                prune=prune,
                forget=forget,
                retry=retry,
                keep_damaged=keep_damaged,
                drop_trunk=drop_trunk,
                listing=listing,
                progress=on_progress or draw,
                note=words.note,
                stop=stop,
            )
        better = None if weights else to_imagenet(ran.trunk, ran.weights, asked, self.path)
        summary = Summary(**vars(ran), better=better, pruned=prune and not ran.left)
        for told in (alike(cache.counts()["labels"]), terminal.passed_over(ran.sources.values())):
            if told:
                words.note(told)
        then(summary)
        if not (summary.left or stop()):
            update.update(cache, patient=True, tell=words.note)
        return summary

    def info(self) -> Info:
        """What the store holds, and whether head, index and map fit it.

        Raises:
            PetrieveError: there is no store, or it cannot be read.
        """
        cache = self.cache()
        listed = [bad for _, bad in sorted(cache.unreadable().items())]
        return Info(
            **cache.counts(),
            unreadable=[{"photo": words.name(bad.photo.path), "reason": bad.reason} for bad in listed],
            caveats=[{"photo": words.name(path), "caveat": said} for path, said in sorted(cache.caveats().items())],
            fingerprint=cache.fingerprint,
            weights=cache.weights,
            trunk=cache.made.name,
            trunks=trunks_of(self.path),
            better=to_imagenet(cache.made.name, cache.weights, ["FOLDER"], self.path),
            head=head.describe(cache),
            index=build.describe(cache),
            map=plane.describe(cache),
        )

    def verify(
        self, *, sample: int = 32, every: bool = False, device: str = "auto", precision: str = "auto"
    ) -> "Verification":
        """What is wrong with the store, held against itself and against `sample` of its photos, or `every` one.

        Raises:
            PetrieveError: there is no store, or the weights or the device cannot be used.
        """
        from petrieve.api.checked import Verification
        from petrieve.extractor.checks import verify

        if sample < 0:
            raise PetrieveError(f"{sample} photos cannot be embedded again", "give `sample=…` a number from 0 on")
        cache = Cache.open(where(self.path, near=False), self.trunk)
        found = verify.verify(cache, compute_of(None, device, precision), sample=sample, every=every)
        if found.photos:
            wrong = [*head.check(cache), *build.check(cache), *plane.check(cache)]
            found.findings.extend(verify.Finding(one["what"], one["remedy"]) for one in wrong)
        return Verification(**vars(found))

    def doctor(
        self,
        sources: Place | Iterable[Place] | None = None,
        *,
        weights: str | None = None,
        device: str = "auto",
        precision: str = "auto",
    ) -> "Diagnosis":
        """What is wrong with the installation; of photos, how fast each step of embedding is. Nothing is kept.

        Raises:
            PetrieveError: a source, the weights or the device cannot be used, or no photo be read.
        """
        from petrieve.api.checked import Diagnosis
        from petrieve.extractor.checks import installation
        from petrieve.extractor.checks.doctor import diagnose

        compute = compute_of(weights, device, precision)
        speed = diagnose(places(sources), compute, store=self.path) if sources else None
        return Diagnosis(installation.versions(), installation.troubles(Store.at(self.path)), speed)
