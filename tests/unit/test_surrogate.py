"""The surrogate: what a predictor makes of records."""

from contextlib import closing

import numpy as np
import pytest
from scipy.stats import kendalltau

from hilnas.estimators.surrogate import Surrogate, SurrogateOptions
from hilnas.options import OptionsError
from hilnas.spaces.mbconv import MBConv, MBConvOptions
from hilnas.store import EventKind, Record
from hilnas.store.codec import dump
from hilnas.tasks.digits import Digits
from hilnas.testing import EstimatorContract
from hilnas.trial import Estimate, Proposal

TASK = Digits()
SPACE = MBConv(TASK.shape, TASK.classes, MBConvOptions(resolutions=[1.0], kernels=[3, 5]))


def _truth(net):
    """Larger nets and larger kernels are better, with less and less to gain."""
    kernels = np.mean([value for name, value in net.decisions if name.endswith("kernel")])
    return float(1 - 1 / np.log(SPACE.features(net)["macs"]) + 0.01 * kernels)


def _drawn(count, seed=0, space=SPACE):
    generator = np.random.default_rng(seed)
    return [space.sample(generator) for _ in range(count)]


def _record(folder, nets, kind=EventKind.TRAINED_IN_FULL, key="0", task="digits", value=_truth):
    folder.mkdir(exist_ok=True)
    with closing(Record.in_folder(folder)) as record:
        search = record.start_search("s", 0, {"task": {"name": task}}, {})
        for number, net in enumerate(nets):
            record.append(search.id, EventKind.PROPOSED, number, payload=dump(Proposal(net)))
            estimate = Estimate("full" if kind is EventKind.TRAINED_IN_FULL else "train", value(net), 0.004)
            record.append(search.id, kind, number, key, {"estimate": dump(estimate), "seconds": 1.0})
    return folder


def _ready(*folders, **options):
    surrogate = Surrogate(SurrogateOptions(records=folders, **options))
    return surrogate.prepared(surrogate.prepare(SPACE, TASK, 0, 1, {"task": {"name": "digits"}}))


@pytest.mark.parametrize("predictor", ["gp", "ensemble"])
def test_it_ranks_what_it_has_not_seen(predictor, tmp_path):
    ready = _ready(_record(tmp_path / "study", _drawn(60)), predictor=predictor)
    nets = _drawn(40, seed=1)
    found = [ready.estimate(net, SPACE, TASK, 0).estimate for net in nets]
    assert kendalltau([one.accuracy for one in found], [_truth(net) for net in nets]).statistic > 0.6
    assert all(one.accuracy_se > 0 and one.details["figures"] == "full" for one in found)


def test_it_knows_what_it_has_learned_from(tmp_path):
    nets = _drawn(20)
    ready = _ready(_record(tmp_path / "study", nets[:12]))
    assert [ready.knows(net) for net in nets] == [net in nets[:12] for net in nets]
    assert not all(ready.knows(net) for net in nets)


def test_figures_of_two_kinds_are_never_mixed(tmp_path):
    study = _record(tmp_path / "study", _drawn(12))
    search = _record(tmp_path / "run", _drawn(30, seed=2), EventKind.ESTIMATED, "", value=lambda net: 0.1)
    ready = _ready(study, search, least=10)
    assert ready.estimate(_drawn(1, seed=3)[0], SPACE, TASK, 0).estimate.accuracy > 0.5
    ready = _ready(study, search, least=20)
    found = ready.estimate(_drawn(1, seed=3)[0], SPACE, TASK, 0).estimate
    assert found.accuracy == pytest.approx(0.1, abs=0.02)
    assert found.details == {"learned_from": 30.0, "figures": "train"}


def test_what_cannot_be_learned_from_is_named(tmp_path):
    other = MBConv(TASK.shape, TASK.classes, MBConvOptions(resolutions=[1.0], kernels=[7]))
    strange = _record(tmp_path / "strange", _drawn(20, space=other))
    with pytest.raises(OptionsError, match="hold 0 architectures of this space and task"):
        _ready(strange)
    with pytest.raises(OptionsError, match="hold 0 architectures of this space and task"):
        _ready(_record(tmp_path / "words", _drawn(20), task="npz"))
    with pytest.raises(OptionsError, match=r"which holds no record\.sqlite"):
        _ready(tmp_path / "nowhere")


class TestContract(EstimatorContract):
    @pytest.fixture
    def estimator(self, space, task, tmp_path):
        nets = _drawn(10, space=space)
        return Surrogate(
            SurrogateOptions(records=(_record(tmp_path / "study", nets, value=lambda net: 0.5),))
        )
