"""The one door: events in, commands out. Decides everything that the box does, and does nothing itself.

Promises:
- it starts private, with every gate closed, and stays so until the switch has said otherwise for 3 s;
- a press is answered in the same call by: gates private, shutter closed, cameras stopped, unsent pictures purged;
- pictures that arrive while private are dropped unread;
- it never raises for anything that can arrive; what it cannot understand becomes a finding.
Not its job: one camera's truth (watch.py), sending (uplink.py), sentences (words.py), any IO.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from edge_agent.core import commands, nights, order_words, report, wire, words
from edge_agent.core.commands import Commands
from edge_agent.core.diagnosis import Diagnoses
from edge_agent.core.fitting import Fitting
from edge_agent.core.health import BOX_KEYS, Finding, Findings, LinkQuality, judge_box
from edge_agent.core.ladder import WAY_KEYS, Ladder, Way
from edge_agent.core.lines import ALL_ZERO, Lines
from edge_agent.core.messages import (
    BaselineRead,
    BoxRead,
    CameraLost,
    CameraOpened,
    CertificateRead,
    ClockRead,
    Command,
    Committed,
    Delivered,
    Died,
    Event,
    Examine,
    Examined,
    Fetched,
    FindingKey,
    HubMessage,
    JournalTrouble,
    Json,
    Keep,
    LadderClimbed,
    Lamp,
    LessonEnded,
    Level,
    Line,
    LineRead,
    LinkDown,
    LinkUp,
    LoopMeasured,
    LoopRead,
    Memory,
    NicRead,
    NotSent,
    OpenShutter,
    OrderForged,
    OrderVerified,
    PictureTaken,
    Purged,
    Rank,
    Record,
    Remember,
    Remembered,
    Say,
    Send,
    Stop,
    SwitchRead,
    Tick,
    Verify,
    VideoLossTold,
)
from edge_agent.core.policies import Heard, Policies, too_high
from edge_agent.core.recorder import host_of
from edge_agent.core.refusals import Refusals
from edge_agent.core.renewal import CERTIFICATE_KEYS, judge
from edge_agent.core.settings import Settings
from edge_agent.core.signs import Signs
from edge_agent.core.suspension import Suspension
from edge_agent.core.switch_desk import PRIVACY_KEYS, Desk
from edge_agent.core.switch_memory import EarlierLife
from edge_agent.core.uplink import Link, Uplink
from edge_agent.core.walltime import WallTime
from edge_agent.core.watch import Burst, Watch
from edge_agent.core.work_order import Order, WorkOrders

_HUB_KEYS: Final = frozenset(key for key in FindingKey if key.name.startswith("HUB_"))
_JOURNAL_KEYS: Final = frozenset(
    {FindingKey.JOURNAL_FULL, FindingKey.JOURNAL_BROKEN, FindingKey.JOURNAL_PARKED}
)
_SWITCH_FAULTS: Final = (
    FindingKey.PRIVACY_WIRING,
    FindingKey.PRIVACY_JAMMED,
    FindingKey.PRIVACY_RELAY,
    FindingKey.PRIVACY_UNREADABLE,
)
_LINE_KEYS: Final = {
    Line.DOOR: FindingKey.BOX_DOOR_OPEN,
    Line.MAINS_LOST: FindingKey.BOX_MAINS_LOST,
    Line.SHUTDOWN: FindingKey.BOX_UPS_EMPTY,
}
# At which a line says that the picture on the wire stopped.
_PICTURE_GONE: Final = {Line.VIDEO: False, Line.NVR_ALARM: True}
# Eight loops are read sixteen times a second; a cause has to last for two seconds anyway.
DIAGNOSE_EVERY_S: Final = 0.5
# A hub that is out of order says the same each time: one line in so long.
BAD_ACK_S: Final = 600.0
# So often a policy that is heard again ends the finding of a refused order.
ORDERS_WELL_S: Final = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """Who is speaking."""

    version: str
    boot: str


class Agent:
    """All state of the box. One thread owns it."""

    def __init__(
        self,
        settings: Settings,
        about: About,
        *,
        random: Callable[[], float],
        at: float,
        clock: ClockRead,
        remembered: Mapping[Memory, bytes] | None = None,
        earlier: EarlierLife | None = None,
    ) -> None:
        """*clock*: wall time now, or a remembered suspension could not be told from one that is over.

        *remembered*: the last `Remember` of each memory, as far as the card still has it. *earlier*: what the life before this
        one left of the privacy switch in this boot; None = nothing is known of it.
        """
        remembered = remembered or {}
        self._settings = settings
        self._about = about
        who = settings.identity
        self._name = f"{who.kelurahan}/{who.rw}/{who.rt}/{who.box}"
        names = {camera.id: camera.name for camera in settings.cameras}
        self._findings = Findings(names)
        runs = {run.camera: run for run in settings.runs}
        self._nights = nights.load(remembered.get(Memory.NIGHTS))
        self._watches = {
            camera.id: Watch(
                camera,
                runs.get(camera.id),
                self._findings,
                at=at,
                night=self._nights.get(camera.id),
            )
            for camera in settings.cameras
        }
        self._lines = Lines()
        saved = remembered.get(Memory.ORDERS, b"").decode("utf-8", "replace")
        self._orders = WorkOrders(names, runs, boot=about.boot, at=at, saved=saved)
        self._diagnoses = Diagnoses(
            runs,
            {camera.id: host_of(camera.source) for camera in settings.cameras},
            known=[order.told for order in self._orders.open],
        )
        self._diagnose_at = at
        self._diagnosed_at = at
        self._quality = LinkQuality(at=at)
        self._desk = Desk(
            settings.privacy,
            boot=about.boot,
            at=at,
            remembered=remembered.get(Memory.SWITCH),
            earlier=earlier,
        )
        self._refusals = Refusals()
        self._commands = Commands(
            settings.identity, tuple(self._watches), remembered=remembered.get(Memory.COMMANDS)
        )
        self._signs = Signs()
        self._uplink = Uplink(
            settings.identity,
            settle=settings.hub.settle,
            loopback=settings.hub.tls is None,  # config.py allows that for a loopback address only
            boot=about.boot,
            version=about.version,
            simulated=settings.simulated,
            random=random,
        )
        self._ladder = Ladder(random=random)
        self._certificate: CertificateRead | None = None
        self._fitting = Fitting(remembered.get(Memory.PACKET))
        self._remembered_policy = remembered.get(Memory.POLICY)
        self._policies = Policies()
        self._orders_well_at = -math.inf
        self._bad_ack_at = -math.inf
        self._suspension = Suspension(remembered.get(Memory.FLOOR), clock, at=at)
        self._suspended = False
        self._city_period_s: float | None = None
        self._clock = WallTime(clock, boot=about.boot, at=at)
        self._journal: Committed | None = None
        self._box: BoxRead | None = None
        self._reported_at: float | None = None
        self._said_states: dict[str, Mapping[str, Json]] = {}
        self._open: frozenset[str] = frozenset()
        self._sendable: frozenset[str] = frozenset()
        self._doubtful = False  # the hub's certificate fits no clock that we have: no picture to it
        self._shutter_press: int | None = None

    # -- the door --

    def start(self, *, at: float) -> list[Command]:
        """First commands, before any event."""
        out: list[Command] = []
        for watch in self._watches.values():
            out += watch.private(on=True, at=at)
        self._diagnoses.unwatched()
        if self._orders.fault:
            out.append(Say(level=Level.WARNING, text=self._orders.fault))
        data: dict[str, Json] = {
            "version": self._about.version,
            "cameras": [camera.id for camera in self._settings.cameras],
            "simulated": self._settings.simulated,
            "switch": self._settings.privacy.switch.value,
            "hub": f"{self._settings.hub.host}:{self._settings.hub.port}",
        }
        out.append(Keep(record=Record(kind="agent.started", rank=Rank.STATE, at=at, data=data)))
        out.append(Say(level=Level.INFO, text=f"agent started version={self._about.version}"))
        if self._remembered_policy is not None:
            out += self._obey(self._remembered_policy, at=at)
        out += self._commands.start(at=at)
        out += self._fitting.start() + self._uplink.start(at)
        return self._noting(out + self._after(at=at), at=at)

    def handle(self, event: Event, *, at: float) -> list[Command]:
        """Take one event; the commands that follow from it, in the order in which they must be done."""
        return self._noting(self._event(event, at=at) + self._after(at=at), at=at)

    def stop(self, *, at: float) -> list[Command]:
        """Last commands before the process ends in good order."""
        record = Record(kind="agent.stopped", rank=Rank.AUDIT, at=at, data={})
        return [Keep(record=record), *self._uplink.stop(at)]

    def deadline(self, *, at: float) -> float:
        """When to call `handle` with a `Tick` at the latest."""
        due = [
            self._desk.deadline(at=at),
            self._uplink.deadline(),
            self._ladder.deadline(),
            self._suspension.deadline(at=at),
            self._lines.deadline(),
            self._policies.deadline(),
            self._diagnose_at,
        ]
        due += [watch.deadline(at=at) for watch in self._watches.values()]
        soon = (self._refusals.deadline(), self._commands.deadline(), self._signs.deadline())
        return min([*due, *(moment for moment in soon if moment is not None)])

    # -- events --

    def _event(self, event: Event, *, at: float) -> list[Command]:  # noqa: C901 - one flat table
        match event:
            case SwitchRead():
                self._desk.read(event, at=at)
                return self._switched(at=at)
            case PictureTaken() | CameraOpened() | CameraLost():
                return self._of_camera(event, at=at)
            case LoopRead() | LoopMeasured() | BaselineRead():
                return self._of_loop(event, at=at)
            case LineRead():
                return self._told_by_lines(self._lines.read(event, at=at), at=at)
            case NicRead() | VideoLossTold():
                return self._of_wire(event, at=at)
            case LessonEnded():
                watch = self._watches.get(event.camera)
                return [] if watch is None else watch.lesson_ended(event, at=at)
            case Committed():
                self._journal = event
                return self._uplink.on(event, at)
            case LinkUp():
                self._quality.up(at=at)
                self._doubtful = event.doubtful and not self._clock.trusted
                said: list[Command] = [Say(level=Level.INFO, text="hub connected")]
                out = said + self._shutter(at=at) + self._fitting.up(event)
                return out + self._uplink.on(event, at)
            case LinkDown():
                self._quality.down(at=at)
                self._doubtful = False
                return self._uplink.on(event, at)
            case Delivered() | NotSent():
                delivered = isinstance(event, Delivered)
                self._quality.answered(event.ticket, at=at, delivered=delivered)
                out = self._uplink.on(event, at)
                return out + self._fitting.refused(self._uplink.refused_bytes)
            case Fetched():
                return self._uplink.on(event, at)
            case Purged():
                return self._desk.purged(event, at=at) + self._uplink.on(event, at)
            case Remembered():
                self._desk.remembered(event, at=at)
                return self._obey_commands(event, at=at)
            case HubMessage():
                return self._hub_message(event, at=at)
            case OrderVerified():
                return self._verified(event, at=at)
            case OrderForged():
                evidence = {"leaf": event.leaf, "why": event.why}
                return self._raise(FindingKey.ORDER_REFUSED, evidence, at=at)
            case JournalTrouble():
                told = {event.key: event.detail, FindingKey.JOURNAL_PARKED: event.parked}
                wanted = {key: {"detail": detail} for key, detail in told.items() if key and detail}
                return self._set(wanted, _JOURNAL_KEYS, at=at)
            case LadderClimbed():
                self._ladder.climbed(event)
                return []
            case Examined():
                data = report.of_doctor(event)
                return [Keep(record=Record(kind="box.doctor", rank=Rank.STATE, at=at, data=data))]
            case CertificateRead():
                return self._certificate_read(event, at=at)
            case ClockRead():
                return self._clock_read(event, at=at)
            case BoxRead():
                return self._box_read(event, at=at)
            case Tick():
                return []
            case Died():
                text = f"stopping part={event.part} {event.detail}"
                return [Say(level=Level.ERROR, text=text), Stop(why=text, failed=True)]

    def _of_camera(
        self, event: PictureTaken | CameraOpened | CameraLost, *, at: float
    ) -> list[Command]:
        watch = self._watches.get(event.camera)
        if watch is None or self._desk.private:
            return []  # a straggler from before the press: dropped unread
        if isinstance(event, CameraOpened):
            return watch.opened(event, at=at)
        self._diagnoses.read(event, at=at)
        self._diagnose_soon(at=at)
        if isinstance(event, PictureTaken):
            return watch.picture(event, at=at, press=self._desk.press(at=at))
        return watch.lost(event, at=at)

    # -- the cable, and what speaks of it --

    def _of_loop(
        self, event: LoopRead | LoopMeasured | BaselineRead, *, at: float
    ) -> list[Command]:
        watch = self._watches.get(event.camera)
        if watch is None or watch.loop is None:
            return []
        if isinstance(event, BaselineRead):
            out = watch.baseline_read(event, at=at)
        else:
            out = watch.loop_read(event, at=at, wall_s=self._trusted_wall(at=at))
        self._diagnose_soon(at=at)
        return out + self._remember_nights()

    def _remember_nights(self) -> list[Command]:
        known = {
            name: night
            for name, watch in self._watches.items()
            if (night := watch.night) is not None
        }
        if known == self._nights:
            return []
        self._nights = known
        return [Remember(memory=Memory.NIGHTS, value=nights.dump(known))]

    def _of_wire(self, event: NicRead | VideoLossTold, *, at: float) -> list[Command]:
        self._diagnoses.read(event, at=at)
        self._diagnose_soon(at=at)
        if isinstance(event, VideoLossTold) and event.lost:
            return self._interrupted(event.camera, at=at)
        return []

    def _interrupted(self, camera: str | None, *, at: float) -> list[Command]:
        watch = self._watches.get(camera or "")
        return [] if watch is None else watch.interrupted(at=at)

    def _told_by_lines(self, news: Sequence[LineRead], *, at: float) -> list[Command]:
        """What lasted on the lines."""
        if not news:
            return []
        out: list[Command] = []
        for event in news:
            self._diagnoses.read(event, at=at)
            if event.line in _PICTURE_GONE and event.on is _PICTURE_GONE[event.line]:
                out += self._interrupted(event.camera, at=at)
            if event.line is Line.SERVICE and event.on:
                record = Record(kind="box.service", rank=Rank.STATE, at=at, data={})
                text = "service button pressed"
                out += [Keep(record=record), Say(level=Level.INFO, text=text)]
        self._diagnose_soon(at=at)
        wanted: dict[FindingKey, dict[str, Json]] = {
            key: {} for line, key in _LINE_KEYS.items() if self._lines.on(line)
        }
        # The switch's relay may cut the cameras' power, and a lost mains does: no current is as it should be then.
        unpowered = self._desk.private or self._lines.on(Line.MAINS_LOST)
        faults = [why for why in self._lines.faults if not (unpowered and why == ALL_ZERO)]
        if faults:
            detail = "; ".join(faults)
            wanted[FindingKey.BOX_LINES_UNREADABLE] = {"detail": detail}
        among = frozenset({*_LINE_KEYS.values(), FindingKey.BOX_LINES_UNREADABLE})
        return out + self._set(wanted, among, at=at)

    def _diagnose_soon(self, *, at: float) -> None:
        soon = max(at, self._diagnosed_at + DIAGNOSE_EVERY_S)
        self._diagnose_at = min(self._diagnose_at, soon)

    def _diagnose(self, *, at: float) -> list[Command]:
        """What broke, and the records of the work orders. The orders are on the card before their records."""
        if at < self._diagnose_at:
            return []
        for name, watch in self._watches.items():
            if watch.loop is not None:
                self._diagnoses.loop(name, watch.loop.view(at=at))
        told = self._diagnoses.told(at=at)
        # Whole cable and fresh pictures are no repair if the pictures are of another place.
        astray = {name for name, watch in self._watches.items() if watch.right_scene is False}
        records = self._orders.update(told, self._diagnoses.well() - astray, at=at)
        text = self._orders.saving(at=at)
        self._diagnosed_at = at
        self._diagnose_at = min(self._diagnoses.deadline(at=at), self._orders.deadline())
        out: list[Command] = []
        if text is not None:
            out.append(Remember(memory=Memory.ORDERS, value=text.encode()))
        for record in records:
            data = record.data
            line = f"{record.kind} order={data['order']} cause={data['cause']} {data['detail']}"
            level = Level.INFO if record.kind == "work_order.closed" else Level.WARNING
            out += [Keep(record=record), Say(level=level, text=line.rstrip())]
        return out

    # -- privacy --

    def _switched(self, *, at: float) -> list[Command]:
        """What the switch says now, and what it means for each camera: after private each proves itself again."""
        before = self._desk.private
        out = self._desk.turn(self._trusted_wall(at=at), at=at)
        private = self._desk.private
        if private is not before:
            for watch in self._watches.values():
                out += watch.private(on=private, at=at)
            if private:
                self._diagnoses.unwatched()
                self._diagnose_soon(at=at)
            else:
                self._diagnoses.watched(at=at)
        return out + self._set(self._desk.findings(at=at), PRIVACY_KEYS, at=at)

    # -- hub --

    def _hub_message(self, event: HubMessage, *, at: float) -> list[Command]:
        if event.leaf != "ack":
            return [Verify(message=event)]
        decoded = wire.ack(event.payload)
        if not isinstance(decoded, wire.Fault):
            return self._uplink.on(decoded, at)
        if at < self._bad_ack_at + BAD_ACK_S:
            return []
        self._bad_ack_at = at
        text = f"hub sent an ack that cannot be read: {decoded.why}"
        return [Say(level=Level.WARNING, text=text)]

    def _verified(self, event: OrderVerified, *, at: float) -> list[Command]:
        reach = wire.reaches_for_privacy(event.claims)
        if reach is not None:
            return self._refuse(reach, event, at=at)
        if event.leaf == "policy":
            return self._obey(event.claims, at=at)
        return self._answered(self._commands.take(event, self._now(at=at), at=at), at=at)

    def _refuse(self, reach: wire.Reach, event: OrderVerified, *, at: float) -> list[Command]:
        """Nobody reaches the switch from afar, with whatever signature."""
        self._refusals.refused(leaf=event.leaf, number=reach.number, key=reach.key)
        why = f"{reach.key}: the privacy switch is not to be set from afar"
        out = self._raise(FindingKey.ORDER_REFUSED, {"leaf": event.leaf, "why": why}, at=at)
        if event.leaf == "command":
            answer = self._commands.refuse(reach.number, why, event.correlation, at=at)
            out += self._answered(answer, at=at)
        return [*self._refused(at=at), *out]

    def _refused(self, *, at: float) -> list[Command]:
        kept: list[Command] = [Keep(record=record) for record in self._refusals.timed(at=at)]
        return kept + self._commands.timed(at=at)

    # -- commands --

    def _now(self, *, at: float) -> commands.Now:
        return commands.Now(
            wall_s=self._trusted_wall(at=at),
            private=self._desk.private,
            suspended=self._suspended,
        )

    def _answered(self, answer: commands.Answer, *, at: float) -> list[Command]:
        out = [*answer.commands]
        if answer.fault:
            evidence = {"leaf": "command", "why": answer.fault}
            out += self._raise(FindingKey.ORDER_REFUSED, evidence, at=at)
        elif answer.accepted:
            out += self._set({}, frozenset({FindingKey.ORDER_REFUSED}), at=at)
        return out + ([] if answer.reply is None else self._uplink.send_reply(answer.reply, at))

    def _obey_commands(self, event: Remembered, *, at: float) -> list[Command]:
        """Commands whose numbers are in the journal: do them, unless something speaks against it by now."""
        out: list[Command] = []
        for deed in self._commands.remembered(event):
            why = self._commands.hindrance(deed, self._now(at=at), at=at)
            result = commands.Result.REFUSED if why else commands.Result.DONE
            out += [] if why else self._wished(deed, at=at)
            out += self._answered(self._commands.done(deed.number, result, why, at=at), at=at)
        return out

    def _wished(self, deed: commands.Deed, *, at: float) -> list[Command]:
        """All that can be wished from afar."""
        out: list[Command] = []
        match deed.wish:
            case commands.Fast(cameras=names, period_s=period_s, minutes=minutes):
                burst = Burst(period_s, until_at=at + 60.0 * minutes)
                for name in names:
                    out += self._watches[name].hurry(burst, at=at)
            case commands.Reverify(cameras=names):
                for name in names:
                    out += self._watches[name].reverify(at=at)
            case commands.Locate(seconds=seconds):
                self._signs.locate(until_at=at + seconds)
            case commands.Report():
                data = report.of_box(self.status(at=at), number=deed.number)
                out.append(
                    Keep(record=Record(kind="box.report", rank=Rank.STATE, at=at, data=data))
                )
                out.append(Examine(number=deed.number))
            case commands.SyncNow():
                out += self._uplink.sync_now(at)
        return out

    def _obey(self, claims: bytes, *, at: float) -> list[Command]:
        policy = wire.policy(claims, self._settings.identity)
        why = policy.why if isinstance(policy, wire.Fault) else ""
        if isinstance(policy, wire.Policy) and claims != self._remembered_policy:
            why = too_high(policy.number, wall_s=self._trusted_wall(at=at))
        if why or isinstance(policy, wire.Fault):
            return self._raise(FindingKey.ORDER_REFUSED, {"leaf": "policy", "why": why}, at=at)
        heard = self._policies.hear(policy, claims)
        # Anybody can send on what is retained, and garbage behind it, as often as he likes: not each round is news.
        if heard is Heard.AGAIN and at >= self._orders_well_at:
            self._orders_well_at = at + ORDERS_WELL_S
            return self._set({}, frozenset({FindingKey.ORDER_REFUSED}), at=at)
        return self._enforce(at=at)

    def _enforce(self, *, at: float) -> list[Command]:
        """Put the policy into force whose turn it is."""
        claims, policy = self._policies.due(at=at), self._policies.in_force
        if claims is None or policy is None:
            return []
        self._suspension.obey(policy, at=at)
        self._uplink.obey(
            at,
            window_s=policy.reconnect_window_s,
            backfill_bytes_per_s=policy.backfill_bytes_per_s,
        )
        out = self._set({}, frozenset({FindingKey.ORDER_REFUSED}), at=at)
        if claims == self._remembered_policy:
            return out
        self._remembered_policy = claims
        return [*out, Remember(memory=Memory.POLICY, value=claims)]

    def _judge_suspension(self, *, at: float) -> list[Command]:
        """What the policy in force means now: whether the city wants traffic, and how many pictures."""
        suspended = self._suspension.is_on(at=at)
        policy = self._policies.in_force
        period_s = None if policy is None else policy.snapshot_period_s
        out = self._suspension.saving(at=at)
        if (suspended, period_s) == (self._suspended, self._city_period_s):
            return out
        for watch in self._watches.values():
            out += watch.suspend(on=suspended, period_s=period_s, at=at)
        changed, self._suspended = suspended is not self._suspended, suspended
        self._city_period_s = period_s
        if not changed:
            return out
        kind = "hub.suspended" if suspended else "hub.resumed"
        until = None if policy is None else policy.suspended_until
        data: dict[str, Json] = {"until_s": until}
        out += [
            Keep(record=Record(kind=kind, rank=Rank.AUDIT, at=at, data=data)),
            Say(level=Level.INFO, text=f"{kind.replace('.', ' ')} by the city"),
        ]
        return out + (self._uplink.suspend(at) if suspended else self._uplink.resume(at))

    def _city_says(self) -> words.Sentence:
        """Of the suspension, to the public."""
        policy = self._policies.in_force
        if policy is None or policy.suspended_until is None:
            return words.SUSPENDED
        reason = words.Sentence(policy.reason_id, policy.reason_en)
        return words.suspended_until(policy.suspended_until, reason)

    # -- the box --

    def wall(self, *, at: float) -> float:
        """Unix time at *at*, as far as the last reading of the clock tells."""
        return self._clock.wall(at=at)

    def _trusted_wall(self, *, at: float) -> float | None:
        return self.wall(at=at) if self._clock.trusted else None

    def _clock_read(self, event: ClockRead, *, at: float) -> list[Command]:
        out = self._clock.read(event, at=at)
        self._suspension.clock_read(event, at=at)
        if event.trusted:
            self._doubtful = (
                False  # the link looks at the dates again, and hangs up if they are wrong
            )
        wanted = self._clock.findings(at=at)
        out += self._set(wanted, frozenset({FindingKey.CLOCK_UNTRUSTED}), at=at)
        return out + self._certificate_findings(at=at)

    def _certificate_read(self, event: CertificateRead, *, at: float) -> list[Command]:
        before, self._certificate = self._certificate, event
        out: list[Command] = []
        if before is not None and before.end_s != event.end_s:
            data: dict[str, Json] = {"slot": event.slot, "end_s": round(event.end_s)}
            text = f"certificate changed slot={event.slot} end={wire.rfc3339(event.end_s)}"
            record = Record(kind="certificate.changed", rank=Rank.STATE, at=at, data=data)
            out = [Keep(record=record), Say(level=Level.INFO, text=text)]
        return out + self._certificate_findings(at=at)

    def _certificate_findings(self, *, at: float) -> list[Command]:
        wanted = judge(self._certificate, wall_s=self._trusted_wall(at=at))
        return self._set(wanted, CERTIFICATE_KEYS, at=at)

    def _box_read(self, event: BoxRead, *, at: float) -> list[Command]:
        self._box = event
        wanted = judge_box(event, self._settings.health, self._findings)
        out = self._set(wanted, BOX_KEYS, at=at)
        due = self._reported_at is None or at - self._reported_at >= self._settings.health.report_s
        if not due:
            return out
        self._reported_at = at
        data: dict[str, Json] = {
            "cpu_percent": event.cpu_percent,
            "cpu_celsius": event.cpu_celsius,
            "under_voltage": event.under_voltage,
            "throttled": event.throttled,
            "memory_used_percent": event.memory_used_percent,
            "disk_free_bytes": event.disk_free_bytes,
            "inodes_free_percent": event.inodes_free_percent,
            "card_written_bytes": event.card_written_bytes,
            "card_worn_percent": event.card_worn_percent,
            "uplink": self._quality.report(at=at),
            "uptime_s": round(event.uptime_s),
            "agent_rss_bytes": event.agent_rss_bytes,
            "net_sent_bytes": event.net_sent_bytes,
            "net_received_bytes": event.net_received_bytes,
        }
        return [*out, Keep(record=Record(kind="box.metrics", rank=Rank.METRIC, at=at, data=data))]

    # -- after every event --

    def _after(self, *, at: float) -> list[Command]:
        """What follows from the new state, whatever the event was."""
        out = self._switched(at=at)
        out += self._refused(at=at)
        out += self._told_by_lines(self._lines.timed(at=at), at=at)
        for watch in self._watches.values():
            news = watch.timed(at=at)
            if news:
                self._diagnose_soon(at=at)
            out += news
        out += self._enforce(at=at)
        out += self._judge_suspension(at=at)
        out += self._shutter(at=at)
        out += self._lamps(at=at)
        out += self._diagnose(at=at)
        out += self._states(at=at)
        out += self._uplink.tick(at)
        return out + self._hub_findings(at=at) + self._climb(at=at)

    def _shutter(self, *, at: float) -> list[Command]:
        open_now = frozenset(name for name, watch in self._watches.items() if watch.gate.is_open)
        press = self._desk.press(at=at)
        sendable = frozenset() if self._doubtful else open_now
        if (open_now, sendable, press) == (self._open, self._sendable, self._shutter_press):
            return []
        self._open, self._sendable, self._shutter_press = open_now, sendable, press
        return [
            OpenShutter(cameras=open_now, press=press),
            *self._uplink.set_open_cameras(sendable, at),
        ]

    def _lamps(self, *, at: float) -> list[Command]:
        return self._signs.show(
            self._which_lamp(),
            press=self._desk.press(at=at),
            by_hand=self._desk.by_hand,
            wall_s=self._trusted_wall(at=at),
            at=at,
        )

    def _which_lamp(self) -> Lamp:
        if any(self._findings.has(key) for key in _SWITCH_FAULTS):
            return Lamp.WIRING_FAULT
        if self._desk.private:
            return Lamp.PRIVATE
        if self._suspended:
            return Lamp.SUSPENDED
        troubled = any(finding.camera is not None for finding in self._findings)
        closed = [watch for watch in self._watches.values() if not watch.gate.is_open]
        if closed:
            return Lamp.HELD if troubled else Lamp.VERIFYING
        return Lamp.LIVE

    def _states(self, *, at: float) -> list[Command]:
        """The retained state of each camera, when it changed."""
        out: list[Command] = []
        for name, watch in self._watches.items():
            state = self._state(watch)
            if state == self._said_states.get(name):
                continue
            self._said_states[name] = state
            stamped = {
                **state,
                "changed": wire.rfc3339(self.wall(at=at)),
                "clocktrusted": self._clock.trusted,
            }
            message = wire.camera_state(self._settings.identity, name, stamped)
            out += self._uplink.publish_state(message, at)
        return out

    def _state(self, watch: Watch) -> dict[str, Json]:
        findings = self._findings.of(watch.camera.id)
        notice = words.notice(
            gate=self._gate_for_notice(watch),
            suspended=self._suspended,
            findings=[finding.key for finding in findings],
            city=self._city_says(),
        )
        return {
            "name": watch.camera.name,
            "shown": self._is_shown(watch),
            "gate": watch.gate.state.value,
            "cause": watch.gate.cause.value if watch.gate.cause is not None else None,
            "signal": self._signal_word(watch),
            "cable": watch.cable,
            "orders": [
                self._order_json(order)
                for order in self._orders.open
                if watch.camera.id in order.told.cameras
            ],
            "view": self._view_word(watch),
            "suspended": self._suspended,
            "simulated": self._settings.simulated,
            "findings": [self._finding_json(finding) for finding in findings],
            "notice": {"id": notice.id, "en": notice.en},
        }

    def _gate_for_notice(self, watch: Watch) -> str:
        """Nobody is told that residents switched a camera off when the box has just started, or cannot read its switch."""
        nobody_pressed = self._desk.private and not self._desk.by_hand
        return "closed" if nobody_pressed else watch.gate.state.value

    def _is_shown(self, watch: Watch) -> bool:
        """Neither private nor suspended nor held: each of the three is enough to keep it dark."""
        return watch.gate.is_open and not (self._desk.private or self._suspended)

    def _signal_word(self, watch: Watch) -> str:
        if self._desk.private:
            return "off"
        return watch.signal_word

    def _view_word(self, watch: Watch) -> str:
        if watch.right_scene is True:
            return "match"
        if watch.right_scene is False:
            return "other"
        unknown = self._findings.has(FindingKey.VIEW_NOT_COMMISSIONED, watch.camera.id)
        return "not commissioned" if unknown else "cannot tell"

    def _hub_findings(self, *, at: float) -> list[Command]:
        wanted = {trouble.key: {"detail": trouble.detail} for trouble in self._uplink.findings()}
        return self._set(wanted, _HUB_KEYS, at=at)

    def _climb(self, *, at: float) -> list[Command]:
        """What is wrong on the way to the hub: looked for while there is none, and told in the link's findings."""
        if self._settings.simulated and self._settings.hub.tls is not None:
            return []  # a made-up street goes nowhere near a real hub, not even to knock
        way = Way(
            up=self._uplink.status().link is Link.UP,
            suspended=self._suspended,
            troubles={trouble.key: trouble.detail for trouble in self._uplink.findings()},
        )
        out: list[Command] = []
        for news in self._ladder.timed(way, at=at):
            if not isinstance(news, Record):
                out.append(news)
                continue
            text = f"link diagnosis fault={news.data['fault']} {news.data.get('seen', '')}".rstrip()
            level = Level.INFO if news.data["fault"] is None else Level.WARNING
            out += [Keep(record=news), Say(level=level, text=text)]
        if (told := self._ladder.diagnosis) is not None and told.rung is not None:
            self._findings.explain(WAY_KEYS, told.said)
        return out

    def _noting(self, commands: list[Command], *, at: float) -> list[Command]:
        """Remember what is handed to the link, and when: of pictures, for a press that follows."""
        for command in commands:
            if not isinstance(command, Send):
                continue
            self._quality.sent(command.ticket, at=at)
            self._desk.sent(command.message)
        return commands

    # -- findings --

    def _raise(self, key: FindingKey, evidence: Mapping[str, Json], *, at: float) -> list[Command]:
        return self._set({key: evidence}, frozenset({key}), at=at)

    def _set(
        self,
        wanted: Mapping[FindingKey, Mapping[str, Json]],
        among: frozenset[FindingKey],
        *,
        at: float,
    ) -> list[Command]:
        """Of *among*, exactly *wanted* is so for the box itself; records and log lines on change only."""
        out: list[Command] = []
        for record in self._findings.set_only(wanted, among, at=at):
            out.append(Keep(record=record))
            came = record.kind == "finding.opened"
            level = Level.WARNING if came else Level.INFO
            detail = wanted.get(FindingKey(record.data["key"]), {}).get("detail", "")
            text = f"{record.kind} key={record.data['key']} {detail}".rstrip()
            out.append(Say(level=level, text=text))
        return out

    def _finding_json(self, finding: Finding) -> dict[str, Json]:
        said = finding.said
        return {
            "key": finding.key.value,
            "since": round(finding.since, 1),
            "id": said.id,
            "en": said.en,
        }

    @staticmethod
    def _order_json(order: Order) -> dict[str, Json]:
        """What changes only when the order does."""
        name = order_words.name(order.told.cause)
        return {
            "order": order.id,
            "cause": order.told.cause.value,
            "id": name.id,
            "en": name.en,
        }

    # -- what is shown --

    def status(self, *, at: float) -> dict[str, Json]:
        """What the box sees now; never a picture. The shape is documented in status.py."""
        return {
            "box": self._name,
            "version": self._about.version,
            "boot": self._about.boot,
            "at": round(at, 1),
            "wall_s": round(self.wall(at=at), 1),
            "clock_trusted": self._clock.trusted,
            "simulated": self._settings.simulated,
            "private": self._desk.status(self._trusted_wall(at=at), at=at),
            "suspended": self._suspended,
            "suspension": self._suspension_status(),
            "cameras": [self._camera_status(watch, at=at) for watch in self._watches.values()],
            "orders": [
                {
                    **self._order_json(order),
                    "cameras": list(order.told.cameras),
                    "open_s": round(order.age(at), 1),
                    "bring": self._bring_json(order),
                }
                for order in self._orders.open
            ],
            "journal": self._journal_status(at=at),
            "uplink": self._uplink_status(at=at),
            "findings": [
                {
                    **self._finding_json(finding),
                    "camera": finding.camera,
                    "since_s": round(at - finding.since, 1),
                }
                for finding in self._findings
            ],
        }

    def _bring_json(self, order: Order) -> dict[str, Json]:
        runs = {run.camera: run for run in self._settings.runs}
        items = order_words.bring(order.told, runs)
        return {"id": [item.id for item in items], "en": [item.en for item in items]}

    def headline(self) -> str:
        """The box in one line, for `systemctl status`; changes only when something changed."""
        if self._desk.private:
            mode = "private"
        else:
            mode = "suspended by the city" if self._suspended else "live"
        opened = sum(watch.gate.is_open for watch in self._watches.values())
        findings = sum(1 for _ in self._findings)
        link = self._uplink.status().link.value
        return (
            f"{mode}, gates open {opened}/{len(self._watches)}, hub {link},"
            f" findings {findings}, work orders {len(self._orders.open)}"
        )

    def _camera_status(self, watch: Watch, *, at: float) -> dict[str, Json]:
        released = watch.last_released_at
        return {
            "id": watch.camera.id,
            "name": watch.camera.name,
            "shown": self._is_shown(watch),
            "gate": watch.gate.state.value,
            "why": watch.gate.cause.value if watch.gate.cause is not None else "start",
            "link": watch.signal.link,
            "session": watch.signal.session,
            "fresh_video": watch.signal.fresh,
            "right_scene": watch.right_scene,
            "cable": watch.cable,
            "last_released_age_s": None if released is None else round(at - released, 1),
            "period_s": watch.camera.period_s,
            "signal_detail": watch.signal.detail,
            "gop_s": round(watch.signal.gop_s, 2) or None,
        }

    def _suspension_status(self) -> Json:
        """The city's word, while it holds."""
        policy = self._policies.in_force
        if not self._suspended or policy is None:
            return None
        said = self._city_says()
        return {"until_s": policy.suspended_until, "id": said.id, "en": said.en}

    def _certificate_status(self) -> Json:
        read = self._certificate
        if read is None:
            return None
        return {
            "slot": read.slot,
            "end_s": round(read.end_s),
            "due_s": round(read.due_s) if read.renews else None,
            "waiting": read.waiting,
            "trouble": read.trouble,
        }

    def _journal_status(self, *, at: float) -> dict[str, Json]:
        journal = self._journal
        quota: dict[str, Json] = {"quota_bytes": self._settings.journal.quota_bytes}
        if journal is None:
            return {
                "depth": None,
                "oldest_age_s": None,
                "used_bytes": None,
                "durable": None,
            } | quota
        oldest_age_s: float | None = None
        if journal.oldest_at is not None:
            oldest_age_s = round(at - journal.oldest_at, 1)
        elif journal.oldest_wall_s is not None:
            oldest_age_s = round(self.wall(at=at) - journal.oldest_wall_s, 1)
        return {
            "depth": journal.depth,
            "oldest_age_s": oldest_age_s,
            "used_bytes": journal.used_bytes,
            "durable": journal.durable,
        } | quota

    def _uplink_status(self, *, at: float) -> dict[str, Json]:
        status = self._uplink.status()
        return {
            "state": status.link.value,
            "detail": status.cause,
            "since_s": round(at - status.since, 1),
            "in_flight": status.in_flight,
            "awaiting": status.awaiting,
            "parked": status.parked,
            "settled_upto": status.settled_upto,
            "retry_in_s": None if status.retry_at is None else round(status.retry_at - at, 1),
            "backfill_in_s": (
                None if status.backfill_at is None else round(status.backfill_at - at, 1)
            ),
            "line_bytes_per_s": None if status.bytes_per_s is None else round(status.bytes_per_s),
            "diagnosis": self._ladder.status(at=at),
            "pictures_wait_for_clock": self._doubtful,
            "certificate": self._certificate_status(),
            "last_seq": self._journal.last_seq if self._journal is not None else None,
        }
