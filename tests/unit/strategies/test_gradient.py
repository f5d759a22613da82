"""Gradient-based searches: gates, expected latency, the bilevel step, and what is proposed in the end."""

import math

import numpy as np
import pytest
import torch

from hilnas.objectives import Objective, Quantity
from hilnas.options import OptionsError
from hilnas.spaces.mbconv import MBConv, MBConvOptions
from hilnas.store.latency_table import TableError
from hilnas.strategies import Problem
from hilnas.strategies.gradient import Darts, DartsOptions, ProxylessOptions
from hilnas.strategies.gradient.gates import ArchitectureParameters, most_probable
from hilnas.strategies.gradient.latency import ExpectedLatency
from hilnas.strategies.gradient.search import GradientSearch
from hilnas.strategies.gradient.strategy import expected_latency, ranked
from hilnas.tasks.digits import Digits, DigitsOptions

TASK = Digits(DigitsOptions(size=16, training_examples=256))
SPACE = MBConv(
    TASK.shape,
    TASK.classes,
    MBConvOptions(
        resolutions=[0.75, 1.0],
        kernels=[3, 5],
        stem_widths=[8],
        stage_widths=[[8], [8, 12]],
        stage_depths=[[1], [1, 2]],
        stage_strides=[1, 2],
        expansions=[1, 2],
        activations=["relu6"],
        squeeze_excite=[False],
        head_width=16,
        dropout=0.0,
    ),
)


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _latency(key):
    """A device on which large kernels are dear, and all else costs a little."""
    return 1.0 if " k5 " in f" {key} " else 0.1


def _search(options=None, seed=0, target_ms=None):
    options = options or DartsOptions(epochs=2, batch=32, frozen_share=0.2, architecture_rate=0.1)
    latency = ExpectedLatency(SPACE, _latency)
    return GradientSearch(SPACE, TASK, options, seed, latency, target_ms)


def _draw(count=20):
    generator = np.random.default_rng(0)
    return [SPACE.sample(generator) for _ in range(count)]


def _one_hot(architecture):
    gates = {}
    for decision in SPACE.decisions:
        value = architecture.get(decision.name)
        gates[decision.name] = torch.zeros(len(decision.choices))
        gates[decision.name][decision.choices.index(value) if value is not None else 0] = 1
    return gates


@pytest.mark.parametrize("kind", ["softmax", "gumbel", "binary"])
def test_gates_sum_to_one_and_pass_gradients(kind):
    torch.manual_seed(0)
    parameters = ArchitectureParameters(SPACE)
    gates = parameters.gates(kind, 1.0)
    for decision in SPACE.decisions:
        assert float(gates[decision.name].detach().sum()) == pytest.approx(1.0)
    if kind == "binary":
        assert all(sorted(gate.tolist())[-1] == 1.0 for gate in gates.values())
    gates["stage1.block1.kernel"][0].backward()
    slope = parameters.named()["stage1.block1.kernel"].grad
    assert slope[0] > 0 > slope[1]


def test_binary_gates_take_the_gradient_of_the_probabilities():
    torch.manual_seed(0)
    parameters = ArchitectureParameters(SPACE)
    logits = parameters.named()["stage2.block1.kernel"]
    logits.data = torch.tensor([0.3, -0.7])
    weights = torch.tensor([2.0, 5.0])
    (parameters.gates("binary")["stage2.block1.kernel"] * weights).sum().backward()
    through = logits.grad.clone()
    logits.grad = None
    (logits.softmax(0) * weights).sum().backward()
    torch.testing.assert_close(through, logits.grad)


def test_expected_latency_of_a_certain_net_is_the_sum_of_its_parts():
    latency = ExpectedLatency(SPACE, _latency, slope=2.0, intercept_ms=0.5)
    for net in _draw():
        total = sum(_latency(part.key) for part in SPACE.parts(net))
        assert float(latency(_one_hot(net))) == pytest.approx(2 * total + 0.5, rel=1e-5)


def test_expected_latency_is_the_mean_over_drawn_nets():
    latency = ExpectedLatency(SPACE, _latency)
    probabilities = {d.name: torch.full((len(d.choices),), 1 / len(d.choices)) for d in SPACE.decisions}
    drawn = [sum(_latency(part.key) for part in SPACE.parts(net)) for net in _draw(2000)]
    error = np.std(drawn) / math.sqrt(len(drawn))
    assert float(latency(probabilities)) == pytest.approx(np.mean(drawn), abs=4 * error)


