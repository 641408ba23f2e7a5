"""Is the hub there, does it know this box, and does a word come back from it?

Promises: a running agent that is connected is never thrown out, and none is asked to stop; the lowest rung that does not hold is named,
and what lies above it is not guessed; a hub that hangs costs this check its own time and nothing else; no key is shown.
Not its job: what each rung is (ladder.py), the box's clock (clock_checks.py), the rights of files (files.py).
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509.oid import NameOID

from edge_agent import roundtrip
from edge_agent.config import SecretError, read_secret
from edge_agent.core import ladder_words
from edge_agent.core.messages import Fault, Rung, Step
from edge_agent.core.settings import Settings, Settlement, is_loopback
from edge_agent.core.words import Sentence
from edge_agent.doctor.check import Check, Patient, Result, State, fault, warning, well
from edge_agent.ladder import Ladder
from edge_agent.pairs import Pairs
from edge_agent.tls import Pair

_DAY_S: Final = 86_400.0
# What is left to say it all: the other checks and the page want a part of the time, too.
_MARGIN_S: Final = 0.5
_PATIENCE: Final = (
    0.25  # of the ladder's own limits: 2 s for a name or TLS, 1.25 s for each address
)
_SOON_S: Final = 30 * _DAY_S  # a city needs weeks to issue a certificate by hand
_HUB_SOON_S: Final = 14 * _DAY_S
_KEY_MAX_BYTES: Final = 100_000

_ECHO: Final = Sentence(
    "Pusat kota menerima kotak ini, tetapi tidak mengizinkan topik echo untuk pemeriksaan ini. Catatan tetap dikirim. "
    "Minta kota menambah satu baris izin seperti di docs/hub.md.",
    "The hub takes this box in, but does not allow the echo topic that this check needs. Records are sent all the same. "
    "Ask the city to add the one line of permission that docs/hub.md shows.",
)
_ENDED: Final = Sentence(
    "Sertifikat kotak ini sudah habis masa berlakunya; pusat kota akan menolaknya. Minta sertifikat baru dari kota dan pasang di kotak; "
    "bila renew_url diatur, cari sebabnya dengan edge-agent status.",
    "This box's certificate has expired; the hub will refuse it. Have the city issue a new one and install it at the box; "
    "where renew_url is set, edge-agent status says why it was not renewed.",
)
_ENDS_SOON: Final = Sentence(
    "Sertifikat kotak ini segera habis. Minta yang baru dari kota sebelum tanggal itu, atau atur renew_url agar kotak memintanya sendiri.",
    "This box's certificate ends soon. Have the city issue a new one before that day, or set renew_url so that the box asks by itself.",
)
_NOT_YET: Final = Sentence(
    "Sertifikat kotak ini baru berlaku nanti menurut jam kotak. Periksa jam kotak dengan timedatectl; bila benar, minta sertifikat baru.",
    "By the box's clock its certificate does not hold yet. Check the clock with timedatectl; if it is right, ask for a new certificate.",
)
_OTHER_NAME: Final = Sentence(
    "Sertifikat ini dibuat untuk kotak lain, jadi pusat kota tidak akan menerima catatannya. Cocokkan [identity] di box.toml dengan "
    "sertifikatnya, atau minta sertifikat untuk nama ini.",
    "This certificate was issued to another box, so the hub will not take this box's records. Compare [identity] in box.toml with it, "
    "or have a certificate issued for this name.",
)
_HUB_SOON: Final = Sentence(
    "Sertifikat pusat kota segera habis; sesudah itu tidak ada kotak yang dapat mengirim. Tidak ada yang perlu dikerjakan di sini; "
    "beri tahu kota.",
    "The hub's own certificate ends soon; after that no box can send. Nothing to do at the box; tell the city.",
)
_ORDER_KEY: Final = Sentence(
    "Kunci perintah dari kota tidak dapat dipakai, jadi semua perintah ditolak. Salin lagi hub-orders.pem dari kota (kunci publik Ed25519).",
    "The city's order key cannot be used, so every order is refused. Copy hub-orders.pem from the city again (a public Ed25519 key).",
)
_STREET: Final = Sentence(
    "Agen yang berjalan memainkan jalan buatan, tetapi pusat di box.toml adalah pusat sungguhan. Hentikan run --simulate, lalu "
    "jalankan: sudo systemctl restart edge-agent.",
    "The agent that runs plays a made-up street, but box.toml names a real hub. End run --simulate, then run: "
    "sudo systemctl restart edge-agent.",
)
_LINK: Final = Sentence(
    "Agen sedang tidak tersambung ke pusat kota. Catatan disimpan dan menyusul sendiri. Lihat pemeriksaan hub yang lain di halaman ini; "
    "bila semuanya baik, tunggu beberapa menit.",
    "The agent is not connected to the hub now. Records are kept and follow by themselves. Look at the other hub checks on this page; "
    "if all are well, wait some minutes.",
)
_RUNG_WORDS: Final[Mapping[Rung, str]] = {
    Rung.INTERFACE: "interface", Rung.ADDRESS: "address", Rung.GATEWAY: "gateway", Rung.NAME: "name",
    Rung.TCP: "tcp", Rung.TLS: "tls",
}  # fmt: skip


# ---- the way ----


def _way(patient: Patient) -> list[Result]:
    """Rung by rung up to TLS, then a word there and back; cut off in time, with what is known by then."""
    settings = patient.settings
    if settings is None or _street_is_loose(settings):
        return []
    within_s = max(0.0, patient.left_s() - _MARGIN_S)
    end = patient.clock.now() + within_s
    came: queue.SimpleQueue[Result | None] = queue.SimpleQueue()
    threading.Thread(
        target=_go, args=(patient, settings, end, came.put), name="way to the hub", daemon=True
    ).start()
    results: list[Result] = []
    while True:
        try:
            result = came.get(timeout=max(0.0, end - patient.clock.now()))
        except queue.Empty:
            return [*results, _cut_off(settings, results, within_s)]
        if result is None:
            return results
        results.append(result)


def _go(
    patient: Patient, settings: Settings, end: float, say: Callable[[Result | None], None]
) -> None:
    """At the end of all, None."""
    hub = settings.hub
    pairs = _pairs(settings)
    holds = True
    try:
        ladder = Ladder(
            hub,
            settings.runs,
            pair=None if pairs is None else pairs.proven,
            post=lambda _: None,
            clock=patient.clock,
            root=patient.root,
            patience=_PATIENCE,
        )
        # While the city has suspended this box nothing of it goes there, not even a question.
        quiet = _suspended(patient)
        for step in ladder.each(far=not quiet):
            holds = step.holds is not False
            say(_of_step(step))
        if holds and quiet:
            say(well("hub.mqtt", "suspended by the city: not asked"))
        elif holds:
            for result in _round(patient, settings, pairs, end):
                say(result)
    except Exception as error:  # noqa: BLE001 - the top of a thread: it may break, and must not be waited for
        seen = f"the check itself broke: {type(error).__name__}"
        say(fault("hub.way", seen, ladder_words.say(Fault.UNKNOWN, seen)))
    say(None)


def _of_step(step: Step) -> Result:
    key = f"hub.{_RUNG_WORDS.get(step.rung, step.rung.value)}"
    if step.holds is False:
        return fault(key, step.seen, ladder_words.say(step.fault or Fault.UNKNOWN, step.seen))
    doubt = "" if step.holds else "cannot be told: "
    return well(key, f"{doubt}{step.seen}")


def _cut_off(settings: Settings, done: list[Result], within_s: float) -> Result:
    """The rung at which the time was up."""
    passed = {result.key for result in done}
    rungs = [f"hub.{word}" for word in (*_RUNG_WORDS.values(), "mqtt")]
    if is_loopback(settings.hub.host):
        rungs = rungs[3:]
    after = max((rungs.index(key) + 1 for key in passed if key in rungs), default=0)
    key = rungs[min(after, len(rungs) - 1)]
    seen = f"no answer within {within_s:.1f} s"
    why = {
        "hub.gateway": Fault.GATEWAY_SILENT,
        "hub.name": Fault.NAME_SERVER_SILENT,
        "hub.tcp": Fault.NO_ANSWER,
        "hub.tls": Fault.TLS_SILENT,
    }.get(key, Fault.UNKNOWN)
    return fault(key, seen, ladder_words.say(why, seen))


def _round(patient: Patient, settings: Settings, pairs: Pairs | None, end: float) -> list[Result]:
    if _agents_link(patient) == "up":
        # A hub may take one certificate for one connection (docs/hub.md): ours would end the agent's.
        return [well("hub.mqtt", "the agent is connected; none is made beside it")]
    trip = roundtrip.go(
        settings.hub,
        settings.identity,
        pair=None if pairs is None else pairs.proven(),
        clock=patient.clock,
        mark=os.urandom(8).hex(),
        within_s=max(0.2, end - patient.clock.now() - 0.1),
        simulated=settings.simulated,
    )
    results = []
    if trip.hub_end_s is not None:
        results.append(_hub_certificate(patient, trip.hub_end_s))
    if trip.fault is not None:
        said = ladder_words.say(trip.fault, trip.seen)
        return [*results, fault("hub.mqtt", trip.seen, said)]
    results.append(well("hub.mqtt", "the hub takes this box in"))
    if trip.back_s is None:
        return [*results, warning("hub.echo", trip.seen, _ECHO)]
    back = f"a word to itself came back after {trip.back_s * 1000:.0f} ms"
    return [*results, well("hub.echo", back)]


def _hub_certificate(patient: Patient, end_s: float) -> Result:
    key, seen = "hub.certificate", f"the hub's own ends on {_day(end_s)}"
    if patient.clock.trusted() and end_s - patient.clock.wall() < _HUB_SOON_S:
        return warning(key, seen, _HUB_SOON)
    return well(key, seen)


# ---- who we are ----


def _own_certificate(patient: Patient) -> list[Result]:
    """The pair that this box would show: can it be used, whose is it, how long does it hold."""
    settings = patient.settings
    pairs = None if settings is None else _pairs(settings)
    if settings is None or pairs is None:
        return []
    key = "hub.own-certificate"
    try:
        pair = pairs.proven()
        leaf = pair.leaf
    except (OSError, ValueError, IndexError, SecretError) as error:
        return [fault(key, str(error)[:300], ladder_words.say(Fault.OWN_UNUSABLE, ""))]
    results = [_dates(patient, settings, pair, leaf)]
    name = _common_name(leaf)
    place = settings.identity
    ours = f"{place.kelurahan}/{place.rw}/{place.rt}/{place.box}"
    seen = f"issued to {name[:120]!r}"
    if name == ours:
        results.append(well("hub.own-name", seen))
    else:
        # The name of a place is another box's; anything else may be the way of a hub that is not the reference's.
        state = State.FAULT if name.count("/") == ours.count("/") else State.WARNING
        seen += f", this box is {ours!r}"
        results.append(Result(key="hub.own-name", state=state, seen=seen, remedy=_OTHER_NAME))
    return results


def _dates(patient: Patient, settings: Settings, pair: Pair, leaf: x509.Certificate) -> Result:
    key, now = "hub.own-certificate", patient.clock.wall()
    begin_s, end_s = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
    seen = f"{pair.name}, from {_day(begin_s)} to {_day(end_s)}"
    if not patient.clock.trusted():
        doubt = "the clock is not vouched for, so its dates prove nothing"
        return well(key, f"{seen}; {doubt}")
    if end_s < now:
        return fault(key, seen, _ENDED)
    if begin_s > now:
        return fault(key, seen, _NOT_YET)
    # The box renews from half of its life on: with a way to do so, a week before the end is still not late.
    soon_s = _SOON_S if settings.hub.renew_url is None else 7 * _DAY_S
    if end_s - now < min(soon_s, (end_s - begin_s) / 3):
        return warning(key, seen, _ENDS_SOON)
    return well(key, seen)


def _common_name(leaf: x509.Certificate) -> str:
    names = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def _pairs(settings: Settings) -> Pairs | None:
    if settings.hub.tls is None:
        return None
    return Pairs(settings.hub.tls, settings.pairs_folder, secret=read_secret)


# ---- what was agreed with the city ----


def _order_key(patient: Patient) -> list[Result]:
    if patient.settings is None:
        return []
    file = patient.settings.hub.order_key_file
    key = "hub.order-key"
    if file is None:
        seen = "none is configured: this box obeys no order of the hub"
        return [well(key, seen)]
    try:
        with Path(file).open("rb") as found:
            public = load_pem_public_key(found.read(_KEY_MAX_BYTES))
    except OSError as error:
        return [fault(key, f"{file}: {error.strerror or error}", _ORDER_KEY)]
    except Exception:  # noqa: BLE001 - a parser of foreign bytes; what it says may repeat them
        return [fault(key, f"{file}: holds no public key", _ORDER_KEY)]
    if not isinstance(public, Ed25519PublicKey):
        return [fault(key, f"{file}: a public key, but not of Ed25519", _ORDER_KEY)]
    return [well(key, f"{file}: a public Ed25519 key")]


def _agreed(patient: Patient) -> list[Result]:
    """How records are settled, and whether pictures are sealed: nothing that can be wrong, but what a city asks first."""
    if patient.settings is None:
        return []
    hub = patient.settings.hub
    settled = {
        Settlement.WATERMARK: "by the hub's watermark",
        Settlement.BROKER: "by the broker's own acknowledgement (settle = broker)",
    }[hub.settle]
    sealed = "as they are" if hub.recipient is None else "sealed to the city's key"
    seen = f"{hub.host}:{hub.port}, settled {settled}, pictures go {sealed}"
    return [well("hub.settle", seen)]


def _street(patient: Patient) -> list[Result]:
    """A simulated street never reaches a real hub."""
    settings = patient.settings
    if settings is None:
        return []
    key = "hub.street"
    said = (patient.agent.status or {}).get("simulated") is True
    if not (settings.simulated or said):
        return [well(key, "a real street")]
    if is_loopback(settings.hub.host):
        return [well(key, "a simulated street, with a hub on this box")]
    return [fault(key, f"a simulated street, and the hub is {settings.hub.host}", _STREET)]


def _street_is_loose(settings: Settings) -> bool:
    return settings.simulated and not is_loopback(settings.hub.host)


def _agents_link(patient: Patient) -> str:
    """The state of the running agent's own connection; "" = no agent, or it does not say."""
    status = patient.agent.status
    uplink = status.get("uplink") if isinstance(status, Mapping) else None
    return str(uplink.get("state")) if isinstance(uplink, Mapping) else ""


