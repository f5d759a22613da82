"""What `rl` searches for: the best reward, or the front of all objectives."""

import sys
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from hilnas.objectives import Objective, losses
from hilnas.predictors.encodings import Rows
from hilnas.strategies.base import Problem
from hilnas.strategies.common import fitness
from hilnas.strategies.nondominated import nondominated_fronts
from hilnas.strategies.rl.belief import Belief, Floats
from hilnas.strategies.rl.candidates import Candidates
from hilnas.trial import Trial

_TIE = 1e-3
_DIRECTIONS = 128
_LONG = 150
_LOOKS = 150
"""A close look at candidates takes long once `_LONG` rows are known: only the best ones by their means get one."""
_DOUBTED = 8
"""Of so many best architectures one may be measured again."""


class Aim(Protocol):
    """Says what is worth a measurement."""

    objectives: Sequence[Objective]
    """What has to be predicted."""
    startup: int
    """Scored trials that a model of them needs, by default."""

    def candidates(self, finder: Candidates, leaders: Rows, generator: np.random.Generator) -> Rows:
        """Return rows worth a look, beside the policy's draws."""

    def looks(self, known: int) -> int:
        """Return how many candidates to look at closely, when `known` rows are measured."""

    def leaders(self, measured: Belief, count: int, generator: np.random.Generator) -> NDArray[np.intp]:
        """Return which of the measured are the best, `count` at most."""

    def standing(self, believed: Belief, measured: Belief) -> Floats:
        """Return a number [N] by which to order N architectures of which only means are believed."""

    def promise(self, believed: Belief, measured: Belief, waiting: Belief | None) -> Floats:
        """Return how likely [N] architectures bring progress beyond the measured and the waiting ones."""

    def doubtful(
        self, measured: Belief, noise: Floats, believed: Belief, waiting: Belief | None
    ) -> int | None:
        """Return which measured row, of errors `noise`, deserves another measurement more than the one row believed."""

    def merits(self, trials: Sequence[Trial]) -> Floats:
        """Return what the policy is to be rewarded with for trials [N] that are its doing."""


class BestReward:
    """The highest reward."""

    startup = 4

    def __init__(self, problem: Problem) -> None:
        wanted = problem.objectives
        self.objectives: Sequence[Objective] = [
            o for o in wanted if o.maximise or o.target is not None or o.limit is not None
        ]
        self._lowest = np.inf

    def candidates(self, finder: Candidates, leaders: Rows, generator: np.random.Generator) -> Rows:
        """Return changes of the leaders, and rows from all over the space."""
        return np.concatenate([finder.near(leaders, generator), finder.anywhere(generator)])

    def looks(self, known: int) -> int:
        """Return how many candidates to look at closely."""
        return _LOOKS if known >= _LONG else sys.maxsize

    def leaders(self, measured: Belief, count: int, generator: np.random.Generator) -> NDArray[np.intp]:
        """Return those of the highest mean, best first."""
        return np.argsort(-measured.mean, kind="stable")[:count]

    def standing(self, believed: Belief, measured: Belief) -> Floats:
        """Return the mean rewards [N]."""
        return believed.mean

    def promise(self, believed: Belief, measured: Belief, waiting: Belief | None) -> Floats:
        """Return the share [N] of draws above the best mean; where shares are equal, the mean gain decides, then the mean.

        Probability, not expected gain (Jones 2001): the deviation is that of all architectures, and
        among the best ones, which differ little, hopes built on it are idle.
        """
        bar = self.bar(measured, waiting)
        above = believed.rewards > bar
        gain = np.where(above, believed.rewards - bar, 0.0).mean(0)
        mean = believed.mean
        span = float(np.ptp(mean)) or 1.0
        promise: Floats = above.mean(0) + _TIE * gain / span + _TIE**2 * (mean - mean.min()) / span
        return promise

    def bar(self, measured: Belief, waiting: Belief | None) -> float:
        """Return the reward to beat."""
        bar = float(measured.mean.max())
        return bar if waiting is None else max(bar, float(waiting.mean.max()))

    def doubtful(
        self, measured: Belief, noise: Floats, believed: Belief, waiting: Belief | None
    ) -> int | None:
        """Compare the knowledge gradient (Frazier et al. 2009) of a repeat with a new one's expected gain."""
        z = (believed.mean - self.bar(measured, waiting)) / np.maximum(believed.sd, 1e-12)
        gain = float(believed.sd[0] * _expected_excess(z)[0])
        order = np.argsort(-measured.mean, kind="stable")
        if len(order) < 2:
            return None
        doubted = order[:_DOUBTED]
        rivals = measured.mean[np.where(np.arange(len(doubted)) == 0, order[1], order[0])]
        variances, errors = measured.sd[doubted] ** 2, noise[doubted]
        learned = np.maximum(variances / np.sqrt(variances + errors**2 + 1e-24), 1e-12)
        worth = learned * _expected_excess(-np.abs(measured.mean[doubted] - rivals) / learned)
        return int(doubted[int(np.argmax(worth))]) if worth.max() > max(gain, 1e-12) else None

    def merits(self, trials: Sequence[Trial]) -> Floats:
        """Return the rewards [N]; an INVALID trial has the lowest one ever seen."""
        found = np.array([fitness(trial) for trial in trials], np.float64)
        self._lowest = min(self._lowest, float(found[np.isfinite(found)].min(initial=np.inf)))
        return np.maximum(found, self._lowest if np.isfinite(self._lowest) else 0.0)


