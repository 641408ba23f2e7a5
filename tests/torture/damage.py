"""Damage to the journal's files: flipped bits, blocks of zeros or of nonsense, cut-off ends, lost or swapped files, foreign ones.

*lost* here: records none of whose bytes were damaged, that can be read no more, and that no tombstone declares. (A store that was
moved aside is declared as a whole, by `journal.damaged`, with its epoch and how many records it brought over.) Beside it are told:
*silent*, damaged and gone without being declared, which nobody can help where a log was cut off at a commit; and *unsaved*,
declared although their own bytes were whole. Where the log is cut off, or hurt in its last transaction, what followed never came as far as
anybody can see who finds it: that too is silent.
"""

from __future__ import annotations

import random
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from edge_agent.core.messages import Committed, Died, Stored
from edge_agent.spool import check
from edge_agent.spool.schema import PAGE
from tests.torture.book import START_S, Desk, Proof, StuckError, Tally, broken, declared, number_of
from tests.torture.kill import life
from tests.torture.things import MARK
from tests.torture.writer import QuickClock, Task

BLOCK: Final = 4_096
_NAMED: Final = "audit trail: "  # a trail that was damaged is to be named so, for ever
FILE: Final = "journal.db"
STORES: Final = 25  # trials with one store
LOTS: Final = 12
_LOG_HEADER: Final = 32  # https://sqlite.org/fileformat2.html#the_write_ahead_log
_RECORD: Final = re.compile(rb'"n":(\d{7,12})[,}]|' + re.escape(MARK) + rb"(\d{12})")
_PLAIN: Final = Path("/dev/shm") if Path("/dev/shm").is_dir() else None


@dataclass
class Outcome(Tally):
    """With what is only told."""

    silent: int = 0
    unsaved: int = 0

    def add(self, other: Tally, what: str) -> None:
        """One more trial."""
        super().add(other, what)
        if isinstance(other, Outcome):
            self.silent += other.silent
            self.unsaved += other.unsaved


@dataclass
class Store:
    """A journal as it was left behind, by a kill or in good order."""

    folder: Path
    epoch: str
    held: dict[int, int] = field(default_factory=dict)  # seq by number of thing: what could be read


def run(trials: int, seed: str, home: Path) -> Tally:
    """So many damaged stores, by each kind of damage in turn."""
    tally = Outcome()
    while tally.trials < trials:
        with tempfile.TemporaryDirectory(dir=_PLAIN) as place:
            store = _make(
                Path(place), f"{seed} damage {tally.trials}", killed=tally.trials % 2 == 1
            )
            for _ in range(min(STORES, trials - tally.trials)):
                what = f"{seed} damage {tally.trials}"
                hurt = HURTS[tally.trials % len(HURTS)]
                copy = Path(place) / "copy"
                shutil.copytree(store.folder, copy)
                tally.add(_trial(store, copy, hurt, random.Random(what)), f"{what} {hurt.__name__}")
                shutil.rmtree(copy)
    return tally


def _make(home: Path, seed: str, *, killed: bool) -> Store:
    """A store, with what can be read of it undamaged."""
    folder, proof = home / "journal", Proof()
    lots = 10**6 if killed else LOTS
    child = life(Task(folder=str(folder), life=1, seed=seed, lots=lots, behind=0), proof)
    if killed:
        while proof.kept.get((proof.epochs or [""])[0], 0) < 400:
            child.hear_one()
        child.kill()
    else:
        child.drain()
    whole = home / "whole"
    shutil.copytree(folder, whole)
    with Desk(whole) as desk:
        store = Store(folder, desk.last(Committed).epoch, _numbers(desk.everything()))
    shutil.rmtree(whole)
    return store


def _numbers(records: Iterable[Stored]) -> dict[int, int]:
    found = ((number_of(stored), stored.seq) for stored in records)
    return {number: seq for number, seq in found if number is not None}


def _trial(store: Store, copy: Path, hurt: Hurt, rng: random.Random) -> Outcome:
    try:
        return _held_to(store, copy, hurt, rng)
    except StuckError as error:
        return Outcome(accepted=len(store.held), refused=1, told=[str(error)])


