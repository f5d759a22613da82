"""What the strategies learn; that they keep to their contract is tested in tests/contract."""

import math

import numpy as np
import pytest
import torch

from hilnas.objectives import Objective
from hilnas.spaces.mbconv import MBConv, MBConvOptions
from hilnas.strategies import Problem
from hilnas.strategies.random import Random, RandomOptions
from hilnas.strategies.rl import Reinforce
from hilnas.strategies.rl.policy import Policy
from hilnas.strategies.rl.reinforce import ReinforceOptions
from hilnas.testing.strategies import conduct
from hilnas.trial import Score, Trial, TrialStatus

SPACE = MBConv((1, 32, 32), 10)
PROBLEM = Problem(SPACE, (Objective(quantity="accuracy"),))


def small_kernels(trial):
    """A reward that any learner should find: the share of 3x3 kernels."""
    kernels = [value for name, value in trial.architecture.decisions if name.endswith("kernel")]
    share = sum(kernel == 3 for kernel in kernels) / len(kernels)
    return Trial(trial.number, trial.proposal, TrialStatus.SCORED, score=Score(share, 0.0, {}))


def mean_reward(trials):
    return float(np.mean([trial.score.reward for trial in trials]))


def test_rl_learns_what_random_does_not():
    options = ReinforceOptions()
    learned = conduct(Reinforce(PROBLEM, options, 0), 240, 8, 4, small_kernels)
    drawn = conduct(Random(PROBLEM, RandomOptions(), 0), 240, 8, 4, small_kernels)
    assert mean_reward(learned[-60:]) > mean_reward(drawn[-60:]) + 0.3


def test_rl_shuns_what_was_invalid():
    def refuse_wide(trial):
        if trial.architecture["stem.width"] == 16:
            return Trial(trial.number, trial.proposal, TrialStatus.INVALID, "too large")
        return Trial(trial.number, trial.proposal, TrialStatus.SCORED, score=Score(0.9, 0.0, {}))

    trials = conduct(Reinforce(PROBLEM, ReinforceOptions(), 0), 160, 8, 4, refuse_wide)
    assert sum(trial.status is TrialStatus.INVALID for trial in trials[-40:]) < 10


def test_what_is_invalid_is_never_better_than_what_was_scored():
    strategy = Reinforce(PROBLEM, ReinforceOptions(), 0)
    proposals = [strategy.propose([]) for _ in range(4)]
    scores = [
        Trial(n, proposal, TrialStatus.SCORED, score=Score(-0.5 - n, 0.0, {}))
        for n, proposal in enumerate(proposals[:3])
    ]
    bad = Trial(3, proposals[3], TrialStatus.INVALID, "too large")
    before = float(strategy.policy.follow(bad.architecture).log_probabilities.detach().sum())
    strategy.observe([*scores, bad])
    assert strategy.lowest == -2.5
    assert float(strategy.policy.follow(bad.architecture).log_probabilities.detach().sum()) < before


def test_a_failed_device_teaches_nothing():
    strategy = Reinforce(PROBLEM, ReinforceOptions(), 0)
    before = [parameter.clone() for parameter in strategy.policy.parameters()]
    proposal = strategy.propose([])
    strategy.observe([Trial(0, proposal, TrialStatus.FAILED, "the link was cut")])
    after = list(strategy.policy.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_log_probabilities_are_those_of_the_walk():
    policy = Policy(SPACE, 16, 1.0, 0.0)
    for parameter in policy.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    walk = policy.sample(torch.Generator().manual_seed(0))
    followed = policy.follow(walk.architecture)
    assert torch.allclose(walk.log_probabilities, followed.log_probabilities)
    assert len(walk.log_probabilities) == len(walk.architecture.decisions)


def test_the_policy_is_a_distribution_over_the_space():
    space = MBConv(
        (1, 32, 32),
        10,
        MBConvOptions(
            resolutions=[1.0], stem_widths=[8], stage_widths=[[8, 16]], stage_depths=[[1, 2]], stage_strides=[2],
            kernels=[3, 5], expansions=[1], activations=["relu6"],
        ),
    )  # fmt: skip
    policy = Policy(space, 8, 1.3, 2.0)
    for parameter in policy.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    from tests.unit.test_spaces import enumerate_all

    with torch.no_grad():
        total = sum(math.exp(policy.follow(a).log_probabilities.sum()) for a in enumerate_all(space))
    assert total == pytest.approx(1.0, abs=1e-4)


def test_proposals_start_uniform():
    strategy = Reinforce(PROBLEM, ReinforceOptions(), 0)
    proposal = strategy.propose([])
    choices = {decision.name: len(decision.choices) for decision in SPACE.decisions}
    expected = [-math.log(choices[name]) for name, _ in proposal.architecture.decisions]
    assert proposal.log_probabilities == pytest.approx(expected, abs=1e-5)
