"""Results as text in a terminal."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from petrieve.gallery.tables import LINES, rest, table
from petrieve.gallery.words import name, printable
from petrieve.store.errors import listed
from petrieve.store.photo import path_of

NO_LABELS = "none; photos get one where each label has a folder of its own, or from `--labels FILE.csv`"
LABELS, FREQUENT = 20, 10  # on one line: new photos' labels; what a store holds
BETTER = "the bundled trunk knows cats and dogs; for ImageNet's weights: {}"
SOURCES, PASSED = 10, 10  # how many of them are listed
BY = {"csv": "the CSV", "source": "what lies with them"}  # what gives photos their labels


class Aside(str):
    """A line that is not of the result: it goes to stderr."""


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
        then = f"and {are} forgotten" if pruned else f"(`--prune` forgets {them})"
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


def compared(found: dict[str, Any]) -> Iterator[str]:
    """The trunks of a store, side by side."""
    rows = []
    for one in found["trunks"]:
        low, high = one["accuracy_interval"]
        near = one["precision_at_5"]
        rows.append(
            (
                one["trunk"],
                f"{one['accuracy']:.1%} ({100 * low:.1f}–{100 * high:.1f})",
                f"{near['value']:.2f} ({near['low']:.2f}–{near['high']:.2f})",
                str(one["right_alone"]),
                f"{one['seconds_a_photo']:.3f}",
                str(one["bytes_a_photo"]),
            )
        )
    yield from table(("trunk", "accuracy", "precision@5", "alone", "s", "bytes"), rows)
    for one in found["trunks"]:
        if one["looked_at"] < one["of"]:
            yield f"{one['trunk']}: {looked_at(one['looked_at'], one['of'])}"
    yield "in brackets 95 % intervals; alone: photos that it told right and no other did,"
    yield f"of {found['measured_on']} that all were measured on; seconds and bytes of one photo"


def fitted(report: dict[str, Any]) -> Iterator[str]:
    """A head's figures."""
    l2 = f", L2 {report['l2']:.3g}"
    yield f"{report['method']} head, {report['photos']} photos, {len(report['classes'])} classes{l2}"
    low, high = report["accuracy_interval"]
    yield (
        f"accuracy {report['accuracy']:.1%} ({low:.1%} to {high:.1%}), log loss {report['log_loss']:.3f} "
        f"({report['evaluated_on']})"
    )
    yield f"nearest neighbours {report['accuracy_knn']:.1%}, calibration error {report['ece_after']:.1%}"
    if report["near_copies"]:
        inflated = f"{100 * (report['accuracy_ungrouped'] - report['accuracy']):+.1f} points"
        copies = f"{report['near_copies']} photos have near-copies, by their embeddings"
        yield f"{copies}; with them on both sides accuracy would have shown {inflated}"
    if report["left_out"]:
        yield f"held-out photos not measured on, being near-copies of training photos: {report['left_out']}"


def predicted(predictions: Sequence[dict[str, Any]]) -> Iterator[str]:
    """What is in which photo."""
    rows = []
    for one in predictions:
        photo = name(path_of(one["root"], one["photo"]))
        if "error" in one:
            rows.append((photo, "unreadable", one["error"], ""))
        else:
            doubts = ", ".join(doubt for doubt in ("unsure", "unfamiliar") if one[doubt])
            rows.append((photo, one["label"], f"{one['probability']:.1%}", doubts))
    yield from table(("photo", "label", "probability", ""), rows)


def matches(found: Sequence[Any], *, grouped: bool) -> list[dict[str, Any]]:
    """Matches as the document has them: paths as `name` writes them, groups where they were asked for."""
    listed = [{**asdict(one), "photo": name(one.photo)} for one in found]
    return listed if grouped else [{key: one[key] for key in one if key != "group"} for one in listed]


def neighbours(found: dict[str, Any]) -> Iterator[str]:
    """The photos most like a query; how many random pairs of photos are as close tells what a similarity means."""
    grouped = any("group" in one for one in found["neighbours"])
    rows = []
    for one in found["neighbours"]:
        close = f"1 of {1 / one['pairs_as_close']:,.0f}"
        own = ["" if one["group"] is None else str(one["group"])] if grouped else []
        gone = f" (gone since {one['gone']})" if one["gone"] else ""
        rows.append([f"{one['similarity']:.3f}", close, one["label"] or "", *own, one["photo"] + gone])
    titles = ("similarity", "random pairs as close", "label", *(["group"] if grouped else []), "photo")
    yield from table(titles, rows)


