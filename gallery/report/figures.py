"""A head's report as the cards, plots and tables of a page."""

from collections.abc import Iterator, Sequence
from typing import Any

from petrieve.gallery.html import escaped
from petrieve.gallery.report.plots import Series, decades, intervals, matrix, numbers, percent, plot

Row = dict[str, Any]
CONFUSED = 8  # pairs of classes
FEW = 4  # classes whose confusion matrix fits beside another figure
STATED = (0.01, 0.02, 0.05)  # errors that a threshold can be chosen for


def cards(head: Row) -> str:
    """The figures that matter most, each with what to hold it against."""
    low, high = head["accuracy_interval"]
    area = head["roc_auc"]
    shown = [
        ("Accuracy", f"{head['accuracy']:.1%}", f"95% interval {low:.1%} to {high:.1%}"),
        ("Log loss", f"{head['log_loss']:.3f}", f"{head['log_loss_before']:.3f} before calibration"),
        ("Area under ROC", "n/a" if area is None else f"{area:.3f}", "1 is perfect, 0.5 a coin"),
        ("Calibration error", f"{head['ece_after']:.1%}", f"{head['ece_before']:.1%} before calibration"),
        ("Inflation", f"{_inflation(head):+.1f}", "points of accuracy, had near-copies been on both sides"),
        ("Nearest neighbours", f"{head['accuracy_knn']:.1%}", "accuracy of a plain vote, as a yardstick"),
    ]
    inside = "".join(
        f"<div><dt>{escaped(name)}</dt><dd>{escaped(value)}<small>{escaped(note)}</small></dd></div>"
        for name, value, note in shown
    )
    return f'<dl class="figures">{inside}</dl>'


def _inflation(head: Row) -> float:
    """Points of accuracy that near-copies on both sides of the splits would have added."""
    return 100 * float(head["accuracy_ungrouped"] - head["accuracy"])


def plots(head: Row) -> str:
    """What is right and wrong, how far a probability can be believed, and what saying less costs."""
    first = [_comparison(head), _confusion(head)]
    second = [_reliability(head), _risk(head), *_grid(head)]
    if len(head["classes"]) > FEW:  # the matrix takes a line of its own, and leaves a place beside the yardsticks
        first[1:1] = _roc(head)
    else:
        second[2:2] = _roc(head)
    return (
        f'<h2>Right and wrong</h2><div class="plots">{"".join(first)}</div>'
        f'<h2>How sure it may be</h2><div class="plots">{"".join(second)}</div>'
    )


def _figure(title: str, drawn: str, caption: str, *, large: bool = False) -> str:
    """A card with a drawing; a `large` one takes the whole width, and is moved about in where that is too narrow."""
    kind = "card large" if large else "card"
    return (
        f'<figure class="{kind}"><h3>{escaped(title)}</h3><div class="wide">{drawn}</div>'
        f"<figcaption>{escaped(caption)}</figcaption></figure>"
    )


def _comparison(head: Row) -> str:
    rows: list[tuple[str, float, tuple[float, float] | None]] = [
        ("this head", head["accuracy"], tuple(head["accuracy_interval"])),
        ("with near-copies on both sides", head["accuracy_ungrouped"], None),
        ("nearest neighbours' vote", head["accuracy_knn"], None),
        ("always the commonest class", max(row["support"] for row in head["per_class"]) / head["measured"], None),
    ]
    values = [value for _, value, _ in rows] + list(head["accuracy_interval"])
    axis = percent("accuracy", min(values), max(values))
    copies = f"{head['near_copies']:,} photos have a near-copy" if head["near_copies"] else "No photo has a near-copy"
    left_out = (
        f"; held-out photos left out as near-copies of training photos: {head['left_out']:,}"
        if head["left_out"]
        else ""
    )
    return _figure(
        "Beside yardsticks", intervals("Accuracy", axis, rows), f"{copies}{left_out}. The bar is the 95% interval."
    )


def _confusion(head: Row) -> str:
    classes, counts = head["classes"], head["confusion"]
    pairs = sorted(
        (-counts[row][column], classes[row], classes[column])
        for row in range(len(classes))
        for column in range(len(classes))
        if row != column and counts[row][column]
    )
    worst = "; ".join(f"{one} for {other} ({-count})" for count, one, other in pairs[:CONFUSED])
    caption = f"Most often taken: {worst}." if worst else "Nothing was taken for anything else."
    return _figure("Confusion", matrix("Confusion matrix", counts, classes), caption, large=len(classes) > FEW)


