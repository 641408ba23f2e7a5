"""Cameras and hubs that tell the time: as the standard has it, as they really do, and as nobody should."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import pytest

from edge_agent import told_time
from edge_agent.clock import SystemClock
from edge_agent.tls import client_context
from tests.support.evil_servers import answers, dripping_header, evil, floods_body, garbage
from tests.support.local_ca import Authority, Est, est, now_s
from tests.support.patience import patient

CLOCK = SystemClock()
NOON = 1_795_262_400.0  # 2026-11-21 12:00:00 UTC

SOAP = (
    "<s:Envelope><s:Body><tds:SystemDateAndTime><tt:DateTimeType>NTP</tt:DateTimeType>"
    "<tt:UTCDateTime><tt:Time><tt:Hour>12</tt:Hour><tt:Minute>0</tt:Minute><tt:Second>{second}</tt:Second></tt:Time>"
    "<tt:Date><tt:Year>2026</tt:Year><tt:Month>{month}</tt:Month><tt:Day>21</tt:Day></tt:Date></tt:UTCDateTime>"
    "<tt:LocalDateTime><tt:Time><tt:Hour>19</tt:Hour></tt:Time></tt:LocalDateTime></tds:SystemDateAndTime></s:Body></s:Envelope>"
)


def test_onvif_tells_utc_and_not_what_stands_beside_it():
    assert told_time.of_onvif(SOAP.format(second=0, month=11)) == NOON
    assert told_time.of_onvif(SOAP.format(second=60, month=11)) == NOON + 59  # a leap second


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "<html>404</html>",
        SOAP.format(second="", month=11),
        SOAP.format(second=0, month=13),
        SOAP.format(second=0, month=11).replace("tt:UTC", "tt:Local"),
    ],
)
def test_what_is_no_onvif_time_is_none(answer):
    assert told_time.of_onvif(answer) is None


@pytest.mark.parametrize(
    ("head", "told"),
    [
        ("RTSP/1.0 200 OK\r\nDate: Sat, 21 Nov 2026 12:00:00 GMT\r\n", NOON),
        ("HTTP/1.1 200 OK\r\ndate: Sat, 21 Nov 2026 19:00:00 +0700\r\n", NOON),
        ("HTTP/1.1 200 OK\r\nDate:  Sat, Nov 21 2026 12:00:00 GMT\r\n", NOON),  # as some cameras
        ("HTTP/1.1 200 OK\r\nDate: yesterday\r\n", None),
        ("HTTP/1.1 200 OK\r\nDate: Sat, 21 Nov 999999 12:00:00 GMT\r\n", None),
        ("HTTP/1.1 200 OK\r\n", None),
    ],
)
def test_the_date_of_an_answer(head, told):
    assert told_time.of_head(head) == told


def asked(behaviour, within_s: float) -> float | None:
    with evil(behaviour) as port:
        return told_time.of_camera("127.0.0.1", port, end=CLOCK.now() + within_s, clock=CLOCK)


@pytest.mark.enable_socket
def test_a_camera_is_asked_by_onvif_first_and_else_believed_by_its_date():
    body = SOAP.format(second=5, month=11).encode()
    date = "Date: Sat, 21 Nov 2026 12:00:00 GMT"
    assert asked(answers("200 OK", body, date), patient(5.0)) == NOON + 5
    assert asked(answers("404 Not Found", b"no", date), patient(5.0)) == NOON
    assert asked(answers("404 Not Found", b"no"), patient(5.0)) is None


@pytest.mark.enable_socket
@pytest.mark.parametrize("behaviour", [garbage, dripping_header, floods_body])
def test_a_hostile_camera_is_left_in_time(behaviour):
    assert asked(behaviour, 1.0) is None


@pytest.mark.enable_socket
def test_nobody_there_is_none():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert told_time.of_camera("127.0.0.1", port, end=CLOCK.now() + 1, clock=CLOCK) is None


@pytest.mark.enable_socket
def test_the_hub_tells_it_by_https_to_a_box_that_it_knows(tmp_path: Path):
    authority = Authority()
    pair = authority.pair("box-1")
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    with est(Est(authority), authority.pair("hub"), tmp_path, clients=authority.pem) as url:
        context = client_context(str(tmp_path / "ca.pem"), pair, clock=Trusted())
        began_s = now_s()
        told = told_time.of_hub(url, context, end=CLOCK.now() + patient(5), clock=CLOCK)
        assert told is not None
        assert began_s - 1 <= told <= now_s()  # whole seconds
        (tmp_path / "ca.pem").write_bytes(Authority("Orang lain").pem)
        context = client_context(str(tmp_path / "ca.pem"), pair, clock=Trusted())
        with pytest.raises(ssl.SSLCertVerificationError):
            told_time.of_hub(url, context, end=CLOCK.now() + patient(5), clock=CLOCK)


class Trusted(SystemClock):
    def trusted(self) -> bool:
        return True
