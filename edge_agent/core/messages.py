"""Every event that reaches the agent and every command it gives: frozen values, nothing else.

Promise: two closed unions, `Event` and `Command`; a `match` over either is checked for completeness by mypy.
Times named `at` or `*_at` are seconds since boot (CLOCK_BOOTTIME, suspend included); wall time is a label only.
Not its job: deciding (agent.py), doing (app.py), naming things on the wire (wire.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from edge_agent.core.cable import Baseline
    from edge_agent.core.gate import Released

Json: TypeAlias = "Mapping[str, Json] | Sequence[Json] | str | int | float | bool | None"


class FindingKey(Enum):
    """What can be wrong, one key per sentence that a person reads (words.py has the sentences)."""

    CAMERA_NO_ANSWER = "camera_no_answer"
    CAMERA_REFUSED = "camera_refused"
    CAMERA_UNREACHABLE = "camera_unreachable"
    CAMERA_UNAUTHORISED = "camera_unauthorised"
    CAMERA_NOT_FOUND = "camera_not_found"
    CAMERA_REDIRECTED = "camera_redirected"
    CAMERA_NONSENSE = "camera_nonsense"
    CAMERA_NOT_A_PICTURE = "camera_not_a_picture"
    CAMERA_TOO_LARGE = "camera_too_large"
    CAMERA_STALLED = "camera_stalled"
    CAMERA_STALE = "camera_stale"
    CAMERA_NO_DEVICE = "camera_no_device"
    CAMERA_CRASHES = "camera_crashes"
    CAMERA_FLAPPING = "camera_flapping"
    VIEW_NOT_COMMISSIONED = "view_not_commissioned"
    VIEW_FOREIGN = "view_foreign"
    VIEW_MOVED = "view_moved"
    VIEW_DARK = "view_dark"
    VIEW_COVERED = "view_covered"
    VIEW_BLURRED = "view_blurred"
    VIEW_FROZEN = "view_frozen"
    VIEW_UNSURE = "view_unsure"
    VIEW_NUDGED = "view_nudged"
    VIEW_PARTLY_COVERED = "view_partly_covered"
    VIEW_FILE_DAMAGED = "view_file_damaged"
    VIEW_OTHER_DEVICE = "view_other_device"
    CABLE_OPEN = "cable_open"
    CABLE_UNREADABLE = "cable_unreadable"
    CABLE_CAMERA_TAKEN = "cable_camera_taken"
    CABLE_SHORT = "cable_short"
    CABLE_OTHER_LENGTH = "cable_other_length"
    CABLE_CORRODED = "cable_corroded"
    CABLE_HOUSING_OPEN = "cable_housing_open"
    CABLE_LOOSE = "cable_loose"
    CABLE_NOT_COMMISSIONED = "cable_not_commissioned"
    PRIVACY_WIRING = "privacy_wiring"
    PRIVACY_UNREADABLE = "privacy_unreadable"
    PRIVACY_NO_SWITCH = "privacy_no_switch"
    PRIVACY_RELAY = "privacy_relay"
    PRIVACY_JAMMED = "privacy_jammed"
    PRIVACY_PRESS_TEST = "privacy_press_test"
    PRIVACY_NOT_KEPT = "privacy_not_kept"
    PRIVACY_UNDRIVEN = "privacy_undriven"
    HUB_UNREACHABLE = "hub_unreachable"
    HUB_NAME_UNKNOWN = "hub_name_unknown"
    HUB_TLS = "hub_tls"
    HUB_REFUSED_CLIENT = "hub_refused_client"
    HUB_REFUSED_VERSION = "hub_refused_version"
    HUB_REFUSED_TOPIC = "hub_refused_topic"
    HUB_TOO_LARGE = "hub_too_large"
    HUB_NOBODY_LISTENS = "hub_nobody_listens"
    HUB_HANGS_UP = "hub_hangs_up"
    HUB_LACKS = "hub_lacks"
    HUB_SILENT = "hub_silent"
    ORDER_REFUSED = "order_refused"
    JOURNAL_FULL = "journal_full"
    JOURNAL_BROKEN = "journal_broken"
    JOURNAL_PARKED = "journal_parked"
    BOX_HOT = "box_hot"
    BOX_DISK_LOW = "box_disk_low"
    BOX_MEMORY_LOW = "box_memory_low"
    BOX_UNDER_VOLTAGE = "box_under_voltage"
    BOX_THROTTLED = "box_throttled"
    BOX_INODES_LOW = "box_inodes_low"
    BOX_READ_ONLY = "box_read_only"
    BOX_CARD_WORN = "box_card_worn"
    BOX_DOOR_OPEN = "box_door_open"
    BOX_MAINS_LOST = "box_mains_lost"
    BOX_UPS_EMPTY = "box_ups_empty"
    BOX_LINES_UNREADABLE = "box_lines_unreadable"
    CLOCK_UNTRUSTED = "clock_untrusted"
    CERTIFICATE_EXPIRES = "certificate_expires"
    CERTIFICATE_EXPIRED = "certificate_expired"
    CONFIG_CARD = "config_card"


# ---- what is seen in a picture ----


class Unusable(Enum):
    """Why a picture says nothing about its view."""

    DARK = "dark"
    BLOWN = "blown"  # over-exposed
    COVERED = "covered"  # next to no structure anywhere
    NOT_A_PICTURE = "not_a_picture"  # empty, damaged or of a size nobody sends


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneReading:
    """What vision read from one picture, scaled to about 320x240; no state, no verdict.

    `score` >= 1 is a match with the best reference (SCENES.md section 4.2: the least of its parts, each divided
    by its own limit). `elsewhere` says that the view was found clearly, but displaced by (`dx`, `dy`), in pixels
    of the scaled picture, right and down positive.
    """

    view: str  # digest of the commissioned references this was read against; "" = not commissioned
    unusable: Unusable | None
    score: float
    z: float
    tiles: int
    cells: int
    ncc: float
    dx: float
    dy: float
    elsewhere: bool
    light_known: bool  # a reference for this kind of light exists, so a low score means foreign
    sharpness: float  # relative to the reference; 1.0 = as commissioned
    mean_grey: float  # 0..255
    dark_share: float  # 0..1, share of near-black pixels
    blown_share: float  # 0..1, share of blown pixels
    change: (
        float  # 0..1, share of pixels beyond noise against the picture before; 1.0 for the first
    )
    same_bits: int  # how many pictures in a row were equal to the bit, this one included
    # How the view lies in the picture, where that could be measured: `placed` says that dx, dy (at the picture's centre),
    # angle and zoom come from enough parts of the picture to be told to a person.
    placed: bool = False
    angle_deg: float = 0.0  # what is seen is turned clockwise by so much
    zoom: float = 1.0  # above 1: things look larger than when commissioned
    covered_share: float = (
        0.0  # 0..1, of the parts that the references know: gone, while the rest agrees
    )
    fault: str = (
        ""  # why the references on disk cannot be used; the view then counts as not commissioned
    )
    other_device: str = (
        ""  # what differs from the device that was commissioned; "" = nothing, or not known
    )


# ---- events: cameras ----


class Cause(Enum):
    """Why a camera gives no fresh picture, as found by trying, not guessed."""

    NO_ANSWER = "no_answer"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    UNAUTHORISED = "unauthorised"
    NOT_FOUND = "not_found"
    REDIRECTED = "redirected"
    NONSENSE = "nonsense"  # answers, but not with what its kind speaks
    NOT_A_PICTURE = "not_a_picture"
    TOO_LARGE = "too_large"
    STALLED = "stalled"  # connected, but no new picture in time
    STALE = "stale"  # pictures come, but are old or repeated
    NO_DEVICE = "no_device"
    CRASHES = "crashes"  # its stream kills or hangs the decoder


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraOpened:
    """A new connection: everything proven before is void."""

    camera: str
    generation: int  # counts connections since the agent's start; never reused
    codec: str
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraLost:
    """No fresh picture any more; sent once per loss, and again only when the cause changes."""

    camera: str
    generation: int
    cause: Cause
    detail: str  # for a technician; never holds a password or a URL with one


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureTaken:
    """One fresh picture and what vision read from it. The JPEG lives in memory only."""

    camera: str
    generation: int
    taken_at: float
    age_s: float  # measured age on arrival
    width: int
    height: int
    codec: str
    gop_s: float  # time between key pictures as measured, 0 = not known or not applicable
    bytes_per_s: float
    reading: SceneReading
    jpeg: bytes = field(repr=False)
    shrunk_from: int = (
        0  # bytes it had as it came, if it was made smaller to fit; 0 = it is as it came
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LessonEnded:
    """What came of a `Learn` that was permitted: a light that is kept, or why there is none. Never a picture."""

    camera: str
    generation: int
    permit: int
    why: str = ""  # nothing was kept, for this reason
    light: str = ""  # name of the light that is on disk now; "" = none, and only `why` counts
    of: str = ""  # the approved light whose map it is, parts left out
    replaced: str = ""  # the learnt light that made room for it; "" = none
    anchor: str = ""  # digest of what a person approved
    frames: int = 0
    span_s: float = 0.0
    score: float = (
        0.0  # of the lesson's mean against the approved light, which it must match in place
    )
    gain: float = 0.0  # so much better it matches with the new light
    dx: float = 0.0
    dy: float = 0.0
    parts: int = 0  # parts of the picture that can be seen in this light
    parts_of: int = 0  # of so many that the approved light knows
    mean_grey: float = 0.0


# ---- events: sensors ----


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchRead:
    """The contacts of the privacy switch; None = could not be read. `press` = presses counted so far.

    A momentary button has one contact, `nc_closed`; `no_closed` is None then. `powered` is what the relay itself says of the
    cameras' power (K1's guided contact); None = not fitted, or could not be read. `undriven`: which of lamps, buzzer and relay
    cannot be driven, and why; "" = none. `read_at`: when it was read, which a busy core hears later; None = just now.
    """

    nc_closed: bool | None
    no_closed: bool | None
    press: int
    why: str = ""
    powered: bool | None = None
    undriven: str = ""
    read_at: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopRead:
    """The digital supervised pair of a camera's run; None = could not be read."""

    camera: str
    closed: bool | None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopMeasured:
    """The measured supervised pair of a camera's run, twice a second.

    `ohm` is seen from the terminals (infinite = open circuit); None = the board's self-test failed or it cannot be read, and
    `why` says so: a fault of the box, not of the cable. `spread_ohm` is the standard deviation within the reading.
    """

    camera: str
    ohm: float | None
    spread_ohm: float
    counts: float
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineRead:
    """What was commissioned for a measured loop: at the start, and whenever the file changes. None = never, or not usable (`why`)."""

    camera: str
    baseline: Baseline | None
    why: str = ""


