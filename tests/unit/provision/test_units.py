"""The units, the environment file, and what is read back from a board."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from hilnas.options import OptionsError, parse_options
from hilnas.provision import DeployOptions, ProvisionError, layout, units
from hilnas.provision.state import parse

UNITS = (layout.AGENT_UNIT, layout.GOVERNOR_UNIT)


@pytest.mark.parametrize("name", UNITS)
def test_exposure_is_ok_or_better(name, tmp_path):
    """By systemd's own judgement, in which an unconfined service has 9.6."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    path = tmp_path / name
    path.write_text(units.unit(name))
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze judges no unit offline")
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+) (\w+)", done.stdout)
    assert found, done.stdout + done.stderr
    print(f"\n{name}: {found[1]} {found[2]}")
    assert found[2] in ("OK", "SAFE", "PERFECT"), done.stdout
    assert "Failed to parse" not in done.stderr and "Unknown" not in done.stderr, done.stderr


def test_the_agents_unit_does_what_the_issue_asks():
    text = units.unit(layout.AGENT_UNIT)
    for line in (
        *(f"User={layout.USER}", "ProtectSystem=strict", "NoNewPrivileges=yes", "Restart=always"),
        *("MemoryMax=80%", "TasksMax=512", f"EnvironmentFile={layout.ENVIRONMENT}"),
    ):
        assert line in text.splitlines(), line
    assert f"ExecStart={layout.PYTHON} -P -m hilnas_agent $HILNAS_AGENT_ARGS" in text


def test_the_governor_is_set_and_given_back(tmp_path):
    """The unit's own commands, on a tree of files."""
    cpus = [tmp_path / f"sys/devices/system/cpu/cpu{number}/cpufreq/scaling_governor" for number in range(2)]
    for number, file in enumerate(cpus):
        file.parent.mkdir(parents=True)
        file.write_text(("ondemand\n", "schedutil\n")[number])
    (tmp_path / "run/hilnas-governor").mkdir(parents=True)
    commands = dict(
        re.findall(r"^(ExecStart|ExecStop)=/bin/sh -c '(.*)'$", units.unit(layout.GOVERNOR_UNIT), re.M)
    )

    def run(which):
        words = commands[which].replace("$$", "$").replace("%%", "%")
        words = words.replace("/sys/", f"{tmp_path}/sys/").replace("/run/", f"{tmp_path}/run/")
        subprocess.run(["/bin/sh", "-c", words], check=True)

    run("ExecStart")
    run("ExecStart")
    assert [file.read_text() for file in cpus] == ["performance\n"] * 2
    run("ExecStop")
    assert [file.read_text() for file in cpus] == ["ondemand\n", "schedutil\n"]


def test_the_environment_file_means_the_same_to_a_shell():
    text = units.environment(["--host=127.0.0.1:50816", "--name=pi-7"], "s3cret_-x")
    command = 'set -a; eval "$1"; printf "%s|" $HILNAS_AGENT_ARGS "$HILNAS_TOKEN"'
    done = subprocess.run(["sh", "-c", command, "sh", text], capture_output=True, text=True, check=True)
    assert done.stdout == "--host=127.0.0.1:50816|--name=pi-7|s3cret_-x|"


@pytest.mark.parametrize("word", ["a b", 'a"', "$(reboot)", "`x`", "a\nHILNAS_TOKEN=x", "a\\", "'"])
def test_nothing_that_systemd_or_a_shell_would_read_gets_in(word):
    with pytest.raises(ProvisionError):
        units.environment([f"--meter={word}"])
    with pytest.raises(ProvisionError):
        units.environment([], token=word)


@pytest.mark.parametrize(
    "wrong",
    [
        {"host": "nowhere"},
        {"host": ":1"},
        {"host": "h:99999"},
        {"name": "a b"},
        {"name": "-x"},
        {"cpus": "2;3"},
    ],
)
def test_options_are_checked(wrong):
    with pytest.raises(OptionsError):
        parse_options(DeployOptions, {"host": "127.0.0.1:1", **wrong}, "")


def test_arguments_of_an_agent():
    options = DeployOptions(host="lab:50817", device_class="pi4", cpus="2,3", meters=("ppk2=/dev/ttyACM0",))
    assert options.arguments("pi-7", layout.IDENTITY) == [
        *("--host=lab:50817", "--name=pi-7", "--device-class=pi4", "--cpus=2,3", "--meter=ppk2=/dev/ttyACM0"),
        f"--identity={layout.IDENTITY}",
    ]


def test_what_a_board_has_is_read_back():
    found = parse(
        "current=0.1.0-aa\nprevious=\nrelease=0.1.0-aa\nrelease=0.0.9-bb\naccount=999\n"
        f"device=pi-7\nfile=abc  {layout.ENVIRONMENT}\nsubject=subject=OU=device,CN=pi-7\n"
        "begins=Nov 28 03:00:00 2026 GMT\nends=Dec 28 03:00:00 2026 GMT\nauthority=ff  /x/ca.pem\n"
        "unit=hilnas-agent.service enabled active\nunit=hilnas-governor.service enabled inactive\n"
    )
    assert (found.current, found.previous, found.account) == ("0.1.0-aa", "", True)
    assert found.releases == {"0.1.0-aa", "0.0.9-bb"}
    assert found.device == "pi-7"
    assert found.files == {layout.ENVIRONMENT: "abc"}
    assert found.enabled == set(UNITS) and found.active == {layout.AGENT_UNIT}
    assert found.certificate.name == "pi-7" and found.certificate.authority == "ff"
    half = (found.certificate.begins + found.certificate.ends) / 2
    assert found.certificate.spent(half) == pytest.approx(0.5)


def test_a_bare_board_is_empty():
    assert parse("current=\nprevious=\naccount=\nunit=hilnas-agent.service  inactive\n").empty


def test_units_lie_in_deploy_and_nowhere_else():
    root = Path(__file__).resolve().parents[3]
    for name in UNITS:
        assert (root / "deploy/systemd" / name).read_text() == units.unit(name)
