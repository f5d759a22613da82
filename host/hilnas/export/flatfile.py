"""Bounds-checked access to a flatbuffer that nobody vouches for; the work it can cause is bounded, too."""

from __future__ import annotations

import struct

from hilnas.export.errors import ModelFileError

_MOST_WORK = 2_000_000
"""Numbers in lists; a table counts as `_TABLE`. Some hundred times what the largest networks have."""
_TABLE = 32
_TEXT_PER_UNIT = 8
_MOST_SHOWN = 100


class File:
    """The bytes, and how much more may be read: offsets may alias, so a small file can unfold without end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._left = _MOST_WORK

    def number(self, form: str, at: int) -> int:
        """The number at an offset; struct.error or IndexError outside the file."""
        if at < 0:
            raise IndexError(f"offset {at}")
        return int(struct.unpack_from("<" + form, self.data, at)[0])

    def root(self) -> Table:
        """The model's table; IndexError when this is no .tflite file."""
        if self.data[4:8] != b"TFL3":
            raise IndexError("no TFL3 identifier")
        return Table(self, self.number("I", 0))

    def spend(self, work: int) -> None:
        """Counts work; ModelFileError when a file asks for more than any network is worth."""
        self._left -= work
        if self._left < 0:
            raise ModelFileError(
                f"the lists of this .tflite file ({len(self.data)} bytes) unfold into more than {_MOST_WORK} "
                "entries, as in a file made to exhaust its reader; export the network again"
            )


class Table:
    """A flatbuffer table: its fields by number. struct.error or IndexError where it leaves the file."""

    def __init__(self, file: File, at: int) -> None:
        file.spend(_TABLE)
        self._file = file
        self._at = at
        self._vtable = at - file.number("i", at)
        self._size = file.number("H", self._vtable)
        end = self._vtable + self._size
        if self._size < 4 or self._size % 2 or end > len(file.data):
            raise IndexError(f"table at {at} has a broken field list")
        if at + file.number("H", self._vtable + 2) > len(file.data):
            raise IndexError(f"table at {at} runs past the end")

    def number(self, field: int, form: str, default: int = 0) -> int:
        """A scalar field, in the notation of `struct`."""
        place = self._place(field)
        return self._file.number(form, place) if place else default

    def table(self, field: int) -> Table | None:
        """A table field, None where it is absent."""
        place = self._place(field)
        return Table(self._file, self._target(place)) if place else None

    def tables(self, field: int) -> list[Table]:
        """A vector of tables."""
        start, count = self._vector(field, 4)
        self._file.spend(count)
        return [Table(self._file, self._target(start + 4 * i)) for i in range(count)]

    def numbers(self, field: int, form: str) -> tuple[int | float, ...]:
        """A vector of scalars."""
        start, count = self._vector(field, struct.calcsize("<" + form))
        self._file.spend(count)
        return struct.unpack_from(f"<{count}{form}", self._file.data, start)

    def length(self, field: int) -> int:
        """How many bytes a vector of bytes has; nothing is copied."""
        return self._vector(field, 1)[1]

    def text(self, field: int) -> str:
        """A string, fit for a message: printable, and no longer than a line. IndexError if it is no UTF-8."""
        start, count = self._vector(field, 1)
        self._file.spend(count // _TEXT_PER_UNIT)
        try:
            text = self._file.data[start : start + count].decode()
        except UnicodeDecodeError as error:
            raise IndexError(f"the text at {start} is no UTF-8") from error
        return "".join(letter if letter.isprintable() else "?" for letter in text[:_MOST_SHOWN])

    def _place(self, field: int) -> int:
        slot = 4 + 2 * field
        offset = self._file.number("H", self._vtable + slot) if slot + 2 <= self._size else 0
        return self._at + offset if offset else 0

    def _target(self, place: int) -> int:
        return place + self._file.number("I", place)

    def _vector(self, field: int, width: int) -> tuple[int, int]:
        place = self._place(field)
        if not place:
            return 0, 0
        start = self._target(place)
        count = self._file.number("I", start)
        if start + 4 + count * width > len(self._file.data):
            raise IndexError(f"vector at {start} runs past the end")
        return start + 4, count
