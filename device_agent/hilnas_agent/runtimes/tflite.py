"""tflite-runtime, frozen at 2.14.0: for 32-bit boards; int8 models run on its own kernels."""

from importlib import metadata

from hilnas_agent.runtimes.base import Interpreting


class TfliteRuntime(Interpreting):
    """Runtime of the tflite-runtime distribution."""

    name = "tflite-runtime"
    package = "tflite_runtime"
    xnnpack_int8 = False

    def problem(self) -> str | None:
        """Why it cannot be used here, or None. With NumPy 2 it imports, and fails at the first model."""
        missing = super().problem()
        if missing is not None:
            return missing
        numpy = metadata.version("numpy")
        if int(numpy.split(".")[0]) >= 2:
            return f"tflite-runtime needs numpy<2 and {numpy} is installed: pip install 'numpy<2'"
        return None
