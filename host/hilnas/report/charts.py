"""Charts as inline SVG: a few lines of markup each, so that a report is one file and needs no script."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 16, 48


@dataclass(frozen=True)
class Point:
    """A dot: its place, an optional horizontal interval, what a hovering pointer reads, a CSS class."""

    x: float
    y: float
    title: str
    style: str = "dot"
    low: float | None = None
    high: float | None = None


def scatter(
    points: Sequence[Point],
    line: Sequence[tuple[float, float]],
    x_label: str,
    y_label: str,
    log_x: bool = False,
    steps: bool = False,
) -> str:
    """Return an SVG of points and a line through some of them; a placeholder without points."""
    if not points:
        return '<p class="quiet">Nothing to draw yet.</p>'
    xs = [x for p in points for x in (p.x, p.low, p.high) if x is not None and (x > 0 or not log_x)]
    scale_x, ticks_x = _scale(xs, LEFT, WIDTH - RIGHT, log_x)
    scale_y, ticks_y = _scale([p.y for p in points], HEIGHT - BOTTOM, TOP, False)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(y_label)} by {escape(x_label)}">'
    ]
    for tick in ticks_x:
        x = scale_x(tick)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{tick:g}</text>'
        )
    for tick in ticks_y:
        y = scale_y(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    middle_x, middle_y = (LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text class="label" x="{middle_x}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x_label)}</text>'
    )
    parts.append(
        f'<text class="label" transform="translate(14 {middle_y}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_label)}</text>"
    )
    if line:
        parts.append(f'<path class="front" d="{_path(line, scale_x, scale_y, steps)}"/>')
    parts.extend(_dot(point, scale_x, scale_y) for point in points)
    return "".join([*parts, "</svg>"])


def _dot(point: Point, scale_x: Callable[[float], float], scale_y: Callable[[float], float]) -> str:
    x, y = scale_x(point.x), scale_y(point.y)
    bar = ""
    if point.low is not None and point.high is not None:
        low, high = scale_x(point.low), scale_x(point.high)
        bar = f'<line class="bar" x1="{low:.1f}" x2="{high:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return (
        f'<g class="{point.style}">{bar}<circle cx="{x:.1f}" cy="{y:.1f}" r="5">'
        f"<title>{escape(point.title)}</title></circle></g>"
    )


def _path(
    line: Sequence[tuple[float, float]],
    scale_x: Callable[[float], float],
    scale_y: Callable[[float], float],
    steps: bool,
) -> str:
    commands: list[str] = []
    for i, (x, y) in enumerate(line):
        if i and steps:
            commands.append(f"H{scale_x(x):.1f}")
        commands.append(f"{'L' if i else 'M'}{scale_x(x):.1f},{scale_y(y):.1f}")
    return " ".join(commands)


def _scale(
    values: Sequence[float], start: float, end: float, log: bool
) -> tuple[Callable[[float], float], list[float]]:
    """Map values to pixels, with a margin, and choose ticks."""
    forward: Callable[[float], float] = (lambda v: math.log10(max(v, 1e-12))) if log else (lambda v: v)
    low, high = forward(min(values)), forward(max(values))
    margin = 0.06 * (high - low) or (0.05 if log else 0.02 * abs(high) or 1.0)
    low, high = low - margin, high + margin

    def place(value: float) -> float:
        return start + (forward(value) - low) / (high - low) * (end - start)

    if log and high - low >= 0.6:
        candidates = [m * 10.0**e for e in range(math.floor(low), math.ceil(high) + 1) for m in (1, 2, 5)]
        return place, [tick for tick in candidates if low <= forward(tick) <= high]
    bottom, top = (10**low, 10**high) if log else (low, high)
    step = _nice((top - bottom) / 6)
    first = math.ceil(bottom / step)
    return place, [round(n * step, 10) for n in range(first, math.floor(top / step) + 1)]


def _nice(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return next(m * power for m in (1, 2, 2.5, 5, 10) if step <= m * power * 1.0001)