class Line(Enum):
    """A contact or level beside switch and loops."""

    VIDEO = "video"  # a sync monostable sees a picture signal on the wire
    NVR_ALARM = "nvr_alarm"  # the recorder's contact reports video loss
    CURRENT = "current"  # what the camera draws, in mA
    POWER = "power"  # the cameras' 12 V
    DOOR = "door"  # on = open
    MAINS_LOST = "mains_lost"
    SHUTDOWN = "shutdown"  # the UPS is nearly empty
    SERVICE = "service"


@dataclass(frozen=True, slots=True, kw_only=True)
class LineRead:
    """One line: on change and every few seconds. Both None = could not be read (`why`). `camera` None = the box's own."""

    line: Line
    camera: str | None
    on: bool | None
    value: float | None = None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NicRead:
    """A network interface that leads to one camera; None = this machine does not say."""

    interface: str
    carrier: bool | None
    speed_mbit: int | None
    carrier_downs: int | None  # counted by the kernel since boot
    crc_errors: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoLossTold:
    """What the recorder says of a channel over HTTP. It may add suspicion and never clears any."""

    camera: str
    lost: bool
    why: str = ""


# ---- events: journal ----


class Rank(IntEnum):
    """A record's class (DESIGN.md, issue on the journal): lower outlives higher."""

    AUDIT = 0  # privacy, gate, cable, tamper: never thinned
    STATE = 1
    PICTURE = 2
    METRIC = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Anything for the hub but a picture. `kind` is the end of its CloudEvents type, e.g. "gate.changed"."""

    kind: str
    rank: Rank
    at: float
    data: Mapping[str, Json]
    camera: str | None = None


class Stored(NamedTuple):
    """A record as the journal keeps it. `data` is JSON; `jpeg` is set for rank PICTURE only.

    A tuple, as a backlog is a million of them and a dataclass takes ten times as long to make.
    """

    epoch: str
    seq: int
    kind: str
    rank: Rank
    camera: str | None
    boot: str
    at: float
    wall_s: float  # Unix time
    trusted: bool  # was the clock trusted when it was made (or corrected since)
    data: bytes
    jpeg: bytes | None = None
    # Its checksum has just proven that `data` is the JSON that was put in: nobody has to read it again to know.
    whole: bool = False

    def __repr__(self) -> str:
        """Without its picture: no log shall ever show one."""
        told = (f"{name}={value!r}" for name, value in self._asdict().items() if name != "jpeg")
        return f"Stored({', '.join(told)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """Records up to `last_seq` are on disk (or in the ring, if `durable` is false)."""

    epoch: str
    last_seq: int
    depth: int  # records kept, pictures included
    oldest_seq: int | None
    oldest_at: float | None  # None also when it stems from an earlier boot
    oldest_wall_s: float | None
    used_bytes: int
    durable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """The answer to `Fetch`: in order of seq; empty = nothing there."""

    fetch: Fetch
    records: tuple[Stored, ...]
    end: bool  # nothing beyond these within the bounds asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    """The answer to `Purge`: these pictures are gone from the journal."""

    seqs: tuple[int, ...]
    cameras: tuple[str, ...]
    earlier_boot: str | None = (
        None  # the boot before this one, if `earlier_s` was asked and the journal knows it
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """The answer to `Remember`, of the newest value of this memory.

    `durable`: it is on the card, and so is everything that was put into the journal before it (or a tombstone for it).
    `ahead`: the value alone is: the card has no room for what came before it; `durable` is said when that is there too.
    Neither: both are in memory alone.
    """

    memory: Memory
    value: bytes
    durable: bool
    ahead: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalTrouble:
    """The journal cannot keep its promise (`detail` says what), or can again (`key` None). `parked`: what waits here of other places."""

    key: FindingKey | None
    detail: str
    parked: str = ""


# ---- events: hub link ----


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkUp:
    """Connected and subscribed. Limits as the broker announced them."""

    receive_maximum: int
    maximum_packet_bytes: int | None  # None = no limit
    simulated_peer: bool
    refused: tuple[str, ...] = ()  # topics the broker did not let us subscribe to
    doubtful: bool = (
        False  # its certificate's dates do not fit our clock, which nothing vouches for
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkDown:
    """Not connected, with the finding that says why; None = we closed it ourselves."""

    key: FindingKey | None
    detail: str
    local: bool = False  # the fault is on the box's side of the wire: cheap to retry
    patient: bool = False  # the hub's own word that it cannot serve us now (busy, quota, moved)
    by_press: bool = (
        False  # hung up for a press of the switch, no fault of anybody: connect again at once
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """The broker answered for `ticket`. `code` = MQTT 5 PUBACK reason, 0 = success, 16 = nobody subscribed."""

    ticket: int
    code: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NotSent:
    """`ticket` did not leave: the shutter was closed, or the link went first."""

    ticket: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HubMessage:
    """A message on one of our `ack`, `policy`, `command` topics, as received: decoded by wire.py."""

    leaf: str
    payload: bytes
    retained: bool
    response_topic: str | None = None
    correlation: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderVerified:
    """A signed policy or command whose signature is the hub's; `claims` is its JSON text."""

    leaf: str
    claims: bytes
    retained: bool
    response_topic: str | None = None
    correlation: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderForged:
    """A policy or command that the pinned key did not sign, or that cannot be checked."""

    leaf: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRead:
    """The certificate by which the hub knows this box: at the start, and whenever something about it changed."""

    slot: str  # "configured", "renewed"
    begin_s: float  # Unix time
    end_s: float
    due_s: float  # when the next one is asked for
    renews: bool  # an endpoint for renewals is configured
    waiting: bool  # a new one is there, and has still to connect once
    trouble: str = ""  # why the last renewal did not work; "" = it did, or none was needed


