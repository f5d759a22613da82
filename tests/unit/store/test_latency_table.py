"""Latency tables: sums of parts, how they rank whole nets, and a file that survives being cut off."""

import json

import pytest

from hilnas.store.latency_table import LatencyTable, TableError, TableHead
from hilnas.trial import Latency, Measurement, Verdict

HEAD = TableHead("mbconv", "pi", "default x1", "abc")


def _measured(ms, verdict=Verdict.TRUSTED):
    latency = Latency(ms, ms * 0.99, ms * 1.01, ms, ms, ms, 0, 1, 1, 1) if ms else None
    return Measurement("pi-1", "pi", "0" * 64, "abc", "x", verdict, latency=latency)


def _filled(path):
    table = LatencyTable(path, HEAD)
    for number in range(6):
        table.add_part(f"part {number}", _measured(1 + number))
    for first, second in [(0, 1), (2, 3), (4, 5), (1, 5)]:
        keys = [f"part {first}", f"part {second}"]
        table.add_net(keys, _measured(0.5 + 0.8 * table.sum_ms(keys)))
    return table


def test_nets_give_the_line_and_the_rank_of_sums(tmp_path):
    table = _filled(tmp_path / "t.jsonl")
    quality = table.quality()
    assert quality is not None
    assert (quality.nets, quality.kendall, quality.spearman) == (4, 1.0, 1.0)
    assert (quality.slope, quality.intercept_ms) == (pytest.approx(0.8), pytest.approx(0.5))
    assert quality.median_error < 1e-9 < quality.median_error_of_sum
    assert table.latency_ms(["part 0", "part 5"]) == pytest.approx(0.5 + 0.8 * 7)


def test_a_table_without_nets_is_the_plain_sum(tmp_path):
    table = LatencyTable(tmp_path / "t.jsonl", HEAD)
    table.add_part("a", _measured(2.0))
    assert table.quality() is None
    assert table.latency_ms(["a", "a"]) == 4.0


def test_a_table_comes_back_whole_and_a_torn_line_is_left_out(tmp_path):
    path = tmp_path / "t.jsonl"
    before = _filled(path)
    whole = path.read_bytes()
    again = LatencyTable(path, HEAD)
    assert (again.parts, again.nets) == (before.parts, before.nets)
    last = whole.rindex(b"\n", 0, -1) + 1
    for cut in (last + 1, len(whole) - 1):
        path.write_bytes(whole[:cut])
        torn = LatencyTable(path, HEAD)
        assert (len(torn.parts), len(torn.nets)) == (6, 3)
        torn.add_net(["part 1", "part 5"], _measured(7.0))
        assert len(LatencyTable(path, HEAD).nets) == 4
        for line in path.read_bytes().splitlines():
            json.loads(line)


def test_what_is_missing_is_named_and_what_failed_counts_much(tmp_path):
    table = LatencyTable(tmp_path / "t.jsonl", HEAD)
    table.add_part("a", _measured(None, Verdict.CRASHED))
    with pytest.raises(TableError, match='"b" was never measured'):
        table.sum_ms(["b"])
    table.add_part("c", _measured(0.5))
    assert table.sum_ms(["a", "c"]) == 0.5 * 10 + 0.5
    assert table.fault(["c", "a"]).verdict == "CRASHED"
    assert table.fault(["c"]) is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{}\n", "no latency table"),
        (b"torn", "no latency table"),
        (b"\x00\xff\n\x00", "no latency table"),
        (b'{"format": 1, "head": {"space": "x"}}\n', "no latency table"),
        (b'{"format": 9, "head": null}\n', "no latency table"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path, content, said):
    path = tmp_path / "t.jsonl"
    path.write_bytes(content)
    with pytest.raises(TableError, match=said):
        LatencyTable(path, HEAD)
    assert path.read_bytes() == content


@pytest.mark.parametrize("cut", [0, 1, 8, 13, 40])
def test_a_table_that_broke_off_at_its_first_line_begins_anew(tmp_path, cut):
    path = tmp_path / "t.jsonl"
    LatencyTable(path, HEAD)
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    LatencyTable(path, HEAD).add_part("a", _measured(1.0))
    assert LatencyTable(path, HEAD).parts["a"].latency_ms == 1.0


def test_garbage_inside_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "t.jsonl"
    _filled(path)
    for line in (b"not json\n", b'{"part": {"key": "a", "odd": 1}}\n', b"{}\n"):
        content = path.read_bytes() + line
        path.with_name("u.jsonl").write_bytes(content)
        with pytest.raises(TableError, match="no latency table"):
            LatencyTable(path.with_name("u.jsonl"), HEAD)
        assert path.with_name("u.jsonl").read_bytes() == content


def test_another_devices_table_is_refused(tmp_path):
    _filled(tmp_path / "t.jsonl")
    with pytest.raises(TableError, match=r"device class pi, not phone.*--out"):
        LatencyTable(tmp_path / "t.jsonl", TableHead("mbconv", "phone", "default x1", "abc"))
