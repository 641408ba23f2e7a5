"""One flipped bit in what all of a store depends on: its own row, the names that its records share, the list of spare files."""

import random  # noqa: TID251 - seeded: the same each time
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge_agent.core.messages import Committed, FindingKey, JournalTrouble, Rank
from edge_agent.spool import Holdings, UnreadableError, check
from edge_agent.spool.files import FILE, TROUBLE, DamagedError, as_text
from edge_agent.spool.head import Head, names_left, read_head, read_names, read_spare
from edge_agent.spool.schema import PAGE
from tests.support.desk import Desk, HandClock, jpeg, released
from tests.support.head import tell

NAMES = ("epoch", "boot", "camera")
TABLES = ("store", "spare", *NAMES)
CAMERAS = ("gate", "alley", "field")
BOOTS = ("7c1f0d4e", "a52b93f6", "0be64d18")
LIVES = 30  # stores with one flipped bit that an agent is given; each bit is read


@dataclass
class Sound:
    """A store without a fault, and what it says."""

    folder: Path
    raw: bytes
    bits: dict[str, list[int]]  # of each table and its second copy: which bits are its rows'
    head: Head
    names: dict[str, dict[int, str]]
    epoch: str
    spare: set[int]
    held: set[object]


def contents(desk: Desk) -> set[object]:
    """What the test has put in: of a picture its bytes, of another record its data."""
    found = desk.everything(cameras=CAMERAS)
    return {one.jpeg or one.data for one in found if one.kind in {"snapshot", "test.note"}}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Sound:
    folder = tmp_path_factory.mktemp("head") / "journal"
    for life, boot in enumerate(BOOTS):
        with Desk(folder, clock=HandClock(boot)) as desk:
            for n in range(12):
                rank = (Rank.AUDIT, Rank.STATE, Rank.METRIC)[n % 3]
                desk.keep(desk.note([life, n], rank=rank))
            for n, camera in enumerate(CAMERAS):
                desk.spool.keep_picture(
                    released(camera, 900.0 + n, jpeg(10 * life + n, size=6_000))
                )
            desk.alarm()
    with Desk(folder, clock=HandClock(BOOTS[-1])) as desk:
        before = contents(desk)
        for stored in desk.read(camera="gate")[:2]:
            desk.settle((stored.seq, stored.seq))
        desk.clock.skip(6)
        desk.alarm()
        held, epoch = contents(desk), desk.epoch
    raw = (folder / FILE).read_bytes()
    with closing(sqlite3.connect(folder / FILE)) as c:
        roots = dict(c.execute("SELECT name, rootpage FROM sqlite_master WHERE rootpage > 0"))
        names = {table: read_names(c, table) for table in NAMES}
        head = read_head(c)
        spare = set(read_spare(c))
    assert len(spare) == 2
    bits = {table: list(rows_of(raw, roots[table])) for table in TABLES}
    bits |= {f"{table}_again": list(rows_of(raw, roots[f"{table}_again"])) for table in NAMES}
    assert (len(before), len(held)) == (45, 43)
    assert set(names["boot"].values()) == set(BOOTS)
    return Sound(folder, raw, bits, head, names, epoch, spare, held)


def rows_of(raw: bytes, page: int) -> Iterator[int]:
    """Each bit of a page that holds a small table: its head, where its rows lie, and they themselves."""
    at = (page - 1) * PAGE
    count, start = (int.from_bytes(raw[at + n : at + n + 2], "big") for n in (3, 5))
    for place in (*range(8 + 2 * count), *range(start, PAGE)):
        yield from range(8 * (at + place), 8 * (at + place) + 8)


def flipped(raw: bytes, bit: int) -> bytes:
    out = bytearray(raw)
    out[bit >> 3] ^= 1 << (bit & 7)
    return bytes(out)


def in_memory(raw: bytes) -> sqlite3.Connection:
    """The same store, read without a disk: its header says that it has no log."""
    connection = sqlite3.connect(":memory:")
    connection.deserialize(raw[:18] + b"\1\1" + raw[20:])
    connection.text_factory = as_text
    return connection


def test_each_flipped_bit_is_found_and_each_name_is_known_all_the_same(sound: Sound):
    found = 0
    for where, bits in sound.bits.items():
        for bit in bits:
            with closing(in_memory(flipped(sound.raw, bit))) as c:
                try:
                    assert read_head(c) == sound.head, (where, bit)
                    assert {table: read_names(c, table) for table in NAMES} == sound.names
                    assert set(read_spare(c)) <= sound.spare
                except (DamagedError, *TROUBLE):
                    found += 1
                assert {table: names_left(c, table) for table in NAMES} == sound.names, (where, bit)
    # The rest lies where SQLite keeps nothing that it reads.
    assert found > 0.9 * sum(map(len, sound.bits.values()))


