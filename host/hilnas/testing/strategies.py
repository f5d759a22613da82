"""What every strategy must do."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from hilnas.objectives import Figure, Objective, Quantity
from hilnas.search.history import History
from hilnas.search.replay import pending, replay
from hilnas.search.schedule import Window
from hilnas.spaces import Space
from hilnas.spaces.mbconv import MBConv
from hilnas.strategies import Problem, Strategy
from hilnas.testing.outcomes import concluded
from hilnas.trial import Architecture, Proposal, Trial, TrialStatus

OBJECTIVES = (
    Objective(quantity=Quantity.ACCURACY),
    Objective(quantity=Quantity.LATENCY, device_class="board", target=1.0),
)
"""What `conduct` ends trials by: accuracy, and a cost with a target."""

MakeStrategy = Callable[[Problem, int], Strategy]


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
    window = Window(in_flight, group)
    for number in range(count):
        while learned := window.next_group(lambda n: True, lambda n: False):
            window.remove(learned)
            strategy.observe([trials[n] for n in learned])
        trials.append(end(Trial(number, strategy.propose(pending([trials[n] for n in window.unobserved])))))
        window.add(number)
    return trials


def mixed_fate(trial: Trial) -> Trial:
    """End a trial by its digest: most are scored, some are INVALID, some FAILED."""
    draw = int(trial.architecture.digest[:4], 16)
    if draw % 8 < 2:
        status = (TrialStatus.INVALID, TrialStatus.FAILED)[draw % 2]
        return replace(trial, status=status, reason="by lot")
    figures = {"accuracy": Figure(draw / 65536, 0.01), "latency@board": Figure(0.5 + draw / 65536, 0.02)}
    return concluded(trial, OBJECTIVES, figures)


class StrategyContract:
    """Derive, and give the fixture `strategy`: (problem, seed) to a new strategy."""

    @pytest.fixture
    def strategy(self) -> MakeStrategy:
        """Return the factory under test."""
        pytest.fail("give the fixture `strategy`")

    @pytest.fixture
    def space(self) -> Space:
        """Return the space to search: override for a strategy that needs another."""
        return MBConv((1, 32, 32), 10)

    @pytest.fixture
    def problem(self, space: Space) -> Problem:
        """Return what to solve: accuracy, and a cost with a target."""
        return Problem(space, OBJECTIVES)

    def test_proposals_are_points_of_the_space(self, strategy: MakeStrategy, problem: Problem) -> None:
        for trial in conduct(strategy(problem, 0), 24):
            assert problem.space.check(trial.architecture) == trial.architecture

    def test_log_probabilities_are_of_live_decisions(self, strategy: MakeStrategy, problem: Problem) -> None:
        for trial in conduct(strategy(problem, 0), 12):
            log_probabilities = trial.proposal.log_probabilities
            if log_probabilities:
                assert len(log_probabilities) == len(trial.architecture.decisions)
                assert all(value <= 1e-6 for value in log_probabilities)

    def test_same_calls_give_same_proposals(self, strategy: MakeStrategy, problem: Problem) -> None:
        assert _proposals(strategy(problem, 3), 20) == _proposals(strategy(problem, 3), 20)

    def test_another_seed_gives_other_proposals(self, strategy: MakeStrategy, problem: Problem) -> None:
        assert _proposals(strategy(problem, 3), 8) != _proposals(strategy(problem, 4), 8)

    def test_two_strategies_do_not_disturb_each_other(self, strategy: MakeStrategy, problem: Problem) -> None:
        alone = _proposals(strategy(problem, 5), 10)
        first, second = strategy(problem, 5), strategy(problem, 6)
        interleaved = []
        for _ in range(6):
            interleaved.append(first.propose([]))
            second.propose([])
        assert interleaved == alone[:6]

    def test_proposals_do_not_repeat(self, strategy: MakeStrategy, problem: Problem) -> None:
        tried: Counter[Architecture] = Counter()
        for trial in conduct(strategy(problem, 1), 30):
            assert trial.proposal.repeat == tried[trial.architecture], "proposed twice: each costs a training"
            tried[trial.architecture] += trial.status is not TrialStatus.FAILED  # that told nothing

    @pytest.mark.parametrize("draw", range(3))
    def test_a_rebuilt_strategy_goes_on_bit_for_bit(
        self, strategy: MakeStrategy, problem: Problem, draw: int
    ) -> None:
        """After a history of late, failed and invalid trials, one rebuilt by replay proposes the same."""
        lot = random.Random(draw)
        in_flight = lot.randint(1, 8)
        window, history = Window(in_flight, lot.randint(1, in_flight)), History()
        overdue: set[int] = set()
        alike = [strategy(problem, draw)]
        for number in range(18):
            if number in (7, 14):
                rebuilt, again = strategy(problem, draw), Window(in_flight, window.group)
                replay(rebuilt, again, history)
                assert again.unobserved == window.unobserved
                alike.append(rebuilt)
            for group in _until_free(window, history, lot, overdue):
                for one in alike:
                    one.observe([history.trials[n] for n in group])
            waiting = pending([history.trials[n] for n in window.unobserved])
            proposals = [one.propose(waiting) for one in alike]
            assert all(proposal == proposals[0] for proposal in proposals), f"proposal {number} differs"
            history.trials.append(Trial(number, proposals[0]))
            window.add(number)

    def test_survives_a_group_that_only_failed(self, strategy: MakeStrategy, problem: Problem) -> None:
        def fail(trial: Trial) -> Trial:
            return Trial(trial.number, trial.proposal, TrialStatus.FAILED, "the link was cut")

        assert len(conduct(strategy(problem, 0), 18, fate=fail)) == 18

    def test_survives_a_group_that_was_only_invalid(self, strategy: MakeStrategy, problem: Problem) -> None:
        def refuse(trial: Trial) -> Trial:
            return Trial(trial.number, trial.proposal, TrialStatus.INVALID, "too large")

        assert len(conduct(strategy(problem, 0), 18, fate=refuse)) == 18


def _proposals(strategy: Strategy, count: int) -> list[Proposal]:
    return [trial.proposal for trial in conduct(strategy, count)]


def _until_free(
    window: Window, history: History, lot: random.Random, overdue: set[int]
) -> Iterator[list[int]]:
    """Let trials end by lot, some of them late, until there may be another; yield what is to be observed."""
    while (group := window.next_group(lambda n: history.trials[n].final, lambda n: n in overdue)) != []:
        if group is None:
            chosen = lot.choice([n for n in window.unobserved if not history.trials[n].final])
            if lot.random() < 0.2:
                overdue.add(chosen)
            else:
                history.trials[chosen] = mixed_fate(history.trials[chosen])
            continue
        history.observations.append((len(history.trials), group))
        window.remove(group)
        yield group