def test_the_second_order_is_the_gradient_through_a_step_of_the_weights(monkeypatch):
    # By doubles and a short step: what is left of the finite difference's error is that of its idea.
    monkeypatch.setattr("hilnas.strategies.gradient.search.REACH", 1e-5)
    options = DartsOptions(epochs=1, batch=32, order=2, label_smoothing=0.0)
    search = _search(options)
    train, held = search._train.at(1), search._held.at(1)
    search.mixture.double()
    search.parameters.double()
    train, held = ((images.double(), labels) for images, labels in (train, held))
    rate = 0.1
    search._second_order(train, held, rate)
    parameters = list(search.parameters.parameters())
    found = [p.grad.clone() if p.grad is not None else torch.zeros_like(p) for p in parameters]

    def loss(weights, batch):
        search.mixture._tensors = weights
        logits = search.mixture(batch[0], search.parameters.gates("softmax"))
        return torch.nn.functional.cross_entropy(logits, batch[1])

    weights = dict(search.mixture.shared.named_parameters())
    slopes = torch.autograd.grad(
        loss(weights, train), list(weights.values()), create_graph=True, allow_unused=True
    )
    moved = {
        name: weight - rate * slope if slope is not None else weight
        for (name, weight), slope in zip(weights.items(), slopes, strict=True)
    }
    exact = torch.autograd.grad(loss(moved, held), parameters, allow_unused=True)
    first = torch.autograd.grad(loss(weights, held), parameters, allow_unused=True)
    decided = [place for place, parameter in enumerate(parameters) if len(parameter) > 1]
    ours, true, naive = (torch.cat([some[place] for place in decided]) for some in (found, exact, first))
    assert (true - naive).norm() > 0.1 * naive.norm()  # the second order says something here
    assert (ours - true).norm() < 0.05 * (true - naive).norm()


@pytest.mark.parametrize("order", [1, 2])
def test_it_goes_on_exactly(order):
    options = DartsOptions(epochs=1, batch=32, order=order, frozen_share=0.0)
    whole = _search(options)
    whole.run()
    first = _search(options)
    first.run(until=2)
    second = _search(options)
    assert second.restore(first.checkpoint())
    second.run()
    for ours, theirs in zip(whole.parameters.parameters(), second.parameters.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    other = _search(options, seed=1)
    assert not other.restore(first.checkpoint())
    assert not other.restore(first.checkpoint()[:100])
    assert other.step == 0


@pytest.mark.parametrize("gates", ["softmax", "gumbel", "binary"])
def test_latency_beyond_the_target_is_given_up(gates):
    options = DartsOptions(
        epochs=4, batch=32, gates=gates, architecture_rate=0.2, latency_weight=3.0, frozen_share=0.1
    )
    search = _search(options, target_ms=0.7)
    before = search.expected_ms()
    search.run()
    assert before > 1.0
    assert search.expected_ms() < 0.8 * before
    derived = search.parameters.derived()
    assert all(value == 3 for name, value in derived.decisions if name.endswith("kernel"))


def test_nets_come_in_order_and_each_once():
    logs = {d.name: torch.linspace(0, 1, len(d.choices)).log_softmax(0).tolist() for d in SPACE.decisions}
    found = [net for net, _ in ranked(SPACE, logs)]
    assert len(found) == len(set(found)) == SPACE.size
    assert found[0] == most_probable(SPACE, logs)
    flat = MBConv(
        (1, 16, 16), 4, MBConvOptions(stage_depths=[[1]], stage_widths=[[8, 16]], stage_strides=[1])
    )
    logs = {d.name: torch.linspace(0, 2, len(d.choices)).log_softmax(0).tolist() for d in flat.decisions}
    values = [log for _, log in ranked(flat, logs)]
    assert len(values) == flat.size
    assert values == sorted(values, reverse=True)


def test_what_was_prepared_is_proposed(tmp_path):
    objectives = (Objective(quantity=Quantity.ACCURACY),)
    options = ProxylessOptions(epochs=1, batch=32)
    content = Darts.prepare(SPACE, TASK, objectives, options, 0, 1)
    assert content == Darts.prepare(SPACE, TASK, objectives, options, 0, 1)
    strategy = Darts(Problem(SPACE, objectives, prepared=content), options, 0)
    proposed = [strategy.propose([]) for _ in range(4)]
    assert len({proposal.architecture for proposal in proposed}) == 4
    again = Darts(Problem(SPACE, objectives, prepared=content), options, 0)
    assert [again.propose([]) for _ in range(4)] == proposed


def test_a_latency_without_a_table_is_refused(tmp_path):
    latency = Objective(quantity=Quantity.LATENCY, device_class="pi", target=1.0)
    with pytest.raises(OptionsError, match=r"strategy\.table"):
        expected_latency(SPACE, (latency,), DartsOptions())
    assert expected_latency(SPACE, (Objective(quantity=Quantity.ACCURACY),), DartsOptions()) == (None, None)
    with pytest.raises(TableError, match="cannot be read"):
        expected_latency(SPACE, (latency,), DartsOptions(table=tmp_path / "none.jsonl"))
