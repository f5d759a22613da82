"""Resume by replay: a strategy is rebuilt by repeating the calls that the record holds."""

from hilnas.search.history import History
from hilnas.search.setup import SearchError
from hilnas.strategies import Strategy


def replay(strategy: Strategy, history: History) -> None:
    """Bring a new strategy to where the record ends.

    SearchError when it proposes something else than it did then: another version of hilnas or torch,
    or other settings, would go on with another search.
    """
    observed = 0
    groups = iter(history.observations)
    group = next(groups, None)
    for number in range(len(history.trials) + 1):
        while group is not None and group[0] == number:
            strategy.observe(history.trials[observed : group[1]])
            observed = group[1]
            group = next(groups, None)
        if number == len(history.trials):
            return
        recorded = history.trials[number].proposal
        repeated = strategy.propose(history.trials[observed:number])
        if repeated != recorded:
            raise SearchError(
                f"trial {number} would be proposed otherwise now than the record says "
                f"({repeated.architecture} instead of {recorded.architecture}): go on with the versions of "
                "hilnas and torch that began it (see result.json), or start anew with another --out"
            )
