"""What the hub has, for a person at a terminal: all boxes with their cameras, what is wrong first.

Promises: whatever a box wrote is shown as plain text, no control character and no markup gets through.
Not its job: the values (summary.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edge_agent.core import wire
from edge_agent.core.messages import Json
from edge_agent.receiver.summary import BoxSummary, CameraSummary, OrderSummary, Summary

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
    from rich.text import Text

MAX_TEXT: Final = 200
_AGES: Final = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"))
_WIDTHS: Final = {"camera": 21, "shown": 6, "gate": 9, "signal": 10, "cable": 16}
_GOOD: Final = {"gate": "open", "signal": "fresh", "cable": "normal"}
_NEUTRAL: Final = frozenset({"no loop", "private", "off", ""})


def table(summary: Summary, *, now_s: float) -> Group:
    """All of it, in 80 columns or more; *now_s* is Unix time."""
    from rich.console import Group  # noqa: PLC0415 - a terminal only

    return Group(_head(summary), *(_box(box, now_s=now_s) for box in _worst_first(summary)))


class Screen:
    """As much of it as the terminal holds, and how many boxes that leaves out. No more is rendered, however many there are."""

    def __init__(self, summary: Summary, *, now_s: float) -> None:
        """*now_s* is Unix time."""
        self._summary = summary
        self._now_s = now_s

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """For rich: the lines that fit."""
        from rich.segment import Segment  # noqa: PLC0415 - a terminal only
        from rich.text import Text  # noqa: PLC0415

        boxes = _worst_first(self._summary)
        lines = console.render_lines(_head(self._summary), options, pad=False)
        whole = 0
        for box in boxes:
            more = console.render_lines(_box(box, now_s=self._now_s), options, pad=False)
            last = whole + 1 == len(boxes)
            room = options.size.height - len(lines) - (0 if last else 1)
            if len(more) > room:
                lines += [] if whole else more[: options.size.height - len(lines) - 1]
                break
            lines += more
            whole += 1
        for line in lines:
            yield from line
            yield Segment.line()
        if whole < len(boxes):
            left = len(boxes) - max(whole, 1)
            yield Text(f"... {left} more boxes: --json has all" if left else "...", style="dim")


def _worst_first(summary: Summary) -> list[BoxSummary]:
    return sorted(summary.boxes, key=lambda one: (not one.troubled, one.box))


def _head(summary: Summary) -> Group:
    from rich.console import Group  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    online = sum(box.online for box in summary.boxes)
    state = "connected" if summary.connected else "NOT connected to the broker"
    words = [f"hub {state}", f"{online} of {len(summary.boxes)} boxes online"]
    words += [f"{summary.duplicates} duplicates", f"{summary.withdrawn} withdrawn"]
    parts = [Text(" · ".join(words), style="bold")]
    if summary.not_connected:
        parts.append(Text(f"! {plain(summary.not_connected)}", style="red"))
    if summary.faults:
        parts.append(
            Text(f"! {summary.faults} unreadable, last: {plain(summary.last_fault)}", style="red")
        )
    return Group(*parts)


def _box(box: BoxSummary, *, now_s: float) -> Group:
    from rich.console import Group  # noqa: PLC0415
    from rich.rule import Rule  # noqa: PLC0415

    cameras = _camera_lines(box, now_s=now_s) if box.cameras else []
    return Group(Rule(style="dim"), *_box_lines(box, now_s=now_s), *cameras)


def _box_lines(box: BoxSummary, *, now_s: float) -> list[Text]:
    from rich.text import Text  # noqa: PLC0415

    line = Text(box.box.removeprefix(f"{wire.ROOT}/"), style="bold")
    if box.simulated:
        line.append("  SIMULATED", style="magenta")
    presence = f"{'online' if box.online else 'offline'} {age(now_s, box.since)}".rstrip()
    line.append(f"  {presence}", style="not bold green" if box.online else "bold red")
    if box.heard is not None:
        line.append(f"  heard {age(now_s, box.heard)} ago", style="not bold")
    line.append(f"  {box.records} records, {box.missing} missing", style="not bold")
    wrong = [f"audit chain: {one}" for one in box.breaks]
    wrong += [_order(order, now_s=now_s) for order in box.orders if len(order.cameras) != 1]
    wrong += [finding.en or finding.key for finding in box.findings if finding.camera is None]
    return [line, *(Text(f"! {plain(one)}", style="red") for one in wrong)]


def _camera_lines(box: BoxSummary, *, now_s: float) -> list[RenderableType]:
    """One line each, and what is wrong with it below."""
    from rich.padding import Padding  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    first = "camera" if box.online else "camera, as last told"
    head = f"  {first:<{_WIDTHS['camera']}}"
    head += "".join(f"{name:<{_WIDTHS[name]}}" for name in ("shown", *_GOOD))
    parts: list[RenderableType] = [Text(f"{head}{'pictures':>8}", style="dim")]
    for camera in box.cameras:
        parts.append(_camera_line(camera))
        parts += [
            Padding(Text(plain(one), style="yellow"), (0, 0, 0, 4))
            for one in _wrong(box, camera, now_s=now_s)
        ]
    return parts


def _camera_line(camera: CameraSummary) -> Text:
    from rich.text import Text  # noqa: PLC0415

    shown = _shown(camera)
    line = Text(f"  {camera.id:<{_WIDTHS['camera'] - 1}} ")
    line.append(f"{'yes' if shown else 'no':<{_WIDTHS['shown']}}", style="" if shown else "yellow")
    for key, good in _GOOD.items():
        found = word(camera.state, key)
        calm = found == good or found in _NEUTRAL
        line.append(f"{found:<{_WIDTHS[key] - 1}} ", style="" if calm else "red")
    return line.append(f"{camera.pictures:>8}")


def _shown(camera: CameraSummary) -> bool:
    return isinstance(camera.state, dict) and camera.state.get("shown") is True


def _wrong(box: BoxSummary, camera: CameraSummary, *, now_s: float) -> list[str]:
    wrong = [_order(order, now_s=now_s) for order in box.orders if order.cameras == (camera.id,)]
    # The notice says in one sentence what findings say in several; without one they speak.
    said = word(camera.state, "notice")
    if said:
        return wrong if _shown(camera) else [*wrong, said]
    return wrong + [one.en or one.key for one in box.findings if one.camera == camera.id]


def _order(order: OrderSummary, *, now_s: float) -> str:
    words = [f"work order {order.order}: {order.cause.replace('_', ' ')}"]
    if order.place:
        words.append(f"at {order.place}")
    if order.since is not None:
        words.append(f"for {age(now_s, order.since)}")
    return ", ".join(words)


def age(now_s: float, then_s: float | None) -> str:
    """How long ago, in one unit; "" = not known."""
    if then_s is None:
        return ""
    gone = max(now_s - then_s, 0.0)
    for seconds, unit in _AGES:
        if gone >= seconds:
            return f"{gone / seconds:.0f} {unit}"
    return "0 s"


def word(state: Json, key: str) -> str:
    """What a camera's state says under *key*, short and printable; a notice in two languages shows the English one."""
    found = state.get(key) if isinstance(state, dict) else None
    if isinstance(found, dict):
        found = found.get("en")
    return "" if found is None else plain(str(found))


def plain(text: str, most: int = MAX_TEXT) -> str:
    """*text* without control characters, and not longer than *most*."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:most])
