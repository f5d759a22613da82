"""Boundaries, carbon, and what the search itself takes."""

import sys

import pytest

from hilnas.energy import (
    BoundaryError,
    CarbonError,
    SearchEnergy,
    carbon_g,
    carbon_g_per_million,
    one_boundary,
)

RANGE_UJ = 262_143_328_850


def test_energies_of_one_boundary_share_an_axis():
    assert one_boundary({"kitchen-pi": "board", "hall-pi": "board"}) == "board"
    assert one_boundary({}) == ""


def test_devices_of_other_boundaries_are_named():
    with pytest.raises(BoundaryError, match="hall-pi, kitchen-pi by rails; lab-pc by soc") as caught:
        one_boundary({"kitchen-pi": "rails", "lab-pc": "soc", "hall-pi": "rails"})
    assert "energy.meter" in str(caught.value)
    with pytest.raises(BoundaryError, match="lab-pc by no meter"):
        one_boundary({"kitchen-pi": "rails", "lab-pc": ""})


def test_carbon_of_a_kilowatt_hour_and_of_a_million_inferences():
    assert carbon_g(3.6e6, 380.0) == pytest.approx(380.0)
    # 2 mJ a million times are 2 kJ.
    assert carbon_g_per_million(2.0, 380.0) == pytest.approx(2000 / 3.6e6 * 380)
    assert carbon_g_per_million(0.0, 380.0) == 0.0


@pytest.mark.parametrize(
    ("joules", "grid"), [(-1.0, 380.0), (1.0, -380.0), (float("nan"), 1.0), (1.0, float("inf"))]
)
def test_carbon_of_nonsense_is_refused(joules, grid):
    with pytest.raises(CarbonError, match="number from 0"):
        carbon_g(joules, grid)


def zone(root, place, name, microjoules, most=RANGE_UJ):
    folder = root / f"sys/class/powercap/{place}"
    folder.mkdir(parents=True, exist_ok=True)
    for file, value in (("name", name), ("energy_uj", microjoules), ("max_energy_range_uj", most)):
        (folder / file).write_text(f"{value}\n")
    return folder / "energy_uj"


def test_a_searchs_energy_is_that_of_packages_and_memory(tmp_path):
    package = zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    dram = zone(tmp_path, "intel-rapl:0:1", "dram", 5_000_000)
    core = zone(tmp_path, "intel-rapl:0:0", "core", 0)
    with SearchEnergy(tmp_path) as spent:
        assert spent.joules == 0.0
        package.write_text("3500000")
        dram.write_text("5250000")
        core.write_text("99000000")
    assert spent.joules == pytest.approx(2.75)
    assert (spent.source, spent.reason) == ("rapl", "")


def test_a_counter_that_wraps_while_the_search_runs(tmp_path):
    package = zone(tmp_path, "intel-rapl:0", "package-0", RANGE_UJ - 1_000_000)
    with SearchEnergy(tmp_path) as spent:
        package.write_text("2000000")
    assert spent.joules == pytest.approx(3.0, abs=1e-3)


def test_several_wraps_are_seen_by_looking_often_enough(tmp_path):
    package = zone(tmp_path, "intel-rapl:0", "package-0", 0, most=9_999_999)
    energy = SearchEnergy(tmp_path, every_s=3600)
    with energy as spent:
        for value in (6_000_000, 2_000_000, 8_000_000, 4_000_000):
            package.write_text(str(value))
            energy._look()
        package.write_text("torn")
        energy._look()
        package.write_text("5000000")
    assert spent.joules == pytest.approx(25.0)


def test_it_looks_by_itself(tmp_path):
    package = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    with SearchEnergy(tmp_path, every_s=0.01) as spent:
        package.write_text("1000000")
        for _ in range(1000):
            if spent.joules:
                break
            spent._stop.wait(0.01)
        assert spent.joules == pytest.approx(1.0)


def test_a_part_of_the_sum_is_no_sum(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "codecarbon", None)
    zone(tmp_path, "intel-rapl:0", "package-0", 0)
    zone(tmp_path, "intel-rapl:1", "package-1", "")
    with SearchEnergy(tmp_path) as spent:
        pass
    assert spent.joules is None
    assert "intel-rapl:1" in spent.reason


def test_a_machine_that_counts_nothing_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr("hilnas.energy.util.find_spec", lambda _: None)
    with SearchEnergy(tmp_path) as spent:
        pass
    assert (spent.joules, spent.source) == (None, "")
    assert "no RAPL" in spent.reason
    assert "hilnas[carbon]" in spent.reason


def test_codecarbon_is_asked_where_there_is_no_counter(tmp_path, monkeypatch):
    pytest.importorskip("codecarbon", reason="extra carbon")
    monkeypatch.chdir(tmp_path)
    with SearchEnergy(tmp_path) as spent:
        sum(range(100_000))
    assert spent.source == "codecarbon", spent.reason
    assert spent.joules is not None
    assert spent.joules > 0
    assert list(tmp_path.iterdir()) == []
