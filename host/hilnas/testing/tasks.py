"""What every task must do."""

import pickle

import numpy as np
import pytest

from hilnas.tasks import SplitName, Task

_SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


class TaskContract:
    """Derive, and give the fixture `task`."""

    @pytest.fixture
    def task(self) -> Task:
        """Return the task under test."""
        pytest.fail("give the fixture `task`")

    def test_splits_hold_pictures_and_labels(self, task: Task) -> None:
        for name in _SPLITS:
            split = task.split(name)
            assert len(split) > 0
            assert split.images.shape == (len(split), *task.shape)
            assert split.images.dtype in (np.uint8, np.float32)
            assert split.labels.shape == (len(split),)
            assert split.labels.min() >= 0
            assert split.labels.max() < task.classes == len(task.labels)

    def test_splits_never_mix(self, task: Task) -> None:
        seen = [{image.tobytes() for image in task.split(name).images} for name in _SPLITS]
        train, validation, test = seen
        assert not train & validation
        assert not train & test
        assert not validation & test

    def test_normalisation_is_of_the_training_split(self, task: Task) -> None:
        normalised = task.normalisation.apply(task.split("train").images).astype(np.float64)
        assert np.allclose(normalised.mean(axis=(0, 2, 3)), 0, atol=1e-3)
        assert np.allclose(normalised.std(axis=(0, 2, 3)), 1, atol=1e-3)
        low, high = task.normalisation.range
        assert low <= normalised.min() + 1e-4
        assert normalised.max() - 1e-4 <= high

    def test_it_travels_by_pickle_without_its_data(self, task: Task) -> None:
        content = pickle.dumps(task)
        assert len(content) < 100_000
        copy: Task = pickle.loads(content)  # nosec B301 # noqa: S301 - our own bytes
        assert copy == task
        assert np.array_equal(copy.split("validation").labels, task.split("validation").labels)
