"""An ensemble of small perceptrons (Lakshminarayanan et al. 2017), each trained on its own bootstrap sample.

All members train at once, as batched products over [members E, rows N, units], by Adam. They learn the
values (`mse`), or their order: `ranking` is RankNet's cross-entropy over all pairs (Burges et al. 2005,
eq. 3), where the probability that i is above j is 1, 0, a half for ties, or, with known noise, what
that leaves of it: Phi((y_i - y_j) / sqrt(v_i + v_j)).
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from scipy.special import expit, ndtr

from hilnas.predictors.base import LEAST_SCALE, Floats, checked

Pull = Callable[[Floats, Floats], Floats]
"""Gradient of the loss by outputs [E, N], rows counting weights [E, N]."""

_RATE = 0.01
_DECAYS = 0.9, 0.999
"""Of Adam's moments (Kingma & Ba 2015)."""
_SHRINK = 0.1
"""Weight decay, decoupled (Loshchilov & Hutter 2019)."""


class Ensemble:
    """Inputs are taken as they are: zeros and ones, or numbers of about unit scale."""

    def __init__(
        self,
        seed: int,
        loss: Literal["mse", "ranking"] = "mse",
        members: int = 8,
        units: int = 32,
        steps: int = 200,
    ) -> None:
        self.seed = seed
        self.loss = loss
        self.members = members
        self.units = units
        self.steps = steps

    def fit(self, inputs: Floats, values: Floats, variances: Floats | None = None) -> None:
        """Learn values [N] of inputs [N, D], always from the same start."""
        points, figures, known = checked(inputs, values, variances)
        generator = np.random.default_rng(self.seed)
        self._mean, self._scale = float(figures.mean()), float(figures.std()) + LEAST_SCALE
        standard, noise = (figures - self._mean) / self._scale, known / self._scale**2
        size = len(points)
        counts = generator.multinomial(size, np.full(size, 1 / size), self.members)
        pull = (_ranking if self.loss == "ranking" else _errors)(standard, noise)
        self._parameters = self._initial(points.shape[1], generator)
        self._train(points, counts / size, pull)
        self._calibrate(points, standard, noise, counts == 0)

    def predict(self, inputs: Floats) -> tuple[Floats, Floats]:
        """Return means and standard deviations [M]: the members' spread, and what none of them foresees."""
        outputs = (self._forward(np.asarray(inputs, np.float64))[-1] - self._shifts) * self._slopes
        variance = outputs.var(0) + self._unforeseen
        return self._mean + self._scale * outputs.mean(0), self._scale * np.sqrt(variance)

    def _initial(self, inputs: int, generator: np.random.Generator) -> list[Floats]:
        """Return weights and biases of two hidden layers and the output (He et al. 2015)."""
        parameters: list[Floats] = []
        for before, after in ((inputs, self.units), (self.units, self.units), (self.units, 1)):
            deviation = np.sqrt((2.0 if after > 1 else 0.1) / max(before, 1))
            parameters.append(deviation * generator.normal(size=(self.members, before, after)))
            parameters.append(np.zeros((self.members, 1, after)))
        return parameters

    def _forward(self, points: Floats) -> list[Floats]:
        """Return the hidden layers' activations [E, N, units], and the outputs [E, N]."""
        first, bias1, second, bias2, last, bias3 = self._parameters
        one = np.maximum(points @ first + bias1, 0.0)
        two = np.maximum(one @ second + bias2, 0.0)
        return [one, two, (two @ last + bias3)[..., 0]]

    def _gradients(self, points: Floats, weights: Floats, pull: Pull) -> list[Floats]:
        one, two, outputs = self._forward(points)
        _, _, second, _, last, _ = self._parameters
        slope = pull(outputs, weights)[..., None]
        slope_two = (slope @ last.transpose(0, 2, 1)) * (two > 0)
        slope_one = (slope_two @ second.transpose(0, 2, 1)) * (one > 0)
        found = []
        for layer, back in ((points[None], slope_one), (one, slope_two), (two, slope)):
            found += [layer.transpose(0, 2, 1) @ back, back.sum(1, keepdims=True)]
        return found

    def _train(self, points: Floats, weights: Floats, pull: Pull) -> None:
        """Adam on all rows at once; the rate falls along a cosine."""
        moments = [np.zeros_like(parameter) for parameter in self._parameters]
        squares = [np.zeros_like(parameter) for parameter in self._parameters]
        for step in range(self.steps):
            rate = _RATE * 0.5 * (1 + np.cos(np.pi * step / self.steps))
            gradients = self._gradients(points, weights, pull)
            for place, slope in enumerate(gradients):
                moments[place] += (1 - _DECAYS[0]) * (slope - moments[place])
                squares[place] += (1 - _DECAYS[1]) * (slope**2 - squares[place])
                mean = moments[place] / (1 - _DECAYS[0] ** (step + 1))
                power = squares[place] / (1 - _DECAYS[1] ** (step + 1))
                change = mean / (np.sqrt(power) + 1e-8) + _SHRINK * self._parameters[place]
                self._parameters[place] -= rate * change

    def _calibrate(self, points: Floats, standard: Floats, noise: Floats, out: Floats) -> None:
        """From rows that a member has not seen (`out` [E, N]): the scale of ranks, and the error to expect."""
        outputs = self._forward(points)[-1]
        self._shifts, self._slopes = np.zeros((self.members, 1)), np.ones((self.members, 1))
        if (
            self.loss == "ranking"
        ):  # scores have an order, no unit: one slope leads from all of them to values
            self._shifts = outputs.mean(1, keepdims=True)
            self._slopes = 1 / (outputs.std(1, keepdims=True) + LEAST_SCALE)
            outputs = (outputs - self._shifts) * self._slopes
            power = float((outputs**2)[out].sum())
            slope = float((outputs * standard)[out].sum()) / power if power else 0.0
            self._slopes, outputs = self._slopes * max(slope, 0.0), outputs * max(slope, 0.0)
        voters = out.sum(0)
        seen = voters > 0
        if not seen.any():
            self._unforeseen = np.inf
            return
        means = (outputs * out).sum(0)[seen] / voters[seen]
        spreads = ((outputs[:, seen] - means) ** 2 * out[:, seen]).sum(0) / voters[seen]
        self._unforeseen = max(float(((standard[seen] - means) ** 2 - noise[seen] - spreads).mean()), 0.0)


def _errors(values: Floats, noise: Floats) -> Pull:
    """Squared errors, of less weight the noisier the value."""
    trust = 1 / (1 + noise)
    return lambda outputs, weights: weights * trust * (outputs - values)


def _ranking(values: Floats, noise: Floats) -> Pull:
    """RankNet: of each pair the sigmoid of the difference of outputs, less the probability of the order."""
    deviation = np.sqrt(noise[:, None] + noise) + LEAST_SCALE
    above = ndtr((values[:, None] - values) / deviation)

    def pull(outputs: Floats, weights: Floats) -> Floats:
        wrong = expit(outputs[:, :, None] - outputs[:, None]) - above
        slopes: Floats = weights * np.einsum("eij,ej->ei", wrong, weights)
        return slopes

    return pull
