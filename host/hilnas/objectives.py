"""Objectives: what is wanted of an architecture, the reward of a trial, the front of many.

Reward forms: soft and hard of MnasNet (Tan et al. 2019, eq. 2-3), absolute of TuNAS (Bender et al.
2020, eq. 1). A limit makes a candidate INVALID; a floor takes away the gain of a cost that runs to
nothing, which a net that does nothing would otherwise win by.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationInfo, field_validator, model_validator

from hilnas.farm.protocol import CONFIDENCE
from hilnas.options import Options
from hilnas.trial import FIGURE_VERDICTS, Architecture, Measurement, Score, Trial, TrialStatus
from hilnas.units import parse_quantity

Values = float | NDArray[np.float64]
"""A quantity of one architecture or of many."""


class Quantity(StrEnum):
    """What can be asked for."""

    ACCURACY = "accuracy"
    LATENCY = "latency"
    PEAK_MEMORY = "peak_memory"
    MODEL_SIZE = "model_size"
    MACS = "macs"
    ENERGY = "energy"


UNITS: Mapping[Quantity, str] = {
    Quantity.ACCURACY: "",
    Quantity.LATENCY: "ms",
    Quantity.PEAK_MEMORY: "KiB",
    Quantity.MODEL_SIZE: "KiB",
    Quantity.MACS: "M",
    Quantity.ENERGY: "mJ",
}
"""Canonical unit of each quantity; accuracy is a share, MACs are millions."""

_INTERVAL_SES = 2 * NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
"""Width of an interval in standard errors."""

STATIC = frozenset({Quantity.MODEL_SIZE, Quantity.MACS})
"""Quantities read off the model file."""

MEASURED = frozenset({Quantity.LATENCY, Quantity.PEAK_MEMORY, Quantity.ENERGY})
"""Quantities that only a device can tell."""


class Objective(Options):
    """One `[[objective]]` of a recipe."""

    quantity: Quantity
    """What is wanted: accuracy (maximised), or a cost (minimised)."""
    device_class: str | None = None
    """Class of device that a measured cost is about; the only one there is when left out."""
    target: float | None = Field(None, gt=0)
    """Where a soft, hard or absolute cost turns. Without one the cost shapes the front, not the reward."""
    kind: Literal["soft", "hard", "absolute"] = "soft"
    """Form in which a cost with a target enters the reward."""
    exponent: float = Field(-0.07, le=0)
    """Exponent of a soft cost, and of a hard one beyond its target (there -1 when left out)."""
    slope: float = Field(-0.1, le=0)
    """Slope of an absolute cost."""
    limit: float | None = Field(None, gt=0)
    """A candidate beyond this is INVALID: above for a cost, below for accuracy."""
    floor: float | None = Field(None, ge=0)
    """A cost below this counts as this much."""

    @field_validator("target", "limit", "floor", mode="before")
    @classmethod
    def _with_unit(cls, value: object, info: ValidationInfo) -> object:
        quantity = info.data.get("quantity")
        if value is None or quantity is None:
            return value
        if not isinstance(value, str | int | float):
            raise ValueError("write a number, or a number and a unit")  # noqa: TRY004 - pydantic turns it into words
        return parse_quantity(value, UNITS[quantity])

    @model_validator(mode="after")
    def _fits(self) -> "Objective":
        if self.quantity not in MEASURED and self.device_class is not None:
            raise ValueError(f"{self.quantity} is not measured on a device: leave device_class out")
        if self.quantity is Quantity.ACCURACY and (self.target is not None or self.floor is not None):
            raise ValueError("accuracy is maximised: give it a limit, or nothing")
        return self

    @property
    def label(self) -> str:
        """Name of the objective in results, e.g. "latency" or "latency@pi4"."""
        return f"{self.quantity}@{self.device_class}" if self.device_class else str(self.quantity)

    @property
    def unit(self) -> str:
        """Canonical unit of the values."""
        return UNITS[self.quantity]

    @property
    def maximise(self) -> bool:
        """Is more better?"""
        return self.quantity is Quantity.ACCURACY

    def breaks_limit(self, value: Values) -> Any:
        """Is each of `value` beyond the limit?"""
        if self.limit is None:
            return np.zeros(np.shape(value), bool)
        return np.asarray(value) < self.limit if self.maximise else np.asarray(value) > self.limit

    def factor(self, value: Values) -> Any:
        """Return what a cost multiplies the accuracy by (soft, hard); 1 without a target."""
        if self.target is None or self.kind == "absolute" or self.maximise:
            return 1.0
        ratio = np.maximum(value, max(self.floor or 0.0, 1e-9)) / self.target
        if self.kind == "soft":
            return ratio**self.exponent
        beyond = self.exponent if "exponent" in self.model_fields_set else -1.0
        return np.maximum(ratio, 1.0) ** beyond

    def addend(self, value: Values) -> Any:
        """Return what an absolute cost adds to the reward, never above zero."""
        if self.target is None or self.kind != "absolute" or self.maximise:
            return 0.0
        return self.slope * np.abs(np.maximum(value, self.floor or 0.0) / self.target - 1.0)


@dataclass(frozen=True)
class Figure:
    """A value in its objective's unit, with its standard error."""

    value: float
    se: float = 0.0


