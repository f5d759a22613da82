"""Latencies of a new device from a few measurements there and other devices' tables."""

import asyncio
import zlib

import numpy as np
import pytest

from hilnas.daemon.few_shot import FewShotSource
from hilnas.daemon.latency_sources import TableSource
from hilnas.farm import FarmError
from hilnas.predictors.base import rank_correlation
from hilnas.spaces.mbconv import MBConv
from hilnas.store.latency_table import Entry, LatencyTable, TableError, TableHead
from hilnas.trial import Measurement, Verdict

SPACE = MBConv((1, 16, 16), 4)


def part_ms(part, work, call, taste):
    """What a part takes on a device: its work, a call, and what this device makes of this kind of part."""
    kind = zlib.crc32(part.key.encode()) / 2**32
    return work * np.prod(part.input_shape) / 1000 + call + taste * kind


def table_of(path, *figures):
    table = LatencyTable(path, TableHead("mbconv", path.stem, "default x1", "abc"))
    for part in SPACE.every_part():
        ms = part_ms(part, *figures)
        table.parts[part.key] = Entry(part.key, "TRUSTED", ms, ms * 0.99, ms * 1.01)
    return table


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    figures = {
        "slow": (4, 0.02, 0.1),
        "calls": (1, 0.2, 0.1),
        "choosy": (2, 0.05, 0.4),
        "new": (2.5, 0.1, 0.2),
    }
    return {name: table_of(folder / f"{name}.jsonl", *each) for name, each in figures.items()}


class Device:
    """The new device: its own table stands for measuring, and every question is counted."""

    device_class = "new"

    def __init__(self, table, broken=0):
        self._source = TableSource(table, SPACE)
        self.asked, self.finals, self.broken = 0, 0, broken

    async def measure(self, nets, final=False):
        self.asked += len(nets)
        self.finals += final * len(nets)
        found = await self._source.measure(nets, final)
        crashed = Measurement("d", "new", "", "", "x", Verdict.CRASHED, message="SIGILL")
        return [crashed] * min(self.broken, len(found)) + found[self.broken :]


async def no_file(architecture):
    return b"TFL3"


def few_shot(tables, device, shots=10):
    known = [tables[name] for name in ("slow", "calls", "choosy")]
    return FewShotSource(device, known, SPACE, no_file, shots)


def drawn(count=80):
    generator = np.random.default_rng(99)
    return [(SPACE.sample(generator), b"TFL3") for _ in range(count)]


def test_ten_measurements_tell_the_latencies_of_all_others(tables):
    device, nets = Device(tables["new"]), drawn()
    source = few_shot(tables, device)

    async def use():
        return await source.measure(nets[:40]), await source.measure(nets[40:])

    told = [each.latency.median_ms for part in asyncio.run(use()) for each in part]
    truth = [tables["new"].sum_ms([part.key for part in SPACE.parts(net)]) for net, _ in nets]
    assert device.asked == source.measured == 10
    assert rank_correlation(np.array(told), np.array(truth)).spearman > 0.97
    errors = np.abs(np.array(told) / np.array(truth) - 1)
    assert np.median(errors) < 0.05
    assert source.median_error < 0.1
    assert source.device_class == "new"


def test_a_net_that_is_to_ship_is_measured(tables):
    device = Device(tables["new"])
    source = few_shot(tables, device)
    (final,) = asyncio.run(source.measure(drawn(1), final=True))
    assert device.finals == device.asked == 1
    assert final.latency.median_ms == pytest.approx(
        tables["new"].sum_ms([part.key for part in SPACE.parts(drawn(1)[0][0])])
    )


def test_nets_that_the_device_cannot_run_are_left_out_and_too_few_are_told(tables):
    source = few_shot(tables, Device(tables["new"], broken=4))
    assert len(asyncio.run(source.measure(drawn(5)))) == 5
    assert source.measured == 6
    with pytest.raises(FarmError, match=r"2 of 10 nets gave a latency.*CRASHED: SIGILL"):
        asyncio.run(few_shot(tables, Device(tables["new"], broken=8)).measure(drawn(5)))


def test_a_table_that_lacks_a_part_says_so(tables, tmp_path):
    bare = LatencyTable(tmp_path / "bare.jsonl", TableHead("mbconv", "bare", "default x1", "abc"))
    source = FewShotSource(Device(tables["new"]), [bare], SPACE, no_file)
    with pytest.raises(TableError, match="was never measured: go on with"):
        asyncio.run(source.measure(drawn(2)))
