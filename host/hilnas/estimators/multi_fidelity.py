"""`multi-fidelity`: trainings in rungs, the best going on from where they stand (successive halving, ASHA, Hyperband).

A rung is a number of epochs, and if you like a part of the training data and of the resolution. A training that
goes on takes its weights along, whatever the size of the pictures; each rung has a learning rate schedule of its
own (warm restarts, Loshchilov & Hutter 2017). What ends early is extrapolated to the last rung by its learning
curve, with what is not known about it in the standard error: a strategy makes less of it.
"""

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, model_validator

from hilnas.estimators.base import EstimateResult, RungResult
from hilnas.estimators.halving import Plan
from hilnas.estimators.train import (
    CALIBRATION_EXAMPLES,
    binomial_se,
    int8_accuracy,
    scaled,
    seed_of,
    to_int8,
)
from hilnas.options import Options as AnyOptions
from hilnas.spaces import Space
from hilnas.tasks import Task
from hilnas.tasks.training import TrainingOptions, float_accuracy, prepare, recalibrate, train
from hilnas.trial import Architecture, Estimate

if TYPE_CHECKING:
    from hilnas.predictors.curves import Curve


class MultiFidelityOptions(TrainingOptions):
    """Settings of `multi-fidelity`. `epochs` are those of the last rung, all rungs before it included."""

    epochs: int = Field(9, ge=1)
    """Epochs of a whole training."""
    first_epochs: int = Field(1, ge=1)
    """Epochs of the first rung; each rung after it has `eta` times as many, up to `epochs`."""
    eta: int = Field(3, ge=2)
    """One in so many goes on to the next rung."""
    group: int = Field(4, ge=2)
    """Trials that are compared at each rung, by their numbers; best as many as search.group."""
    asynchronous: bool = False
    """Compare with all trials so far and wait for none (ASHA): quicker, and the outcome depends on who is quick."""
    brackets: int = Field(1, ge=1)
    """Rungs at which trainings may begin, group after group in turn (Hyperband); 1 for halving alone."""
    first_subset: float = Field(1.0, gt=0, le=1)
    """Share of the training data that the first rung sees; it grows to all of it at the last."""
    first_resolution: float = Field(1.0, gt=0, le=1)
    """Scale of the input size at the first rung; it grows to 1 at the last."""
    extrapolate: bool = True
    """Whether what ends early counts as what it would reach; else as what it has reached."""

    @model_validator(mode="after")
    def _rungs_fit(self) -> "MultiFidelityOptions":
        if self.first_epochs > self.epochs:
            raise ValueError(f"first_epochs {self.first_epochs} must not exceed epochs {self.epochs}")
        return self

    @property
    def rungs(self) -> list[int]:
        """Epochs of each rung, those before included."""
        found = [self.first_epochs]
        while found[-1] * self.eta < self.epochs:
            found.append(found[-1] * self.eta)
        return [*found, self.epochs] if found[-1] < self.epochs else found


class MultiFidelity:
    """Trains in rungs; the accuracy of each is that of the int8 file on the whole validation split."""

    Options: ClassVar[type[AnyOptions]] = MultiFidelityOptions

    def __init__(self, options: MultiFidelityOptions) -> None:
        self.options = options

    @property
    def plan(self) -> Plan:
        """Return how trainings are staged."""
        options = self.options
        group = None if options.asynchronous else options.group
        return Plan(len(options.rungs), options.eta, group, options.brackets)

    def estimate(self, architecture: Architecture, space: Space, task: Task, seed: int) -> EstimateResult:
        """Train through all rungs."""
        found: list[EstimateResult] = []
        checkpoint: bytes | None = None
        for rung in range(len(self.options.rungs)):
            one = self.train_rung(architecture, space, task, seed, rung, checkpoint)
            checkpoint = one.checkpoint
            found.append(one.result)
        estimate = self.concluded([one.estimate for one in found], [])
        return EstimateResult(estimate, found[-1].model)

    def train_rung(
        self,
        architecture: Architecture,
        space: Space,
        task: Task,
        seed: int,
        rung: int,
        checkpoint: bytes | None,
    ) -> RungResult:
        """Train the epochs that a rung has more than the one before, from its weights."""
        import torch

        options, epochs = self.options, self.options.rungs
        own_seed = seed_of(architecture, seed) + rung
        torch.manual_seed(own_seed)
        module = space.build(architecture)
        if checkpoint is not None:
            module.load_state_dict(torch.load(io.BytesIO(checkpoint), weights_only=True))
        share = rung / max(1, len(epochs) - 1)
        size = scaled(
            space.input_shape(architecture)[1:],
            options.first_resolution + share * (1 - options.first_resolution),
        )
        examples = task.split("train")
        subset = options.first_subset + share * (1 - options.first_subset)
        chosen = examples.subset(max(32, round(subset * len(examples))), seed)
        data = prepare(task, chosen, size)
        before = epochs[rung - 1] if rung and checkpoint is not None else 0
        train(module, task, data, options.model_copy(update={"epochs": epochs[rung] - before}), own_seed)
        state = io.BytesIO()
        torch.save(module.state_dict(), state)
        recalibrate(module, data, seed)
        validation = prepare(task, task.split("validation"), size)
        model = to_int8(module, prepare(task, examples.subset(CALIBRATION_EXAMPLES, seed), size), task)
        accuracy, count = int8_accuracy(model, validation), len(validation.labels)
        estimate = Estimate(
            estimator="multi-fidelity",
            accuracy=accuracy,
            accuracy_se=binomial_se(accuracy, count),
            float_accuracy=float_accuracy(module, validation),
            details={"epochs": float(epochs[rung]), "examples": float(count)},
        )
        return RungResult(EstimateResult(estimate, model), state.getvalue())

    def concluded(self, rungs: Sequence[Estimate], others: Sequence[Sequence[Estimate]]) -> Estimate:
        """Return the last rung's estimate; of a training that ended early, what its curve comes to."""
        last, horizon = rungs[-1], float(self.options.epochs)
        details = {**last.details, "rungs": float(len(rungs)), "reached": last.accuracy}
        if not self.options.extrapolate or float(last.details["epochs"]) >= horizon:
            return replace(last, details=details)
        from hilnas.predictors.curves import CurveModel

        mean, deviation = CurveModel(horizon, [_curve(other) for other in others]).predict(_curve(rungs))
        # A net may be no worse for being trained on: what it has reached is a floor, but for its noise.
        accuracy = max(mean, last.accuracy - last.accuracy_se)
        se = (deviation**2 + last.accuracy_se**2) ** 0.5
        return replace(last, accuracy=accuracy, accuracy_se=se, details=details)


def _curve(rungs: Sequence[Estimate]) -> "Curve":
    from hilnas.predictors.curves import Curve

    return Curve(
        tuple(float(one.details["epochs"]) for one in rungs),
        tuple(one.accuracy for one in rungs),
        tuple(one.accuracy_se**2 for one in rungs),
    )
