"""The energy meters of a device as its agent keeps them: what they are, and which one a job gets.

Apart from `meters`, so that the agent's process need not hold what only short-lived ones use.
"""

from collections.abc import Sequence
from typing import NamedTuple


class MeterOffer(NamedTuple):
    """An instrument that can be read here, and how to find it again: its driver's path and argument."""

    name: str
    boundary: str
    rate_hz: float
    coarse: bool
    canary_only: bool
    path: str
    argument: str


def choose(offers: Sequence[MeterOffer], name: str, reasons: str = "") -> tuple[MeterOffer | None, str]:
    """The meter of that name, or the first that may be a figure's source; without one, why not and the remedy.

    `reasons` say why meters that are there cannot be read.
    """
    for offer in offers:
        if name == offer.name and offer.canary_only:
            return None, (
                f"{name} is too coarse for the energy of an inference, it can only tell that another meter is "
                "far off: name another one"
            )
        if name == offer.name or not (name or offer.canary_only):
            return offer, ""
    here = ", ".join(offer.name for offer in offers) or "none"
    why = f" ({reasons})" if reasons else ""
    return None, (
        f"energy cannot be measured here: no meter {name or 'for a figure'}; readable: {here}{why}; "
        "hilnas-agent check tells more"
    )
