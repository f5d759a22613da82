"""A supernet by itself: what `hilnas supernet` calls."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from hilnas.estimators.supernet import Supernet, SupernetOptions
from hilnas.executors import Checkpoint, Executor
from hilnas.options import OptionsError
from hilnas.plugins import Axis, find
from hilnas.recipe import Recipe
from hilnas.search.setup import make_space, make_task
from hilnas.search.work import prepare_estimator
from hilnas.store.files import write_atomically

CHECKPOINT = ".checkpoint"
"""What the name of a supernet's checkpoint has more than its own."""


def train_supernet(recipe: Recipe, out: Path, told: Callable[[float], None]) -> float:
    """Train the supernet of a recipe into a file; return the seconds that this process took for it.

    It goes on from a checkpoint beside the file. OptionsError when the file is there already.
    """
    if out.exists():
        raise OptionsError(f"{out} is there already: remove it, or give another --out")
    own = recipe.estimator.name == "supernet"
    options = recipe.options(Axis.ESTIMATOR) if own else SupernetOptions()
    if not isinstance(options, SupernetOptions):
        raise OptionsError("[estimator] names another supernet than that of hilnas: leave it out")
    out.parent.mkdir(parents=True, exist_ok=True)
    task = make_task(recipe)
    space = make_space(recipe, task.shape, task.classes)
    checkpoint = Checkpoint(out.with_name(out.name + CHECKPOINT))
    sections = recipe.model_dump(mode="json", include={"task", "space"})
    seed = recipe.search.seed

    async def work() -> tuple[bytes, float]:
        executor: Executor = find(Axis.EXECUTOR, recipe.executor.name)(
            recipe.options(Axis.EXECUTOR), out.parent
        )
        try:
            return await executor.run(
                prepare_estimator,
                Supernet(options),
                space,
                task,
                seed,
                executor.threads(1),
                {**sections, "seed": seed},
                told=told,
                checkpoint=checkpoint,
            )
        finally:
            await executor.close()

    content, seconds = asyncio.run(work())
    write_atomically(out, content)
    checkpoint.remove()
    return seconds
