"""Whether an order is the hub's own: a compact JWS, signed with the one Ed25519 key that this box knows.

Promises: an order counts only if that key signed exactly these claims, with Ed25519 and nothing else; whatever the bytes,
the answer is `OrderVerified` or `OrderForged`, never an exception; no key configured means that nothing is obeyed. What is
remembered of a policy is bound to the key that signed it: a city that changes a stolen key is rid of the thief's last word.
Not its job: what the claims mean, for whom they are, whether they are old (core/wire.py, core/agent.py).
"""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_agent.core.messages import HubMessage, OrderForged, OrderVerified

if TYPE_CHECKING:
    from joserfc.jwk import OKPKey

# An order is a few hundred bytes; a signature check must not be a way to keep the box busy.
MAX_ORDER_BYTES: Final = 16 * 1024
# Two names of one thing here, as the key's curve is checked: RFC 9864 renames EdDSA, most hubs' libraries still say EdDSA.
ALGORITHMS: Final = ["EdDSA", "Ed25519"]


class Orders:
    """The pinned key. Owner thread only; reads one small file, when the first order comes."""

    def __init__(self, key_file: str | None) -> None:
        """*key_file*: the hub's public key (PEM), or None: every order is refused."""
        self._key_file = key_file
        self._key: OKPKey | None = None
        self._digest = b""  # of the key file that `_key` was read from

    def bound(self, claims: bytes) -> bytes:
        """*claims* that this key signed, as `own` takes them after a restart."""
        return self._digest + b"\n" + claims

    def own(self, kept: bytes | None) -> bytes | None:
        """The claims, unless another key than the one of today signed them, or none is configured any more.

        A key that cannot be read now is no reason to forget: what is remembered can only restrict.
        """
        if kept is None or self._key_file is None:
            return None
        digest, _, claims = kept.partition(b"\n")
        try:
            same = digest == _digest(Path(self._key_file).read_bytes())
        except OSError:
            same = True
        return claims if same else None

    def verify(self, message: HubMessage) -> OrderVerified | OrderForged:
        """Check the signature of *message*; blocks for about a millisecond."""
        if self._key_file is None:
            return OrderForged(
                leaf=message.leaf, why="no hub key is configured (hub.order_key_file)"
            )
        if len(message.payload) > MAX_ORDER_BYTES:
            why = f"{len(message.payload)} bytes, at most {MAX_ORDER_BYTES} are read"
            return OrderForged(leaf=message.leaf, why=why)
        try:
            claims = self._claims(message.payload, self._key_file)
        except Exception as error:  # noqa: BLE001 - a stranger's bytes: any failure means that it is not the hub's
            return OrderForged(leaf=message.leaf, why=_one_line(error))
        return OrderVerified(
            leaf=message.leaf,
            claims=claims,
            retained=message.retained,
            response_topic=message.response_topic,
            correlation=message.correlation,
        )

    def _claims(self, token: bytes, key_file: str) -> bytes:
        # Imported here: with its cryptography it costs several megabytes, and most boxes get few orders in their life.
        from joserfc import jws  # noqa: PLC0415
        from joserfc.errors import SecurityWarning  # noqa: PLC0415

        if self._key is None:
            content = Path(key_file).read_bytes()
            self._key, self._digest = _public_key(content, key_file), _digest(content)
        # The library frowns at the name EdDSA because it fixes no curve; the pinned key does.
        warnings.filterwarnings("ignore", message="EdDSA is deprecated", category=SecurityWarning)
        found = jws.deserialize_compact(token, self._key, algorithms=ALGORITHMS)
        return bytes(found.payload)


def _one_line(error: Exception) -> str:
    """What the library says of a stranger's bytes, which it quotes: fit for a record, a page and a terminal."""
    text = f"{type(error).__name__}: {error}"[:200]
    return "".join(mark if mark.isprintable() else " " for mark in text)


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def _public_key(content: bytes, key_file: str) -> OKPKey:
    from joserfc.jwk import OKPKey  # noqa: PLC0415

    key = OKPKey.import_key(content)
    if key.curve_name != "Ed25519":
        msg = f"{key_file}: holds a key of {key.curve_name}, needs Ed25519"
        raise ValueError(msg)
    return key
