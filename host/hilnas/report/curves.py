"""Curves of several series in one stand-alone SVG file."""

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 72, 200, 24, 52
COLOURS = ("#0969da", "#cf222e", "#1a7f37", "#9a6700", "#8250df", "#bf3989", "#57606a", "#0a7ea4")
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#24292f}.grid{stroke:#d0d7de}path{fill:none;stroke-width:2}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.grid{stroke:#30363d}}"
)


def curves(series: Mapping[str, Sequence[float]], x_label: str, y_label: str, floor: float = 1e-3) -> str:
    """Return an SVG of positive series over 1, 2, …; the vertical axis is logarithmic and ends at `floor`."""
    longest = max((len(values) for values in series.values()), default=1)
    highest = max((max(values) for values in series.values() if len(values)), default=1.0)
    low, high = math.log10(floor), math.log10(max(highest, 10 * floor))

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - 1) / max(1, longest - 1)
        up = (math.log10(max(y, floor)) - low) / (high - low)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"><style>{_STYLE}</style>',
        f"<title>{escape(y_label)} over {escape(x_label)}</title>",
    ]
    for power in range(math.ceil(low), math.floor(high) + 1):
        _, y = place(1, 10.0**power)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g}</text>')
    for share in (0, 0.25, 0.5, 0.75, 1):
        number = max(1, round(share * longest))
        x, y = place(number, floor)
        parts.append(f'<text x="{x:.1f}" y="{y + 20:.1f}" text-anchor="middle">{number}</text>')
    for number, (name, values) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = " L".join(
            "{:.1f},{:.1f}".format(*place(i, value)) for i, value in enumerate(values, start=1)
        )
        dashes = ' stroke-dasharray="6 4"' if number >= len(COLOURS) else ""
        parts.append(f'<path d="M{points}" stroke="{colour}"{dashes}/>')
        y = TOP + 8 + 20 * number
        parts.append(f'<path d="M{WIDTH - RIGHT + 16},{y - 4} h24" stroke="{colour}"{dashes}/>')
        parts.append(f'<text x="{WIDTH - RIGHT + 48}" y="{y}">{escape(name)}</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">{escape(x_label)}</text>'
    )
    parts.append(
        f'<text transform="translate(18 {middle}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>'
    )
    return "".join([*parts, "</svg>\n"])
