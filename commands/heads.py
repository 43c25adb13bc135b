"""What is in a photo: a head, its predictions, and what is known of both."""

from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from petrieve.commands.options import (
    DEFAULT_STORE,
    Device,
    Endpoint,
    Json,
    Precision,
    Store,
    Trunk,
    Weights,
    note,
    show,
)
from petrieve.commands.zips import ZipEncoding
from petrieve.extractor.sources.formats import FORMATS
from petrieve.extractor.sources.places import paths_of
from petrieve.gallery import spreadsheet, terminal, words
from petrieve.store.errors import PetrieveError

app = typer.Typer()
PART = 4096  # photos that are predicted at a time: each part is held against the whole store


@app.command("fit-head", epilog="Example: cli.py fit-head --method linear")
def fit_head(
    store: Store = DEFAULT_STORE,
    endpoint: Endpoint = None,
    trunk: Trunk = None,
    method: Annotated[
        str | None,
        typer.Option(help="`logistic`, or `linear`: in mini-batches; by default that where photos are very many."),
    ] = None,
    l2: Annotated[float | None, typer.Option(help="Strength of L2 (scikit-learn's 1/C), instead of the grid.")] = None,
    balanced: Annotated[bool, typer.Option("--balanced", help="Give every class the same weight.")] = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Fit a head on the labelled photos, and say how well it does on photos that it has not seen."""
    from petrieve.classifier import head
    from petrieve.classifier.fitting import fit
    from petrieve.store.cache import Cache

    cache = Cache.open(store, trunk)
    fitted, report = fit.fit(cache, method=method, l2=l2, balanced=balanced, device=device)
    head.save(fitted, cache)
    show(asdict(report), terminal.fitted, as_json)


@app.command(epilog="Example: cli.py predict photo.jpg --json")
def predict(
    sources: Annotated[
        list[str], typer.Argument(metavar="PHOTO_OR_FOLDER...", help="Photos, or what holds them, as for `embed`.")
    ],
    store: Store = DEFAULT_STORE,
    endpoint: Endpoint = None,
    trunk: Trunk = None,
    weights: Weights = None,
    device: Device = "auto",
    precision: Precision = "auto",
    views: Annotated[int, typer.Option(help="Average over so many augmented views of each photo too.")] = 0,
    max_error: Annotated[
        str | None, typer.Option(help="Call predictions unsure that are wrong more often than this: `1%`.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the predictions to this file too.")] = None,
    kaggle: Annotated[Path | None, typer.Option(help="Write `id,label` for dogs-vs-cats to this file too.")] = None,
    zip_encoding: ZipEncoding = None,
    as_json: Json = False,
) -> None:
    """Say what is in photos, and how sure that is."""
    from petrieve.classifier import head
    from petrieve.classifier import predict as predicting
    from petrieve.extractor import query as querying
    from petrieve.extractor.find import find_parts, photos_of
    from petrieve.gallery import submission
    from petrieve.store.cache import Cache
    from petrieve.store.rows import Embedded

    cache = Cache.open(store, trunk)
    fitted = head.load(cache)
    if max_error is not None:
        predicting.share(max_error)  # a slip is told before the photos are embedded
    parts = find_parts(paths_of(sources))
    if kaggle:  # as is a photo whose name is no number
        numbers = submission.ids(list(map(words.name, photos_of(parts))), fitted.classes)
    results = querying.of_parts(parts, cache, weights=weights, device=device, precision=precision, views=views)
    predictions: list[dict[str, Any]] = []
    while found := list(islice(results, PART)):  # embeddings of very many are never in memory at once
        embedded = [one for one in found if isinstance(one, Embedded)]
        told = iter(predicting.predict(cache, fitted, embedded, max_error))
        places = querying.places([one.photo for one in found], cache)
        predictions += (
            {**place, **(next(told) if isinstance(one, Embedded) else {"error": one.reason})}
            for one, place in zip(found, places, strict=True)
        )
    if csv:
        spreadsheet.predictions(csv, predictions)
    if kaggle:
        labels = cache.counts()["labels"]
        submission.write_submission(kaggle, predictions, numbers, labels=labels, clip=fitted.report.clip)
    show(predictions, terminal.predicted, as_json)
    if all("error" in prediction for prediction in predictions):
        raise PetrieveError("not one photo could be read", f"name {FORMATS} files")


@app.command(epilog="Example: cli.py audit --csv audit.csv --sheet worst.jpg")
def audit(
    store: Store = DEFAULT_STORE,
    endpoint: Endpoint = None,
    trunk: Trunk = None,
    csv: Annotated[Path | None, typer.Option(help="Write all labelled photos to this file, worst first.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Draw the worst into this JPEG.")] = None,
    zip_encoding: ZipEncoding = None,
    as_json: Json = False,
) -> None:
    """Find labels that are probably wrong or in doubt, near-copies that contradict them, leaks, and outliers."""
    from petrieve.classifier import labelled
    from petrieve.classifier.auditing import audit as classifier
    from petrieve.extractor.picture import pictures
    from petrieve.gallery.sheet import findings_sheet
    from petrieve.store.cache import Cache

    cache = Cache.open(store, trunk)
    photos = labelled.read(cache, bounded=True)
    audited = classifier.audit(photos, name=words.name)
    ranked = [{**asdict(one), "photo": words.name(one.photo)} for one in audited.findings]
    if csv:
        spreadsheet.findings(csv, ranked)
    worst = terminal.worth_a_look(ranked)
    if sheet and worst:
        findings_sheet(sheet, worst, picture=pictures(cache, (one["photo"] for one in worst)))
    elif sheet:
        note(f"nothing was found that {sheet} could show: it is not written")
    found = {"found": classifier.counts(audited.findings), "expected_wrong": audited.expected_wrong}
    show({"photos": len(ranked), "of": photos.of, **found, "ranked": ranked}, terminal.audited, as_json)


@app.command(epilog="Example: cli.py report --out report.html")
def report(
    store: Store = DEFAULT_STORE,
    endpoint: Endpoint = None,
    trunk: Trunk = None,
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("report.html"),
    zip_encoding: ZipEncoding = None,
    as_json: Json = False,
) -> None:
    """Write what is known of the head and of the labels as one HTML page, with its photos inside."""
    from petrieve.classifier import head, labelled
    from petrieve.classifier.auditing import audit as classifier
    from petrieve.classifier.auditing.outcomes import outcomes
    from petrieve.extractor.picture import pictures
    from petrieve.extractor.trunks.kinds import kind
    from petrieve.gallery.report import page
    from petrieve.store.cache import Cache

    cache = Cache.open(store, trunk)
    fitted = head.load(cache)
    photos = labelled.read(cache, bounded=True)
    mistakes, curves = outcomes(photos, fitted)
    suspects = terminal.worth_a_look([asdict(one) for one in classifier.audit(photos, name=words.name).findings])
    size = page.write(
        out,
        {**asdict(fitted.report), "roc": [asdict(one) for one in curves]},
        store={
            "photos": len(cache),
            "looked_at": len(photos),
            "of": photos.of,
            "trunk": kind(cache.made.kind).title,
            "weights": cache.weights,
            "fingerprint": cache.fingerprint,
        },
        suspects=suspects,
        mistakes=[asdict(one) for one in mistakes],
        picture=pictures(cache, [*(one["photo"] for one in suspects), *(one.photo for one in mistakes)]),
    )
    made = {"file": str(out), "size_bytes": size, "photos": len(photos), "of": photos.of}
    made |= {"mistakes": len(mistakes), "suspects": len(suspects)}
    show(made, terminal.reported, as_json)
