"""Scaling of an mbconv net in depth, width and resolution (Tan & Le 2019, EfficientNet)."""

import math
from typing import Any

from hilnas.trial import Architecture, Choice

BLOCK = ("kernel", "expansion", "se")
"""What is decided for a block."""


def scaled_channels(channels: int, factor: float) -> int:
    """Return channels times a factor, to the nearest multiple of 8, or of 4 where the net itself keeps to no 8.

    As in EfficientNet it never falls short by more than a tenth.
    """
    step = 8 if channels % 8 == 0 else 4
    wanted = channels * factor
    found = max(step, int(wanted + step / 2) // step * step)
    return found + step if found < 0.9 * wanted else found


def scaled_options(
    architecture: Architecture, stages: int, scale: float, depth: float, width: float, resolution: float
) -> dict[str, Any]:
    """Return the settings of the space that holds the scaled net alone; `scale` is the net's own resolution."""
    depths = [scaled_depth(int(architecture[f"stage{n}.depth"]), depth) for n in range(1, stages + 1)]
    return {
        "resolutions": [scale * resolution],
        "stem_widths": [scaled_channels(int(architecture["stem.width"]), width)],
        "stem_strides": [architecture["stem.stride"]],
        "stage_widths": [
            [scaled_channels(int(architecture[f"stage{n}.width"]), width)] for n in range(1, stages + 1)
        ],
        "stage_depths": [[count] for count in depths],
    }


def scaled_depth(blocks: int, factor: float) -> int:
    """Return blocks times a factor, rounded up, as in EfficientNet."""
    return max(1, math.ceil(blocks * factor - 1e-9))


def scaled_choices(architecture: Architecture, stages: int, depth: float) -> dict[str, Choice]:
    """Return the choices of the scaled net that its space leaves open: a new block is as the last one of its stage."""
    found: dict[str, Choice] = {}
    for number in range(1, stages + 1):
        stage = f"stage{number}"
        have = int(architecture[f"{stage}.depth"])
        found[f"{stage}.activation"] = architecture[f"{stage}.activation"]
        for block in range(1, scaled_depth(have, depth) + 1):
            for what in BLOCK:
                found[f"{stage}.block{block}.{what}"] = architecture[
                    f"{stage}.block{min(block, have)}.{what}"
                ]
    return found
