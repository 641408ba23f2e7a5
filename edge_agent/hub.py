"""The wire to the hub: one MQTT 5 connection over mutual TLS, carried by one thread of its own.

Promises:
- Each `connect` ends in exactly one `LinkUp` or `LinkDown`, and a `LinkUp` in one `LinkDown` later.
- Each `send` is answered by one `Delivered` or `NotSent`, unless a `LinkDown` says that all of them are void.
- A picture asks the shutter right before it is handed to the socket, and no second one is handed over before the first
  has left this process: a press stops everything that waits here, and wakes this thread to see to the rest.
- If any of a picture is still on this box when a press comes, in the library or in the kernel, the connection is reset
  and that rest thrown away; however a connection ends, the kernel sends nothing more of it on its own.
- Plain TCP goes to this machine only, and a simulated box speaks to this machine only; a broker that names another server is
  not followed: there is none in the configuration.
- Of what arrives at most twice `HANG_UP_BYTES` are held in here: a broker that sends a larger packet, or what would have to be kept
  for it, is hung up on, before memory is taken for it; a message larger than was announced is dropped, and so is what comes on top of
  `HANG_UP_BYTES` before the connection is up.
- Topics that come again and again are written out once a connection, as far as the broker takes aliases; never one too many.
- A hub whose dates do not fit a clock that nothing vouches for gets no picture, until they fit one that something does.
- No method blocks, no callback of the library can end the thread, nothing is retried here.
Not its job: when to connect, what to send, what a message means (core/uplink.py, core/wire.py).
"""

from __future__ import annotations

import contextlib
import fcntl
import select
import socket
import ssl
import struct
import termios
import threading
from collections import Counter, deque
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge_agent.core import wire
from edge_agent.core.messages import (
    Connect,
    Delivered,
    Died,
    Disconnect,
    Event,
    FindingKey,
    HubMessage,
    LinkDown,
    LinkUp,
    Message,
    NotSent,
    Send,
)
from edge_agent.core.settings import is_loopback
from edge_agent.tls import Context, Pair, client_context

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.clock import Clock
    from edge_agent.core.settings import Hub, Identity, Tls
    from edge_agent.shutter import Shutter

KEEPALIVE_S: Final = 30
DIAL_S: Final = 10.0  # each of TCP (per address) and TLS
# A name with more has each of them tried for nothing longer than patience lasts; a city's hub has one or a few.
MAX_ADDRESSES: Final = 8
GREETING_S: Final = 15.0  # each of CONNACK, SUBACK and the birth's PUBACK
FAREWELL_S: Final = 2.0
CLOSE_S: Final = 5.0
# What one dial may take with nobody at fault here: a name that nobody answers for (three servers, a search list: a minute and a
# half), then each of a hub's addresses in turn, then TLS. It holds nothing up but the link itself, so the watchdog waits.
PATIENCE_S: Final = 300.0
ROUND_S: Final = 1.0
MAX_MESSAGE_BYTES: Final = wire.MAX_WORD_BYTES
MAX_PACKET_BYTES: Final = (
    MAX_MESSAGE_BYTES + 4096
)  # payload, topic and properties; announced to the broker
# Not every broker heeds that. What is a little larger is read and dropped, or a message that somebody left retained would keep the box
# from ever staying connected; what is this large is not read.
HANG_UP_BYTES: Final = 4 * 1024 * 1024
# Packets that a broker leaves unread while it goes on sending; a window and its answers are a few dozen.
MAX_ANSWERS: Final = 1_000
READS: Final = 100  # in one round
# What the kernel may hold unsent: little, or fresh news would wait behind it.
UNSENT_BYTES: Final = 64 * 1024
DEFAULT_RECEIVE_MAXIMUM: Final = 65_535  # MQTT 5, 3.2.2.3.3

_SESSION_TAKEN_OVER: Final = 0x8E
_FIRST_FAILURE: Final = 0x80
_VERSION: Final = frozenset({0x81, 0x82, 0x84})
_CLIENT: Final = frozenset({0x80, 0x85, 0x86, 0x87, 0x8A, 0x8C, 0x8E, 0x98})
# Of one that was let in: it is not the box that is refused, but what it sent (some brokers hang up at what is not allowed).
_AT_A_MESSAGE: Final = frozenset({0x80, 0x87})
_TOPIC: Final = frozenset({0x90, 0x95, 0x99, 0x9A, 0x9B})

