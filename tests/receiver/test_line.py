"""The receiver's line: what keeps it from its broker is said, and nothing that answers there ends it."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from paho.mqtt.enums import MQTTErrorCode

from edge_agent.clock import SystemClock
from edge_agent.receiver import Receiver, main
from edge_agent.receiver.line import Line
from tests.support.broker import Mosquitto, needs_mosquitto, wait_for
from tests.support.local_ca import Authority, server_context

CONNACK = bytes.fromhex("2003000000")


@contextmanager
def answering(answer: bytes, *, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Whoever connects is answered with *answer* and hung up on."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    there, _ = server.accept()
                except OSError:
                    return
                with suppress(OSError), there:
                    found = (
                        there if context is None else context.wrap_socket(there, server_side=True)
                    )
                    with found:
                        found.recv(4096)
                        found.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(30)
            assert not thread.is_alive()


def said(port: int, folder: Path, *words: str, tls: ssl.SSLContext | None = None) -> None:
    """A receiver at *port* comes to say *words*, and says them still when it has tried again."""
    clock = SystemClock()
    found = Receiver(host="127.0.0.1", port=port, folder=folder, clock=clock, tls=tls)
    with found as hub:
        wait_for(lambda: all(word in hub.summary().not_connected for word in words), words[0])
        client = hub._client
        assert client is not None
        assert client._thread is not None
        assert client._thread.is_alive()
        assert not hub.ever_connected


@needs_mosquitto
@pytest.mark.broker
@pytest.mark.enable_socket
def test_a_login_that_is_refused_is_said_and_not_that_nobody_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broker = Mosquitto(tmp_path / "broker", anonymous=False).start()
    try:
        folder = str(tmp_path / "hub")
        assert main(["--port", str(broker.port), "--folder", folder, "--once", "5"]) == 2
    finally:
        broker.kill()
    told = capsys.readouterr()
    assert "refuses this receiver: Not authorized (0x87)" in told.err
    assert "Not authorized" in told.out  # and on the screen, for one who does not wait for an end


@pytest.mark.enable_socket
def test_an_authority_that_did_not_sign_the_broker_is_said(tmp_path: Path) -> None:
    ours, theirs = Authority(), Authority()
    context = server_context(theirs.pair(hosts=("127.0.0.1",)), tmp_path)
    with answering(CONNACK, context=context) as port:
        trusting = ssl.create_default_context(cadata=ours.pem.decode())
        said(port, tmp_path / "hub", "certificate is not accepted", tls=trusting)


@pytest.mark.enable_socket
def test_a_broker_that_wants_a_certificate_is_told_from_one_that_is_silent(tmp_path: Path) -> None:
    """Under TLS 1.3 it says so only when our side thinks that all is well."""
    ours = Authority()
    context = server_context(ours.pair(hosts=("127.0.0.1",)), tmp_path, clients=ours.pem)
    with answering(CONNACK, context=context) as port:
        trusting = ssl.create_default_context(cadata=ours.pem.decode())
        said(port, tmp_path / "hub", "connection broke", "certificate required", tls=trusting)


@pytest.mark.enable_socket
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("20020001", "Unsupported protocol version"),  # of MQTT 3.1.1
        ("2003008700", "Not authorized (0x87)"),
        ("", "hung up, or its answer is no MQTT 5"),
        ("485454502f312e3120343030", "hung up, or its answer is no MQTT 5"),  # HTTP/1.1 400
        ("20020000", "hung up, or its answer is no MQTT 5"),  # a CONNACK that ends too early
    ],
)
def test_what_answers_instead_of_a_broker_is_said(tmp_path: Path, answer: str, words: str) -> None:
    with answering(bytes.fromhex(answer)) as port:
        said(port, tmp_path / "hub", words)


@pytest.mark.enable_socket
def test_a_broker_that_is_spoken_to_without_its_tls_is_said(tmp_path: Path) -> None:
    with answering(b"\x15\x03\x03\x00\x02\x02\x0a") as port:
        context = ssl.create_default_context()
        said(port, tmp_path / "hub", "TLS failed", tls=context)


@pytest.mark.enable_socket
@pytest.mark.parametrize("after", ["", "e0028b00"])
def test_a_line_that_comes_and_goes_ends_a_short_visit_all_the_same(
    tmp_path: Path, after: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(CONNACK + bytes.fromhex(after)) as port:
        code = main(["--port", str(port), "--folder", str(tmp_path), "--once", "5"])
    assert code == 0
    assert capsys.readouterr().err == ""


@pytest.mark.enable_socket
def test_no_name_at_all_is_a_failure_as_any_other() -> None:
    line = Line(None)
    line.connect_async("nosuch..host", 1883)
    with pytest.raises(OSError, match="the name is not known here"):
        line.reconnect()
    assert "the name is not known here" in line.why


def test_the_brokers_last_word_is_said() -> None:
    line = Line(None)
    line.cut(was_up=True, code=0x8E, name="Session taken over")
    assert line.why == "the broker ended the connection: Session taken over"
    assert line.answered(0, "Success")
    assert line.why == ""
    line.cut(was_up=True, code=0, name="")
    assert line.why == "the connection was lost"


class Tripping(Line):
    """The library's parser meets a packet that it was not written for."""

    def _packet_read(self) -> MQTTErrorCode:
        raise IndexError("bytearray index out of range")


def test_a_packet_that_the_library_cannot_read_ends_the_connection_and_not_its_thread() -> None:
    line = Tripping(None)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        line._sock = ours
        assert line.loop_read() == MQTTErrorCode.MQTT_ERR_PROTOCOL
        assert line.socket() is None
    line.cut(was_up=True, code=0, name="")
    assert line.why == "the connection broke: bytearray index out of range"