def _suspended(patient: Patient) -> bool:
    """Whether the running agent has the city's word to be quiet."""
    status = patient.agent.status
    return isinstance(status, Mapping) and bool(status.get("suspended"))


def _link(patient: Patient) -> list[Result]:
    """What the running agent says of its own connection."""
    status = patient.agent.status
    if not isinstance(status, Mapping):
        return []
    uplink = status.get("uplink")
    if not isinstance(uplink, Mapping):
        return []
    state = str(uplink.get("state"))
    detail = str(uplink.get("detail") or "")
    seen = f"the agent says: {state}{f' ({detail[:160]})' if detail else ''}"
    key = "hub.link"
    if state == "up" or (status.get("suspended") is True and state == "suspended"):
        return [well(key, seen)]
    told = uplink.get("diagnosis")
    remedy = _LINK
    if isinstance(told, Mapping):
        with contextlib.suppress(KeyError):
            remedy = Sentence(str(told["id"]), str(told["en"]))
    return [warning(key, seen, remedy)]


def _day(wall_s: float) -> str:
    return f"{datetime.fromtimestamp(wall_s, UTC):%Y-%m-%d}"


CHECKS: Final[tuple[Check, ...]] = (
    Check(key="hub.street", group="hub", ask=_street),
    Check(key="hub.own-certificate", group="hub", ask=_own_certificate, also=("hub.own-name",)),
    Check(
        key="hub.way",
        group="hub",
        ask=_way,
        also=(
            *(f"hub.{word}" for word in _RUNG_WORDS.values()),
            "hub.mqtt",
            "hub.echo",
            "hub.certificate",
        ),
    ),
    Check(key="hub.link", group="hub", ask=_link),
    Check(key="hub.order-key", group="hub", ask=_order_key),
    Check(key="hub.settle", group="hub", ask=_agreed),
)
