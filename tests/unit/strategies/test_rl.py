"""What `rl` learns; that it keeps to the contract is tested in tests/contract."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from hilnas.objectives import Figure, Objective, best_trials
from hilnas.predictors.encodings import Encoder
from hilnas.spaces.mbconv import MBConv, MBConvOptions
from hilnas.strategies import Problem
from hilnas.strategies.common import architectures
from hilnas.strategies.random import Random, RandomOptions
from hilnas.strategies.rl import Controller, ControllerOptions
from hilnas.strategies.rl.learner import GradientOptions, Learner, _Adam
from hilnas.strategies.rl.policy import Policy
from hilnas.strategies.rl.reward_model import RewardModel
from hilnas.testing.outcomes import concluded
from hilnas.testing.strategies import conduct
from hilnas.trial import Proposal, Trial, TrialStatus

SPACE = MBConv((1, 32, 32), 10)
SMALL = MBConv(
    (1, 32, 32),
    10,
    MBConvOptions(
        resolutions=[1.0], stem_widths=[8], stage_widths=[[8, 16]], stage_depths=[[1, 2]], stage_strides=[2],
        kernels=[3, 5], expansions=[1], activations=["relu6"],
    ),
)  # fmt: skip
ACCURACY = (Objective(quantity="accuracy"),)
BOTH = (*ACCURACY, Objective(quantity="latency", device_class="board", target=1.0, kind="hard"))
PROBLEM = Problem(SPACE, ACCURACY)


def kernels(trial):
    """A reward that any learner should find: the share of 3x3 kernels."""
    sizes = [value for name, value in trial.architecture.decisions if name.endswith("kernel")]
    return concluded(trial, ACCURACY, {"accuracy": Figure(sum(size == 3 for size in sizes) / len(sizes))})


def mean_reward(trials):
    return float(np.mean([trial.score.reward for trial in trials]))


def make_policy(space, epsilon=0.0, temperature=1.3, seed=0):
    torch.manual_seed(seed)
    policy = Policy(Encoder(space), 8, temperature, 2.0, epsilon)
    for parameter in policy.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return policy


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"model": False, "learning_rate": 0.02},
        {"model": False, "gradient": "reinforce", "learning_rate": 0.03},
    ],
)
def test_it_learns_what_random_does_not(settings):
    count = 50 if settings == {} else 200
    learned = conduct(Controller(PROBLEM, ControllerOptions(**settings), 0), count, 4, 2, kernels)
    drawn = conduct(Random(PROBLEM, RandomOptions(), 0), count, 4, 2, kernels)
    assert mean_reward(learned[-20:]) > mean_reward(drawn[-20:]) + 0.25


def test_it_shuns_what_was_invalid():
    def refuse_wide(trial):
        if trial.architecture["stem.width"] == 16:
            return replace(trial, status=TrialStatus.INVALID, reason="too large")
        return kernels(trial)

    trials = conduct(Controller(PROBLEM, ControllerOptions(), 0), 60, 4, 2, refuse_wide)
    assert sum(trial.status is TrialStatus.INVALID for trial in trials[-20:]) <= 3


def test_a_failed_device_teaches_nothing_and_its_architecture_may_come_again():
    strategy = Controller(PROBLEM, ControllerOptions(), 0)
    before = [parameter.clone() for parameter in strategy.policy.parameters()]
    proposal = strategy.propose([])
    strategy.observe([Trial(0, proposal, TrialStatus.FAILED, "the link was cut")])
    after = list(strategy.policy.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert proposal.architecture not in strategy._novelty


def test_proposals_start_uniform():
    proposal = Controller(PROBLEM, ControllerOptions(), 0).propose([])
    choices = {decision.name: len(decision.choices) for decision in SPACE.decisions}
    expected = [-math.log(choices[name]) for name, _ in proposal.architecture.decisions]
    assert proposal.log_probabilities == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("epsilon", [0.0, 0.3])
def test_the_policy_is_a_distribution_over_the_space(epsilon):
    policy = make_policy(SMALL, epsilon)
    rows = Encoder(SMALL).encode(list(architectures(SMALL)))
    with torch.no_grad():
        logs, entropies = policy.log_probabilities(rows)
    assert float(logs.sum(1).exp().sum()) == pytest.approx(1.0, abs=1e-4)
    assert (entropies >= 0).all()


@pytest.mark.parametrize("epsilon", [0.0, 0.3])
def test_draws_come_with_the_probabilities_they_are_drawn_with(epsilon):
    policy, encoder = make_policy(SMALL, epsilon), Encoder(SMALL)
    draw = policy.draw(4000, np.random.default_rng(0))
    with torch.no_grad():
        followed, _ = policy.log_probabilities(draw.rows)
    assert np.allclose(draw.log_probabilities, followed.numpy(), atol=1e-5)
    rows, counts = np.unique(draw.rows, axis=0, return_counts=True)
    with torch.no_grad():
        expected = policy.log_probabilities(rows)[0].sum(1).exp().numpy()
    assert np.abs(counts / 4000 - expected).max() < 0.03
    assert all(SMALL.check(encoder.decode(row)) for row in rows)


def test_temperature_flattens():
    cold, hot = make_policy(SMALL, temperature=0.5), make_policy(SMALL, temperature=5.0)
    rows = Encoder(SMALL).encode(list(architectures(SMALL)))
    with torch.no_grad():
        assert cold.log_probabilities(rows)[1].sum() < hot.log_probabilities(rows)[1].sum()


@pytest.mark.parametrize("gradient", ["ppo", "reinforce"])
def test_what_earned_more_becomes_more_probable(gradient):
    policy = make_policy(SMALL)
    draw = policy.draw(16, np.random.default_rng(1))
    rewards = (draw.rows[:, 3] == 0).astype(float)
    before = policy.log_probabilities(draw.rows)[0].sum(1).detach()
    Learner(policy, GradientOptions(gradient=gradient, entropy=0)).update(
        draw.rows, rewards, draw.log_probabilities.sum(1)
    )
    gain = policy.log_probabilities(draw.rows)[0].sum(1).detach() - before
    assert gain[rewards == 1].mean() > gain[rewards == 0].mean()


def test_gradients_stay_finite_where_decisions_have_unequal_choices():
    policy = make_policy(SPACE, epsilon=0.1)
    draw = policy.draw(8, np.random.default_rng(0))
    Learner(policy, GradientOptions()).update(draw.rows, np.arange(8.0))
    assert all(torch.isfinite(parameter).all() for parameter in policy.parameters())


def test_late_rewards_weigh_by_the_truncated_ratio():
    policy = make_policy(SMALL)
    learner = Learner(policy, GradientOptions())
    rows = policy.draw(4, np.random.default_rng(1)).rows
    now = policy.log_probabilities(rows)[0].sum(1).detach().numpy()
    then = now - np.log([0.5, 0.25, 1.0, 4.0])
    weights = learner._weights(rows, torch.from_numpy(then).float())
    assert weights.tolist() == pytest.approx([0.5, 0.25, 1.0, 1.0], abs=1e-4)
    learner.update(rows, np.arange(4.0), now + 50 * np.arange(4))
    assert learner.version == 0, "of rows that the policy would hardly draw now, nothing is learned"
    learner.update(rows, np.arange(4.0), now)
    assert learner.version == 1


def model_after(figures, objectives=BOTH, seed=0):
    encoder = Encoder(SPACE)
    model = RewardModel(encoder, objectives)
    rows = encoder.draw(len(figures), np.random.default_rng(seed))
    for number, (row, figure) in enumerate(zip(rows, figures, strict=True)):
        trial = Trial(number, Proposal(encoder.decode(row)))
        model.learn(row, concluded(trial, objectives, figure))
    model.update()
    return model, rows


def test_what_was_measured_exactly_is_believed():
    figures = [{"accuracy": Figure(0.5 + n / 50), "latency@board": Figure(0.2 + n / 10)} for n in range(20)]
    model, _ = model_after(figures)
    expected = [(0.5 + n / 50) * min(1.0, 1 / (0.2 + n / 10)) for n in range(20)]
    assert model.measured().mean == pytest.approx(expected, abs=1e-3)
    assert model.measured().sd.max() < 1e-3


def test_a_lucky_measurement_is_believed_less_than_an_exact_one():
    draw = np.random.default_rng(0)
    figures = [{"accuracy": Figure(0.7 + 0.02 * draw.normal(), 0.05)} for _ in range(20)]
    figures[7] = {"accuracy": Figure(0.85, 0.05)}
    model, _ = model_after(figures, ACCURACY)
    assert model.measured().mean[7] < 0.8
    figures[7] = {"accuracy": Figure(0.85, 0.0)}
    model, _ = model_after(figures, ACCURACY)
    assert model.measured().mean[7] == pytest.approx(0.85, abs=1e-3)


def test_measured_again_the_mean_is_weighted():
    model, rows = model_after([{"accuracy": Figure(0.5 + n / 50, 0.01)} for n in range(8)], ACCURACY)
    architecture = Encoder(SPACE).decode(rows[0])
    again = concluded(Trial(9, Proposal(architecture, repeat=1)), ACCURACY, {"accuracy": Figure(0.6, 0.01)})
    model.learn(rows[0], again)
    model.update()
    assert len(model) == 8
    assert 0.5 < model.measured().mean[0] < 0.6
    assert model.noise()[0] < 0.8 * model.noise()[1]


def noisy(seed, sd=0.05):
    draw = np.random.default_rng(seed)

    def fate(trial):
        seen = float(np.clip(true_value(trial.architecture) + sd * draw.normal(), 0, 1))
        return concluded(trial, ACCURACY, {"accuracy": Figure(seen, sd)})

    return fate


def true_value(architecture):
    return 0.5 + 0.3 * int(architecture.digest[:8], 16) / 2**32


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_what_is_in_doubt_is_measured_again(share):
    strategy = Controller(Problem(SMALL, ACCURACY), ControllerOptions(repeats=share), 0)
    trials = conduct(strategy, 36, 1, 1, noisy(0))
    repeats = [trial for trial in trials if trial.proposal.repeat]
    assert (0 < len(repeats) <= share * 36) if share else not repeats
    best = {trial.architecture for trial in strategy.rank(trials)[:12]}
    for trial in repeats:
        assert trial.proposal.repeat == sum(
            t.architecture == trial.architecture for t in trials[: trial.number]
        )
    assert sum(trial.architecture in best for trial in repeats) >= 0.7 * len(repeats)


def test_a_repeat_that_failed_leaves_what_was_measured():
    fate = noisy(0)

    def fail_repeats(trial):
        if trial.proposal.repeat:
            return replace(trial, status=TrialStatus.FAILED, reason="the link was cut")
        return fate(trial)

    options = ControllerOptions(repeats=0.3)
    trials = conduct(Controller(Problem(SMALL, ACCURACY), options, 0), 30, 1, 1, fail_repeats)
    assert any(trial.proposal.repeat for trial in trials)
    assert all(trial.proposal.repeat <= 1 for trial in trials)
    first = [trial.architecture for trial in trials if not trial.proposal.repeat]
    assert len(set(first)) == len(first)


def test_nothing_exact_is_measured_again():
    assert not any(
        t.proposal.repeat for t in conduct(Controller(PROBLEM, ControllerOptions(), 0), 40, 1, 1, kernels)
    )


def test_ranks_follow_belief_not_luck():
    def worth(architecture):
        return (
            0.5
            + 0.1 * (architecture["stage1.width"] == 16)
            + 0.1 * (architecture["stage1.block1.kernel"] == 3)
        )

    problem = Problem(SMALL, ACCURACY)
    for seed in range(3):
        draw = np.random.default_rng(seed)

        def fate(trial, draw=draw):
            seen = float(np.clip(worth(trial.architecture) + 0.1 * draw.normal(), 0, 1))
            return concluded(trial, ACCURACY, {"accuracy": Figure(seen, 0.1)})

        trials = conduct(Random(problem, RandomOptions(), seed), 34, 1, 1, fate)
        strategy = Controller(problem, ControllerOptions(), 0)
        places = -np.arange(34)
        believed, lucky = (
            spearmanr(places, [worth(trial.architecture) for trial in ranked]).statistic
            for ranked in (strategy.rank(trials), best_trials(trials))
        )
        assert believed > lucky + 0.1


def test_predictions_are_held_against_outcomes():
    strategy = Controller(PROBLEM, ControllerOptions(), 0)
    assert strategy.diagnostics() == {}
    conduct(strategy, 40, 1, 1, kernels)
    assert 0.0 < strategy.diagnostics()["rank_correlation"] <= 1.0


def test_an_earlier_search_is_a_head_start():
    def reward_of(trial):
        return kernels(trial).score.reward

    def slightly_other(trial):
        """Other data: the same taste, another scale."""
        return concluded(trial, ACCURACY, {"accuracy": Figure(0.2 + 0.5 * reward_of(trial))})

    earlier = conduct(Random(PROBLEM, RandomOptions(), 7), 60, 1, 1, slightly_other)
    warm = conduct(
        Controller(Problem(SPACE, ACCURACY, tuple(earlier)), ControllerOptions(), 0), 16, 1, 1, kernels
    )
    cold = conduct(Controller(PROBLEM, ControllerOptions(), 0), 16, 1, 1, kernels)
    assert reward_of(warm[0]) > 0.5
    assert mean_reward(warm) > mean_reward(cold) + 0.1


def test_our_adam_is_adam():
    generator = torch.Generator().manual_seed(0)
    ours = torch.nn.Parameter(torch.randn(5, generator=generator))
    theirs = torch.nn.Parameter(ours.detach().clone())
    inputs = torch.randn(20, 5, generator=generator)
    optimizer = torch.optim.Adam([theirs], lr=0.01, betas=(0.0, 0.999))
    mine = _Adam([ours], 0.01)
    for _ in range(30):
        mine.step((inputs @ ours).square().sum())
        optimizer.zero_grad()
        (inputs @ theirs).square().sum().backward()
        torch.nn.utils.clip_grad_norm_([theirs], 5.0)
        optimizer.step()
    assert ours.detach() == pytest.approx(theirs.detach(), rel=1e-4, abs=1e-5)
