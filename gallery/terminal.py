"""What a store holds, and what was done with it, as text in a terminal."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from petrieve.gallery.answers import fitted
from petrieve.gallery.tables import LINES, Aside, rest, table
from petrieve.gallery.words import printable
from petrieve.store.errors import listed

NO_LABELS = 'none; photos get one where each label has a folder of its own, or from `labels="FILE.csv"`'
LABELS, FREQUENT = 20, 10  # on one line: new photos' labels; what a store holds
BETTER = "the bundled trunk knows cats and dogs; for ImageNet's weights: {}"
SOURCES, PASSED = 10, 10  # how many of them are listed
BY = {"csv": "the CSV", "source": "what lies with them"}  # what gives photos their labels


def embedded(summary: dict[str, Any], *, pruned: bool) -> Iterator[str]:
    """What a run of `embed` did."""
    views = f", {summary['views']} views" if summary["views"] > summary["embedded"] else ""
    yield f"{_counts(summary)}{views}"
    odd = {name: of for name, of in summary["sources"].items() if of["passed_over"] or of["unreadable"]}
    for source, of in list(odd.items())[:SOURCES] if len(summary["sources"]) > 1 else ():
        yield f"  {printable(source)}: {'; '.join(filter(None, (_counts(of), passed_over([of]))))}"
    if len(odd) > SOURCES:
        yield f"  and {len(odd) - SOURCES} more sources with unreadable photos, or with files that are not photos"
    if summary["device"]:
        how = f"{kind(summary['trunk'])}, {summary['weights']} weights on {summary['device']} in {summary['precision']}"
        yield f"{summary['seconds']} s, {summary['photos_per_second']} photos/s, {printable(how)}"
    yield from _network(summary["network"])
    if summary["labels"] is not None:
        yield f"labels: {_labels(summary['labels']) or NO_LABELS}"
    if summary["better"]:
        yield BETTER.format(printable(summary["better"]))
    if summary["unreadable"]:
        yield Aside("`petrieve info --unreadable` lists the unreadable ones with their reasons")
    if missing := summary["missing"]:
        some, are, them = ("1 photo", "is", "it") if missing == 1 else (f"{missing} photos", "are", "them")
        then = f"and {are} forgotten" if pruned else f"(`prune=True` forgets {them})"
        yield Aside(f"{some} {are} gone from the source {then}")


def _counts(of: dict[str, Any]) -> str:
    """What came of the photos of a run, or of one source."""
    counts = {key: of[key] for key in ("embedded", "cached", "copied", "unreadable")}
    parts = ", ".join(f"{count} {name}" for name, count in counts.items() if count or name == "embedded")
    return f"{of['found']} photos found: {parts}"


def passed_over(sources: Iterable[dict[str, Any]]) -> str:
    """The files in sources that are not photos, counted by kind; empty where there are none."""
    counts = sum((Counter(of["passed_over"]) for of in sources), Counter[str]())
    some = [f"{count} {what}" for what, count in sorted(counts.items())]
    return f"passed over: {printable(listed(some, PASSED))}" if some else ""


def _network(rates: dict[str, float] | None) -> Iterator[str]:
    """What buckets answered, where some were asked."""
    if rates:
        megabytes = rates["bytes_per_second"] / 1e6
        yield f"the network: {rates['requests_per_second']:,.0f} requests/s, {megabytes:,.1f} MB/s"


def _labels(counts: dict[str, dict[str, int]]) -> str:
    """The labels of new photos, and where they came from."""
    said = []
    for by, of in counts.items():
        more = f" and {len(of) - LABELS} more" if len(of) > LABELS else ""
        some = ", ".join(f"{label} {count}" for label, count in list(of.items())[:LABELS])
        said.append(f"{len(of)} from {BY.get(by, by)}: {some}{more}")
    return printable("; ".join(said))


def kind(trunk: str) -> str:
    """What people call a trunk: without the digits that tell it from others of its kind."""
    return trunk.partition("-")[0]


def contents(info: dict[str, Any]) -> Iterator[str]:
    """What a store holds."""
    gone = f" ({info['gone']} of them gone)" if info["gone"] else ""
    yield f"{info['photos']} photos{gone}, {info['views']} views"
    yield f"{kind(info['trunk'])}, {printable(info['weights'])} weights"
    if len(info["trunks"]) > 1:
        yield f"trunks: {', '.join(info['trunks'])}"
    if info["better"]:
        yield BETTER.format(printable(info["better"]))
    yield f"fingerprint {info['fingerprint']}"
    for told in ("labels", "splits"):
        yield f"{told}: {_counted(info[told])}"
    caveats = Counter(one["caveat"] for one in info["caveats"])
    if caveats:
        yield "embedded, but: " + ", ".join(f"{count} {caveat}" for caveat, count in caveats.most_common())
    head = info["head"]
    yield f"head: {_state(head, 'fit-head')}"
    if head and head["fits"]:
        yield from fitted(head)
    yield from index(info["index"])
    if info["map"]:
        yield from mapped(info["map"])
    if info["unreadable"]:
        yield from table(("unreadable", "reason"), _reasons(info))


def _counted(counts: dict[str, int]) -> str:
    """How many photos there are of what; of very many the most frequent."""
    shown = counts if len(counts) <= LABELS else dict(Counter(counts).most_common(FREQUENT))
    counted = ", ".join(f"{key} {count}" for key, count in shown.items())
    others = len(counts) - len(shown)
    most = f"{len(counts)}, the most frequent {counted} and {others} more; `--json` lists all"
    return printable(most if others else counted) or "none"


def index(card: dict[str, Any]) -> Iterator[str]:
    """What the index is and finds."""
    if not card["fits"]:
        yield f"index: {_state(card, 'build-index')}"
    elif "recall" not in card:
        yield f"index: none is needed, {card['photos']} photos are compared one by one"
    else:
        yield f"index: {card['kind']}, {card['photos']} photos, {card['memory_mb']} MB, built in {card['seconds']} s"
        found = f"a search looks into {card['lists']} lists, compares {card['shortlist']} photos"
        yield f"{found} and finds {card['recall']:.1%} of the ten nearest (wanted: {card['target']:.1%})"


def mapped(card: dict[str, Any]) -> Iterator[str]:
    """What the map is, and how far it is behind."""
    if not card.get("fits", True):
        yield f"map: {_state(card, 'build-map')}"
        return
    yield f"map: {card['contents']} different photos, by {card['method']}, made in {card['seconds']} s"
    if card.get("added") or card.get("gone"):
        yield f"since then {card['added']} came and {card['gone']} went; `petrieve build-map` makes it again"


def unreadable(info: dict[str, Any]) -> Iterator[str]:
    """All photos that a store could not embed, and why."""
    yield from table(("unreadable", "reason"), _reasons(info), most=len(info["unreadable"]))


def _reasons(info: dict[str, Any]) -> list[tuple[str, str]]:
    return [(bad["photo"], bad["reason"]) for bad in info["unreadable"]]


def diagnosed(found: dict[str, Any]) -> Iterator[str]:
    """How fast each step is."""
    weights = printable(found["weights"])
    yield f"{found['device']} in {found['precision']}, {weights} weights, batches of {found['batch']}"
    yield f"{found['cores']} cores, {found['workers']} workers that read and decode"
    rows = [(stage, f"{rate:,.1f}") for stage, rate in found["stages"].items()]
    yield from table((f"alone, on {found['photos']} photos", "photos/s"), rows)
    yield from _network(found["network"])
    yield f"all together: about {found['expected']:,.0f} photos/s, held up by {found['slowest']}"
    yield f"what would help: {found['advice']}"
    if found["unreadable"]:
        yield Aside(f"{found['unreadable']} of these photos cannot be read")


def verified(found: dict[str, Any]) -> Iterator[str]:
    """What was held against what, and what is wrong."""
    yield f"the rows of {found['photos']} photos were read"
    present, opened, sampled = found["present"], found["opened"], found["sampled"]
    if opened > sampled:
        yield f"all {present} photos that are not gone were read again, {sampled} of them embedded again"
    elif sampled < present:
        some = f"{sampled} of {present} photos that are not gone, evenly spread,"
        yield f"{some} were embedded again; `every=True` reads all"
    else:
        yield f"all {present} photos that are not gone were embedded again"
    if found["worst_cosine"] is not None:
        yield f"worst cosine between an embedding and its photo's new one: {found['worst_cosine']}"
    if found["changed"]:
        yield f"{len(found['changed'])} of these photos are gone or have changed since; `petrieve embed` follows them"
    for one in found["findings"][:LINES]:
        yield printable(f"wrong: {one['what']}; {one['remedy']}")
    yield from rest(found["findings"], LINES)
    if not found["findings"]:
        yield "all is well"


def exported(made: dict[str, Any]) -> Iterator[str]:
    """What was written, and how near it is to what it was made from."""
    what = f"{made['photos']} photos" if "photos" in made else f"{made['size_bytes'] / 1e6:.2f} MB"
    yield f"{printable(made['written'])}: {what}"
    if made.get("compared"):
        difference = f"{made['largest_difference']:.1g} at most"
        yield f"probabilities in onnxruntime differ from ours in float32 by {difference}, on {made['compared']} photos"
        if made["predict_difference"] is not None:
            held = "and from those of `petrieve predict`, by the store's embeddings,"
            yield f"{held} by {made['predict_difference']:.1g}"
    elif "compared" in made:
        yield Aside("not compared with ours: none of the store's first photos is at hand")


def sampled(made: dict[str, Any]) -> Iterator[str]:
    """Where the sample is."""
    yield f"{made['photos']} photos in {printable(made['folder'])}"


def imported(made: dict[str, Any]) -> Iterator[str]:
    """Where the embeddings are now."""
    yield f"{made['photos']} photos in the store {printable(made['store'])}"


def _state(part: dict[str, Any] | None, command: str) -> str:
    if part is None:
        return f"none yet; `petrieve {command}` makes it"
    return "fits the embeddings" if part["fits"] else f"does not fit the embeddings; `petrieve {command}` makes it anew"
