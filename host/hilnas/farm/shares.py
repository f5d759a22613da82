"""Who has had how much of the farm: device time over weight, for users and for their searches."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from enum import IntEnum


class Priority(IntEnum):
    """Classes of jobs: one of a lower number goes before all of a higher one."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


@dataclass(frozen=True)
class Asker:
    """On whose behalf a job is asked for."""

    search: str = ""
    """Id of a search; empty for a person."""
    user: str = ""
    priority: Priority = Priority.NORMAL
    weight: float = 1.0
    """Share of its user's device time, against other searches of the same user."""

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise ValueError(f"weight is {self.weight}, not above 0")


NOBODY = Asker()
"""A run in this very process, whose farm is its own."""


class Shares:
    """Virtual time by start-time fair queueing: who is behind is next.

    Device-seconds over weight, of each user among users and of each search among its user's. One that comes
    back after it asked for nothing starts level with the one furthest behind of those who did: time that nobody
    asked for cannot be saved up. Goyal, Vin and Cheng, "Start-time Fair Queueing", 1996.
    """

    def __init__(self, user_weights: Mapping[str, float] | None = None) -> None:
        self._weights = dict(user_weights or {})
        self._spent: dict[Hashable, float] = {}
        self._active: dict[Hashable, set[Hashable]] = {}

    def copy(self) -> "Shares":
        """Return the same shares, to try an order out."""
        twin = Shares()
        twin._weights = self._weights
        twin._spent = dict(self._spent)
        twin._active = {group: set(members) for group, members in self._active.items()}
        return twin

    def begin(self, asker: Asker) -> None:
        """Note that somebody asks for device time; no matter if they did already."""
        self._join("", asker.user)
        self._join((asker.user,), (asker.user, asker.search))

    def end(self, asker: Asker) -> None:
        """Note that a search asks for no more for now."""
        mine = self._active.get((asker.user,), set())
        mine.discard((asker.user, asker.search))
        if not mine:
            self._active.get("", set()).discard(asker.user)

    def forget(self, asker: Asker) -> None:
        """Drop a search that has ended for good."""
        self.end(asker)
        self._spent.pop((asker.user, asker.search), None)

    def charge(self, asker: Asker, seconds: float) -> None:
        """Count device time, in s; negative to give back what was counted too much."""
        user, search = asker.user, (asker.user, asker.search)
        self._spent[user] = self._spent.get(user, 0.0) + seconds / self._weights.get(user, 1.0)
        self._spent[search] = self._spent.get(search, 0.0) + seconds / asker.weight

    def turn(self, asker: Asker) -> tuple[int, float, float]:
        """Return whose turn it is as something to sort by: the smallest is next."""
        spent = self._spent
        return asker.priority, spent.get(asker.user, 0.0), spent.get((asker.user, asker.search), 0.0)

    def _join(self, group: Hashable, member: Hashable) -> None:
        active = self._active.setdefault(group, set())
        if member in active:
            return
        level = min((self._spent.get(other, 0.0) for other in active), default=0.0)
        self._spent[member] = max(self._spent.get(member, 0.0), level)
        active.add(member)
