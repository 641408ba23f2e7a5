"""The city's side, on the host's loopback: mosquitto with the page's own TLS and access list, and the reference receiver.

The machine reaches it at 10.0.2.2, which is what QEMU calls the host's loopback. Boxes get their certificates as in life: from
the request that they wrote onto their card.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.image.vm import Ended
from tests.support.broker import MOSQUITTO, await_port, free_port
from tests.support.local_ca import Authority, pem

ROOT: Final = Path(__file__).resolve().parents[2]
HOST: Final = "10.0.2.2"
PLACE: Final = "kuningan/rw-03/rt-05/box-1"
BOX: Final = f"cctv/v1/{PLACE}"


def _on_page(name: str) -> str:
    """A block of docs/hub.md, by the comment before it."""
    page = (ROOT / "docs/hub.md").read_text()
    (found,) = re.findall(rf"<!-- {name} -->\n```\w*\n(.*?)```", page, re.DOTALL)
    return str(found)


class City:
    """Broker and receiver, as processes of their own; what the receiver has committed is asked of its database."""

    def __init__(self, folder: Path) -> None:
        assert MOSQUITTO is not None
        folder.mkdir(parents=True)
        self.folder = folder
        self.authority = Authority()
        self.port = free_port()
        server = self.authority.pair("hub", hosts=("localhost", HOST))
        for name, content in {
            "ca.pem": self.authority.pem,
            "server.pem": server.certificate,
            "server.key": server.key,
            "acl": _on_page("acl").encode(),
        }.items():
            (folder / name).write_bytes(content)
        (folder / "acl").chmod(0o600)
        config = _on_page("mosquitto.conf").replace(
            "listener 8883", f"listener {self.port} 127.0.0.1"
        )
        config = config.replace("/etc/mosquitto/", f"{folder}/")
        config = config.replace("/var/lib/mosquitto/", f"{folder}/")
        (folder / "mosquitto.conf").write_text(f"user root\n{config}")
        self._broker: subprocess.Popen[bytes] | None = None
        self._hub: subprocess.Popen[bytes] | None = None
        self.go_on()

    def __enter__(self) -> City:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def go_on(self) -> None:
        """Start broker and receiver, on what lies in the folder."""
        try:
            with (self.folder / "mosquitto.log").open("ab") as log:
                self._broker = subprocess.Popen(
                    [str(MOSQUITTO), "-v", "-c", str(self.folder / "mosquitto.conf")],
                    stdout=log,
                    stderr=log,
                )
            await_port(self.port, self._broker)
            with (self.folder / "hub.log").open("ab") as log:
                self._hub = subprocess.Popen(
                    [
                        *(sys.executable, "-m", "edge_agent", "hub", "--json"),
                        *("--host", "localhost", "--port", str(self.port)),
                        *("--folder", str(self.folder / "hub")),
                        *("--ca", str(self.folder / "ca.pem")),
                        *("--cert", str(self.folder / "server.pem")),
                        *("--key", str(self.folder / "server.key")),
                    ],
                    cwd=ROOT,
                    env=os.environ | {"PYTHONPATH": str(ROOT)},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            self.until(lambda: "cctv/v1/" in self._heard("hub"), "the receiver has subscribed")
        except BaseException:
            self.pause()
            raise

    def pause(self) -> None:
        """End both, in good order: what they know stays in the folder."""
        for process in (self._hub, self._broker):
            if process is not None and process.poll() is None:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait(20)
        (self.folder / "mosquitto.log").unlink(missing_ok=True)

    def end(self) -> None:
        self.pause()

    def _heard(self, who: str) -> str:
        """What the broker says of a client since it was started."""
        log = self.folder / "mosquitto.log"
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return "\n".join(line for line in lines if who in line)

    def connected(self) -> bool:
        """Whether the box's birth has come to the broker since that was started, and to the receiver."""
        return "Received PUBLISH" in self._heard(f"'{BOX}/presence'") and self.online()

    def sign(self, request: bytes) -> bytes:
        """The city's answer to box.csr."""
        asked = x509.load_pem_x509_csr(request)
        assert asked.is_signature_valid
        name = str(asked.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
        assert name == PLACE
        key = asked.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        return pem(self.authority.issue(name, key))

    # ---- what it knows ----

    def ask(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        """Rows of the receiver's database; none while it is not made."""
        with closing(
            sqlite3.connect(f"file:{self.folder}/hub/hub.sqlite?mode=ro", uri=True, timeout=30)
        ) as hub:
            try:
                return hub.execute(sql, values).fetchall()
            except sqlite3.OperationalError as error:
                if "no such table" not in str(error):
                    raise
                return []

    def received(self) -> int:
        """How many records it has committed."""
        rows = self.ask("SELECT count(*) FROM record")
        return int(str(rows[0][0])) if rows else 0

    def records(self, kind: str, *, after: int = 0) -> list[dict[str, object]]:
        """Data of each record of *kind* in the order of its number, of those with a greater seq than *after*."""
        rows = self.ask(
            "SELECT data FROM record WHERE kind = ? AND seq > ? ORDER BY received, seq", kind, after
        )
        return [json.loads(str(row[0])) for row in rows]

    def newest(self) -> int:
        """The highest seq that it has committed."""
        rows = self.ask("SELECT max(seq) FROM record")
        return int(str(rows[0][0] or 0)) if rows else 0

    def online(self) -> bool:
        return self.ask("SELECT online FROM box WHERE box = ?", BOX) == [(1,)]

    def committed(self) -> set[tuple[str, int]]:
        """Every record by epoch and seq."""
        return {(str(e), int(str(s))) for e, s in self.ask("SELECT epoch, seq FROM record")}

    def until(self, there: Callable[[], object], what: str, within_s: float = 180) -> None:
        """Wait until *there*; what does not come about in time has failed."""
        deadline = time.monotonic() + within_s
        while not there():
            if time.monotonic() > deadline:
                raise Ended(f"not in {within_s:.0f} s: {what}; {self._said()}")
            time.sleep(0.1)

    def _said(self) -> str:
        ends = [
            (self.folder / name).read_text(errors="replace")[-1200:]
            for name in ("mosquitto.log", "hub.log")
            if (self.folder / name).exists()
        ]
        return "\n".join(ends)
