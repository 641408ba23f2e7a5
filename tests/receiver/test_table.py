"""The table: what a person in a small terminal sees of many boxes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from rich.console import Console
from rich.text import Text

from edge_agent.core.messages import Json
from edge_agent.receiver import table as shown_table
from edge_agent.receiver.summary import (
    BoxSummary,
    CameraSummary,
    FindingSummary,
    Lines,
    OrderSummary,
    Summary,
    to_json,
)
from edge_agent.receiver.table import Screen, age, plain, table, word

NOW_S = 1_000_000.0
STATE: Json = {
    "shown": True,
    "gate": "open",
    "signal": "fresh",
    "cable": "normal",
    "notice": {"en": ""},
}
DARK: Json = {
    "shown": False,
    "gate": "held",
    "signal": "lost",
    "cable": "open",
    "notice": {"en": "Being repaired."},
}
BOX = BoxSummary(
    box="cctv/v1/kuningan/rw-03/rt-02/box-1",
    online=True,
    simulated=False,
    version="0",
    epoch="e",
    records=120,
    pictures=98,
    upto=120,
    missing=0,
    kinds=(),
    cameras=(CameraSummary(id="gate", state=STATE, pictures=98),),
    since=NOW_S - 720,
    heard=NOW_S - 3,
)


def screen(*boxes: BoxSummary, width: int = 80, **more: int | str) -> str:
    console = Console(width=width)
    summary = Summary(connected=True, boxes=boxes, **more)  # type: ignore[arg-type]
    with console.capture() as capture:
        console.print(table(summary, now_s=NOW_S))
    return capture.get()


def test_a_box_and_its_cameras_fit_in_eighty_columns() -> None:
    shown = screen(BOX)
    assert "kuningan/rw-03/rt-02/box-1  online 12 min  heard 3 s ago" in shown
    assert "120 records, 0 missing" in shown
    assert ["gate", "yes", "open", "fresh", "normal", "98"] in [
        line.split() for line in shown.splitlines()
    ]
    assert max(map(len, shown.splitlines())) <= 80


def test_a_camera_that_is_shown_needs_no_notice() -> None:
    state: Json = {"shown": True, "gate": "open", "notice": {"en": "Live"}}
    assert "Live" not in screen(replace(BOX, cameras=(CameraSummary(id="gate", state=state),)))


def test_what_is_wrong_stands_first_and_says_what() -> None:
    order = OrderSummary(
        order="wo-7",
        revision=2,
        cause="cable_cut",
        cameras=("gate",),
        name="Gerbang",
        place="pole 7",
        since=NOW_S - 7200,
    )
    wrong = replace(
        BOX,
        box="cctv/v1/kuningan/rw-03/rt-03/box-1",
        online=False,
        simulated=True,
        missing=4,
        cameras=(CameraSummary(id="gate", state=DARK),),
        orders=(order, replace(order, order="wo-8", cause="conduit", cameras=(), since=None)),
        findings=(FindingSummary(key="disk_full", camera=None, en="The disk is full."),),
        breaks=("entry 2 of 9f2c: its hash does not hold",),
    )
    shown = screen(BOX, wrong, faults=3, last_fault="box: not JSON")
    assert shown.index("rt-03") < shown.index("rt-02")
    for said in (
        *(
            "1 of 2 boxes online",
            "3 unreadable, last: box: not JSON",
            "SIMULATED",
            "offline 12 min",
        ),
        *(
            "4 missing",
            "work order wo-7: cable cut, at pole 7, for 2 h",
            "work order wo-8: conduit",
        ),
        *("The disk is full.", "audit chain: entry 2 of 9f2c: its hash does not hold"),
        *("Being repaired.", "held", "lost", "camera, as last told"),
    ):
        assert said in shown, said


def test_without_a_notice_the_findings_speak() -> None:
    found = replace(BOX, findings=(FindingSummary(key="signal_lost", camera="gate", en=""),))
    assert "signal_lost" in screen(found)


def test_nothing_that_a_box_writes_reaches_the_terminal_as_it_is() -> None:
    state: Json = {"gate": "[bold]\x1b[2J", "notice": {"en": "[red]x\x07"}}
    shown = screen(replace(BOX, cameras=(CameraSummary(id="gate", state=state),)))
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "[red]x?" in shown


@pytest.mark.parametrize("state", [None, [], "x", {"notice": None}, {"gate": {"id": "x"}}])
def test_a_state_of_any_shape_is_shown(state: Json) -> None:
    assert "gate" in screen(replace(BOX, cameras=(CameraSummary(id="gate", state=state),)))


def test_ages_and_words() -> None:
    assert [age(NOW_S, NOW_S - gone) for gone in (-5, 0.2, 59, 3599, 7200, 200_000)] == [
        *("0 s", "0 s", "59 s", "60 min", "2 h", "2 d"),
    ]
    assert age(NOW_S, None) == ""
    assert word({"gate": 3}, "gate") == "3"
    assert plain("a" * 500) == "a" * 200


def test_a_machine_gets_the_same() -> None:
    told = to_json(Summary(connected=True, boxes=(BOX,)))
    assert told["complete"] is True
    assert told["intact"] is True
    boxes = told["boxes"]
    assert isinstance(boxes, list)
    (box,) = boxes
    assert isinstance(box, dict)
    assert (box["since"], box["heard"]) == (NOW_S - 720, NOW_S - 3)
    assert box["pictures_of"] == {"gate": 98}


def street(count: int) -> tuple[BoxSummary, ...]:
    return tuple(replace(BOX, box=f"cctv/v1/k/rw-03/rt-02/box-{n:05}") for n in range(count))


def lit(*boxes: BoxSummary, height: int = 24) -> list[str]:
    console = Console(width=80, height=height)
    with console.capture() as capture:
        console.print(Screen(Summary(connected=True, boxes=boxes), now_s=NOW_S), end="")
    return capture.get().rstrip("\n").splitlines()


def test_a_screen_holds_what_fits_and_renders_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    honest = shown_table._box_lines

    def counted(box: BoxSummary, *, now_s: float) -> list[Text]:
        made.append(box.box)
        return honest(box, now_s=now_s)

    monkeypatch.setattr(shown_table, "_box_lines", counted)
    boxes = street(10_000)
    broken = replace(boxes[9_000], missing=7)
    lines = lit(*boxes[:9_000], broken, *boxes[9_001:])
    assert len(lines) <= 24
    assert "box-09000" in lines[2]  # what is wrong stands first, and so stays on the screen
    whole = sum("records" in line for line in lines)
    assert lines[-1] == f"... {10_000 - whole} more boxes: --json has all"
    assert len(made) <= whole + 1


def test_a_screen_that_holds_all_says_no_more() -> None:
    assert lit(*street(3), height=13)[-1].split()[0] == "gate"
    assert lit(*street(3), height=12)[-1] == "... 1 more boxes: --json has all"
    assert len(lit(*street(1), height=4)) == 4  # too small for one: as much of it as there is room
    assert lit()[-1].startswith("hub connected")


def test_why_it_is_not_connected_is_said() -> None:
    console = Console(width=80)
    summary = Summary(connected=False, not_connected="nobody listens there")
    with console.capture() as capture:
        console.print(table(summary, now_s=NOW_S))
    assert "NOT connected" in capture.get()
    assert "! nobody listens there" in capture.get()
    assert to_json(summary)["not_connected"] == "nobody listens there"


def test_a_line_says_the_same_and_writes_only_what_changed_anew() -> None:
    lines = Lines()
    boxes = street(3)
    for summary in (
        Summary(connected=False),
        Summary(connected=True, boxes=boxes),
        Summary(connected=True, boxes=(boxes[0], replace(boxes[1], missing=4), boxes[2]), faults=1),
        Summary(connected=True, boxes=boxes[1:]),
    ):
        line = lines.line(summary)
        assert "\n" not in line
        assert json.loads(line) == to_json(summary)
    before = lines._texts[boxes[2].box][1]
    lines.line(Summary(connected=True, boxes=(boxes[0], replace(boxes[1], missing=9), boxes[2])))
    assert lines._texts[boxes[2].box][1] is before
