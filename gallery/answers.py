"""Answers about photos as text in a terminal: what they show, what looks like them, which labels are wrong."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from petrieve.gallery.tables import Aside, table
from petrieve.gallery.words import name, printable
from petrieve.store.photo import path_of


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


def reported(made: dict[str, Any]) -> Iterator[str]:
    """Where the report is."""
    yield f"{printable(made['file'])}: {made['size_bytes'] / 1e6:.1f} MB, opens in any browser, needs no network"
    if made["photos"] < made["of"]:
        yield looked_at(made["photos"], made["of"])
