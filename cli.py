#!/usr/bin/env python3
"""Petrieve's commands. Each parses, makes one call per package, and prints."""

import json
import logging
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from extractor.errors import PetrieveError, first_line
from extractor.photos import FORMATS, find
from gallery import text
from gallery.stop import asked_to_stop

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
EXPORTED = "`NAME.onnx` (pixels to probabilities), `NAME.safetensors` (the head alone) or a new folder (the embeddings)"
DEFAULT_STORE = Path(".petrieve")


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
    from index import update

    with text.progress(as_json) as progress, asked_to_stop() as asked:
        summary, cache = extractor.embed(
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
    if not asked:
        update.update(cache, patient=True, tell=_note)
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


@app.command(epilog="Example: cli.py similar photo.jpg -k 5 --where \"label = 'dog'\" --sheet alike.jpg")
def similar(
    photos: Annotated[list[Path] | None, typer.Argument(metavar="PHOTO...", help="One, or several of one pet.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many.")] = 10,
    where: Annotated[str | None, typer.Option(help="SQL that holds: of label, split, the CSV's columns.")] = None,
    group_by: Annotated[str | None, typer.Option(help="A column: the best photo of each value alone.")] = None,
    min_similarity: Annotated[float, typer.Option(min=-1, max=1, help="Only photos at least so similar.")] = -1.0,
    watch: Annotated[Path | None, typer.Option(help="A folder: answer for what appears there, in JSON lines.")] = None,
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


@app.command("import", epilog="Example: cli.py import embeddings/ --photos data/")
def import_(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="What `export` wrote.")],
    store: Store = DEFAULT_STORE,
    photos: Annotated[Path | None, typer.Option(help="Where the photos are now, if their folder has moved.")] = None,
    as_json: Json = False,
) -> None:
    """Read exported embeddings into a store, a new one or one of the same weights."""
    from extractor.interop import import_embeddings

    count, _ = import_embeddings(folder, store, photos=photos)
    _show({"store": str(store), "photos": count}, text.imported, as_json)


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
    where: Annotated[Path, typer.Argument(metavar="FILE_OR_FOLDER", help=f"What to write: {EXPORTED}.")],
    store: Store = DEFAULT_STORE,
    as_json: Json = False,
) -> None:
    """Write the head, or the embeddings, for use elsewhere."""
    from extractor.cache import Cache

    if where.suffix not in EXPORTS:
        raise PetrieveError(f"cannot tell from its name what {where} shall be", f"write {EXPORTED}")
    _show(EXPORTS[where.suffix](where, Cache.open(store)), text.exported, as_json)


def _export_onnx(file: Path, cache: "Cache") -> dict[str, Any]:
    from classifier import head
    from extractor import onnx

    fitted = head.load(cache)
    made = onnx.export(file, cache, weight=fitted.weight, bias=fitted.bias, classes=fitted.classes)
    return {"written": str(file), **asdict(made)}


def _export_head(file: Path, cache: "Cache") -> dict[str, Any]:
    from classifier import export, head

    return {"written": str(file), "size_bytes": export.export(file, head.load(cache), cache)}


def _export_embeddings(folder: Path, cache: "Cache") -> dict[str, Any]:
    from extractor.interop import export_embeddings

    return {"written": str(folder), "photos": export_embeddings(cache, folder)}


EXPORTS = {".onnx": _export_onnx, ".safetensors": _export_head, "": _export_embeddings}


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
    from index import build

    index, known = build.build(cache), cache.known()
    results = watch(folder, cache, **settings)  # type: ignore[arg-type]
    print(f"watching {text.printable(str(folder))}; Ctrl-C ends it", file=sys.stderr)
    for result in results:
        answer: dict[str, Any] = {"photo": text.name(result.photo.path)}
        if isinstance(result, Unreadable):
            answer["error"] = result.reason
        else:
            now = build.follow(index)
            if now is not index:
                index, known = now, now.cache.known()
            same = frozenset(same_photo(result, known))
            answer["neighbours"] = ask(index, [result.embedding], leave_out=same)
        print(json.dumps(answer, default=str), flush=True)


def _note(words: str) -> None:
    print(f"note: {text.printable(words)}", file=sys.stderr)


def _show(result: Any, as_text: Callable[[Any], None], as_json: bool) -> None:
    if as_json:
        print(json.dumps(result, indent=1, default=str))  # str: dates of the user's CSV
    else:
        as_text(result)


if __name__ == "__main__":
    main()
