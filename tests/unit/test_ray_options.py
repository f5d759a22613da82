"""The executor `ray` where Ray is not asked for, or not there."""

import subprocess
import sys

import pytest

from hilnas.executors.ray_connection import connect
from hilnas.options import OptionsError
from hilnas.recipe import check_recipe


def test_a_recipe_is_checked_without_ray():
    code = (
        "import sys; from hilnas.plugins import Axis, options_of; "
        "options_of(Axis.EXECUTOR, 'ray', {'gpus': 0.5}); print('ray' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_what_is_wrong_with_its_settings_is_told():
    base = {"task": {"name": "digits"}, "objective": [{"quantity": "accuracy"}]}
    with pytest.raises(OptionsError, match=r"executor\.adress.*address"):
        check_recipe({**base, "executor": {"name": "ray", "adress": "auto"}})


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(OptionsError, match=r'pip install "hilnas\[ray\]"'):
        connect("auto")
