"""Contract suites for plug-ins: derive from one, give the fixture it asks for, run pytest.

    from hilnas.testing import StrategyContract

    class TestMine(StrategyContract):
        @pytest.fixture
        def strategy(self):
            return lambda space, seed: Mine(space, Mine.Options(), seed)

Needs pytest (`pip install hilnas[dev]`).
"""

from hilnas.testing.estimators import EstimatorContract
from hilnas.testing.executors import ExecutorContract
from hilnas.testing.runtimes import RuntimeContract
from hilnas.testing.spaces import SpaceContract
from hilnas.testing.strategies import StrategyContract
from hilnas.testing.tasks import TaskContract

__all__ = [
    "EstimatorContract",
    "ExecutorContract",
    "RuntimeContract",
    "SpaceContract",
    "StrategyContract",
    "TaskContract",
]
