"""Energy instruments: what a driver must offer, and which can be read here.

Nothing in this module, nor at the top of a driver's module, imports an instrument's own library.
"""

from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, Protocol, cast

GROUP = "hilnas_agent.meters"
BOUNDARIES = ("wall", "board", "soc", "rails")
POWER, COUNTER = "power", "counter"
ROOT = Path("/")
_PREFERENCE = ("hwmon", "pmic", "rapl", "android-odpm", "battery", "android-battery")


class MeterError(Exception):
    """An instrument cannot be read; the message says which, why, and what to do."""


class Reading(NamedTuple):
    """One reading: watts of a POWER meter, joules since whenever of a COUNTER.

    `clock_ns` is on the clock of `time.monotonic_ns` and off by `within_ns` at most.
    """

    clock_ns: int
    value: float
    within_ns: int = 0


class Traits(NamedTuple):
    """What an instrument is.

    `name` is driver and place ("rapl:package-0"), `boundary` one of BOUNDARIES, `kind` POWER or COUNTER,
    `rate_hz` the readings a second (0: only a reading would tell), `resolution` the smallest step of a
    reading, in its unit (0: not known), `wraps_at_j` where a counter starts again at zero (0: never).
    A `coarse` one needs a long stretch; a `canary_only` one is too coarse for any figure.
    """

    name: str
    boundary: str
    kind: str
    rate_hz: float
    resolution: float = 0.0
    wraps_at_j: float = 0.0
    coarse: bool = False
    canary_only: bool = False


class Meter(Protocol):
    """One instrument. Used by one process at a time: `open`, `read` again and again, `close`."""

    traits: Traits

    def problem(self) -> str | None:
        """Why it cannot be read now, and what to do about it; None when it can. Takes no long look."""

    def open(self) -> None:
        """Makes it ready; MeterError when it is not there."""

    def read(self) -> Sequence[Reading]:
        """What it has to say since the last call, oldest first; MeterError for a reading that failed.

        An instrument that is asked gives one; one that sends by itself gives all that has come.
        """

    def close(self) -> None:
        """Lets go of it; may be called twice."""


class Driver(Protocol):
    """Finds instruments of one kind. Its class is made without arguments."""

    name: str

    def find(self, argument: str, root: Path) -> Sequence[Meter]:
        """The instruments that are there, best first; none is no error.

        `argument` is what the user wrote behind "=" (an address, a serial port), `root` where /sys begins.
        MeterError when the argument is no use.
        """


class Offer(NamedTuple):
    """An instrument that can be read here, and how to find it again: its driver's path and argument."""

    name: str
    boundary: str
    rate_hz: float
    coarse: bool
    canary_only: bool
    path: str
    argument: str


def resolve(path: str) -> Driver:
    """The driver that "package.module:Class" names; ValueError or ImportError when it names none."""
    module, separator, name = path.partition(":")
    if not separator or not module or not name:
        raise ValueError(f"{path!r} is no meter's name, and not of the form package.module:Class")
    try:
        made = getattr(import_module(module), name)()
    except AttributeError as error:
        raise ImportError(f"{module} has no {name}: {error}") from error
    return cast(Driver, made)


def find(path: str, argument: str, name: str, root: Path = ROOT) -> Meter:
    """The instrument of that name; MeterError when its driver does not find it any more."""
    meters = resolve(path).find(argument, root)
    for meter in meters:
        if meter.traits.name == name:
            return meter
    here = ", ".join(meter.traits.name for meter in meters) or "none"
    raise MeterError(f"the meter {name} is gone; its driver finds: {here}")


def discover(extra: Iterable[str] = (), root: Path = ROOT) -> tuple[list[Offer], list[str]]:
    """Instruments that can be read here, best first, and the reasons why others cannot.

    `extra` are names of installed drivers or dotted paths, each with "=ARGUMENT" where it needs one; what
    they find comes first. A driver that finds nothing is a reason only when it was asked for.
    """
    from importlib.metadata import entry_points

    installed = {entry.name: entry.value for entry in entry_points(group=GROUP)}
    asked = [_split(text, installed) for text in extra]
    others = [(path, "") for _, path in sorted(installed.items(), key=lambda item: _rank(item[0]))]
    offers: dict[str, Offer] = {}
    reasons: dict[str, None] = {}
    for place, (path, argument) in enumerate([*asked, *others]):
        try:
            found = resolve(path).find(argument, root)
            if not found and place < len(asked):
                reasons[f"{path}: finds no instrument here"] = None
            for meter in found:
                problem = meter.problem()
                if problem is not None:
                    reasons[problem] = None
                elif meter.traits.name not in offers:
                    offers[meter.traits.name] = _offer(meter.traits, path, argument)
        except MeterError as error:
            reasons[str(error)] = None
        except Exception as error:  # noqa: BLE001 - whatever a package does when it is imported
            reasons[f"{path}: {type(error).__name__}: {error}"] = None
    first = {path for path, _ in asked}
    ordered = sorted(offers.values(), key=lambda o: (o.canary_only, o.path not in first, o.coarse))
    return ordered, list(reasons)


def _split(text: str, installed: dict[str, str]) -> tuple[str, str]:
    name, _, argument = text.partition("=")
    return installed.get(name, name), argument


def _offer(traits: Traits, path: str, argument: str) -> Offer:
    return Offer(
        traits.name, traits.boundary, traits.rate_hz, traits.coarse, traits.canary_only, path, argument
    )


def _rank(name: str) -> tuple[int, str]:
    return (_PREFERENCE.index(name) if name in _PREFERENCE else len(_PREFERENCE), name)
