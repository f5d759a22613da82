"""`rl`: a policy-gradient controller that dreams: between measurements it learns in a reward model."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from hilnas.objectives import best_trials
from hilnas.predictors.encodings import Encoder, Rows
from hilnas.strategies.base import Problem, Strategy
from hilnas.strategies.common import Novelty, one_thread, random_state
from hilnas.strategies.rl.aims import Aim, BestReward, WholeFront
from hilnas.strategies.rl.belief import Belief
from hilnas.strategies.rl.candidates import candidates_of, unique
from hilnas.strategies.rl.learner import GradientOptions, Learner
from hilnas.strategies.rl.policy import Policy
from hilnas.strategies.rl.reward_model import RewardModel
from hilnas.trial import Architecture, Proposal, Trial, TrialStatus

_GROUP = 4
"""The policy learns whenever so many more trials have a reward."""
_RECENT = 16
"""Trials that the policy then learns from, the latest ones in the order of proposal."""


class ControllerOptions(GradientOptions):
    """Settings of `rl`."""

    aim: Literal["reward", "front"] = "reward"
    """Search for the best reward, or for the front of all objectives."""
    width: int = Field(32, ge=4)
    """Units of the LSTM."""
    temperature: float = Field(1.0, gt=0)
    """Divides the logits: above 1 explores more."""
    tanh: float = Field(2.5, ge=0)
    """Bound on the logits by a scaled tanh; 0 for none."""
    epsilon: float = Field(0.05, ge=0, lt=1)
    """Share of each choice that is drawn uniformly."""
    startup: int | None = Field(None, ge=2)
    """Scored trials before the reward model is asked; 4 for a reward and 10 for a front when left out."""
    model: bool = True
    """Choose among candidates by a learned reward model; without it, each draw of the policy is proposed."""
    imagine: bool = True
    """Let the policy learn, before each proposal, from what the reward model thinks of its draws."""
    draws: int = Field(64, ge=2)
    """Draws of the policy among the candidates."""
    local: int = Field(8, ge=0)
    """Best architectures around which candidates are looked for; 0 for none."""
    prior: int = Field(0, ge=0)
    """Updates of the policy, before the first proposal, by what earlier searches suggest of its draws."""
    repeats: float = Field(0.2, ge=0, lt=1)
    """Share of trials that may be spent on measuring again what would change the decision."""


class Controller(Strategy):
    """Proposes what most probably beats the best so far, among a policy's draws and changes of the best.

    The policy and the model learn from trials in the order of their proposal. The model believes
    trials under way to come out as predicted, so that parallel proposals differ.
    """

    Options = ControllerOptions
    warm_starts = True

    def __init__(self, problem: Problem, options: ControllerOptions, seed: int) -> None:
        self.options = options
        self._problem = problem
        self._encoder = Encoder(problem.space)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.policy = Policy(
                self._encoder, options.width, options.temperature, options.tanh, options.epsilon
            )
        self._learner = Learner(self.policy, options)
        self._generator = np.random.default_rng(seed)
        self._candidates = candidates_of(self._encoder)
        many = options.aim == "front" and len(problem.objectives) > 1  # the front of one is its best reward
        self._aim: Aim = WholeFront(problem) if many else BestReward(problem)
        self._startup = options.startup or self._aim.startup
        self._model = RewardModel(self._encoder, self._aim.objectives, problem.earlier)
        self._novelty = Novelty(problem.space, self._generator)
        self._proposed: set[bytes] = set()
        self._recent: list[Trial] = []
        self._fresh = 0
        self._scored = 0
        self._repeats: dict[bytes, int] = {}
        self._predicted: dict[tuple[Architecture, int], float] = {}
        self._outcomes: list[tuple[float, float]] = []
        with one_thread():
            self._learn_prior()

    def propose(self, pending: Sequence[Trial]) -> Proposal:
        """Propose the most promising candidate, or what was measured before and is in doubt."""
        with one_thread():
            return self._propose(pending)

    def observe(self, trials: Sequence[Trial]) -> None:
        """Learn from trials: the model, and then the policy."""
        with one_thread():
            self._observe(trials)

    def rank(self, trials: Sequence[Trial]) -> list[Trial]:
        """Order trials by what their true rewards are believed to be: a lucky measurement counts for less."""
        firsts = best_trials(trials)
        if len(firsts) < 3 or all(t.score is not None and t.score.reward_se <= 0 for t in firsts):
            return firsts
        model = RewardModel(self._encoder, self._aim.objectives)
        with one_thread():
            for trial in sorted(trials, key=lambda trial: trial.number):
                model.learn(self._encoder.encode([trial.architecture])[0], trial)
            model.update()
            believed = dict(zip((row.tobytes() for row in model.rows), model.measured().mean, strict=True))
        rows = self._encoder.encode([trial.architecture for trial in firsts])
        worth = [believed.get(row.tobytes(), -np.inf) for row in rows]  # the model leaves out some poor ones
        return [firsts[i] for i in sorted(range(len(firsts)), key=lambda i: (-worth[i], i))]

    def diagnostics(self) -> Mapping[str, float]:
        """Return the rank correlation of rewards predicted before measuring with those measured."""
        if len(self._outcomes) < 5:
            return {}
        from hilnas.predictors.base import rank_correlation

        predicted, measured = zip(*self._outcomes, strict=True)
        correlation = rank_correlation(predicted, measured).spearman
        return {} if np.isnan(correlation) else {"rank_correlation": correlation}

    def _propose(self, pending: Sequence[Trial]) -> Proposal:
        state = random_state(self._generator)
        waiting = self._encoder.encode([trial.architecture for trial in pending])
        row, repeat, predicted = None, 0, None
        if self.options.model and self._scored >= self._startup:
            self._model.update()
            row, repeat, predicted = self._choose(waiting)
        if row is None:
            row = self._draw(guess=len(self._proposed) % 2 == 0)
        if repeat:
            architecture = self._encoder.decode(row)
            self._repeats[row.tobytes()] = repeat
        else:
            architecture = self._novelty.take(self._encoder.decode(row))
            row = self._encoder.encode([architecture])[0]
            self._proposed.add(row.tobytes())
        if predicted is not None:
            self._predicted[architecture, repeat] = predicted
        return Proposal(architecture, self._learner.version, self._logs(row), state, repeat)

    def _learn_prior(self) -> None:
        """Let the policy learn in the model of earlier searches: a prior that measurements then correct."""
        for _ in range(self.options.prior if self._problem.earlier else 0):
            rows = self.policy.draw(self.options.draws, self._generator).rows
            guessed = self._model.guess(rows)
            if guessed is None:
                return
            self._learner.update(rows, guessed)

    def _draw(self, guess: bool) -> NDArray[np.int64]:
        """Return a draw of the policy that is new, if one is; at a `guess`, what earlier searches suggest."""
        rows = self.policy.draw(self.options.draws, self._generator).rows
        if guess and self.options.model:
            rows = np.concatenate([rows, self._candidates.anywhere(self._generator)])
        new = unique(rows, self._proposed)
        rows = new if len(new) else rows
        guessed = self._model.guess(rows) if guess and self.options.model else None
        chosen: NDArray[np.int64] = rows[0 if guessed is None else int(np.argmax(guessed))]
        return chosen

    def _logs(self, row: NDArray[np.int64]) -> tuple[float, ...]:
        with torch.no_grad():
            logs, _ = self.policy.log_probabilities(row[None])
        return tuple(
            float(value) for value, live in zip(logs[0], row < self._encoder.choices, strict=True) if live
        )

    def _choose(self, waiting: Rows) -> tuple[NDArray[np.int64] | None, int, float | None]:
        """Return the row to propose, how often it was measured before, and what reward is predicted."""
        measured = self._model.measured()
        draw = self.policy.draw(self.options.draws, self._generator)
        if self.options.imagine:
            standing = self._aim.standing(self._model.expected(draw.rows), measured)
            self._learner.update(
                draw.rows, np.argsort(np.argsort(standing, kind="stable")).astype(np.float64)
            )
        rows = draw.rows
        if self.options.local:
            leaders = self._model.rows[self._aim.leaders(measured, self.options.local, self._generator)]
            rows = np.concatenate([rows, self._aim.candidates(self._candidates, leaders, self._generator)])
        rows = unique(rows, self._proposed)
        if not len(rows):
            return None, 0, None
        looks = self._aim.looks(len(self._model))
        if len(rows) > looks:
            standing = self._aim.standing(self._model.expected(rows), measured)
            rows = rows[np.sort(np.argsort(-standing, kind="stable")[:looks])]
        belief = self._model.predict(rows, waiting)
        expected = self._model.expected(waiting) if len(waiting) else None
        worth = self._aim.promise(belief, measured, expected)
        validity = self._model.validity(rows)
        if validity is not None:
            worth = worth * validity
        chosen = int(np.argmax(worth))
        repeated = self._repeated(measured, waiting, belief[chosen : chosen + 1], expected)
        if repeated is not None:
            return repeated, 1 + self._repeats.get(repeated.tobytes(), 0), None
        return rows[chosen], 0, float(belief.mean[chosen])

    def _repeated(
        self, measured: Belief, waiting: Rows, chosen: Belief, expected: Belief | None
    ) -> NDArray[np.int64] | None:
        """Return the measured row that is worth more measured again than the one `chosen`, if any."""
        noise, spent = self._model.noise(), sum(self._repeats.values())
        if noise.max() <= 0 or spent + 1 > self.options.repeats * (len(self._proposed) + spent + 1):
            return None
        known = {row.tobytes() for row in waiting}
        rows = self._model.rows
        noise[[row.tobytes() in known for row in rows]] = np.inf  # it is being measured again
        place = self._aim.doubtful(measured, noise, chosen, expected)
        return None if place is None else rows[place]

    def _observe(self, trials: Sequence[Trial]) -> None:
        for trial in trials:
            row = self._encoder.encode([trial.architecture])[0]
            if trial.status is TrialStatus.FAILED and trial.proposal.repeat:
                self._repeats[row.tobytes()] -= 1
            elif trial.status is TrialStatus.FAILED:
                self._proposed.discard(row.tobytes())
                self._novelty.forget(trial.architecture)
            self._model.learn(row, trial)
            self._note(trial)
            if trial.status is not TrialStatus.FAILED:
                self._scored += trial.score is not None
                self._recent.append(trial)
                self._fresh += 1
        if self._fresh >= _GROUP:
            self._fresh = 0
            self._recent = self._recent[-_RECENT:]
            rows = self._encoder.encode([trial.architecture for trial in self._recent])
            logs = np.array([sum(trial.proposal.log_probabilities) for trial in self._recent])
            self._learner.update(rows, self._aim.merits(self._recent), logs)

    def _note(self, trial: Trial) -> None:
        predicted = self._predicted.pop((trial.architecture, trial.proposal.repeat), None)
        if predicted is not None and trial.score is not None:
            self._outcomes.append((predicted, trial.score.reward))
