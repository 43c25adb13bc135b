"""Figures as SVG that stands inside a page: colours and type are the page's, so they follow it into the dark."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from petrieve.gallery.html import escaped

WIDTH, HEIGHT = 360, 250  # units, of which a phone shows about one in a pixel
LEFT, RIGHT, TOP, BOTTOM = 50, 14, 12, 40  # margins for ticks and titles
# Of a confusion matrix: up to how many classes a cell is so large, and how many letters of a class's name are shown.
CELLS = ((2, 84, 14), (4, 60, 14), (12, 34, 14), (10**9, 13, 22))
NUMBERED = 30  # size of a cell from which there is room for a number
Place = Callable[[tuple[float, float]], tuple[float, float]]
LETTER = 6.2  # width of one at 11 units


@dataclass(frozen=True)
class Axis:
    """One side of a plot: what it shows, its range, and which values are written beside it."""

    title: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]

    def share(self, value: float) -> float:
        """Where a value lies between the ends, 0 to 1."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))


@dataclass(frozen=True)
class Series:
    """Points (x, y) joined by a line, or dots of radii and titles; `style` is a class of the page's CSS."""

    points: Sequence[tuple[float, float]]
    style: str
    name: str = ""  # in the legend
    dots: Sequence[tuple[float, str]] = ()  # radius and title of each point
    joined: bool = True


def percent(title: str, low: float = 0.0, high: float = 1.0) -> Axis:
    """An axis of shares that holds the range from `low` to `high`."""
    step, values = _ticks(min(low, high - 0.01), high)
    digits = max(0, -math.floor(math.log10(step)) - 2)
    return Axis(title, values[0], values[-1], [(value, f"{100 * value:.{digits}f}%") for value in values])


def numbers(title: str, low: float, high: float) -> Axis:
    """An axis of plain numbers that holds the range from `low` to `high`."""
    step, values = _ticks(low, max(high, low + 0.01))
    digits = max(0, -math.floor(math.log10(step)))
    return Axis(title, values[0], values[-1], [(value, f"{value:.{digits}f}") for value in values])


def _ticks(low: float, high: float) -> tuple[float, list[float]]:
    """About five round values around a range, and how far apart they are."""
    step = _step((high - low) / 4)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return step, [number * step for number in range(first, last + 1)]


def decades(title: str, low: float, high: float) -> Axis:
    """An axis of powers of ten; its values are logarithms."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    last = max(last, first + 1)
    step = -(-(last - first) // 6)
    return Axis(title, first, last, [(i, f"1e{i}") for i in range(first, last + 1, step)])


def _step(rough: float) -> float:
    """The next round number: 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))


def plot(title: str, x: Axis, y: Axis, series: Sequence[Series]) -> str:
    """A plot of lines and dots, with a legend of those that have a name."""

    def place(point: tuple[float, float]) -> tuple[float, float]:
        across, up = x.share(point[0]), y.share(point[1])
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = [_grid(x, y, place)]
    for one in series:
        places = [place(point) for point in one.points]
        if one.joined:
            line = " ".join(f"{across:.1f},{up:.1f}" for across, up in places)
            parts.append(f'<polyline class="{one.style}" points="{line}"/>')
        for (across, up), (radius, words) in zip(places, one.dots, strict=False):
            dot = f'<circle class="{one.style}" cx="{across:.1f}" cy="{up:.1f}" r="{radius:.1f}">'
            parts.append(f"{dot}<title>{escaped(words)}</title></circle>")
    legend = "".join(f'<li class="{one.style}">{escaped(one.name)}</li>' for one in series if one.name)
    return _svg(title, WIDTH, HEIGHT, parts) + (f'<ul class="legend">{legend}</ul>' if legend else "")


def _grid(x: Axis, y: Axis, place: Place) -> str:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = []
    for value, words in x.ticks:
        across, _ = place((value, y.low))
        parts.append(f'<line class="grid" x1="{across:.1f}" x2="{across:.1f}" y1="{TOP}" y2="{bottom}"/>')
        parts.append(_text(across, bottom + 15, words, "tick", "middle"))
    for value, words in y.ticks:
        _, up = place((x.low, value))
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{up:.1f}" y2="{up:.1f}"/>')
        parts.append(_text(LEFT - 6, up + 4, words, "tick", "end"))
    parts.append(_text((LEFT + right) / 2, HEIGHT - 6, x.title, "axis", "middle"))
    middle = (TOP + bottom) / 2
    turned = f'transform="rotate(-90 11 {middle:.1f})"'
    parts.append(_text(11, middle, y.title, "axis", "middle", turned))
    return "".join(parts)


