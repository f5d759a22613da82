"""How a supernet is trained: settings, without torch."""

from pydantic import Field

from hilnas.supernet.paths import Sampling
from hilnas.tasks.training import TrainingOptions


class SupernetTraining(TrainingOptions):
    """How long and how to train a supernet."""

    epochs: int = Field(12, ge=1)
    """Passes over the training data; each step runs several nets."""
    batch: int = Field(128, ge=2)
    weight_decay: float = Field(0.01, ge=0)
    sampling: Sampling = "sandwich"
    """Which nets a step runs: sandwich, shrinking, uniform or fair."""
    paths: int = Field(2, ge=1)
    """Nets drawn at random a step, by sandwich and shrinking."""
    distillation: float = Field(1.0, ge=0, le=1)
    """How much a net learns from its teacher rather than from the labels, where it has a teacher."""
    subset: int | None = Field(None, ge=32)
    """Training examples to use; all when left out."""
    checkpoint_s: float = Field(30.0, gt=0)
    """Seconds between two checkpoints, at least."""
