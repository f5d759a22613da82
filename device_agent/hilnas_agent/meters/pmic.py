"""The power management chip of a Raspberry Pi 5: voltage and current of its rails, by `vcgencmd pmic_read_adc`.

What enters at the 5 V pin and is lost in the chip, and what USB devices take, is not in the sum: the
boundary is "rails". Lines read "  3V3_SYS_A current(1)=0.05660A" and "  3V3_SYS_V volt(9)=3.31612V".
"""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from hilnas_agent.meters import POWER, Meter, MeterError, Reading, Traits
from hilnas_agent.meters.reading import Polled, timed

_LINE = re.compile(r"^\s*(\w+?)_([AV])\s+(?:current|volt)\(\d+\)=(-?[0-9.]+)([AV])\s*$", re.MULTILINE)
_RATE_HZ = 10.0
_PATIENCE_S = 2.0


class Pmic:
    """The driver: one meter, on a board whose firmware knows the command."""

    name = "pmic"

    def find(self, argument: str, root: Path) -> Sequence[Meter]:
        """The board's chip, where vcgencmd is installed and answers; `argument` has no meaning here."""
        program = root / "usr/bin/vcgencmd"
        if not program.exists():
            return []
        meter = Rails(program)
        try:
            meter.read()
        except MeterError as error:
            # Older boards have the program and no such chip.
            if "not registered" in str(error) or "no rail" in str(error):
                return []
        return [meter]


class Rails(Polled):
    """The sum of the rails that have both a voltage and a current."""

    traits = Traits("pmic", "rails", POWER, _RATE_HZ)

    def __init__(self, program: Path) -> None:
        self._program = program

    def problem(self) -> str | None:
        """Why the firmware does not answer: as a rule, the user is not in the group "video"."""
        try:
            self.read()
        except MeterError as error:
            return f"pmic: {error}: add the agent's user to the group video"
        return None

    def read(self) -> Sequence[Reading]:
        """Power of all rails now, in W."""
        return [timed(lambda: watts(self._ask()))]

    def _ask(self) -> str:
        try:
            done = subprocess.run(
                [str(self._program), "pmic_read_adc"],
                capture_output=True,
                text=True,
                timeout=_PATIENCE_S,
                check=False,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise MeterError(f"{self._program} cannot be run ({error})") from error
        if done.returncode != 0:
            raise MeterError(f"vcgencmd failed ({(done.stderr or done.stdout).strip()[:200]})")
        return done.stdout


def watts(answer: str) -> float:
    """Sum of voltage times current, in W; MeterError for an answer that is torn or holds no rail."""
    found: dict[str, dict[str, float]] = {"A": {}, "V": {}}
    for rail, kind, value, unit in _LINE.findall(answer):
        if kind != unit:
            raise MeterError(f"the rail {rail} has a reading in {unit} where {kind} should be")
        found[kind][rail] = float(value)
    if not found["A"]:
        raise MeterError(f"the firmware tells of no rail's current: {' '.join(answer.split())[:80]!r}")
    without = sorted(found["A"].keys() - found["V"].keys())
    if without:
        raise MeterError(f"the firmware's answer is torn: no voltage of {', '.join(without)}")
    return sum(current * found["V"][rail] for rail, current in found["A"].items())
