"""Embeddings: made, listed, checked."""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from petrieve.commands import complete
from petrieve.commands.options import (
    COMPUTING,
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
from petrieve.gallery import spreadsheet, terminal
from petrieve.gallery.stop import asked_to_stop

app = typer.Typer()


@app.command(epilog="Example: cli.py embed data/ --labels pets.csv")
def embed(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE...", help="Folders, photos, zips, tars, tables, `s3://…`."),
    ],
    store: Store = DEFAULT_STORE,
    endpoint: Endpoint = None,
    trunk: Trunk = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="CSV: `photo`, `label`, any other columns.")
    ] = None,
    label_level: Annotated[
        int | None,
        typer.Option(
            min=-1,
            metavar="N",
            help="Folder with the label: 1 first, -1 last.",
        ),
    ] = None,
    photo_column: Annotated[str | None, typer.Option(metavar="NAME", help="The CSV's column, if not `photo`.")] = None,
    label_column: Annotated[str | None, typer.Option(metavar="NAME", help="The CSV's column, if not `label`.")] = None,
    weights: Weights = None,
    device: Device = "auto",
    precision: Precision = "auto",
    on: On = "local",
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            rich_help_panel=COMPUTING,
            help="With `--on`; default: one a GPU or 16 cores.",
        ),
    ] = None,
    views: Annotated[
        int, typer.Option(metavar="N", show_default=False, help="Embed N augmented views of each photo too.")
    ] = 0,
    prune: Annotated[bool, typer.Option("--prune", help="Forget the photos that are gone.")] = False,
    forget: Annotated[
        int | None,
        typer.Option(metavar="N", help="With `--prune`: how many, if most are gone."),
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Open unreadable photos again.")] = False,
    keep_damaged: Annotated[bool, typer.Option("--keep-damaged", help="Embed what is left of damaged photos.")] = False,
    drop_trunk: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            autocompletion=complete.trunks,
            help="In the end, remove what this trunk has made.",
        ),
    ] = None,
    zip_encoding: ZipEncoding = None,
    as_json: Json = False,
) -> None:
    """Embed the photos that are new or have changed."""
    from petrieve.api.store import open as opened

    with asked_to_stop() as asked:
        summary = opened(store, trunk=trunk).embed(
            sources,
            labels=labels,
            label_level=label_level,
            photo_column=photo_column,
            label_column=label_column,
            weights=weights,
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
            quiet=as_json,
            stop=lambda: bool(asked),
            then=partial(show, as_json=as_json),
        )
    if asked:
        print(f"stopped with {summary.left} photos left; the next `embed` goes on from here", file=sys.stderr)
        raise typer.Exit(128 + asked[0])


@app.command(epilog="Example: cli.py info --json")
def info(
    store: Store = DEFAULT_STORE,
    endpoint: Endpoint = None,
    trunk: Trunk = None,
    unreadable: Annotated[bool, typer.Option("--unreadable", help="List only these photos, but all of them.")] = False,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the unreadable photos to this CSV.")] = None,
    as_json: Json = False,
) -> None:
    """Say what the store holds, and whether the head fits it."""
    from petrieve.api.store import open as opened

    there = opened(store, trunk=trunk)
    if csv:
        spreadsheet.unreadable(csv, [bad for _, bad in sorted(there.cache().unreadable().items())])
    found = there.info()
    lines = terminal.unreadable(found.document()) if unreadable else found.lines()
    say(found.document(), None if as_json else lines)


@app.command(epilog="Example: cli.py verify --sample 100")
def verify(
    store: Store = DEFAULT_STORE,
    endpoint: Endpoint = None,
    trunk: Trunk = None,
    sample: Annotated[int, typer.Option(min=0, metavar="N", help="How many photos to embed again.")] = 32,
    every: Annotated[bool, typer.Option("--all", help="Read every photo again.")] = False,
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: Json = False,
) -> None:
    """Say what is wrong with a store, and what mends it."""
    from petrieve.api.store import open as opened

    found = opened(store, trunk=trunk).verify(sample=sample, every=every, device=device, precision=precision)
    show(found, as_json)
    if found.findings:
        raise typer.Exit(1)


@app.command(epilog="Example: cli.py doctor data/")
def doctor(
    sources: Annotated[
        list[str] | None, typer.Argument(metavar="SOURCE...", help="Some of your photos, to measure with.")
    ] = None,
    store: Store = DEFAULT_STORE,
    endpoint: Endpoint = None,
    weights: Weights = None,
    device: Device = "auto",
    precision: Precision = "auto",
    zip_encoding: ZipEncoding = None,
    as_json: Json = False,
) -> None:
    """Say what is wrong with an installation, and with photos which step of embedding is the slowest."""
    from petrieve.api.store import open as opened

    found = opened(store).doctor(sources, weights=weights, device=device, precision=precision)
    show(found, as_json)
    if any(one.wrong for one in found.troubles):
        raise typer.Exit(1)


@app.command(epilog="Example: cli.py sample data/drawn --photos 40")
def sample(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Where the photos go.")],
    photos: Annotated[int, typer.Option(metavar="N", help="How many to draw.")] = 120,
    seed: Annotated[int, typer.Option(metavar="N", help="Other numbers draw other pets.")] = 0,
    origin: Annotated[
        str | None, typer.Option("--from", metavar="NAME", help="`oxford-iiit-pet`: real photos, 800 MB.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Draw or fetch pictures of cats and dogs, to try things."""
    from petrieve.api import store

    show(store.sample(folder, photos=photos, seed=seed, origin=origin), as_json)
