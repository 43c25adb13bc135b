"""Which trunk serves the user's own photos best."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from petrieve.commands.options import DEFAULT_STORE, Device, Endpoint, Json, Precision, Store, show
from petrieve.gallery import terminal
from petrieve.store.errors import PetrieveError

app = typer.Typer()


@app.command("compare-trunks", epilog="Example: cli.py compare-trunks --json")
def compare_trunks(
    store: Store = DEFAULT_STORE,
    endpoint: Endpoint = None,
    trunks: Annotated[
        list[str] | None, typer.Option("--trunk", help="One of those to compare: by default all.")
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: Json = False,
) -> None:
    """Put the store's trunks side by side on your own labels: how often each is right, and what it costs."""
    from petrieve.classifier import labelled
    from petrieve.classifier.auditing.outcomes import right
    from petrieve.classifier.figures import apart
    from petrieve.classifier.fitting.fit import fit
    from petrieve.extractor.checks import speed
    from petrieve.index import build
    from petrieve.index.evaluate import evaluate
    from petrieve.store.cache import Cache
    from petrieve.store.trunks import trunks_of

    found: dict[str, dict[str, Any]] = {}
    said: dict[str, dict[str, bool]] = {}
    for name in trunks_of(store, trunks):
        cache = Cache.open(store, name)
        photos = labelled.read(cache, bounded=True)
        head, report = fit(cache, photos=photos)
        said[name] = right(photos, head)
        measured = evaluate(build.build(cache))
        found[name] = {
            "trunk": name,
            "weights": cache.weights,
            "dimension": cache.dimension,
            "photos": report.photos,
            "looked_at": len(photos),
            "of": photos.of,
            "accuracy": report.accuracy,
            "accuracy_interval": list(report.accuracy_interval),
            "precision_at_5": asdict(measured.precision_at_5),
            "seconds_a_photo": round(speed.seconds_a_photo(cache, device=device, precision=precision), 4),
            "bytes_a_photo": round(speed.bytes_a_photo(cache)),
        }
    if len(found) < 2:
        raise PetrieveError(f"the store {store} has one trunk", "run `cli.py embed FOLDER --trunk densenet201` first")
    shared, alone = apart.alone(said)
    for name, count in alone.items():
        found[name]["right_alone"] = count
    show({"measured_on": shared, "trunks": list(found.values())}, terminal.compared, as_json)
