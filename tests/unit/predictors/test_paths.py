import numpy as np
import pytest

from hilnas.predictors.paths import PathEncoding

EDGES = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]
"""Of NAS-Bench-201, in the order of its tables; operations 0 none, 1 skip, 2 and 3 convolutions, 4 pooling."""


def test_paths_of_nas_bench_201_by_hand():
    encoding = PathEncoding(EDGES, operations=5)
    assert encoding.paths == [[3], [0, 4], [1, 5], [0, 2, 5]]
    assert encoding.width == 5 + 25 + 125
    encoded = encoding.encode(np.array([[2, 1, 3, 4, 0, 2]]))
    direct, by_one, by_two, by_both = 4, 5 + 2 * 5 + 0, 5 + 1 * 5 + 2, 30 + 2 * 25 + 3 * 5 + 2
    assert set(np.flatnonzero(encoded[0])) == {direct, by_one, by_two, by_both}


def test_what_is_absent_breaks_its_paths():
    encoding = PathEncoding(EDGES, operations=5, absent=0)
    encoded = encoding.encode(np.array([[2, 1, 3, 4, 0, 2], [0, 0, 3, 0, 3, 3]]))
    assert set(np.flatnonzero(encoded[0])) == {4, 12, 97}
    assert not encoded[1].any()


def test_equal_paths_through_other_nodes_are_one():
    encoding = PathEncoding(EDGES, operations=5, absent=0)
    one, other = encoding.encode(np.array([[2, 0, 0, 0, 3, 0], [0, 2, 0, 0, 0, 3]]))
    assert (one == other).all()
    assert one.sum() == 1


def test_truncation_keeps_the_first():
    rows = np.random.default_rng(0).integers(0, 5, (50, 6))
    whole = PathEncoding(EDGES, 5, 0)
    for kept in (3, 30, 41, 1000):
        cut = PathEncoding(EDGES, 5, 0, kept)
        assert cut.width == min(kept, 155)
        assert (cut.encode(rows) == whole.encode(rows)[:, :kept]).all()


@pytest.mark.parametrize(
    ("edges", "message"),
    [([(0, 1), (2, 3)], "one source"), ([(0, 1), (1, 2), (2, 1), (1, 3)], "circle"), ([], "one source")],
)
def test_what_is_no_cell_is_refused(edges, message):
    with pytest.raises(ValueError, match=message):
        PathEncoding(edges, 3)


def test_unknown_operations_are_refused():
    with pytest.raises(ValueError, match="from 0 to 4"):
        PathEncoding(EDGES, 5).encode(np.array([[0, 0, 0, 0, 0, 5]]))
