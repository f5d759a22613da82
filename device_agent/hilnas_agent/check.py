"""`hilnas-agent check`: the preflight of a device, with the remedy for each thing that would spoil a figure."""

import argparse
import json
import os
from pathlib import Path

from hilnas_agent import conditions, cores, identity, preflight
from hilnas_agent.conditions import ROOT
from hilnas_agent.evidence import Evidence, failed
from hilnas_agent.meters import Offer
from hilnas_agent.settings import Preflight

_HOT_C = 70.0
_LEAST_FREE_KIB = 128 * 1024


def main(argv: list[str]) -> int:
    """Prints the checks; 0 when all are passed, 1 otherwise."""
    options = _parser().parse_args(argv)
    facts = identity.facts(options.runtime, extra_meters=options.meter)
    found = look(facts, options.cpus, options.threads)
    if options.json:
        described = {key: facts[key] for key in ("device_class", "device")}
        print(json.dumps({**described, "checks": [each.to_json() for each in found]}))
    else:
        device = facts["device"]
        print(f"{facts['device_class']}: {device['board_model'] or device['cpu_model']}, {device['os']}")
        for each in found:
            print(f"{'ok ' if each.passed else 'BAD'} {each.rule:17} {each.text}")
    return 1 if failed(found) else 0


def look(facts: dict[str, object], cpus: list[int], threads: int, root: Path = ROOT) -> list[Evidence]:
    """All checks of this device; `facts` are those of `identity.facts`."""
    measuring = cpus or cores.share_out(sorted(os.sched_getaffinity(0)), root)[0]
    reading = conditions.read(root, cores.pinned(measuring, threads))
    return [
        *_runtimes(facts),
        *preflight.checks(Preflight(), reading, measuring, threads, root),
        _frequency(reading),
        _temperature(reading),
        _memory(root),
        *_meters(facts),
    ]


def _runtimes(facts: dict[str, object]) -> list[Evidence]:
    offers, reasons = facts["offers"], facts["reasons"]
    assert isinstance(offers, list) and isinstance(reasons, list)
    if not offers:
        why = "; ".join(reasons) or "none is known"
        return [
            Evidence("runtime", False, f"no inference runtime can be used here ({why}): pip install hilnas")
        ]
    found = [
        Evidence(
            "runtime",
            True,
            f"{name} {version}"
            + (
                ""
                if xnnpack
                else ": int8 runs on its own kernels, without XNNPACK, so figures are this runtime's"
            ),
        )
        for name, version, xnnpack, _ in offers
    ]
    return found + [Evidence("runtime", True, f"not used: {reason}") for reason in reasons]


def _meters(facts: dict[str, object]) -> list[Evidence]:
    """What there is to measure energy with; a device without is fit for all else, so nothing fails here."""
    meters, reasons = facts["meters"], facts["meter_reasons"]
    assert isinstance(meters, list) and isinstance(reasons, list)
    found = []
    for meter in (Offer(*fields) for fields in meters):
        rate = f", {meter.rate_hz:g} readings a second" if meter.rate_hz else ""
        coarse = ", coarse" if meter.coarse else ""
        use = ": a check on other meters, no source of figures" if meter.canary_only else ""
        found.append(Evidence("meter", True, f"{meter.name} sees the {meter.boundary}{rate}{coarse}{use}"))
    if not meters:
        found.append(Evidence("meter", True, "energy is not measured: see deploy/README.md, Energy"))
    return found + [Evidence("meter", True, f"not used: {reason}") for reason in reasons]


def _frequency(reading: conditions.Reading) -> Evidence:
    if reading.frequency_khz is None or reading.target_khz is None:
        return Evidence("frequency", True, "not checked: the kernel tells no frequency")
    now, most = reading.frequency_khz, reading.target_khz
    text = f"{now / 1000:.0f} of {most / 1000:.0f} MHz"
    passed = now >= 0.97 * most
    return Evidence(
        "frequency", passed, text + ("" if passed else ": set the governor to performance"), now / most, 0.97
    )


def _temperature(reading: conditions.Reading) -> Evidence:
    degrees = reading.temperature_c
    if degrees is None:
        return Evidence("temperature", True, "not checked: there is no temperature sensor")
    passed = degrees <= _HOT_C
    remedy = "" if passed else ": cool the board, or it will throttle while it measures"
    return Evidence("temperature", passed, f"{degrees:.1f} °C{remedy}", degrees, _HOT_C)


def _memory(root: Path) -> Evidence:
    free = identity.meminfo_kib("MemAvailable", root)
    if not free:
        return Evidence("memory", True, "not checked: the kernel does not tell")
    passed = free >= _LEAST_FREE_KIB
    remedy = "" if passed else ": end other programs, or models will be swapped or killed"
    return Evidence(
        "memory", passed, f"{free // 1024} MiB available{remedy}", float(free), float(_LEAST_FREE_KIB)
    )


def _parser() -> argparse.ArgumentParser:
    from hilnas_agent.__main__ import cpu_list

    parser = argparse.ArgumentParser(
        prog="hilnas-agent check",
        description="Tells what on this device would spoil a measurement, and the remedy.",
    )
    parser.add_argument(
        "--cpus", type=cpu_list, default=[], metavar="LIST", help="processors that measure, such as 2,3"
    )
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="threads of an inference (default: 1)"
    )
    parser.add_argument(
        "--runtime", action="append", default=[], metavar="MODULE:CLASS", help="a further runtime"
    )
    parser.add_argument(
        "--meter", action="append", default=[], metavar="METER", help="a further energy meter"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")
    return parser
