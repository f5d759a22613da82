"""What a strategy is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

from hilnas import options
from hilnas.objectives import Objective, best_trials
from hilnas.spaces import Space
from hilnas.tasks import Task
from hilnas.trial import Proposal, Trial


@dataclass(frozen=True)
class Problem:
    """What a strategy is to solve."""

    space: Space
    objectives: tuple[Objective, ...]
    """What makes up the reward. `objectives.figure_of` reads each one's value and error off a trial."""
    earlier: tuple[Trial, ...] = ()
    """Final trials of earlier searches of the same space, maybe of other data or devices, or with the ranks of untrained
    nets in the place of accuracies: hints, not facts."""
    prepared: bytes = b""
    """What the strategy's own `prepare` returned; see `Preparing`."""


class Strategy(Protocol):
    """Proposes architectures of one space and learns from final trials.

    A strategy is a pure function of its constructor's arguments and of the sequence of calls: the
    same calls give the same proposals, bit for bit. So its state needs no saving: a search that
    goes on builds it anew and repeats the recorded calls. Constructor: `(problem, options, seed)`.
    Derive from this class for what need not be said.
    """

    Options: ClassVar[type[options.Options]]
    warm_starts: ClassVar[bool] = False
    """Does it learn from `Problem.earlier`?"""

    def propose(self, pending: Sequence[Trial]) -> Proposal:
        """Propose an architecture that was not proposed before, as long as the space has one.

        `pending` are the trials proposed and not observed yet. To doubt what was measured, a strategy
        proposes it again and says so (`Proposal.repeat`): it is then measured and estimated anew.
        """

    def observe(self, trials: Sequence[Trial]) -> None:
        """Learn from a group of final trials, in the order of their proposal; each is seen once.

        SCORED trials have a score, INVALID ones are the candidate's fault, FAILED ones say nothing.
        A trial that took far longer than others may come after later ones.
        """

    def rank(self, trials: Sequence[Trial]) -> list[Trial]:
        """Return the first scored trial of each architecture, best first, among the search's `trials`.

        Here by the mean measured reward. It must not change what is proposed next.
        """
        return best_trials(trials)

    def diagnostics(self) -> Mapping[str, float]:
        """Return what tells people how the strategy fares, such as its predictions' rank correlation."""
        return {}


@runtime_checkable
class Preparing(Strategy, Protocol):
    """A strategy with long work to do before its first proposal, such as a search by gradients.

    It is done once for a search, in a worker process, and what came of it is kept: `Problem.prepared`. A class method
    `check(space, objectives, options)`, where there is one, is called before a search begins, to refuse it.
    """

    @classmethod
    def prepare(
        cls,
        space: Space,
        task: Task,
        objectives: Sequence[Objective],
        options: Any,
        seed: int,
        threads: int,
    ) -> bytes:
        """Do it, on `threads` threads; `executors.save` and `saved` keep it from a loss. It never sees test data."""
