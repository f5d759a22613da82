"""`hilnas export`: a saved architecture to an int8 .tflite file."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from hilnas.options import OptionsError
from hilnas.recipe import load_recipe
from hilnas.search.setup import make_space, make_task
from hilnas.spaces import SpaceError
from hilnas.store.files import write_atomically
from hilnas.trial import Architecture


def export_command(
    file: Path,
    source: str | None,
    weights: Path | None,
    output: Path,
    overrides: Sequence[str],
    as_json: bool,
) -> None:
    """Read, build, load, export, write."""
    import torch

    from hilnas.estimators.train import CALIBRATION_EXAMPLES, to_int8
    from hilnas.export import check_int8
    from hilnas.tasks.training import prepare

    recipe = load_recipe(source, overrides)
    architecture = read_architecture(file)
    task = make_task(recipe)
    space = make_space(recipe, task.shape, task.classes)
    torch.manual_seed(recipe.search.seed)
    try:
        module = space.build(space.check(architecture))
    except SpaceError as error:
        raise OptionsError(
            f"{file} does not fit {recipe.search.name}: {error}; name its recipe by --recipe"
        ) from None
    if weights is not None:
        _load_weights(module, weights)
    size = space.input_shape(architecture)[1:]
    examples = task.split("train").subset(CALIBRATION_EXAMPLES, recipe.search.seed)
    content = to_int8(module.eval(), prepare(task, examples, size), task)
    facts = check_int8(content)
    write_atomically(output, content)
    if as_json:
        print(json.dumps({"file": str(output), **asdict(facts)}))
        return
    console = Console(highlight=False, soft_wrap=True, markup=False)
    kind = "the given weights" if weights else "fresh weights: good for measuring, not for answers"
    console.print(
        f"{output}: {facts.bytes} bytes, {facts.macs / 1e6:.3g} MMACs, int8 {list(facts.input_shape)} in, {kind}"
    )


def read_architecture(file: Path) -> Architecture:
    """Return the architecture in a file. OptionsError when there is none in it."""
    try:
        return Architecture.from_json(json.loads(file.read_text()))
    except FileNotFoundError:
        raise OptionsError(f"there is no file {file}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OptionsError(
            f'{file} is no architecture ({type(error).__name__}: {error}); it must hold {{"space": …, "decisions": …}}'
        ) from None


def _load_weights(module: Any, file: Path) -> None:
    import pickle

    import torch

    try:
        state = torch.load(file, weights_only=True, map_location="cpu")
        module.load_state_dict(state)
    except FileNotFoundError:
        raise OptionsError(f"there is no file {file}") from None
    except Exception as error:  # noqa: BLE001 - garbage makes torch raise anything
        # torch's own advice for a foreign file is to run the code in it.
        foreign = isinstance(error, pickle.UnpicklingError)
        reason = (
            "it is no file of torch.save" if foreign else (str(error) or type(error).__name__).splitlines()[0]
        )
        raise OptionsError(f"{file} holds no weights of this architecture: {reason}") from None
