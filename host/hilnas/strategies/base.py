"""What a strategy is."""

from collections.abc import Sequence
from typing import ClassVar, Protocol

from hilnas import options
from hilnas.trial import Proposal, Trial


class Strategy(Protocol):
    """Proposes architectures of one space and learns from final trials.

    A strategy is a pure function of its constructor's arguments and of the sequence of calls: the
    same calls give the same proposals, bit for bit. So its state needs no saving: a search that
    goes on builds it anew and repeats the recorded calls. Constructor: `(space, options, seed)`.
    """

    Options: ClassVar[type[options.Options]]

    def propose(self, pending: Sequence[Trial]) -> Proposal:
        """Propose one architecture that was not proposed before, as long as the space has one.

        `pending` are the trials proposed and not observed yet.
        """

    def observe(self, trials: Sequence[Trial]) -> None:
        """Learn from a group of final trials, in the order of their proposal; each is seen once.

        SCORED trials have a score, INVALID ones are the candidate's fault, FAILED ones say nothing.
        """