# There, but not for us now: unavailable, busy, message rate, quota, use another server, moved, connection rate. Whoever says so
# is left alone for a whole window. Not 0x8B (shutting down): that is a restart, for which the usual spread is made.
_PATIENCE: Final = frozenset({0x88, 0x89, 0x96, 0x97, 0x9C, 0x9D, 0x9F})
_ELSEWHERE: Final = frozenset({0x9C, 0x9D})
_MAX_TOLD: Final = 120  # characters of what a broker says, in a finding

_WITH_WILL: Final = "Disconnect with will message"

_Job: TypeAlias = Connect | Disconnect | Send


class _Phase(Enum):
    """How far a connection has come."""

    IDLE = "idle"
    GREETING = "greeting"  # CONNECT sent
    SUBSCRIBING = "subscribing"
    BIRTH = "birth"
    UP = "up"
    LEAVING = "leaving"  # the farewell is on its way


class _Refusal(Exception):  # noqa: N818 - never leaves this module
    """A connection that cannot be."""

    def __init__(self, key: FindingKey, detail: str, *, local: bool = False) -> None:
        super().__init__(detail)
        self.down = LinkDown(key=key, detail=detail, local=local)


@dataclass(slots=True)
class _Heard:
    """What the library's callbacks left, to be looked at once it has returned."""

    connack: tuple[int, str, Properties] | None = None
    suback: tuple[int, ...] | None = None
    answers: list[tuple[int, int]] = field(default_factory=list)  # (mid, PUBACK code)
    messages: list[MQTTMessage] = field(default_factory=list)
    bytes: int = 0  # of those
    # (code, text, was it the server's DISCONNECT, what it said besides)
    lost: tuple[int, str, bool, Properties | None] | None = None


class _NotTaken(Exception):  # noqa: N818 - never leaves this module
    """What this box takes no memory for; says what."""


class _Client(Client):
    """Reads nothing beyond bounds: the library would take memory for whatever it is told. Dials within bounds, too.

    `puback_code`: of the answer that the library is telling of.
    """

    puback_code = 0

    def _create_socket_connection(self) -> socket.socket:
        # The library tries each address that the name has, for as long as there are any.
        found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        failed: OSError = OSError("the name has no address")
        # By turns of the families, so that however many one of them has, the other has its try.
        seen: Counter[int] = Counter()
        turns = []
        for each in found:
            turns.append((seen[each[0]], each))
            seen[each[0]] += 1
        turns.sort(key=lambda turn: turn[0])
        for _, (family, kind, protocol, _, address) in turns[:MAX_ADDRESSES]:
            try:  # a kernel without this family does not even make the socket
                one = socket.socket(family, kind, protocol)
            except OSError as error:
                failed = error
                continue
            try:
                one.settimeout(DIAL_S)
                one.connect(address)
            except OSError as error:
                one.close()
                failed = error
            else:
                return one
        raise failed

    def _handle_pubackcomp(self, cmd: Literal["PUBACK", "PUBCOMP"]) -> MQTTErrorCode:
        packet = self._in_packet["packet"]
        self.puback_code = packet[2] if len(packet) > 2 else 0
        # The library knows nine codes and hangs up at any other, though brokers do say 0x95 for one message that is too large.
        # A success that nobody knows is no success: that stays as it is.
        if self.puback_code >= _FIRST_FAILURE:
            self._in_packet["packet"] = packet[:2] + bytes([_FIRST_FAILURE]) + packet[3:]
        return super()._handle_pubackcomp(cmd)

    def _sock_recv(self, bufsize: int) -> bytes:
        # Asked for all that is left of a packet at once, so the first question names its length.
        if bufsize > HANG_UP_BYTES:
            what = f"a packet of more than {HANG_UP_BYTES} bytes"
            raise _NotTaken(what)
        return super()._sock_recv(bufsize)

    def _handle_publish(self) -> MQTTErrorCode:
        # Nobody subscribed with more than QoS 1, and what comes with 2 the library keeps until the broker releases it.
        if self._in_packet["command"] & 0x04:
            raise _NotTaken("messages of QoS 2")
        if len(self._out_packet) > MAX_ANSWERS:
            what = f"messages, and reads none of {MAX_ANSWERS} answers"
            raise _NotTaken(what)
        return super()._handle_publish()


class _Aliases:
    """Numbers that stand for topics on one connection."""

    def __init__(self, most: int = 0) -> None:
        """*most*: what the broker announced; 0 = it takes none."""
        self._most = most
        self._numbers: dict[str, int] = {}

    def write(self, message: Message) -> tuple[str, int | None]:
        """The topic to write ("" = the number is enough), and the number to write beside it."""
        number = self._numbers.get(message.topic)
        if number is not None:
            return "", number
        # A camera's state is retained and rare; what streams comes again.
        if message.retain or len(self._numbers) >= self._most:
            return message.topic, None
        return message.topic, len(self._numbers) + 1

    def written(self, topic: str, number: int | None) -> None:
        """That is on its way, so from here on the broker knows the number."""
        if number is not None and topic:
            self._numbers[topic] = number