def given(sound: Sound, folder: Path, bit: int) -> None:
    """An agent is given the store with that bit flipped, twice: nothing whole may be missing, whatever it does about it."""
    shutil.copytree(sound.folder, folder)
    (folder / FILE).write_bytes(flipped(sound.raw, bit))
    peeked(sound, folder)
    replaced = False
    for life in ("later", "last"):
        with Desk(folder, clock=HandClock(life)) as desk:  # which fails if the agent dies
            contents(desk)
            desk.clock.skip(11)
            for _ in range(25):  # steps of the look around
                desk.ask(limit=1)
                desk.clock.skip(0.1)
            assert contents(desk) == sound.held, f"{life}, bit {bit}"
            assert desk.last(Committed).durable, f"{life}, bit {bit}"
            replaced |= desk.epoch != sound.epoch
            if life == "later" and replaced:
                assert desk.last(JournalTrouble).key is FindingKey.JOURNAL_BROKEN, bit
                kinds = [one.kind for one in desk.read(audit=True)]
                assert kinds.count("journal.damaged") == 1, bit
    assert check(str(folder)) == (), bit
    shutil.rmtree(folder)


def peeked(sound: Sound, folder: Path) -> None:
    """A technician's look at it, before any agent mends it, gives every record too, or says that it cannot be read."""
    with suppress(UnreadableError), Holdings(str(folder)) as holdings:
        assert holdings.epoch == sound.epoch
        lots = [
            holdings.lot(shelf.number, after=0, upto=holdings.last_seq, records=100, size=10**6)
            for shelf in holdings.shelves()
        ]
        stored = {one.stored for lot in lots for one in lot}
        assert None not in stored
        assert len(stored) >= len(sound.held)


def test_an_agent_loses_nothing_by_one_flipped_bit(sound: Sound, tmp_path: Path):
    """As many bits as there is time for: some of each row, others at each change of this seed."""
    rng = random.Random("head 1")
    for n in range(LIVES):
        where = list(sound.bits)[n % len(sound.bits)]
        bit = rng.choice(sound.bits[where])
        given(sound, tmp_path / f"{n} {where}", bit)


@pytest.mark.parametrize(
    ("where", "text", "bit"),
    [
        ("boot", BOOTS[0].encode(), 1),  # once every record of that boot was deleted
        ("camera", b"gate", 4),
        ("epoch", None, 6),  # once the hub would have counted everything again
        ("store", b'"17":', 2),  # once nobody was shown the pictures of that camera
        ("store", b'"0":', 2),
    ],
)
def test_what_once_cost_records_costs_none(
    sound: Sound, tmp_path: Path, where: str, text: bytes | None, bit: int
):
    first = sound.bits[where][0] >> 3
    at = sound.raw.index(text or sound.epoch.encode(), first, first + PAGE)
    given(sound, tmp_path / "given", 8 * at + 8 + bit)


@pytest.mark.parametrize(
    "told",
    [
        {"last_file": 1 << 50},
        {"last_file": -1},
        {"last_seq": -1},
        {"last_seq": 2**63 - 1},
        {"opened": 2**63 - 1},
        {"held": '{"17":[4,"x"]}'},
        {"held": "[1]"},
        {"trail": '{"n":3,"bytes":"x","hash":5}'},
    ],
)
def test_numbers_that_no_store_has_do_not_end_the_agent(sound: Sound, tmp_path: Path, told):
    """Whole by their checksum: what no bit does, but a fault of ours might."""
    folder = tmp_path / "journal"
    records = {one for one in sound.held if isinstance(one, bytes) and one.startswith(b"{")}
    assert len(records) == 36
    shutil.copytree(sound.folder, folder)
    tell(folder / FILE, **told)
    for life in ("later", "last"):
        with Desk(folder, clock=HandClock(life)) as desk:
            desk.clock.skip(11)
            for _ in range(25):
                desk.ask(limit=1)
                desk.clock.skip(0.1)
            desk.alarm()
            assert desk.last(Committed).durable
            assert contents(desk) >= records


def test_a_name_of_which_both_copies_are_hurt_is_no_name():
    with closing(sqlite3.connect(":memory:")) as c:
        c.execute("CREATE TABLE boot (id INTEGER PRIMARY KEY, name TEXT, sum INTEGER)")
        c.execute("CREATE UNIQUE INDEX boot_again ON boot (name, sum)")
        c.execute("INSERT INTO boot VALUES (1, 'b1', 7)")
        assert names_left(c, "boot") == {}
        with pytest.raises(DamagedError, match="boot"):
            read_names(c, "boot")
