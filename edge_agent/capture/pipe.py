"""What the capture worker and its supervisor say to each other, and how it is framed.

Promises: whatever bytes come from a worker that a hostile camera may have taken over, `Unpacker` gives sound values or
`Garbled`, and never holds more than one message of bounded size. Pictures travel as bytes beside a small JSON head.
No decoder is loaded here: the agent's own process imports this module.
Not its job: deciding what a message means (cameras.py), generations (a worker counts its own connections from 1).
"""

import dataclasses
import json
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from edge_agent.core.messages import (
    CameraLost,
    CameraOpened,
    Cause,
    LessonEnded,
    PictureTaken,
    SceneReading,
    Unusable,
)
from edge_agent.core.settings import CameraKind

PICTURE_MAX_BYTES: Final = 16 * 1024 * 1024
HEAD_MAX_BYTES: Final = 64 * 1024
_TEXT_MAX: Final = 500
_FRAME: Final = struct.Struct(">II")  # length of the JSON head, length of the picture


class Garbled(Exception):  # noqa: N818 - a state of a stream, as in "the stream is garbled"
    """The other side said what nobody says: end it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraJob:
    """One camera for a worker to read. The password exists in memory and on a pipe only."""

    id: str
    kind: CameraKind
    source: str
    username: str | None
    password: str | None = field(repr=False)
    period_s: float
    max_bytes: int | None = None  # of a picture; None = as it comes


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """The first line to a worker: whom it serves and what it reads."""

    parent_pid: int
    views_folder: str
    cameras: tuple[CameraJob, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPeriod:
    """A later line to a worker."""

    camera: str
    period_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NewLimit:
    """Another later line: pictures of this camera may have so many bytes; None = any."""

    camera: str
    max_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """The worker lives. Per camera: seconds that its present step takes, and the thread that takes it."""

    busy_s: Mapping[str, float]
    threads: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """Another later line: this camera may learn a light from `connection` (the worker's own count); None = it may not."""

    camera: str
    connection: int
    number: int | None


Order: TypeAlias = NewPeriod | NewLimit | Permit
Said: TypeAlias = CameraOpened | CameraLost | PictureTaken | LessonEnded | Beat


# ---- to the worker ----


def assignment_line(assignment: Assignment) -> bytes:
    """*assignment* as one line of JSON; holds passwords: never log it."""
    plain = dataclasses.asdict(assignment)
    for job in plain["cameras"]:
        job["kind"] = job["kind"].value
    return json.dumps(plain).encode() + b"\n"


def parse_assignment(line: bytes) -> Assignment:
    """The inverse; the supervisor is trusted, so a fault here is a bug and raises what it raises."""
    plain = json.loads(line)
    jobs = tuple(CameraJob(**{**job, "kind": CameraKind(job["kind"])}) for job in plain["cameras"])
    return Assignment(
        parent_pid=plain["parent_pid"], views_folder=plain["views_folder"], cameras=jobs
    )


def order_line(order: Order) -> bytes:
    """*order* as one line of JSON."""
    plain = dataclasses.asdict(order) | {"order": _ORDERS[type(order)]}
    return json.dumps(plain).encode() + b"\n"


def parse_order(line: bytes) -> Order:
    """The inverse; raises what it raises, as `parse_assignment` does."""
    plain = json.loads(line)
    return _KINDS[plain.pop("order")](**plain)


_KINDS: Final[Mapping[str, type[NewPeriod | NewLimit | Permit]]] = {
    "period": NewPeriod,
    "limit": NewLimit,
    "permit": Permit,
}
_ORDERS: Final[Mapping[type, str]] = {kind: name for name, kind in _KINDS.items()}


# ---- from the worker ----


def pack(said: Said) -> bytes:
    """One framed message, ready for a pipe."""
    picture = b""
    if isinstance(said, PictureTaken):
        picture = said.jpeg
        reading = dataclasses.asdict(said.reading)
        reading["unusable"] = said.reading.unusable and said.reading.unusable.value
        reading["fault"] = said.reading.fault[:_TEXT_MAX]
        reading["other_device"] = said.reading.other_device[:_TEXT_MAX]
        body: dict[str, object] = {name: getattr(said, name) for name in _PICTURE_NUMBERS}
        body |= {"camera": said.camera, "codec": said.codec, "reading": reading}
    else:
        body = dataclasses.asdict(said)
        if isinstance(said, CameraLost):
            body |= {"cause": said.cause.value, "detail": said.detail[:_TEXT_MAX]}
        if isinstance(said, LessonEnded):
            body["why"] = said.why[:_TEXT_MAX]
    body["say"] = _NAMES[type(said)]
    head = json.dumps(body, default=_plain).encode()
    return _FRAME.pack(len(head), len(picture)) + head + picture


class Unpacker:
    """Bytes in, messages out. One thread; memory bounded by one message and what was fed."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def feed(self, data: bytes) -> Iterator[Said]:
        """The messages that are complete now. Raises `Garbled`; afterwards the stream is worthless."""
        self._waiting += data
        while len(self._waiting) >= _FRAME.size:
            head_bytes, picture_bytes = _FRAME.unpack_from(self._waiting)
            if head_bytes > HEAD_MAX_BYTES or picture_bytes > PICTURE_MAX_BYTES:
                msg = f"a message of {head_bytes} + {picture_bytes} bytes"
                raise Garbled(msg)
            end = _FRAME.size + head_bytes + picture_bytes
            if len(self._waiting) < end:
                return
            head = bytes(self._waiting[_FRAME.size : _FRAME.size + head_bytes])
            picture = bytes(self._waiting[_FRAME.size + head_bytes : end])
            del self._waiting[:end]
            yield _parse(head, picture)


def _plain(number: object) -> object:
    """A number of numpy as Python's own."""
    return number.item()  # type: ignore[attr-defined]


_NAMES: Final[Mapping[type, str]] = {
    CameraOpened: "opened",
    CameraLost: "lost",
    PictureTaken: "taken",
    LessonEnded: "lesson",
    Beat: "beat",
}
_PICTURE_NUMBERS: Final = (
    "generation",
    "taken_at",
    "age_s",
    "width",
    "height",
    "gop_s",
    "bytes_per_s",
    "shrunk_from",
)


def _parse(head: bytes, picture: bytes) -> Said:
    try:
        body = _Body(json.loads(head))
        match body.text("say"):
            case "opened":
                return CameraOpened(
                    camera=body.text("camera"),
                    generation=body.whole("generation"),
                    codec=body.text("codec"),
                    width=body.whole("width"),
                    height=body.whole("height"),
                )
            case "lost":
                return CameraLost(
                    camera=body.text("camera"),
                    generation=body.whole("generation"),
                    cause=Cause(body.text("cause")),
                    detail=body.text("detail"),
                )
            case "taken":
                return _picture(body, picture)
            case "lesson":
                return _lesson(body)
            case "beat":
                return Beat(
                    busy_s=body.inner("busy_s").numbers(),
                    threads={
                        name: int(ident) for name, ident in body.inner("threads").numbers().items()
                    },
                )
            case other:
                msg = f"a message called {other[:60]!r}"
                raise Garbled(msg)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as fault:
        msg = f"a message that does not parse: {type(fault).__name__}"
        raise Garbled(msg) from fault


def _picture(body: "_Body", jpeg: bytes) -> PictureTaken:
    if not jpeg.startswith(b"\xff\xd8"):
        raise Garbled("a picture that is no JPEG")
    seen = body.inner("reading")
    unusable = seen.plain["unusable"]
    return PictureTaken(
        camera=body.text("camera"),
        generation=body.whole("generation"),
        taken_at=body.number("taken_at"),
        age_s=body.number("age_s"),
        width=body.whole("width"),
        height=body.whole("height"),
        codec=body.text("codec"),
        gop_s=body.number("gop_s"),
        bytes_per_s=body.number("bytes_per_s"),
        reading=SceneReading(
            view=seen.text("view"),
            unusable=None if unusable is None else Unusable(unusable),
            score=seen.number("score"),
            z=seen.number("z"),
            tiles=seen.whole("tiles"),
            cells=seen.whole("cells"),
            ncc=seen.number("ncc"),
            dx=seen.number("dx"),
            dy=seen.number("dy"),
            elsewhere=seen.truth("elsewhere"),
            light_known=seen.truth("light_known"),
            sharpness=seen.number("sharpness"),
            mean_grey=seen.number("mean_grey"),
            dark_share=seen.number("dark_share"),
            blown_share=seen.number("blown_share"),
            change=seen.number("change"),
            same_bits=seen.whole("same_bits"),
            placed=seen.truth("placed"),
            angle_deg=seen.number("angle_deg"),
            zoom=seen.number("zoom"),
            covered_share=seen.number("covered_share"),
            fault=seen.text("fault"),
            other_device=seen.text("other_device"),
        ),
        jpeg=jpeg,
        shrunk_from=body.whole("shrunk_from"),
    )


def _lesson(body: "_Body") -> LessonEnded:
    return LessonEnded(
        camera=body.text("camera"),
        generation=body.whole("generation"),
        permit=body.whole("permit"),
        why=body.text("why"),
        light=body.text("light"),
        of=body.text("of"),
        replaced=body.text("replaced"),
        anchor=body.text("anchor"),
        frames=body.whole("frames"),
        span_s=body.number("span_s"),
        score=body.number("score"),
        gain=body.number("gain"),
        dx=body.number("dx"),
        dy=body.number("dy"),
        parts=body.whole("parts"),
        parts_of=body.whole("parts_of"),
        mean_grey=body.number("mean_grey"),
    )


class _Body:
    """A JSON object whose members are taken by kind; the wrong kind is a `ValueError`."""

    def __init__(self, plain: object) -> None:
        if not isinstance(plain, dict):
            raise ValueError("not an object")  # noqa: TRY004 - one kind of error for all that is garbled
        self.plain: Mapping[str, object] = plain

    def text(self, name: str) -> str:
        value = self.plain[name]
        if not isinstance(value, str) or len(value) > _TEXT_MAX:
            raise ValueError(name)
        return value

    def whole(self, name: str) -> int:
        value = self.plain[name]
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 1 << 62:
            raise ValueError(name)
        return value

    def number(self, name: str) -> float:
        return _number(self.plain[name])

    def truth(self, name: str) -> bool:
        value = self.plain[name]
        if not isinstance(value, bool):
            raise ValueError(name)  # noqa: TRY004 - one kind of error for all that is garbled
        return value

    def inner(self, name: str) -> "_Body":
        return _Body(self.plain[name])

    def numbers(self) -> dict[str, float]:
        return {name: _number(value) for name, value in self.plain.items()}


def _number(value: object) -> float:
    # Infinity would pass a JSON parser and poison every comparison behind it.
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("not a finite number")
    return value
