"""What every estimator must do."""

import pickle

import numpy as np
import pytest

from hilnas.estimators import Estimator, Preparing
from hilnas.spaces import Space
from hilnas.spaces.mbconv import MBConv, MBConvOptions
from hilnas.tasks import Task
from hilnas.tasks.digits import Digits, DigitsOptions
from hilnas.trial import Architecture


class EstimatorContract:
    """Derive, and give the fixture `estimator`; it is asked about small nets on digits."""

    @pytest.fixture
    def estimator(self) -> Estimator:
        """Return the estimator under test."""
        pytest.fail("give the fixture `estimator`")

    @pytest.fixture
    def task(self) -> Task:
        """Return the task."""
        return Digits(DigitsOptions(size=16))

    @pytest.fixture
    def space(self, task: Task) -> Space:
        """Return the space."""
        return MBConv(task.shape, task.classes, MBConvOptions(resolutions=[1.0], kernels=[3]))

    @pytest.fixture
    def architecture(self, space: Space) -> Architecture:
        """Return the candidate."""
        return space.sample(np.random.default_rng(0))

    @pytest.fixture
    def ready(self, estimator: Estimator, space: Space, task: Task) -> Estimator:
        """Return the estimator with what it prepares."""
        if isinstance(estimator, Preparing):
            return estimator.prepared(estimator.prepare(space, task, 0, 1, {}))
        return estimator

    def test_what_it_prepares_is_always_the_same(
        self, estimator: Estimator, space: Space, task: Task
    ) -> None:
        if not isinstance(estimator, Preparing):
            pytest.skip("it prepares nothing")
        first, second = (estimator.prepare(space, task, 3, 1, {"a": 1}) for _ in range(2))
        assert first == second

    def test_it_travels_by_pickle(self, ready: Estimator) -> None:
        assert pickle.loads(pickle.dumps(ready)) is not None  # nosec B301 # noqa: S301 - our own bytes

    def test_accuracy_is_a_share_with_an_error(
        self, ready: Estimator, architecture: Architecture, space: Space, task: Task
    ) -> None:
        estimate = ready.estimate(architecture, space, task, 0).estimate
        assert 0 <= estimate.accuracy <= 1
        assert 0 < estimate.accuracy_se < 0.5

    def test_the_same_question_gets_the_same_answer(
        self, ready: Estimator, architecture: Architecture, space: Space, task: Task
    ) -> None:
        first = ready.estimate(architecture, space, task, 7)
        second = ready.estimate(architecture, space, task, 7)
        assert first == second

    def test_test_data_is_not_met(
        self, estimator: Estimator, architecture: Architecture, space: Space, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        original = Task.split

        def guarded(task: Task, name: str) -> object:
            assert name != "test", "an estimator must never see test data"
            return original(task, name)  # type: ignore[arg-type]

        monkeypatch.setattr(Task, "split", guarded)
        task = Digits(DigitsOptions(size=16))
        if isinstance(estimator, Preparing):
            estimator = estimator.prepared(estimator.prepare(space, task, 0, 1, {}))
        estimator.estimate(architecture, space, task, 0)
