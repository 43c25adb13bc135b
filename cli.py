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
from typing import TYPE_CHECKING, Annotated, Any

import typer

from extractor.errors import PetrieveError, first_line
from extractor.photos import FORMATS
from gallery import text

if TYPE_CHECKING:
    from extractor.cache import Cache

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
    prune: Annotated[bool, typer.Option(help="Forget the photos that are gone.")] = False,
    retry: Annotated[bool, typer.Option(help="Open the unreadable ones again, though they have not changed.")] = False,
    as_json: Json = False,
) -> None:
    """Embed the photos that are new or have changed, and keep their embeddings."""
    from extractor import embed as extractor
    from index import update

    with text.progress(as_json) as progress, _asked_to_stop() as asked:
        summary, cache = extractor.embed(
            sources,
            store=store,
            labels=labels,
            weights=weights,
            device=device,
            precision=precision,
            prune=prune,
            retry=retry,
            progress=progress,
            stop=lambda: bool(asked),
        )
    _show(asdict(summary), partial(text.embedded, pruned=prune and not summary.left), as_json)
    if not asked:
        update.update(cache, patient=True, tell=_note)
    if asked:
        print(f"stopped with {summary.left} photos left; the next `embed` goes on from here", file=sys.stderr)
        raise typer.Exit(128 + asked[0])


@app.command("fit-head", epilog="Example: cli.py fit-head --method linear")
def fit_head(
    store: Store = DEFAULT_STORE,
    method: Annotated[str, typer.Option(help="`logistic` (scikit-learn) or `linear` (a torch layer).")] = "logistic",
    as_json: Json = False,
) -> None:
    """Fit a head on the labelled photos, and say how well it does on photos that it has not seen."""
    from classifier import fit, head
    from extractor.cache import Cache

    cache = Cache.open(store)
    fitted, report = fit.fit(cache, method=method)
    head.save(fitted, cache)
    _show(asdict(report), text.fitted, as_json)


@app.command(epilog="Example: cli.py predict photo.jpg --json")
def predict(
    sources: Annotated[list[Path], typer.Argument(metavar="PHOTO_OR_FOLDER...", help="Photos, or folders of them.")],
    store: Store = DEFAULT_STORE,
    weights: Weights = None,
    device: Device = "auto",
    precision: Precision = "auto",
    csv: Annotated[Path | None, typer.Option(help="Write the predictions to this file too.")] = None,
    as_json: Json = False,
) -> None:
    """Say what is in photos, and how sure that is."""
    from classifier import head
    from extractor import embed as extractor
    from extractor.cache import Cache
    from extractor.rows import Unreadable

    cache = Cache.open(store)
    fitted = head.load(cache)
    found = extractor.query(sources, cache, weights=weights, device=device, precision=precision)
    predictions = [
        {"photo": text.name(result.photo.path), "error": result.reason}
        if isinstance(result, Unreadable)
        else {"photo": text.name(result.photo.path), **fitted.predict_one(result.embedding)}
        for result in found
    ]
    if csv:
        text.predictions_csv(csv, predictions)
    _show(predictions, text.predicted, as_json)
    if all("error" in prediction for prediction in predictions):
        raise PetrieveError("not one photo could be read", f"name {FORMATS} files")


@app.command(epilog="Example: cli.py similar photo.jpg -k 5 --where \"label = 'dog'\" --sheet alike.jpg")
def similar(
    photos: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PHOTO...", help="A photo, embedded or not; or several photos of one pet."),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many.")] = 10,
    where: Annotated[
        str | None, typer.Option(help="Only photos for which this holds: SQL on label, split, the CSV's columns.")
    ] = None,
    group_by: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The best photo alone of each value: of each animal, say.")
    ] = None,
    min_similarity: Annotated[float, typer.Option(min=-1, max=1, help="Only photos at least so similar.")] = -1.0,
    watch: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Answer for each photo that appears there, in lines of JSON.")
    ] = None,
    store: Store = DEFAULT_STORE,
    weights: Weights = None,
    device: Device = "auto",
    precision: Precision = "auto",
    sheet: Annotated[Path | None, typer.Option(help="Draw the photo and its neighbours into this JPEG.")] = None,
    as_json: Json = False,
) -> None:
    """Find the embedded photos that look most like a pet."""
    from extractor import embed as extractor
    from extractor.cache import Cache
    from gallery.sheet import contact_sheet
    from index import build, question

    if bool(photos) == bool(watch) or (watch and sheet):
        raise typer.BadParameter("name photos, or a folder to `--watch`, which draws no sheet")
    cache = Cache.open(store)
    listed = partial(text.matches, grouped=group_by is not None)
    ask = partial(question.ask, k=k, where=where, group_by=group_by, min_similarity=min_similarity)
    if watch:
        _watch(watch, cache, lambda *a, **b: listed(ask(*a, **b)), weights=weights, device=device, precision=precision)
        return
    queries = [
        extractor.query_one(photo, cache, weights=weights, device=device, precision=precision) for photo in photos or []
    ]
    known = cache.known()
    same = {path for query in queries for path in extractor.same_photo(query, known)}
    index = build.build(cache)
    if index.held is None:
        _note("there is no index yet, so each photo is read and compared; `cli.py build-index` makes it quick")
    found = ask(index, [query.embedding for query in queries], leave_out=frozenset(same))
    if sheet:
        rows = [(one.photo, one.label or "no label", f"{one.similarity:.3f}  {Path(one.photo).name}") for one in found]
        shown = [(query.photo.path, "the photo", os.path.basename(query.photo.path)) for query in queries]
        contact_sheet(sheet, [*shown, *rows], framed=range(len(shown)))
    named = {"photo": str(photos[0])} if photos and len(photos) == 1 else {"photos": [*map(str, photos or [])]}
    _show({**named, "neighbours": listed(found)}, text.neighbours, as_json)
    left_out = sorted(same - {query.photo.path for query in queries})
    if left_out:
        print(f"left out, being the same photo: {', '.join(map(text.name, left_out))}", file=sys.stderr)