class Credentials(Protocol):
    """By what the hub knows this box. Asked for each connection, and told how it went; both at once."""

    def offer(self) -> Pair:
        """The pair for the next connection; may raise whatever reading it raises."""
        ...

    def worked(self, pair: Pair) -> object:
        """A connection came up with *pair*."""
        ...

    def refused(self, pair: Pair) -> object:
        """The hub did not let *pair* in, or that cannot be ruled out."""
        ...


# SO_LINGER of no time: close() sends a reset and drops what is unsent. So does the kernel if this process dies: its
# usual way is to go on sending for minutes, where no switch is heard.
_THROW_AWAY: Final = struct.pack("ii", 1, 0)
_LET_GO: Final = struct.pack("ii", 0, 0)


class HubLink:
    """One connection to the hub. Methods from any thread, none blocks but `close` (a few seconds at most)."""

    def __init__(
        self,
        settings: Hub,
        identity: Identity,
        *,
        shutter: Shutter,
        post: Callable[[Event], None],
        clock: Clock,
        credentials: Credentials | None,
        passed_s: float = 0.0,
        simulated: bool = False,
    ) -> None:
        """*credentials*: None only without TLS. *passed_s*: Unix time that an earlier boot knew to have passed.

        *simulated* boxes are kept on this machine.
        """
        self._settings = settings
        self._identity = identity
        self._shutter = shutter
        self._post = post
        self._clock = clock
        self._credentials = credentials
        self._passed_s = passed_s
        self._simulated = simulated
        self._leaves = {wire.topic(identity, leaf): leaf for leaf in wire.ORDERS_FROM_HUB}

        self._lock = threading.Lock()
        self._jobs: deque[_Job] = deque()
        self._closing = False
        self._bell, self._ring = socket.socketpair()
        self._bell.settimeout(0)
        self._ring.settimeout(0)

        # Below: this object's own thread only, but for the two marks that `progress` reads.
        self._round_at = clock.now()
        self._patient_until = 0.0
        self._phase = _Phase.IDLE
        self._deadline = 0.0
        self._client: Client | None = None
        self._context: Context | None = None
        self._pair: Pair | None = None
        self._heard = _Heard()
        self._birth: Message | None = None
        self._farewell_mid = -1
        self._birth_mid = -1
        self._refused: tuple[str, ...] = ()
        self._limits = (DEFAULT_RECEIVE_MAXIMUM, -1)
        self._aliases = _Aliases()
        self._outgoing: deque[Send] = deque()
        self._pictures: dict[int, int] = {}  # mid -> presses when it was handed over; unanswered
        self._tickets: dict[int, int] = {}  # mid -> ticket
        self._thread = threading.Thread(target=self._live, name="hub-link", daemon=True)
        shutter.wakes(self._wake)

    def __enter__(self) -> HubLink:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    # ---- any thread ----

    def connect(self, command: Connect) -> None:
        """Open a new connection (an old one is dropped). Never blocks; answered by `LinkUp` or `LinkDown`."""
        self._give(command)

    def disconnect(self, command: Disconnect) -> None:
        """Say farewell and close; answered by a `LinkDown` without a key. Never blocks."""
        self._give(command)

    def send(self, command: Send) -> None:
        """Publish; answered by `Delivered` or `NotSent`. Never blocks."""
        self._give(command)

    def progress(self) -> float:
        """When this thread last showed life, in boot seconds; a dial under way counts as life for `PATIENCE_S`."""
        return max(self._round_at, min(self._clock.now(), self._patient_until))

    def close(self) -> None:
        """Finish a farewell that is under way, then close. Twice is harmless. Waits `CLOSE_S` at most."""
        with self._lock:
            self._closing = True
        self._wake()
        if self._thread.ident is None:  # never started
            self._bell.close()
            self._ring.close()
        elif self._thread is not threading.current_thread():
            self._thread.join(CLOSE_S)

    def _give(self, job: _Job) -> None:
        with self._lock:
            self._jobs.append(job)
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(
            OSError
        ):  # full: it will wake anyway; closed: nobody is left to wake
            self._ring.send(b"!")

    # ---- own thread ----

    def _live(self) -> None:
        try:
            while self._round():
                pass
        except Exception as error:  # noqa: BLE001 - the thread's top
            self._post(Died(part="hub link", detail=f"{type(error).__name__}: {error}"))
        finally:
            self._drop()
            self._bell.close()
            self._ring.close()

    def _round(self) -> bool:
        """Wait for something to do, and do it; False = closed for good."""
        self._round_at = self._clock.now()
        self._cut()
        self._vouch()
        with self._lock:
            jobs, self._jobs = self._jobs, deque()
            closing = self._closing
        for job in jobs:
            self._do(job)
        if closing and self._phase is not _Phase.LEAVING:
            return False
        self._carry()
        if self._phase is not _Phase.IDLE and self._clock.now() >= self._deadline:
            self._out_of_time()
        if not self._jobs:
            self._wait()
        return True

    def _do(self, job: _Job) -> None:
        match job:
            case Connect():
                self._drop()
                self._open(job)
            case Disconnect():
                self._leave(job.farewell)
            case Send() if self._phase is _Phase.UP:
                self._outgoing.append(job)
            case Send():
                self._post(NotSent(ticket=job.ticket))

    def _wait(self) -> None:
        """Sleep until the socket, the bell or the next deadline calls."""
        client_socket = None if self._client is None else self._client.socket()
        readers = [self._bell]
        writers: list[socket.socket] = []
        if self._client is not None and isinstance(client_socket, socket.socket):
            readers.append(client_socket)
            if self._client.want_write() or self._outgoing:
                writers.append(client_socket)
            if isinstance(client_socket, ssl.SSLSocket) and client_socket.pending():
                return
        left_s = ROUND_S
        if self._phase is not _Phase.IDLE:
            left_s = min(ROUND_S, max(0.0, self._deadline - self._clock.now()))
        select.select(readers, writers, [], left_s)
        with contextlib.suppress(BlockingIOError):
            self._bell.recv(4096)

    # ---- opening ----

    def _open(self, command: Connect) -> None:
        self._patient_until = self._clock.now() + PATIENCE_S
        try:
            self._client = self._dial(command)
        except _Refusal as refusal:
            # A certificate of the hub's that we do not accept says nothing about ours.
            theirs = isinstance(refusal.__cause__, ssl.SSLCertVerificationError)
            self._turned_down(None if theirs or refusal.down.local else refusal.down.key)
            self._drop()
            self._post(refusal.down)
            return
        finally:
            self._patient_until = 0.0
        self._birth = command.birth
        self._enter(_Phase.GREETING, GREETING_S)

    def _enter(self, phase: _Phase, within_s: float) -> None:
        self._phase = phase
        self._deadline = self._clock.now() + within_s

    def _dial(self, command: Connect) -> Client:
        """A client whose CONNECT is on its way; `_Refusal` says why not."""
        host, port, tls = self._settings.host, self._settings.port, self._settings.tls
        if tls is None and not is_loopback(host):
            raise _Refusal(
                FindingKey.HUB_TLS,
                f"{host}:{port}: plain TCP is for this machine only; give [hub.tls] its three files",
                local=True,
            )
        if self._simulated and not is_loopback(host):
            raise _Refusal(
                FindingKey.HUB_REFUSED_CLIENT,
                f"{host}:{port}: a simulated street never speaks to a real hub",
                local=True,
            )
        client = self._new_client(command.will)
        context = self._context = None if tls is None else self._tls_context(tls)
        if context is not None:
            client.tls_set_context(context)
        try:
            client.connect(
                host,
                port,
                keepalive=KEEPALIVE_S,
                # The journal is our session. One that the broker kept would hold commands for a box that is away,
                # which are to expire, not to wait; and what it had not sent on we would send again all the same.
                clean_start=True,
                properties=_connect_properties(),
            )
        except (OSError, ValueError) as error:
            if context is not None:
                context.close_last()
            raise _why_not(error, f"{host}:{port}", plain=tls is None) from error
        found = client.socket()
        if isinstance(found, socket.socket):
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _THROW_AWAY)
        return client

    def _new_client(self, will: Message) -> Client:
        identity = self._identity
        client = _Client(
            CallbackAPIVersion.VERSION2,
            # Box names are unique within an RT only; two clients with one name would throw each other out for ever.
            client_id=f"{identity.kelurahan}-{identity.rw}-{identity.rt}-{identity.box}",
            protocol=MQTTv5,
            reconnect_on_failure=False,
        )
        client.connect_timeout = DIAL_S
        client.max_inflight_messages = (
            64  # the window is kept by core/uplink.py, never by a queue in here
        )
        client.max_queued_messages_set(
            64
        )  # far beyond a window; reached only if the library lost count
        client.will_set(
            will.topic, will.payload, qos=1, retain=will.retain, properties=_will_properties(will)
        )
        heard = self._heard = _Heard()
        client.on_connect = lambda _c, _u, _f, code, properties: _note_connack(
            heard, code, properties
        )
        client.on_subscribe = lambda _c, _u, _m, codes, _p: _note_suback(heard, codes)
        client.on_publish = lambda _c, _u, mid, _code, _p: heard.answers.append(
            (mid, client.puback_code)
        )
        client.on_message = lambda _c, _u, message: _note_message(heard, message)
        client.on_disconnect = lambda _c, _u, flags, code, said: _note_lost(
            heard, code, said, from_server=flags.is_disconnect_packet_from_server
        )
        return client

    def _tls_context(self, tls: Tls) -> Context:
        try:
            if self._credentials is not None:
                self._pair = self._credentials.offer()
            return client_context(
                tls.ca_file, self._pair, clock=self._clock, passed_s=self._passed_s
            )
        except Exception as error:
            # Any reader of files and of a foreign encoding, and the secret's own error type, end here: all say that
            # the box cannot prove who it is. The text names a file, never its content.
            detail = f"certificate, key or CA file unusable: {_first_line(error)}"
            raise _Refusal(FindingKey.HUB_TLS, detail, local=True) from error

    # ---- carrying ----

    def _carry(self) -> None:
        """Let the library read and write, then look at what it heard."""
        if self._client is None:
            return
        try:
            _turn(self._client)
        except _NotTaken as what:
            detail = f"{self._where()} sends {what}, which this box does not take"
            self._lose(LinkDown(key=FindingKey.HUB_REFUSED_VERSION, detail=detail))
            return
        except Exception as error:  # noqa: BLE001 - a broker's garbage surfaces as nearly any exception
            detail = f"sends what is not MQTT 5 ({type(error).__name__})"
            self._lose(LinkDown(key=FindingKey.HUB_REFUSED_VERSION, detail=detail))
            return
        self._digest(self._client, self._heard)
        self._send_waiting()

    def _send_waiting(self) -> None:
        """Hand over one after the other, each only when the one before has left this process."""
        self._sweep()
        while self._outgoing and self._client is not None and not self._client.want_write():
            self._publish(self._client, self._outgoing.popleft())

    def _sweep(self) -> None:
        """Give back what waits and may not leave now, although the line is stuck: in a minute it might be allowed again.

        Rounds come at least each second and a switch needs 3 s to read live, so no picture outlives a press in here.
        """
        stays: deque[Send] = deque()
        for job in self._outgoing:
            camera = job.message.picture_of
            if camera is None or self._allows(camera):
                stays.append(job)
            else:
                self._post(NotSent(ticket=job.ticket))
        self._outgoing = stays

    def _cut(self) -> None:
        """Hang up if somebody pressed since a picture was handed over and some of it is still here: nobody shall get the rest."""
        press = self._shutter.presses
        if self._client is None or all(handed == press for handed in self._pictures.values()):
            return
        if not self._client.want_write() and not _unsent(self._client):
            self._pictures.clear()  # all of them have left; only their answers are still to come
            return
        detail = "hung up: a picture was on its way when the privacy switch was pressed"
        self._lose(LinkDown(key=None, detail=detail, by_press=True))

    @property
    def _doubtful(self) -> bool:
        return self._context is not None and self._context.doubtful

    def _allows(self, camera: str) -> bool:
        """Whether a picture of *camera* may leave now: asked right before each is handed over."""
        return self._shutter.allows(camera) and not self._doubtful

    def _vouch(self) -> None:
        """Make up for the hub's dates as soon as there is a clock to hold them against."""
        if self._context is None or not self._context.doubtful or self._phase is not _Phase.UP:
            return
        if self._clock.trusted() and (why := self._context.vouch(self._clock.wall())):
            detail = f"{self._where()}: {why}, as the box knows now that its clock is set"
            self._lose(LinkDown(key=FindingKey.HUB_TLS, detail=detail))

    def _turned_down(self, key: FindingKey | None) -> None:
        """A connection never came up: was that for the pair?"""
        if self._credentials is None or self._pair is None:
            return
        if key in (FindingKey.HUB_TLS, FindingKey.HUB_REFUSED_CLIENT):
            self._credentials.refused(self._pair)

    def _digest(self, client: Client, heard: _Heard) -> None:
        if heard.connack is not None and self._phase is _Phase.GREETING:
            self._on_connack(client, *heard.connack)
        if heard.suback is not None and self._phase is _Phase.SUBSCRIBING:
            self._on_suback(client, heard.suback)
        answers, heard.answers = heard.answers, []
        for mid, code in answers:
            self._on_answer(mid, code)
        if self._phase is _Phase.UP:
            messages, heard.messages, heard.bytes = heard.messages, [], 0
            for message in messages:
                self._on_message(message)
        if heard.lost is not None and self._client is not None:
            self._on_lost(*heard.lost)

    def _on_connack(self, client: Client, code: int, text: str, properties: Properties) -> None:
        if code != 0:
            detail = f"{self._where()} refuses this box: {_reason(text, code, properties)}"
            self._lose(LinkDown(key=_key_of(code), detail=detail, patient=code in _PATIENCE))
            return
        self._aliases = _Aliases(_whole(properties, "TopicAliasMaximum", 0))
        self._limits = (
            _whole(properties, "ReceiveMaximum", DEFAULT_RECEIVE_MAXIMUM),
            _whole(properties, "MaximumPacketSize", -1),
        )
        # Retain as published: a command that somebody left retained is to be recognised as such.
        options = SubscribeOptions(qos=1, retainAsPublished=True)
        self._enter(_Phase.SUBSCRIBING, GREETING_S)
        client.subscribe([(topic, options) for topic in self._leaves])

    def _on_suback(self, client: Client, codes: tuple[int, ...]) -> None:
        self._refused = tuple(
            topic
            for topic, code in zip(self._leaves, codes, strict=False)
            if code >= _FIRST_FAILURE
        )
        self._enter(_Phase.BIRTH, GREETING_S)
        if self._birth is not None:
            self._birth_mid = self._hand_over(client, self._birth)

    def _on_answer(self, mid: int, code: int) -> None:
        self._pictures.pop(mid, None)
        if self._phase is _Phase.BIRTH and mid == self._birth_mid:
            self._come_up(code)
        elif self._phase is _Phase.LEAVING and mid == self._farewell_mid:
            self._hang_up(farewell_heard=True)
        elif mid in self._tickets:
            self._post(Delivered(ticket=self._tickets.pop(mid), code=code))

    def _come_up(self, birth_code: int) -> None:
        refused = self._refused
        if birth_code >= _FIRST_FAILURE and self._birth is not None:
            refused = (*refused, self._birth.topic)
        self._phase, self._deadline = _Phase.UP, float("inf")
        if self._credentials is not None and self._pair is not None:
            self._credentials.worked(self._pair)
        receive_maximum, packet = self._limits
        self._post(
            LinkUp(
                receive_maximum=receive_maximum,
                maximum_packet_bytes=None if packet < 0 else packet,
                simulated_peer=is_loopback(self._settings.host),
                doubtful=self._doubtful,
                refused=refused,
            )
        )

    def _on_message(self, message: MQTTMessage) -> None:
        leaf = self._leaves.get(_topic_of(message))
        if leaf is None:
            return
        answer_to: object = getattr(message.properties, "ResponseTopic", None)
        correlation: object = getattr(message.properties, "CorrelationData", None)
        self._post(
            HubMessage(
                leaf=leaf,
                payload=bytes(message.payload),
                retained=message.retain,
                response_topic=answer_to if isinstance(answer_to, str) else None,
                correlation=correlation if isinstance(correlation, bytes) else None,
            )
        )

    def _on_lost(self, code: int, text: str, from_server: bool, said: Properties | None) -> None:  # noqa: FBT001 - one caller
        if self._phase is _Phase.LEAVING:
            self._lose(LinkDown(key=None, detail="closed"))
        elif from_server:
            detail = f"{self._where()} closed the connection: {_reason(text, code, said)}"
            if code == _SESSION_TAKEN_OVER:
                detail += "; is there another box with the same name?"
            of_message = self._phase is _Phase.UP and code in _AT_A_MESSAGE
            key = FindingKey.HUB_REFUSED_TOPIC if of_message else _key_of(code)
            self._lose(LinkDown(key=key, detail=detail, patient=code in _PATIENCE))
        elif self._phase is _Phase.GREETING and self._settings.tls is not None:
            detail = f"{self._where()} closed the connection after TLS; does it accept this box's certificate?"
            self._lose(LinkDown(key=FindingKey.HUB_TLS, detail=detail))
        else:
            detail = f"connection to {self._where()} lost: {text}"
            self._lose(LinkDown(key=FindingKey.HUB_UNREACHABLE, detail=detail, local=_no_route()))

    def _publish(self, client: Client, job: Send) -> None:
        camera = job.message.picture_of
        # Counted before it is asked: a press in between is then seen as one that came after.
        press = self._shutter.presses
        if camera is not None and not self._allows(camera):
            self._post(NotSent(ticket=job.ticket))
            return
        mid = self._hand_over(client, job.message)
        if camera is not None:
            self._pictures[mid] = press
        if mid < 0:
            self._post(NotSent(ticket=job.ticket))
        else:
            self._tickets[mid] = job.ticket

    def _hand_over(self, client: Client, message: Message) -> int:
        """Give *message* to the library; its mid, or -1 if it was not taken."""
        topic, alias = self._aliases.write(message)
        info = client.publish(
            topic,
            message.payload,
            qos=1,
            retain=message.retain,
            properties=_publish_properties(message, alias),
        )
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return -1
        self._aliases.written(topic, alias)
        return info.mid

    # ---- closing ----

    def _leave(self, farewell: Message) -> None:
        if self._client is None:
            self._post(LinkDown(key=None, detail="closed"))
            return
        was_up = self._phase is _Phase.UP
        for job in self._outgoing:
            self._post(NotSent(ticket=job.ticket))
        self._outgoing.clear()
        self._enter(_Phase.LEAVING, FAREWELL_S)
        if was_up and len(self._tickets) < self._limits[0]:
            self._farewell_mid = self._hand_over(self._client, farewell)
        else:
            self._hang_up(farewell_heard=False)

    def _hang_up(self, *, farewell_heard: bool) -> None:
        """DISCONNECT; if the farewell was not heard, with the wish that the broker publishes the Will."""
        if self._client is not None:
            found = self._client.socket()
            with contextlib.suppress(
                Exception
            ):  # the connection is over whatever the library makes of it
                if farewell_heard and isinstance(found, socket.socket):
                    # All before it has arrived; the DISCONNECT shall too, or the broker would publish the Will.
                    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LET_GO)
                self._client.disconnect(
                    None if farewell_heard else ReasonCode(PacketTypes.DISCONNECT, _WITH_WILL)
                )
        self._lose(LinkDown(key=None, detail="closed"))

    def _out_of_time(self) -> None:
        if self._phase is _Phase.LEAVING:
            self._hang_up(farewell_heard=False)
            return
        detail = f"{self._where()} takes connections, but says nothing for {GREETING_S:.0f} s"
        self._lose(LinkDown(key=FindingKey.HUB_UNREACHABLE, detail=detail))

    def _lose(self, down: LinkDown) -> None:
        if self._phase is not _Phase.UP:
            self._turned_down(down.key)
        self._drop()
        self._post(down)

    def _drop(self) -> None:
        """Forget the connection, and what the kernel still holds for it; without a DISCONNECT the broker publishes the Will."""
        client, self._client = self._client, None
        self._context = self._pair = None
        self._phase = _Phase.IDLE
        self._outgoing.clear()
        self._tickets.clear()
        self._pictures.clear()
        self._birth_mid = self._farewell_mid = -1
        if client is not None:
            found = client.socket()
            if isinstance(found, socket.socket):
                with contextlib.suppress(OSError):
                    found.close()

    def _where(self) -> str:
        return f"{self._settings.host}:{self._settings.port}"


