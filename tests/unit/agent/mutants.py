"""Damaged models: mutant `index` of a seed is always the same, so one that does harm can be had again."""

import random
import struct
from typing import NamedTuple

# Tables of the schema: field → form of a scalar, "text", [what a vector holds] or another table.
_TEXT = ["B"]
_OPTIONS = dict.fromkeys(range(8), "i")
_QUANTIZATION = {0: ["f"], 1: ["f"], 2: ["f"], 3: ["q"], 6: "i"}
_TENSOR = {0: ["i"], 1: "b", 2: "I", 3: _TEXT, 4: _QUANTIZATION, 5: "B", 7: ["i"], 8: "B"}
_OPERATOR = {0: "I", 1: ["i"], 2: ["i"], 3: "B", 4: _OPTIONS, 5: _TEXT, 8: ["i"], 9: "Q", 10: "Q"}
_GRAPH = {0: [_TENSOR], 1: ["i"], 2: ["i"], 3: [_OPERATOR], 4: _TEXT}
_CODE = {0: "b", 1: _TEXT, 2: "i", 3: "i"}
_BUFFER = {0: _TEXT, 1: "Q", 2: "Q"}
_MAP = {0: _TEXT, 1: "I"}
_SIGNATURE = {0: [_MAP], 1: [_MAP], 2: _TEXT, 4: "I"}
_MODEL = {0: "I", 1: [_CODE], 2: [_GRAPH], 3: _TEXT, 4: [_BUFFER], 6: [_MAP], 7: [_SIGNATURE]}

_MOST_ELEMENTS = 16
_EXTREMES = (0, 1, 2, 3, 4, 7, 8, 16, 127, 128, 255, 256, 1000, 32767, 65535, 1 << 20, (1 << 31) - 1)
_FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e-30, 3e38, float("inf"), float("-inf"), float("nan"))


class Site(NamedTuple):
    """A place with a meaning: an offset, a vector's length, an entry of a table's list, or a scalar."""

    at: int
    form: str
    kind: str


def sites(content):
    """All sites of a sound model."""
    found = [Site(0, "I", "offset")]
    _walk(content, struct.unpack_from("<I", content)[0], _MODEL, found)
    return found


def mutant(corpus, seed, index):
    """(name of what it was made from, content) for a corpus of {name: sound model}."""
    rng = random.Random(f"{seed}:{index}")
    name = rng.choice(sorted(corpus))
    content = bytearray(corpus[name])
    if rng.random() < 0.75:
        places = sites(bytes(content))
        for _ in range(rng.choice((1, 1, 1, 2, 3, 5))):
            _change(content, rng.choice(places), places, rng)
    if rng.random() < 0.3:
        content = _blind(content, corpus[rng.choice(sorted(corpus))], rng)
    return name, bytes(content)


def _walk(content, table, fields, found):
    vtable = table - struct.unpack_from("<i", content, table)[0]
    size = struct.unpack_from("<H", content, vtable)[0]
    found.append(Site(table, "i", "offset"))
    for field, what in fields.items():
        slot = 4 + 2 * field
        offset = struct.unpack_from("<H", content, vtable + slot)[0] if slot + 2 <= size else 0
        if not offset:
            continue
        found.append(Site(vtable + slot, "H", "entry"))
        place = table + offset
        if isinstance(what, str):
            # Options are of many kinds, so what is taken for a number there may be the file's last bytes.
            if place + struct.calcsize(what) <= len(content):
                found.append(Site(place, what, "scalar"))
            continue
        found.append(Site(place, "I", "offset"))
        target = place + struct.unpack_from("<I", content, place)[0]
        if isinstance(what, dict):
            _walk(content, target, what, found)
        else:
            _walk_vector(content, target, what[0], found)


def _walk_vector(content, start, what, found):
    count = struct.unpack_from("<I", content, start)[0]
    found.append(Site(start, "I", "length"))
    width = 4 if isinstance(what, dict) else struct.calcsize(what)
    for place in range(start + 4, start + 4 + width * min(count, _MOST_ELEMENTS), width):
        if isinstance(what, str):
            found.append(Site(place, what, "scalar"))
        else:
            found.append(Site(place, "I", "offset"))
            _walk(content, place + struct.unpack_from("<I", content, place)[0], what, found)


def _change(content, site, places, rng):
    old = struct.unpack_from("<" + site.form, content, site.at)[0]
    if site.form == "f":
        new = rng.choice((*_FLOATS, old * 2, -old))
        struct.pack_into(
            "<f", content, site.at, new if abs(new) < 3.4e38 or abs(new) == float("inf") else 0.0
        )
        return
    if site.kind == "offset" and rng.random() < 0.5:
        # Where another one points, so that tables are taken for others and lists alias.
        other = rng.choice([place for place in places if place.kind == "offset" and place.form == "I"])
        new = other.at + struct.unpack_from("<I", content, other.at)[0] - site.at
    elif rng.random() < 0.5:
        new = old + rng.choice((-8, -4, -2, -1, 1, 2, 4, 8))
    else:
        new = rng.choice(_EXTREMES) * rng.choice((1, 1, 1, -1))
    width = struct.calcsize(site.form)
    content[site.at : site.at + width] = (new & ((1 << 8 * width) - 1)).to_bytes(width, "little")


def _blind(content, other, rng):
    at, length = rng.randrange(len(content)), rng.choice((1, 4, 16, 64, 256))
    kind = rng.randrange(7)
    if kind == 0:
        for _ in range(rng.choice((1, 2, 8, 32))):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del content[at:]
    elif kind == 2:
        content[at:] = other[rng.randrange(len(other)) :]
    elif kind == 3:
        source = rng.randrange(len(content))
        content[at : at + length] = content[source : source + length]
    elif kind == 4:
        content[at : at + length] = bytes([rng.choice((0, 0xFF, 0x7F, 0x80))]) * length
    elif kind == 5:
        content[at:at] = rng.randbytes(length)
    else:
        del content[at : at + length]
    return content
