"""A learned reward model: each quantity a Gaussian process of its own, the reward composed from them.

Accuracy is modelled as -log of the error, costs as logarithms, so that what multiplies in the world
adds up in the model. The reward of an architecture is then a distribution: its mean and deviation
come from fixed quasi-random draws of the quantities, put through the objectives.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from hilnas.objectives import Figure, Objective, figure_of
from hilnas.predictors.encodings import Encoder, Rows
from hilnas.predictors.gp import GaussianProcess
from hilnas.predictors.posterior import Posterior
from hilnas.predictors.static_features import StaticFeatures
from hilnas.strategies.rl.belief import Belief, Floats
from hilnas.trial import Trial, TrialStatus

_DRAWS = 64
_GROWTH = 1.15
"""Parameters are found anew when there are this many times as many rows."""
_FIT_ROWS = 300
"""Parameters are found on so many rows at most: the best, and others evenly."""
_FEW = 100
"""With fewer rows, parameters are looked for longer: they still change much."""
_ACTIVE_ROWS = 300
_FRESH_ROWS = 50
"""Predictions build on so many rows at most, chosen likewise, and on so many that came since."""
_FEATURE_ROWS = 40
"""With more measured rows, static features are left out: they cost time and tell nothing new."""
_SAMPLE = 200
_HINTS = 8
"""Earlier trials that it takes to learn from them."""
_HIGHEST = 1 - 1e-4
"""Accuracies above count as this one."""


class _Quantity:
    """One objective's values, transformed, and the process behind them."""

    def __init__(self, objective: Objective, process: GaussianProcess, hint: Posterior | None) -> None:
        self.objective = objective
        self.process = process
        self.hint = hint
        self.values: list[float] = []
        self.variances: list[float] = []
        self.posterior: Posterior | None = None

    def transformed(self, figure: Figure) -> tuple[float, float]:
        """Return value and variance on the model's scale."""
        return _transformed(self.objective, figure)

    def natural(self, values: Floats) -> Floats:
        """Return values on the objective's scale."""
        found: Floats = 1 - np.exp(-np.maximum(values, 0.0)) if self.objective.maximise else np.exp(values)
        return found


