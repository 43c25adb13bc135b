"""A run: new photos of its sources go through the engine into the store."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache as once
from typing import Any

from petrieve.extractor.engines.cluster import LOCAL, here
from petrieve.extractor.engines.local import load
from petrieve.extractor.engines.sampled_views import sampled_views
from petrieve.extractor.engines.units import Piece
from petrieve.extractor.find import Found, OnListed, find_all
from petrieve.extractor.labelling import Annotator, naming_of, source_annotations
from petrieve.extractor.manifest import Manifest
from petrieve.extractor.pixels.augment import RECIPE, check_views
from petrieve.extractor.plan import Plan, check_loss, plan
from petrieve.extractor.run import Note, Progress, Run, run
from petrieve.extractor.settle import settle
from petrieve.extractor.sources.ahead import more_each_time
from petrieve.extractor.sources.annotations.labels import read_labels
from petrieve.extractor.sources.buckets.fetching import fetching
from petrieve.extractor.sources.formats import FORMATS
from petrieve.extractor.sources.not_archives import is_other_file
from petrieve.extractor.sources.places import Place, container_of, paths_of
from petrieve.extractor.sources.unchanged import Listings
from petrieve.extractor.trunks.choice import Compute, asks, fitting_trunk, made_by, new_trunk
from petrieve.extractor.trunks.ranges import SAMPLE, quantised
from petrieve.extractor.trunks.trunk import Trunk
from petrieve.store.cache import Cache
from petrieve.store.errors import PetrieveError
from petrieve.store.folder import Store, read_card
from petrieve.store.inherited import annotations_of_gone
from petrieve.store.known import known, nothing
from petrieve.store.listings import read_listings
from petrieve.store.lock import writing
from petrieve.store.rows import Unreadable, photo_schema
from petrieve.store.trunks import drop, trunks_of
from petrieve.store.upgrade import upgrade
from petrieve.store.written import Outcome


@dataclass(frozen=True)
class Summary:
    """What a run did: counts of photos; `device` and `precision` are None when the trunk had nothing to do."""

    found: int
    embedded: int
    cached: int
    copied: int
    unreadable: int
    missing: int
    labels: dict[str, dict[str, int]] | None  # of the new photos, by what gave them: `folders`, `names` or `csv`
    views: int  # embeddings that the trunk made: one for each photo, and those of its augmented views
    left: int  # not looked at, because the run was asked to stop
    sources: dict[str, dict[str, Any]]  # of each: counts of photos, and of what is passed over
    network: dict[str, float] | None  # requests and bytes a second that buckets answered; None where none was asked
    nodes: dict[str, dict[str, Any]]  # of each machine: its photos, their rate, and how busy its stages were
    seconds: float
    photos_per_second: float
    device: str | None
    precision: str | None
    trunk: str
    weights: str


def embed(
    sources: Place | Sequence[Place],
    *,
    store: Place = ".petrieve",
    labels: Place | None = None,
    label_level: int | None = None,
    photo_column: str | None = None,
    label_column: str | None = None,
    trunk: str | None = None,
    weights: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    on: str = LOCAL,
    workers: int | None = None,
    views: int = 0,
    prune: bool = False,
    forget: int | None = None,
    retry: bool = False,
    keep_damaged: bool = False,
    drop_trunk: str | None = None,
    listing: OnListed | None = None,
    progress: Progress | None = None,
    note: Note = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[Summary, Cache]:
    """The figures of a run that brings a store up to date with its sources, and the cache after it.

    A photo that the store knows is not opened again; bytes that it knows under another name are not embedded again.
    `labels` is a CSV; `photo_column` and `label_column` name its columns where they have other names. Other photos are
    labelled by their folders at `label_level` (1 is the first below the source, -1 the last); by default new photos are
    labelled as the store's are, and known ones keep their labels.
    `trunk` is a kind, such as `densenet201`, by default the store's first, else `densenet121`; embeddings of several
    trunks stand side by side. `weights` is `imagenet`, `bundled` or a file, by default the store's own. Each photo gets
    N augmented `views` beside the canonical one; the store remembers the largest N.
    `prune` forgets photos that are gone, and most of a source only if `forget` is their number; `retry` opens
    unreadable photos again though they have not changed; `keep_damaged` embeds what is left of damaged ones, and marks
    them. `drop_trunk` names a trunk whose embeddings are removed after the run.
    The trunk runs `on` this machine (`local`), or on `workers` of the Ray cluster that `ray` or an address names, by
    default one for each GPU or for each 16 cores; `note` is then called with what runs where. `listing` is called with
    the number of photos found so far, and `progress` after each commit; the run ends there if `stop` returns true.

    Raises:
        PetrieveError: a source, the labels, the weights, the device or the store cannot be used; or no photo be read.
    """
    started, answered = time.perf_counter(), fetching().answered_so_far()
    check_views(views)
    asked, compute = Compute(weights, device, precision), Compute(weights, *here(on, device, precision))
    wanted = paths_of(sources)
    if all(map(is_other_file, wanted)):
        raise PetrieveError(f"{wanted[0]} is not a photo", f"name {FORMATS} files, or what holds them")
    place = Store.at(store)
    csv = read_labels(labels, photo=photo_column, label=label_column) if labels is not None else None
    with writing(place) as held, closing(Manifest()) as manifest:
        upgrade(place)
        cache, network = _opened(place, trunk, compute)
        if cache is not None:
            cache.keep_views(cache.made.views, RECIPE)  # those of another recipe go before they are counted
        below = _asked(wanted) if csv is None else None  # a CSV may name any photo
        there = known(cache, below) if cache is not None else nothing()
        listings = Listings(read_listings(place), there)
        found = find_all(wanted, manifest, there, listings=listings, listing=listing, prune=prune)
        views = max(views, cache.made.views if cache is not None else 0)
        to_do = plan(manifest, found, wanted, there, views=views, retry=retry, keep_damaged=keep_damaged)
        naming = naming_of(to_do, wanted, there, cache, level=label_level)
        annotations = source_annotations(found, to_do, there, cache, csv)
        csv = csv.into(cache.room_for(csv.columns)) if csv and cache is not None else csv
        annotate = Annotator(naming, annotations.rows, csv.by_path(to_do.listed, there, to_do.seen) if csv else {})
        if prune:
            check_loss(to_do, wanted, there, forget)
        if cache is None:
            _check_one_is_readable(to_do.work(annotate), keep_damaged)
            network = network or new_trunk(None, compute)

        @once
        def loaded() -> Trunk:
            found = network or fitting_trunk(cache, compute)  # type: ignore[arg-type]
            if precision == "int8":
                views = sampled_views(to_do.rows, manifest.in_parts, SAMPLE)
                return quantised(found, place.folder(made_by(found)).ranges, views)
            return found

        if network or (cache is not None and asks(cache, asked)):
            loaded()
        if cache is None:
            cache = Cache.create(place, made_by(loaded()), dimension=loaded().dimension)
        assert cache is not None
        if drop_trunk:
            _check_another(place, drop_trunk, cache)
        cache.add_columns(photo_schema())  # a store of this format may lack the latest
        if cache.add_columns(annotations.columns) | bool(csv and cache.add_columns(csv.columns)):
            there = known(cache, below)
        if to_do.todo or to_do.missing:
            back = frozenset(there.ids[there.away & to_do.seen].tolist())
            to_do = replace(to_do, lost=annotations_of_gone(cache, there, to_do.missing, back))
        cache.keep_views(views, RECIPE)
        cache.keep_listings({**listings.then, **listings.now})
        one = Run(
            found=found,
            to_do=to_do,
            annotate=annotate,
            cache=cache,
            there=there,
            trunk=loaded,
            on=on,
            workers=workers,
            device=device,
            precision=precision,
            keep_damaged=keep_damaged,
            note=note,
        )
        ran = run(one, progress=progress, stop=stop)
        left, held.leaves = to_do.todo - ran.outcomes.total(), ran.leaves
        if not left:
            settle(cache, to_do, there, annotate, naming=naming if label_level is not None else None, prune=prune)
        cache.sign()
        if drop_trunk and not left:
            drop(place, drop_trunk)
        labelled = annotate.counts(to_do)
    counts = Counter[str]()
    for (_, outcome), count in ran.outcomes.items():
        counts[outcome] += count
    todo, cached, unread, _ = to_do.counts.sum(axis=0).tolist()
    photos, unreadable = todo + cached + unread, counts["unreadable"] + unread
    if photos and unreadable == photos:
        raise PetrieveError(f"none of {photos} photos can be read", "`petrieve info --unreadable` lists the reasons")
    seconds = time.perf_counter() - started
    used = on == LOCAL and loaded.cache_info().currsize > 0
    return Summary(
        found=photos,
        embedded=counts["embedded"],
        cached=cached,
        copied=counts["copied"],
        unreadable=unreadable,
        missing=len(to_do.missing),
        labels=labelled,
        views=ran.views,
        left=left,
        sources=_by_source(found, to_do, ran.outcomes),
        network=fetching().rates(answered, seconds),
        seconds=round(seconds, 3),
        photos_per_second=round(counts["embedded"] / seconds, 2),
        nodes={host: node.figures(seconds) for host, node in sorted(ran.nodes.items())},
        device=ran.device or (str(loaded().device) if used else None),
        precision=ran.precision or (loaded().precision_name if used else None),
        trunk=cache.made.name,
        weights=cache.weights,
    ), cache


def _opened(place: Store, trunk: str | None, compute: Compute) -> tuple[Cache | None, Trunk | None]:
    """The store's cache, None for a new store; and the trunk, if one is asked for by name.

    Its embeddings stand beside those of other trunks.
    """
    card = read_card(place)
    if trunk is None:
        return (Cache.open(place.path), None) if card else (None, None)
    before = [made for made in card.trunks if trunk in (made.kind, made.name)] if card else []
    weights = compute.weights or (before[0].weights if before else None)
    network = new_trunk(trunk, replace(compute, weights=weights))
    if trunk not in (network.kind, made_by(network).name):
        raise PetrieveError(
            f"the weights {network.weights} are those of {made_by(network).name}, not of {trunk}",
            f'name the weights that made it, or `trunk="{network.kind}"` to embed with these',
        )
    if card is None:
        return None, network
    return Cache.create(place, made_by(network), dimension=network.dimension), network


def _asked(sources: Iterable[str]) -> list[str]:
    """The paths below which a run looks up the store's photos; for a name in an archive, the whole archive."""
    return [(container_of(source) or (source,))[0] for source in sources]


