"""Gets the box its next certificate, by EST (RFC 7030, simplereenroll), long before the present one ends or long after.

Promises: the key is made on the box and only a request signed with it leaves; the request goes to the configured endpoint, over
TLS with the pinned authorities and that host's name, and nowhere else (no redirect, no proxy); whatever comes back is a new pair
only if it holds our key, our name, a later end, and is signed by an authority we know; one attempt takes a minute and 64 kB at
most, and neither the link nor a camera waits for it. A power cut at any moment leaves a pair that works.
Threads: one of its own. Not its job: when to ask (core/renewal.py), which pair is offered (pairs.py).
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import socket
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs7

from edge_agent.core.messages import CertificateRead, Died, Event
from edge_agent.core.renewal import Fate, Life, Plan
from edge_agent.tls import Context, Pair, client_context

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge_agent.clock import Clock
    from edge_agent.core.settings import Hub
    from edge_agent.pairs import Pairs

EVERY_S: Final = 60.0
DIAL_S: Final = 10.0
WHOLE_S: Final = 60.0  # one attempt, however slowly the other side drips
ALERT_S: Final = 3.0  # TLS 1.3 refuses a client only after the handshake
ANSWER_MAX_BYTES: Final = 64_000
_CHAIN_MAX: Final = 5
_ACCEPTED: Final = 202


class NotRenewed(Exception):  # noqa: N818 - an answer, not a mistake of ours
    """Why there is no new certificate; for a person. Never holds a key."""


@dataclass(frozen=True, slots=True)
class Later:
    """The endpoint has the request and wants to be asked again."""

    after_s: float


class Renewal:
    """Looks once a minute. Entering starts its thread. `worked` and `refused` may be called from any thread, and return at once."""

    def __init__(
        self,
        settings: Hub,
        pairs: Pairs,
        *,
        post: Callable[[Event], None],
        clock: Clock,
        chance: Callable[[], float],
        passed_s: float = 0.0,
    ) -> None:
        """*passed_s*: Unix time that was vouched for by an earlier boot."""
        self._settings = settings
        self._pairs = pairs
        self._post = post
        self._clock = clock
        self._passed_s = passed_s
        self._plan = Plan(at=clock.now(), random=chance)
        self._trouble = ""
        self._told: CertificateRead | None = None
        self._lock = threading.Lock()  # the plan is told from the link's thread too
        self._stop = threading.Event()
        self._news = threading.Event()
        self._thread = threading.Thread(target=self._run, name="renewal", daemon=True)

    def __enter__(self) -> Renewal:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._news.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=5)

    # ---- for the link ----

    def offer(self) -> Pair:
        """The pair for the next connection; raises whatever reading it raises."""
        return self._pairs.offer()

    def worked(self, pair: Pair) -> None:
        """A connection to the hub came up with *pair*."""
        fate = self._pairs.worked(pair)
        with self._lock:
            self._plan.welcome()
            if fate is Fate.DROP:
                self._trouble = "the hub refuses the new certificate, and takes the old one"
        self._news.set()

    def refused(self, pair: Pair) -> None:
        """The hub did not let *pair* in, or the link cannot rule that out."""
        self._pairs.refused(pair)
        with self._lock:
            self._plan.refused()
        self._news.set()

    # ---- own thread ----

    def _run(self) -> None:
        try:
            self._pairs.tidy()
            while not self._stop.is_set():
                self._news.clear()
                self.look()
                self._news.wait(EVERY_S)
        except Exception as error:  # noqa: BLE001 - the top of a thread: nothing may end it in silence
            self._post(Died(part="renewal", detail=f"{type(error).__name__}: {error}"))

    def look(self) -> None:
        """One round: ask for a certificate if it is time, tell what changed. Blocks for `WHOLE_S` at most."""
        try:
            proven = self._pairs.proven()
            newest = self._pairs.trial() or proven
            life = _life(newest)
        except Exception as error:  # noqa: BLE001 - any reader of files and of foreign encodings; the link tells it as a finding
            self._trouble = f"this box's certificate cannot be read: {_line(error)}"
            return
        if self._settings.renew_url is not None and self._is_time(life):
            self._ask(self._settings.renew_url, proven, life)
        self._tell()

    def _is_time(self, life: Life) -> bool:
        wall_s = self._clock.wall() if self._clock.trusted() else None
        with self._lock:
            return self._plan.wants(
                life, at=self._clock.now(), wall_s=wall_s, passed_s=self._passed_s
            )

    def _ask(self, url: str, proven: Pair, life: Life) -> None:
        wall_s = self._clock.wall() if self._clock.trusted() else None
        trouble = ""
        answer: Later | None = None
        try:
            answer = self._renew(url, proven, wall_s)
        except NotRenewed as error:
            trouble = str(error)
        except Exception as error:  # noqa: BLE001 - a foreign server's answer surfaces as nearly any exception
            trouble = f"{_where(url)}: {_line(error)}"
        at = self._clock.now()
        with self._lock:
            self._trouble = trouble
            if trouble:
                self._plan.failed(life, at=at, wall_s=wall_s)
            elif answer is not None:
                self._plan.asked_to_wait(answer.after_s, at=at)
            else:
                self._plan.done(at=at)

    def _renew(self, url: str, proven: Pair, wall_s: float | None) -> Later | None:
        key = self._pairs.request_key()
        answer = enrol(
            url,
            request(proven.leaf, key),
            client_context(self._pairs.ca_file, proven, clock=self._clock, passed_s=self._passed_s),
        )
        if isinstance(answer, Later):
            return answer
        known = _authorities(Path(self._pairs.ca_file).read_bytes(), proven.certificate)
        chain = accepted(answer, key, proven.leaf, known, wall_s=wall_s)
        fresh = self._pairs.keep(chain, key)
        if hub_refuses(
            self._settings.host,
            self._settings.port,
            client_context(self._pairs.ca_file, fresh, clock=self._clock, passed_s=self._passed_s),
        ):
            self._pairs.drop_trial()
            raise NotRenewed("the hub refuses the new certificate; the old one stays in use")
        return None

    def _tell(self) -> None:
        try:
            proven = self._pairs.proven()
            life, waiting = _life(proven), self._pairs.trial() is not None
        except Exception as error:  # noqa: BLE001 - see look()
            self._trouble = f"this box's certificate cannot be read: {_line(error)}"
            return
        read = CertificateRead(
            slot=proven.name,
            begin_s=life.begin_s,
            end_s=life.end_s,
            due_s=self._plan.due_s(life),
            renews=self._settings.renew_url is not None,
            waiting=waiting,
            trouble=self._trouble,
        )
        if read != self._told:
            self._told = read
            self._post(read)


# ---- the request and its answer ----


def request(present: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> bytes:
    """A PKCS#10 request in DER, of the names that *present* has (RFC 7030, 4.2.2 wants them identical)."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(present.subject)
    with contextlib.suppress(x509.ExtensionNotFound):
        names = present.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        builder = builder.add_extension(names.value, critical=names.critical)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def enrol(url: str, csr: bytes, context: Context) -> list[x509.Certificate] | Later:
    """One POST to the endpoint *url*; blocks for `WHOLE_S` and the look-up of a name at most. NotRenewed, OSError, HTTPException."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 443
    with socket.create_connection((host, port), timeout=DIAL_S) as plain, plain.dup() as twin:
        # By a handle of its own: the time may be over before TLS has the connection, or while it writes.
        cut = threading.Timer(WHOLE_S, _hang_up, args=(twin,))
        cut.daemon = True
        cut.start()
        try:
            with context.wrap_socket(plain, server_hostname=host) as line:
                connection = http.client.HTTPConnection(host, port)
                connection.sock = line
                connection.request(
                    "POST",
                    f"{parts.path.rstrip('/')}/simplereenroll",
                    body=base64.encodebytes(csr),
                    headers={
                        "Content-Type": "application/pkcs10",
                        "Content-Transfer-Encoding": "base64",
                        "Connection": "close",
                    },
                )
                response = connection.getresponse()
                body = response.read(ANSWER_MAX_BYTES + 1)
        finally:
            cut.cancel()
            cut.join()  # or it might hang up on whoever gets the handle's number next
            context.close_last()
    where = _where(url)
    if response.status == _ACCEPTED:
        return Later(_seconds(response.getheader("Retry-After")))
    if response.status != http.client.OK:
        msg = f"{where} answers {response.status} {_plain(response.reason)}"
        raise NotRenewed(msg)
    if len(body) > ANSWER_MAX_BYTES:
        msg = f"{where}: an answer of more than {ANSWER_MAX_BYTES} bytes"
        raise NotRenewed(msg)
    try:
        return pkcs7.load_der_pkcs7_certificates(base64.b64decode(body))
    except Exception as error:  # noqa: BLE001 - any decoder of a foreign encoding
        msg = f"{where}: an answer that is no list of certificates ({type(error).__name__})"
        raise NotRenewed(msg) from None


def accepted(
    answer: Sequence[x509.Certificate],
    key: ec.EllipticCurvePrivateKey,
    present: x509.Certificate,
    known: Sequence[x509.Certificate],
    *,
    wall_s: float | None,
) -> bytes:
    """The new certificate and its chain in PEM. NotRenewed if it is not ours, not theirs, or no better than *present*."""
    leaf = next((one for one in answer if _is_of(one, key)), None)
    if leaf is None:
        raise NotRenewed("the certificate that came back is for another key")
    if leaf.subject != present.subject:
        msg = f"the certificate that came back is for {_plain(leaf.subject.rfc4514_string())}"
        raise NotRenewed(msg)
    chain = _chain(leaf, [one for one in answer if one is not leaf], known)
    if chain is None:
        raise NotRenewed("the certificate that came back is signed by an authority not in ca_file")
    end_s = leaf.not_valid_after_utc.timestamp()
    if leaf.not_valid_after_utc <= present.not_valid_after_utc:
        raise NotRenewed("the certificate that came back ends no later than the present one")
    if wall_s is not None and end_s <= wall_s:
        raise NotRenewed("the certificate that came back has already expired")
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain)


def hub_refuses(host: str, port: int, context: Context) -> bool:
    """Whether the hub turns this pair down within TLS. No way to the hub, or no word from it, is no refusal."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), DIAL_S) as plain:
        plain.settimeout(ALERT_S)
        try:
            with context.wrap_socket(plain, server_hostname=host) as line:
                line.recv(1)
        except ssl.SSLCertVerificationError:
            return False  # its certificate is in doubt, not ours
        except ssl.SSLError as error:
            return "alert" in _line(error).lower()
        finally:
            context.close_last()
    return False


