"""What both TFLite runtimes have in common: one `Interpreter` class, two packages."""

from importlib import import_module, util
from pathlib import Path
from typing import Any


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

    def load(self, path: Path, threads: int) -> "LoadedModel":
        """Loads by path and allocates; ValueError, RuntimeError or MemoryError from the runtime.

        Never by content: handing a torn file over as bytes can end the process with SIGSEGV.
        """
        interpreter = self._module().Interpreter(model_path=str(path), num_threads=threads)
        interpreter.allocate_tensors()
        return LoadedModel(interpreter)

    def _module(self) -> Any:
        return import_module(f"{self.package}.interpreter")


class LoadedModel:
    """A model held by an interpreter, its tensors allocated."""

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
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

    def delegate(self) -> str:
        """Name of the delegate that took part of the graph: these packages bring one, "xnnpack", or none."""
        operators = self._interpreter._get_ops_details()
        return "xnnpack" if any(operator["op_name"] == "DELEGATE" for operator in operators) else ""