class Rung(Enum):
    """What must hold on the way to the hub, each on top of the one before."""

    INTERFACE = "interface"
    ADDRESS = "address"
    GATEWAY = "gateway"
    NAME = "name"
    TCP = "tcp"
    TLS = "tls"
    MQTT = "mqtt"
    AUTHORISATION = "authorisation"
    HUB = "hub"  # somebody behind the broker who acknowledges


class Fault(Enum):
    """What is wrong on the way to the hub, one per remedy (core/ladder_words.py has the sentences)."""

    NO_INTERFACE = "no_interface"
    NO_CARRIER = "no_carrier"
    NO_ADDRESS = "no_address"
    NO_ROUTE = "no_route"
    GATEWAY_SILENT = "gateway_silent"
    NO_NAME_SERVER = "no_name_server"
    NAME_SERVER_SILENT = "name_server_silent"
    NAME_UNKNOWN = "name_unknown"
    NOBODY_LISTENS = "nobody_listens"
    NO_WAY = "no_way"  # a router on the way says that it cannot go on
    NO_ANSWER = "no_answer"
    TLS_SILENT = "tls_silent"
    NOT_TLS = "not_tls"
    HUB_UNKNOWN = "hub_unknown"  # signed by nobody whom ca_file names
    HUB_OTHER_NAME = "hub_other_name"
    HUB_DATES = "hub_dates"
    OWN_REFUSED = "own_refused"
    OWN_EXPIRED = "own_expired"
    OWN_UNUSABLE = "own_unusable"
    NOT_MQTT = "not_mqtt"
    NOT_ALLOWED = "not_allowed"
    HUB_SILENT = "hub_silent"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One rung as it was tried; `holds` None = it could not be told. `fault` is set if it does not hold."""

    rung: Rung
    holds: bool | None
    seen: str  # evidence, for a technician
    fault: Fault | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderClimbed:
    """The answer to `Climb`: rungs from the lowest up, ended by the first that does not hold."""

    steps: tuple[Step, ...]
    far: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What the doctor said: *told* as `edge-agent doctor --json` prints it, or, if it said nothing sensible, *why*."""

    number: int
    told: Mapping[str, Json]
    why: str = ""


