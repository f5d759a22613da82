"""Ranks among a sample, the sample itself, and what is asked of proxies."""

import numpy as np
import pytest
import torch

from hilnas.options import OptionsError, parse_options
from hilnas.proxies import PROXIES, WORST, ProxyScore, Reference, Scorer, sample, told
from hilnas.proxies.options import FilterOptions, ProxyOptions
from hilnas.spaces.mbconv import MBConv, MBConvOptions
from hilnas.tasks.digits import Digits, DigitsOptions

TASK = Digits(DigitsOptions(size=16))
SPACE = MBConv(TASK.shape, TASK.classes, MBConvOptions(resolutions=[0.5, 1.0], kernels=[3]))


def scores(**values):
    return {name: ProxyScore(value) for name, value in values.items()}


def test_a_rank_is_the_share_that_is_beaten_and_ties_count_half():
    reference = Reference.of([scores(a=value) for value in (1.0, 2.0, 2.0, 5.0)])
    ranks = [reference.rank(scores(a=value)) for value in (0.0, 1.0, 2.0, 3.0, 9.0)]
    assert ranks == pytest.approx([0.5 / 5, 1.0 / 5, 2.5 / 5, 3.5 / 5, 4.5 / 5])


def test_what_has_no_score_ranks_last():
    reference = Reference.of([scores(a=value) for value in (-1e9, 0.0, WORST)])
    assert reference.rank(scores(a=WORST)) == pytest.approx(1.0 / 4)
    assert reference.rank(scores(a=-1e12)) == pytest.approx(1.5 / 4)


def test_several_proxies_vote_whatever_their_scales():
    members = [scores(a=1.0, b=3e9), scores(a=2.0, b=1e9), scores(a=3.0, b=2e9)]
    reference = Reference.of(members)
    # Mean ranks of the members are (1 + 3) / 2, (2 + 1) / 2 and (3 + 2) / 2.
    assert [reference.rank(member) for member in members] == pytest.approx([2 / 4, 1 / 4, 3 / 4])
    assert reference.rank(scores(a=9.0, b=9e9)) == pytest.approx(3.5 / 4)


def test_the_vote_of_one_is_its_own_rank():
    values = np.random.default_rng(0).normal(size=50)
    one, two = (
        Reference.of([scores(**dict.fromkeys(names, value)) for value in values]) for names in ("a", "ab")
    )
    for value in (-3.0, 0.1, float(values[3])):
        assert two.rank(scores(a=value, b=value)) == one.rank(scores(a=value))


def test_the_error_of_a_rank_is_what_samples_differ_by():
    generator = np.random.default_rng(0)
    samples = [Reference.of([scores(a=value) for value in generator.normal(size=64)]) for _ in range(400)]
    ranks = [reference.rank(scores(a=0.5)) for reference in samples]
    assert samples[0].error(float(np.mean(ranks))) == pytest.approx(np.std(ranks), rel=0.15)


def test_a_reference_travels_as_bytes():
    reference = Reference.of([scores(a=1.5, b=WORST), scores(a=0.1 + 0.2, b=4.0)])
    assert Reference.from_bytes(reference.to_bytes()) == reference


def test_a_sample_is_distinct_and_longer_ones_begin_with_shorter_ones():
    drawn = sample(SPACE, 40, 3)
    assert len(set(drawn)) == 40
    assert sample(SPACE, 10, 3) == drawn[:10]
    assert sample(SPACE, 10, 4) != drawn[:10]
    small = MBConv(TASK.shape, TASK.classes, MBConvOptions(
        resolutions=[1.0], kernels=[3], stem_widths=[8], stage_widths=[[8, 16]], stage_depths=[[1]],
        stage_strides=[2], expansions=[1, 3], squeeze_excite=[False], activations=["relu6"],
    ))  # fmt: skip
    assert len(sample(small, 40, 0)) == small.size == 4


def test_scores_follow_from_seed_and_architecture_alone():
    options = ProxyOptions(proxy="+".join(PROXIES), batch=8)
    first, second = sample(SPACE, 2, 0)
    torch.manual_seed(99)
    state = torch.random.get_rng_state()
    forth = [Scorer(SPACE, TASK, options, 0).scores(a) for a in (first, second)]
    assert torch.equal(torch.random.get_rng_state(), state)
    scorer = Scorer(SPACE, TASK, options, 0)
    back = [scorer.scores(a) for a in (second, first)]
    assert forth == back[::-1]
    assert all(score.reason == "" for found in forth for score in found.values())
    other = Scorer(SPACE, TASK, options, 1).scores(first)
    assert {name for name in PROXIES if other[name] != forth[0][name]} == set(PROXIES) - {
        "parameters",
        "macs",
    }


def test_batches_are_of_training_data_and_share_no_example():
    scorer = Scorer(SPACE, TASK, ProxyOptions(proxy="zico", batch=16, batches=3), 0)
    batches = scorer._at((16, 16))
    assert [batch.inputs.shape for batch in batches] == [(16, 1, 16, 16)] * 3
    rows = {tuple(row.tolist()) for batch in batches for row in batch.inputs.flatten(1)}
    training = TASK.normalisation.apply(TASK.split("train").images).reshape(-1, 256)
    assert len(rows) == 48
    assert rows <= {tuple(row.tolist()) for row in training}


def test_what_was_saved_is_not_scored_again(monkeypatch):
    options = ProxyOptions(proxy="parameters+macs", batch=4)
    drawn, kept, shares = sample(SPACE, 4, 0), [], []
    whole = Scorer(SPACE, TASK, options, 0).all_of(drawn, shares.append, kept.append, None)
    assert shares == [0.25, 0.5, 0.75, 1.0]
    built = []
    build = SPACE.build
    monkeypatch.setattr(SPACE, "build", lambda a: built.append(a) or build(a))
    again = Scorer(SPACE, TASK, options, 0).all_of(drawn, shares.append, kept.append, kept[-1])
    assert again == whole
    assert built == []
    for other in (b"{torn", b"[]", None):
        Scorer(SPACE, TASK, options, 0).all_of(drawn[:1], shares.append, kept.append, other)
    Scorer(SPACE, TASK, options, 1).all_of(drawn[:1], shares.append, kept.append, kept[0])
    assert built == drawn[:1] * 4


def test_a_record_is_told_the_number_and_why_there_is_none():
    assert told({"a": ProxyScore(1.5), "b": ProxyScore(WORST, "it is nan")}) == {
        "a": 1.5,
        "b": WORST,
        "b: why": "it is nan",
    }


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"proxy": "naswt"}, r'"filter\.proxy".*no proxy "naswt": did you mean "naswot"'),
        ({"proxy": "synflow+"}, 'no proxy ""'),
        ({"proxy": []}, "name a proxy, or several"),
        ({"proxy": "snip+snip"}, "there twice"),
        ({"proxy": "snip", "keep": 1.0}, r"filter\.keep"),
        ({}, '"filter.proxy" is missing'),
    ],
)
def test_mistakes_are_named(data, message):
    with pytest.raises(OptionsError, match=message):
        parse_options(FilterOptions, data, "filter")


def test_several_proxies_are_written_either_way():
    assert ProxyOptions(proxy="synflow+naswot") == ProxyOptions(proxy=["synflow", "naswot"])
    whole = ProxyOptions(proxy="synflow+naswot")
    assert ProxyOptions(**whole.model_dump(mode="json")) == whole
