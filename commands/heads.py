"""What is in a photo: a head, its predictions, and how good they are."""

from pathlib import Path
from typing import Annotated

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
    say,
    show,
)
from petrieve.commands.zips import ZipEncoding
from petrieve.extractor.sources.formats import FORMATS
from petrieve.gallery.tables import Aside
from petrieve.store.errors import PetrieveError

app = typer.Typer()


@app.command("fit-head", epilog="Example: cli.py fit-head --method linear")
def fit_head(
    store: Store = DEFAULT_STORE,
    endpoint: Endpoint = None,
    trunk: Trunk = None,
    method: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="`logistic`, or `linear`: read from disk, for very many photos."),
    ] = None,
    l2: Annotated[
        float | None, typer.Option(metavar="X", help="Strength of L2 (scikit-learn's 1/C), instead of the grid.")
    ] = None,
    balanced: Annotated[bool, typer.Option("--balanced", help="Give every class the same weight.")] = False,
    as_json: Json = False,
) -> None:
    """Fit a head on the labelled photos, and say how good it is."""
    from petrieve.api.store import open as opened

    show(opened(store, trunk=trunk).fit_head(method=method, l2=l2, balanced=balanced), as_json)
    if not as_json:
        say(None, [Aside("next: `petrieve predict PHOTO`; `petrieve audit` finds labels that are probably wrong")])


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
    views: Annotated[
        int, typer.Option(metavar="N", show_default=False, help="Average over N augmented views too.")
    ] = 0,
    max_error: Annotated[str | None, typer.Option(metavar="X", help="`1%` or `0.01`: wrong at most so often.")] = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the predictions to this file too.")] = None,
    kaggle: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write `id,label` for dogs-vs-cats to this file too.")
    ] = None,
    zip_encoding: ZipEncoding = None,
    as_json: Json = False,
) -> None:
    """Say what is in photos, and how sure that is."""
    from petrieve.api.store import open as opened

    found = opened(store, trunk=trunk).predict(
        sources,
        weights=weights,
        device=device,
        precision=precision,
        views=views,
        max_error=max_error,
        csv=csv,
        kaggle=kaggle,
    )
    show(found, as_json)
    if all(one.error is not None for one in found):
        raise PetrieveError("not one photo could be read", f"name {FORMATS} files")


@app.command(epilog="Example: cli.py audit --csv audit.csv --sheet worst.jpg")
def audit(
    store: Store = DEFAULT_STORE,
    endpoint: Endpoint = None,
    trunk: Trunk = None,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all labelled photos to this file, worst first.")
    ] = None,
    sheet: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the worst into this JPEG.")] = None,
    zip_encoding: ZipEncoding = None,
    as_json: Json = False,
) -> None:
    """Find labels that are probably wrong, leaks and outliers."""
    from petrieve.api.store import open as opened

    show(opened(store, trunk=trunk).audit(csv=csv, sheet=sheet), as_json)


@app.command(epilog="Example: cli.py report --out report.html")
def report(
    store: Store = DEFAULT_STORE,
    endpoint: Endpoint = None,
    trunk: Trunk = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The page to write.")] = Path("report.html"),
    zip_encoding: ZipEncoding = None,
    as_json: Json = False,
) -> None:
    """Write the figures of head and labels as one HTML page."""
    from petrieve.api.store import open as opened

    show(opened(store, trunk=trunk).report(out), as_json)
