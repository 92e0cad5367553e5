"""Read the cells of an old Excel workbook (.xls, BIFF8 in a compound file), as text and numbers.

Published tables of years ago come in this form, which pandas reads by a package that is not needed for anything else.
No formula is computed (stored results are taken), no macro or link is looked at. Structures are those of Microsoft's
[MS-CFB] and [MS-XLS].
"""

from __future__ import annotations

import struct
from pathlib import Path

from ..errors import InputError

_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_END, _FREE = 0xFFFFFFFE, 0xFFFFFFFF
#: A workbook of 65,536 rows a sheet is smaller.
_MOST_BYTES, _MOST_CELLS = 1 << 28, 5_000_000
#: Records of a workbook: of the stream, of the shared strings, of cells.
_BOF, _EOF, _SST, _CONTINUE, _BOUNDSHEET, _FILEPASS = 0x809, 0x0A, 0xFC, 0x3C, 0x85, 0x2F
_LABELSST, _NUMBER, _RK, _MULRK, _LABEL, _FORMULA, _STRING = 0xFD, 0x203, 0x27E, 0xBD, 0x204, 0x06, 0x207

Cell = str | float


def read_xls(path: Path, name: str | None = None) -> dict[str, list[list[Cell | None]]]:
    """Return the rows of every sheet by its name; ``None`` where a cell is empty.

    Raises
    ------
    InputError
        If the file is no such workbook, is damaged, or is encrypted.
    """
    name = name or path.name
    if not path.is_file():
        raise InputError(name, "no such file", "restore it")
    if path.stat().st_size > _MOST_BYTES:
        raise InputError(name, f"has more than {_MOST_BYTES} bytes", "save it as CSV")
    try:
        return _Workbook(_stream(path.read_bytes())).sheets()
    except (struct.error, IndexError, KeyError, ValueError, UnicodeDecodeError) as error:
        fault = f"not readable as an Excel 97 workbook ({error})"
        raise InputError(name, fault, "save it as CSV, or restore it") from None


