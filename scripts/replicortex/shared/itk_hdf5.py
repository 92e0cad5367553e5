"""Makes the HDF5 files in which ITK keeps transforms the same whenever they are written.

HDF5 notes four times (access, modification, change, birth) in the header of each object, and ITK gives no way to
switch that off. Here they are set to zero, and the checksum that stands at the end of each header is computed again
(HDF5 File Format Specification 3.0, IV.A.1.b: data object header prefix, version 2).
"""

from __future__ import annotations

import struct
from pathlib import Path

_SIGNATURE = b"OHDR"
_HAS_TIMES, _HAS_LIMITS, _SIZE_OF_SIZE = 0x20, 0x10, 0x03


def forget_times(content: bytes) -> bytes:
    """Return an HDF5 file without the times that it was written at."""
    made = bytearray(content)
    at = made.find(_SIGNATURE)
    while at >= 0:
        end = _end(made, at)
        # Four letters may also stand in data; those of a header are followed by what its checksum says.
        if end is not None and struct.unpack_from("<I", made, end)[0] == lookup3(bytes(made[at:end])):
            made[at + 6 : at + 22] = bytes(16)
            struct.pack_into("<I", made, end, lookup3(bytes(made[at:end])))
        at = made.find(_SIGNATURE, at + 4)
    return bytes(made)


def _end(content: bytearray, at: int) -> int | None:
    """Return where the checksum of the header at ``at`` stands, or ``None`` if it has no times."""
    if len(content) < at + 40 or content[at + 4] != 2 or not content[at + 5] & _HAS_TIMES:
        return None
    flags = content[at + 5]
    place = at + 22 + (4 if flags & _HAS_LIMITS else 0)
    width = 1 << (flags & _SIZE_OF_SIZE)
    end = place + width + int.from_bytes(content[place : place + width], "little")
    return end if end + 4 <= len(content) else None


def rewrite(source: Path, target: Path) -> None:
    """Copy an HDF5 file, its times left out."""
    target.write_bytes(forget_times(source.read_bytes()))


def lookup3(data: bytes) -> int:
    """Return the checksum of Jenkins (2006, ``hashlittle``) that HDF5 uses for metadata."""
    mask = 0xFFFFFFFF

    def turned(value: int, by: int) -> int:
        return ((value << by) | (value >> (32 - by))) & mask

    a = b = c = (0xDEADBEEF + len(data)) & mask
    if not data:
        return c
    padded = data + bytes(-len(data) % 12)
    last = len(padded) - 12
    for place in range(0, len(padded), 12):
        first, second, third = struct.unpack_from("<III", padded, place)
        a, b, c = (a + first) & mask, (b + second) & mask, (c + third) & mask
        if place == last:
            break
        for by in (4, 6, 8, 16, 19, 4):
            # One round of six steps; the three numbers change roles each time.
            a = ((a - c) & mask) ^ turned(c, by)
            c = (c + b) & mask
            a, b, c = b, c, a
    for by in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - turned(b, by)) & mask
        a, b, c = b, c, a
    # After seven steps the roles have moved on by one.
    return b
