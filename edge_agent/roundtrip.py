"""There and back: one short connection to the hub, and a word of this box to itself.

For a box whose agent is not connected: a hub may take one certificate for one connection, whatever client id it gives.

Promises: it changes nothing at the hub: no Will, nothing retained,
one message on the box's own `echo` topic, which subscribers ignore; plain TCP and a simulated street stay on this machine; nothing in it
waits longer than its time limit; a broker's garbage is an answer, never an exception.
Not its job: the rungs below MQTT (ladder.py), which pair is shown (pairs.py), what a person is told (doctor).
"""

from __future__ import annotations

import contextlib
import ssl
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from edge_agent.core import wire
from edge_agent.core.messages import Fault
from edge_agent.core.settings import is_loopback
from edge_agent.tls import client_context

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.clock import Clock
    from edge_agent.core.messages import Message
    from edge_agent.core.settings import Hub, Identity
    from edge_agent.tls import Context, Pair

_KEEPALIVE_S: Final = 30
_FIRST_FAILURE: Final = 0x80
_NOT_MQTT: Final = frozenset({0x81, 0x82, 0x84})  # malformed, protocol error, version
_BUSY: Final = frozenset({0x88, 0x89, 0x96, 0x97, 0x9F})  # there, but not for us now


@dataclass(frozen=True, slots=True, kw_only=True)
class Trip:
    """How it went. `fault` None: the hub took the box in; `back_s` None: its own word did not come back, and `seen` says why."""

    seen: str
    fault: Fault | None = None
    back_s: float | None = None
    hub_end_s: float | None = None  # Unix time at which the hub's own certificate ends


@dataclass(frozen=True, slots=True)
class _Heard:
    """A packet as a callback of the library left it."""

    kind: str
    code: int = 0
    text: str = ""


class _Ended(Exception):  # noqa: N818 - never leaves this module
    """The trip is over."""

    def __init__(self, trip: Trip) -> None:
        super().__init__(trip.seen)
        self.trip = trip


def go(
    hub: Hub,
    identity: Identity,
    *,
    pair: Pair | None,
    clock: Clock,
    mark: str,
    within_s: float,
    simulated: bool = False,
) -> Trip:
    """Connect, say *mark*, hear it, leave. *pair*: what this box shows the hub, None only without TLS. Blocks for *within_s* or so."""
    where = f"{hub.host}:{hub.port}"
    if (hub.tls is None or simulated) and not is_loopback(hub.host):
        why = "a simulated street never speaks" if simulated else "plain TCP is never spoken"
        return Trip(seen=f"{where}: {why} to a hub beyond this machine", fault=Fault.UNKNOWN)
    try:
        context = None if hub.tls is None else client_context(hub.tls.ca_file, pair, clock=clock)
    except (OSError, ValueError) as error:  # files, and what is in them
        return Trip(seen=_line(error), fault=Fault.OWN_UNUSABLE)
    visit = _Visit(identity, context, mark, clock, clock.now() + within_s)
    try:
        return visit.made(hub.host, hub.port)
    except _Ended as ended:
        return ended.trip
    finally:
        if context is not None:
            context.close_last()


