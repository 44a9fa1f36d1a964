"""Files with something changed: a byte, a bit, the end, a tag of a TIFF, a piece. The same for the same seed."""

from __future__ import annotations

import random
import struct
import zlib
from typing import NamedTuple

_ODD_BYTES = (0, 1, 2, 3, 4, 7, 8, 16, 0x7F, 0x80, 0xFE, 0xFF)
_ODD_NUMBERS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 31, 32, 255, 256, 32773, 65535, 1 << 31, (1 << 32) - 1)
_CODES = (1, 2, 3, 4, 5, 6, 7, 8, 32946, 32773, 34887, 34712, 34925, 34933, 50000, 50001, 50002, 33005, 33003, 34892)
_TAGS = (
    254,
    255,
    256,
    257,
    258,
    259,
    262,
    266,
    273,
    274,
    277,
    278,
    279,
    284,
    292,
    317,
    320,
    322,
    323,
    324,
    325,
    338,
    339,
)


class Mutant(NamedTuple):
    name: str
    """Of the sample."""
    change: str
    data: bytes


def mutant(samples: dict[str, bytes], seed: int, number: int) -> Mutant:
    """One of endlessly many."""
    chance = random.Random(f"{seed}:{number}")
    name = chance.choice(sorted(samples))
    data = samples[name]
    changes = [_byte, _byte, _byte, _bit, _cut, _piece, *([_tag] * 3 if data[:2] in (b"II", b"MM") else [])]
    change, changed = chance.choice(changes)(data, chance)
    return Mutant(name, change, _checksums(changed) if chance.random() < 0.9 else changed)


def _position(data: bytes, chance: random.Random) -> int:
    """Anywhere; half of the time near the beginning, where most formats describe the picture."""
    return chance.randrange(len(data) if chance.random() < 0.5 else min(len(data), 160))


def _byte(data: bytes, chance: random.Random) -> tuple[str, bytes]:
    position = _position(data, chance)
    value = chance.choice(_ODD_BYTES) if chance.random() < 0.5 else chance.randrange(256)
    return f"byte {position} = {value}", data[:position] + bytes([value]) + data[position + 1 :]


def _bit(data: bytes, chance: random.Random) -> tuple[str, bytes]:
    position, bit = _position(data, chance), chance.randrange(8)
    return f"bit {position}.{bit}", data[:position] + bytes([data[position] ^ 1 << bit]) + data[position + 1 :]


def _cut(data: bytes, chance: random.Random) -> tuple[str, bytes]:
    length = chance.randrange(1, len(data))
    return f"cut to {length}", data[:length]


def _piece(data: bytes, chance: random.Random) -> tuple[str, bytes]:
    """Some bytes left out, or put in twice, or zeros."""
    start, length = _position(data, chance), chance.choice((1, 2, 4, 12, 30))
    kind = chance.randrange(3)
    piece = (b"", data[start : start + length] * 2, bytes(length))[kind]
    return f"{('no', 'twice', 'zeros')[kind]} {start}+{length}", data[:start] + piece + data[start + length :]


def _tag(data: bytes, chance: random.Random) -> tuple[str, bytes]:
    """Another tag, type, count or value in the first directory of a TIFF."""
    order = "<" if data[:2] == b"II" else ">"
    if data[2:4] in (b"+\0", b"\0+"):
        start, head, entry = struct.unpack_from(order + "Q", data, 8)[0], "Q", "HHQQ"
    else:
        start, head, entry = struct.unpack_from(order + "I", data, 4)[0], "H", "HHII"
    count = struct.unpack_from(order + head, data, start)[0]
    at = start + struct.calcsize(order + head) + chance.randrange(count) * struct.calcsize(order + entry)
    fields = list(struct.unpack_from(order + entry, data, at))
    what = chance.choice((0, 1, 1, 2, 3, 3, 3))
    if what == 0:
        fields[0] = chance.choice(_TAGS)
    elif what == 1:
        fields[1] = chance.randrange(20)
    elif what == 2:
        fields[2] = chance.choice(_ODD_NUMBERS)
    else:
        number = chance.choice(_CODES if fields[0] == 259 else _ODD_NUMBERS)
        short = fields[1] == 3 and fields[2] == 1
        if short:
            number = (number & 0xFFFF) << (0 if order == "<" else 8 * struct.calcsize(order + entry[-1]) - 16)
        fields[3] = number
    changed = data[:at] + struct.pack(order + entry, *fields) + data[at + struct.calcsize(order + entry) :]
    return f"tag {fields}", changed


def _checksums(data: bytes) -> bytes:
    """A PNG with its checksums made right again, so that what was changed is looked at."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    made, position = data[:8], 8
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        content = data[position + 4 : position + 8 + length]
        if len(content) < 4 + length or position + 12 + length > len(data):
            break
        made += data[position : position + 4] + content + struct.pack(">I", zlib.crc32(content))
        position += 12 + length
    return made + data[position:]
