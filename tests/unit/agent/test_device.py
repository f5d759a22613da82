"""Identity and conditions, from made-up /proc and /sys trees."""

import json
import os
import platform
import subprocess
import sys

import pytest

from hilnas_agent import conditions, identity

PI4_CPU = "".join(
    f"processor\t: {n}\nBogoMIPS\t: 108.00\nCPU implementer\t: 0x41\nCPU architecture: 8\n"
    f"CPU variant\t: 0x0\nCPU part\t: 0xd08\nCPU revision\t: 3\n\n"
    for n in range(4)
)
RK3588_CPU = PI4_CPU.replace("0xd08", "0xd05") + PI4_CPU.replace("0xd08", "0xd0b")
XEON_CPU = (
    "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R) CPU E5-2670 v3 @ 2.30GHz\n"
)
PI3_32_CPU = (
    "processor\t: 0\nmodel name\t: ARMv7 Processor rev 4 (v7l)\n"
    "CPU implementer\t: 0x41\nCPU part\t: 0xd03\n\nHardware\t: BCM2835\n"
)


def tree(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("cpuinfo", "model"),
    [
        (PI4_CPU, "Cortex-A72"),
        (RK3588_CPU, "Cortex-A55 + Cortex-A76"),
        (XEON_CPU, "Intel Xeon E5-2670 v3"),
        (PI3_32_CPU, "Cortex-A53"),
        ("CPU implementer\t: 0x51\nCPU part\t: 0x804\n", "arm-51-804"),
        ("CPU implementer\t: what\nCPU part\t: ever\n", platform.machine()),
        ("", platform.machine()),
    ],
)
def test_the_processor_is_named(tmp_path, cpuinfo, model):
    assert identity.cpu_model(tree(tmp_path, {"proc/cpuinfo": cpuinfo})) == model


@pytest.mark.parametrize("place", ["proc/device-tree/model", "sys/firmware/devicetree/base/model"])
def test_the_board_is_read_from_the_device_tree(tmp_path, place):
    tree(tmp_path, {place: "Raspberry Pi 4 Model B Rev 1.4\0"})
    assert identity.board_model(tmp_path) == "Raspberry Pi 4 Model B Rev 1.4"


@pytest.mark.parametrize(
    ("board", "cpu", "machine", "slug"),
    [
        ("Raspberry Pi 4 Model B Rev 1.4", "Cortex-A72", "aarch64", "raspberrypi4-cortexa72"),
        ("Raspberry Pi 5 Model B Rev 1.0", "Cortex-A76", "aarch64", "raspberrypi5-cortexa76"),
        ("Raspberry Pi Zero 2 W Rev 1.0", "Cortex-A53", "aarch64", "raspberrypizero2-cortexa53"),
        ("Raspberry Pi Compute Module 4 Rev 1.0", "Cortex-A72", "aarch64", "raspberrypicm4-cortexa72"),
        ("Raspberry Pi Model B Rev 2", "ARM1176", "armv6l", "raspberrypi-arm1176"),
        ("Orange Pi 5", "Cortex-A55 + Cortex-A76", "aarch64", "orange-pi-5-cortexa55-cortexa76"),
        ("", "Intel Xeon E5-2670 v3", "x86_64", "x86-64-intel-xeon-e5-2670-v3"),
        ("", "aarch64", "aarch64", "aarch64"),
    ],
)
def test_the_device_class_is_a_slug(board, cpu, machine, slug):
    assert identity.device_class(board, cpu, machine) == slug


def test_memory_system_and_boot_id(tmp_path):
    tree(
        tmp_path,
        {
            "proc/meminfo": "MemTotal:        3884388 kB\nMemFree: 1 kB\n",
            "etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
            "proc/sys/kernel/random/boot_id": "6a3c\n",
        },
    )
    assert identity.memory_kib(tmp_path) == 3884388
    assert identity.os_name(tmp_path) == "Debian GNU/Linux 12 (bookworm)"
    assert identity.boot_id(tmp_path) == "6a3c"


def test_an_empty_tree_gives_empty_answers(tmp_path):
    assert identity.board_model(tmp_path) == ""
    assert identity.memory_kib(tmp_path) == 0
    assert identity.boot_id(tmp_path) == ""
    assert identity.os_name(tmp_path) == platform.system()
    assert conditions.read(tmp_path) == conditions.Reading(None, "", None, None)


def test_the_facts_are_printed_without_importing_a_runtime():
    program = (
        "import sys, runpy; runpy.run_module('hilnas_agent.identity', run_name='__main__');"
        "print(); print([m for m in sys.modules if m.partition('.')[0] in "
        "('numpy', 'ai_edge_litert', 'tflite_runtime', 'grpc')])"
    )
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    facts, heavy = output.splitlines()
    facts = json.loads(facts)
    assert heavy == "[]"
    assert facts["device"]["cores"] == len(os.sched_getaffinity(0))
    assert facts["offers"][0][0] == "ai-edge-litert"
    assert facts["offers"][0][2] is True


def test_the_hottest_plausible_zone_counts(tmp_path):
    zones = {"0": "41000", "1": "57500\n", "2": "-273200", "3": "2147483647", "4": "broken"}
    tree(tmp_path, {f"sys/class/thermal/thermal_zone{zone}/temp": text for zone, text in zones.items()})
    assert conditions.read(tmp_path).temperature_c == 57.5


def test_governor_and_frequency_are_those_of_the_processor_in_use(tmp_path):
    stat = "12 (python (x) y) S " + " ".join(str(n) for n in range(4, 39)) + " 3 0 0"
    files = {"proc/self/stat": stat, "proc/loadavg": "0.42 0.30 0.20 1/83 3890\n"}
    for cpu, governor, frequency in ((0, "powersave", "600000"), (3, "performance", "1800000")):
        files[f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor"] = governor + "\n"
        files[f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq"] = frequency + "\n"
    reading = conditions.read(tree(tmp_path, files))
    assert reading == conditions.Reading(None, "performance", 1800000, 0.42)


def test_the_peak_of_memory_can_be_reset():
    program = (
        "from hilnas_agent import memory; before = memory.peak_kib(); block = b'x' * (64 << 20);"
        "high = memory.peak_kib(); del block; reset = memory.reset_peak();"
        "print(before, high, memory.peak_kib() if reset else before)"
    )
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    before, high, after = map(int, output.split())
    assert high >= before + (48 << 10)
    assert after <= before + (16 << 10)