def _held_to(store: Store, copy: Path, hurt: Hurt, rng: random.Random) -> Outcome:
    out = Outcome(accepted=len(store.held))
    before = _blocks(copy)
    hurt(copy, rng)
    whole, unseen = _whole(before, _blocks(copy)), _unseen(store.folder, copy)
    clock = QuickClock("later")
    with Desk(copy, clock=clock) as desk:
        opening = desk.last(Committed)
        desk.everything()
        _look_through(desk, clock)
        desk.everything()
        records = desk.everything()  # what was found damaged at one reading is declared at the next
        out.worst_start_s = desk.start_s
        out.refused = int(desk.start_s > START_S or not (opening.durable or broken(desk)))
        out.told += [str(event) for event in desk.all(Died)]
        last = desk.last(Committed)
    epoch = records[-1].epoch if records else last.epoch
    numbers = _numbers(records)
    if -1 in numbers:
        out.lost += 1
        out.told.append("a record came back changed")
    missing = {number: seq for number, seq in store.held.items() if number not in numbers}
    gone = declared(records)
    for stored in records:
        if stored.kind == "journal.damaged" and epoch != store.epoch:
            gone |= set(store.held.values())
    quiet = {number for number, seq in missing.items() if seq not in gone}
    if unseen:
        whole -= quiet
    out.lost += len(quiet & whole)
    out.silent += len(quiet - whole)
    out.unsaved += len(set(missing) & whole - quiet)
    if quiet & whole:
        out.told.append(
            f"{len(quiet & whole)} whole records are gone without a word: {sorted(quiet & whole)[:5]}"
        )
    if epoch == store.epoch and max(store.held.values()) > last.last_seq and not unseen:
        out.told.append(
            f"seqs from {last.last_seq + 1} to {max(store.held.values())} would be given twice"
        )
    # Where the store is still the old one, naming what is wrong with it is right; a new one has nothing wrong.
    anew = last.durable and epoch != store.epoch and hurt is not foreign_files
    out.told += [
        f"check: {fault}"
        for fault in (check(str(copy)) if anew else ())
        if not fault.startswith(_NAMED)
    ]
    return out


def _look_through(desk: Desk, clock: QuickClock) -> None:
    """Let time pass in which the journal looks through its store in the background, a small step at a time."""
    clock.skip(60)
    for _ in range(200):
        desk.ask(limit=1)
        clock.skip(0.2)


# ---- what of a record is damaged ----


def _blocks(folder: Path) -> dict[tuple[str, int], bytes]:
    """Every block of every file, by name and number."""
    return dict(_each_block(folder))


def _each_block(folder: Path) -> Iterator[tuple[tuple[str, int], bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            for at in range(0, len(content), BLOCK):
                yield (str(path.relative_to(folder)), at // BLOCK), content[at : at + BLOCK]


def _whole(before: dict[tuple[str, int], bytes], after: dict[tuple[str, int], bytes]) -> set[int]:
    """The things of which no block has changed or moved. Blocks follow one another, so a record over a border is in both."""
    all_of, hurt = set[int](), set[int]()
    for name, content in before.items():
        follows = before.get((name[0], name[1] + 1), b"")[:64]
        numbers = {int(match[1] or match[2]) for match in _RECORD.finditer(content + follows)}
        all_of |= numbers
        if after.get(name) != content:
            hurt |= numbers
    return all_of - hurt


def _unseen(before: Path, after: Path) -> bool:
    """Whether the log was hurt so that it looks like one whose last transaction a power cut took.

    Seen is what lies before a whole transaction's end with a whole frame behind it: that had been synced before the next began.
    """
    log, now = (_bytes(folder / f"{FILE}-wal") for folder in (before, after))
    if log[:_LOG_HEADER] != now[:_LOG_HEADER]:
        return bool(log)  # its first line says which frames are of it
    size = 24 + int.from_bytes(log[8:12], "big")
    frames = [log[at : at + size] for at in range(_LOG_HEADER, len(log), size)]
    frames = [
        frame for frame in frames if frame[8:16] == log[16:24]
    ]  # the rest is of its earlier lives
    same = [frame == now[_LOG_HEADER + n * size :][:size] for n, frame in enumerate(frames)]
    if all(same):
        return False
    first = same.index(False)
    ends = [n for n, frame in enumerate(frames) if n >= first and any(frame[4:8])]
    return not any(same[n] and any(same[n + 1 :]) for n in ends)


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


# ---- the damage ----

Hurt = Callable[[Path, random.Random], None]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)


def flip_bits(folder: Path, rng: random.Random) -> None:
    path = rng.choice(_files(folder))
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 1, 20])):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def flip_a_bit_of_the_log(folder: Path, rng: random.Random) -> None:
    """In the write-ahead log of a store that was killed; without one, in the database."""
    path = next(path for path in (folder / f"{FILE}-wal", folder / FILE) if path.is_file())
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def flip_bits_of_the_database(folder: Path, rng: random.Random) -> None:
    path = folder / FILE
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 5, 50])):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def flip_a_bit_of_the_head(folder: Path, rng: random.Random) -> None:
    """In one of the small tables on which everything depends: chance alone seldom meets their few bytes."""
    path = folder / FILE
    content = bytearray(path.read_bytes())
    uri = f"file:{path}?immutable=1"  # without its log: what that holds lies over the page, and is met elsewhere
    sql = (
        "SELECT rootpage FROM sqlite_master WHERE tbl_name IN ('store', 'epoch', 'boot', 'camera')"
    )
    with closing(sqlite3.connect(uri, uri=True)) as c:
        try:
            pages = [page for (page,) in c.execute(sql)] or [1]
        except sqlite3.Error:  # killed before more than its first page was there
            pages = [1]
    at = PAGE * (rng.choice(pages) - 1)
    used = [place for place in range(at, min(at + PAGE, len(content))) if content[place]]
    content[rng.choice(used)] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def signposts(content: bytes | bytearray) -> list[int]:
    """Where in a database the keys begin by which a search finds its way through a table, behind the page that each leads to.

    https://sqlite.org/fileformat2.html#b_tree_pages: 5 = an interior page of a table.
    """
    found = []
    for page in range(0, len(content), PAGE):
        head = page + (100 if page == 0 else 0)
        if content[head] == 5:
            count = int.from_bytes(content[head + 3 : head + 5], "big")
            for at in range(head + 12, min(head + 12 + 2 * count, page + PAGE - 1), 2):
                cell = page + int.from_bytes(content[at : at + 2], "big")
                if cell + 4 < page + PAGE:
                    found.append(cell + 4)
    return found


