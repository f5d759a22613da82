"""What a command of several phases is at: those who do the work write it, whoever shows it reads."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Phases:
    """The phase under way, how much of it is done, and what goes on inside."""

    phase: str = "starting"
    done: int = 0
    total: int = 0
    """0 where there is nothing to count."""
    inside: Mapping[str, float] = field(default_factory=dict)
    """Shares done of long pieces of work under way, by name."""

    def __str__(self) -> str:
        """Say it in a line."""
        return self.phase + "".join(
            f", preparing {name} {share:.0%}" for name, share in dict(self.inside).items()
        )