# ---- events: the box itself ----


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockRead:
    """Wall time now and whether anything vouches for it."""

    wall_s: float
    trusted: bool
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxRead:
    """Health of the box; None = this machine does not say (unknown is not fine, and not a fault)."""

    cpu_percent: float
    cpu_celsius: float | None
    memory_used_percent: float
    memory_available_bytes: int
    disk_free_bytes: int | None  # where the journal lives
    disk_used_percent: float | None
    uptime_s: float
    agent_rss_bytes: int
    net_sent_bytes: int
    net_received_bytes: int
    under_voltage: bool | None  # right now
    throttled: bool | None = None  # right now: slowed down by heat or a weak supply
    inodes_free_percent: float | None = (
        None  # of the journal's file system; None also where it counts none
    )
    read_only: bool | None = None  # the journal's file system takes no more writes
    card_written_bytes: int | None = None  # since boot, by whatever runs on the box
    card_worn_percent: int | None = None  # an eMMC's own word, in steps of ten
    card_ending: bool | None = None  # an eMMC's own word: its spare blocks run out
    config_refused: str | None = None  # parts of the card's configuration that are not in use


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A deadline passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Died:
    """A part's thread ended with a surprise. The agent stops; systemd starts it again, closed."""

    part: str
    detail: str