class _Visit:
    """One connection. The caller's thread only."""

    def __init__(
        self, identity: Identity, context: Context | None, mark: str, clock: Clock, end: float
    ) -> None:
        self._context = context
        self._clock = clock
        self._end = end
        self._echo: Message = wire.echo(identity, mark)
        self._heard: deque[_Heard] = deque()
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            # The agent's own with a word behind it: the same name would throw the agent out.
            client_id=f"{identity.kelurahan}-{identity.rw}-{identity.rt}-{identity.box}-doctor",
            protocol=MQTTv5,
            reconnect_on_failure=False,
        )
        put: Callable[[_Heard], None] = self._heard.append
        client = self._client
        client.on_connect = lambda _c, _u, _f, code, _p: put(
            _Heard("connack", code.value, str(code))
        )
        client.on_subscribe = lambda _c, _u, _m, codes, _p: put(
            _Heard("suback", max((code.value for code in codes), default=0), str(codes[0]))
        )
        client.on_publish = lambda _c, _u, _m, code, _p: put(
            _Heard("puback", code.value, str(code))
        )
        client.on_disconnect = lambda _c, _u, flags, code, _p: put(
            _Heard("lost", code.value, str(code) if flags.is_disconnect_packet_from_server else "")
        )
        client.on_message = lambda _c, _u, message: self._word(message)

    def made(self, host: str, port: int) -> Trip:
        """The whole visit; `_Ended` if it is over sooner."""
        if self._context is not None:
            self._client.tls_set_context(self._context)
        self._client.connect_timeout = max(0.1, self._end - self._clock.now())
        try:
            self._client.connect(host, port, keepalive=_KEEPALIVE_S, clean_start=True)
        except (OSError, ValueError) as error:
            raise _Ended(_not_connected(error, host, port)) from None
        try:
            return self._talk()
        finally:
            with contextlib.suppress(Exception):  # it is over, whatever the library makes of it
                self._client.disconnect()

    def _talk(self) -> Trip:
        said = self._next("connack")
        if said.code:
            raise _Ended(self._over(f"refused: {said.text} (0x{said.code:02X})", _fault(said.code)))
        self._client.subscribe(self._echo.topic, qos=1)
        subscribed = self._next("suback")
        if subscribed.code >= _FIRST_FAILURE:
            return self._over(
                f"listening to {self._echo.topic} is refused (0x{subscribed.code:02X})"
            )
        began = self._clock.now()
        self._client.publish(self._echo.topic, self._echo.payload, qos=1)
        taken = self._next("puback", "word")
        if taken.kind == "puback":
            if taken.code >= _FIRST_FAILURE:
                return self._over(
                    f"speaking on {self._echo.topic} is refused ({taken.text}, 0x{taken.code:02X})"
                )
            self._next("word")
        return Trip(seen="taken in", back_s=self._clock.now() - began, hub_end_s=self._hub_end_s())

    def _next(self, *kinds: str) -> _Heard:
        """The next packet of these kinds; what else comes meanwhile is of no concern."""
        while True:
            while self._heard:
                heard = self._heard.popleft()
                if heard.kind in kinds:
                    return heard
                if heard.kind == "lost":
                    raise _Ended(self._lost(heard, kinds[-1]))
            self._turn(kinds[-1])

    def _turn(self, waited_for: str) -> None:
        """Let the library read and write for a moment."""
        left_s = self._end - self._clock.now()
        if left_s <= 0:
            raise _Ended(self._silent(waited_for))
        try:
            code = self._client.loop(min(left_s, 0.2))
        except Exception as error:  # noqa: BLE001 - a broker's garbage surfaces as nearly any exception
            said = f"sends what is not MQTT 5 ({type(error).__name__})"
            raise _Ended(self._over(said, Fault.NOT_MQTT)) from None
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS and not self._heard:
            raise _Ended(self._lost(_Heard("lost"), waited_for))

    def _silent(self, waited_for: str) -> Trip:
        if waited_for == "word":
            return self._over("the word was taken and never came back")
        what = {"connack": "taken in by nobody", "suback": "no answer to a subscription"}
        return self._over(
            f"connected, then {what.get(waited_for, 'no answer')} in time", Fault.NOT_MQTT
        )

    def _lost(self, heard: _Heard, waited_for: str) -> Trip:
        if heard.text:  # the server's own goodbye
            return self._over(f"closed: {heard.text} (0x{heard.code:02X})", _fault(heard.code))
        if waited_for != "connack":
            return self._over("the connection was cut without a word", Fault.UNKNOWN)
        # TLS 1.3 tells a client only after the handshake that its certificate is not wanted.
        fault = Fault.NOT_MQTT if self._context is None else Fault.OWN_REFUSED
        return self._over("the connection was cut instead of an answer", fault)

    def _over(self, seen: str, fault: Fault | None = None) -> Trip:
        return Trip(seen=seen, fault=fault, hub_end_s=self._hub_end_s())

    def _hub_end_s(self) -> float | None:
        return None if self._context is None else self._context.end_s

    def _word(self, message: MQTTMessage) -> None:
        if bytes(message.payload) == self._echo.payload:
            self._heard.append(_Heard("word"))


def _not_connected(error: Exception, host: str, port: int) -> Trip:
    where = f"{host}:{port}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return Trip(seen=f"{where}: {error.verify_message}", fault=Fault.HUB_UNKNOWN)
    if isinstance(error, ssl.SSLError):
        return Trip(seen=f"{where}: {_line(error)}", fault=Fault.NOT_TLS)
    if isinstance(error, ConnectionRefusedError):
        return Trip(seen=f"{where}: nobody listens", fault=Fault.NOBODY_LISTENS)
    return Trip(seen=f"{where}: {_line(error)}", fault=Fault.NO_ANSWER)


def _fault(code: int) -> Fault:
    if code in _NOT_MQTT:
        return Fault.NOT_MQTT
    return Fault.UNKNOWN if code in _BUSY else Fault.NOT_ALLOWED


def _line(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return "".join(mark if mark.isprintable() else " " for mark in text)[:200]
