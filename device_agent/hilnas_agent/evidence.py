"""One rule and how it went: the value found, the value allowed, and both in words."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Evidence:
    """The fields of the wire's Evidence."""

    rule: str
    passed: bool
    text: str
    value: float | None = None
    limit: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Its fields, without those that are not known."""
        return {key: value for key, value in asdict(self).items() if value is not None}


def failed(evidence: list[Evidence]) -> list[Evidence]:
    """Those that were not kept."""
    return [each for each in evidence if not each.passed]


def at_most(
    rule: str, value: float | None, limit: float, text: str, remedy: str = "", missing: str = ""
) -> Evidence:
    """A rule that a value keeps by not exceeding a limit; one that cannot be checked passes, and says so."""
    return _judged(rule, value, limit, value is None or value <= limit, text, remedy, missing)


def at_least(
    rule: str, value: float | None, limit: float, text: str, remedy: str = "", missing: str = ""
) -> Evidence:
    """A rule that a value keeps by not falling short of a limit."""
    return _judged(rule, value, limit, value is None or value >= limit, text, remedy, missing)


def _judged(
    rule: str, value: float | None, limit: float, passed: bool, text: str, remedy: str, missing: str
) -> Evidence:
    if value is None:
        return Evidence(rule, True, f"not checked: {missing}", None, limit)
    return Evidence(rule, passed, text if passed or not remedy else f"{text}: {remedy}", value, limit)