def _reliability(head: Row) -> str:
    before, after = head["reliability_before"], head["reliability_after"]
    low = min((bin_["confidence"] for bin_ in (*before, *after)), default=0.0)
    least = min((bin_["accuracy"] for bin_ in (*before, *after)), default=0.0)
    most = max((bin_["photos"] for bin_ in (*before, *after)), default=1)

    def series(bins: Sequence[Row], style: str, name: str) -> Series:
        dots = [
            (2.5 + 5 * (bin_["photos"] / most) ** 0.5, f"{bin_['photos']} photos, {bin_['accuracy']:.1%} right")
            for bin_ in bins
        ]
        return Series([(bin_["confidence"], bin_["accuracy"]) for bin_ in bins], style, name, dots)

    said, were = percent("said to be right", low), percent("were right", min(low, least))
    start = max(said.low, were.low)
    drawn = plot(
        "Reliability diagram",
        said,
        were,
        [
            Series([(start, start), (1, 1)], "guide", "as it should be"),
            series(before, "b", "before calibration"),
            series(after, "a", "after"),
        ],
    )
    return _figure(
        "Does 80% mean 80%?",
        drawn,
        f"Probabilities are calibrated with a temperature of {head['temperature']:.2f}; larger dots hold more photos.",
    )


def _risk(head: Row) -> str:
    points = [(one["coverage"], one["error"]) for one in head["risk_coverage"]]
    stated = []
    for wanted in STATED:
        kept = [one["coverage"] for one in head["risk_coverage"] if one["error"] <= wanted]
        stated.append(f"{wanted:.0%} at {max(kept, default=0.0):.0%}")
    # The surest few say little: one wrong photo of ten is 10 %.
    most = max((error for coverage, error in points if coverage >= 0.05), default=0.0)
    drawn = plot(
        "Risk and coverage",
        percent("photos answered, the surest first"),
        percent("wrong of those", 0, max(most, 0.01)),
        [Series(points, "a")],
    )
    return _figure(
        "Saying “unsure”",
        drawn,
        f"Wrong answers, if only the surest photos are answered: {', '.join(stated)} of the photos. "
        "predict --max-error answers fewer, so that the rate holds for new photos with 95% confidence.",
    )


def _roc(head: Row) -> Iterator[str]:
    curves: list[Row] = head["roc"]
    if not curves:
        return
    mean = [
        (points[0][0], sum(found for _, found in points) / len(points))
        for points in zip(*(one["points"] for one in curves), strict=True)
    ]
    lines = [Series([(0, 0), (1, 1)], "guide", "a coin")]
    if len(curves) > 1:
        lines += [Series(one["points"], "b thin", "each class" if one is curves[0] else "") for one in curves]
    lines.append(Series(mean, "a", "mean" if len(curves) > 1 else f"{curves[0]['label']} found"))
    drawn = plot("ROC curve", percent("false alarms"), percent("found"), lines)
    area = "" if head["roc_auc"] is None else f"Area {head['roc_auc']:.3f}. "
    if head["method"] == "linear" and not head["by_split"]:
        area = "Of logistic regression, out of fold, and not of the linear head. "
    yield _figure("Found, and false alarms", drawn, f"{area}One class against the rest, for every threshold.")


def _grid(head: Row) -> Iterator[str]:
    grid = sorted((one for one in head["l2_grid"] if one["l2"] > 0), key=lambda one: float(one["l2"]))
    if len(grid) < 2:
        return
    from math import log10

    chosen = min(grid, key=lambda one: abs(log10(one["l2"]) - log10(max(head["l2"], 1e-300))))
    losses = [one["log_loss"] for one in grid]
    drawn = plot(
        "L2 grid",
        decades("strength of L2", grid[0]["l2"], grid[-1]["l2"]),
        numbers("log loss", min(losses), min(max(losses), 4 * min(losses) + 0.01)),
        [
            Series([(log10(one["l2"]), one["log_loss"]) for one in grid], "b", "tried"),
            Series(
                [(log10(chosen["l2"]), chosen["log_loss"])],
                "a",
                "chosen",
                [(5, f"L2 {chosen['l2']:.3g}")],
                joined=False,
            ),
        ],
    )
    yield _figure("Strength of L2", drawn, f"Chosen: {head['l2']:.3g}, by the log loss of photos held out.")


def classes(head: Row) -> str:
    """Each class's precision, recall, F1 and number of photos."""
    rows = "".join(
        f"<tr><td>{escaped(row['label'])}</td><td>{row['precision']:.1%}</td><td>{row['recall']:.1%}</td>"
        f"<td>{row['f1']:.1%}</td><td>{row['support']:,}</td></tr>"
        for row in head["per_class"]
    )
    titles = "".join(f"<th>{title}</th>" for title in ("class", "precision", "recall", "F1", "photos"))
    return f'<h2>Class by class</h2><div class="card wide"><table><tr>{titles}</tr>{rows}</table></div>'
