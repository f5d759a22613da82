"""Every built-in plug-in passes the contract of its axis."""

import pytest

from hilnas.estimators.multi_fidelity import MultiFidelity, MultiFidelityOptions
from hilnas.estimators.supernet import Supernet, SupernetOptions
from hilnas.estimators.train import Train, TrainOptions
from hilnas.estimators.zero_cost import ZeroCost, ZeroCostOptions
from hilnas.executors.local import LocalOptions, LocalProcesses
from hilnas.plugins import Axis, find, names
from hilnas.spaces.mbconv import MBConv, MBConvOptions
from hilnas.strategies.enas import Enas, EnasOptions
from hilnas.strategies.evolution import Evolution, EvolutionOptions
from hilnas.strategies.generative import Generative, GenerativeOptions
from hilnas.strategies.gradient import Darts, DartsOptions
from hilnas.strategies.local_search import LocalSearch, LocalSearchOptions
from hilnas.strategies.multi_objective_evolution import (
    MultiObjectiveEvolution,
    MultiObjectiveEvolutionOptions,
)
from hilnas.strategies.netadapt import NetAdapt, NetAdaptOptions
from hilnas.strategies.optuna_samplers import Gp, GpOptions, Nsga2, Nsga2Options, Tpe, TpeOptions
from hilnas.strategies.progressive import Progressive, ProgressiveOptions
from hilnas.strategies.random import Random, RandomOptions
from hilnas.strategies.rl import Controller, ControllerOptions
from hilnas.tasks.digits import Digits, DigitsOptions
from hilnas.testing import (
    EstimatorContract,
    ExecutorContract,
    RuntimeContract,
    SpaceContract,
    StrategyContract,
    TaskContract,
)


class TestRandom(StrategyContract):
    @pytest.fixture
    def strategy(self):
        return lambda problem, seed: Random(problem, RandomOptions(), seed)


class TestRl(StrategyContract):
    @pytest.fixture
    def strategy(self):
        return lambda problem, seed: Controller(problem, ControllerOptions(), seed)


class TestRlFront(StrategyContract):
    @pytest.fixture
    def strategy(self):
        return lambda problem, seed: Controller(problem, ControllerOptions(aim="front"), seed)


class TestDarts(StrategyContract):
    @pytest.fixture
    def strategy(self):
        return lambda problem, seed: Darts(problem, DartsOptions(), seed)


class TestEnas(StrategyContract):
    @pytest.fixture
    def strategy(self):
        return lambda problem, seed: Enas(problem, EnasOptions(), seed)


class TestEvolution(StrategyContract):
    @pytest.fixture
    def strategy(self):
        return lambda problem, seed: Evolution(problem, EvolutionOptions(population=8, tournament=3), seed)


class TestMultiObjectiveEvolution(StrategyContract):
    @pytest.fixture
    def strategy(self):
        return lambda problem, seed: MultiObjectiveEvolution(
            problem, MultiObjectiveEvolutionOptions(population=8), seed
        )


class TestLocalSearch(StrategyContract):
    @pytest.fixture
    def strategy(self):
        return lambda problem, seed: LocalSearch(problem, LocalSearchOptions(starts=3), seed)


class TestTpe(StrategyContract):
    @pytest.fixture
    def strategy(self):
        return lambda problem, seed: Tpe(problem, TpeOptions(startup=5), seed)


class TestMultivariateTpe(StrategyContract):
    @pytest.fixture
    def strategy(self):
        return lambda problem, seed: Tpe(problem, TpeOptions(startup=5, multivariate=True), seed)


class TestGp(StrategyContract):
    @pytest.fixture
    def space(self):  # the fewer the decisions, the faster the model
        options = MBConvOptions(stage_widths=[[8, 16]], stage_depths=[[1, 2]], stage_strides=[2])
        return MBConv((1, 32, 32), 10, options)

    @pytest.fixture
    def strategy(self):
        return lambda problem, seed: Gp(problem, GpOptions(startup=11), seed)


class TestNsga2(StrategyContract):
    @pytest.fixture
    def strategy(self):
        return lambda problem, seed: Nsga2(problem, Nsga2Options(population=6), seed)


class TestProgressive(StrategyContract):
    @pytest.fixture
    def strategy(self):
        return lambda problem, seed: Progressive(problem, ProgressiveOptions(beam=4, expansions=8), seed)


class TestGenerative(StrategyContract):
    @pytest.fixture
    def strategy(self):
        return lambda problem, seed: Generative(problem, GenerativeOptions(startup=6, elite=3), seed)


class TestNetAdapt(StrategyContract):
    @pytest.fixture
    def strategy(self):
        return lambda problem, seed: NetAdapt(problem, NetAdaptOptions(), seed)


class TestMBConvOnGreyImages(SpaceContract):
    @pytest.fixture
    def space(self):
        return MBConv((1, 32, 32), 10)


class TestMBConvOnColourImages(SpaceContract):
    @pytest.fixture
    def space(self):
        return MBConv((3, 33, 33), 7, MBConvOptions(stem_strides=[1, 2], resolutions=[0.5, 1.0]))


class TestMBConvOnLogMel(SpaceContract):
    @pytest.fixture
    def space(self):
        return MBConv((1, 49, 40), 12)


class TestDigits(TaskContract):
    @pytest.fixture
    def task(self):
        return Digits(DigitsOptions(size=16), seed=1)


class TestTrain(EstimatorContract):
    @pytest.fixture
    def estimator(self):
        return Train(TrainOptions(epochs=1, subset=64))


class TestMultiFidelity(EstimatorContract):
    @pytest.fixture
    def estimator(self):
        return MultiFidelity(
            MultiFidelityOptions(first_epochs=1, epochs=2, eta=2, first_subset=0.1, first_resolution=0.75)
        )


class TestSupernet(EstimatorContract):
    @pytest.fixture
    def estimator(self):
        return Supernet(SupernetOptions(epochs=1, subset=128, paths=1, recalibration=128))


class TestZeroCost(EstimatorContract):
    @pytest.fixture
    def estimator(self):
        return ZeroCost(ZeroCostOptions(proxy="naswot", reference=8, batch=16))


class TestZeroCostByVote(EstimatorContract):
    @pytest.fixture
    def estimator(self):
        return ZeroCost(ZeroCostOptions(proxy=["synflow", "zico", "macs"], reference=8, batch=16))


@pytest.mark.parametrize("preload", [["hilnas.testing.executors"], []], ids=["forked", "fresh"])
class TestLocalProcesses(ExecutorContract):
    @pytest.fixture
    def make(self, preload):
        return lambda folder: LocalProcesses(LocalOptions(workers=2, retries=1, preload=preload), folder)


@pytest.mark.parametrize("name", ["ai-edge-litert", "tflite-runtime"])
class TestRuntimes(RuntimeContract):
    @pytest.fixture
    def runtime(self, name):
        from importlib.metadata import entry_points

        (entry,) = entry_points(group="hilnas_agent.runtimes", name=name)
        return entry.load()()


@pytest.mark.parametrize("axis", list(Axis))
def test_every_entry_point_loads(axis):
    for name in names(axis):
        assert find(axis, name).Options is not None
