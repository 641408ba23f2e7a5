"""Reading rows out of the journal's files, beside an agent that uses them or without one: above all the audit trail.

The agent holds the database locked for itself and keeps no shared-memory file (docs/design/journal.md), so SQLite lets nobody
else in; and SQLite opened by root would recover, checkpoint or delete the log of a store that is not its own. So the pages are
read here as they lie: the file, and above it the committed frames of the write-ahead log (sqlite.org/fileformat2.html).
Promises: opens for reading alone, takes no lock and changes nothing; memory is bounded by the log, not by the store; a page that is
damaged costs the rows on it and is named; says whether the files changed under the reader.
Not its job: whether the chain holds (chain.py), what a record is (holdings.py), pictures.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeAlias

from edge_agent.spool.chain import State, read_state
from edge_agent.spool.head import Head, whole_names

Value: TypeAlias = "int | float | str | bytes | None"
Row: TypeAlias = "tuple[int, list[Value]]"

_MAGIC: Final = b"SQLite format 3\0"
_APPLICATION_AT: Final = 68
_WAL_HEADER: Final = 32
_FRAME_HEADER: Final = 24
_WAL_MAGICS: Final = {0x377F0682: "<", 0x377F0683: ">"}
_LOG_BYTES_MAX: Final = 64_000_000  # the store keeps its log below a tenth of that
_INTERIOR: Final = 5
_LEAF: Final = 13
_INDEX_INTERIOR: Final = 2
_INDEX_LEAF: Final = 10
_ROWID_MAX: Final = 2**63 - 1
_DEPTH_MAX: Final = 12  # a tree of 2^32 pages is not deeper
_PAYLOAD_MAX: Final = 4_000_000
_INT_BYTES: Final = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


class UnreadableError(Exception):
    """There is no trail to be read; `str()` says why, for a person."""


class _Damaged(Exception):  # noqa: N818 - never leaves this module
    """This page or cell is not what it should be."""


class Peek:
    """The trail in one store's file, as it was when it was opened. A context manager; raises `UnreadableError`."""

    def __init__(self, path: Path, *, application: int) -> None:
        self._path = path
        self.faults: list[str] = []  # pages that could not be read, each once
        self.epoch = ""
        self.state: State | None = None
        self.last_seq: int | None = None  # None: the store does not tell
        self.held = ""  # what lies on each shelf, as the store tells it
        self._roots: dict[str, int] = {}
        self._log: dict[int, bytes] = {}
        self._fd = _open(path)
        try:
            self._stamp = self._stamp_now()
            self._read_head(application)
            self._read_log()
            self._read_schema()
        except BaseException:
            os.close(self._fd)
            raise

    def __enter__(self) -> Self:
        """It is open already."""
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Let go of the file."""
        os.close(self._fd)

    def entries(self) -> Iterator[tuple[int, bytes, str]]:
        """(place, text, hash) of each entry that can be read, oldest first. May be asked for again."""
        for place, values in self._rows("audit"):
            match values:
                case [_, bytes(text), str(told)]:
                    yield place, text, told
                case _:
                    self._fault(f"row {place} of the trail is none")

    def rows(
        self, table: str, *, low: int = 0, high: int = _ROWID_MAX, newest_first: bool = False
    ) -> Iterator[Row]:
        """(rowid, values) of each row of *table* from *low* to *high* that can be read; a rowid's own column is None."""
        yield from self._rows(table, bounds=(low, high), newest_first=newest_first)

    def facts(self) -> dict[str, bytes]:
        """The small things that are kept beside the records, as far as they can be read."""
        found: dict[str, bytes] = {}
        root = self._roots.get("fact")
        for values in () if root is None else self._index("fact", root, 0, set()):
            match values:
                case [str(name), bytes(value), *_]:
                    found[name] = value
                case _:
                    self._fault("a row of the fact table is damaged")
        return found

    def names(self, table: str) -> dict[int, str]:
        """By number, as far as either copy is whole."""
        found: dict[int, str] = {}
        count = 0
        for number, values in self._rows(table):
            found |= whole_names(table, [(number, *values[1:])])
            count += 1
        root = self._roots.get(f"{table}_again")
        again = [] if root is None else list(self._index(table, root, 0, set()))
        copy = whole_names(table, [(values[-1], *values[:-1]) for values in again if values])
        if found != copy or not count == len(again) == len(copy):
            self._fault(f"a name in the {table} table is damaged")
        return found | copy

    def unchanged(self) -> bool:
        """Whether the file is as it was when it was opened: if not, what was read may be of two moments."""
        return self._stamp_now() == self._stamp

    # -- files --

    def _stamp_now(self) -> tuple[int, int, int]:
        about = os.fstat(self._fd)
        return about.st_mtime_ns, about.st_size, about.st_ino

    def _read_head(self, application: int) -> None:
        head = os.pread(self._fd, 100, 0)
        size = int.from_bytes(head[16:18], "big")
        self._page = 65_536 if size == 1 else size
        self._usable = self._page - (head[20] if len(head) > 20 else 0)
        if not head and not self._stamp[1]:
            return  # made a moment ago: all there is, is in the log
        well = head.startswith(_MAGIC) and self._page >= 512 and self._page & (self._page - 1) == 0
        if not well or self._usable < 480:
            msg = f"{self._path}: not a database, or its first page is damaged"
            raise UnreadableError(msg)
        found = int.from_bytes(head[_APPLICATION_AT : _APPLICATION_AT + 4], "big")
        if found not in {application, 0}:  # 0: the log has the first page
            msg = f"{self._path}: another program's database"
            raise UnreadableError(msg)

    def _read_log(self) -> None:
        """Every page of the log up to its last whole commit; a log left by an earlier life of it ends where the salts differ."""
        try:
            raw = _read(Path(f"{self._path}-wal"), _LOG_BYTES_MAX)
        except FileNotFoundError:
            return
        except OSError as error:
            self._fault(f"the write-ahead log cannot be read: {error.strerror or error}")
            return
        if len(raw) < _WAL_HEADER:
            return
        magic, _, page, _, *salts, sum_1, sum_2 = struct.unpack(">8I", raw[:_WAL_HEADER])
        order = _WAL_MAGICS.get(magic)
        if order is None or page < 512 or _sums(raw[:24], order, (0, 0)) != (sum_1, sum_2):
            return
        if not self._page:
            self._page = self._usable = page
        if page != self._page:
            return
        self._take_frames(raw, order, salts, (sum_1, sum_2))

    def _take_frames(self, raw: bytes, order: str, salts: list[int], sums: tuple[int, int]) -> None:
        waiting: dict[int, bytes] = {}
        for at in range(
            _WAL_HEADER, len(raw) - _FRAME_HEADER - self._page + 1, _FRAME_HEADER + self._page
        ):
            number, pages, *found, sum_1, sum_2 = struct.unpack(">6I", raw[at : at + _FRAME_HEADER])
            body = raw[at + _FRAME_HEADER : at + _FRAME_HEADER + self._page]
            if found != salts:
                return
            sums = _sums(body, order, _sums(raw[at : at + 8], order, sums))
            if sums != (sum_1, sum_2):
                return
            waiting[number] = body
            if pages:  # a commit
                self._log.update(waiting)
                waiting = {}

    def _read_schema(self) -> None:
        for _, values in self._rows("sqlite_schema", root=1):
            match values:
                case ["table" | "index", str(name), _, int(root), *_]:
                    self._roots[name] = root
                case _:
                    pass
        found = [values for _, values in self._rows("store")]
        head = Head.of(found[0][1:]) if len(found) == 1 else None
        if head is not None:
            self.state = chain_end(head)
            self.last_seq, self.held = head.last_seq, head.held
        else:
            self._fault("the store's one row is damaged")
        self.epoch = self.names("epoch").get(1, "")

    def _fault(self, text: str) -> None:
        if text not in self.faults:
            self.faults.append(text)

    # -- trees --

    def _rows(
        self,
        table: str,
        *,
        root: int | None = None,
        bounds: tuple[int, int] = (0, _ROWID_MAX),
        newest_first: bool = False,
    ) -> Iterator[Row]:
        """Every row of *table* within *bounds* that can be read, in order of its rowid."""
        root = self._roots.get(table) if root is None else root
        if root is None:
            self._fault(f"there is no table {table!r} to be found")
            return
        walk = _Walk(table, *bounds, newest_first=newest_first)
        yield from self._tree(walk, root, 0)

    def _tree(self, walk: _Walk, number: int, depth: int) -> Iterator[Row]:
        found = self._node(walk.table, number, depth, walk.seen, (_INTERIOR, _LEAF))
        if found is None:
            return
        page, start, kind, offsets = found
        if kind == _INTERIOR:
            for child in self._children(walk, page, start, offsets):
                yield from self._tree(walk, child, depth + 1)
            return
        for offset in reversed(offsets) if walk.newest_first else offsets:
            try:
                row = self._cell(page, offset, walk)
            except (_Damaged, IndexError, ValueError, struct.error):
                self._fault(f"a row on page {number} of the {walk.table} table is damaged")
                continue
            if row is not None:
                yield row

    def _node(
        self, table: str, number: int, depth: int, seen: set[int], kinds: tuple[int, int]
    ) -> tuple[bytes, int, int, tuple[int, ...]] | None:
        """(page, where its head begins, its kind, where its cells lie); None if it is damaged, which is then noted."""
        try:
            if number in seen:  # pages that name each other would be walked for ever
                raise _Damaged  # noqa: TRY301 - one way out for all that is wrong with a page
            seen.add(number)
            page = self._page_of(number)
            start = 100 if number == 1 else 0
            kind, cells = page[start], int.from_bytes(page[start + 3 : start + 5], "big")
            if kind not in kinds or depth > _DEPTH_MAX:
                raise _Damaged  # noqa: TRY301 - one way out for all that is wrong with a page
            pointers = start + (12 if kind == kinds[0] else 8)
            return page, start, kind, struct.unpack_from(f">{cells}H", page, pointers)
        except (_Damaged, struct.error, IndexError):
            self._fault(
                f"page {number} of the {table} table is damaged: what it held is missing here"
            )
            return None

    def _children(
        self, walk: _Walk, page: bytes, start: int, offsets: tuple[int, ...]
    ) -> list[int]:
        """The pages below that may hold what is looked for: each cell has a page and the highest rowid on it."""
        children: list[int] = []
        below = -1  # every rowid that follows is higher
        for offset in offsets:
            try:
                highest, _ = _varint(page, offset + 4)
            except IndexError:
                self._fault(f"a page of the {walk.table} table is damaged")
                return children
            if highest >= walk.low and below < walk.high:
                children.append(int.from_bytes(page[offset : offset + 4], "big"))
            below = highest
        if below < walk.high:
            children.append(int.from_bytes(page[start + 8 : start + 12], "big"))
        return children[::-1] if walk.newest_first else children

    def _index(self, table: str, number: int, depth: int, seen: set[int]) -> Iterator[list[Value]]:
        """Every row of a small table without rowid, in no order."""
        found = self._node(table, number, depth, seen, (_INDEX_INTERIOR, _INDEX_LEAF))
        if found is None:
            return
        page, start, kind, offsets = found
        head = 4 if kind == _INDEX_INTERIOR else 0
        for offset in offsets:
            try:
                size, at = _varint(page, offset + head)
                most = (self._usable - 12) * 64 // 255 - 23
                yield _values(self._payload(page, at, size, most))
            except (_Damaged, IndexError, ValueError, struct.error):
                self._fault(f"a row on page {number} of the {table} table is damaged")
        if kind == _INDEX_INTERIOR:
            children = [int.from_bytes(page[offset : offset + 4], "big") for offset in offsets]
            for child in (*children, int.from_bytes(page[start + 8 : start + 12], "big")):
                yield from self._index(table, child, depth + 1, seen)

    def _page_of(self, number: int) -> bytes:
        page = self._log.get(number)
        if page is None:
            try:
                page = os.pread(self._fd, self._page, (number - 1) * self._page) if number else b""
            except OSError as error:
                raise _Damaged from error
        if len(page) != self._page:
            raise _Damaged
        return page

    def _cell(self, page: bytes, offset: int, walk: _Walk) -> Row | None:
        """The row there; None if it is not within what is looked for."""
        size, at = _varint(page, offset)
        rowid, at = _varint(page, at)
        if not walk.low <= rowid <= walk.high:
            return None
        return rowid, _values(self._payload(page, at, size, self._usable - 35))

    def _payload(self, page: bytes, at: int, size: int, most: int) -> bytes:
        """The cell's record, with what of it lies on pages of its own; up to *most* bytes lie on this one."""
        usable = self._usable
        if size > _PAYLOAD_MAX:
            raise _Damaged
        if size <= most:
            return page[at : at + size]
        least = (usable - 12) * 32 // 255 - 23
        local = least + (size - least) % (usable - 4)
        local = local if local <= most else least
        parts, left = [page[at : at + local]], size - local
        following = int.from_bytes(page[at + local : at + local + 4], "big")
        while left > 0:
            more = self._page_of(following)
            following = int.from_bytes(more[:4], "big")
            parts.append(more[4 : 4 + min(left, usable - 4)])
            left -= usable - 4
        return b"".join(parts)


