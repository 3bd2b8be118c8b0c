"""AVIF and HEIC: which sizes a decoder will make of them, read from their boxes (ISO/IEC 14496-12 and 23008-12).

A file holds items: pictures, the tiles of a grid, thumbnails, transparency, metadata. The box `meta` says which one is
the picture (`pitm`), what kind each is (`iinf`), which properties it has (`iprp`: among them its size, `ispe`), which
items it is made of (`iref`) and where its bytes are (`iloc`). An animation has tracks besides (`moov`).

A bomb is small here: a size is two numbers in a box. So every size in the file counts, whichever picture it belongs to,
and the tiles of a grid must cover their picture and no more. Each table is read once, its boxes are counted, none is
nested deeper than what is looked for, and no length is trusted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from pet_detector.rules.models import ImageFormat
from pet_detector.rules.picture_parts import MAX_PARTS, Found

_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"})
_BRANDS = _AVIF_BRANDS | _HEIF_BRANDS
# What the pixels of an item are coded with.
_CODED = {b"hvc1": ImageFormat.HEIC, b"av01": ImageFormat.AVIF}
_GRID = b"grid"

# From the top to where the samples of a track are described.
_TO_SAMPLES = (b"trak", b"mdia", b"minf", b"stbl", b"stsd")


def is_heif(data: bytes) -> bool:
    """Whether a file says that it is a picture of this family."""
    return data.startswith(b"ftyp", 4) and bool(_brands(data) & _BRANDS)


def _brands(data: bytes) -> set[bytes]:
    """The major brand and the compatible ones; a few dozen are looked at."""
    ends = min(int.from_bytes(data[:4], "big"), len(data), 256)
    return {data[8:12], *(data[at : at + 4] for at in range(16, ends - 3, 4))}


class _DamagedError(Exception):
    """The message goes on with "The HEIC file ..."."""


class _BrokenOffError(Exception):
    """The file ends before what it announces."""


@dataclass
class _Item:
    """`kind` is its four letters; `size` that of its property; `extents` (offset, length) of its bytes."""

    kind: bytes = b""
    size: tuple[int, int] | None = None
    is_in_meta: bool = False  # its bytes are in the box idat
    extents: list[tuple[int, int]] = field(default_factory=list)
    made_of: list[int] = field(default_factory=list)


class _Reader:
    """Reads numbers one after the other, between `at` and `end`."""

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self.data, self.at, self.end = data, at, end

    def number(self, size: int) -> int:
        """The next so many bytes (0: nothing, and 0)."""
        if self.at + size > self.end:
            raise _DamagedError("has a box that is too short for what it lists")
        self.at += size
        return int.from_bytes(self.data[self.at - size : self.at], "big")

    def kind(self) -> bytes:
        """The next four letters."""
        return self.number(4).to_bytes(4, "big")

    def version(self) -> int:
        """The version of a box that has one; its flags are left for `flags`."""
        version, self.flags = self.number(1), self.number(3)
        return version

    def count(self, size: int) -> range:
        """How many entries follow."""
        found = self.number(size)
        if found > MAX_PARTS:
            raise _DamagedError(f"lists more than {MAX_PARTS:,} things")
        return range(found)


class _Walk:
    """One walk over a file."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.boxes_read = 0
        self.items: dict[int, _Item] = {}
        self.primary: int | None = None
        self.idat = (0, 0)
        self.sizes: list[tuple[int, int]] = []  # every one that the file names
        self.tracks: list[tuple[bytes, tuple[int, int]]] = []  # how the samples are coded, and their size

    def boxes(self, at: int, end: int, *, is_top: bool = False) -> Iterator[tuple[bytes, int, int]]:
        """(type, start and end of the content) of each box. Only the last one of the file may be endless."""
        while at < end:
            self.boxes_read += 1
            if self.boxes_read > MAX_PARTS:
                raise _DamagedError(f"has more than {MAX_PARTS:,} boxes")
            header = 8
            if at + header > end:
                raise _BrokenOffError if is_top else _DamagedError("has a box that is shorter than its header")
            size, kind = int.from_bytes(self.data[at : at + 4], "big"), self.data[at + 4 : at + 8]
            if size == 1:
                header, size = 16, int.from_bytes(self.data[at + 8 : at + 16], "big")
            elif size == 0 and is_top:
                size = end - at
            if size < header:
                raise _DamagedError("has a box that is shorter than its header")
            if at + size > end:
                raise _BrokenOffError if is_top else _DamagedError("has a box that is longer than what holds it")
            yield kind, at + header, at + size
            at += size

    def once(self, at: int, end: int, wanted: frozenset[bytes]) -> dict[bytes, _Reader]:
        """Where the wanted boxes are. Decoders differ in what they make of a second one of a kind."""
        found: dict[bytes, _Reader] = {}
        for kind, start, ends in self.boxes(at, end):
            if kind in found:
                raise _DamagedError(f"has two boxes {kind.decode('latin-1')}")
            if kind in wanted:
                found[kind] = _Reader(self.data, start, ends)
        return found

    # --- meta -------------------------------------------------------------------------------------------------------

    def read_meta(self, box: _Reader) -> None:
        """The items: their kinds, sizes, places and parts."""
        box.version()
        parts = self.once(box.at, box.end, frozenset({b"pitm", b"iinf", b"iloc", b"iref", b"iprp", b"idat"}))
        if missing := {b"pitm", b"iinf", b"iloc", b"iprp"} - parts.keys():
            raise _DamagedError(f"lacks a box {min(missing).decode()}")
        pitm = parts[b"pitm"]
        self.primary = pitm.number(2 if pitm.version() == 0 else 4)
        self._read_kinds(parts[b"iinf"])
        self._read_places(parts[b"iloc"])
        self._read_properties(parts[b"iprp"])
        if b"iref" in parts:
            self._read_references(parts[b"iref"])
        if b"idat" in parts:
            self.idat = parts[b"idat"].at, parts[b"idat"].end

    def _read_kinds(self, box: _Reader) -> None:
        box.number(2 if box.version() == 0 else 4)  # how many there are is counted here
        for kind, start, end in self.boxes(box.at, box.end):
            if kind == b"infe":
                entry = _Reader(self.data, start, end)
                version = entry.version()
                if version not in (2, 3):
                    raise _DamagedError("lists its items in a way that no picture uses")
                number = entry.number(2 if version == 2 else 4)
                entry.number(2)  # its protection
                if number in self.items:
                    raise _DamagedError("lists an item twice")
                self.items[number] = _Item(entry.kind())

    def _read_places(self, box: _Reader) -> None:
        version = box.version()
        if version > 2:
            raise _DamagedError("says in an unknown way where its items are")
        widths = box.number(2)
        offset_size, length_size, base_size, index_size = (widths >> shift & 0xF for shift in (12, 8, 4, 0))
        if {offset_size, length_size, base_size} - {0, 4, 8} or (version and index_size not in (0, 4, 8)):
            raise _DamagedError("says in an unknown way where its items are")
        seen = set[int]()
        extents = 0
        for _ in box.count(2 if version < 2 else 4):
            number = box.number(2 if version < 2 else 4)
            method = box.number(2) & 0xF if version else 0
            box.number(2)  # the file that holds it: 0 is this one
            base = box.number(base_size)
            places = []
            for _ in box.count(2):
                extents += 1
                if extents > MAX_PARTS:
                    raise _DamagedError(f"lists more than {MAX_PARTS:,} things")
                box.number(index_size if version else 0)
                places.append((base + box.number(offset_size), box.number(length_size)))
            if number in seen:
                raise _DamagedError("has an item in two places")
            seen.add(number)
            if number in self.items:
                self.items[number].extents, self.items[number].is_in_meta = places, method == 1

    def _read_properties(self, box: _Reader) -> None:
        sizes: list[tuple[int, int] | None] = []
        seen_container = False
        associations: list[_Reader] = []
        for kind, start, end in self.boxes(box.at, box.end):
            if kind == b"ipco":
                if seen_container:
                    raise _DamagedError("has two boxes ipco")
                seen_container = True
                sizes = [self._size_in(*property) for property in self.boxes(start, end)]
            elif kind == b"ipma":
                associations.append(_Reader(self.data, start, end))
        self.sizes += [size for size in sizes if size]
        entries = 0
        for table in associations:
            wide = table.version()
            for _ in table.count(4):
                item = self.items.get(table.number(2 if wide < 1 else 4), _Item())
                for _ in table.count(1):
                    entries += 1
                    if entries > 10 * MAX_PARTS:
                        raise _DamagedError(f"lists more than {MAX_PARTS:,} things")
                    index = table.number(2) & 0x7FFF if table.flags & 1 else table.number(1) & 0x7F
                    if 1 <= index <= len(sizes) and (size := sizes[index - 1]):
                        if item.size not in (None, size):
                            raise _DamagedError("gives one item two sizes")
                        item.size = size

    def _size_in(self, kind: bytes, start: int, end: int) -> tuple[int, int] | None:
        if kind != b"ispe":
            return None
        box = _Reader(self.data, start, end)
        box.version()
        return box.number(4), box.number(4)

    def _read_references(self, box: _Reader) -> None:
        size = 2 if box.version() == 0 else 4
        parts = 0
        for kind, start, end in self.boxes(box.at, box.end):
            entry = _Reader(self.data, start, end)
            number = entry.number(size)
            others = [entry.number(size) for _ in entry.count(2)]
            parts += len(others)
            if parts > 10 * MAX_PARTS:
                raise _DamagedError(f"lists more than {MAX_PARTS:,} things")
            if kind == b"dimg" and number in self.items:
                if self.items[number].made_of:
                    raise _DamagedError("makes one item of two lists")
                self.items[number].made_of = others

    # --- The picture ------------------------------------------------------------------------------------------------

    def picture(self) -> tuple[ImageFormat | None, tuple[int, int]]:
        """The primary item's format (None: nobody here decodes it) and its size. All of its bytes are there."""
        item = self.items.get(self.primary or 0)
        if item is None:
            raise _DamagedError("does not say which item is the picture")
        if item.size is None:
            raise _DamagedError("does not say how large its picture is")
        if item.kind == _GRID:
            return self._grid(item), item.size
        self._bytes_of(item)
        return _CODED.get(item.kind), item.size

    def _grid(self, item: _Item) -> ImageFormat | None:
        box = _Reader(data := self._bytes_of(item), 0, len(data))
        box.number(1)  # version
        size = 4 if box.number(1) & 1 else 2
        rows, columns = box.number(1) + 1, box.number(1) + 1
        width, height = box.number(size), box.number(size)
        tiles = [self.items.get(number, _Item()) for number in item.made_of]
        if len(tiles) != rows * columns:
            raise _DamagedError("has a grid with more or fewer tiles than it says")
        if len({(tile.kind, tile.size) for tile in tiles}) != 1 or (tile_size := tiles[0].size) is None:
            raise _DamagedError("has a grid of tiles that differ")
        if (width, height) != item.size or not all(
            tile * (count - 1) < whole <= tile * count
            for tile, count, whole in ((tile_size[0], columns, width), (tile_size[1], rows, height))
        ):
            raise _DamagedError("has a grid of another size than its tiles")
        for tile in tiles:
            self._bytes_of(tile)
        return _CODED.get(tiles[0].kind)

    def _bytes_of(self, item: _Item) -> bytes:
        """An item's first bytes, enough for a grid. Raises _BrokenOffError when any of its bytes are not there."""
        start, end = self.idat if item.is_in_meta else (0, len(self.data))
        if not item.extents:
            raise _DamagedError("does not say where its picture is")
        for offset, length in item.extents:
            if start + offset + (length or 1) > end:
                raise _BrokenOffError
        offset, length = item.extents[0]
        return self.data[start + offset : start + offset + min(length or 64, 64)]

    # --- moov -------------------------------------------------------------------------------------------------------

    def read_tracks(self, start: int, end: int) -> None:
        """How the samples of an animation are coded, and how large they are."""
        self._descend(start, end, 0)

    def _descend(self, start: int, end: int, depth: int) -> None:
        for kind, at, ends in self.boxes(start, end):
            if kind == b"tkhd":
                box = _Reader(self.data, max(at, ends - 8), ends)
                self.sizes.append((box.number(4) >> 16, box.number(4) >> 16))
            elif kind == _TO_SAMPLES[depth]:
                if depth + 1 < len(_TO_SAMPLES):
                    self._descend(at, ends, depth + 1)
                else:
                    self._read_samples(at, ends)

    def _read_samples(self, start: int, end: int) -> None:
        for kind, at, ends in self.boxes(start + 8, end):  # behind version, flags and how many there are
            if kind in _CODED:
                box = _Reader(self.data, at + 24, ends)  # behind what every sample and every video sample has
                self.tracks.append((kind, (box.number(2), box.number(2))))
                self.sizes.append(self.tracks[-1][1])


