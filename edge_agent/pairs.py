"""The certificates and keys by which the hub knows this box: the configured pair, and those that followed it.

Promises: a pair is one file, written whole (certificate and key can never be of two pairs, whenever the power goes), mode
0600; the pair that worked stays until the next one has connected once; a pair that cannot be used is as good as none, and the
one before it is offered; a technician who puts a new certificate into the configured place is obeyed at the next connection.
A key never leaves this folder but into OpenSSL's memory.
In the folder: `renewed.pem` (has connected), `trial.pem` (never yet), `request.key` (asked for, not answered yet).
Not its job: asking for certificates (renewal.py), when (core/renewal.py).
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edge_agent import whole
from edge_agent.core.renewal import Fate, Slot, Trial
from edge_agent.tls import Pair

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.core.settings import SecretRef, Tls

_SECRET_MODE: Final = 0o600
_PAIR_MAX_BYTES: Final = 200_000
_KEY: Final = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----\n?", re.DOTALL
)
_HEAD: Final = "edge-agent pair, after the configured certificate "


class Pairs:
    """All pairs of this box. Any thread; local disk only."""

    def __init__(self, tls: Tls, folder: str, *, secret: Callable[[SecretRef], str]) -> None:
        """*secret* reads the configured key when it is needed."""
        self._tls = tls
        self._folder = Path(folder)
        self._secret = secret
        self._lock = threading.Lock()
        self._trial = Trial()

    @property
    def ca_file(self) -> str:
        """The pinned authorities."""
        return self._tls.ca_file

    def tidy(self) -> None:
        """Remove what a power cut left half written: it may hold a key."""
        with contextlib.suppress(OSError):
            for path in self._folder.glob(".*.new"):
                path.unlink(missing_ok=True)

    # ---- for connections ----

    def offer(self) -> Pair:
        """The pair for the next connection. Whatever reading the configured one raises, if it is needed: a clear text."""
        with self._lock:
            proven = self._proven()
            trial = self._read(Slot.TRIAL)
            if trial is not None and self._trial.offer(Slot(proven.name), trial=True) is Slot.TRIAL:
                return trial
            return proven

    def worked(self, pair: Pair) -> Fate:
        """A connection came up with *pair*; what that meant for the trial."""
        with self._lock:
            fate = self._trial.worked(Slot(pair.name))
            path = self._path(Slot.TRIAL)
            with contextlib.suppress(
                OSError
            ):  # a card that takes no writes: offered again, no harm
                if fate is Fate.KEEP and path.exists():
                    path.replace(self._path(Slot.RENEWED))
                    whole.sync_folder(self._folder)
                elif fate is Fate.DROP:
                    self._remove(path)
            return fate

    def refused(self, pair: Pair) -> None:
        """The hub did not let *pair* in, or the link cannot rule that out."""
        with self._lock:
            self._trial.refused(Slot(pair.name))

    # ---- for renewals ----

    def proven(self) -> Pair:
        """The newest pair that has connected, or the configured one. Raises as `offer`."""
        with self._lock:
            return self._proven()

    def trial(self) -> Pair | None:
        """The pair that has still to connect once."""
        with self._lock:
            return self._read(Slot.TRIAL)

    def request_key(self) -> ec.EllipticCurvePrivateKey:
        """The key to ask for: one that was asked for before and never answered, or a new one, on the card before it is used.

        OSError if the card takes no writes.
        """
        path = self._folder / "request.key"
        with self._lock:
            key = private_key(_content(path))
            if key is not None and not self._in_use(key):
                return key
            return new_key(path)

    def keep(self, certificate: bytes, key: ec.EllipticCurvePrivateKey) -> Pair:
        """A new pair, from now on offered: on the card when this returns. OSError if the card takes no writes."""
        with self._lock:
            head = f"{_HEAD}{self._origin()}\n".encode()
            whole.write(self._path(Slot.TRIAL), head + certificate + _pem(key), mode=_SECRET_MODE)
            self._trial = Trial()
            self._remove(self._folder / "request.key")
            return Pair(name=Slot.TRIAL.value, certificate=certificate, key=_pem(key))

    def drop_trial(self) -> None:
        """The hub refused it out of hand."""
        with self._lock, contextlib.suppress(OSError):
            self._remove(self._path(Slot.TRIAL))

    # ---- inside ----

    def _proven(self) -> Pair:
        return self._read(Slot.RENEWED) or self._configured()

    def _configured(self) -> Pair:
        certificate = Path(self._tls.certificate_file).read_bytes()
        key = self._secret(self._tls.key).encode("ascii")
        return Pair(name=Slot.CONFIGURED.value, certificate=certificate, key=key)

    def _read(self, slot: Slot) -> Pair | None:
        """The pair in *slot*; None if there is none that can be used, or if the configured one is newer."""
        raw = _content(self._path(slot))
        head, _, _ = raw.partition(b"\n")
        origin = self._origin()
        if not head.startswith(_HEAD.encode()) or (
            origin and head[len(_HEAD) :].decode("ascii", "replace") != origin
        ):
            return None
        found = _KEY.search(raw)
        if found is None:
            return None
        certificate = raw[len(head) + 1 : found.start()]
        pair = Pair(name=slot.value, certificate=certificate, key=found[0])
        key = private_key(pair.key)
        try:
            return pair if key is not None and pair.leaf.public_key() == key.public_key() else None
        except (ValueError, IndexError):
            return None

    def _origin(self) -> str:
        """Names the configured certificate; "" if it is gone, which is no reason to forget what followed it."""
        raw = _content(Path(self._tls.certificate_file))
        return hashlib.sha256(raw).hexdigest() if raw else ""

    def _in_use(self, key: ec.EllipticCurvePrivateKey) -> bool:
        """Whether *key* has its certificate already: the power went before the request was forgotten."""
        pairs = (self._read(slot) for slot in (Slot.TRIAL, Slot.RENEWED))
        return any(pair is not None and pair.key.strip() == _pem(key).strip() for pair in pairs)

    def _path(self, slot: Slot) -> Path:
        return self._folder / f"{slot.value}.pem"

    def _remove(self, path: Path) -> None:
        if path.exists():
            path.unlink()
            whole.sync_folder(self._folder)


def new_key(path: Path, *, mode: int = _SECRET_MODE) -> ec.EllipticCurvePrivateKey:
    """A key for this box, on the card in *path* before it is used. OSError if the card takes no writes."""
    key = ec.generate_private_key(ec.SECP256R1())
    whole.write(path, _pem(key), mode=mode)
    return key


def private_key(raw: bytes) -> ec.EllipticCurvePrivateKey | None:
    """The key in PEM that *raw* holds; None = none of ours."""
    try:
        key = serialization.load_pem_private_key(raw, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, ec.EllipticCurvePrivateKey) else None


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_PAIR_MAX_BYTES)
    except OSError:
        return b""


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
