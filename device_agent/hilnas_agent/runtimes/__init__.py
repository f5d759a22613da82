"""Inference runtimes: what one must offer, and which are installed here.

Nothing in this module, nor at the top of a runtime's module, imports the runtime itself.
"""

from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

GROUP = "hilnas_agent.runtimes"
_PREFERENCE = ("ai-edge-litert", "tflite-runtime")


NONE = "none"
"""The delegate to ask for where there should be none."""


class Graph(NamedTuple):
    """What became of a model's operators: how many there are, and what a delegate took, in how many pieces.

    `delegate` is its name, empty when none took part; zeros where the runtime does not tell.
    """

    delegate: str = ""
    nodes: int = 0
    delegated_nodes: int = 0
    partitions: int = 0


class Loaded(Protocol):
    """A model in memory, its tensors allocated."""

    invoke: Callable[[], object]
    """Runs one inference."""

    def fill_inputs(self, seed: int) -> None:
        """Sets every input to seeded random values without zeros."""

    def run(self, examples: Any) -> Any:
        """Outputs [N, …] of `examples` [N, …], NumPy arrays of the model's own types, one inference each.

        ValueError for a model of several inputs or outputs, and for examples that do not fit.
        """

    def graph(self) -> Graph:
        """What became of the operators."""

    def arena_kib(self) -> int | None:
        """Memory of the tensors that the runtime's own arena holds, in KiB; None when it does not tell."""


class Runtime(Protocol):
    """An inference runtime. Its class is made without arguments; `name` is its distribution's name."""

    name: str
    xnnpack_int8: bool

    def problem(self) -> str | None:
        """Why it cannot be used here, or None; must not import the runtime."""

    def version(self) -> str:
        """Version of the installed distribution; must not import the runtime."""

    def preload(self) -> None:
        """Imports all that loading a model needs."""

    def load(self, path: Path, threads: int, delegate: str = "") -> Loaded:
        """Loads the model file and allocates its tensors; errors are the runtime's own.

        `delegate` is empty for what the runtime does by default, NONE for its own kernels alone.
        """


class Offer(NamedTuple):
    """A runtime that can be used here, and the dotted path that names its class."""

    name: str
    version: str
    xnnpack_int8: bool
    path: str


def resolve(path: str) -> Runtime:
    """The runtime that "package.module:Class" names; ValueError or ImportError when it names none."""
    module, separator, name = path.partition(":")
    if not separator or not module or not name:
        raise ValueError(f"{path!r} is not of the form package.module:Class")
    try:
        made = getattr(import_module(module), name)()
    except AttributeError as error:
        raise ImportError(f"{module} has no {name}: {error}") from error
    return cast(Runtime, made)


def discover(extra: Iterable[str] = ()) -> tuple[list[Offer], list[str]]:
    """Runtimes usable here, preferred first, and the reasons why others are not.

    `extra` are dotted paths beside the entry points of the group; they come first.
    """
    from importlib.metadata import entry_points

    offers: dict[str, Offer] = {}
    reasons = []
    asked = list(extra)
    installed = sorted((entry.value for entry in entry_points(group=GROUP)), key=_rank)
    for path in [*asked, *installed]:
        try:
            runtime = resolve(path)
            reason = runtime.problem()
            if reason is None and runtime.name not in offers:
                offers[runtime.name] = Offer(runtime.name, runtime.version(), runtime.xnnpack_int8, path)
        except Exception as error:  # noqa: BLE001 - whatever a package does when it is imported
            reason = f"{path}: {type(error).__name__}: {error}"
        if reason is not None:
            reasons.append(reason)
    ordered = sorted(offers.values(), key=lambda offer: _position(offer, asked))
    return ordered, reasons


def _rank(path: str) -> tuple[bool, str]:
    return (not path.startswith("hilnas_agent."), path)


def _position(offer: Offer, asked: list[str]) -> tuple[int, int]:
    if offer.path in asked:
        return (0, asked.index(offer.path))
    return (1, _PREFERENCE.index(offer.name) if offer.name in _PREFERENCE else len(_PREFERENCE))