def chain_end(head: Head) -> State | None:
    """What the store says of its chain's end; None if that cannot be read. Before its first record it says nothing: there is none."""
    return read_state(head.trail) if head.trail or head.last_seq else State(pictures={})


class _Walk:
    """What is looked for in a table, and the pages seen on the way."""

    def __init__(self, table: str, low: int, high: int, *, newest_first: bool) -> None:
        self.table, self.low, self.high, self.newest_first = table, low, high, newest_first
        self.seen: set[int] = set()


def _open(path: Path) -> int:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        msg = f"{path}: there is no journal"
        raise UnreadableError(msg) from None
    except OSError as error:
        msg = f"{path}: {error.strerror or error}"
        raise UnreadableError(msg) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        msg = f"{path}: not a file"
        raise UnreadableError(msg)
    return descriptor


def _read(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:  # room is taken for as much as is asked for
        return file.read(min(limit, os.fstat(file.fileno()).st_size))


def _sums(raw: bytes, order: str, sums: tuple[int, int]) -> tuple[int, int]:
    """The log's running checksum over *raw*, whose length is a multiple of eight."""
    first, second = sums
    words = struct.unpack(f"{order}{len(raw) // 4}I", raw)
    for at in range(0, len(words), 2):
        first = (first + words[at] + second) & 0xFFFFFFFF
        second = (second + words[at + 1] + first) & 0xFFFFFFFF
    return first, second


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    """A variable-length integer (never negative where it is used here), and where the next thing begins."""
    value = 0
    for _ in range(8):
        byte = raw[at]
        at += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at
    return value << 8 | raw[at], at + 1


def _values(payload: bytes) -> list[Value]:
    """A record taken apart."""
    head, at = _varint(payload, 0)
    if head > len(payload):
        raise _Damaged
    types: list[int] = []
    while at < head:
        kind, at = _varint(payload, at)
        types.append(kind)
    out: list[Value] = []
    at = head
    for kind in types:
        size = _INT_BYTES.get(kind, 8 if kind == 7 else 0 if kind < 12 else (kind - 12) // 2)
        raw = payload[at : at + size]
        if len(raw) != size:
            raise _Damaged
        out.append(_value(kind, raw))
        at += size
    return out


def _value(kind: int, raw: bytes) -> Value:
    if kind in _INT_BYTES:
        return int.from_bytes(raw, "big", signed=True)
    if kind == 7:
        return float(struct.unpack(">d", raw)[0])
    if kind < 12:
        return {8: 0, 9: 1}.get(kind)
    return raw if kind % 2 == 0 else raw.decode("utf-8", "replace")