class RewardModel:
    """Learns from figures of trials, and tells what the rewards of other architectures may be."""

    def __init__(
        self, encoder: Encoder, objectives: Sequence[Objective], earlier: Sequence[Trial] = ()
    ) -> None:
        self._encoder = encoder
        self._objectives = objectives
        self._static = _static_features(encoder)
        self._known_features: dict[bytes, Floats] = {}
        told = len(self._static.names) if self._static is not None else 0
        self._quantities = []
        for objective in objectives:
            hint = _hint(encoder, objective, earlier)
            width = told + (hint is not None)
            process = GaussianProcess(encoder.sizes, encoder.groups, encoder.positions, width)
            self._quantities.append(_Quantity(objective, process, hint))
        self._guessing = told > 0 or any(quantity.hint is not None for quantity in self._quantities)
        self._validity = GaussianProcess(encoder.sizes, encoder.groups, encoder.positions)
        self._valid: list[tuple[NDArray[np.int64], float]] = []
        self._rows: list[NDArray[np.int64]] = []
        self._place: dict[bytes, int] = {}
        self._next_fit = 0
        self._active: list[int] = []
        self._told = 0
        self._doubted: set[int] = set()
        self._draws = _stratified_normals(_DRAWS, len(objectives))

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def rows(self) -> Rows:
        """Return the measured rows [N, L] that the model works with: all, or the best and some of the others."""
        return np.array([self._rows[i] for i in self._active]).reshape(len(self._active), -1)

    def learn(self, row: NDArray[np.int64], trial: Trial) -> None:
        """Take a final trial's figures; measured again, an architecture has their mean, weighted by 1/se²."""
        if trial.status is TrialStatus.FAILED:
            return
        figures = [figure_of(quantity.objective, trial) for quantity in self._quantities]
        if any(figure is None for figure in figures):
            if trial.status is TrialStatus.INVALID:
                self._valid.append((row, 0.0))
            return
        self._valid.append((row, 1.0))
        known = self._place.setdefault(row.tobytes(), len(self._rows))
        if known == len(self._rows):
            self._rows.append(row)
            for quantity, figure in zip(self._quantities, figures, strict=True):
                assert figure is not None
                value, variance = quantity.transformed(figure)
                quantity.values.append(value)
                quantity.variances.append(variance)
            return
        self._doubted.add(known)
        for quantity, figure in zip(self._quantities, figures, strict=True):
            assert figure is not None
            value, variance = quantity.transformed(figure)
            before = quantity.values[known], quantity.variances[known]
            quantity.values[known], quantity.variances[known] = _combined(before, (value, variance))

    def update(self) -> None:
        """Bring the processes up to date with what was learned."""
        count = len(self._rows)
        fit = count >= self._next_fit
        new = sorted(set(range(self._told, count)) | self._doubted)
        if fit:
            self._next_fit = max(count + 1, int(count * _GROWTH))
            self._guessing = self._guessing and count <= _FEATURE_ROWS  # later the choices tell more
        crowded = len(self._active) + len(new) > _ACTIVE_ROWS + _FRESH_ROWS
        anew = fit or crowded or bool(self._doubted)
        if fit or crowded:
            self._active = self._spread(_ACTIVE_ROWS)
        else:
            self._active += [i for i in new if i not in self._active]
        for quantity in self._quantities:
            if fit:
                iterations = 20 if count < _FEW else 10
                quantity.process.fit(*self._data(quantity, self._spread(_FIT_ROWS)), iterations=iterations)
            if anew or quantity.posterior is None:
                quantity.posterior = quantity.process.condition(*self._data(quantity, self._active))
            elif new:
                quantity.posterior = quantity.posterior.extend(*self._data(quantity, new))
        self._told, self._doubted = count, set()

    def _data(self, quantity: _Quantity, lines: Sequence[int]) -> tuple[Rows, Floats, Floats, Floats | None]:
        """Return rows, values, variances and features [N] of measured lines."""
        rows = np.array([self._rows[i] for i in lines])
        values = np.array([quantity.values[i] for i in lines])
        variances = np.array([quantity.variances[i] for i in lines])
        return rows, values, variances, self._features(quantity, rows)

    def _spread(self, limit: int) -> list[int]:
        """Return so many measured lines at most: the best half, and of the others every so many."""
        count = len(self._rows)
        if count <= limit:
            return list(range(count))
        rewards = self._belief([np.array(q.values)[None] for q in self._quantities]).mean
        order = np.argsort(-rewards, kind="stable")
        half = limit // 2
        others = order[half:][np.linspace(0, count - half - 1, limit - half).astype(np.int64)]
        return sorted([*order[:half].tolist(), *others.tolist()])

    def predict(self, rows: Rows, pending: Rows) -> Belief:
        """Return what rewards [N] rows may have, believing those `pending` to come out as predicted."""
        draws = []
        for quantity, z in zip(self._quantities, self._draws.T, strict=True):
            assert quantity.posterior is not None
            believed = quantity.posterior.believing(pending, self._features(quantity, pending))
            mean, sd = believed.predict(rows, self._features(quantity, rows))
            draws.append(mean + sd * z[:, None])
        return self._belief(draws)

    def expected(self, rows: Rows) -> Belief:
        """Return the mean quantities of N rows as a single draw: cheaper than `predict`."""
        means = []
        for quantity in self._quantities:
            assert quantity.posterior is not None
            means.append(quantity.posterior.mean(rows, self._features(quantity, rows))[None])
        return self._belief(means)

    def guess(self, rows: Rows) -> Floats | None:
        """Return the rewards [N] that earlier searches suggest, before anything is measured; None without any."""
        if any(quantity.hint is None for quantity in self._quantities):
            return None
        return self._belief([q.hint.mean(rows)[None] for q in self._quantities if q.hint is not None]).mean

    def measured(self) -> Belief:
        """Return what the true rewards of the measured rows [N] may be, each measurement's noise taken into account."""
        draws = []
        for quantity, z in zip(self._quantities, self._draws.T, strict=True):
            assert quantity.posterior is not None
            mean, sd = quantity.posterior.smoothed()
            draws.append(mean + sd * z[:, None])
        return self._belief(draws)

    def noise(self) -> Floats:
        """Return the standard error [N] of each measured row's reward, from the errors of its figures."""
        draws = []
        for quantity, z in zip(self._quantities, self._draws.T, strict=True):
            _, values, variances, _ = self._data(quantity, self._active)
            draws.append(values + np.sqrt(variances) * z[:, None])
        return self._belief(draws).sd

    def validity(self, rows: Rows) -> Floats | None:
        """Return the probability [N] that rows are not INVALID for reasons that no figure tells; None if none was."""
        values = np.array([value for _, value in self._valid])
        if values.min(initial=1.0) == 1.0 or len(values) < 4:
            return None
        known = np.array([row for row, _ in self._valid])[-_FIT_ROWS:]
        variances = np.full(len(known), 0.01)
        self._validity.fit(known, values[-_FIT_ROWS:], variances, iterations=5)
        posterior = self._validity.condition(known, values[-_FIT_ROWS:], variances)
        likely: Floats = np.clip(posterior.mean(rows), 0.01, 1.0)
        return likely

    def _features(self, quantity: _Quantity, rows: Rows) -> Floats | None:
        """Return static features and what earlier searches suggest [N, F]; None once they are not needed."""
        if not self._guessing:
            return None
        columns = [self._static_of(rows)]
        if quantity.hint is not None:
            columns.append(quantity.hint.standard_mean(rows)[:, None])
        return np.concatenate(columns, axis=1)

    def _static_of(self, rows: Rows) -> Floats:
        if self._static is None:
            return np.zeros((len(rows), 0))
        known = self._known_features
        new = {key: row for row in rows if (key := row.tobytes()) not in known}
        if new:
            told = self._static.encode([self._encoder.decode(row) for row in new.values()])
            known.update(zip(new, told, strict=True))
        return np.array([known[row.tobytes()] for row in rows]).reshape(len(rows), len(self._static.names))

    def _belief(self, draws: list[Floats]) -> Belief:
        """Return a belief of transformed values [S, N] of each quantity."""
        natural = [quantity.natural(values) for quantity, values in zip(self._quantities, draws, strict=True)]
        return Belief(self._objectives, natural)


