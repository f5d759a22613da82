"""What a phone is, in the words of Hello, from its mirrored files and its properties."""

import re
from typing import Any

from hilnas_agent import identity
from hilnas_agent.phones.mirror import Mirror

MARKER = "adb"
"""Ends the class of a hub-driven phone, so that it is never compared with one that runs the agent itself."""


def device_class(properties: dict[str, str], cpu: str, machine: str) -> str:
    """Slug of interchangeable phones: "pixel-6-tensor-adb"; by the processor where Android tells no model."""
    model = properties.get("ro.product.model", "")
    soc = next(
        (value for name in ("ro.soc.model", "ro.board.platform", "ro.hardware") if (value := properties.get(name))),
        "",
    )  # fmt: skip
    plain = _slug(f"{model} {soc}") if model else identity.device_class("", cpu, machine)
    return f"{plain}-{MARKER}"


def describe(mirror: Mirror) -> dict[str, Any]:
    """The fields of the wire's DeviceInfo, but for the runtimes."""
    properties, root = mirror.properties, mirror.root
    release = properties.get("ro.build.version.release", "")
    model = " ".join(
        filter(None, (properties.get("ro.product.manufacturer"), properties.get("ro.product.model")))
    )
    return {
        "cpu_model": identity.cpu_model(root) if (root / "proc/cpuinfo").exists() else "",
        "machine": mirror.machine,
        "board_model": model,
        "cores": len(mirror.cpus()),
        "memory_kib": identity.memory_kib(root),
        "os": f"Android {release}" if release else "",
        "kernel": mirror.kernel,
    }


def boot_id(mirror: Mirror) -> str:
    """The phone's own; where its shell may not read that, this machine's, with the serial number."""
    return identity.boot_id(mirror.root) or f"{identity.boot_id()}-{mirror.link.serial}"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