def flip_a_bit_of_a_signpost(folder: Path, rng: random.Random) -> None:
    """In the key of an interior page: a search then begins too early or too late, in records that are whole."""
    path = folder / FILE
    content = bytearray(path.read_bytes())
    if found := signposts(content):
        at = rng.choice(found)
        while content[at] & 0x80 and rng.random() < 0.9:  # mostly in its lowest bits
            at += 1
        content[min(at, len(content) - 1)] ^= 1 << rng.randrange(7)
        path.write_bytes(content)
    else:
        flip_bits_of_the_database(folder, rng)


def _blank(path: Path, rng: random.Random, make: Callable[[int], bytes]) -> None:
    content = bytearray(path.read_bytes())
    at = rng.randrange(len(content)) // BLOCK * BLOCK
    size = min(len(content) - at, BLOCK * rng.choice([1, 1, 4, 32]))
    content[at : at + size] = make(size)
    path.write_bytes(content)


def blocks_of_zeros(folder: Path, rng: random.Random) -> None:
    _blank(rng.choice(_files(folder)), rng, bytes)


def blocks_of_nonsense(folder: Path, rng: random.Random) -> None:
    _blank(rng.choice(_files(folder)), rng, rng.randbytes)


def zeros_in_the_database(folder: Path, rng: random.Random) -> None:
    _blank(folder / FILE, rng, bytes)


def first_page_gone(folder: Path, rng: random.Random) -> None:
    with (folder / FILE).open("r+b") as file:
        file.write(rng.choice([bytes(BLOCK), bytes(100), rng.randbytes(BLOCK)]))


def cut_off(folder: Path, rng: random.Random) -> None:
    path = rng.choice(_files(folder))
    with path.open("r+b") as file:
        file.truncate(rng.randrange(path.stat().st_size))


def end_of_the_database_gone(folder: Path, rng: random.Random) -> None:
    path = folder / FILE
    with path.open("r+b") as file:
        file.truncate(rng.randrange(path.stat().st_size) // BLOCK * BLOCK)


def a_file_gone(folder: Path, rng: random.Random) -> None:
    rng.choice(_files(folder)).unlink()


def pictures_gone(folder: Path, rng: random.Random) -> None:
    """Files beside the database, if there are any; else one more block of it."""
    beside = [path for path in _files(folder) if not path.name.startswith(FILE)]
    for path in rng.sample(beside, min(len(beside), rng.choice([1, 5, 50]))):
        path.unlink()
    if not beside:
        zeros_in_the_database(folder, rng)


def files_swapped(folder: Path, rng: random.Random) -> None:
    files = _files(folder)
    if len(files) < 2:
        return
    one, other = rng.sample(files, 2)
    between = folder / "between"
    one.rename(between)
    other.rename(one)
    between.rename(other)


def foreign_files(folder: Path, rng: random.Random) -> None:
    """Somebody else's, beside ours and within our folders."""
    for within in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        (within / rng.choice(["holiday.jpg", "lost+found", "1", "000000000001.jpg"])).write_bytes(
            rng.randbytes(2_000)
        )
    (folder / rng.choice(["journal.db-shm", "journal.db-journal", "tmp"])).write_bytes(
        rng.randbytes(2_000)
    )
    (folder / "a folder").mkdir()
    (folder / "a folder" / "link").symlink_to("/nowhere")


def another_program_s_file(folder: Path, rng: random.Random) -> None:
    path = folder / FILE
    path.unlink()
    if rng.random() < 0.5:
        path.write_bytes(rng.choice([b"", b"not a journal\n" * 1_000, rng.randbytes(20_000)]))
    else:
        path.mkdir()


HURTS: Final[tuple[Hurt, ...]] = (
    flip_bits,
    flip_bits_of_the_database,
    flip_a_bit_of_the_head,
    flip_a_bit_of_a_signpost,
    flip_a_bit_of_the_log,
    blocks_of_zeros,
    blocks_of_nonsense,
    zeros_in_the_database,
    first_page_gone,
    cut_off,
    end_of_the_database_gone,
    a_file_gone,
    pictures_gone,
    files_swapped,
    foreign_files,
    another_program_s_file,
)