class WholeFront:
    """The volume dominated by the front of all objectives, each in its unit.

    That volume is the mean, over directions from the worst corner, of how far the front reaches along
    each to the power of the number of objectives (Zhang and Golovin 2020, lemma 5).
    """

    startup = 10  # with fewer it may never look at one end

    def __init__(self, problem: Problem) -> None:
        self.objectives: Sequence[Objective] = problem.objectives
        self._directions = _directions(_DIRECTIONS, len(self.objectives))

    def candidates(self, finder: Candidates, leaders: Rows, generator: np.random.Generator) -> Rows:
        """Return changes and crossings of the leaders, and rows from all over the space."""
        near, crossed = finder.near(leaders, generator), finder.between(leaders, generator)
        return np.concatenate([near, crossed, finder.anywhere(generator)])

    def looks(self, known: int) -> int:
        """Return how many candidates to look at closely."""
        return _LOOKS

    def leaders(self, measured: Belief, count: int, generator: np.random.Generator) -> NDArray[np.intp]:
        """Return members of the front in random order, then of the second one, …"""
        order: list[int] = []
        for front in nondominated_fronts(_mean_losses(measured)):
            if len(order) >= count:
                break
            order += generator.permutation(front).tolist()
        return np.array(order[:count], np.intp)

    def standing(self, believed: Belief, measured: Belief) -> Floats:
        """Return how far [N] each reaches beyond the front where it reaches farthest, below zero if nowhere."""
        known = _mean_losses(measured)
        best = self._reach(known, known).max(0)
        beyond: Floats = (self._reach(_mean_losses(believed), known) - best).max(1)
        return beyond

    def promise(self, believed: Belief, measured: Belief, waiting: Belief | None) -> Floats:
        """Return the volume [N] that each adds, in expectation (EHVI, Emmerich et al. 2006)."""
        known = _mean_losses(measured)
        best = self._reach(known, known).max(0)
        if waiting is not None:
            best = np.maximum(best, self._reach(_mean_losses(waiting), known).max(0))
        total = np.zeros(believed.values[0].shape[1])
        floor = self._volume(best)
        for draw in _losses(believed):
            total += np.maximum(self._volume(self._reach(draw, known)) - floor, 0).mean(1)
        mean: Floats = total / len(believed.values[0])
        return mean

    def doubtful(
        self, measured: Belief, noise: Floats, believed: Belief, waiting: Belief | None
    ) -> int | None:
        """Return none: what is wrongly thought to be on the front costs nothing but a look."""
        return None

    def merits(self, trials: Sequence[Trial]) -> Floats:
        """Return minus the number [N] of the front each is on; INVALID ones come last."""
        merits = np.full(len(trials), -float(len(trials)))
        scored = np.array([i for i, trial in enumerate(trials) if trial.score is not None], np.intp)
        if len(scored):
            told = np.array([losses(self.objectives, trials[i]) for i in scored])
            for place, front in enumerate(nondominated_fronts(told)):
                merits[scored[front]] = -place
        return merits

    def _reach(self, points: Floats, known: Floats) -> Floats:
        """Return how far [N, D] losses [N, Q] reach from the worst corner of the `known` ones along D directions."""
        worst, best = known.max(0), known.min(0)
        gains: Floats = np.maximum((worst - points) / np.maximum(worst - best, 1e-12), 0.0)
        reach: Floats = gains[:, :1] / self._directions[:, 0]
        for gain, direction in zip(gains.T[1:], self._directions.T[1:], strict=True):
            np.minimum(reach, gain[:, None] / direction, out=reach)
        return reach

    def _volume(self, reach: Floats) -> Floats:
        volume = reach.copy()
        for _ in range(len(self.objectives) - 1):
            volume *= reach
        return volume


def _losses(believed: Belief) -> Floats:
    """Return draws [S, N, Q] of what is to be as small as possible; infinite beyond a limit."""
    pairs = zip(believed.objectives, believed.values, strict=True)
    found: Floats = np.stack([-values if o.maximise else values for o, values in pairs], axis=-1)
    found[believed.broken] = np.inf
    return found


def _mean_losses(believed: Belief) -> Floats:
    """Return losses [N, Q] of the mean figures; those of what is beyond a limit are the worst ones."""
    means = Belief(believed.objectives, [values.mean(0, keepdims=True) for values in believed.values])
    found: Floats = _losses(means)[0]
    allowed = found[~means.broken[0]]
    worst = allowed.max(0) if len(allowed) else np.zeros(found.shape[1])
    found[means.broken[0]] = worst
    return found


def _expected_excess(z: Floats) -> Floats:
    """Return the expected part above zero of a normal variable with mean z and deviation 1."""
    excess: Floats = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) + z * ndtr(z)
    return excess


def _directions(count: int, width: int) -> Floats:
    """Return directions [count, width] spread evenly over the positive part of the unit sphere."""
    ratio = 2.0
    for _ in range(50):  # Roberts' sequence: powers of the root of x^(width + 1) = x + 1
        ratio = (1 + ratio) ** (1 / (width + 1))
    steps = np.arange(1, count + 1)[:, None] * ratio ** -np.arange(1, width + 1)
    normals = np.abs(ndtri((0.5 + steps) % 1))
    directions: Floats = normals / np.linalg.norm(normals, axis=1, keepdims=True)
    return directions