# ---- around the library ----


def _turn(client: Client) -> None:
    """One round of reading and writing; blocks on nothing."""
    for _ in range(READS):  # a press shall not wait behind a broker that never stops talking
        client.loop_read()
        if not isinstance(found := client.socket(), ssl.SSLSocket) or not found.pending():
            break
    if client.want_write():
        client.loop_write()
    client.loop_misc()


def _unsent(client: Client) -> bool:
    """Whether the kernel holds bytes that the other end has not confirmed; not to be told = yes."""
    found = client.socket()
    if not isinstance(found, socket.socket):
        return False  # closed: thrown away
    try:
        answer = fcntl.ioctl(found.fileno(), termios.TIOCOUTQ, b"\0" * 4)
    except OSError:
        return True
    return any(answer)


def _note_connack(heard: _Heard, code: ReasonCode, properties: Properties | None) -> None:
    heard.connack = (code.value, str(code), properties or _properties(PacketTypes.CONNACK))


def _note_suback(heard: _Heard, codes: list[ReasonCode]) -> None:
    heard.suback = tuple(code.value for code in codes)


def _note_message(heard: _Heard, message: MQTTMessage) -> None:
    size = len(message.payload)
    cost = size + 1000  # a short one is more than its payload
    if size <= MAX_MESSAGE_BYTES and heard.bytes + cost <= HANG_UP_BYTES:
        heard.messages.append(message)
        heard.bytes += cost


