"""A certificate renewed over real HTTPS, by endpoints that do it right and by those that do not."""

from __future__ import annotations

import base64
import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs7

from edge_agent import renewal, tls
from edge_agent.clock import SystemClock
from edge_agent.core.messages import CertificateRead, Died, Event
from edge_agent.core.renewal import FIRST_S, REFUSALS, TURNED_DOWN
from edge_agent.core.settings import Hub, SecretRef, Tls
from edge_agent.pairs import Pairs
from edge_agent.renewal import Renewal
from edge_agent.simulate import SimulatedClock
from edge_agent.tls import Pair, client_context
from tests.support.broker import free_port
from tests.support.local_ca import (
    DAY_S,
    Authority,
    Est,
    est,
    listener,
    now_s,
    pem,
    server_context,
)
from tests.support.patience import patient

pytestmark = pytest.mark.enable_socket

ROOT = Authority()
HUB = ROOT.pair("hub")


@dataclass
class Box:
    """A box whose certificate is near its end, and its endpoint."""

    renewal: Renewal
    pairs: Pairs
    clock: SimulatedClock
    script: Est
    events: queue.SimpleQueue[Event]

    def look(self) -> CertificateRead:
        """One round, and the last thing it told."""
        self.renewal.look()
        told = None
        while not self.events.empty():
            event = self.events.get_nowait()
            assert isinstance(event, CertificateRead)
            told = event
        assert told is not None
        return told


@contextmanager
def box(
    tmp_path: Path,
    script: Est | None = None,
    *,
    own: Pair | None = None,
    ca: bytes = ROOT.pem,
    clients: bytes = ROOT.pem,
    hub_takes: bytes | None = None,
    clock: SimulatedClock | None = None,
    url: str | None = None,
    renews: bool = True,
    endpoint: Pair = HUB,
) -> Iterator[Box]:
    own = own or ROOT.pair(begin_s=now_s() - 300 * DAY_S, end_s=now_s() + 100 * DAY_S)
    script = script or Est(ROOT)
    files = {"ca.pem": ca, "box.pem": own.certificate, "box.key": own.key}
    for name, raw in files.items():
        (tmp_path / name).write_bytes(raw)
    tls = Tls(
        ca_file=str(tmp_path / "ca.pem"),
        certificate_file=str(tmp_path / "box.pem"),
        key=SecretRef(file=str(tmp_path / "box.key")),
    )
    pairs = Pairs(
        tls, str(tmp_path / "pairs"), secret=lambda ref: Path(ref.file or "").read_text("ascii")
    )
    clock = clock or SimulatedClock(wall_s=now_s(), is_trusted=True)
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    with ExitStack() as stack:
        there = stack.enter_context(est(script, endpoint, tmp_path, clients=clients))
        port = free_port()
        if hub_takes is not None:
            context = server_context(HUB, tmp_path, clients=hub_takes)
            port = stack.enter_context(listener(context))
        settings = Hub(
            host="localhost", port=port, tls=tls, renew_url=(url or there) if renews else None
        )
        made = Renewal(settings, pairs, post=events.put, clock=clock, chance=lambda: 0.5)
        clock.at += FIRST_S
        yield Box(made, pairs, clock, script, events)


# ---- as it should be ----


def test_at_half_life_a_new_certificate_for_a_new_key_is_fetched_with_the_old_one(tmp_path):
    with box(tmp_path) as told:
        old = told.pairs.proven()
        read = told.look()
        assert (read.waiting, read.trouble, read.slot) == (True, "", "configured")
        fresh = told.pairs.offer()
        assert fresh.name == "trial"
        assert fresh.leaf.subject == old.leaf.subject
        assert fresh.leaf.public_key() != old.leaf.public_key()
        assert fresh.leaf.not_valid_after_utc > old.leaf.not_valid_after_utc
        path, kind, csr = told.script.requests[0]
        assert path == "/.well-known/est/simplereenroll"
        assert kind == "application/pkcs10"
        assert csr.subject == old.leaf.subject
        names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        assert names.value.get_values_for_type(x509.DNSName) == ["localhost"]
        assert told.script.peers == [old.leaf]
        told.renewal.worked(fresh)
        read = told.look()
        assert (read.slot, read.waiting) == ("renewed", False)
        assert read.end_s == fresh.leaf.not_valid_after_utc.timestamp()
        assert len(told.script.requests) == 1


