"""Nordic's Power Profiler Kit II, through ppk2-api (extra `ppk2`): current of a board of up to 5 V and 1 A.

The kit sends 100,000 samples a second, four bytes each: 14 bits of current, 3 of range, 6 that count the samples
(bits 18 to 23), 8 of logic. The library turns them into µA; it does not look at the count, so what was lost on
the way is found here. Decoding them takes 0.4 s of processor time a second on a server's core: a small board may not
keep up, and then the kit belongs on a machine that does, or gaps are all that it gives.
"""

import struct
import time
from collections.abc import Sequence
from importlib import util
from pathlib import Path
from typing import Any

from hilnas_agent.meters import POWER, Meter, MeterError, Reading, Traits

_SAMPLE_NS = 10_000
_BYTES = 4
_BLOCK = 1000
"""Samples whose mean is a reading."""
_COUNT_AT, _COUNT_MASK = 18, 0x3F
_FULL_SCALE = 0x3FFF
_RATE_HZ = 1e9 / _SAMPLE_NS / _BLOCK
_WITHIN_NS = 5_000_000
"""Time that samples spend on USB and in buffers, at most, when they are fetched as they come."""
_DRIFT = 100e-6
"""How much faster or slower than this machine's the kit's clock may run."""
_ALIKE = 4
"""Samples in a row that must count on before the bytes are taken to be in step again."""


class Ppk2:
    """The driver: "ppk2=PORT,MILLIVOLTS", the voltage at which the board is fed; never sought."""

    name = "ppk2"

    def find(self, argument: str, root: Path) -> Sequence[Meter]:
        """The kit at that port, as an ampere meter in a supply of that voltage: it measures current alone."""
        if not argument:
            return []
        port, _, millivolts = argument.partition(",")
        if not millivolts.isdigit() or not 800 <= int(millivolts) <= 5000:
            raise MeterError(
                f"ppk2={argument}: the kit measures current alone, so give the board's supply too, 800 to 5000 mV: "
                "ppk2=/dev/ttyACM0,5000"
            )
        return [Kit(port, int(millivolts))]


class Kit:
    """One kit, through which a board's supply runs."""

    traits = Traits("ppk2", "board", POWER, _RATE_HZ, resolution=0.0)

    def __init__(self, port: str, millivolts: int) -> None:
        self._port, self._millivolts = port, millivolts
        self._api: Any = None
        self._decoder: Decoder | None = None

    def problem(self) -> str | None:
        """Why it cannot be read: the library or the port is missing. Does not open the port."""
        if util.find_spec("ppk2_api") is None:
            return "ppk2: its library is not installed: pip install 'hilnas[ppk2]'"
        if not Path(self._port).exists():
            return f"ppk2: there is no {self._port}: attach the kit, or see ls /dev/ttyACM*"
        return None

    def open(self) -> None:
        """Opens the port, reads the kit's calibration and starts it."""
        from ppk2_api.ppk2_api import PPK2_API

        try:
            self._api = PPK2_API(self._port, timeout=1, write_timeout=1, exclusive=True)
        except (OSError, ValueError) as error:
            raise MeterError(f"ppk2: {self._port} cannot be opened: {error}") from error
        if not self._api.get_modifiers():
            raise MeterError(f"ppk2: what is at {self._port} tells no calibration: is it a PPK2?")
        self._api.set_source_voltage(self._millivolts)
        self._api.use_ampere_meter()
        self._api.toggle_DUT_power("ON")
        self._api.start_measuring()
        self._decoder = Decoder(self._api, self._millivolts)

    def read(self) -> Sequence[Reading]:
        """Mean power of each whole block that has come since the last call, in W."""
        if self._decoder is None:
            raise MeterError("ppk2: it is not open")
        try:
            content = self._api.get_data()
        except OSError as error:
            raise MeterError(f"ppk2: {self._port} is gone: {error}") from error
        return self._decoder.add(content, time.monotonic_ns())

    def close(self) -> None:
        """Stops the kit; the board stays on."""
        if self._api is not None:
            self._api.stop_measuring()
            self._api.ser.close()
            self._api = None


