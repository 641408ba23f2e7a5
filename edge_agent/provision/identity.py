"""Who the box is: a key it makes for itself, the request for its certificate, and a stand-in until the city has signed one.

Promises: the key is made once, lies on the data partition alone, and is never replaced by this program: what was renewed from it
would be lost with it; only the request leaves the box. The request's common name is the box's place, as the hub's lists want it.
The stand-in lets the agent run, with switch, lamps and journal, before the city has answered; no hub accepts it.
Not its job: later certificates (pairs.py, renewal.py).
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from edge_agent import whole
from edge_agent.pairs import new_key, private_key

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric import ec

    from edge_agent.core.settings import Identity

KEY: Final = "box.key"
_REQUEST: Final = "box.csr"
_KEY_MODE: Final = 0o640  # root makes it, the service's group reads it
_KEY_MAX_BYTES: Final = 10_000
COMMON_NAME_MAX: Final = 64  # X.509's own bound (ub-common-name)
_STAND_IN: Final = "edge-agent: no certificate yet"
# Never the wrong day for a clock that is not set. Not RFC 5280's year 9999: in Indonesia's time that is the year 10000.
_BEGIN: Final = dt.datetime(1970, 1, 2, tzinfo=dt.UTC)
_END: Final = dt.datetime(9000, 1, 1, tzinfo=dt.UTC)


class KeyDamaged(Exception):  # noqa: N818 - an answer, not a mistake of ours
    """There is a file for the key, and no key in it."""


def key_in(folder: Path) -> ec.EllipticCurvePrivateKey:
    """The box's key, made if there is none. KeyDamaged; OSError if the card takes no writes."""
    path = folder / KEY
    if not path.exists():
        return new_key(path, mode=_KEY_MODE)
    with path.open("rb") as file:
        key = private_key(file.read(_KEY_MAX_BYTES))
    if key is None:
        raise KeyDamaged(str(path))
    return key


def place(identity: Identity) -> str:
    """The box's name in the city."""
    return f"{identity.kelurahan}/{identity.rw}/{identity.rt}/{identity.box}"


def request(folder: Path, key: ec.EllipticCurvePrivateKey, name: str) -> bytes:
    """The request for *name* in PEM: the one that was made before, if it still says the same. OSError.

    *name* has at most `COMMON_NAME_MAX` characters.
    """
    path = folder / _REQUEST
    kept = kept_request(folder)
    if kept and _says(kept, key, name):
        return kept
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    raw = made.public_bytes(serialization.Encoding.PEM)
    whole.write(path, raw)
    return raw


def kept_request(folder: Path) -> bytes:
    """The request made last; empty = none."""
    try:
        return (folder / _REQUEST).read_bytes()
    except OSError:
        return b""


def stand_in(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A certificate that only names itself."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _STAND_IN)])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(_BEGIN)
        .not_valid_after(_END)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


def is_stand_in(raw: bytes) -> bool:
    """Whether *raw* is a `stand_in`."""
    try:
        names = x509.load_pem_x509_certificate(raw).subject.get_attributes_for_oid(
            NameOID.COMMON_NAME
        )
    except ValueError:
        return False
    return [name.value for name in names] == [_STAND_IN]


def _says(raw: bytes, key: ec.EllipticCurvePrivateKey, name: str) -> bool:
    try:
        kept = x509.load_pem_x509_csr(raw)
        names = kept.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return [one.value for one in names] == [name] and kept.public_key() == key.public_key()
    except ValueError:
        return False
