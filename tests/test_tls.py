"""The hub's certificate as a box sees it whose clock is right, wrong, or not set at all; real sockets, real OpenSSL."""

from __future__ import annotations

import socket
import ssl
import traceback
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from edge_agent.simulate import SimulatedClock
from edge_agent.tls import Context, Pair, client_context
from tests.support.local_ca import DAY_S, Authority, listener, now_s, server_context

pytestmark = pytest.mark.enable_socket

EPOCH = 12.0  # what a box without a battery believes right after boot
YEAR_S = 365 * DAY_S


@pytest.fixture(scope="module")
def root() -> Authority:
    return Authority()


def clock(wall_s: float = EPOCH, *, trusted: bool = False) -> SimulatedClock:
    return SimulatedClock(wall_s=wall_s, is_trusted=trusted)


def shake(
    tmp_path: Path,
    ca: bytes,
    hub: Pair,
    at: SimulatedClock,
    *,
    host: str = "localhost",
    passed_s: float = 0.0,
    own: Pair | None = None,
    clients: bytes | None = None,
) -> Context:
    """One handshake with a hub that shows *hub*; the context it was made with."""
    file = tmp_path / "ca.pem"
    file.write_bytes(ca)
    context = client_context(str(file), own, clock=at, passed_s=passed_s)
    with (
        listener(server_context(hub, tmp_path, clients=clients)) as port,
        socket.create_connection(("127.0.0.1", port), timeout=20) as line,
        context.wrap_socket(line, server_hostname=host),
    ):
        return context


def refusal(*arguments: object, **named: object) -> str:
    with pytest.raises(ssl.SSLCertVerificationError) as caught:
        shake(*arguments, **named)  # type: ignore[arg-type]
    return str(caught.value.verify_message)


def test_with_a_trusted_clock_nothing_is_in_doubt(tmp_path, root):
    context = shake(tmp_path, root.pem, root.pair("hub"), clock(now_s(), trusted=True))
    assert not context.doubtful


@pytest.mark.parametrize(
    ("begin", "end", "words"),
    [(-30 * DAY_S, -DAY_S, "expired"), (DAY_S, 30 * DAY_S, "not yet valid")],
)
def test_with_a_trusted_clock_a_wrong_date_is_refused(tmp_path, root, begin, end, words):
    hub = root.pair("hub", begin_s=now_s() + begin, end_s=now_s() + end)
    assert words in refusal(tmp_path, root.pem, hub, clock(now_s(), trusted=True))


@pytest.mark.parametrize("wall_s", [EPOCH, 4e9])
def test_a_box_that_woke_in_1970_or_2096_still_reaches_its_hub_and_says_that_it_is_in_doubt(
    tmp_path, root, wall_s
):
    # The dates do not fit OpenSSL's clock either: nothing but the relaxed check lets this through.
    hub = root.pair("hub", begin_s=now_s() + DAY_S, end_s=now_s() + 30 * DAY_S)
    assert shake(tmp_path, root.pem, hub, clock(wall_s)).doubtful


def test_a_clock_that_nothing_vouches_for_but_that_fits_the_dates_is_no_reason_for_doubt(
    tmp_path, root
):
    """A box that is told no time by the network still shows its street; its clock is a finding of its own."""
    assert not shake(tmp_path, root.pem, root.pair("hub"), clock(now_s())).doubtful


def test_with_no_clock_chain_and_name_are_checked_as_ever(tmp_path, root):
    stranger = Authority("Kota")
    assert "issuer" in refusal(tmp_path, root.pem, stranger.pair("hub"), clock())
    words = refusal(tmp_path, root.pem, root.pair("hub"), clock(), host="other.example.org")
    assert "mismatch" in words
    alone = Authority("hub").pair("hub")
    assert "issuer" in refusal(tmp_path, root.pem, alone, clock())


def test_what_ended_before_a_time_that_has_surely_passed_is_refused_without_a_clock(tmp_path, root):
    hub = root.pair("hub", begin_s=now_s() - 90 * DAY_S, end_s=now_s() - 30 * DAY_S)
    assert shake(tmp_path, root.pem, hub, clock(), passed_s=now_s() - 40 * DAY_S).doubtful
    assert "expired" in refusal(tmp_path, root.pem, hub, clock(), passed_s=now_s() - 20 * DAY_S)


def test_the_day_the_boxs_own_certificate_was_issued_has_surely_passed(tmp_path, root):
    hub = root.pair("hub", begin_s=now_s() - 90 * DAY_S, end_s=now_s() - 30 * DAY_S)
    older = root.pair("box-1", begin_s=now_s() - 60 * DAY_S)
    newer = root.pair("box-1", begin_s=now_s() - 10 * DAY_S)
    assert shake(tmp_path, root.pem, hub, clock(), own=older).doubtful
    assert "expired" in refusal(tmp_path, root.pem, hub, clock(), own=newer)


def test_an_authority_in_between_that_ended_is_refused_too(tmp_path, root):
    between = Authority("between", above=root, end_s=now_s() - 30 * DAY_S)
    hub = between.pair("hub")
    assert shake(tmp_path, root.pem, hub, clock(), passed_s=now_s() - 40 * DAY_S).doubtful
    assert "expired" in refusal(tmp_path, root.pem, hub, clock(), passed_s=now_s() - 20 * DAY_S)


