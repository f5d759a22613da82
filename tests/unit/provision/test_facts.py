"""What a board says of itself, and what an agent makes of it."""

import pytest

from hilnas.provision import facts
from hilnas.provision.errors import UnfitBoardError
from hilnas.provision.facts import Python, parse
from hilnas.provision.platforms import Platform

PI = """\
kernel=Linux
machine=aarch64
hostname=kitchen
user=pi
now=1790000000
libc=glibc 2.36
memory_kib=3884000
systemd=252
openssl=/usr/bin/openssl
free_kib=20000000
mount=rw,noatime
python=/usr/bin/python3 3.11 64 venv
python=/usr/bin/python3.11 3.11 64 venv
"""


def of(text, **changes):
    for key, value in changes.items():
        lines = [line for line in text.splitlines() if not line.startswith(f"{key}=")]
        text = "\n".join([*lines, *([f"{key}={value}"] if value is not None else [])])
    return parse(text, 1790000010.0)


def test_a_raspberry_pi():
    found = of(PI)
    facts.check(found, "kitchen")
    assert found.python == Python("/usr/bin/python3", "3.11", 64, frozenset({"venv"}))
    assert (found.machine, found.glibc, found.systemd, found.openssl) == ("aarch64", (2, 36), 252, True)
    assert found.clock_off_s == -10
    assert Platform.of(found).name == "aarch64-py3.11-glibc2.36"


def test_a_32_bit_system_on_a_64_bit_kernel_takes_32_bit_wheels():
    found = of(PI, python="/usr/bin/python3 3.11 32 venv numpy")
    facts.check(found, "kitchen")
    assert found.machine == "armv7l"
    assert Platform.of(found).from_system == {"numpy"}


def test_glibc_is_found_in_what_ldd_says():
    assert of(PI, libc="ldd (Debian GLIBC 2.31-13+rpt2+deb11u5) 2.31").glibc == (2, 31)


def test_a_board_whose_clock_starts_in_1970():
    assert of(PI, now="35").clock_off_s < -50 * 365 * 86400


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"android": "yes"}, "Termux"),
        ({"machine": "riscv64"}, "riscv64"),
        ({"machine": "armv6l", "python": "/usr/bin/python3 3.11 32 venv"}, "armv6l"),
        ({"machine": "x86_64", "python": "/usr/bin/python3 3.11 32 venv"}, "32-bit"),
        ({"libc": "musl libc (aarch64)"}, "musl"),
        ({"libc": ""}, "no glibc"),
        ({"libc": "glibc 2.24"}, "older than 2.27"),
        ({"mount": "ro,relatime"}, "read-only"),
        ({"python": "/usr/bin/python3 3.11 64 "}, "apt install python3-venv"),
        ({"python": "/usr/bin/python3 3.9 64 venv"}, "has 3.9"),
        ({"python": None}, "has none"),
        ({"python": "/usr/bin/python3 3.11 32 venv"}, "apt install python3-numpy"),
        ({"python": "/usr/bin/python3 3.13 32 venv numpy"}, "needs Python 3.11, and"),
    ],
)
def test_each_thing_that_can_be_wrong_has_its_remedy(changes, words):
    with pytest.raises(UnfitBoardError, match=words) as raised:
        facts.check(of(PI, **changes), "pi@kitchen")
    assert str(raised.value).startswith("pi@kitchen: ")


def test_a_python_that_cannot_be_run_is_none():
    assert [python.path for python in of(PI + "python=/usr/bin/python3.12 \n").pythons] == [
        "/usr/bin/python3"
    ]