def test_before_half_life_nobody_is_asked(tmp_path):
    young = ROOT.pair(begin_s=now_s() - 100 * DAY_S, end_s=now_s() + 300 * DAY_S)
    with box(tmp_path, own=young) as told:
        read = told.look()
        assert (read.waiting, read.renews) == (False, True)
        assert told.script.requests == []
        told.clock.wall_s = read.due_s
        assert told.look().waiting


def test_without_an_endpoint_it_only_tells(tmp_path):
    with box(tmp_path, renews=False) as told:
        read = told.look()
        assert (read.renews, read.waiting) == (False, False)
        assert told.script.requests == []


def test_180_days_after_its_end_a_certificate_is_still_good_for_its_renewal(tmp_path):
    gone = ROOT.pair(begin_s=now_s() - 400 * DAY_S, end_s=now_s() - 180 * DAY_S)
    with box(tmp_path, own=gone, hub_takes=ROOT.pem) as told:
        assert told.look().waiting
        assert told.script.peers[0].not_valid_after_utc.timestamp() < now_s()
        told.renewal.worked(told.pairs.offer())
        assert told.look().end_s > now_s()


def test_a_box_that_woke_in_1970_asks_as_soon_as_the_hub_has_refused_it(tmp_path):
    gone = ROOT.pair(begin_s=now_s() - 400 * DAY_S, end_s=now_s() - 180 * DAY_S)
    with box(tmp_path, own=gone, clock=SimulatedClock(wall_s=12.0)) as told:
        assert not told.look().waiting
        for _ in range(TURNED_DOWN):
            told.renewal.refused(told.pairs.offer())
        assert told.look().waiting


def test_a_hub_that_keeps_refusing_does_not_make_the_box_ask_again_and_again(tmp_path):
    with box(tmp_path) as told:
        assert told.look().waiting
        for _ in range(20):
            told.renewal.refused(told.pairs.offer())
            told.renewal.look()
        assert len(told.script.requests) == 1


def test_a_new_pair_is_tried_at_the_hubs_door_before_the_link_depends_on_it(tmp_path, monkeypatch):
    """A hub that knows nothing of the new authority: told at once, and the old pair stays."""
    monkeypatch.setattr(renewal, "ALERT_S", patient(5.0))
    other = Authority("Kota baru")
    with box(tmp_path, Est(other), ca=ROOT.pem + other.pem, hub_takes=ROOT.pem) as told:
        read = told.look()
        assert not read.waiting
        assert "the hub refuses the new certificate" in read.trouble
        assert told.pairs.offer().name == "configured"


def test_a_hub_that_takes_the_new_pair_has_it_kept_for_the_next_connection(tmp_path):
    with box(tmp_path, hub_takes=ROOT.pem) as told:
        read = told.look()
        assert (read.waiting, read.trouble) == (True, "")


def test_a_pair_that_only_the_old_one_outlives_is_told(tmp_path):
    with box(tmp_path) as told:
        told.look()
        trial = told.pairs.offer()
        for _ in range(REFUSALS):
            told.renewal.refused(trial)
        told.renewal.worked(told.pairs.proven())
        read = told.look()
        assert "takes the old one" in read.trouble
        assert not read.waiting


def test_an_authority_in_between_comes_along_in_the_chain(tmp_path):
    between = Authority("between", above=ROOT)
    with box(tmp_path, Est(between, along=(between.certificate,)), hub_takes=ROOT.pem) as told:
        assert told.look().waiting
        chain = x509.load_pem_x509_certificates(told.pairs.offer().certificate)
        assert chain[1:] == [between.certificate]


def test_an_authority_that_stands_behind_the_boxs_own_certificate_is_known_too(tmp_path):
    boxes = Authority("Kotak")
    own = boxes.pair(begin_s=now_s() - 300 * DAY_S, end_s=now_s() + 100 * DAY_S)
    with_chain = Pair(name="configured", certificate=own.certificate + boxes.pem, key=own.key)
    with box(tmp_path, Est(boxes), own=with_chain, clients=boxes.pem) as told:
        assert told.look().waiting


# ---- as it may be ----


def _stray() -> ec.EllipticCurvePublicKey:
    return ec.generate_private_key(ec.SECP256R1()).public_key()


