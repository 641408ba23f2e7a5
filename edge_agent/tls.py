"""TLS as a client of the hub: pinned authorities, the hub's name, this box's pair, and dates as far as the clock can tell.

Promises: chain and name are checked on every connection, whatever the clock says, before a byte of ours is sent. While a time
source vouches for the clock, OpenSSL checks the dates as ever. While none does, a box that woke in 1970 would otherwise never
speak to anybody again: then dates that do not fit its clock are excused, but not an end before a time that has surely passed
(what was vouched for once, and the day this box's own certificate was issued), and the connection says so: it is `doubtful`,
and no picture may leave by it until `vouch` has made up for the check. No key is ever written to a disk here.
Not its job: which pair is offered (pairs.py), sockets and their time limits (hub.py, renewal.py, ladder.py).
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cryptography import x509

if TYPE_CHECKING:
    from edge_agent.clock import Clock

# X509_V_FLAG_NO_CHECK_TIME of OpenSSL's x509_vfy.h: all checks but that of dates. Python has no name for it.
_NO_CHECK_TIME: Final = 0x20_0000
_UNSPECIFIED: Final = 1  # X509_V_ERR_UNSPECIFIED
_EXPIRED: Final = 10  # X509_V_ERR_CERT_HAS_EXPIRED
_NOT_YET: Final = 9  # X509_V_ERR_CERT_NOT_YET_VALID


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A certificate (its chain behind it) and its private key, in PEM."""

    name: str  # what people are told: "configured", "renewed", ...
    certificate: bytes
    key: bytes = field(repr=False)

    @property
    def leaf(self) -> x509.Certificate:
        """The box's own certificate. ValueError if it is none."""
        return x509.load_pem_x509_certificates(self.certificate)[0]


class _Socket(ssl.SSLSocket):
    """Looks at the dates as soon as the handshake is over: nothing has been sent by then but our certificate."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - as the library has it
        super().do_handshake(block)
        if isinstance(self.context, Context):
            try:
                self.context.shaken(self)
            except OSError:
                raise
            except Exception as error:
                # Whatever `cryptography` raises for what OpenSSL lets pass. The library closes the line for its own errors alone.
                reason = f"it cannot be read: {error}"
                raise _refused(_UNSPECIFIED, reason) from error


class Context(ssl.SSLContext):
    """One connection's TLS. Remembers the socket it wrapped last: a library may leave it open if the handshake fails."""

    sslsocket_class = _Socket  # type: ignore[mutable-override]  # typeshed's; the library documents it so
    last: ssl.SSLSocket | None = None
    doubtful = False  # its dates do not fit our clock, which nothing vouches for
    wall_s = 0.0  # Unix time as far as this box knows
    passed_s = 0.0  # Unix time that has surely passed
    _dates: tuple[tuple[float, float], ...] = ()

    @property
    def end_s(self) -> float | None:
        """When the other side's own certificate ends, Unix time; None before a handshake. It may have hung up since."""
        return self._dates[0][1] if self._dates else None

    def wrap_socket(self, *arguments: object, **named: object) -> ssl.SSLSocket:
        """As the library's."""
        self.last = super().wrap_socket(*arguments, **named)  # type: ignore[arg-type]
        return self.last

    def close_last(self) -> None:
        """Close what was wrapped last; twice is harmless."""
        if self.last is not None:
            self.last.close()
            self.last = None

    def shaken(self, line: ssl.SSLSocket) -> None:
        """Called after a handshake. SSLCertVerificationError if a date of the chain cannot be right.

        Whatever else reading a certificate raises: the socket makes a refusal of it.
        """
        self._dates = tuple(
            (found.not_valid_before_utc.timestamp(), found.not_valid_after_utc.timestamp())
            for found in map(x509.load_der_x509_certificate, _verified_chain(line))
        )
        if not self.doubtful:
            return  # OpenSSL has looked at the dates
        if any(end < self.passed_s for _, end in self._dates):
            raise _refused(_EXPIRED, "certificate has expired")
        self.vouch(self.wall_s)

    def vouch(self, wall_s: float) -> str:
        """Hold the dates against *wall_s*: what does not fit, or "" and the connection is in doubt no more."""
        if any(end < wall_s for _, end in self._dates):
            return "its certificate has expired"
        if any(begin > wall_s for begin, _ in self._dates):
            return "its certificate is not yet valid"
        self.doubtful = False
        return ""


def client_context(
    ca_file: str, pair: Pair | None, *, clock: Clock, passed_s: float = 0.0
) -> Context:
    """For one connection from now on. Whatever `ssl` and `cryptography` raise if a file is of no use: OSError, ValueError.

    *passed_s*: Unix time that was vouched for once, by whatever boot.
    """
    context = Context(ssl.PROTOCOL_TLS_CLIENT)  # checks the name and wants a certificate
    context.load_verify_locations(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if pair is not None:
        _load(context, pair)
    if not clock.trusted():
        issued_s = 0.0 if pair is None else pair.leaf.not_valid_before_utc.timestamp()
        context.doubtful = True
        context.wall_s, context.passed_s = clock.wall(), max(passed_s, issued_s)
        context.verify_flags |= _NO_CHECK_TIME
    return context


def _load(context: ssl.SSLContext, pair: Pair) -> None:
    # OpenSSL wants a path. A memory file never touches a disk.
    memory = os.memfd_create("client-pair", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(memory), "wb") as file:
            file.write(pair.certificate.rstrip() + b"\n" + pair.key)
        context.load_cert_chain(f"/proc/self/fd/{memory}", password=lambda: "")
    finally:
        os.close(memory)


def _verified_chain(line: ssl.SSLSocket) -> list[bytes]:
    """The chain that OpenSSL accepted, leaf first, in DER; never empty."""
    public = getattr(line, "get_verified_chain", None)
    if public is not None:  # Python 3.13
        chain: list[bytes] = public()
    else:
        # 3.11 and 3.12 have it under this name only, and get nothing but security fixes any more.
        inner = line._sslobj  # type: ignore[attr-defined]  # noqa: SLF001
        chain = [
            ssl.PEM_cert_to_DER_cert(found.public_bytes())
            for found in inner.get_verified_chain() or ()
        ]
    if not chain:
        raise _refused(_NOT_YET, "no chain to look at")
    return chain


def _refused(code: int, message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, f"certificate verify failed: {message}")
    error.verify_code, error.verify_message = code, message
    return error