INVALID_REWARD = 0.0
"""Reward of an INVALID candidate: explicit, and worse than any net that classifies at all."""


def figure_of(objective: Objective, trial: Trial) -> Figure | None:
    """Return what a trial has to say on an objective so far, or None while it has nothing."""
    quantity = objective.quantity
    if quantity is Quantity.ACCURACY:
        return Figure(trial.estimate.accuracy, trial.estimate.accuracy_se) if trial.estimate else None
    if quantity in STATIC:
        if trial.model is None:
            return None
        return Figure(trial.model.bytes / 1024 if quantity is Quantity.MODEL_SIZE else trial.model.macs / 1e6)
    measurement = _measurement_of(objective, trial)
    if measurement is None or measurement.verdict not in FIGURE_VERDICTS:
        return None
    return _MEASURED[quantity](measurement)


def _latency(measurement: Measurement) -> Figure | None:
    """Return a latency as the first board of the class would have it, so that boards are interchangeable."""
    latency, slow = measurement.latency, measurement.canary_factor or 1.0
    if latency is None:
        return None
    return Figure(latency.median_ms / slow, (latency.high_ms - latency.low_ms) / slow / _INTERVAL_SES)


def _energy(measurement: Measurement) -> Figure | None:
    """Return the net energy, with its uncertainty; None where the meter told none."""
    energy = measurement.energy
    if energy.net_mj is None or energy.low_mj is None or energy.high_mj is None:
        return None
    return Figure(energy.net_mj, (energy.high_mj - energy.low_mj) / _INTERVAL_SES)


def _peak_memory(measurement: Measurement) -> Figure | None:
    peak_kib = measurement.peak_memory_kib
    return Figure(float(peak_kib)) if peak_kib is not None else None


_MEASURED: Mapping[Quantity, Callable[[Measurement], Figure | None]] = {
    Quantity.LATENCY: _latency,
    Quantity.PEAK_MEMORY: _peak_memory,
    Quantity.ENERGY: _energy,
}


def _measurement_of(objective: Objective, trial: Trial) -> Measurement | None:
    for measurement in trial.measurements:
        if objective.device_class in (None, measurement.device_class):
            return measurement
    return None


def broken_limit(objectives: Sequence[Objective], trial: Trial) -> str | None:
    """Return which limit a trial breaks already, in words, or None."""
    for objective in objectives:
        figure = figure_of(objective, trial)
        if figure is not None and objective.breaks_limit(figure.value):
            return f"{objective.label} {figure.value:.4g} {objective.unit}".rstrip() + (
                f" is beyond the limit of {objective.limit:.4g} {objective.unit}".rstrip()
            )
    return None


def has_limits_before_training(objectives: Iterable[Objective]) -> bool:
    """Could a candidate turn out INVALID by a device's figure, so that training it would be wasted?"""
    return any(o.limit is not None and o.quantity in MEASURED for o in objectives)


def score(objectives: Sequence[Objective], trial: Trial) -> Score:
    """Return the reward of a trial that has every figure, with its standard error by the delta method.

    Reward = accuracy x product of factors + sum of addends; without accuracy among the objectives,
    1 stands for it. ValueError when a figure is missing.
    """
    figures: dict[str, Figure] = {}
    for objective in objectives:
        figure = figure_of(objective, trial)
        if figure is None:
            raise ValueError(f"trial {trial.number} has no figure for {objective.label}")
        figures[objective.label] = figure
    values = {label: figure.value for label, figure in figures.items()}
    reward = float(rewards(objectives, values))
    variance = 0.0
    for label, figure in figures.items():
        if figure.se > 0:
            high = rewards(objectives, {**values, label: figure.value + figure.se})
            low = rewards(objectives, {**values, label: max(0.0, figure.value - figure.se)})
            variance += float((high - low) / 2) ** 2
    return Score(reward, math.sqrt(variance), values)


def rewards(objectives: Sequence[Objective], values: Mapping[str, Values]) -> Any:
    """Return the reward of values by objective label, each a number or an array of one shape; limits aside."""
    accuracy: Any = 1.0
    product: Any = 1.0
    total: Any = 0.0
    for objective in objectives:
        value = values[objective.label]
        if objective.quantity is Quantity.ACCURACY:
            accuracy = value
        product *= objective.factor(value)
        total += objective.addend(value)
    return accuracy * product + total