def test_nothing_of_ours_is_sent_to_a_hub_whose_dates_are_refused(tmp_path, root):
    """Refused within the handshake call: whoever wraps a socket never gets one to write to."""
    hub = root.pair("hub", end_s=now_s() - 30 * DAY_S, begin_s=now_s() - 90 * DAY_S)
    (tmp_path / "ca.pem").write_bytes(root.pem)
    context = client_context(str(tmp_path / "ca.pem"), None, clock=clock(), passed_s=now_s())
    with (
        listener(server_context(hub, tmp_path)) as port,
        socket.create_connection(("127.0.0.1", port), timeout=20) as line,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        context.wrap_socket(line, server_hostname="localhost")


def der(tag: int, content: bytes) -> bytes:
    size = len(content)
    length = bytes([size]) if size < 0x80 else b"\x82" + size.to_bytes(2, "big")
    return bytes([tag]) + length + content


def of_version_5(root: Authority) -> Pair:
    """Signed by *root*; there is no such version: OpenSSL takes it, and `cryptography` raises an error of its own."""
    good = root.pair("hub")
    body = good.leaf.tbs_certificate_bytes
    version_3 = bytes.fromhex("a003020102")
    assert body.count(version_3) == 1
    body = body.replace(version_3, bytes.fromhex("a003020104"))
    signed = der(3, b"\0" + root.key.sign(body, ec.ECDSA(hashes.SHA256())))
    algorithm = der(0x30, bytes.fromhex("06082a8648ce3d040302"))  # ecdsa-with-SHA256
    text = ssl.DER_cert_to_PEM_cert(der(0x30, body + algorithm + signed))
    return Pair(name="configured", certificate=text.encode(), key=good.key)


@pytest.mark.parametrize("trusted", [True, False])
def test_a_certificate_that_cannot_be_read_is_refused_and_its_line_is_closed(
    tmp_path, root, trusted
):
    hub = of_version_5(root)
    with pytest.raises(ssl.SSLCertVerificationError) as caught:
        shake(tmp_path, root.pem, hub, clock(now_s(), trusted=trusted))
    assert "cannot be read" in caught.value.verify_message
    steps = traceback.walk_tb(caught.value.__traceback__)
    held = [frame.f_locals.get("self") for frame, _ in steps]
    lines = [line for line in held if isinstance(line, ssl.SSLSocket)]
    # The error still holds the line: whoever closed it was not the collector.
    assert lines
    assert {line.fileno() for line in lines} == {-1}


def test_once_the_clock_is_vouched_for_the_dates_are_made_up_for(tmp_path, root):
    hub = root.pair("hub", begin_s=now_s() - 30 * DAY_S, end_s=now_s() + 30 * DAY_S)
    context = shake(tmp_path, root.pem, hub, clock())
    assert "expired" in context.vouch(now_s() + 60 * DAY_S)
    assert "not yet" in context.vouch(now_s() - 60 * DAY_S)
    assert context.doubtful
    assert context.vouch(now_s()) == ""
    assert not context.doubtful


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("name", ["Kota baru", "Kota"])
@pytest.mark.parametrize("newest_first", [True, False])
def test_a_rolled_root_is_known_whichever_stands_first(tmp_path, root, newest_first, name, trusted):
    """With two pinned roots, of two names or of one, both the old hub and the new one are accepted."""
    rolled = Authority(name)
    both = rolled.pem + root.pem if newest_first else root.pem + rolled.pem
    at = clock(now_s(), trusted=True) if trusted else clock()
    for hub in (root.pair("hub"), rolled.pair("hub")):
        assert shake(tmp_path, both, hub, at).doubtful is not trusted
    assert refusal(tmp_path, root.pem, rolled.pair("hub"), at)


def test_two_roots_of_one_name_need_their_key_identifiers(tmp_path):
    """Without them OpenSSL takes the first of that name, and stops there: docs/hub.md asks for identifiers."""
    old, new = Authority(identified=False), Authority(identified=False)
    at = clock(now_s(), trusted=True)
    accepted = []
    for hub in (old.pair("hub"), new.pair("hub")):
        try:
            shake(tmp_path, old.pem + new.pem, hub, at)
            accepted.append(True)
        except ssl.SSLCertVerificationError:
            accepted.append(False)
    assert accepted.count(True) == 1


def test_an_expired_root_among_the_pinned_ones_does_not_stand_in_the_way(tmp_path, root):
    gone = Authority(end_s=now_s() - DAY_S)
    at = clock(now_s(), trusted=True)
    assert not shake(tmp_path, gone.pem + root.pem, root.pair("hub"), at).doubtful


def test_the_boxs_pair_is_shown_to_the_hub(tmp_path, root):
    own = root.pair("box-1")
    shake(tmp_path, root.pem, root.pair("hub"), clock(), own=own, clients=root.pem)


def test_a_pair_never_shows_its_key_in_a_text(root):
    assert "PRIVATE" not in repr(root.pair("box-1"))


@pytest.mark.parametrize("which", ["certificate", "key"])
def test_a_pair_that_is_none_raises_what_callers_expect(tmp_path, root, which):
    (tmp_path / "ca.pem").write_bytes(root.pem)
    good = root.pair("box-1")
    broken = Pair(
        name="configured",
        certificate=b"" if which == "certificate" else good.certificate,
        key=good.key if which == "certificate" else b"",
    )
    with pytest.raises((OSError, ValueError)):
        client_context(str(tmp_path / "ca.pem"), broken, clock=clock(now_s(), trusted=True))