Event: TypeAlias = (
    CameraOpened
    | CameraLost
    | PictureTaken
    | LessonEnded
    | SwitchRead
    | LoopRead
    | LoopMeasured
    | BaselineRead
    | LineRead
    | NicRead
    | VideoLossTold
    | Committed
    | Fetched
    | Purged
    | Remembered
    | JournalTrouble
    | LinkUp
    | LinkDown
    | Delivered
    | NotSent
    | HubMessage
    | OrderVerified
    | OrderForged
    | CertificateRead
    | LadderClimbed
    | Examined
    | ClockRead
    | BoxRead
    | Tick
    | Died
)


# ---- commands ----


@dataclass(frozen=True, slots=True, kw_only=True)
class StartCameras:
    """Open all cameras (after boot or privacy); void if a press came after number `press`."""

    press: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StopCameras:
    """Close all cameras at once and forget what is in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPeriod:
    """Take a picture of this camera every `period_s` seconds."""

    camera: str
    period_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitPictures:
    """Make every picture fit into so many bytes from now on; None = as it comes."""

    max_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Learn:
    """This camera may learn a light from connection `generation`, until told otherwise; `permit` None = it may not.

    Answered by at most one `LessonEnded` a permit.
    """

    camera: str
    generation: int
    permit: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenShutter:
    """Pictures of exactly these cameras may leave; void if a press came after number `press`."""

    cameras: frozenset[str]
    press: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """Put a record into the journal."""

    record: Record


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepPicture:
    """Put a released picture into the journal; void if a press came after number `press`, until it is on the card."""

    picture: Released
    press: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """Read records for sending, `after` < seq <= `upto`, at most `limit` and about `limit_bytes`.

    `camera` None: records that are no pictures (of rank AUDIT only, or of the others, as `audit` says).
    `camera` set: pictures of that camera. `seqs` set: exactly these (a hub asked for them again).
    """

    lane: Lane
    after: int
    upto: int | None
    limit: int
    limit_bytes: int
    camera: str | None = None
    audit: bool = False
    seqs: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    """The hub has these for good: every seq in the inclusive ranges. Delete them."""

    epoch: str
    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Purge:
    """Destroy all pictures in the journal that were taken at or after `since_at` (this boot).

    `earlier_s`: also those of the boots before this one that were taken within so many seconds of the last that boot took:
    the power may have been cut between a press and its purge. None = spare them.
    """

    since_at: float
    reason: str
    earlier_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PressKept:
    """All that follows from the presses up to number `press` is on the card: a restart need not be told of them any more."""

    press: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectTimes:
    """The clock is vouched for now: this boot began at `boot_wall_s` (Unix time). What it stamped before is labelled by that."""

    boot_wall_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Connect:
    """Open the hub link; the will and birth are `presence`."""

    will: Message
    birth: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Disconnect:
    """Close the hub link in good order after publishing `farewell`."""

    farewell: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One MQTT PUBLISH, QoS 1. `picture_of` set: asks the shutter before it leaves."""

    topic: str
    payload: bytes = field(repr=False)
    retain: bool = False
    content_type: str = "application/json"
    properties: tuple[tuple[str, str], ...] = ()
    response_to: bytes | None = None  # correlation data
    picture_of: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Publish; answered by `Delivered` or `NotSent` with the same ticket."""

    ticket: int
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify:
    """Check the hub's signature; answered by `OrderVerified` or `OrderForged`."""

    message: HubMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class Climb:
    """Find out what is wrong on the way to the hub; `far` = as far as the hub itself, which costs it a handshake."""

    far: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Examine:
    """Have `edge-agent doctor` examine this box, as command *number* of the hub asks; answered by `Examined`."""

    number: int