def walk(data: bytes) -> tuple[ImageFormat, Found]:
    """The format of a file that `is_heif`, as far as it is known, and what is found in it."""
    walk = _Walk(data)
    format = ImageFormat.AVIF if _brands(data) & _AVIF_BRANDS else ImageFormat.HEIC
    found = Found()
    try:
        format, found.unsupported = _read(walk, format)
        found.complete = True
    except _DamagedError as error:
        found.damage = str(error)
    except _BrokenOffError:
        pass
    picture = walk.items.get(walk.primary or 0, _Item()).size or next((size for _, size in walk.tracks), None)
    found.size, found.others = picture, walk.sizes
    return format, found


def _read(walk: _Walk, said: ImageFormat) -> tuple[ImageFormat, str]:
    """The format by how its pixels are coded, and what the file is if nobody here decodes it."""
    seen_meta = False
    for kind, start, end in walk.boxes(0, len(walk.data), is_top=True):
        if kind == b"meta":
            if seen_meta:
                raise _DamagedError("has two boxes meta")
            seen_meta = True
            walk.read_meta(_Reader(walk.data, start, end))
        elif kind == b"moov":
            walk.read_tracks(start, end)
    if seen_meta:
        format, _ = walk.picture()
        name = walk.items[walk.primary or 0].kind.decode("latin-1")
        return format or said, "" if format else f"a HEIF whose picture is of the kind {name!r}"
    if any(kind == b"av01" for kind, _ in walk.tracks):
        return ImageFormat.AVIF, ""
    return said, "a HEIF without a still picture"
