"""Quantities with units, as people write them in a recipe: "4 ms", "300 KiB", "10 M"."""

import re

_FACTORS: dict[str, dict[str, float]] = {
    "ms": {"ns": 1e-6, "us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3},
    "mJ": {"nJ": 1e-6, "uJ": 1e-3, "µJ": 1e-3, "mJ": 1.0, "J": 1e3},
    "KiB": {"B": 1 / 1024, "kB": 1000 / 1024, "KiB": 1.0, "MB": 1e6 / 1024, "MiB": 1024.0, "GiB": 1024.0**2},
    "M": {"": 1e-6, "k": 1e-3, "K": 1e-3, "M": 1.0, "G": 1e3},
    "": {"": 1.0, "%": 0.01},
}
"""Canonical unit to what may be written and its factor. MACs are counted in millions."""


def parse_quantity(text: str | float, unit: str) -> float:
    """Return `text` in the canonical `unit`. A bare number is taken to be in that unit already.

    ValueError names the units that fit.
    """
    if isinstance(text, int | float):
        return float(text)
    match = re.fullmatch(r"\s*([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*([^\d\s]*)\s*", text)
    factors = _FACTORS[unit]
    if match is None:
        raise ValueError(f"{text!r} is no quantity; write a number and a unit, such as 4 {unit}".rstrip())
    number, written = match.groups()
    written = written.removesuffix("MACs").strip() if unit == "M" else written
    if unit == "M" and written == "" and "MACs" not in text:
        return float(number)
    if written == "" and unit != "M":
        return float(number)
    if written not in factors:
        known = ", ".join(name for name in factors if name) or "no unit"
        raise ValueError(f"{text!r}: unit {written!r} does not fit; known: {known}")
    return float(number) * factors[written]
