import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilnas.predictors.encodings import Encoder
from hilnas.spaces.mbconv import MBConv, MBConvOptions

SPACE = MBConv((1, 32, 32), 10)
ENCODER = Encoder(SPACE)
seeds = st.integers(0, 10**6).map(np.random.default_rng)


@given(seeds)
def test_rows_and_architectures_are_one(generator):
    drawn = [SPACE.sample(generator) for _ in range(5)]
    rows = ENCODER.encode(drawn)
    assert [ENCODER.decode(row) for row in rows] == drawn
    assert (rows < ENCODER.sizes).all()


@given(seeds)
def test_draws_are_points(generator):
    for row in ENCODER.draw(8, generator):
        architecture = ENCODER.decode(row)
        assert SPACE.check(architecture) == architecture
        assert (ENCODER.encode([architecture])[0] == row).all()


@given(seeds)
def test_a_change_is_of_one_live_decision_and_what_hangs_on_it(generator):
    rows = ENCODER.draw(8, generator)
    for before, after in zip(rows, ENCODER.changed(rows, generator), strict=True):
        one, other = ENCODER.decode(before), ENCODER.decode(after)
        assert SPACE.check(other) == other
        common = {name for name, _ in one.decisions} & {name for name, _ in other.decisions}
        assert sum(one[name] != other[name] for name in common) == 1


@given(seeds)
def test_single_changes_are_all_of_them(generator):
    row = ENCODER.draw(1, generator)
    architecture = ENCODER.decode(row[0])
    found = [ENCODER.decode(changed) for changed in ENCODER.single_changes(row, generator)]
    choices = {decision.name: len(decision.choices) for decision in SPACE.decisions}
    assert len(found) == sum(choices[name] - 1 for name, _ in architecture.decisions)
    assert len(set(found)) == len(found)
    assert set(SPACE.neighbours(architecture)) <= set(found)


def test_many_numbers_have_places_and_others_have_none():
    options = MBConvOptions(kernels=[3, 5, 7, 9, 11, 13, 15, 17, 19])
    encoder = Encoder(MBConv((1, 32, 32), 10, options))
    decisions = [decision.name for decision in encoder.space.decisions]
    kernel = encoder.groups[decisions.index("stage1.block1.kernel")]
    assert encoder.positions[kernel].tolist() == pytest.approx([*(n / 8 for n in range(9)), 0.0])
    assert encoder.positions[encoder.groups[decisions.index("stage1.activation")]] is None
    assert encoder.positions[encoder.groups[decisions.index("stem.width")]] is None
