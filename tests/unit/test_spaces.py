import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hilnas.export import check_int8, export_int8
from hilnas.spaces import BlockSummary, Decision, Space, SpaceError
from hilnas.spaces.mbconv import MBConv, MBConvOptions
from hilnas.trial import Architecture


class Plain(Space):
    """A space without modules, for what concerns decisions alone."""

    def __init__(self, *decisions):
        super().__init__("plain", tuple(decisions))

    def build(self, architecture):
        raise AssertionError("not built here")

    def input_shape(self, architecture):
        return (1, 8, 8)

    def describe(self, architecture):
        return [BlockSummary("all", "plain", (1, 1, 1), {})]

    @property
    def settings(self):
        return {}


def enumerate_all(space, chosen=None):
    chosen = chosen or {}
    decision = space.next_decision(chosen)
    if decision is None:
        yield space.architecture(chosen)
        return
    for value in decision.choices:
        yield from enumerate_all(space, {**chosen, decision.name: value})


@st.composite
def forests(draw):
    decisions = []
    for number in range(draw(st.integers(1, 6))):
        choices = tuple(range(draw(st.integers(1, 3))))
        parent = draw(st.none() | st.sampled_from(decisions)) if decisions else None
        when = frozenset(draw(st.sets(st.sampled_from(parent.choices)))) if parent else frozenset()
        decisions.append(Decision(f"d{number}", choices, parent.name if parent else None, when))
    return Plain(*decisions)


@given(forests())
@settings(max_examples=60, deadline=None)
def test_size_counts_every_architecture_once(space):
    everything = list(enumerate_all(space))
    assert len(set(everything)) == len(everything) == space.size


@given(forests(), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_mutants_and_neighbours_stay_inside(space, seed):
    generator = np.random.default_rng(seed)
    architecture = space.sample(generator)
    if any(len(d.choices) > 1 and architecture.get(d.name) is not None for d in space.decisions):
        assert space.check(space.mutate(architecture, generator)) != architecture
    for neighbour in space.neighbours(architecture):
        assert space.check(neighbour) == neighbour != architecture


def test_digest_is_stable_over_versions():
    architecture = Architecture("mbconv", (("a", 1), ("b", True), ("c", "x")))
    assert architecture.digest == "07f8e52f6923fdc3599383e98e779a2a96208e92f38a096d19a9be4be697931c"


def test_true_is_not_one():
    space = Plain(Decision("flag", (False, True)), Decision("count", (1, 2)))
    with pytest.raises(SpaceError, match="flag"):
        space.architecture({"flag": 1, "count": 1})
    with pytest.raises(SpaceError, match="count"):
        space.architecture({"flag": True, "count": True})


@pytest.mark.parametrize(
    ("decisions", "message"),
    [
        ([Decision("a", ())], "needs choices"),
        ([Decision("a", (1, 1))], "each once"),
        ([Decision("a", (1,)), Decision("a", (2,))], "twice"),
        ([Decision("b", (1,), "a", frozenset({1})), Decision("a", (1,))], "not before it"),
        ([Decision("a", (1,)), Decision("b", (1,), "a", frozenset({2}))], "never takes"),
    ],
)
def test_a_malformed_space_is_refused(decisions, message):
    with pytest.raises(SpaceError, match=message):
        Plain(*decisions)


def test_a_decision_that_is_not_live_must_be_left_out():
    space = MBConv((1, 32, 32), 10)
    architecture = space.sample(np.random.default_rng(0))
    chosen = {**dict(architecture.decisions), "stage1.depth": 1}
    chosen["stage1.block2.kernel"] = 3
    with pytest.raises(SpaceError, match=r"stage1\.block2\.kernel.*leave it out"):
        space.architecture(chosen)


def test_depth_skips_blocks_and_strides_halve():
    space = MBConv((3, 64, 64), 5, MBConvOptions(resolutions=[1.0], stage_depths=[[1], [2], [3]]))
    rows = space.describe(space.sample(np.random.default_rng(0)))
    assert [row.name for row in rows if row.name.startswith("stage")] == [
        "stage1.block1",
        "stage2.block1",
        "stage2.block2",
        "stage3.block1",
        "stage3.block2",
        "stage3.block3",
    ]
    assert [row.output[1] for row in rows] == [64, 32, 32, 16, 16, 8, 8, 8, 8, 1]


def test_description_matches_the_module():
    import torch

    space = MBConv((1, 49, 40), 12)
    for seed in range(5):
        architecture = space.sample(np.random.default_rng(seed))
        module = space.build(architecture).eval()
        features, shapes = module.stem(torch.zeros(1, *space.input_shape(architecture))), []
        for block in module.blocks:
            features = block(features)
            shapes.append(tuple(features.shape[1:]))
        rows = [row for row in space.describe(architecture) if row.name.startswith("stage")]
        assert shapes == [row.output for row in rows]


def test_too_small_inputs_are_refused():
    with pytest.raises(SpaceError, match="too small"):
        MBConv((1, 8, 8), 10)


def test_stage_lists_must_agree():
    with pytest.raises(SpaceError, match="same stages"):
        MBConv((1, 32, 32), 10, MBConvOptions(stage_strides=[1, 2]))


def test_a_neighbour_that_kills_a_decision_kills_its_children_too():
    space = Plain(
        Decision("d0", (0, 1)),
        Decision("d1", (0,), "d0", frozenset([1])),
        Decision("d2", (0,), "d1", frozenset([0])),
    )
    full = space.architecture({"d0": 1, "d1": 0, "d2": 0})
    assert list(space.neighbours(full)) == [space.architecture({"d0": 0})]


def test_static_features_are_those_of_the_exported_file():
    space = MBConv((1, 32, 32), 10)
    generator = np.random.default_rng(0)
    for _ in range(3):
        architecture = space.sample(generator)
        module = space.build(architecture).eval()
        facts = check_int8(export_int8(module, torch.randn(8, *space.input_shape(architecture))))
        features = space.features(architecture)
        assert features["macs"] == facts.macs
        assert features["parameters"] == pytest.approx(facts.parameters, rel=1e-3)


def test_parts_chain_to_the_net_and_are_all_listed():
    space = MBConv((1, 20, 16), 4)
    generator = np.random.default_rng(3)
    every = [part.key for part in space.every_part()]
    assert len(set(every)) == len(every)
    seen = set()
    for _ in range(200):
        seen |= {part.key for part in space.parts(space.sample(generator))}
    assert seen <= set(every)
    architecture = space.sample(generator)
    torch.manual_seed(0)
    features = torch.randn(2, *space.input_shape(architecture))
    for part in space.parts(architecture):
        assert tuple(features.shape[1:]) == part.input_shape, part.key
        features = part.build().eval()(features)
    assert tuple(features.shape) == (2, 4)


def test_the_modules_of_parts_hold_the_nets_own_parameters():
    space = MBConv((1, 16, 16), 4)
    architecture = space.sample(np.random.default_rng(4))
    whole = [tuple(p.shape) for p in space.build(architecture).parameters()]
    chained = [tuple(p.shape) for part in space.parts(architecture) for p in part.build().parameters()]
    assert chained == whole


def test_a_space_that_tells_no_parts_says_so():
    space = Plain(Decision("a", (1, 2)))
    with pytest.raises(SpaceError, match=r"Space\.parts"):
        space.parts(space.sample(np.random.default_rng(0)))
    with pytest.raises(SpaceError, match=r"Space\.every_part"):
        space.every_part()