def _transformed(objective: Objective, figure: Figure) -> tuple[float, float]:
    """Return value and variance on the model's scale."""
    if objective.maximise:
        error = max(1 - figure.value, 1 - _HIGHEST)
        return float(-np.log(error)), (figure.se / error) ** 2
    value = max(figure.value, objective.floor or 0.0, 1e-9)
    return float(np.log(value)), (figure.se / value) ** 2


def _hint(encoder: Encoder, objective: Objective, earlier: Sequence[Trial]) -> Posterior | None:
    """Return what earlier trials teach of a quantity, on whatever device; None of too few."""
    anywhere = objective.model_copy(update={"device_class": None})
    figures = [(trial, figure_of(objective, trial) or figure_of(anywhere, trial)) for trial in earlier]
    told = [(trial.architecture, _transformed(objective, figure)) for trial, figure in figures if figure]
    values = np.array([value for _, (value, _) in told])
    if len(told) < _HINTS or np.ptp(values) == 0:
        return None
    variances = np.array([variance for _, (_, variance) in told])
    process = GaussianProcess(encoder.sizes, encoder.groups, encoder.positions)
    rows = encoder.encode([architecture for architecture, _ in told])
    chosen = slice(-_FIT_ROWS, None)
    process.fit(rows[chosen], values[chosen], variances[chosen])
    return process.condition(rows[chosen], values[chosen], variances[chosen])


def _static_features(encoder: Encoder) -> StaticFeatures | None:
    """Return the space's own features, scaled by a sample of it; None where it tells nothing."""
    generator = np.random.default_rng(0)  # of the model, not of a search
    features = StaticFeatures(encoder.space, [encoder.space.sample(generator) for _ in range(_SAMPLE)])
    return features if features.names else None


def _stratified_normals(count: int, width: int) -> Floats:
    """Return standard normal draws [count, width], each column spread evenly (McKay et al. 1979)."""
    generator = np.random.default_rng(0)  # of the model, not of a search
    strata = np.stack([generator.permutation(count) for _ in range(width)], axis=1)
    normals: Floats = ndtri((strata + 0.5) / count)
    return normals


def _combined(first: tuple[float, float], second: tuple[float, float]) -> tuple[float, float]:
    """Return value and variance of two measurements of one thing, weighted by their inverse variances."""
    if min(first[1], second[1]) <= 0:
        return min(first, second, key=lambda measured: measured[1])
    weights = 1 / first[1], 1 / second[1]
    total = sum(weights)
    return (weights[0] * first[0] + weights[1] * second[0]) / total, 1 / total
