"""What every strategy must do."""

from collections.abc import Callable

import pytest

from hilnas.search.schedule import observed_before
from hilnas.spaces import Space
from hilnas.spaces.mbconv import MBConv
from hilnas.strategies import Strategy
from hilnas.trial import Proposal, Score, Trial, TrialStatus

MakeStrategy = Callable[[Space, int], Strategy]


def conduct(
    strategy: Strategy,
    count: int,
    in_flight: int = 6,
    group: int = 3,
    fate: Callable[[Trial], Trial] | None = None,
) -> list[Trial]:
    """Drive a strategy through `count` trials as a search does; `fate` ends each, or a default that mixes."""
    end = fate or mixed_fate
    trials: list[Trial] = []
    observed = 0
    for number in range(count):
        due = observed_before(number, in_flight, group)
        while observed < due:
            strategy.observe(trials[observed : observed + group])
            observed += group
        trials.append(end(Trial(number, strategy.propose(trials[observed:]))))
    return trials


def mixed_fate(trial: Trial) -> Trial:
    """End a trial by its digest: most are scored, some are INVALID, some FAILED."""
    draw = int(trial.architecture.digest[:4], 16)
    status = (TrialStatus.INVALID, TrialStatus.FAILED)[draw % 2] if draw % 8 < 2 else TrialStatus.SCORED
    score = Score(draw / 65536, 0.01, {"accuracy": draw / 65536}) if status is TrialStatus.SCORED else None
    return Trial(trial.number, trial.proposal, status, "by lot", score=score)


class StrategyContract:
    """Derive, and give the fixture `strategy`: (space, seed) to a new strategy."""

    @pytest.fixture
    def strategy(self) -> MakeStrategy:
        """Return the factory under test."""
        pytest.fail("give the fixture `strategy`")

    @pytest.fixture
    def space(self) -> Space:
        """Return the space to search: override for a strategy that needs another."""
        return MBConv((1, 32, 32), 10)

    def test_proposals_are_points_of_the_space(self, strategy: MakeStrategy, space: Space) -> None:
        for trial in conduct(strategy(space, 0), 24):
            assert space.check(trial.architecture) == trial.architecture

    def test_log_probabilities_are_of_live_decisions(self, strategy: MakeStrategy, space: Space) -> None:
        for trial in conduct(strategy(space, 0), 12):
            log_probabilities = trial.proposal.log_probabilities
            if log_probabilities:
                assert len(log_probabilities) == len(trial.architecture.decisions)
                assert all(value <= 1e-6 for value in log_probabilities)

    def test_same_calls_give_same_proposals(self, strategy: MakeStrategy, space: Space) -> None:
        assert _proposals(strategy(space, 3), 20) == _proposals(strategy(space, 3), 20)

    def test_another_seed_gives_other_proposals(self, strategy: MakeStrategy, space: Space) -> None:
        assert _proposals(strategy(space, 3), 8) != _proposals(strategy(space, 4), 8)

    def test_two_strategies_do_not_disturb_each_other(self, strategy: MakeStrategy, space: Space) -> None:
        alone = _proposals(strategy(space, 5), 10)
        first, second = strategy(space, 5), strategy(space, 6)
        interleaved = []
        for _ in range(6):
            interleaved.append(first.propose([]))
            second.propose([])
        assert interleaved == alone[:6]

    def test_proposals_do_not_repeat(self, strategy: MakeStrategy, space: Space) -> None:
        digests = [trial.architecture.digest for trial in conduct(strategy(space, 1), 30)]
        assert len(set(digests)) == len(digests), "an architecture was proposed twice: each costs a training"

    def test_survives_a_group_that_only_failed(self, strategy: MakeStrategy, space: Space) -> None:
        def fail(trial: Trial) -> Trial:
            return Trial(trial.number, trial.proposal, TrialStatus.FAILED, "the link was cut")

        assert len(conduct(strategy(space, 0), 18, fate=fail)) == 18

    def test_survives_a_group_that_was_only_invalid(self, strategy: MakeStrategy, space: Space) -> None:
        def refuse(trial: Trial) -> Trial:
            return Trial(trial.number, trial.proposal, TrialStatus.INVALID, "too large")

        assert len(conduct(strategy(space, 0), 18, fate=refuse)) == 18


def _proposals(strategy: Strategy, count: int) -> list[Proposal]:
    return [trial.proposal for trial in conduct(strategy, count)]
