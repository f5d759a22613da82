"""Data sets that do not ship with the project: these tests skip, saying so, where they are not."""

import os
from pathlib import Path

import pytest

from hilnas.estimators.train import Train, TrainOptions
from hilnas.recipe import load_recipe
from hilnas.search.setup import make_space, make_task
from hilnas.tasks.fashion_mnist import DEBIAN_FOLDER
from tests.integration.searches import ROOT

SHARED = Path(os.environ.get("HILNAS_SHARED_DATA", ROOT.parent / "shared" / "data"))
CLIPS = SHARED / "speech_commands_12.npz"


def estimate(recipe):
    """Train one candidate of a recipe very briefly."""
    import numpy as np

    task = make_task(recipe)
    space = make_space(recipe, task.shape, task.classes)
    architecture = space.sample(np.random.default_rng(0))
    options = TrainOptions(epochs=2, subset=1500, batch=32, learning_rate=0.01)
    return task, Train(options).estimate(architecture, space, task, 0).estimate


@pytest.mark.skipif(
    not DEBIAN_FOLDER.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed"
)
def test_fashion_mnist_of_debian():
    task, found = estimate(load_recipe("fashion-mnist"))
    assert [len(task.split(name)) for name in ("train", "validation", "test")] == [54000, 6000, 10000]
    assert task.shape == (1, 28, 28)
    assert found.accuracy > 0.4
    assert abs(found.accuracy - found.float_accuracy) < 0.05


@pytest.mark.skipif(
    not CLIPS.is_file(), reason=f"there is no {CLIPS.name}; set HILNAS_SHARED_DATA to its folder"
)
def test_keyword_spotting_on_log_mel_pictures():
    task, found = estimate(load_recipe("keyword-spotting", [f"task.path={CLIPS}"]))
    assert task.shape == (1, 49, 40)
    assert task.classes == 12
    assert [len(task.split(name)) for name in ("train", "validation", "test")] == [3332, 876, 682]
    assert found.accuracy > 2 / 12