def _note_lost(
    heard: _Heard, code: ReasonCode, said: Properties | None, *, from_server: bool
) -> None:
    if heard.lost is None:  # the library may tell twice; the first is the cause
        heard.lost = (code.value, str(code), from_server, said)


def _properties(of: int) -> Properties:
    return Properties(of)  # type: ignore[no-untyped-call]  # paho leaves its constructor untyped


def _connect_properties() -> Properties:
    properties = _properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = 0
    properties.ReceiveMaximum = 20
    properties.MaximumPacketSize = MAX_PACKET_BYTES
    return properties


def _will_properties(will: Message) -> Properties:
    properties = _properties(PacketTypes.WILLMESSAGE)
    properties.ContentType = will.content_type
    return properties


def _publish_properties(message: Message, alias: int | None) -> Properties:
    properties = _properties(PacketTypes.PUBLISH)
    if alias is not None:
        properties.TopicAlias = alias
    properties.ContentType = message.content_type
    if message.properties:
        properties.UserProperty = list(message.properties)
    if message.response_to is not None:
        properties.CorrelationData = message.response_to
    return properties


def _whole(properties: Properties, name: str, otherwise: int) -> int:
    found: object = getattr(properties, name, None)
    return found if isinstance(found, int) and found > 0 else otherwise


