"""Where `netadapt` starts, and the changes it may make: for each decision the smallest first."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from hilnas.options import OptionsError
from hilnas.spaces import Decision, Space, SpaceError
from hilnas.strategies.common import single_changes
from hilnas.trial import Architecture, Choice

Changes = list[tuple[Choice, Architecture]]
"""A decision's new values and what comes of them, the smallest change first."""


def largest(choices: Sequence[Choice]) -> Choice:
    """Return the largest of numbers, and of other choices the last."""
    numbers = [choice for choice in choices if _is_number(choice)]
    return max(numbers, key=float) if len(numbers) == len(choices) else choices[-1]


def seed_architecture(space: Space, asked: Path | Mapping[str, Choice] | None) -> Architecture:
    """Return the architecture of decisions or of a JSON file of them; the largest choices where they say nothing."""
    decisions = dict(_read(asked) if isinstance(asked, Path) else asked or {})
    filled = {**dict(space.complete(decisions, largest).decisions), **decisions}
    try:
        return space.architecture(filled)
    except SpaceError as error:
        raise OptionsError(f'"strategy.seed_architecture": {error}') from None


def changes_by_decision(space: Space, architecture: Architecture) -> dict[str, Changes]:
    """Return the changes of every decision that has some.

    Where the space's static features tell them apart, only those are kept that lower the features.
    """
    decisions = {decision.name: decision for decision in space.decisions}
    found: dict[str, Changes] = {}
    for name, value, changed in single_changes(space, architecture, largest):
        found.setdefault(name, []).append((value, changed))
    size = _relative_size(space, architecture, architecture)
    for name, changes in found.items():
        decision, now = decisions[name], architecture[name]
        changes.sort(key=lambda change: _distance(decision, now, change[0]))
        smaller = [c for c in changes if _relative_size(space, c[1], architecture) < size]
        found[name] = smaller or changes
    return found


def _distance(decision: Decision, now: Choice, then: Choice) -> tuple[bool, float]:
    """Order changes: of numbers the next smaller ones first, of other choices the next ones."""
    if _is_number(now) and _is_number(then):
        return float(then) > float(now), abs(float(then) - float(now))
    return False, abs(decision.choices.index(then) - decision.choices.index(now))


def _relative_size(space: Space, architecture: Architecture, reference: Architecture) -> float:
    """Return the mean of the static features over the reference's; 1 where there are none."""
    features, base = space.features(architecture), space.features(reference)
    ratios = [features[name] / base[name] for name in base]
    return sum(ratios) / len(ratios) if ratios else 1.0


def _read(path: Path) -> Mapping[str, Choice]:
    try:
        data = json.loads(path.read_text())
    except OSError as error:
        raise OptionsError(
            f'"strategy.seed_architecture": cannot read {path} ({error.strerror}): name a JSON file'
        ) from None
    except ValueError as error:
        raise OptionsError(f'"strategy.seed_architecture": {path} is no JSON: {error}') from None
    decisions = data.get("decisions", data) if isinstance(data, dict) else None
    if not isinstance(decisions, dict):
        raise OptionsError(f'"strategy.seed_architecture": {path} must hold decisions by name')
    return decisions


def _is_number(choice: Choice) -> bool:
    return isinstance(choice, int | float) and not isinstance(choice, bool)