def _stream(content: bytes) -> bytes:
    """Return the stream ``Workbook`` of a compound file."""
    if content[:8] != _MAGIC:
        raise ValueError("not a compound file")
    sector, small = 1 << struct.unpack_from("<H", content, 30)[0], 1 << struct.unpack_from("<H", content, 32)[0]
    if not (64 <= sector <= 4096 and 8 <= small <= sector):
        raise ValueError("sectors of no known size")
    n_fat, first_directory = struct.unpack_from("<I", content, 44)[0], struct.unpack_from("<I", content, 48)[0]
    least, first_small, _, first_more, n_more = struct.unpack_from("<5I", content, 56)

    def at(number: int) -> bytes:
        start = 512 + number * sector if sector == 512 else (number + 1) * sector
        if number >= _END - 1 or start >= len(content):
            raise ValueError("a sector lies outside of the file")
        return content[start : start + sector].ljust(sector, b"\0")

    listed = list(struct.unpack_from("<109I", content, 76))
    for _ in range(min(n_more, len(content) // sector)):
        *more, first_more = struct.unpack(f"<{sector // 4}I", at(first_more))
        listed += more
    fat = [
        entry for number in listed[:n_fat] if number != _FREE for entry in struct.unpack(f"<{sector // 4}I", at(number))
    ]

    def chain(first: int, table: list[int]) -> list[int]:
        found, number = [], first
        while number != _END:
            if len(found) > len(table):
                raise ValueError("sectors in a circle")
            found.append(number)
            number = table[number]
        return found

    directory = b"".join(at(number) for number in chain(first_directory, fat))
    entries = {}
    for start in range(0, len(directory) - 127, 128):
        length = struct.unpack_from("<H", directory, start + 64)[0]
        if 2 <= length <= 64:
            label = directory[start : start + length - 2].decode("utf-16-le")
            entries[label] = struct.unpack_from("<II", directory, start + 116)
    if "Workbook" not in entries:
        raise ValueError("holds no workbook of Excel 97 or later")
    first, size = entries["Workbook"]
    if size >= least:
        return b"".join(at(number) for number in chain(first, fat))[:size]
    root = b"".join(at(number) for number in chain(entries["Root Entry"][0], fat))
    table = [e for number in chain(first_small, fat) for e in struct.unpack(f"<{sector // 4}I", at(number))]
    return b"".join(root[number * small : (number + 1) * small] for number in chain(first, table))[:size]


class _Workbook:
    """The records of a workbook stream."""

    def __init__(self, stream: bytes) -> None:
        self._stream = stream
        self._strings: list[str] = []

    def sheets(self) -> dict[str, list[list[Cell | None]]]:
        places: list[tuple[str, int]] = []
        position = 0
        while position < len(self._stream):
            kind, data, after = self._record(position)
            if kind == _FILEPASS:
                raise ValueError("is encrypted")
            if kind == _BOUNDSHEET:
                start = struct.unpack_from("<I", data, 0)[0]
                places.append((self._short(data, 6), start))
            elif kind == _SST:
                parts = [data]
                while after < len(self._stream) and self._record(after)[0] == _CONTINUE:
                    _, more, after = self._record(after)
                    parts.append(more)
                self._strings = _shared(parts)
            elif kind == _EOF:
                break
            position = after
        return {name: self._cells(start) for name, start in places}

    def _record(self, position: int) -> tuple[int, bytes, int]:
        kind, length = struct.unpack_from("<HH", self._stream, position)
        return kind, self._stream[position + 4 : position + 4 + length], position + 4 + length

    @staticmethod
    def _short(data: bytes, position: int) -> str:
        n, wide = data[position], data[position + 1] & 1
        raw = data[position + 2 : position + 2 + n * (1 + wide)]
        return raw.decode("utf-16-le" if wide else "latin-1")

    def _cells(self, position: int) -> list[list[Cell | None]]:
        found: dict[tuple[int, int], Cell] = {}
        waiting: tuple[int, int] | None = None
        stream, strings = self._stream, self._strings
        header, whole, number = (struct.Struct(form).unpack_from for form in ("<HH", "<I", "<d"))
        while position < len(stream):
            kind, length = header(stream, position)
            start, position = position + 4, position + 4 + length
            # Most cells are of these two kinds, and need no copy of their record.
            if kind == _LABELSST:
                found[header(stream, start)] = strings[whole(stream, start + 6)[0]]
                continue
            if kind == _NUMBER:
                found[header(stream, start)] = number(stream, start + 6)[0]
                continue
            if kind == _EOF:
                break
            data = stream[start:position]
            if kind in (_RK, _LABEL, _FORMULA):
                place = struct.unpack_from("<HH", data, 0)
                if kind == _RK:
                    found[place] = _rk(struct.unpack_from("<I", data, 6)[0])
                elif kind == _LABEL:
                    n, wide = struct.unpack_from("<HB", data, 6)
                    wide &= 1
                    found[place] = data[9 : 9 + n * (1 + wide)].decode("utf-16-le" if wide else "latin-1")
                elif data[12:14] != b"\xff\xff":
                    found[place] = struct.unpack_from("<d", data, 6)[0]
                else:
                    # The result is a text, in a record of its own.
                    waiting = place
            elif kind == _STRING and waiting is not None:
                n, wide = struct.unpack_from("<HB", data, 0)
                wide &= 1
                found[waiting] = data[3 : 3 + n * (1 + wide)].decode("utf-16-le" if wide else "latin-1")
                waiting = None
            elif kind == _MULRK:
                row, first = struct.unpack_from("<HH", data, 0)
                for i in range((len(data) - 6) // 6):
                    found[row, first + i] = _rk(struct.unpack_from("<I", data, 6 + 6 * i)[0])
        if not found:
            return []
        n_rows, n_columns = (1 + max(place[axis] for place in found) for axis in (0, 1))
        if n_rows * n_columns > _MOST_CELLS:
            raise ValueError(f"a sheet spans more than {_MOST_CELLS} cells")
        return [[found.get((row, column)) for column in range(n_columns)] for row in range(n_rows)]


def _rk(value: int) -> float:
    """Return a number that is stored in 30 bits."""
    if value & 2:
        number = float(struct.unpack("<i", struct.pack("<I", value & 0xFFFFFFFC))[0] >> 2)
    else:
        number = struct.unpack("<d", struct.pack("<II", 0, value & 0xFFFFFFFC))[0]
    return number / 100 if value & 1 else number


def _shared(parts: list[bytes]) -> list[str]:
    """Return the shared strings; one that goes on in the next record says anew there how wide its letters are."""
    n_strings = struct.unpack_from("<I", parts[0], 4)[0]
    part, position, found = 0, 8, []
    for _ in range(n_strings):
        if position >= len(parts[part]):
            part, position = part + 1, 0
        data = parts[part]
        n, flags = struct.unpack_from("<HB", data, position)
        position += 3
        runs = extra = 0
        if flags & 8:
            runs, position = struct.unpack_from("<H", data, position)[0], position + 2
        if flags & 4:
            extra, position = struct.unpack_from("<I", data, position)[0], position + 4
        letters, wide = "", flags & 1
        while len(letters) < n:
            if position >= len(parts[part]):
                part += 1
                wide, position = parts[part][0] & 1, 1
            here = min(n - len(letters), (len(parts[part]) - position) // (1 + wide))
            if here <= 0:
                raise ValueError("a text is cut off")
            raw = parts[part][position : position + here * (1 + wide)]
            letters += raw.decode("utf-16-le" if wide else "latin-1")
            position += here * (1 + wide)
        found.append(letters)
        skip = 4 * runs + extra
        while skip > len(parts[part]) - position and part + 1 < len(parts):
            skip -= len(parts[part]) - position
            part, position = part + 1, 0
        position += skip
    return found
