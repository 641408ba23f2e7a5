"""What a box tells of itself when the hub asks for it (`report`): one record of what it knows, one of what its doctor finds.

Promises: made of what `edge-agent status` and `edge-agent doctor` show and of nothing else, member by member, so that no secret and
no picture can slip in; bounded, whatever the box has seen, and it says how much was left out.
Not its job: finding anything out (agent.py, health.py, examiner.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from edge_agent.core.messages import Examined, Json

# Eight cameras with a bad day have some thirty findings.
LIST_MAX: Final = 50
TEXT_MAX: Final = 200

_BOX: Final = ("version", "boot", "clock_trusted", "simulated", "suspended")
_PARTS: Final = ("journal", "uplink")
_PRIVATE: Final = ("on", "since_s", "fault", "switch", "last_press_test_age_s")
_LISTS: Final = {
    "cameras": (
        "id", "shown", "gate", "why", "link", "fresh_video", "right_scene", "cable",
        "last_released_age_s", "period_s", "signal_detail",
    ),
    "orders": ("order", "cause", "cameras", "open_s"),
    "findings": ("key", "camera", "since_s"),
}  # fmt: skip

_DOCTOR: Final = ("state", "took_s")
_COUNTS: Final = ("ok", "warning", "fault")
_ANSWER: Final = ("key", "state", "about", "seen")


def of_box(status: Mapping[str, Json], *, number: int) -> dict[str, Json]:
    """The data of `box.report`, asked for by command *number*. *status*: what `Agent.status` gives."""
    told: dict[str, Json] = {"number": number, **_pick(status, _BOX)}
    told["private"] = _pick(status.get("private"), _PRIVATE)
    for part in _PARTS:
        found = status.get(part)
        told[part] = _pick(found, tuple(found)) if isinstance(found, Mapping) else {}
    left_out: dict[str, Json] = {}
    for name, members in _LISTS.items():
        items = status.get(name)
        items = items if isinstance(items, list) else []
        told[name] = [_pick(item, members) for item in items[:LIST_MAX]]
        if len(items) > LIST_MAX:
            left_out[name] = len(items) - LIST_MAX
    return {**told, "left_out": left_out}


def of_doctor(examined: Examined) -> dict[str, Json]:
    """The data of `box.doctor`: the answers that are not ok, the faults first; what is ok is only counted.

    The remedies stay on the box: the hub's people look them up by `key` (docs/doctor.md).
    """
    told = examined.told
    items = told.get("results")
    found = [_pick(item, _ANSWER) for item in (items if isinstance(items, list) else [])]
    bad = [answer for answer in found if answer.get("state") != "ok"]
    bad.sort(key=lambda answer: answer.get("state") != "fault")
    return {
        "number": examined.number,
        **_pick(told, _DOCTOR),
        "counts": _pick(told.get("counts"), _COUNTS),
        "results": bad[:LIST_MAX],
        "left_out": max(0, len(bad) - LIST_MAX),
        "why": examined.why[:TEXT_MAX],
    }


def _pick(found: Json, members: tuple[str, ...]) -> dict[str, Json]:
    """Those *members*; texts and lists cut short, what is nested deeper left out."""
    if not isinstance(found, Mapping):
        return {}
    return {name: _short(found[name]) for name in members if name in found}


def _short(value: Json) -> Json:
    if isinstance(value, str):
        return value[:TEXT_MAX]
    if isinstance(value, list):
        return [item[:TEXT_MAX] for item in value[:LIST_MAX] if isinstance(item, str)]
    return value if isinstance(value, int | float) else None
