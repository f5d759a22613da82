"""Energy on the host: what an agent may say of it, whose it is, and what a search makes of it."""

import math
from dataclasses import replace
from unittest.mock import Mock

import pytest

from hilnas.daemon import going_on
from hilnas.energy import BoundaryError
from hilnas.farm.devices import DeviceFacts, MeterFacts
from hilnas.farm.energy import energy_protocol, energy_value
from hilnas.farm.jobs import Ask
from hilnas.farm.protocol import EnergyOptions, Fidelity, MeasurementOptions
from hilnas.objectives import Objective, figure_of
from hilnas.recipe import check_recipe
from hilnas.search.context import SearchContext
from hilnas.search.errors import SearchError
from hilnas.search.meters import energy_boundaries
from hilnas.search.setup import resolve_objectives
from hilnas.trial import Architecture, Energy, EnergyVerdict, Measurement, Proposal, Trial, Verdict
from hilnas_protos.v1 import energy_pb2

SOUND = {
    "verdict": "ENERGY_VERDICT_TRUSTED", "meter": "ina219", "boundary": "board", "rate_hz": 50, "runs": 900,
    "net_mj": 2.0, "low_mj": 1.9, "high_mj": 2.2, "gross_mj": 5.0, "repeats_mj": [1.9, 2.0, 2.2],
}  # fmt: skip


def test_a_sound_figure_comes_over_whole():
    value = energy_value(energy_pb2.Energy(**SOUND))
    assert value == Energy(
        EnergyVerdict.TRUSTED, "", "ina219", "board", 50, 2.0, 1.9, 2.2, 5.0, None, None, 900, (1.9, 2.0, 2.2)
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"net_mj": math.nan},
        {"net_mj": -1.0, "low_mj": -2.0},
        {"net_mj": 3.0},
        {"gross_mj": math.inf},
        {"boundary": "somewhere"},
        {"boundary": ""},
        {"low_mj": None},
    ],
)
def test_figures_that_cannot_be_are_none(wrong):
    told = {key: value for key, value in {**SOUND, **wrong}.items() if value is not None}
    value = energy_value(energy_pb2.Energy(**told))
    assert (value.verdict, value.net_mj, value.gross_mj) == (EnergyVerdict.UNAVAILABLE, None, None)
    assert "cannot be" in value.message


def test_below_resolution_brings_no_number():
    told = {**SOUND, "verdict": "ENERGY_VERDICT_BELOW_RESOLUTION", "message": "too little"}
    value = energy_value(energy_pb2.Energy(**told))
    assert (value.net_mj, value.low_mj, value.gross_mj, value.repeats_mj) == (None, None, None, ())


def test_the_pass_is_part_of_the_protocols_hash_and_the_grid_is_not():
    options = MeasurementOptions()
    with_energy = options.protocol(Fidelity.FULL, energy=True)
    assert with_energy.hash != options.protocol(Fidelity.FULL).hash
    longer = MeasurementOptions(energy=EnergyOptions(busy_s=20))
    assert longer.protocol(Fidelity.FULL, energy=True).hash != with_energy.hash
    assert longer.protocol(Fidelity.FULL).hash == options.protocol(Fidelity.FULL).hash
    grid = MeasurementOptions(energy=EnergyOptions(grid_g_per_kwh=380))
    assert grid.protocol(Fidelity.FULL, energy=True).hash == with_energy.hash


def test_candidates_that_are_screened_take_fewer_repeats():
    options = MeasurementOptions(energy=EnergyOptions(repeats=7, screen_repeats=2, meter="ina219"))
    repeats = {}
    for fidelity in Fidelity:
        asked = energy_protocol(Ask("0" * 64, "pi", options, fidelity, energy=True))
        assert asked is not None and (asked.meter, asked.idle_ms) == ("ina219", 5000)
        repeats[fidelity] = asked.repeats
    assert repeats == {Fidelity.SCREEN: 2, Fidelity.FULL: 7}
    assert energy_protocol(Ask("0" * 64, "pi", options)) is None


def _device(name, *meters, device_class="pi"):
    return DeviceFacts(
        name, device_class, "", "", "", 1, 1, "", "", "", "", (),
        tuple(MeterFacts(*meter.split("@")) for meter in meters),
    )  # fmt: skip


