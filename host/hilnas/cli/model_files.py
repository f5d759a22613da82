"""The files that a person hands over: models and examples, looked through before anything starts."""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.lib.npyio import NpzFile

from hilnas.daemon.measure import Examples
from hilnas.options import OptionsError


def read_model_file(file: Path) -> bytes:
    """Return a model's content; OptionsError when it is none, so that nothing broken is shipped."""
    from hilnas.export import ModelFileError, inspect_model

    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise OptionsError(f"there is no file {file}") from None
    except IsADirectoryError:
        raise OptionsError(f"{file} is a folder: name the .tflite file in it") from None
    except OSError as error:
        raise OptionsError(f"{file} cannot be read: {error.strerror}") from error
    try:
        inspect_model(content)
    except ModelFileError as error:
        raise OptionsError(f"{file} is no model that a device could run: {error}") from error
    return content


def read_examples(file: Path) -> Examples:
    """Return what an .npz holds; OptionsError when it is none."""
    try:
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, NpzFile):
            raise ValueError("it holds a single array")  # noqa: TRY301, TRY004 - told like the others
        with archive:
            inputs, labels = archive["x"], archive.get("y")
        if inputs.ndim < 2 or len(inputs) == 0:
            raise ValueError(f"x is {list(inputs.shape)}, not [N, …]")  # noqa: TRY301
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise OptionsError(
            f"{file} is no archive of examples ({error}): save one with numpy.savez(file, x=inputs, y=labels)"
        ) from error
    if labels is not None and labels.shape != (len(inputs),):
        raise OptionsError(f"{file}: y is {list(labels.shape)}, but x has {len(inputs)} examples")
    return Examples(inputs, labels)


def check_fit(file: Path, content: bytes, examples: Examples) -> None:
    """See that a model takes the examples; OptionsError says why not."""
    from hilnas.export import Int8Model
    from hilnas.export.errors import ExportError

    try:
        examples.levels(Int8Model(content))
    except ExportError as error:
        raise OptionsError(f"{file} cannot be held against the host on these examples: {error}") from error