def _reason(text: str, code: int, said: Properties | None) -> str:
    """A refusal in words: the code, and what the broker adds to it. A server that it names is reported, and not followed."""
    reason = f"{text} (0x{code:02X})"
    if told := _told(said, "ReasonString"):
        reason += f": {told}"
    if code in _ELSEWHERE:
        named = _told(said, "ServerReference") or "none named"
        reason += f"; other server: {named}; this box knows its configured one only"
    return reason


def _told(said: Properties | None, name: str) -> str:
    """A text of the broker's, fit for one line."""
    found: object = getattr(said, name, None)
    if not isinstance(found, str):
        return ""
    return "".join(mark if mark.isprintable() else " " for mark in found)[:_MAX_TOLD]


def _topic_of(message: MQTTMessage) -> str:
    try:
        return message.topic
    except UnicodeDecodeError:
        return ""


def _key_of(code: int) -> FindingKey:
    """Which finding an MQTT 5 reason code of CONNACK or DISCONNECT is."""
    if code in _VERSION:
        return FindingKey.HUB_REFUSED_VERSION
    if code in _CLIENT:
        return FindingKey.HUB_REFUSED_CLIENT
    if code in _TOPIC:
        return FindingKey.HUB_REFUSED_TOPIC
    return (
        FindingKey.HUB_UNREACHABLE
    )  # busy, shutting down, moved, over quota: there, but not for us now