def test_boards_of_one_class_are_metered_at_one_boundary():
    boards = [_device("a", "ina219@board", "rapl@soc"), _device("b", "rapl@soc")]
    with pytest.raises(BoundaryError, match=r"a by board; b by soc.*measurement\.energy\.meter"):
        energy_boundaries(EnergyOptions(), boards, ["pi"])
    assert energy_boundaries(EnergyOptions(), boards, ["phone"]) == {}, "nobody asked for the boards' energy"
    assert energy_boundaries(EnergyOptions(meter="rapl"), boards, ["pi"]) == {"pi": "soc"}
    other = _device("c", "wall@wall", device_class="phone")
    assert energy_boundaries(EnergyOptions(), [boards[0], other], ["pi", "phone"]) == {
        "pi": "board",
        "phone": "wall",
    }
    assert energy_boundaries(EnergyOptions(), [boards[0], _device("bare")], ["pi"]) == {}


@pytest.mark.parametrize(
    ("meter", "said"), [("", "bare of class .* has no energy meter"), ("rapl", 'no meter "rapl", but none')]
)
def test_an_energy_objective_needs_meters(meter, said):
    recipe = check_recipe(
        {
            "task": {"name": "digits"},
            "objective": [{"quantity": "accuracy"}, {"quantity": "energy", "target": "2 mJ"}],
            "measurement": {"energy": {"meter": meter}},
        }
    )
    with pytest.raises(SearchError, match=said):
        resolve_objectives(recipe, [_device("bare")])
    metered = resolve_objectives(recipe, [_device("a", f"{meter or 'x'}@board")])
    assert metered[1].label == "energy@pi"


def test_an_interval_of_energy_goes_into_the_error_of_the_reward():
    energy = Energy(EnergyVerdict.TRUSTED, boundary="board", net_mj=2.0, low_mj=1.8, high_mj=2.2)
    measured = Measurement("a", "pi", "0" * 64, "", "", Verdict.TRUSTED, energy=energy)
    trial = Trial(0, Proposal(Architecture("s", ())), measurements=(measured,))
    figure = figure_of(Objective(quantity="energy", device_class="pi"), trial)
    assert figure is not None
    assert (figure.value, figure.se) == (2.0, pytest.approx(0.1020, abs=1e-3))


@pytest.mark.parametrize(
    ("energy", "said"),
    [
        (Energy(EnergyVerdict.UNAVAILABLE, "the battery is charging: unplug it"), "unplug it"),
        (
            Energy(EnergyVerdict.TRUSTED, "", "plug", "wall", 1, 2.0, 1.9, 2.1, 3.0),
            "its meter plug sees wall",
        ),
        (Energy(EnergyVerdict.TRUSTED, "", "ina", "board", 1, 2.0, 1.9, 2.1, 3.0), ""),
        (Energy(EnergyVerdict.BELOW_RESOLUTION, "too little", "ina", "board"), ""),
    ],
)
def test_a_search_takes_no_energy_of_another_boundary_and_none_that_is_not_there(energy, said):
    setup = Mock(spec_set=["has_energy_objective", "boundaries"])
    setup.has_energy_objective.side_effect = lambda name: name == "pi"
    setup.boundaries = {"pi": "board"}
    context = SearchContext(setup, "s", *[None] * 8)
    measured = Measurement("a", "pi", "0" * 64, "", "", Verdict.TRUSTED, energy=energy)
    problem = context.meter_problem(measured)
    assert said in problem
    assert bool(problem) == bool(said)
    assert context.meter_problem(replace(measured, device_class="other")) == ""


def test_a_search_goes_on_with_the_boundary_that_it_began_with(tmp_path, monkeypatch):
    monkeypatch.setattr(going_on, "task_facts", lambda task: {})
    recipe = check_recipe({"task": {"name": "digits"}, "objective": [{"quantity": "accuracy"}]})

    def go_on(boundary):
        began = Mock(devices=(_device("a", "rapl@soc", "ina@board"),), task={})
        setup = Mock(recipe=recipe, boundaries={"pi": boundary}, device_classes=("pi",))
        going_on.same_world(Mock(sessions=[began]), setup, tmp_path)

    go_on("soc")
    with pytest.raises(SearchError, match=r"at the boundary soc, its meters now see board.*energy\.meter"):
        go_on("board")
