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
_LINES: Final = 6
_THUMB_COLUMNS: Final = 32  # 32 x 24 points, as each character holds two of them, one above the other
_POINT: Final = WIDTH // _THUMB_COLUMNS

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
    journal_records: int
    journal_bytes: int
    oldest_s: float | None
    cameras: tuple[CameraNow, ...]
    hub_online: str
    hub_records: int
    hub_pictures: int
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
            return Panel("Setting up a street, a box and a hub on this machine ...", title="edge-agent demo")
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
    cameras = Table.grid(padding=(0, 2, 0, 0))
    for style in ("bold", "", "", "dim"):
        cameras.add_column(style=style, no_wrap=True, overflow="ellipsis")
    for camera in board.cameras:
        gate = Text(f"{camera.gate.upper():7}", _GATE_STYLE.get(camera.gate, ""))
        cameras.add_row(camera.id, gate, camera.why, camera.cable)
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(style="dim", width=8)
    facts.add_column(no_wrap=True, overflow="ellipsis")
    facts.add_row("switch", Text.assemble(board.switch, "   ", *_lamps(board.lamps)))
    facts.add_row("journal", _journal(board))
    facts.add_row("link", board.link)
    body = Group(cameras, Text(), facts, Text(), _thumb(board.taken))
    return Panel(body, title="[b]the box, beside the recorder[/b]", title_align="left")


def _hub(board: Board) -> RenderableType:
    cameras = Table.grid(padding=(0, 2, 0, 0))
    for style in ("bold", "", "dim"):
        cameras.add_column(style=style, no_wrap=True, overflow="ellipsis")
    for camera in board.cameras:
        count = f"{camera.at_hub:3d} pictures"
        cameras.add_row(camera.id, Text(count, "green" if camera.gate == "open" else ""), camera.notice)
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(style="dim", width=8)
    facts.add_column(no_wrap=True, overflow="ellipsis")
    style = "green" if board.hub_online == "online" else "yellow"
    facts.add_row("box", Text(board.hub_online, style))
    facts.add_row("records", f"{board.hub_records}, and {board.hub_pictures} pictures")
    facts.add_row("orders", Text("\n".join(board.work_orders[-1:]) or "no work to do", "bold" if board.work_orders else "dim"))
    body = Group(cameras, Text(), facts, Text(), _thumb(board.received))
    return Panel(body, title="[b]the hub, at the city[/b]", title_align="left", border_style="blue")


def _lamps(lamps: tuple[bool, bool]) -> list[tuple[str, str]]:
    private, live = lamps
    return [
        ("●" if private else "○", "bold red" if private else "dim"),
        (" private  ", "dim"),
        ("●" if live else "○", "bold green" if live else "dim"),
        (" live", "dim"),
    ]


def _journal(board: Board) -> str:
    if not board.journal_records:
        return "empty: the hub has everything"
    oldest = "" if board.oldest_s is None else f", the oldest {board.oldest_s:.0f} s old"
    return f"{board.journal_records} wait{oldest}"


def _thumb(thumb: Thumb) -> RenderableType:
    head = Text(thumb.line, "dim italic")
    return Group(head, half_blocks(thumb.grey)) if thumb.grey is not None else head


def half_blocks(grey: Grey) -> Text:
    """A small grey picture as text, two points a character."""
    points = grey.reshape(HEIGHT // _POINT, _POINT, WIDTH // _POINT, _POINT).mean(axis=(1, 3)).astype(int)
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
    lines = Table.grid(padding=(0, 1, 0, 0))
    lines.add_column(style="dim", justify="right", width=5)
    lines.add_column(width=6)
    lines.add_column(no_wrap=True, overflow="ellipsis")
    for at_s, who, text in said:
        lines.add_row(f"{at_s:.0f} s", Text(who, _WHO_STYLE.get(who, "")), text)
    return Panel(lines, title="what happens", title_align="left", border_style="dim")


def _foot(title: Title, waiting: str) -> RenderableType:
    foot = Table.grid(padding=(0, 2, 0, 0), expand=True)
    foot.add_column(width=30)
    foot.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    bar = ProgressBar(total=title.of, completed=title.number - 1, width=30)
    foot.add_row(bar, Text(f"waiting until {waiting}" if waiting else "", "dim"))
    return foot
