"""What the city gave for its hub: authorities, the key of its orders, this box's certificate; parsed, checked, written out anew.

Promises: what passes is PEM of exactly what was meant, whatever else lay in the file; a private key is never let through, and
never shown; dates are judged only against a time that something vouches for, as a box wakes in 1970.
Not its job: the key (identity.py), whether the hub accepts any of it (doctor).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from edge_agent.core.card import Fault
from edge_agent.core.words import Sentence

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

_PRIVATE: Final = b"PRIVATE KEY-----"
_CHAIN_MAX: Final = 20
# Authorities let a certificate begin hours or a day before it is made, each by a habit of its own.
_BACKDATED: Final = dt.timedelta(days=7)

_ASK_CITY: Final = Sentence(
    "minta lagi berkas ini dari kota, dalam bentuk PEM (teks)",
    "ask the city for this file again, in PEM form (text)",
)
_EXPIRED: Final = Sentence(
    "minta yang baru dari kota; kirimkan box.csr dari kartu ini",
    "ask the city for a new one; send it box.csr from this card",
)


@dataclass(frozen=True, slots=True)
class Sound:
    """A file as it is kept; *until* is the day on which it ends, "" = never."""

    raw: bytes
    until: str = ""


def holds_key(raw: bytes) -> bool:
    """Whether somebody put a private key there."""
    return _PRIVATE in raw


def key_fault(where: str) -> Fault:
    """A private key on the card, where everyone who holds the card can read it."""
    return Fault(
        where=where,
        said=Sentence(
            "berisi kunci rahasia (tidak ditampilkan)", "holds a private key (not shown)"
        ),
        remedy=Sentence(
            "hapus dari kartu, dan beri tahu kota agar sertifikatnya dicabut: kotak membuat kuncinya sendiri",
            "take it off the card and tell the city to revoke its certificate: the box makes its own key",
        ),
    )


def authorities(raw: bytes, where: str, *, wall_s: float | None) -> Sound | Fault:
    """The authorities of hub-ca.pem. *wall_s*: Unix time, None = nothing vouches for the clock."""
    found = _certificates(raw, where)
    if isinstance(found, Fault):
        return found
    for one in found:
        if not _signs(one):
            # OpenSSL, as strict as Python 3.13 asks it to be, takes nothing else for an authority.
            return _fault(
                where,
                Sentence(
                    f"bukan sertifikat otoritas (CA): {_subject(one)}",
                    f"not the certificate of an authority (CA): {_subject(one)}",
                ),
                Sentence(
                    "minta sertifikat CA yang menandatangani hub, bukan sertifikat hub itu sendiri",
                    "ask for the CA certificate that signed the hub's, not for the hub's own",
                ),
            )
    if wall_s is not None and all(_ended(one, wall_s) for one in found):
        return _fault(where, Sentence("sudah kedaluwarsa", "has expired"), _ASK_CITY)
    return Sound(_pem(found), until=_day(max(found, key=lambda one: one.not_valid_after_utc)))


def orders(raw: bytes, where: str) -> Sound | Fault:
    """The hub's public key for its orders."""
    if holds_key(raw):
        return key_fault(where)
    try:
        key = serialization.load_pem_public_key(raw)
    except Exception:  # noqa: BLE001 - a foreign encoding raises nearly anything; none of it is a key
        return _fault(where, Sentence("bukan kunci publik", "not a public key"), _ASK_CITY)
    if not isinstance(key, ed25519.Ed25519PublicKey):
        return _fault(
            where,
            Sentence("kunci publik jenis lain", "a public key of another kind"),
            Sentence("minta kunci Ed25519 dari kota", "ask the city for its Ed25519 key"),
        )
    return Sound(
        key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


def certificate(
    raw: bytes, where: str, key: ec.EllipticCurvePublicKey, *, wall_s: float | None
) -> Sound | Fault:
    """This box's certificate and its chain, for *key*."""
    found = _certificates(raw, where)
    if isinstance(found, Fault):
        return found
    leaf = next((one for one in found if _is_for(one, key)), None)
    if leaf is None:
        return _fault(
            where,
            Sentence(
                f"sertifikat untuk kotak lain: {_subject(found[0])}",
                f"the certificate of another box: {_subject(found[0])}",
            ),
            Sentence(
                "kirim box.csr dari kartu ini ke kota dan pakai sertifikat yang kembali",
                "send box.csr from this card to the city and use the certificate that comes back",
            ),
        )
    if wall_s is not None and _ended(leaf, wall_s):
        return _fault(
            where,
            Sentence(f"kedaluwarsa sejak {_day(leaf)}", f"expired on {_day(leaf)}"),
            _EXPIRED,
        )
    if wall_s is not None and leaf.not_valid_before_utc.timestamp() > wall_s:
        begin = leaf.not_valid_before_utc.date().isoformat()
        return _fault(
            where,
            Sentence(f"baru berlaku mulai {begin}", f"valid only from {begin} on"),
            Sentence("tunggu sampai hari itu", "wait for that day"),
        )
    chain = [leaf, *(one for one in found if one is not leaf)]
    return Sound(_pem(chain), until=_day(leaf))


def is_for(raw: bytes, key: ec.EllipticCurvePublicKey) -> bool:
    """Whether the first certificate in *raw* is of *key*."""
    found = _certificates(raw, "")
    return not isinstance(found, Fault) and _is_for(found[0], key)


def is_older(raw: bytes, *, than: bytes) -> bool:
    """Whether what `certificate` made of *raw* was issued well before what it made of *than*."""
    at, other = (x509.load_pem_x509_certificate(one).not_valid_before_utc for one in (raw, than))
    return at + _BACKDATED < other


# ---- inside ----


def _certificates(raw: bytes, where: str) -> list[x509.Certificate] | Fault:
    if holds_key(raw):
        return key_fault(where)
    said = Sentence("bukan sertifikat PEM", "not a PEM certificate")
    try:
        found = x509.load_pem_x509_certificates(raw)[: _CHAIN_MAX + 1]
        for one in found:
            _opened(one)
    except Exception:  # noqa: BLE001 - a foreign encoding raises nearly anything; none of it is a certificate
        return _fault(where, said, _ASK_CITY)
    if not found or len(found) > _CHAIN_MAX:
        return _fault(where, said, _ASK_CITY)
    return found


def _opened(one: x509.Certificate) -> tuple[object, ...]:
    """All that the parser leaves for later, so that it raises here and nowhere else."""
    dates = (one.not_valid_before_utc, one.not_valid_after_utc)
    return one.public_key(), one.subject.rfc4514_string(), one.extensions, dates


def _fault(where: str, said: Sentence, remedy: Sentence) -> Fault:
    return Fault(where=where, said=said, remedy=remedy)


def _is_for(one: x509.Certificate, key: ec.EllipticCurvePublicKey) -> bool:
    return one.public_key() == key


def _signs(one: x509.Certificate) -> bool:
    try:
        return one.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _ended(one: x509.Certificate, wall_s: float) -> bool:
    return one.not_valid_after_utc.timestamp() <= wall_s


def _day(one: x509.Certificate) -> str:
    return one.not_valid_after_utc.date().isoformat()


def _subject(one: x509.Certificate) -> str:
    text = one.subject.rfc4514_string() or "?"
    return "".join(mark if mark.isprintable() else " " for mark in text)[:80]


def _pem(found: list[x509.Certificate]) -> bytes:
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in found)
