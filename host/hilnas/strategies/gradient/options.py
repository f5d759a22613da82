"""Settings of gradient-based searches, without torch."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from hilnas.options import Options
from hilnas.tasks.training import TrainingOptions


class TableOptions(Options):
    """What a search that comes before all measuring knows of the device."""

    table: Path | None = None
    """Latency table of the device (`hilnas profile --space`), for the objective "latency"."""


class BilevelOptions(TrainingOptions, TableOptions):
    """How long and how weights and architecture parameters are trained."""

    epochs: int = Field(12, ge=1)
    """Passes over one half of the training data; the other half is for the architecture parameters."""
    batch: int = Field(64, ge=2)
    gates: Literal["softmax", "gumbel", "binary"] = "softmax"
    """How choices are mixed: softmax (DARTS), gumbel (FBNet) or binary (ProxylessNAS)."""
    order: Literal[1, 2] = 1
    """1 takes the weights as they are; 2 looks a step of theirs ahead, at three times the cost (DARTS)."""
    architecture_rate: float = Field(0.02, gt=0)
    """Adam's learning rate of the architecture parameters."""
    architecture_decay: float = Field(0.001, ge=0)
    """Weight decay of the architecture parameters."""
    frozen_share: float = Field(0.25, ge=0, lt=1)
    """Share of the steps in which weights alone learn, all choices being equal (Bender et al. 2020, TuNAS)."""
    temperature: float = Field(5.0, gt=0)
    """Temperature of gumbel gates at first; it falls to a tenth."""
    subset: int | None = Field(None, ge=64)
    """Training examples to use; all when left out."""
    latency_weight: float = Field(0.3, ge=0)
    """What being e times slower than the target costs, in units of the cross-entropy."""
    absolute: bool = False
    """Does being faster than the target cost as much as being slower?"""
