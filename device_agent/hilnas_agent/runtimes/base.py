"""What both TFLite runtimes have in common: one `Interpreter` class, two packages."""

from collections.abc import Iterable
from importlib import import_module, util
from pathlib import Path
from typing import Any

from hilnas_agent.runtimes import NONE, Graph

_DELEGATE = "DELEGATE"


class Interpreting:
    """A runtime whose package holds `interpreter.Interpreter`."""

    name: str
    package: str

    def problem(self) -> str | None:
        """Why it cannot be used here, or None."""
        if util.find_spec(self.package) is None:
            return f"{self.name} is not installed"
        return None

    def version(self) -> str:
        """Version of the installed distribution; empty when its record is missing."""
        from importlib import metadata  # 30 ms that a worker need not spend

        try:
            return metadata.version(self.name)
        except metadata.PackageNotFoundError:
            return ""

    def preload(self) -> None:
        """Imports NumPy and the interpreter."""
        self._module()

    def load(self, path: Path, threads: int, delegate: str = "") -> "LoadedModel":
        """Loads by path and allocates; ValueError, RuntimeError or MemoryError from the runtime.

        Never by content: handing a torn file over as bytes can end the process with SIGSEGV.
        """
        module, options = self._module(), {}
        if delegate == NONE:
            kind = module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            options["experimental_op_resolver_type"] = kind
        interpreter = module.Interpreter(model_path=str(path), num_threads=threads, **options)
        interpreter.allocate_tensors()
        return LoadedModel(interpreter, path)

    def _module(self) -> Any:
        return import_module(f"{self.package}.interpreter")


class LoadedModel:
    """A model held by an interpreter, its tensors allocated."""

    def __init__(self, interpreter: Any, path: Path) -> None:
        self._interpreter, self._path = interpreter, path
        self.invoke = interpreter.invoke

    def fill_inputs(self, seed: int) -> None:
        """Sets every input to seeded random values without zeros: zeros can be faster than real data."""
        import numpy as np

        rng = np.random.default_rng(seed)
        for tensor in self._interpreter.get_input_details():
            shape, kind = tuple(tensor["shape"]), np.dtype(tensor["dtype"])
            if np.issubdtype(kind, np.integer):
                low = max(np.iinfo(kind).min, -(1 << 15))
                values = rng.integers(low, min(np.iinfo(kind).max, 1 << 15), shape, kind, endpoint=True)
                values[values == 0] = 1
            else:
                values = rng.uniform(0.1, 1.0, shape).astype(kind)
            self._interpreter.set_tensor(tensor["index"], values)

    def run(self, examples: Any) -> Any:
        """Outputs [N, …] of `examples` [N, …]; ValueError when the model does not take such examples."""
        import numpy as np

        sources, results = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        if len(sources) != 1 or len(results) != 1:
            raise ValueError(
                f"the model has {len(sources)} inputs and {len(results)} outputs, not one of each"
            )
        (source,), (result,) = sources, results
        wanted = (*(int(extent) for extent in source["shape"][1:]),)
        if examples.shape[1:] != wanted or examples.dtype != source["dtype"]:
            raise ValueError(
                f"the examples are {examples.dtype} {examples.shape[1:]}, "
                f"the model takes {np.dtype(source['dtype'])} {wanted}"
            )
        outputs = np.empty((len(examples), *result["shape"][1:]), result["dtype"])
        for place in range(len(examples)):
            self._interpreter.set_tensor(source["index"], examples[place : place + 1])
            self.invoke()
            outputs[place] = self._interpreter.get_tensor(result["index"])[0]
        return outputs

    def graph(self) -> Graph:
        """What became of the operators. The one delegate that these packages bring is XNNPACK."""
        # Not `_get_ops_details`: it decodes the names of all tensors, and some are no UTF-8.
        inner = self._interpreter._interpreter
        everything = range(inner.NumNodes())
        pieces = [node for node in everything if inner.NodeName(node) == _DELEGATE]
        nodes = [node for node in everything if node not in pieces]
        if not pieces:
            return Graph("", len(nodes), 0, 0)
        handed_out = {int(index) for piece in pieces for index in inner.NodeOutputs(piece)}
        taken = sum(self._is_taken(inner.NodeOutputs(node), handed_out) for node in nodes)
        return Graph("xnnpack", len(nodes), taken, len(pieces))

    def arena_kib(self) -> int | None:
        """Memory of the tensors that lie in the runtime's arena, in KiB, where they share places as planned.

        What a delegate holds inside is its own and not told.
        """
        mapped = list(_mapped(self._path))
        # Of the model's own tensors alone: to look at a kernel's scratch tensor can end the process.
        places = (self._place(int(tensor["index"])) for tensor in self._interpreter.get_tensor_details())
        spans = [
            place
            for place in places
            if place is not None and not any(low <= place[0] < high for low, high in mapped)
        ]
        return -(-_covered(spans) // 1024)

    def _is_taken(self, outputs: Iterable[int], handed_out: set[int]) -> bool:
        """Did a delegate take the operator? Its results are then the delegate's, or are nowhere."""
        return any(int(index) in handed_out or self._place(int(index)) is None for index in outputs)

    def _place(self, index: int) -> tuple[int, int] | None:
        """Where a tensor begins and ends in memory; None when it is not allocated."""
        try:
            view = self._interpreter.tensor(index)()
        except (ValueError, RuntimeError):
            return None
        begin = int(view.__array_interface__["data"][0])
        # The view goes at once: the interpreter does not run while one is held.
        return (begin, begin + int(view.nbytes)) if view.nbytes else None


def _mapped(path: Path) -> Iterable[tuple[int, int]]:
    """Where the model file is mapped: constants lie there, not in the arena."""
    name = str(path.resolve())
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        if line.endswith(name):
            low, _, high = line.split()[0].partition("-")
            yield int(low, 16), int(high, 16)


def _covered(spans: list[tuple[int, int]]) -> int:
    """Bytes that lie in at least one span."""
    total, reached = 0, 0
    for begin, end in sorted(spans):
        total += max(0, end - max(begin, reached))
        reached = max(reached, end)
    return total