class Lamp(Enum):
    """What the two lamps and the buzzer say (the table in docs/privacy.md)."""

    PRIVATE = "private"
    LIVE = "live"
    VERIFYING = "verifying"
    HELD = "held"
    WIRING_FAULT = "wiring_fault"
    SUSPENDED = "suspended"
    LOCATE = "locate"  # somebody looks for this box; over "live" and "held" alone (signs.py)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowLamps:
    """Show this pattern until told otherwise, or until a press comes after number `press`: "private" then."""

    lamp: Lamp
    press: int


class Sound(Enum):
    """What the buzzer says (the table in docs/privacy.md)."""

    PRIVATE = "private"  # one long
    LIVE = "live"  # two short
    FAULT = "fault"  # three short


@dataclass(frozen=True, slots=True, kw_only=True)
class Beep:
    """Say this once."""

    sound: Sound


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerCameras:
    """Let the relay power the cameras, or cut them off; `on` is void if a press came after number `press`."""

    on: bool
    press: int


class Memory(Enum):
    """What is kept over restarts beside the journal's records, by the name it has on the card."""

    POLICY = "policy"  # the last verified one: its claims, which the shell binds to the key
    FLOOR = "floor"  # a moment that lies in the past for certain, as core/suspension.py writes it
    ORDERS = "orders"  # open work orders, as core/work_order.py writes them
    NIGHTS = (
        "nights"  # each loop's first night after its commissioning, as core/nights.py writes them
    )
    COMMANDS = "commands"  # the number of the newest command and what came of it and those before, as core/commands.py writes them
    PACKET = (
        "packet"  # the largest packet that the hub's broker takes, as core/fitting.py writes it
    )
    CLOCK = "clock"  # the newest wall time that was vouched for, as core/walltime.py writes it
    SWITCH = "switch"  # the privacy input: a momentary button's state, the last press; as core/privacy.py writes them