def best_trials(trials: Iterable[Trial], count: int | None = None) -> list[Trial]:
    """Return the first scored trial of each architecture, the highest reward first, `count` at most.

    The reward of an architecture that was measured again is the mean, weighted by 1/se².
    """
    ranked = sorted(_runs(trials), key=lambda run: (-mean_reward(run).value, run[0].number))
    return [run[0] for run in ranked][:count]


def _runs(trials: Iterable[Trial]) -> list[list[Trial]]:
    """Return the scored trials of each architecture, in order."""
    runs: dict[Architecture, list[Trial]] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        if trial.status is TrialStatus.SCORED and trial.score is not None:
            runs.setdefault(trial.architecture, []).append(trial)
    return list(runs.values())


def mean_reward(trials: Sequence[Trial]) -> Figure:
    """Return the mean reward of scored trials of one architecture, weighted by 1/se², with its error."""
    scores = [trial.score for trial in trials if trial.score is not None]
    if any(score.reward_se <= 0 for score in scores):  # exact ones outweigh all others
        exact = [score.reward for score in scores if score.reward_se <= 0]
        return Figure(sum(exact) / len(exact))
    weights = [score.reward_se**-2 for score in scores]
    total = sum(weights)
    return Figure(sum(w * s.reward for w, s in zip(weights, scores, strict=True)) / total, total**-0.5)


def pareto_front(objectives: Sequence[Objective], trials: Iterable[Trial]) -> list[Trial]:
    """Return the first SCORED trials of architectures that no other one beats or equals in all objectives.

    The best accuracy comes first. Of an architecture that was measured again the means count.
    """
    points, firsts = _points(objectives, trials)
    front = [
        (point, trial)
        for i, (point, trial) in enumerate(zip(points, firsts, strict=True))
        if not any(_dominates(other, point) or (other == point and j < i) for j, other in enumerate(points))
    ]
    return [trial for _, trial in sorted(front, key=lambda pair: (pair[0], pair[1].number))]


def _points(
    objectives: Sequence[Objective], trials: Iterable[Trial]
) -> tuple[list[tuple[float, ...]], list[Trial]]:
    """Return the mean losses of each architecture's scored trials, and the first of these trials."""
    runs = _runs(trials)
    points = [tuple(np.mean([losses(objectives, t) for t in run], axis=0).tolist()) for run in runs]
    return points, [run[0] for run in runs]


def hypervolume(points: Iterable[Sequence[float]], reference: Sequence[float]) -> float:
    """Return the volume that `points` (losses, less is better) dominate up to `reference`, exactly.

    WFG: each point adds its box, less what the points after it share with that box (While et al. 2012).
    """
    inside = {tuple(p) for p in points if all(v < r for v, r in zip(p, reference, strict=True))}
    return _volume(_undominated(inside), reference)


def _volume(front: list[tuple[float, ...]], reference: Sequence[float]) -> float:
    """Hypervolume of points of which none dominates another, sorted."""
    if len(reference) == 1:
        return float(reference[0] - front[0][0]) if front else 0.0
    if len(reference) == 2:
        ceilings = [reference[1], *(second for _, second in front)]
        return float(sum((reference[0] - p[0]) * (c - p[1]) for p, c in zip(front, ceilings, strict=False)))
    volume = 0.0
    for place, point in enumerate(front):
        shared = {tuple(map(max, point, other)) for other in front[place + 1 :]}
        box = math.prod(r - v for v, r in zip(point, reference, strict=True))
        volume += box - _volume(_undominated(shared), reference)
    return volume


def _undominated(points: Iterable[tuple[float, ...]]) -> list[tuple[float, ...]]:
    """Return the distinct points that no other one dominates, sorted."""
    front: list[tuple[float, ...]] = []
    for point in sorted(points):  # whatever dominates a point comes before it
        if not any(_dominates(other, point) for other in front):
            front.append(point)
    return front


def front_hypervolume(objectives: Sequence[Objective], trials: Iterable[Trial]) -> float:
    """Return the hypervolume of scored trials, each objective scaled so that its worst value is 1.

    The reference is the worst value seen of each cost, and an accuracy of 0. It grows with the
    record, so compare it within one search only.
    """
    points, _ = _points(objectives, trials)
    if not points:
        return 0.0
    worst = [
        1.0 if objective.maximise else max(1e-12, *(point[axis] for point in points))
        for axis, objective in enumerate(objectives)
    ]
    scaled = [
        [1.0 + v if o.maximise else v / w for v, w, o in zip(point, worst, objectives, strict=True)]
        for point in points
    ]
    return hypervolume(scaled, [1.0 + 1e-9] * len(objectives))


def losses(objectives: Sequence[Objective], trial: Trial) -> tuple[float, ...]:
    """Return what a scored trial is to minimise, by objective."""
    assert trial.score is not None
    return tuple(
        -trial.score.values[o.label] if o.maximise else trial.score.values[o.label] for o in objectives
    )


def _dominates(first: Sequence[float], second: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(first, second, strict=True)) and tuple(first) != tuple(second)
