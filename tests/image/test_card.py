"""The card that loses what was not flushed: else every cut would be a kind one."""

from __future__ import annotations

import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

from tests.image.nbd import Card

SECTOR = 512
WRITE, FLUSH = 1, 3


class Client:
    """As little of QEMU's side as a test needs."""

    def __init__(self, address: Path) -> None:
        self._line = socket.socket(socket.AF_UNIX)
        self._line.connect(str(address))
        self._line.recv(18, socket.MSG_WAITALL)
        self._line.sendall(struct.pack(">I8sII", 3, b"IHAVEOPT", 1, 0))
        self._line.recv(10, socket.MSG_WAITALL)

    def ask(self, kind: int, sector: int = 0, data: bytes = b"", *, flags: int = 0) -> None:
        head = struct.pack(">IHHQQI", 0x25609513, flags, kind, 7, sector * SECTOR, len(data))
        self._line.sendall(head + data)
        assert struct.unpack(">IIQ", self._line.recv(16, socket.MSG_WAITALL)) == (0x67446698, 0, 7)

    def close(self) -> None:
        self._line.close()


def test_what_was_flushed_stays_and_of_the_rest_each_sector_stays_or_goes(tmp_path: Path):
    old, flushed, unsure = b"o" * SECTOR, b"f" * SECTOR, b"u" * SECTOR
    (tmp_path / "card").write_bytes(old * 600)
    with Card(tmp_path / "card", tmp_path / "nbd") as card:
        client = Client(card.address)
        client.ask(WRITE, 0, flushed * 200)
        client.ask(FLUSH)
        client.ask(WRITE, 200, flushed * 2, flags=1)  # through to the card at once
        client.ask(WRITE, 100, unsure * 50)
        client.ask(WRITE, 300, unsure * 200)
        told = card.cut(Random(3))
        client.close()
    after = (tmp_path / "card").read_bytes()
    sectors = [after[at : at + SECTOR] for at in range(0, len(after), SECTOR)]
    assert told[0] == 250
    assert 0 < told[1] < 250
    assert set(sectors[:100] + sectors[150:202]) == {flushed}
    assert set(sectors[100:150]) == {flushed, unsure}
    assert set(sectors[300:500]) == {old, unsure}
    assert sectors[300:500].count(old) + sectors[100:150].count(flushed) == told[1]


def test_a_cut_in_the_midst_of_a_write_waits_for_one(tmp_path: Path):
    (tmp_path / "card").write_bytes(bytes(SECTOR * 8))
    with Card(tmp_path / "card", tmp_path / "nbd") as card:
        assert card.cut(Random(1), while_writing_s=0.01) == (0, 0)
    with Card(tmp_path / "card", tmp_path / "nbd") as card, ThreadPoolExecutor(1) as later:
        told = later.submit(card.cut, Random(1), while_writing_s=60.0)
        client = Client(card.address)
        head = struct.pack(">IHHQQI", 0x25609513, 0, WRITE, 7, 2 * SECTOR, 3 * SECTOR)
        client._line.sendall(head + b"x" * SECTOR * 3)  # the answer may come, or not
        assert told.result()[0] == 3
        client.close()


def test_a_dead_card_takes_nothing_more(tmp_path: Path):
    (tmp_path / "card").write_bytes(bytes(SECTOR * 8))
    with Card(tmp_path / "card", tmp_path / "nbd") as card:
        client = Client(card.address)
        card.cut(Random(1))
        late = Client(card.address)
        late._line.sendall(
            struct.pack(">IHHQQI", 0x25609513, 0, WRITE, 7, 0, SECTOR) + b"x" * SECTOR
        )
        assert late._line.recv(16) == b""
        client.close()
        late.close()
    assert (tmp_path / "card").read_bytes() == bytes(SECTOR * 8)