@app.command(epilog="Example: cli.py evaluate --column breed")
def evaluate(
    store: Store = DEFAULT_STORE,
    column: Annotated[str, typer.Option(help="What photos that are alike have in common.")] = "label",
    as_json: Json = False,
) -> None:
    """Measure how many of a photo's neighbours are of its own kind, by its label, and what the index misses."""
    from extractor.cache import Cache
    from index import build
    from index import evaluate as measure

    _show(asdict(measure.evaluate(build.build(Cache.open(store)), column=column)), text.evaluated, as_json)


@app.command(epilog="Example: cli.py duplicates --csv copies.csv --sheet copies.jpg")
def duplicates(
    store: Store = DEFAULT_STORE,
    device: Device = "auto",
    precision: Precision = "auto",
    csv: Annotated[Path | None, typer.Option(help="Write a line for each photo of each group to this file.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Draw the first groups into this JPEG, the best framed.")] = None,
    as_json: Json = False,
) -> None:
    """Find near-copies: same bytes, same picture, same scene. Says which is the best, and deletes nothing."""
    from extractor import copies
    from extractor.cache import Cache
    from gallery.sheet import group_sheet
    from index.duplicates import find_duplicates

    cache = Cache.open(store)
    made = copies.make_copies(cache, device=device, precision=precision)
    found = find_duplicates(cache, made, glances=copies.glances, sharpness=copies.sharpness)
    if csv:
        text.duplicates_csv(csv, found.groups)
    if sheet:
        group_sheet(sheet, [[(one.photo, group.kind) for one in group.photos] for group in found.groups])
    _show(text.duplicated(found), text.duplicates, as_json)


@app.command("build-index", epilog="Example: cli.py build-index --recall 0.99")
def build_index(
    store: Store = DEFAULT_STORE,
    kind: Annotated[
        str | None, typer.Option(help="A FAISS factory string, such as `PCA256,IVF4096,SQ8`; by default what fits.")
    ] = None,
    recall: Annotated[
        float | None, typer.Option(min=0.5, max=1, help="Share of the ten nearest that a search must find: 0.99.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Build the index, or bring it up to date. `embed` does so by itself where each photo can no longer be compared."""
    from extractor.cache import Cache
    from index import build, update

    cache = Cache.open(store)
    update.update(cache, kind=kind, recall=recall, tell=_note)
    _show(build.describe(cache), text.index, as_json)


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
    from index import build

    cache = Cache.open(store)
    found = asdict(extractor.verify(cache, sample=sample, device=device, precision=precision))
    found["changed"] = [text.name(path) for path in found["changed"]]
    if found["photos"]:
        found["findings"] += [*head.check(cache), *build.check(cache)]
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


def _watch(folder: Path, cache: "Cache", ask: Callable[..., Any], **settings: str | None) -> None:
    """Print a line of JSON for each photo that appears, until Ctrl-C; what `embed` adds meanwhile is found too."""
    from extractor.embed import same_photo
    from extractor.rows import Unreadable
    from extractor.watch import watch
    from index import build, reading

    index, meaning, known = build.build(cache), reading.reading(cache), cache.known()
    results = watch(folder, cache, **settings)  # type: ignore[arg-type]
    print(f"watching {text.printable(str(folder))}; Ctrl-C ends it", file=sys.stderr)
    for result in results:
        answer: dict[str, Any] = {"photo": text.name(result.photo.path)}
        if isinstance(result, Unreadable):
            answer["error"] = result.reason
        else:
            now = build.follow(index)
            if now is not index:
                index, meaning, known = now, reading.reading(now.cache), now.cache.known()
            same = frozenset(same_photo(result, known))
            answer["neighbours"] = ask(index, [result.embedding], leave_out=same, meaning=meaning)
        print(json.dumps(answer, default=str), flush=True)


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


def _note(words: str) -> None:
    print(f"note: {text.printable(words)}", file=sys.stderr)


def _show(result: Any, as_text: Callable[[Any], None], as_json: bool) -> None:
    if as_json:
        print(json.dumps(result, indent=1, default=str))  # str: dates of the user's CSV
    else:
        as_text(result)


if __name__ == "__main__":
    main()
