"""What the recipe of a user may reach on the lab's host."""

import json
from pathlib import Path

import pytest
from pydantic import Field

from hilnas.daemon.bounds import check_executor, check_paths, check_plugins
from hilnas.options import Options, OptionsError
from hilnas.recipe import check_recipe

RECIPE = {"task": {"name": "digits"}, "objective": [{"quantity": "accuracy"}]}


@pytest.mark.parametrize("axis", ["task", "space", "strategy", "estimator", "executor"])
def test_code_by_dotted_path_is_an_admins(axis, tmp_path, monkeypatch):
    (tmp_path / "planted.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(OptionsError, match=f"{axis}.name.*planted:It.*user_plugins"):
        check_plugins({**RECIPE, axis: {"name": "planted:It"}}, ["other", "planted:Else", "plant"])
    assert not (tmp_path / "ran").exists(), "what is refused is never imported"


@pytest.mark.parametrize("allowed", ["ours.nas:It", "ours.nas", "ours"])
def test_code_that_an_admin_has_named_is_for_all(allowed):
    check_plugins({**RECIPE, "space": {"name": "ours.nas:It"}}, ["more", allowed])


def test_what_is_no_section_is_left_to_the_check_of_the_recipe():
    check_plugins({"task": "x:y", "space": None, "strategy": {"name": 3}}, [])


def test_work_goes_to_no_cluster_but_those_of_the_lab():
    for options in ({}, {"address": "ray://there:10001"}):
        recipe = check_recipe({**RECIPE, "executor": {"name": "ray", **options}})
        with pytest.raises(OptionsError, match=r"executor\.address.*user_clusters"):
            check_executor(recipe, ["there"], ["ray://elsewhere:10001"])
        check_executor(recipe, [], ["auto", "ray://there:10001"])
    check_executor(check_recipe(RECIPE), [], [])


def test_workers_import_nothing_but_what_is_the_labs():
    recipe = check_recipe({**RECIPE, "executor": {"name": "local", "preload": ["torch", "ours.nas"]}})
    with pytest.raises(OptionsError, match=r"executor\.preload.*ours\.nas.*user_plugins"):
        check_executor(recipe, ["ours.nasty"], [])
    check_executor(recipe, ["ours"], [])


def test_files_elsewhere_are_not_read(tmp_path):
    data, secret = tmp_path / "data", tmp_path / "secret"
    for folder in (data, secret):
        folder.mkdir()
    (data / "way").symlink_to(secret)
    for path in (secret / "x.npz", data / "way/x.npz", data / "../secret/x.npz"):
        recipe = check_recipe({**RECIPE, "task": {"name": "npz", "path": str(path)}})
        with pytest.raises(OptionsError, match=r'"task\.path".*user_data'):
            check_paths(recipe, [data])
    check_paths(check_recipe({**RECIPE, "task": {"name": "npz", "path": str(data / "x.npz")}}), [data])


def test_earlier_searches_and_seeds_are_files_too(tmp_path):
    (tmp_path / "seed.json").write_text(json.dumps({}))
    warm = check_recipe({**RECIPE, "search": {"warm_start": [str(tmp_path)]}})
    seeded = {"name": "netadapt", "seed_architecture": str(tmp_path / "seed.json")}
    for recipe, key in (
        (warm, "search.warm_start"),
        (check_recipe({**RECIPE, "strategy": seeded}), "strategy"),
    ):
        with pytest.raises(OptionsError, match=key):
            check_paths(recipe, [])
        check_paths(recipe, [tmp_path])


class Files(Options):
    parts: tuple[Path, ...] = ()
    named: dict[str, Path] = Field(default={})


class Reader:
    Options = Files


@pytest.mark.parametrize("options", [{"parts": ["/ours/a", "/etc/shadow"]}, {"named": {"x": "/etc/shadow"}}])
def test_paths_among_others_are_found(options):
    recipe = check_recipe({**RECIPE, "estimator": {"name": "tests.unit.test_bounds:Reader", **options}})
    with pytest.raises(OptionsError, match=r'"estimator\.(parts|named\.x)": /etc/shadow'):
        check_paths(recipe, [Path("/ours")])
    check_paths(recipe, [Path("/ours"), Path("/etc")])


def test_where_data_lies_by_default_may_be_read():
    check_paths(check_recipe({**RECIPE, "task": {"name": "fashion-mnist"}}), [])
