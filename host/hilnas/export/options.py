"""How real ranges become int8: the options of the exporter after training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from hilnas.export.errors import ExportError

Ranges = Literal["minmax", "percentile", "mse"]


@dataclass(frozen=True)
class QuantizationOptions:
    """How the ranges of activations are set, and whether biases make up for rounded weights.

    Weights are int8 per channel over their whole range, whatever the options. ExportError for values that
    have no meaning.
    """

    ranges: Ranges = "minmax"
    """`minmax`: all that calibration saw, and somewhat more (see `calibrate`). `percentile`: all but the
    outermost share (Wu et al. 2020, arXiv:2004.09602, section 4). `mse`: the range with the smallest mean
    squared error of the quantized values (Nagel et al. 2021, arXiv:2106.08295, section 3.1)."""
    percentile: float = 99.99
    """Of `percentile`, in percent: as much lies below the range's upper end, and as much above its lower one."""
    bias_correction: bool = False
    """Subtract the mean error of each output channel from its bias (Nagel et al. 2019, arXiv:1906.04721,
    section 4.2, measured on the calibration data as in their appendix D)."""

    def __post_init__(self) -> None:
        if self.ranges not in get_args(Ranges):
            raise ExportError(f"unknown ranges '{self.ranges}'; use one of {', '.join(get_args(Ranges))}")
        if not (math.isfinite(self.percentile) and 50 < self.percentile <= 100):
            raise ExportError(f"percentile must be above 50 and at most 100, got {self.percentile}")

    @property
    def name(self) -> str:
        """The options in words: "percentile 99.99 with bias correction"."""
        words = f"percentile {self.percentile:g}" if self.ranges == "percentile" else self.ranges
        return f"{words} with bias correction" if self.bias_correction else words