def _is_of(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> bool:
    try:
        return certificate.public_key() == key.public_key()
    except ValueError:
        return False


def _chain(
    leaf: x509.Certificate, along: Sequence[x509.Certificate], known: Sequence[x509.Certificate]
) -> list[x509.Certificate] | None:
    """*leaf* and what stands between it and a *known* authority, as far as *along* has it; None if it leads to none."""
    chain = [leaf]
    while len(chain) <= _CHAIN_MAX:
        if any(_issued(chain[-1], authority) for authority in known):
            return chain
        step = next((one for one in along if one not in chain and _issued(chain[-1], one)), None)
        if step is None:
            return None
        chain.append(step)
    return None


def _issued(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        is_ca = authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        certificate.verify_directly_issued_by(authority)
    except Exception:  # noqa: BLE001 - unknown algorithms, bad signatures, odd encodings: none of them is a yes
        return False
    return is_ca


def _authorities(*pems: bytes) -> list[x509.Certificate]:
    """The authorities in *pems*: those of ca_file, and those behind the box's own certificate."""
    return [one for raw in pems for one in x509.load_pem_x509_certificates(raw)]


def _life(pair: Pair) -> Life:
    leaf = pair.leaf
    return Life(
        begin_s=leaf.not_valid_before_utc.timestamp(), end_s=leaf.not_valid_after_utc.timestamp()
    )


def _hang_up(line: socket.socket) -> None:
    with contextlib.suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)


def _seconds(text: str | None) -> float:
    """Retry-After in seconds; a date, nonsense or nothing is an hour."""
    return float(text) if text is not None and text.isdecimal() and len(text) < 10 else 3600.0


def _where(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 443}"


def _line(error: Exception) -> str:
    return _plain(str(error) or type(error).__name__)


def _plain(text: str) -> str:
    return "".join(mark if mark.isprintable() else " " for mark in text)[:200]