@dataclass(frozen=True, slots=True, kw_only=True)
class Remember:
    """Keep *value* over restarts in place of what was kept as *memory*: whole, and on the card before the records that follow."""

    memory: Memory
    value: bytes


class Level(Enum):
    """How loud a log line is."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Say:
    """One line for the log: a change, never a sample."""

    level: Level
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """End the process; systemd decides what follows."""

    why: str
    failed: bool


class Lane(Enum):
    """In what order the uplink serves what waits; earlier first."""

    AUDIT = "audit"  # of this connection
    LIVE = "live"
    # Made before this connection. There is little of class 0, and live pictures may fill a thin line for as long as a flood lasts.
    AUDIT_HISTORY = "audit_history"
    LIVE_PICTURES = "live_pictures"
    AGAIN = "again"  # what the hub reported missing
    HISTORY = "history"
    HISTORY_PICTURES = "history_pictures"


Command: TypeAlias = (
    StartCameras
    | StopCameras
    | SetPeriod
    | LimitPictures
    | Learn
    | OpenShutter
    | Keep
    | KeepPicture
    | Fetch
    | Settle
    | Purge
    | PressKept
    | CorrectTimes
    | Connect
    | Disconnect
    | Send
    | Verify
    | Climb
    | Examine
    | ShowLamps
    | Beep
    | PowerCameras
    | Remember
    | Say
    | Stop
)
