#!/usr/bin/env python3
"""Petrieve's commands. Each parses, makes one call per package, and prints."""

import json
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from extractor.errors import PetrieveError, first_line
from extractor.photos import FORMATS, find
from gallery import text

app = typer.Typer(
    help="Embed pet photos once; then know what is in them, and find the pets that look alike.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Store = Annotated[Path, typer.Option(envvar="PETRIEVE_STORE", help="Folder of the embeddings and the head.")]
Weights = Annotated[
    str | None,
    typer.Option(
        envvar="PETRIEVE_WEIGHTS",
        help="`imagenet`, `bundled` or a file. By default the store's own; `imagenet` for a new one.",
    ),
]
Device = Annotated[str, typer.Option(help="`cpu`, `cuda`, `cuda:1` … or `auto`: a GPU where there is one.")]
Precision = Annotated[str, typer.Option(help="`float32`, `bfloat16`, `float16`, `int8` (CPUs, quickest) or `auto`.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
EXPORTED = "`.onnx` (pixels to probabilities) or `.safetensors` (the head alone)"
DEFAULT_STORE = Path(".petrieve")
SHOW_CURSOR = b"\x1b[?25h"  # ECMA-48, as DEC's terminals have it


@app.command(epilog="Example: cli.py embed data/ --labels pets.csv")
def embed(
    sources: Annotated[list[Path], typer.Argument(metavar="SOURCE...", help="Folders of photos, or photos.")],
    store: Store = DEFAULT_STORE,
    labels: Annotated[Path | None, typer.Option(help="CSV: column `photo`, then `label` and any others.")] = None,
    weights: Weights = None,
    device: Device = "auto",
    precision: Precision = "auto",
    views: Annotated[
        int, typer.Option(help="Embed so many augmented views of each photo too, now and in later runs.")
    ] = 0,
    prune: Annotated[bool, typer.Option(help="Forget the photos that are gone.")] = False,
    retry: Annotated[bool, typer.Option(help="Open the unreadable ones again, though they have not changed.")] = False,
    as_json: Json = False,
) -> None:
    """Embed the photos that are new or have changed, and keep their embeddings."""
    from extractor import embed as extractor

    with text.progress(as_json) as progress, _asked_to_stop() as asked:
        summary, _ = extractor.embed(
            sources,
            store=store,
            labels=labels,
            weights=weights,
            device=device,
            precision=precision,
            views=views,
            prune=prune,
            retry=retry,
            progress=progress,
            stop=lambda: bool(asked),
        )
    _show(asdict(summary), partial(text.embedded, pruned=prune and not summary.left), as_json)
    if asked:
        print(f"stopped with {summary.left} photos left; the next `embed` goes on from here", file=sys.stderr)
        raise typer.Exit(128 + asked[0])


@app.command("fit-head", epilog="Example: cli.py fit-head --method linear")
def fit_head(
    store: Store = DEFAULT_STORE,
    method: Annotated[
        str, typer.Option(help="`logistic`, or `linear`: in mini-batches, for caches larger than memory.")
    ] = "logistic",
    l2: Annotated[float | None, typer.Option(help="Strength of L2 (scikit-learn's 1/C), instead of the grid.")] = None,
    balanced: Annotated[bool, typer.Option("--balanced", help="Give every class the same weight.")] = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Fit a head on the labelled photos, and say how well it does on photos that it has not seen."""
    from classifier import fit, head
    from extractor.cache import Cache

    cache = Cache.open(store)
    fitted, report = fit.fit(cache, method=method, l2=l2, balanced=balanced, device=device)
    head.save(fitted, cache)
    _show(asdict(report), text.fitted, as_json)


@app.command(epilog="Example: cli.py predict photo.jpg --json")
def predict(
    sources: Annotated[list[Path], typer.Argument(metavar="PHOTO_OR_FOLDER...", help="Photos, or folders of them.")],
    store: Store = DEFAULT_STORE,
    weights: Weights = None,
    device: Device = "auto",
    precision: Precision = "auto",
    views: Annotated[int, typer.Option(help="Average over so many augmented views of each photo too.")] = 0,
    max_error: Annotated[
        str | None, typer.Option(help="Call predictions unsure that are wrong more often than this: `1%`.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the predictions to this file too.")] = None,
    kaggle: Annotated[Path | None, typer.Option(help="Write `id,label` for dogs-vs-cats to this file too.")] = None,
    as_json: Json = False,
) -> None:
    """Say what is in photos, and how sure that is."""
    from classifier import head
    from classifier import predict as predicting
    from extractor import embed as extractor
    from extractor.cache import Cache
    from extractor.rows import Embedded
    from gallery import submission

    cache = Cache.open(store)
    fitted = head.load(cache)
    if kaggle:
        numbers = submission.ids([text.name(one.path) for source in sources for one in find(source)], fitted.classes)
    results = extractor.query(sources, cache, weights=weights, device=device, precision=precision, views=views)
    found = list(results)
    told = iter(predicting.predict(cache, fitted, [one.views for one in found if isinstance(one, Embedded)], max_error))
    predictions = [
        {"photo": text.name(one.photo.path), **(next(told) if isinstance(one, Embedded) else {"error": one.reason})}
        for one in found
    ]
    if csv:
        text.predictions_csv(csv, predictions)
    if kaggle:
        labels = cache.counts()["labels"]
        submission.write_submission(kaggle, predictions, numbers, labels=labels, clip=fitted.report.clip)
    _show(predictions, text.predicted, as_json)
    if all("error" in prediction for prediction in predictions):
        raise PetrieveError("not one photo could be read", f"name {FORMATS} files")


@app.command(epilog="Example: cli.py similar photo.jpg -k 5 --sheet alike.jpg")
def similar(
    photo: Annotated[Path, typer.Argument(metavar="PHOTO", help="A photo; it need not be among the embedded ones.")],
    k: Annotated[int, typer.Option("-k", min=1, help="How many.")] = 10,
    store: Store = DEFAULT_STORE,
    weights: Weights = None,
    device: Device = "auto",
    precision: Precision = "auto",
    sheet: Annotated[Path | None, typer.Option(help="Draw the photo and its neighbours into this JPEG.")] = None,
    as_json: Json = False,
) -> None:
    """Find the embedded photos that look most like one photo."""
    from extractor import embed as extractor
    from extractor.cache import Cache
    from gallery.sheet import contact_sheet
    from index import build, search

    cache = Cache.open(store)
    query = extractor.query_one(photo, cache, weights=weights, device=device, precision=precision)
    same = extractor.same_photo(query, cache)
    neighbours = search.search(build.build(cache), query.embedding, k=k, leave_out=frozenset(same))
    if sheet:
        rows = [
            (one.photo, one.label or "no label", f"{one.similarity:.3f}  {Path(one.photo).name}") for one in neighbours
        ]
        contact_sheet(sheet, [(query.photo.path, "the photo", photo.name), *rows])
    found = [{**asdict(one), "photo": text.name(one.photo)} for one in neighbours]
    _show({"photo": str(photo), "neighbours": found}, text.neighbours, as_json)
    if same != [query.photo.path] and same:
        print(f"left out, being the same photo: {', '.join(map(text.name, same))}", file=sys.stderr)


@app.command(epilog="Example: cli.py audit --csv audit.csv --sheet worst.jpg")
def audit(
    store: Store = DEFAULT_STORE,
    csv: Annotated[Path | None, typer.Option(help="Write all labelled photos to this file, worst first.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Draw the worst into this JPEG.")] = None,
    as_json: Json = False,
) -> None:
    """Find photos whose label is probably wrong, near-copies that contradict it, leaks between splits, and outliers."""
    from classifier import audit as classifier
    from extractor.cache import Cache
    from gallery.sheet import findings_sheet

    findings = classifier.audit(Cache.open(store), name=text.name)
    ranked = [{**asdict(one), "photo": text.name(one.photo)} for one in findings]
    if csv:
        text.findings_csv(csv, ranked)
    if sheet:
        findings_sheet(sheet, text.worth_a_look(ranked))
    _show({"photos": len(ranked), "found": classifier.counts(findings), "ranked": ranked}, text.audited, as_json)


@app.command(epilog="Example: cli.py info --json")
def info(
    store: Store = DEFAULT_STORE,
    unreadable: Annotated[bool, typer.Option("--unreadable", help="List only these photos, but all of them.")] = False,
    csv: Annotated[Path | None, typer.Option(help="Write the list of unreadable photos to this file.")] = None,
    as_json: Json = False,
) -> None:
    """Say what the store holds, and whether the head fits it."""
    from classifier import head
    from extractor.cache import Cache
    from index import build

    cache = Cache.open(store)
    listed = [bad for _, bad in sorted(cache.unreadable().items())]
    if csv:
        text.unreadable_csv(csv, listed)
    contents = {
        **cache.counts(),
        "unreadable": [{"photo": text.name(bad.photo.path), "reason": bad.reason} for bad in listed],
        "fingerprint": cache.fingerprint,
        "weights": cache.weights,
        "head": head.describe(cache),
        "index": build.describe(cache),
    }
    _show(contents, text.unreadable if unreadable else text.contents, as_json)


@app.command(epilog="Example: cli.py export pets.onnx")
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help=f"What to write; {EXPORTED}.")],
    store: Store = DEFAULT_STORE,
    as_json: Json = False,
) -> None:
    """Write the head for use elsewhere: with its trunk as ONNX, or alone for torchvision's DenseNet-121."""
    from classifier import export as classifier
    from classifier import head
    from extractor.cache import Cache

    cache = Cache.open(store)
    fitted = head.load(cache)
    made: dict[str, Any] = {"file": str(file), "compared": 0, "largest_difference": None}
    if file.suffix == ".onnx":
        from extractor import onnx

        made |= asdict(onnx.export(file, cache, weight=fitted.weight, bias=fitted.bias, classes=fitted.classes))
    elif file.suffix == ".safetensors":
        made["size_bytes"] = classifier.export(file, fitted, cache)
    else:
        raise PetrieveError(f"cannot tell from its name what {file} shall be", f"end it in {EXPORTED}")
    _show(made, text.exported, as_json)


@app.command(epilog="Example: cli.py report --out report.html")
def report(
    store: Store = DEFAULT_STORE,
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("report.html"),
    as_json: Json = False,
) -> None:
    """Write what is known of the head and of the labels as one HTML page, with its photos inside."""
    from classifier import audit as classifier
    from classifier import head
    from classifier.outcomes import outcomes
    from extractor.cache import Cache
    from gallery import report as page

    cache = Cache.open(store)
    fitted = head.load(cache)
    mistakes, curves = outcomes(cache, fitted)
    suspects = text.worth_a_look([asdict(one) for one in classifier.audit(cache, name=text.name)])
    size = page.write(
        out,
        {**asdict(fitted.report), "roc": [asdict(one) for one in curves]},
        store={"photos": cache.counts()["photos"], "weights": cache.weights, "fingerprint": cache.fingerprint},
        suspects=suspects,
        mistakes=[asdict(one) for one in mistakes],
    )
    made = {"file": str(out), "size_bytes": size, "mistakes": len(mistakes), "suspects": len(suspects)}
    _show(made, text.reported, as_json)


@app.command(epilog="Example: cli.py verify --sample 100")
def verify(
    store: Store = DEFAULT_STORE,
    sample: Annotated[int, typer.Option(min=0, help="How many photos to embed again, evenly spread.")] = 32,
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: Json = False,
) -> None:
    """Hold the store against itself and against some of its photos: what is wrong, and what mends it."""
    from classifier import head
    from extractor import verify as extractor
    from extractor.cache import Cache

    cache = Cache.open(store)
    found = asdict(extractor.verify(cache, sample=sample, device=device, precision=precision))
    found["changed"] = [text.name(path) for path in found["changed"]]
    if found["photos"]:
        found["findings"] += head.check(cache)
    _show(found, text.verified, as_json)
    if found["findings"]:
        raise typer.Exit(1)


@app.command(epilog="Example: cli.py doctor data/")
def doctor(
    sources: Annotated[list[Path], typer.Argument(metavar="SOURCE...", help="Some of your photos.")],
    store: Store = DEFAULT_STORE,
    weights: Weights = None,
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: Json = False,
) -> None:
    """Measure each step of embedding on your own photos, and name the one that holds up the rest."""
    from extractor.doctor import diagnose

    found = diagnose(sources, store=store, weights=weights, device=device, precision=precision)
    _show(asdict(found), text.diagnosed, as_json)


@app.command(epilog="Example: cli.py sample data/drawn --photos 40")
def sample(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the photos go.")],
    photos: Annotated[int, typer.Option(help="How many to draw.")] = 120,
    seed: Annotated[int, typer.Option(help="Other numbers draw other pets.")] = 0,
    origin: Annotated[str | None, typer.Option("--from", help="`oxford-iiit-pet`: real photos, 800 MB.")] = None,
    as_json: Json = False,
) -> None:
    """Draw labelled pictures of cats and dogs, or fetch real ones, to try things with."""
    from extractor.sample import draw_sample, fetch_oxford_pets

    if origin not in (None, "oxford-iiit-pet"):
        raise PetrieveError(f"no photos can be had from {origin!r}", "use `--from oxford-iiit-pet`")
    made = fetch_oxford_pets(folder) if origin else draw_sample(folder, photos=photos, seed=seed)
    _show({"folder": str(folder), "photos": made}, text.sampled, as_json)


def main() -> None:
    """The `petrieve` command: expected failures are one line and exit status 1."""
    # Threads that wait by spinning starve each other as soon as anything else runs: measured, up to 7 × slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    warnings.showwarning = lambda message, *_: print(f"note: {text.printable(str(message))}", file=sys.stderr)
    logging.getLogger("PIL").setLevel(logging.CRITICAL)  # what is wrong with a photo is listed with the photo
    try:
        app()
    except PetrieveError as error:
        sys.exit(f"error: {text.printable(str(error))}")
    except OSError as error:
        what = text.printable(f"{error.filename}: {error.strerror}" if error.filename else first_line(error))
        sys.exit(f"error: {what}; check the path, its permissions and the space on its disk")


@contextmanager
def _asked_to_stop() -> Iterator[list[int]]:
    """The signals, Ctrl-C and SIGTERM, that have asked the run to stop; another one ends it where it stands."""
    asked: list[int] = []

    def ask(number: int, _frame: object) -> None:
        asked.append(number)
        with suppress(OSError):  # not print: a signal can come in the midst of another print
            os.write(2, SHOW_CURSOR if os.isatty(2) else b"")  # the bar hides it, and may not come to show it again
            os.write(2, b"stopping as soon as the batch under way is committed; another Ctrl-C ends at once\n")
        for one in before:
            signal.signal(one, signal.SIG_DFL)

    # What a shell has set to be ignored, for a run in the background, stays ignored.
    signals = [one for one in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(one) != signal.SIG_IGN]
    before = {one: signal.signal(one, ask) for one in signals}
    try:
        yield asked
    finally:
        for one, handler in before.items():  # what was asked to stop is about to end: another Ctrl-C needs no words
            signal.signal(one, signal.SIG_DFL if asked else handler)


def _show(result: Any, as_text: Callable[[Any], None], as_json: bool) -> None:
    if as_json:
        print(json.dumps(result, indent=1))
    else:
        as_text(result)


if __name__ == "__main__":
    main()
