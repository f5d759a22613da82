"""Latency on a new device from about ten measurements there, and many on known devices (as HELP, Lee et al. 2021).

The new device's log-latencies are a line of the known devices' mean z, and deviations shrunk to nothing:

    y = m + g z + sum_d w_d (z_d - z) / sqrt(D) + x' u + e,   w, u ~ N(0, s^2 / strength)

with z_d the standardised log-latencies of known device d, and x the architecture's encoding, if given,
scaled down: it tells what the devices do not. That is Bayesian ridge; strength and s are first those
with which each known device is foretold by the others. Architectures to measure are chosen by how much
they lower the variance over all of them (A-optimal design, greedy).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hilnas.predictors.base import LEAST_SCALE, Floats
from hilnas.predictors.ridge import BayesianRidge, log_evidence

_SLOPE = 10.0
"""Of the mean, against the deviations: all but free."""
_RESIDUALS = (0.03, 0.06, 0.12, 0.25, 0.5, 1.0)
"""Deviations of all of an encoding together, of which the best is taken."""
_STRENGTHS = np.logspace(-3, 1, 17)
_RESIDUAL, _STRENGTH, _NOISE = 0.12, 0.06, 0.3
"""Where there are fewer than three known devices to learn them from."""
_FAITH = 4.0
"""Measurements that the known devices' s counts as much as."""
_ROWS = 200
"""Architectures from which strength and s are learned."""


class FewShotTransfer:
    """A predictor whose inputs are latencies on D known devices [N, D], any unit above 0, and encodings [N, K].

    `known` has those of every architecture of interest [N, D + K], latencies measured or predicted;
    `devices` is D, all columns where left out. Then `choose` what to measure.
    """

    def __init__(self, known: ArrayLike, devices: int | None = None, seed: int = 0) -> None:
        inputs = np.asarray(known, np.float64)
        self.devices = inputs.shape[1] if devices is None else devices
        logarithms, encodings = _logarithms(inputs[:, : self.devices]), inputs[:, self.devices :]
        self._mean, self._scale = logarithms.mean(0), logarithms.std(0) + LEAST_SCALE
        self._middle = encodings.mean(0)
        self._unit = 1 / (np.sqrt(encodings.var(0).sum()) + LEAST_SCALE)
        self.residual, self.strength, self.noise = _RESIDUAL, _STRENGTH, _NOISE
        if self.devices > 2:
            rows = np.random.default_rng(seed).permutation(len(inputs))[:_ROWS]
            standard = (logarithms[rows] - self._mean) / self._scale
            self._learn(standard, self._unit * (encodings[rows] - self._middle))
        self._inputs = self._encoded(inputs)

    def _learn(self, standard: Floats, extra: Floats) -> None:
        """Find weight of the encoding, strength and s, by telling each known device from the others."""
        rest = [np.delete(standard, device, 1) for device in range(self.devices)]
        targets = standard.T
        best = -np.inf
        for residual in _RESIDUALS if extra.shape[1] else (_RESIDUAL,):
            found = [
                log_evidence(_beside(others, residual * extra), target, _STRENGTHS)
                for others, target in zip(rest, targets, strict=True)
            ]
            evidence = np.sum(found, axis=0)
            if evidence.max() > best:
                best = float(evidence.max())
                self.residual, self.strength = residual, float(_STRENGTHS[np.argmax(evidence)])
        variances = []
        for others, target in zip(rest, targets, strict=True):
            ridge = BayesianRidge([self.strength])
            ridge.fit(_beside(others, self.residual * extra), target)
            variances.append(ridge.noise**2)
        self.noise = float(np.sqrt(np.mean(variances)))

    def choose(self, count: int) -> NDArray[np.int64]:
        """Return the rows [count] of `known` whose architectures to measure, the most telling first."""
        if not 0 < count <= len(self._inputs):
            raise ValueError(f"{count} of {len(self._inputs)} architectures cannot be chosen")
        inputs = np.column_stack([np.ones(len(self._inputs)), self._inputs])
        covariance = np.eye(inputs.shape[1]) / self.strength
        power = inputs.T @ inputs
        chosen: list[int] = []
        for _ in range(count):
            pulls = inputs @ covariance
            gains = ((pulls @ power) * pulls).sum(1) / (1 + (pulls * inputs).sum(1))
            gains[chosen] = -np.inf
            best = int(gains.argmax())
            chosen.append(best)
            covariance -= np.outer(pulls[best], pulls[best]) / (1 + pulls[best] @ inputs[best])
        return np.array(chosen)

    def fit(self, inputs: Floats, values: Floats, variances: Floats | None = None) -> None:
        """Learn latencies [N] on the new device of architectures with `inputs` [N, D + K]."""
        figures = np.asarray(values, np.float64)
        encoded, logarithms = self._encoded(inputs), _logarithms(figures)
        noise = (
            None if variances is None else np.asarray(variances) / figures**2
        )  # of logarithms, first order
        unit = (logarithms.std() + LEAST_SCALE) / (encoded[:, 0].std() / _SLOPE + LEAST_SCALE)
        self._ridge = BayesianRidge([self.strength], self.noise * unit, _FAITH)
        self._ridge.fit(encoded, logarithms, noise)

    def predict(self, inputs: Floats) -> tuple[Floats, Floats]:
        """Return medians and first-order standard deviations [M] of latencies, in the unit of those learned."""
        encoded = self._encoded(inputs)
        mean, sd = self._ridge.predict(encoded)
        latency = np.exp(mean)
        return latency, latency * sd

    def _encoded(self, inputs: ArrayLike) -> Floats:
        points = np.asarray(inputs, np.float64)
        if points.ndim != 2 or points.shape[1] != self.devices + len(self._middle):
            raise ValueError(
                f"inputs are {list(points.shape)}: latencies on {self.devices} known devices and "
                f"encodings [{len(self._middle)}] are needed"
            )
        latencies = _logarithms(points[:, : self.devices])
        extra = self.residual * self._unit * (points[:, self.devices :] - self._middle)
        return _beside((latencies - self._mean) / self._scale, extra)


def _logarithms(latencies: Floats) -> Floats:
    wrong = np.flatnonzero(~(np.isfinite(latencies) & (latencies > 0)).reshape(len(latencies), -1).all(1))
    if len(wrong):
        raise ValueError(
            f"latencies of row {wrong[0]} are not all above 0: leave the row out, or predict them"
        )
    return np.log(latencies)


def _beside(standard: Floats, extra: Floats) -> Floats:
    """Return the mean [N, 1], deviations from it [N, D] and more [N, K]."""
    mean = standard.mean(1, keepdims=True)
    return np.hstack([_SLOPE * mean, (standard - mean) / np.sqrt(standard.shape[1]), extra])
