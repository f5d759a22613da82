"""The hub's command line, as far as it goes without a phone."""

import subprocess
import sys

import pytest


def hub(*arguments, before="pass"):
    program = f"import sys; {before}; from hilnas_agent.__main__ import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", program, "hub", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "--host"),
        (("--host", "127.0.0.1:1", "--benchmark-binary", "x"), "--benchmark-sha256"),
        (("--host", "127.0.0.1:1", "--benchmark-sha256", "0" * 64), "--benchmark-binary"),
    ],
)
def test_wrong_arguments(arguments, words):
    found = hub(*arguments)
    assert found.returncode == 2
    assert words in found.stderr


def test_without_adbutils_the_remedy_is_named():
    found = hub("--list", before="sys.modules['adbutils'] = None")
    assert (found.returncode, found.stdout) == (5, "")
    assert "pip install 'hilnas[hub]'" in found.stderr


def test_a_server_elsewhere_that_does_not_answer_is_not_started_here():
    pytest.importorskip("adbutils")
    found = hub("--list", "--adb-server", "127.0.0.2:1")
    assert found.returncode == 5
    assert "127.0.0.2:1" in found.stderr


def test_the_help_of_the_agent_names_the_hub():
    program = "import sys; from hilnas_agent.__main__ import main; main(['--help'])"
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert "hilnas-agent hub --list" in found.stdout


def test_the_ordinary_agent_loads_nothing_of_the_hub():
    program = (
        "import sys; import hilnas_agent.__main__, hilnas_agent.session, hilnas_agent.runner;"
        "print([m for m in sys.modules if 'phones' in m or m.partition('.')[0] in ('adbutils', 'numpy', 'PIL')])"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True
    )
    assert found.stdout.strip() == "[]"


def test_the_help_says_that_it_is_a_service_and_how_it_ends():
    found = hub("--help")
    assert found.returncode == 0
    assert "dials the same address again" in found.stdout
    assert "4 refused (token or enrolment)" in found.stdout