class Decoder:
    """Bytes of the kit to readings: the library's decoding, with what was lost left out.

    `api` is the library's PPK2_API. A block in which a sample is missing is given up, and one with a sample at the
    end of its scale is an error.
    """

    def __init__(self, api: Any, millivolts: int) -> None:
        self._api, self._volts = api, millivolts / 1000
        self._rest = b""
        self._expected = -1
        self._block = b""
        self._begin_ns, self._samples, self._blocks = 0, 0, 0
        self._seeking = True
        self.lost = 0
        """Times that samples were found missing."""

    def add(self, content: bytes, now_ns: int) -> list[Reading]:
        """The readings that are whole with what came by now."""
        self._rest += content
        self._align(now_ns)
        readings: list[Reading] = []
        while len(self._rest) >= _BYTES:
            if self._seeking and not self._in_step():
                break
            here = len(self._rest) // _BYTES
            good = self._counted(_words(self._rest, here))
            readings += self._take(self._rest[: good * _BYTES])
            self._rest = self._rest[good * _BYTES :]
            if good < here:
                self._lose(now_ns)
        return readings

    def _align(self, now_ns: int) -> None:
        """Dates the last sample that is here to now at the latest: none comes before it was taken."""
        here = self._samples + len(self._rest) // _BYTES
        begin_ns = now_ns - here * _SAMPLE_NS
        if not self._samples:
            self._begin_ns = begin_ns
        else:
            # The kit's clock may be the slower one, so the earliest start so far is not the last word.
            slack_ns = round(here * _SAMPLE_NS * _DRIFT)
            self._begin_ns = min(begin_ns, self._begin_ns + slack_ns)

    def _counted(self, words: tuple[int, ...]) -> int:
        """How many of the words count on from the last one."""
        for place, word in enumerate(words):
            count = word >> _COUNT_AT & _COUNT_MASK
            if self._expected not in (-1, count):
                return place
            self._expected = (count + 1) & _COUNT_MASK
        return len(words)

    def _take(self, content: bytes) -> list[Reading]:
        """Adds samples to the block; a reading for each block that is whole with them."""
        self._block += content
        self._samples += len(content) // _BYTES
        readings = []
        while len(self._block) >= _BLOCK * _BYTES:
            block, self._block = self._block[: _BLOCK * _BYTES], self._block[_BLOCK * _BYTES :]
            readings.append(self._reading(block))
        return readings

    def _lose(self, now_ns: int) -> None:
        """Gives the block up; what follows is dated anew."""
        self.lost += 1
        self._seeking = True
        self._block, self._expected, self._samples, self._blocks = b"", -1, 0, 0
        self._begin_ns = now_ns - len(self._rest) // _BYTES * _SAMPLE_NS

    def _in_step(self) -> bool:
        """Skips bytes until several samples in a row count on: bytes, too, may be lost one by one.

        False while there are too few to tell; the next bytes will.
        """
        while len(self._rest) >= _BYTES * _ALIKE:
            counts = [word >> _COUNT_AT & _COUNT_MASK for word in _words(self._rest, _ALIKE)]
            if all((counts[0] + k) & _COUNT_MASK == count for k, count in enumerate(counts)):
                self._seeking = False
                return True
            self._rest = self._rest[1:]
        return False

    def _reading(self, block: bytes) -> Reading:
        if any(word & _FULL_SCALE == _FULL_SCALE for word in _words(block, _BLOCK)):
            raise MeterError("ppk2: the current is beyond what the kit can measure, 1 A: take another meter")
        microamperes, _ = self._api.get_samples(block)
        middle_ns = self._begin_ns + round((self._blocks + 0.5) * _BLOCK * _SAMPLE_NS)
        self._blocks += 1
        watts = sum(microamperes) / len(microamperes) * 1e-6 * self._volts
        return Reading(middle_ns, watts, _WITHIN_NS)


def _words(content: bytes, count: int) -> tuple[int, ...]:
    return struct.unpack_from(f"<{count}I", content)
