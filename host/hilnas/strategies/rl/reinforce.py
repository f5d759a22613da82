"""REINFORCE (Williams 1992) with a moving baseline and an entropy bonus: a first honest controller."""

import base64
from collections.abc import Sequence

import torch
from pydantic import Field

from hilnas.objectives import INVALID_REWARD
from hilnas.options import Options
from hilnas.strategies.base import Problem, Strategy
from hilnas.strategies.rl.policy import Policy
from hilnas.trial import Architecture, Proposal, Trial, TrialStatus


class ReinforceOptions(Options):
    """Settings of `rl`."""

    width: int = Field(64, ge=4)
    """Units of the LSTM."""
    learning_rate: float = Field(5e-3, gt=0)
    """Learning rate of Adam."""
    entropy: float = Field(1e-3, ge=0)
    """Weight of the entropy bonus, a decision."""
    baseline_decay: float = Field(0.8, ge=0, lt=1)
    """Share of the old baseline kept with each group of trials."""
    temperature: float = Field(1.0, gt=0)
    """Divides the logits: above 1 explores more."""
    tanh: float = Field(2.5, ge=0)
    """Bound on the logits by a scaled tanh; 0 for none."""


class Reinforce(Strategy):
    """Samples architectures from an LSTM policy and follows the gradient of the expected reward."""

    Options = ReinforceOptions

    def __init__(self, problem: Problem, options: ReinforceOptions, seed: int) -> None:
        self.options = options
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.policy = Policy(problem.space, options.width, options.temperature, options.tanh)
        self.generator = torch.Generator().manual_seed(seed)
        self.optimizer = torch.optim.Adam(
            self.policy.parameters(), lr=options.learning_rate, betas=(0.0, 0.999)
        )
        self.baseline: float | None = None
        self.scale = 0.0
        self.lowest = INVALID_REWARD
        self.version = 0
        self._proposed: set[Architecture] = set()

    def propose(self, pending: Sequence[Trial]) -> Proposal:
        """Draw an architecture that was not proposed before, if a hundred draws find one."""
        with torch.no_grad():
            for _ in range(100):
                state = base64.b64encode(self.generator.get_state().numpy().tobytes()).decode()
                walk = self.policy.sample(self.generator)
                if walk.architecture not in self._proposed:
                    break
        self._proposed.add(walk.architecture)
        return Proposal(
            walk.architecture, self.version, tuple(float(p) for p in walk.log_probabilities), state
        )

    def observe(self, trials: Sequence[Trial]) -> None:
        """Take one step of the policy gradient on a group of trials."""
        scores = [trial.score.reward for trial in trials if trial.score is not None]
        self.lowest = min([self.lowest, *scores])
        rewarded = [(trial, reward) for trial in trials if (reward := self._reward(trial)) is not None]
        if not rewarded:
            return
        rewards = [reward for _, reward in rewarded]
        advantages = self._advantages(rewards)
        loss = torch.zeros(())
        for (trial, _), advantage in zip(rewarded, advantages, strict=True):
            walk = self.policy.follow(trial.architecture)
            loss = loss - advantage * walk.log_probabilities.sum()
            loss = loss - self.options.entropy * walk.entropies.sum()
        self.optimizer.zero_grad(set_to_none=True)
        (loss / len(rewarded)).backward()
        torch.nn.utils.clip_grad_norm_(self.policy.parameters(), 5.0)
        self.optimizer.step()
        self.version += 1

    def _advantages(self, rewards: list[float]) -> list[float]:
        """Rewards less the moving baseline, over the moving size of their deviation."""
        mean = sum(rewards) / len(rewards)
        baseline = mean if self.baseline is None else self.baseline
        deviation = sum(abs(reward - baseline) for reward in rewards) / len(rewards)
        keep = self.options.baseline_decay if self.baseline is not None else 0.0
        self.scale = keep * self.scale + (1 - keep) * deviation
        self.baseline = keep * baseline + (1 - keep) * mean
        return [(reward - baseline) / max(self.scale, 1e-6) for reward in rewards]

    def _reward(self, trial: Trial) -> float | None:
        """What to learn from: nothing from a failed device; a bad candidate is no better than any scored one."""
        if trial.status is TrialStatus.INVALID:
            return self.lowest
        return trial.score.reward if trial.score is not None else None
