"""Contract suites for plug-ins: derive from one, give the fixture it asks for, run pytest.

    from hilnas.testing import StrategyContract

    class TestMine(StrategyContract):
        @pytest.fixture
        def strategy(self):
            return lambda problem, seed: Mine(problem, Mine.Options(), seed)

Those need pytest (`pip install hilnas[dev]`). The simulator beside them (`tabular`, `virtual`) does not.
"""

from importlib import import_module
from typing import Any

_SUITES = {
    "EstimatorContract": "estimators",
    "ExecutorContract": "executors",
    "MeterContract": "meters",
    "RuntimeContract": "runtimes",
    "SpaceContract": "spaces",
    "StrategyContract": "strategies",
    "TaskContract": "tasks",
}

__all__ = sorted(_SUITES)  # noqa: PLE0605 - each is there once it is asked for: pytest need not be


def __getattr__(name: str) -> Any:
    if name not in _SUITES:
        raise AttributeError(f"hilnas.testing has no {name}: it has {', '.join(_SUITES)}")
    return getattr(import_module(f"hilnas.testing.{_SUITES[name]}"), name)
