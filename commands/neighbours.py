"""Which photos are alike."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from petrieve.commands.options import (
    DEFAULT_STORE,
    Device,
    Endpoint,
    Json,
    On,
    Precision,
    Store,
    Trunk,
    Weights,
    note,
    show,
)
from petrieve.commands.zips import ZipEncoding
from petrieve.gallery import spreadsheet, terminal, words

if TYPE_CHECKING:
    from petrieve.index.question import Match
    from petrieve.store.cache import Cache
    from petrieve.store.slices import Slice

app = typer.Typer()


@app.command(epilog="Example: cli.py similar photo.jpg -k 5 --where \"label = 'dog'\" --sheet alike.jpg")
def similar(
    photos: Annotated[list[str] | None, typer.Argument(metavar="PHOTO...", help="One, or several of one pet.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many.")] = 10,
    where: Annotated[str | None, typer.Option(help="SQL that holds: of label, split, the CSV's columns.")] = None,
    group_by: Annotated[str | None, typer.Option(help="A column: the best photo of each value alone.")] = None,
    min_similarity: Annotated[float, typer.Option(min=-1, max=1, help="Only photos at least so similar.")] = -1.0,
    watch: Annotated[Path | None, typer.Option(help="A folder: answer for what appears there, in JSON lines.")] = None,
    store: Store = DEFAULT_STORE,
    endpoint: Endpoint = None,
    trunk: Trunk = None,
    weights: Weights = None,
    device: Device = "auto",
    precision: Precision = "auto",
    sheet: Annotated[Path | None, typer.Option(help="Draw the photo and its neighbours into this JPEG.")] = None,
    zip_encoding: ZipEncoding = None,
    as_json: Json = False,
) -> None:
    """Find the embedded photos that look most like a pet."""
    from petrieve.extractor.picture import pictures
    from petrieve.extractor.query import query_one, same_photo
    from petrieve.extractor.sources.places import gone
    from petrieve.gallery.sheet import contact_sheet
    from petrieve.index import build, question
    from petrieve.store.cache import Cache

    if bool(photos) == bool(watch) or (watch and sheet):
        raise typer.BadParameter("name photos, or a folder to `--watch`, which draws no sheet")
    cache = Cache.open(store, trunk)
    listed = partial(terminal.matches, grouped=group_by is not None)
    asked = partial(question.ask, k=k, where=where, group_by=group_by, min_similarity=min_similarity)

    def ask(*questions: Any, **others: Any) -> "list[Match]":
        found = asked(*questions, **others)
        return [replace(one, gone=one.gone or gone(one.photo)) for one in found]  # or since the last run

    if watch:
        _watch(watch, cache, lambda *a, **b: listed(ask(*a, **b)), weights=weights, device=device, precision=precision)
        return
    index = build.build(cache)
    cache = index.cache  # what it has read of it is not read again
    queries = [query_one(photo, cache, weights=weights, device=device, precision=precision) for photo in photos or []]
    same = {path for query in queries for path in same_photo(query, cache)}
    if index.held is None:
        note("there is no index yet, so each photo is read and compared; `cli.py build-index` makes it quick")
    found = ask(index, [query.embedding for query in queries], leave_out=frozenset(same))
    if sheet:
        rows = [
            (
                one.photo,
                one.label or "no label",
                f"{one.similarity:.3f}  {'gone: ' * bool(one.gone)}{Path(one.photo).name}",
            )
            for one in found
        ]
        shown = [(query.photo.path, "the photo", os.path.basename(query.photo.path)) for query in queries]
        places = [*shown, *rows]
        contact_sheet(sheet, places, picture=pictures(cache, (path for path, *_ in places)), framed=range(len(shown)))
    named = {"photo": str(photos[0])} if photos and len(photos) == 1 else {"photos": [*map(str, photos or [])]}
    show({**named, "neighbours": listed(found)}, terminal.neighbours, as_json)
    left_out = sorted(same - {query.photo.path for query in queries})
    if left_out:
        print(f"left out, being the same photo: {', '.join(map(words.name, left_out))}", file=sys.stderr)


def _watch(folder: Path, cache: "Cache", ask: Callable[..., Any], **settings: str | None) -> None:
    """Print a line of JSON for each photo that appears, until Ctrl-C; what `embed` adds meanwhile is found too."""
    import numpy as np

    from petrieve.extractor.query import same_photo
    from petrieve.extractor.watch import watch
    from petrieve.index import build
    from petrieve.store.rows import Unreadable

    index = build.build(cache)
    ask(index, [np.ones(cache.dimension, np.float32)])  # a slip in what is asked is told before the first photo comes
    results = watch(folder, cache, **settings)  # type: ignore[arg-type]
    print(f"watching {words.printable(str(folder))}; Ctrl-C ends it", file=sys.stderr)
    for result in results:
        answer: dict[str, Any] = {"photo": words.name(result.photo.path)}
        if isinstance(result, Unreadable):
            answer["error"] = result.reason
        else:
            index = build.follow(index)
            same = frozenset(same_photo(result, index.cache))
            answer["neighbours"] = ask(index, [result.embedding], leave_out=same)
        print(json.dumps(answer, default=str), flush=True)


@app.command(epilog="Example: cli.py evaluate --column breed")
def evaluate(
    store: Store = DEFAULT_STORE,
    endpoint: Endpoint = None,
    trunk: Trunk = None,
    column: Annotated[str, typer.Option(help="What photos that are alike have in common.")] = "label",
    as_json: Json = False,
) -> None:
    """Measure how many of a photo's neighbours are of its own kind, by its label, and what the index misses."""
    from petrieve.index import build
    from petrieve.index import evaluate as measure
    from petrieve.store.cache import Cache

    show(asdict(measure.evaluate(build.build(Cache.open(store, trunk)), column=column)), terminal.evaluated, as_json)