def _why_not(error: Exception, where: str, *, plain: bool) -> _Refusal:
    """What a failed dial means."""
    if isinstance(error, socket.gaierror):
        detail = f"{where}: the name is not known here ({_first_line(error)})"
        return _Refusal(FindingKey.HUB_NAME_UNKNOWN, detail, local=_no_route())
    if isinstance(error, ssl.SSLCertVerificationError):
        detail = f"{where}: its certificate is not accepted: {error.verify_message}"
        return _Refusal(FindingKey.HUB_TLS, detail)
    # A pipe that broke is a reset, too: one that came between two writes.
    if isinstance(error, ssl.SSLError) or (
        not plain and isinstance(error, ConnectionResetError | BrokenPipeError)
    ):
        return _Refusal(FindingKey.HUB_TLS, f"{where}: TLS failed: {_first_line(error)}")
    if isinstance(error, TimeoutError):
        detail = f"{where}: no answer within {DIAL_S:.0f} s"
        return _Refusal(FindingKey.HUB_UNREACHABLE, detail, local=_no_route())
    if isinstance(error, ConnectionRefusedError):
        return _Refusal(FindingKey.HUB_UNREACHABLE, f"{where}: nobody listens there")
    return _Refusal(FindingKey.HUB_UNREACHABLE, f"{where}: {_first_line(error)}", local=_no_route())


def _no_route() -> bool:
    """Whether this box has no default route at all: the fault is on this side. Not to be told = no."""
    try:
        lines = Path("/proc/net/route").read_text(encoding="ascii").splitlines()[1:]
        if any(line.split()[1] == "00000000" for line in lines):
            return False
        six = Path("/proc/net/ipv6_route")
        lines = six.read_text(encoding="ascii").splitlines() if six.exists() else []
        return not any(
            line.startswith("0" * 32 + " 00 ") and not line.endswith(" lo") for line in lines
        )
    except (OSError, ValueError, IndexError):
        return False


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
