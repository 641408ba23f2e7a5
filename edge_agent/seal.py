"""Sealing: a picture encrypted to the hub's key before anything on the box may keep it.

Promises: what was sealed can be opened with the hub's identity alone, which no box has; every picture is sealed with a key of
its own, so that a stolen card shows nothing, and nothing to compare. The format is age (age-encryption.org/v1, X25519), so the
hub opens it with any age tool.
Not its job: which pictures may be kept (core/gate.py), records: they hold no picture and stay readable for a technician.
"""

from __future__ import annotations

from pathlib import Path

import pyrage


class SealError(Exception):
    """An identity that cannot be read, or a picture that it does not open; the text says which and what to do."""


def recipient_fault(text: str) -> str:
    """What is wrong with *text* as the hub's public key; "" = nothing."""
    if text.upper().startswith("AGE-SECRET-KEY-"):
        return "this is the hub's secret identity: it must never be on a box; needs its public recipient (age1...)"
    try:
        pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError:
        return (
            "needs an age X25519 recipient (age1 and 58 more characters), as age-keygen prints it"
        )
    return ""


class Sealer:
    """Seals to one recipient. Any thread."""

    def __init__(self, recipient: str) -> None:
        """*recipient*: as `recipient_fault` accepts it."""
        self._recipients = [pyrage.x25519.Recipient.from_str(recipient)]

    def seal(self, picture: bytes) -> bytes:
        """*picture*, for the hub alone; 210 to 400 bytes longer, as the library adds a stanza of random size."""
        sealed: bytes = pyrage.encrypt(picture, self._recipients)
        return sealed


class Opener:
    """The hub's side: opens what was sealed to the identities in a file, as age-keygen writes it."""

    def __init__(self, identity_file: Path) -> None:
        """Raises `SealError` if the file cannot be read or holds no identity."""
        try:
            lines = identity_file.read_text(encoding="ascii").splitlines()
            keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
            self._identities = [pyrage.x25519.Identity.from_str(key) for key in keys]
        except (OSError, ValueError) as error:
            msg = f"{identity_file}: cannot be read ({error}); give the file that age-keygen made"
            raise SealError(msg) from error
        except pyrage.IdentityError as error:
            msg = f"{identity_file}: holds no age X25519 identity (AGE-SECRET-KEY-1...)"
            raise SealError(msg) from error
        if not self._identities:
            msg = f"{identity_file}: holds no age X25519 identity (AGE-SECRET-KEY-1...)"
            raise SealError(msg)

    def open(self, sealed: bytes) -> bytes:
        """The picture within; `SealError` if it is damaged, or sealed to somebody else."""
        try:
            picture: bytes = pyrage.decrypt(sealed, self._identities)
        except pyrage.DecryptError as error:
            msg = f"cannot be opened with this identity: {error}"
            raise SealError(msg) from error
        return picture