def _list_of(*certificates: x509.Certificate) -> bytes:
    return base64.encodebytes(
        pkcs7.serialize_certificates(list(certificates), serialization.Encoding.DER)
    )


WRONG = {
    "for another key": (lambda: Est(ROOT, key=_stray()), "another key"),
    "of another authority": (lambda: Est(Authority("Kota")), "authority not in ca_file"),
    "of another name": (lambda: Est(ROOT, name="box-2"), "CN=box-2"),
    "already ended": (lambda: Est(ROOT, begin_s=now_s() - 9e7, life_s=8e7), "ends no later"),
    "no longer than the old": (lambda: Est(ROOT, life_s=DAY_S), "ends no later"),
    "garbage": (lambda: Est(ROOT, raw=b"\x00\xffhello" * 50), "no list of certificates"),
    "empty": (lambda: Est(ROOT, raw=b""), "no list of certificates"),
    "a page": (lambda: Est(ROOT, raw=b"<html>welcome</html>"), "no list of certificates"),
    "nothing in the list": (lambda: Est(ROOT, raw=_list_of(ROOT.certificate)), "another key"),
    "huge": (lambda: Est(ROOT, raw=b"A" * 3_000_000), "more than 64000 bytes"),
    "unauthorised": (lambda: Est(ROOT, status=401), "401"),
    "forbidden": (lambda: Est(ROOT, status=403), "403"),
    "not found": (lambda: Est(ROOT, status=404), "404"),
    "ill": (lambda: Est(ROOT, status=500), "500"),
    "elsewhere": (
        lambda: Est(ROOT, status=302, headers={"Location": "https://example.org/"}),
        "302",
    ),
}


def _by_another_box() -> Est:
    """Signed with the key of a box's certificate, which is no authority's."""
    thief = Authority("box-2", above=ROOT, may_sign=False)
    return Est(thief, along=(thief.certificate,))


WRONG["signed by another box"] = (_by_another_box, "authority not in ca_file")


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_answer_changes_nothing_is_told_and_asked_again_later(tmp_path, what):
    make, words = WRONG[what]
    with box(tmp_path, make()) as told:
        read = told.look()
        assert words in read.trouble
        assert not read.waiting
        assert told.pairs.offer().name == "configured"
        told.renewal.look()
        assert len(told.script.requests) == 1  # not in a tight loop
        script = told.script
        script.authority, script.key, script.name, script.raw = ROOT, None, None, None
        script.along = ()
        script.status, script.life_s, script.begin_s = 200, 400 * DAY_S, None
        told.clock.at += 3_600
        read = told.look()
        assert (read.waiting, read.trouble) == (True, "")
        # The same key was asked for: an endpoint that counts certificates sees one box, not two.
        keys = {csr.public_key().public_numbers() for _, _, csr in script.requests}  # type: ignore[union-attr]
        assert len(keys) == 1


def test_an_endpoint_that_needs_a_person_first_is_asked_again_when_it_said(tmp_path):
    with box(tmp_path, Est(ROOT, status=202, headers={"Retry-After": "600"})) as told:
        read = told.look()
        assert (read.waiting, read.trouble) == (False, "")
        told.script.status = 200
        told.clock.at += 599
        told.renewal.look()
        assert len(told.script.requests) == 1
        told.clock.at += 1
        assert told.look().waiting


@pytest.mark.parametrize("how", ["drip", "hang"])
def test_an_endpoint_that_drips_or_hangs_costs_a_minute_at_most(tmp_path, monkeypatch, how):
    monkeypatch.setattr(renewal, "WHOLE_S", 1.0)
    done = threading.Event()
    script = Est(ROOT, drip=done) if how == "drip" else Est(ROOT, hang=done)
    with box(tmp_path, script) as told:
        read = told.look()
        done.set()
        assert read.trouble
        assert told.pairs.offer().name == "configured"