@app.command(epilog="Example: cli.py duplicates --csv copies.csv --sheet copies.jpg")
def duplicates(
    store: Store = DEFAULT_STORE,
    endpoint: Endpoint = None,
    trunk: Trunk = None,
    device: Device = "auto",
    precision: Precision = "auto",
    csv: Annotated[Path | None, typer.Option(help="Write a line for each photo of each group to this file.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Draw the first groups into this JPEG, the best framed.")] = None,
    zip_encoding: ZipEncoding = None,
    as_json: Json = False,
) -> None:
    """Find near-copies: same bytes, same picture, same scene. Says which is the best, and deletes nothing."""
    from petrieve.extractor.checks import copies
    from petrieve.extractor.checks.files import files
    from petrieve.extractor.picture import picture
    from petrieve.extractor.sources.reading import Reader
    from petrieve.gallery.sheet import group_sheet
    from petrieve.index.duplicates.find import find_duplicates
    from petrieve.store.cache import Cache

    cache = Cache.open(store, trunk)
    read = Reader(cache)
    made = copies.make_copies(cache, device=device, precision=precision)
    found = find_duplicates(
        cache,
        made,
        files=partial(files, read=read),
        glances=partial(copies.glances, read=read),
        larger=partial(copies.glances, size=copies.LARGER, read=read),
        sharpness=partial(copies.sharpness, read=read),
    )
    if csv:
        spreadsheet.duplicates(csv, found.groups)
    if sheet:
        groups = [[(one.photo, group.kind) for one in group.photos] for group in found.groups]
        group_sheet(sheet, groups, picture=partial(picture, read=read))
    show(terminal.duplicated(found), terminal.duplicates, as_json)


@app.command("build-index", epilog="Example: cli.py build-index --recall 0.99")
def build_index(
    store: Store = DEFAULT_STORE,
    endpoint: Endpoint = None,
    trunk: Trunk = None,
    kind: Annotated[
        str | None, typer.Option(help="A FAISS factory string, such as `PCA256,IVF4096,SQ8`; by default what fits.")
    ] = None,
    recall: Annotated[
        float | None, typer.Option(min=0.5, max=1, help="Share of the ten nearest that a search must find: 0.99.")
    ] = None,
    on: On = "local",
    as_json: Json = False,
) -> None:
    """Build the index, or bring it up to date. `embed` does so by itself where each photo can no longer be compared."""
    from petrieve.extractor.engines.cluster import LOCAL, check_on, joined
    from petrieve.index import build
    from petrieve.index.codes import encode, on_ray, update
    from petrieve.store.cache import Cache

    def on_cluster(job: encode.Job, some: "Sequence[Slice]") -> "Iterator[encode.Encoded]":
        with joined(on):  # only where an index is made
            yield from on_ray.encoded(job, some)

    check_on(on)
    cache = Cache.open(store, trunk)
    update.update(cache, kind=kind, recall=recall, tell=note, encoded=encode.encoded if on == LOCAL else on_cluster)
    show(build.describe(cache), terminal.index, as_json)
