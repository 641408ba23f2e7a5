"""authorized_keys: who may log in by SSH, by public key alone.

Promises: only plain lines of a known kind and strength are let through, none with options, and never a private key; a line that
is not understood is told and left out, and costs the others nothing.
Not its job: whether SSH is on (the image's unit looks whether the file is there).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from edge_agent.core.card import Fault
from edge_agent.core.words import Sentence
from edge_agent.provision.hub import holds_key, key_fault
from edge_agent.provision.text import text_of

_KINDS: Final = re.compile(
    r"(ssh-ed25519|ecdsa-sha2-nistp(256|384|521)|ssh-rsa"
    r"|sk-ssh-ed25519@openssh\.com|sk-ecdsa-sha2-nistp256@openssh\.com)"
)
_BLOB: Final = re.compile(r"[A-Za-z0-9+/]{40,4000}={0,2}")
_KEYS_MAX: Final = 50
_RSA_MIN_BITS: Final = 2048
_REMEDY: Final = Sentence(
    "salin satu baris utuh dari berkas .pub: jenis, kunci, nama",
    "copy one whole line from the .pub file: kind, key, name",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShellKeys:
    """The lines to install (empty = SSH stays off), and what was wrong with the others."""

    lines: tuple[str, ...]
    faults: tuple[Fault, ...]


def read(raw: bytes, where: str) -> ShellKeys:
    """What *raw* says."""
    if holds_key(raw):
        return ShellKeys(lines=(), faults=(key_fault(where),))
    text = text_of(raw, where)
    if isinstance(text, Fault):
        return ShellKeys(lines=(), faults=(text,))
    lines: list[str] = []
    faults: list[Fault] = []
    for number, line in enumerate(text.split("\n"), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        why = _wrong(words) if len(lines) < _KEYS_MAX else _many()
        if why is None:
            lines.append(" ".join((*words[:2], _comment(words[2:]))).rstrip())
        else:
            faults.append(Fault(where=where, line=number, said=why, remedy=_REMEDY))
    return ShellKeys(lines=tuple(lines), faults=tuple(faults))


def _many() -> Sentence:
    return Sentence(f"lebih dari {_KEYS_MAX} kunci", f"more than {_KEYS_MAX} keys")


def _comment(words: list[str]) -> str:
    return "".join(mark for mark in " ".join(words) if mark.isascii() and mark.isprintable())[:100]


def _wrong(words: list[str]) -> Sentence | None:
    if not _KINDS.fullmatch(words[0]):
        return Sentence(
            "bukan baris kunci publik SSH yang dikenal (pilihan di depan kunci tidak diterima)",
            "not a known kind of SSH public key (options before the key are not accepted)",
        )
    if len(words) < 2 or not _BLOB.fullmatch(words[1]):
        return Sentence("kuncinya terpotong atau rusak", "the key is cut off or damaged")
    try:
        key = serialization.load_ssh_public_key(" ".join(words[:2]).encode("ascii"))
    except Exception:  # noqa: BLE001 - a foreign encoding raises nearly anything; none of it is a key
        return Sentence("kuncinya terpotong atau rusak", "the key is cut off or damaged")
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < _RSA_MIN_BITS:
        return Sentence(
            f"kunci RSA {key.key_size} bit: paling sedikit {_RSA_MIN_BITS}",
            f"an RSA key of {key.key_size} bits: at least {_RSA_MIN_BITS}",
        )
    return None
