"""The file of a supernet: it comes back whole, and what is none, or of another space, is refused."""

import pickle
from dataclasses import replace

import pytest
import torch

from hilnas.spaces.mbconv import MBConv, MBConvOptions
from hilnas.supernet.file import SupernetError, SupernetFile
from hilnas.supernet.shared import SharedWeights

SPACE = MBConv((1, 16, 16), 4, MBConvOptions(resolutions=[1.0], kernels=[3]))
ORIGIN = {"task": {"name": "digits"}, "space": {"name": "mbconv"}, "seed": 3}


@pytest.fixture(scope="module")
def content():
    torch.manual_seed(0)
    return SupernetFile.of(SharedWeights(SPACE), ORIGIN, {"epochs": 2}).to_bytes()


def test_it_comes_back_whole(content):
    file = SupernetFile.from_bytes(content, "net.pt")
    file.check(SPACE, "net.pt")
    assert file.origin == ORIGIN
    assert file.training == {"epochs": 2}
    torch.manual_seed(0)
    fresh = SharedWeights(SPACE).module.state_dict()
    assert file.weights.keys() == fresh.keys()
    assert all(torch.equal(file.weights[name], tensor) for name, tensor in fresh.items())


class _Code:
    def __reduce__(self):
        return print, ("code in a file was run",)


@pytest.mark.parametrize("what", ["torn", "empty", "text", "code", "other"])
def test_what_is_none_is_refused_by_name(content, what, capsys, tmp_path):
    torch.save({"format": 99}, tmp_path / "other.pt")
    garbage = {
        "torn": content[:-200],
        "empty": b"",
        "text": b"not a file of torch",
        "code": pickle.dumps(_Code()),
        "other": (tmp_path / "other.pt").read_bytes(),
    }
    with pytest.raises(SupernetError, match=r"net\.pt is no supernet"):
        SupernetFile.from_bytes(garbage[what], "net.pt")
    assert capsys.readouterr().out == ""


def test_another_space_is_named(content):
    file = SupernetFile.from_bytes(content, "net.pt")
    other = MBConv((1, 16, 16), 4, MBConvOptions(resolutions=[1.0], kernels=[3], stem_widths=[8, 24]))
    with pytest.raises(SupernetError, match=r"stem\.width is \[8, 16\], the recipe's \[8, 24\]"):
        file.check(other, "net.pt")


@pytest.mark.parametrize("damage", ["missing", "narrow", "no tensor", "strange"])
def test_weights_that_are_not_those_of_the_space_are_named(content, damage):
    file = SupernetFile.from_bytes(content, "net.pt")
    weights, key = dict(file.weights), "net.classifier.weight"
    if damage == "missing":
        del weights[key]
    elif damage == "narrow":
        weights[key] = weights[key][:, :-1]
    elif damage == "no tensor":
        weights[key] = 7
    else:
        key = "something.else"
        weights[key] = torch.zeros(1)
    with pytest.raises(SupernetError, match=f"its tensor {key}"):
        replace(file, weights=weights).check(SPACE, "net.pt")
