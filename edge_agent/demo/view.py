"""How the demo is shown: a live board on a terminal, plain lines anywhere else.

Promise: both say the same things in the same order; a board is only ever drawn from one frozen `Board`.
Threads: `say`, `act` and `waiting` may be called from any thread; rich draws in one of its own.
Not its job: knowing what happened (stage.py), judging it (evidence.py).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from rich.console import Console, Group, RenderableType
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.style import Style
from rich.table import Table
from rich.text import Text

from edge_agent.vision import HEIGHT, WIDTH, Grey

if TYPE_CHECKING:
    from types import TracebackType

# Smaller, and the board would cut what it has to say: then lines are better.
COLUMNS_MIN: Final = 100
ROWS_MIN: Final = 32

_PER_SECOND: Final = 4
_LINES: Final = 5
_NAME_COLUMNS: Final = 12
_FACT_COLUMNS: Final = 7
_THUMB_COLUMNS: Final = (
    32  # 32 x 24 points, as each character holds two of them, one above the other
)
_POINT: Final = WIDTH // _THUMB_COLUMNS
_NO_PICTURE: Final = Text("\n" * 5 + "no picture".center(_THUMB_COLUMNS) + "\n" * 6, "dim")

_GATE_STYLE: Final = {
    "open": "bold green",
    "held": "bold yellow",
    "closed": "bold red",
    "private": "bold magenta",
}
_WHO_STYLE: Final = {"street": "bold cyan", "box": "default", "hub": "bold blue", "check": "green"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraNow:
    """One camera: what hangs before it in truth, what the box makes of it, what the hub has of it."""

    id: str
    before: str
    gate: str
    why: str
    cable: str
    released_age_s: float | None
    at_hub: int
    hub_gate: str
    notice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumb:
    """A small picture with a line about it; `grey` None = there is none."""

    line: str
    grey: Grey | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """Everything there is to see at one moment."""

    elapsed_s: float
    switch: str
    lamps: tuple[bool, bool]
    link: str
    waiting: int
    journal_bytes: int
    cameras: tuple[CameraNow, ...]
    hub_online: str
    hub_records: int
    hub_pictures: int
    findings: tuple[str, ...]
    work_orders: tuple[str, ...]
    taken: Thumb
    received: Thumb


@dataclass(frozen=True, slots=True, kw_only=True)
class Title:
    """Head of one act."""

    number: int
    of: int
    name: str
    caption: str


class View(Protocol):
    """Somebody to tell the demo to."""

    def act(self, title: Title) -> None:
        """An act begins."""
        ...

    def say(self, at_s: float, who: str, text: str) -> None:
        """Something happened, *at_s* seconds into the demo; *who* is street, box, hub or check."""
        ...

    def waiting(self, what: str) -> None:
        """Until told otherwise, this is awaited; "" = nothing."""
        ...

    def __enter__(self) -> View:
        """Begin to show."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the terminal as it was found."""
        ...


class Silent:
    """Nobody looks (--json)."""

    def act(self, title: Title) -> None:
        """Nothing."""

    def say(self, at_s: float, who: str, text: str) -> None:
        """Nothing."""

    def waiting(self, what: str) -> None:
        """Nothing."""

    def __enter__(self) -> Silent:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass


class Lines:
    """One line for each thing that happens: for a file, a pipe, a small terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def act(self, title: Title) -> None:
        """A headline and the caption."""
        self._console.print(f"\n[b]Act {title.number} of {title.of}: {title.name}[/b]")
        self._console.print(title.caption, style="italic", soft_wrap=True)

    def say(self, at_s: float, who: str, text: str) -> None:
        """One line."""
        line = Text.assemble(f"{at_s:6.1f} s  ", (f"{who:6}  ", _WHO_STYLE.get(who, "")), text)
        self._console.print(line, soft_wrap=True)

    def waiting(self, what: str) -> None:
        """Lines tell what happened, not what may."""

    def __enter__(self) -> Lines:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass


class Stage(Protocol):
    """Where a live view gets its board from."""

    def board(self) -> Board | None:
        """What there is to see now; None before anything runs. Any thread."""
        ...


class LiveBoard:
    """The box on the left, the hub on the right, drawn four times a second on the other screen of the terminal."""

    def __init__(self, console: Console, board: Callable[[], Board | None]) -> None:
        self._board = board
        self._lock = threading.Lock()
        self._title: Title | None = None
        self._waiting = ""
        self._said: deque[tuple[float, str, str]] = deque(maxlen=_LINES)
        self._live = Live(
            console=console, screen=True, refresh_per_second=_PER_SECOND, get_renderable=self.draw
        )

    def act(self, title: Title) -> None:
        """A new caption."""
        with self._lock:
            self._title = title

    def say(self, at_s: float, who: str, text: str) -> None:
        """Onto the list of what happened."""
        with self._lock:
            self._said.append((at_s, who, text))

    def waiting(self, what: str) -> None:
        """Into the line at the foot."""
        with self._lock:
            self._waiting = what

    def __enter__(self) -> LiveBoard:
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.__exit__(kind, fault, trace)

    def draw(self) -> RenderableType:
        """The whole screen."""
        with self._lock:
            title, waiting, said = self._title, self._waiting, tuple(self._said)
        board = self._board()
        if title is None or board is None:
            return Panel(
                "Setting up a street, a box and a hub on this machine ...", title="edge-agent demo"
            )
        screen = Layout()
        screen.split_column(
            Layout(_head(title, board), size=4),
            Layout(name="middle"),
            Layout(_happened(said), size=_LINES + 2),
            Layout(_foot(title, waiting), size=1),
        )
        screen["middle"].split_row(Layout(_box(board)), Layout(_hub(board)))
        return screen


def _head(title: Title, board: Board) -> RenderableType:
    caption = Text(title.caption, overflow="ellipsis")
    return Panel(
        caption,
        title=f"[b]Act {title.number} of {title.of} · {title.name}[/b]",
        title_align="left",
        subtitle=f"simulated street · {board.elapsed_s:.0f} s",
        subtitle_align="right",
        border_style="cyan",
    )


def _box(board: Board) -> RenderableType:
    cameras = _columns(_NAME_COLUMNS, 9, None, 8)
    cameras.add_row(*_heads("camera", "gate", "why", "cable"))
    for camera in board.cameras:
        gate = Text(camera.gate.upper(), _GATE_STYLE.get(camera.gate, ""))
        loop = Text(camera.cable, "dim" if camera.cable == "normal" else "bold red")
        cameras.add_row(Text(camera.id, "bold"), gate, camera.why, loop)
    facts = _columns(_FACT_COLUMNS, None)
    facts.add_row(Text("switch", "dim"), Text.assemble(f"{board.switch:18}", *_lamps(board.lamps)))
    facts.add_row(Text("journal", "dim"), _journal(board))
    facts.add_row(Text("link", "dim"), board.link)
    body = Group(cameras, Text(), facts, Text(), _thumb(board.taken, board.findings, "all is well"))
    return Panel(body, title="[b]the box, beside the recorder[/b]", title_align="left")


def _hub(board: Board) -> RenderableType:
    cameras = _columns(_NAME_COLUMNS, 13, None)
    cameras.add_row(*_heads("camera", "received", "what a citizen reads"))
    for camera in board.cameras:
        count = Text(f"{camera.at_hub:3d} pictures", "green" if camera.hub_gate == "open" else "")
        cameras.add_row(Text(camera.id, "bold"), count, Text(camera.notice, "dim"))
    facts = _columns(_FACT_COLUMNS, None)
    facts.add_row(
        Text("box", "dim"),
        Text(board.hub_online, "bold green" if board.hub_online == "online" else "bold yellow"),
    )
    facts.add_row(
        Text("has", "dim"), f"{board.hub_records} records, {board.hub_pictures} of them pictures"
    )
    facts.add_row(
        Text("work", "dim"),
        f"{len(board.work_orders)} to do" if board.work_orders else "none to do",
    )
    body = Group(
        cameras, Text(), facts, Text(), _thumb(board.received, board.work_orders, "no work order")
    )
    return Panel(body, title="[b]the hub, at the city[/b]", title_align="left", border_style="blue")


def _columns(*widths: int | None) -> Table:
    """Columns of fixed width; the one without takes what is left. What does not fit is cut, never wrapped."""
    table = Table.grid(padding=(0, 1, 0, 0), expand=True)
    for width in widths:
        table.add_column(width=width, ratio=None if width else 1, no_wrap=True, overflow="ellipsis")
    return table


def _heads(*names: str) -> list[Text]:
    return [Text(name, "dim underline") for name in names]


def _lamps(lamps: tuple[bool, bool]) -> list[tuple[str, str]]:
    private, live = lamps
    return [
        ("●" if private else "○", "bold red" if private else "dim"),
        (" private  ", "dim"),
        ("●" if live else "○", "bold green" if live else "dim"),
        (" live", "dim"),
    ]


def _journal(board: Board) -> str:
    waits = (
        f"{board.waiting} records wait for the hub" if board.waiting else "the hub has everything"
    )
    return f"{waits}, {board.journal_bytes / 1e6:.1f} MB on disk"


def _thumb(thumb: Thumb, beside: Sequence[str], nothing: str) -> RenderableType:
    """A picture with its line above, and beside it what is to be said."""
    said = Text("\n\n".join(beside) or nothing, "bold yellow" if beside else "dim")
    row = Table.grid(padding=(0, 2, 0, 0), expand=True)
    row.add_column(width=_THUMB_COLUMNS)
    row.add_column(ratio=1, overflow="fold")
    row.add_row(half_blocks(thumb.grey) if thumb.grey is not None else _NO_PICTURE, said)
    return Group(Text(thumb.line, "italic", no_wrap=True, overflow="ellipsis"), row)


def half_blocks(grey: Grey) -> Text:
    """A small grey picture as text, two points a character."""
    points = (
        grey.reshape(HEIGHT // _POINT, _POINT, WIDTH // _POINT, _POINT)
        .mean(axis=(1, 3))
        .astype(int)
    )
    # A dull evening uses a third of the greys; so few points need them all.
    dark, bright = int(points.min()), int(points.max())
    points = (points - dark) * 255 // max(bright - dark, 64)
    text = Text()
    for upper, lower in zip(points[0::2], points[1::2], strict=True):
        for top, bottom in zip(upper.tolist(), lower.tolist(), strict=True):
            text.append("▀", Style(color=_grey(top), bgcolor=_grey(bottom)))
        text.append("\n")
    text.right_crop(1)
    return text


def _grey(level: int) -> str:
    # 32 steps are more than an eye tells apart here, and keep a picture of the screen small.
    step = min(255, level // 8 * 8 + 4)
    return f"#{step:02x}{step:02x}{step:02x}"


def _happened(said: Sequence[tuple[float, str, str]]) -> RenderableType:
    lines = _columns(5, 6, None)
    for at_s, who, text in said:
        style = _WHO_STYLE.get(who, "")
        lines.add_row(Text(f"{at_s:3.0f} s", "dim"), Text(who, style), text)
    return Panel(lines, title="what happens", title_align="left", border_style="dim")


def _foot(title: Title, waiting: str) -> RenderableType:
    foot = Table.grid(padding=(0, 2, 0, 0), expand=True)
    foot.add_column(width=30)
    foot.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    bar = ProgressBar(total=title.of, completed=title.number - 0.5, width=30, complete_style="cyan")
    foot.add_row(bar, Text(f"waiting until {waiting}" if waiting else "", "dim"))
    return foot
