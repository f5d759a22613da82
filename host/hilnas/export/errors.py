"""What can go wrong when a network is exported or a model is read."""

from __future__ import annotations

from hilnas.errors import HilnasError


class ExportError(HilnasError, ValueError):
    """A network that cannot be exported, or a model file that is not a sound full-int8 model."""


class ModelFileError(ExportError):
    """A .tflite file that is torn, contradicts itself, or asks for more than a device can give."""


class UnsupportedModuleError(ExportError):
    """A module, function or control flow that has no int8 form here: says which, where, and the remedy."""

    def __init__(self, what: str, path: str, remedy: str = "") -> None:
        self.what = what
        self.path = path
        self.remedy = remedy
        where = f"at '{path}'" if path else "in the outermost module"
        super().__init__(f"cannot export {what} {where}" + (f": {remedy}" if remedy else ""))

    def __reduce__(self) -> tuple[type[UnsupportedModuleError], tuple[str, str, str]]:
        """Pickle by what it was made of: it travels from worker processes."""
        return type(self), (self.what, self.path, self.remedy)
