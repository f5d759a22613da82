import pytest

from hilnas.options import OptionsError
from hilnas.recipe import load_recipe, shipped

MINIMAL = """
[task]
name = "digits"

[[objective]]
quantity = "accuracy"
"""


def write(tmp_path, text):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return str(path)


def test_all_shipped_recipes_are_valid():
    assert set(shipped()) == {
        "quickstart",
        "fashion-mnist",
        "fashion-mnist-supernet",
        "keyword-spotting",
        "keyword-spotting-supernet",
    }
    for name in shipped():
        assert load_recipe(name).search.name == name


def test_a_minimal_recipe_has_sensible_defaults(tmp_path):
    recipe = load_recipe(write(tmp_path, MINIMAL))
    assert (recipe.space.name, recipe.strategy.name, recipe.estimator.name) == ("mbconv", "rl", "train")
    assert recipe.search.trials >= 24


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL + "[serach]\ntrials = 3\n", 'unknown key "serach": did you mean "search"'),
        (MINIMAL + "[search]\ntrails = 3\n", r'unknown key "search\.trails": did you mean "trials"'),
        (MINIMAL + "tagret = 3\n", r'unknown key "objective\.0\.tagret": did you mean "target"'),
        (MINIMAL + '[space]\nname = "mbconf"\n', 'no space "mbconf": did you mean "mbconv"'),
        (MINIMAL + '[space]\nname = "mbconv"\nkernel = [3]\n', r'space\.kernel.*"kernels"'),
        (MINIMAL + '[strategy]\nname = "rl"\nentropi = 1\n', r'strategy\.entropi.*"entropy"'),
        (MINIMAL + '[estimator]\nname = "no.such:Thing"\n', "is its package installed"),
        (MINIMAL + "[search]\ntrials = 0\n", r"search\.trials"),
        (MINIMAL + "[search]\nhours = inf\n", r"search\.hours.*finite"),
        (MINIMAL + "[search]\nname = '..'\n", r"search\.name"),
        (MINIMAL + '[strategy]\nname = ":x"\n', 'cannot load ":x"'),
        (MINIMAL + '[space]\nname = "mbconv"\nstage_depths = [[], [1], [1]]\n', r"stage_depths\.0"),
        (MINIMAL + "[search]\ngroup = 9\nin_flight = 8\n", "group 9 must not exceed in_flight 8"),
        (MINIMAL + '[farm]\nlisten = "0.0.0.0:1"\n', "ssh -R"),
        (MINIMAL + '[farm]\nlisten = "somewhere"\n', "an address and a port"),
        (MINIMAL + '[[objective]]\nquantity = "accuracy"\n', "there twice"),
        ("[task]\nname = 'digits'\n", '"objective" is missing'),
        ("[task]\nname = 'digits'\n[[objective]]\nquantity = 'macs'\n", "the emptiest net wins"),
        ("this is not toml", "not valid TOML"),
    ],
)
def test_mistakes_are_named_with_their_remedy(text, message, tmp_path):
    with pytest.raises(OptionsError, match=message):
        load_recipe(write(tmp_path, text))


def test_an_unknown_recipe_lists_what_there_is():
    with pytest.raises(OptionsError, match='did you mean "quickstart"'):
        load_recipe("quikstart")


def test_overrides():
    recipe = load_recipe(
        None,
        ["search.trials=7", "objective.latency.target='2 ms'", "objective.1.kind=hard", "task.size=16"],
        5,
    )
    assert recipe.search.trials == 7
    assert recipe.search.seed == 5
    assert (recipe.objective[1].target, recipe.objective[1].kind) == (2.0, "hard")
    assert recipe.task.settings["size"] == 16


def test_a_setting_of_a_section_that_is_not_there_keeps_its_default_name():
    recipe = load_recipe(None, ["executor.workers=1"])
    assert (recipe.executor.name, recipe.executor.settings) == ("local", {"workers": 1})


@pytest.mark.parametrize(
    "override", ["trials", "=3", "objective.energy.target=3", "search.name.x=1", "objective.7=1"]
)
def test_bad_overrides_are_named(override):
    with pytest.raises(OptionsError, match="set"):
        load_recipe(None, [override])


def test_a_seed_needs_a_table_to_go_into():
    with pytest.raises(OptionsError, match='nothing can be set below "search"'):
        load_recipe(None, ["search=5"], 1)