def _check_another(place: Store, name: str, cache: Cache) -> None:
    """Refuse to drop the trunk that the run embeds with."""
    if trunks_of(place.path, [name]) == [cache.made.name]:
        raise PetrieveError(f"{name} is what this run embeds with", "name the trunk that stays with `trunk=…`")


def _check_one_is_readable(parts: Iterable[Piece], keep_damaged: bool) -> None:
    """Refuse sources without a readable photo: no store is made for files that only look like photos."""
    failures, first, may_pass = 0, None, True
    for part, photos in parts:
        # A few first: reading all at once would request far ahead, and one alone does not show whether a bucket
        # answers.
        for some in more_each_time(photos):
            for read in part.read({photo.uri for photo in some}):
                loaded = load(read, there=lambda _: None, keep_damaged=keep_damaged)
                if not isinstance(loaded.seen, Unreadable):
                    return
                failures, first, may_pass = failures + 1, first or loaded.seen, may_pass and loaded.seen.may_pass
    assert first
    raise PetrieveError(
        f"none of {failures} photos can be read, first {first.photo.path}: {first.reason}",
        "see that they can be reached, and run the command again" if may_pass else f"name {FORMATS} files",
    )


def _by_source(found: Iterable[Found], to_do: Plan, outcomes: Counter[Outcome]) -> dict[str, dict[str, Any]]:
    """Of each source, photos by outcome, and what is passed over; a photo counts for the first source that has it."""
    counts: dict[str, dict[str, Any]] = {}
    for number, one in enumerate(found):
        _, cached, unreadable, _ = to_do.counts[number].tolist()
        of = {name: outcomes[number, name] for name in ("embedded", "cached", "copied", "unreadable")}
        of |= {"cached": cached, "unreadable": of["unreadable"] + unreadable}
        counts[one.name] = {"found": sum(of.values()), **of, "passed_over": dict(one.passed)}
    return counts