def test_an_endpoint_that_hangs_is_cut_although_the_time_was_over_before_tls_began(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(renewal, "WHOLE_S", 0.0)
    at_the_door, hung_up, done = (threading.Event() for _ in range(3))
    hang_up, do_handshake = renewal._hang_up, tls._Socket.do_handshake

    def hangs_up(line: socket.socket) -> None:
        assert at_the_door.wait(patient(10))
        hang_up(line)
        hung_up.set()

    def late(line: tls._Socket, block: bool = False) -> None:
        at_the_door.set()
        assert hung_up.wait(patient(10))
        line.settimeout(None)  # nothing but the cut ends it
        do_handshake(line, block)

    monkeypatch.setattr(renewal, "_hang_up", hangs_up)
    monkeypatch.setattr(tls._Socket, "do_handshake", late)
    with box(tmp_path, Est(ROOT, hang=done)) as told:
        read = told.look()
        done.set()
        assert read.trouble
        assert told.script.requests == []


def test_an_endpoint_that_never_shakes_hands_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(renewal, "WHOLE_S", 1.0)
    with (
        listener(None) as port,
        box(tmp_path, url=f"https://localhost:{port}/.well-known/est") as told,
    ):
        assert told.look().trouble


def test_an_endpoint_that_is_not_there_is_told_with_its_place(tmp_path):
    port = free_port()
    with box(tmp_path, url=f"https://localhost:{port}/est") as told:
        assert f"localhost:{port}" in told.look().trouble


def test_the_shown_endpoint_gives_nobody_a_certificate_in_another_name(tmp_path):
    thief, key = ROOT.pair("box-2"), ec.generate_private_key(ec.SECP256R1())
    asked = renewal.request(ROOT.pair("hub").leaf, key)
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(ROOT.pem)
    with est(Est(ROOT), ROOT.pair("est"), tmp_path, clients=ROOT.pem) as url:
        context = client_context(
            str(ca_file), thief, clock=SimulatedClock(wall_s=now_s(), is_trusted=True)
        )
        with pytest.raises(renewal.NotRenewed, match="403"):
            renewal.enrol(url, asked, context)


def test_an_endpoint_of_another_authority_or_name_never_hears_the_request(tmp_path):
    with box(tmp_path, endpoint=Authority("Kota").pair("hub")) as told:
        assert "CERTIFICATE_VERIFY_FAILED" in told.look().trouble
        assert told.script.requests == []
    other = ROOT.pair("hub", hosts=("hub.example.org",))
    (tmp_path / "again").mkdir()
    with box(tmp_path / "again", endpoint=other) as told:
        assert "mismatch" in told.look().trouble
        assert told.script.requests == []


def test_a_card_that_takes_no_writes_is_told_and_the_old_pair_stays(tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    with box(tmp_path) as told:
        monkeypatch.setattr("edge_agent.whole.write", refuse)
        assert "Read-only" in told.look().trouble
        assert told.script.requests == []
        assert told.pairs.offer().name == "configured"


def test_a_certificate_that_cannot_be_read_ends_nothing(tmp_path):
    with box(tmp_path) as told:
        (tmp_path / "box.pem").write_bytes(b"no certificate")
        told.renewal.look()
        assert told.events.empty()
        assert told.script.requests == []


def test_its_thread_looks_at_once_and_whenever_the_link_has_news(tmp_path):
    with box(tmp_path) as told, told.renewal:
        first = told.events.get(timeout=20)
        assert isinstance(first, CertificateRead)
        assert first.waiting
        told.renewal.worked(told.pairs.offer())
        second = told.events.get(timeout=20)
        assert isinstance(second, CertificateRead)
        assert second.slot == "renewed"


def test_a_surprise_in_its_thread_is_told(tmp_path):
    class Broken(SystemClock):
        broken = False

        def now(self) -> float:
            if self.broken:
                raise RuntimeError("no clock")
            return super().now()

    with box(tmp_path) as told:
        clock = Broken()
        events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        made = Renewal(
            told.renewal._settings, told.pairs, post=events.put, clock=clock, chance=lambda: 0.5
        )
        clock.broken = True
        with made:
            assert events.get(timeout=20) == Died(part="renewal", detail="RuntimeError: no clock")


def test_the_key_never_leaves_the_box(tmp_path):
    with box(tmp_path) as told:
        told.look()
        key = told.pairs.offer().key
        secret = b"".join(key.splitlines()[1:-1])
        seen = b"".join(
            csr.public_bytes(serialization.Encoding.PEM) for _, _, csr in told.script.requests
        )
        assert b"PRIVATE" not in seen
        assert secret not in seen.replace(b"\n", b"")
        assert pem(told.pairs.offer().leaf) in told.pairs.offer().certificate
