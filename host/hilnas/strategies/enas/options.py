"""Settings of `enas`."""

from pydantic import Field

from hilnas.strategies.gradient.options import TableOptions
from hilnas.strategies.rl.learner import GradientOptions
from hilnas.tasks.placement import Placement, Precision


class EnasOptions(GradientOptions, TableOptions):
    """How the shared weights and the policy are trained in turn; the policy's own settings as in `rl`."""

    weights_epochs: int = Field(12, ge=1)
    """Passes of the shared weights over one half of the training data, the policy learning after each."""
    batch: int = Field(64, ge=2)
    """Examples of a step of the weights."""
    weights_rate: float = Field(4e-3, gt=0)
    """Peak learning rate of the weights."""
    weight_decay: float = Field(0.01, ge=0)
    """AdamW's decoupled decay of the weights."""
    label_smoothing: float = Field(0.05, ge=0, lt=1)
    """Probability mass spread over all classes."""
    warmup_share: float = Field(0.15, ge=0, lt=1)
    """Share of the steps in which the learning rate of the weights rises."""
    frozen_share: float = Field(0.25, ge=0, lt=1)
    """Share of the epochs in which the weights alone learn, on nets drawn uniformly."""
    subset: int | None = Field(None, ge=64)
    """Training examples to use; all when left out."""
    policy_steps: int = Field(20, ge=1)
    """Updates of the policy after an epoch."""
    policy_batch: int = Field(8, ge=2)
    """Nets drawn for an update."""
    reward_batch: int = Field(128, ge=2)
    """Examples of the other half by which a net is judged."""
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    """Where the shared weights compute: auto takes a GPU where there is one. The policy stays on the processor."""
    precision: Precision = "auto"
    """float32, or bfloat16 for products; auto is bfloat16 on a GPU."""
    width: int = Field(64, ge=4)
    """Units of the policy's LSTM."""
    tanh: float = Field(2.5, ge=0)
    """Bound on its logits; 0 for none."""
    draws: int = Field(64, ge=1)
    """Nets drawn in the end, to be proposed in the order of their rewards."""
    final_batches: int = Field(4, ge=1)
    """Batches by which those are judged."""

    @property
    def placement(self) -> Placement:
        """Return where and how precisely to compute."""
        return Placement(self.device, self.precision)
