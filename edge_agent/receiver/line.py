"""The receiver's line to its broker: the library's client, that says why it is not connected.

Promises: whatever keeps it from its broker, or the broker writes, it tries again and says what it was; nothing of that ends the
library's thread.
Not its job: what is said over it (service.py), when to try again (the library: one receiver, beside its broker).
"""

from __future__ import annotations

import os
import socket
import ssl
from typing import Final

from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

SHOWN: Final = 200  # characters of what a library or a broker says


class Line(Client):
    """`why` says, at any time and to any thread, what keeps it from its broker; "" = nothing that it knows of."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        """*tls* None: plain TCP."""
        name = f"hub-{os.urandom(6).hex()}"
        super().__init__(CallbackAPIVersion.VERSION2, client_id=name, protocol=MQTTv5)
        self.why = ""
        self._lost: Exception | None = None
        self._tls = tls
        self.reconnect_delay_set(1, 5)  # one receiver, beside its broker: nobody to be polite to
        if tls is not None:
            self.tls_set_context(tls)

    def answered(self, code: int, name: str) -> bool:
        """What the broker answered (CONNACK); whether that lets us in."""
        self.why = "" if code == 0 else f"the broker refuses this receiver: {name} (0x{code:02X})"
        return code == 0

    def cut(self, *, was_up: bool, code: int, name: str) -> None:
        """The connection is over; *code* and *name*: the broker's last word (DISCONNECT), 0 for none."""
        if not was_up and self.why and self._lost is None:
            return  # the refusal says more than the hanging up after it
        if self._lost is not None:
            self.why = f"the connection broke: {_said(self._lost)}"
        elif was_up:
            self.why = (
                f"the broker ended the connection: {name}" if code else "the connection was lost"
            )
        else:
            self.why = (
                "it hung up, or its answer is no MQTT 5: is that a broker's port, and the one "
            )
            self.why += "with TLS?" if self._tls else "without TLS?"

    def reconnect(self) -> MQTTErrorCode:
        """The library's, with its failure kept; nothing but `OSError` is raised, which alone the library takes for one."""
        self._lost = None
        try:
            return super().reconnect()
        except (OSError, ValueError) as error:
            self.why = _why(error)
            raise ConnectionError(self.why) from error

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """The library's, for whom what is no MQTT at all would be the end of its thread."""
        try:
            return super().loop_read(max_packets)
        except Exception as error:  # noqa: BLE001 - whatever its parser trips over, in which packet ever
            self._lost = error
            return self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_PROTOCOL)

    def _ssl_wrap_socket(self, tcp_sock: socket.socket) -> ssl.SSLSocket:
        # The library leaves the socket of a handshake that failed to the garbage collector.
        context = self._tls or ssl.create_default_context()
        wrapped = context.wrap_socket(
            tcp_sock, server_hostname=self._host, do_handshake_on_connect=False
        )
        try:
            wrapped.settimeout(self._connect_timeout)
            wrapped.do_handshake()
        except BaseException:
            wrapped.close()
            raise
        return wrapped

    def _sock_recv(self, bufsize: int) -> bytes:
        # Under TLS 1.3 a broker refuses a certificate after our side of the handshake is done.
        try:
            return super()._sock_recv(bufsize)
        except BlockingIOError:
            raise
        except OSError as error:
            self._lost = error
            raise


def _why(error: Exception) -> str:
    """What a failed dial means."""
    if isinstance(error, socket.gaierror | UnicodeError):
        return f"the name is not known here ({_said(error)})"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the broker's certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {_said(error)}"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there"
    if isinstance(error, TimeoutError):
        return "nobody answers there"
    return _said(error)


def _said(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:SHOWN]
