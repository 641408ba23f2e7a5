"""An authority of certificates for tests: roots, pairs, a TLS listener, and an EST endpoint that renews, or misbehaves.

The endpoint is an HTTPS server of its own, as docs/hub.md asks of a hub: it takes expired client certificates, and nothing but
renewals. What the wild may answer instead is one attribute away.
"""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import itertools
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID

from edge_agent.tls import Pair

DAY_S = 86_400.0
_NO_CHECK_TIME = 0x20_0000


def now_s() -> float:
    """What OpenSSL holds dates against."""
    return time.time()


def pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates)


def named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _at(wall_s: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(wall_s, dt.UTC)


class Authority:
    """A root, or an authority below one. `identified=False` leaves out the key identifiers, as hand-made roots do."""

    def __init__(
        self,
        name: str = "Kota",
        *,
        above: Authority | None = None,
        begin_s: float | None = None,
        end_s: float | None = None,
        identified: bool = True,
        may_sign: bool = True,
    ) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = named(name)
        self.above = above
        self.identified = identified
        now = now_s()
        self.certificate = self._sign(
            self.name,
            self.key.public_key(),
            signer=above or self,
            begin_s=now - 3000 * DAY_S if begin_s is None else begin_s,
            end_s=now + 3000 * DAY_S if end_s is None else end_s,
            is_ca=may_sign,
        )

    @property
    def pem(self) -> bytes:
        return pem(self.certificate)

    def issue(
        self,
        name: str,
        key: ec.EllipticCurvePublicKey,
        *,
        begin_s: float | None = None,
        end_s: float | None = None,
        hosts: tuple[str, ...] = ("localhost",),
    ) -> x509.Certificate:
        now = now_s()
        return self._sign(
            named(name),
            key,
            signer=self,
            begin_s=now - 30 * DAY_S if begin_s is None else begin_s,
            end_s=now + 370 * DAY_S if end_s is None else end_s,
            hosts=hosts,
        )

    def pair(
        self,
        name: str = "box-1",
        *,
        begin_s: float | None = None,
        end_s: float | None = None,
        hosts: tuple[str, ...] = ("localhost",),
    ) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = self.issue(name, key.public_key(), begin_s=begin_s, end_s=end_s, hosts=hosts)
        chain = (leaf,) if self.above is None else (leaf, self.certificate)
        return Pair(name="configured", certificate=pem(*chain), key=pem_of(key))

    def _sign(
        self,
        name: x509.Name,
        key: ec.EllipticCurvePublicKey,
        *,
        signer: Authority,
        begin_s: float,
        end_s: float,
        hosts: tuple[str, ...] = (),
        is_ca: bool = False,
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(signer.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(_at(begin_s))
            .not_valid_after(_at(end_s))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        )
        if hosts:
            names = x509.SubjectAlternativeName([_host(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        if self.identified:
            builder = builder.add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key), critical=False
            ).add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key()),
                critical=False,
            )
        return builder.sign(signer.key, hashes.SHA256())


def server_context(
    pair: Pair, folder: Path, *, clients: bytes | None = None, takes_expired: bool = False
) -> ssl.SSLContext:
    """A hub's side of TLS. *clients*: who signs the boxes' certificates; None = none is asked for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    path = folder / f"server-{next(_count)}.pem"
    path.write_bytes(pair.certificate + pair.key)
    context.load_cert_chain(path)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=clients.decode())
    if takes_expired:
        context.verify_flags |= _NO_CHECK_TIME
    return context


_count = itertools.count()


@contextmanager
def listener(context: ssl.SSLContext | None, *, answers: bool = True) -> Iterator[int]:
    """A port that shakes hands with whoever comes and then waits; `answers=False` never says a word."""
    server = socket.create_server(("127.0.0.1", 0))
    lines: list[socket.socket] = []

    def serve() -> None:
        with suppress(OSError):
            while True:
                line, _ = server.accept()
                lines.append(line)
                threading.Thread(target=greet, args=(line,), daemon=True).start()

    def greet(line: socket.socket) -> None:
        if not answers or context is None:
            return
        with suppress(OSError), context.wrap_socket(line, server_side=True) as wrapped:
            lines.append(wrapped)
            wrapped.recv(1)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        for line in lines:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
            line.close()
        thread.join(10)


@dataclass
class Est:
    """What the endpoint answers. Each attribute is a way to be wrong."""

    authority: Authority
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    name: str | None = None  # of the subject; None = as asked for
    key: ec.EllipticCurvePublicKey | None = None  # None = as asked for
    life_s: float = 400 * DAY_S
    begin_s: float | None = None
    raw: bytes | None = None  # a body in place of the right one
    drip: threading.Event | None = None  # one byte after the other, until it is set
    along: tuple[x509.Certificate, ...] = ()
    hang: threading.Event | None = None  # say nothing until it is set
    requests: list[tuple[str, str, x509.CertificateSigningRequest]] = field(default_factory=list)
    peers: list[x509.Certificate] = field(default_factory=list)
    on_request: Callable[[], None] = lambda: None

    def body(self, csr: x509.CertificateSigningRequest) -> bytes:
        if self.raw is not None:
            return self.raw
        begin_s = now_s() - 60 if self.begin_s is None else self.begin_s
        asked = csr.public_key()
        assert isinstance(asked, ec.EllipticCurvePublicKey)
        common = csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        leaf = self.authority.issue(
            self.name or str(common),
            self.key or asked,
            begin_s=begin_s,
            end_s=begin_s + self.life_s,
        )
        der = pkcs7.serialize_certificates([*self.along, leaf], serialization.Encoding.DER)
        return base64.encodebytes(der)


@contextmanager
def est(script: Est, hub: Pair, folder: Path, *, clients: bytes) -> Iterator[str]:
    """An EST endpoint; gives its URL. It takes an expired client certificate, and no stranger."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            line = self.connection
            assert isinstance(line, ssl.SSLSocket)
            script.peers.append(x509.load_der_x509_certificate(line.getpeercert(True) or b""))
            text = self.rfile.read(int(self.headers["Content-Length"]))
            csr = x509.load_der_x509_csr(base64.b64decode(text))
            assert csr.is_signature_valid
            if csr.subject != script.peers[-1].subject:
                # Or one box could get a certificate in the name of another, or of the hub.
                self.send_error(403, "another name")
                return
            script.requests.append((self.path, self.headers["Content-Type"], csr))
            script.on_request()
            if script.hang is not None:
                script.hang.wait(60)
                return
            body = script.body(csr)
            self.send_response(script.status)
            self.send_header("Content-Type", "application/pkcs7-mime; smime-type=certs-only")
            self.send_header("Content-Transfer-Encoding", "base64")
            self.send_header("Content-Length", str(len(body)))
            for name, value in script.headers.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(OSError):
                if script.drip is None:
                    self.wfile.write(body)
                    return
                for byte in body:
                    self.wfile.write(bytes([byte]))
                    if script.drip.wait(0.05):
                        return

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            pass  # a client that hangs up is no news

    server = Server(("127.0.0.1", 0), Handler)
    context = server_context(hub, folder, clients=clients, takes_expired=True)
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"https://localhost:{server.server_address[1]}/.well-known/est"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
