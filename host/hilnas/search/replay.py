"""Resume by replay: a strategy is rebuilt by repeating the calls that the record holds."""

from collections.abc import Sequence

from hilnas.search.errors import SearchError
from hilnas.search.history import History
from hilnas.search.schedule import Window
from hilnas.strategies import Strategy
from hilnas.trial import Trial


def pending(trials: Sequence[Trial]) -> list[Trial]:
    """Return trials as a strategy may see them before it observes them: how far they are is chance."""
    return [Trial(trial.number, trial.proposal) for trial in trials]


def replay(strategy: Strategy, window: Window, history: History) -> None:
    """Bring a new strategy, and the window of what it has not seen, to where the record ends.

    SearchError when it proposes something else than it did then: another version of hilnas or torch,
    or other settings, would go on with another search.
    """
    groups = iter(history.observations)
    group = next(groups, None)
    for number in range(len(history.trials) + 1):
        while group is not None and group[0] == number:
            strategy.observe([history.trials[n] for n in group[1]])
            window.remove(group[1])
            group = next(groups, None)
        if number == len(history.trials):
            return
        recorded = history.trials[number].proposal
        repeated = strategy.propose(pending([history.trials[n] for n in window.unobserved]))
        window.add(number)
        if repeated != recorded:
            raise SearchError(
                f"trial {number} would be proposed otherwise now than the record says "
                f"({repeated.architecture} instead of {recorded.architecture}): go on with the versions of "
                "hilnas and torch that began it (see result.json), or start anew with another --out"
            )
