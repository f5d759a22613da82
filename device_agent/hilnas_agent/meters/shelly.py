"""A Shelly plug, over HTTP in the local network: a canary for other meters, too coarse for any figure.

Source: shelly-api-docs.shelly.cloud. First generation, /meter/0: "power" in W, "is_valid". Second and later,
/rpc/Switch.GetStatus?id=0: "apower" in W, "aenergy.total" in Wh with three decimals, so in steps of 3.6 J.
"""

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hilnas_agent.meters import COUNTER, POWER, Meter, MeterError, Reading, Traits
from hilnas_agent.meters.reading import Polled, timed

_RATE_HZ = 1.0
_PATIENCE_S = 2.0
_LARGEST_ANSWER = 1 << 16
_J_PER_WH = 3600.0
_GEN2, _GEN1 = "/rpc/Switch.GetStatus?id=0", "/meter/0"


class Shelly:
    """The driver: "shelly=http://ADDRESS"; never sought in the network."""

    name = "shelly"

    def find(self, argument: str, root: Path) -> Sequence[Meter]:
        """The plug at that address, which is asked for its generation."""
        if not argument:
            return []
        address = urlsplit(argument)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise MeterError(f"shelly={argument}: give its address, such as shelly=http://192.0.2.7")
        base = argument.rstrip("/")
        return [_plug(base, address.hostname)]


class Plug(Polled):
    """A plug of either generation."""

    def __init__(self, base: str, host: str, second: bool) -> None:
        self._url = base + (_GEN2 if second else _GEN1)
        self._second = second
        self.traits = Traits(
            f"shelly:{host}",
            "wall",
            COUNTER if second else POWER,
            _RATE_HZ,
            resolution=1e-3 * _J_PER_WH if second else 0.1,
            coarse=True,
            canary_only=True,
        )

    def read(self) -> Sequence[Reading]:
        """Power in W, or the energy counter in J."""
        return [timed(self._value)]

    def _value(self) -> float:
        status = _get(self._url)
        return total_j(status) if self._second else watts(status)


def total_j(status: dict[str, Any]) -> float:
    """Energy since whenever of a Switch.GetStatus, in J."""
    total = status.get("aenergy", {}).get("total")
    if not isinstance(total, int | float):
        raise MeterError("shelly: the plug tells no energy (aenergy.total): it has no meter")
    return float(total) * _J_PER_WH


def watts(status: dict[str, Any]) -> float:
    """Power of a /meter/0, in W; MeterError while the plug itself does not trust it."""
    power = status.get("power")
    if not isinstance(power, int | float):
        raise MeterError("shelly: the plug tells no power: it has no meter")
    if status.get("is_valid") is False:
        raise MeterError("shelly: the plug calls its own reading invalid: wait, or restart it")
    return float(power)


def _plug(base: str, host: str) -> Plug:
    try:
        _get(base + _GEN2)
    except _NotKnownError:
        return Plug(base, host, second=False)
    except MeterError:
        # Unreachable now; `problem` says so, of the newer generation.
        return Plug(base, host, second=True)
    return Plug(base, host, second=True)


class _NotKnownError(MeterError):
    """The plug has no such page."""


def _get(url: str) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(url, timeout=_PATIENCE_S) as answer:  # nosec B310 # noqa: S310 - http and https alone
            content = json.loads(answer.read(_LARGEST_ANSWER))
    except urllib.error.HTTPError as error:
        if error.code == 404:
            raise _NotKnownError(f"{url} is not known there") from error
        words = "it wants a password, which is not supported" if error.code == 401 else str(error)
        raise MeterError(f"the plug at {url} does not answer: {words}") from error
    except (OSError, ValueError) as error:
        raise MeterError(f"the plug at {url} does not answer: {error}: is it in this network?") from error
    if not isinstance(content, dict):
        raise MeterError(f"the plug at {url} answers with no status")
    return content
