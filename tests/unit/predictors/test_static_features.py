import numpy as np
import pytest

from hilnas.predictors.encodings import Encoder, one_hot
from hilnas.predictors.static_features import StaticFeatures
from hilnas.strategies.common import architectures
from tests.unit.strategies.toys import NETS
from tests.unit.test_spaces import Plain


class Told(Plain):
    """Tells its width and a constant."""

    def features(self, architecture):
        return {"width": 2.0 ** architecture["width"], "one": float(architecture["depth"] < 9)}


SPACE = Told(*NETS.decisions)
NETS_ALL = list(architectures(NETS))


def test_one_hot_tells_architectures_apart():
    encoder = Encoder(NETS)
    encoded = one_hot(encoder.encode(NETS_ALL), encoder.choices)
    assert encoded.shape == (468, 3 + 3 + 9 + 2 + 2)
    assert len(np.unique(encoded, axis=0)) == 468
    assert all(encoded.sum(1) == [len(net.decisions) for net in NETS_ALL])
    assert (one_hot(encoder.encode(NETS_ALL), encoder.sizes).sum(1) == len(NETS.decisions)).all()


def test_features_are_logarithms_of_zero_mean_and_unit_deviation():
    features = StaticFeatures(SPACE, NETS_ALL)
    encoded = features.encode(NETS_ALL)
    assert features.names == ("width", "one")
    assert encoded.mean(0) == pytest.approx([0, 0], abs=1e-9)
    assert encoded.std(0) == pytest.approx([1, 0])
    few = [next(net for net in NETS_ALL if net["width"] == width) for width in (8, 16, 32)]
    low, middle, high = features.encode(few)[:, 0]
    assert high - middle == pytest.approx(2 * (middle - low))


def test_a_space_that_tells_nothing_has_no_columns():
    assert StaticFeatures(NETS, NETS_ALL[:5]).encode(NETS_ALL[:7]).shape == (7, 0)


def test_what_has_no_logarithm_is_refused():
    class Zero(Plain):
        def features(self, architecture):
            return {"macs": 0.0}

    with pytest.raises(ValueError, match='"macs" is not above 0'):
        StaticFeatures(Zero(*NETS.decisions), NETS_ALL[:3])
    with pytest.raises(ValueError, match="reference is empty"):
        StaticFeatures(NETS, [])