def evaluated(found: dict[str, Any]) -> Iterator[str]:
    """What the search is worth, with 95 % confidence intervals."""
    yield f"{found['queries']} of {found['photos']} photos asked, {found['values']} values of {found['column']}"
    if found["photos"] < found["of"]:
        yield f"they were held against {looked_at(found['photos'], found['of'], 'photos that have one')}"
    names = {
        "precision_at_5": "precision@5",
        "recall_at_10": "recall@10",
        "mean_average_precision": "mean average precision",
        "index_recall": "the index's recall@10 against exact search",
        "index_recall_chosen": f"the same among photos of one {found['column']} alone",
    }
    rows = [
        (
            title,
            f"{one['value']:.3f}",
            f"{one['low']:.3f} to {one['high']:.3f}",
            f"{found.get(f'{key}_possible', 1):.3f}",
        )
        for key, title in names.items()
        if (one := found[key])
    ]
    yield from table(("cosine similarity", "mean", "95 % interval", "at best"), rows)
    if found["near_copies"]:
        yield Aside(f"left out: {found['near_copies']} near-copies of what was asked")


def duplicated(document: dict[str, Any]) -> dict[str, Any]:
    """Near-copies as a document has them: paths as `name` writes them."""
    for group in document["groups"]:
        group["best"] = name(group["best"])
        for one in group["photos"]:
            one["photo"] = name(one["photo"])
    return document


def duplicates(found: dict[str, Any]) -> Iterator[str]:
    """Groups of near-copies, each with its best photo first, and what the thresholds are worth."""
    rows = [
        (str(number), group["kind"] if place == 0 else "", f"{one['width']} × {one['height']}", one["photo"])
        for number, group in enumerate(found["groups"], 1)
        for place, one in enumerate(group["photos"])
    ]
    if rows:
        yield from table(("group", "kind", "size", "photo, the best first"), rows)
    kinds = Counter(group["kind"] for group in found["groups"])
    counted = ", ".join(f"{count} of the {kind}" for kind, count in kinds.items())
    yield f"{found['photos']} photos, {found['compared']} pairs compared; groups: {counted or 'none'}"
    if found["links"]:
        yield Aside(f"left out: {found['links']} further names of the same files, which are not copies")
    if found["changed"]:
        yield Aside(f"left out: {found['changed']} photos that are gone or have changed; `petrieve embed` follows them")
    yield "tested on copies made of your own photos:"
    for fit in found["fitted"]:
        shares = ", ".join(f"{share:.0%} of {kind}" for kind, share in fit["found"].items())
        yield f"  {fit['kind']}: found {shares}; false alarms: {_false(fit, found['others'])}"
    if found["others"] == "random pairs":
        yield "look-alikes are harder to tell from copies than random pairs, so look at the groups"


def _false(fit: dict[str, Any], others: str) -> str:
    """The false-positive rate, with its upper bound where nothing was taken: the rule of three."""
    if not fit["others"]:
        return "not known, there are no other pairs"
    rate = f"{3 / fit['others']:.1%} at most" if not fit["taken"] else f"{fit['taken'] / fit['others']:.2%}"
    return f"{fit['taken']} of {fit['others']} {others} ({rate})"


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


AUDITED = {  # what each kind of finding is called, of one photo and of several
    "label": "has a label that is probably wrong|have a label that is probably wrong",
    "doubt": "has a label to look at|have a label to look at",
    "conflict": "has a near-copy with another label|have a near-copy with another label",
    "leak": "has a near-copy in another split|have a near-copy in another split",
    "outlier": "is unlike all others|are unlike all others",
}


def audited(found: dict[str, Any]) -> Iterator[str]:
    """How many photos are worth a look and why, and the worst of them."""
    yield looked_at(found["photos"], found["of"])
    for kind, count in found["found"].items():
        if count:
            yield f"{count} {AUDITED[kind].split('|')[count > 1]}"
    expected = round(found["expected_wrong"])
    yield f"labels that are expected to be wrong: {f'about {expected}' if expected else 'none'}"
    worst = worth_a_look(found["ranked"])
    rows = [(f"{one['score']:.3f}", one["photo"], one["label"], one["reason"]) for one in worst]
    if rows:
        yield from table(("score", "photo", "label", "reason"), rows)
    else:
        yield "nothing was found"


def looked_at(photos: int, of: int, what: str = "labelled photos") -> str:
    """How many photos were looked at, of how many; of very many some are drawn."""
    return f"{photos} {what}" if photos == of else f"{photos:,} of {of:,} {what} were looked at, drawn by their digests"


def worth_a_look(ranked: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The audited photos that something was found on."""
    return [one for one in ranked if one["kinds"]]


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
        yield f"{sampled} of {present} photos that are not gone, evenly spread, were embedded again; `--all` reads all"
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


def reported(made: dict[str, Any]) -> Iterator[str]:
    """Where the report is."""
    yield f"{printable(made['file'])}: {made['size_bytes'] / 1e6:.1f} MB, opens in any browser, needs no network"
    if made["photos"] < made["of"]:
        yield looked_at(made["photos"], made["of"])


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