def intervals(title: str, x: Axis, rows: Sequence[tuple[str, float, tuple[float, float] | None]]) -> str:
    """A row for each figure: its name, its value as a dot, and its interval as a bar where it has one."""
    line, top = 40, 8
    height = top + line * len(rows) + 36

    def place(value: float) -> float:
        return LEFT - 30 + x.share(value) * (WIDTH - LEFT - RIGHT + 20)

    parts = []
    for value, words in x.ticks:
        across = place(value)
        parts.append(f'<line class="grid" x1="{across:.1f}" x2="{across:.1f}" y1="{top}" y2="{height - 32}"/>')
        parts.append(_text(across, height - 18, words, "tick", "middle"))
    parts.append(_text(WIDTH / 2, height - 3, x.title, "axis", "middle"))
    for number, (name, value, interval) in enumerate(rows):
        y = top + line * number + 28
        style = "a" if number == 0 else "b"
        parts.append(_text(LEFT - 30, y - 12, f"{name}: {value:.1%}", "axis", "start"))
        parts.append(f'<line class="grid" x1="{LEFT - 30}" x2="{WIDTH - 24}" y1="{y}" y2="{y}"/>')
        if interval:
            low, high = map(place, interval)
            parts.append(f'<line class="bar {style}" x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}"/>')
        parts.append(f'<circle class="{style}" cx="{place(value):.1f}" cy="{y}" r="5"/>')
    return _svg(title, WIDTH, height, parts)


def matrix(title: str, counts: Sequence[Sequence[int]], classes: Sequence[str]) -> str:
    """A confusion matrix, true classes down and predicted ones across; a cell is as strong as its share of its row."""
    cell, kept = next((cell, kept) for most, cell, kept in CELLS if len(classes) <= most)
    names = [name if len(name) <= kept else f"{name[: kept - 1]}…" for name in classes]
    longest = LETTER * max(map(len, names))
    left, top, side = 24 + longest, 20, cell * len(classes)
    middle = top + side / 2
    parts = [
        _text(left + side / 2, 12, "predicted", "axis", "middle"),
        _text(11, middle, "true", "axis", "middle", f'transform="rotate(-90 11 {middle:.1f})"'),
    ]
    for row, (name, line) in enumerate(zip(names, counts, strict=True)):
        parts.append(_text(left - 5, top + cell * (row + 0.5) + 4, name, "tick", "end"))
        foot = f"translate({left + cell * (row + 0.5) + 3:.1f} {top + side + 10:.1f}) rotate(-55)"
        parts.append(_text(0, 0, name, "tick", "end", f'transform="{foot}"'))
        for column, count in enumerate(line):
            share = count / max(1, sum(line))
            said = f"{classes[row]} taken for {classes[column]}: {count} of {sum(line)}" if count else ""
            x, y = left + cell * column, top + cell * row
            parts.append(_cell(x, y, cell, "right" if row == column else "wrong", share, said))
            if count and cell >= NUMBERED:
                style = "count strong" if share > 0.6 else "count"
                parts.append(_text(x + cell / 2, y + cell / 2 + 4, str(count), style, "middle"))
    width = max(left, 0.6 * longest) + side + 8
    return _svg(title, width, top + side + 18 + 0.85 * longest, parts, natural=True)


def _cell(x: float, y: float, side: float, style: str, share: float, said: str) -> str:
    strength = 0.12 + 0.88 * share if share else 0.04
    place = f'x="{x:.1f}" y="{y:.1f}" width="{side - 1:.1f}" height="{side - 1:.1f}"'
    title = f"<title>{escaped(said)}</title>" if said else ""
    return f'<rect class="{style}" {place} fill-opacity="{strength:.2f}">{title}</rect>'


def _text(x: float, y: float, words: str, style: str, anchor: str, more: str = "") -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{escaped(words)}</text>'


def _svg(title: str, width: float, height: float, parts: Sequence[str], *, natural: bool = False) -> str:
    """`natural`: as large as it is drawn, where there is room; a plot takes the width that there is."""
    size = f' width="{width:.0f}" height="{height:.0f}"' if natural else ""
    box = f'viewBox="0 0 {width:.0f} {height:.0f}"'
    return f'<svg role="img" aria-label="{escaped(title)}" {box}{size}>{"".join(parts)}</svg>'
