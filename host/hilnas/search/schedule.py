"""When a strategy learns: a rule of trial numbers alone, so that timing never changes a proposal."""


def observed_before(number: int, in_flight: int, group: int) -> int:
    """Return how many trials must have been observed, exactly, before trial `number` is proposed.

    Trials are observed in whole groups, in the order of proposal, so that fast models do not crowd
    out slow ones; between `in_flight` - `group` + 1 and `in_flight` trials are under way.
    """
    return max(0, number - in_flight + group) // group * group
