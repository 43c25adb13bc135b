"""Which photos look alike."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from petrieve.commands import complete
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
    say,
    show,
)
from petrieve.commands.zips import ZipEncoding
from petrieve.gallery import words
from petrieve.gallery.tables import Aside

if TYPE_CHECKING:
    from collections.abc import Iterator

    from petrieve.api.results import Neighbours
    from petrieve.store.rows import Unreadable

app = typer.Typer()


def _whole(text: str) -> int:
    """A number from 1 on."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise typer.BadParameter(f"{text!r} is not a whole number from 1 on")
    return number


@app.command(epilog="Example: cli.py similar photo.jpg -k 5 --where \"label = 'dog'\" --sheet alike.jpg")
def similar(
    photos: Annotated[
        list[str] | None,
        typer.Argument(metavar="PHOTO...", autocompletion=complete.photos, help="One, or several of one pet."),
    ] = None,
    k: Annotated[int, typer.Option("-k", parser=_whole, metavar="N", help="How many.")] = 10,
    where: Annotated[
        str | None,
        typer.Option(
            metavar="SQL",
            autocompletion=complete.conditions,
            help="A condition: label, split, your columns.",
        ),
    ] = None,
    group_by: Annotated[
        str | None,
        typer.Option(metavar="NAME", autocompletion=complete.columns, help="Only the best photo of each value."),
    ] = None,
    min_similarity: Annotated[
        float,
        typer.Option(min=-1, max=1, metavar="X", show_default=False, help="The least similarity."),
    ] = -1.0,
    watch: Annotated[Path | None, typer.Option(metavar="DIR", help="Answer for what appears there, in JSON.")] = None,
    store: Store = DEFAULT_STORE,
    endpoint: Endpoint = None,
    trunk: Trunk = None,
    weights: Weights = None,
    device: Device = "auto",
    precision: Precision = "auto",
    sheet: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw photo and neighbours: a JPEG.")] = None,
    zip_encoding: ZipEncoding = None,
    as_json: Json = False,
) -> None:
    """Find the embedded photos that look most like a pet."""
    from petrieve.api.store import open as opened

    if bool(photos) == bool(watch) or (watch and sheet):
        raise typer.BadParameter("name photos, or a folder to `--watch`, which draws no sheet")
    pets = opened(store, trunk=trunk)
    settings: dict[str, Any] = {"k": k, "where": where, "group_by": group_by, "min_similarity": min_similarity}
    settings |= {"weights": weights, "device": device, "precision": precision}
    if watch:
        _watch(watch, pets.watch(watch, **settings))
        return
    found = pets.similar(photos or [], sheet=sheet, **settings)
    show(found, as_json)
    if sheet and not as_json:
        say(None, [Aside(f"the contact sheet is {words.name(str(sheet))}")])


def _watch(folder: Path, answers: "Iterator[Neighbours | Unreadable]") -> None:
    """Print a line of JSON for each photo that appears, until Ctrl-C."""
    from petrieve.store.rows import Unreadable

    print(f"watching {words.printable(str(folder))}; Ctrl-C ends it", file=sys.stderr)
    for found in answers:
        if isinstance(found, Unreadable):
            answer = {"photo": words.name(found.photo.path), "error": found.reason}
        else:
            answer = {**found.document(), "photo": words.name(found.photos[0])}
        print(json.dumps(answer, default=str), flush=True)


@app.command(epilog="Example: cli.py evaluate --column breed")
def evaluate(
    store: Store = DEFAULT_STORE,
    endpoint: Endpoint = None,
    trunk: Trunk = None,
    column: Annotated[
        str,
        typer.Option(
            metavar="NAME", autocompletion=complete.columns, help="The column that alike photos have in common."
        ),
    ] = "label",
    as_json: Json = False,
) -> None:
    """Measure how many of a photo's neighbours have its label."""
    from petrieve.api.store import open as opened

    show(opened(store, trunk=trunk).evaluate(column), as_json)


@app.command(epilog="Example: cli.py duplicates --csv copies.csv --sheet copies.jpg")
def duplicates(
    store: Store = DEFAULT_STORE,
    endpoint: Endpoint = None,
    trunk: Trunk = None,
    device: Device = "auto",
    precision: Precision = "auto",
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a line for each photo of each group to this file.")
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the first groups into this JPEG, the best framed.")
    ] = None,
    zip_encoding: ZipEncoding = None,
    as_json: Json = False,
) -> None:
    """Find near-copies, and say which is best. Deletes nothing."""
    from petrieve.api.store import open as opened

    found = opened(store, trunk=trunk).duplicates(device=device, precision=precision, csv=csv, sheet=sheet)
    show(found, as_json)


@app.command("build-index", epilog="Example: cli.py build-index --recall 0.99")
def build_index(
    store: Store = DEFAULT_STORE,
    endpoint: Endpoint = None,
    trunk: Trunk = None,
    kind: Annotated[
        str | None, typer.Option(metavar="NAME", help="FAISS factory string, such as `PCA256,IVF4096,SQ8`.")
    ] = None,
    recall: Annotated[
        float | None,
        typer.Option(min=0.5, max=1, metavar="X", help="Share of the ten nearest that a search must find: 0.99."),
    ] = None,
    on: On = "local",
    as_json: Json = False,
) -> None:
    """Build the index, or bring it up to date.

    `embed` does so by itself where there are more than 100,000 photos.
    """
    from petrieve.api.store import open as opened

    show(opened(store, trunk=trunk).build_index(kind=kind, recall=recall, on=on), as_json)


@app.command("build-map", epilog="Example: cli.py build-map --json")
def build_map(
    store: Store = DEFAULT_STORE,
    endpoint: Endpoint = None,
    trunk: Trunk = None,
    as_json: Json = False,
) -> None:
    """Lay all embedded photos out in the plane, those that look alike beside each other, for the page's map."""
    from petrieve.api.store import open as opened

    show(opened(store, trunk=trunk).build_map(), as_json)
