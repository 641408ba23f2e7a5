"""What a check of the doctor is: a question with a name, asked of one box, and its answer.

Promises: an answer is ok, a warning or a fault; it always says what was seen, and, where something is to be done, what, in
Indonesian and English. A check that breaks or hangs is a fault of its own, never the end of the doctor.
Not its job: which checks there are (the modules beside this one), how they are shown (command.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.clock import Clock
from edge_agent.core.settings import Settings
from edge_agent.core.words import Sentence

if TYPE_CHECKING:
    from gpiozero import Factory


class State(Enum):
    """How it stands, from good to bad."""

    OK = "ok"
    WARNING = "warning"  # works today; somebody should look
    FAULT = "fault"  # something the box is for does not work


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One answer. *about*: the camera or run it speaks of; *remedy* is there unless the state is ok."""

    key: str  # "gpio.label": stable, for programs and the bench
    state: State
    seen: str  # what was seen, in English, with figures and units; never a secret
    about: str | None = None
    remedy: Sentence | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """What could be learnt of the service beside us. While it runs, pins, the SPI port and the cameras' sessions are its own."""

    running: bool = False  # also while systemd is about to start it: then nothing is claimed either
    status: Mapping[str, object] | None = None  # its own word (status.py); None: it gives none
    why_silent: str = ""  # why it gives none


def no_program(command: tuple[str, ...]) -> str | None:
    """Where no program of this machine may be asked, as for a copy of a box."""
    del command
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """The box under examination. Folders stand in for / so that a support desk, or a test, can examine a copy."""

    settings: (
        Settings | None
    )  # None: the configuration cannot be read; checks that need it say nothing
    config_file: Path
    clock: Clock
    root: Path = Path("/")  # /proc, /sys, /dev, /boot/firmware, /etc are looked for below it
    lamps: bool = False  # light the lamps, one after the other, while somebody looks
    within_s: float = 4.5  # all together, from `began_at` to the last answer
    began_at: float | None = (
        None  # boot seconds: the command's own start; None: when the checks are asked
    )
    ends_at: float | None = None  # set by run.py; None: a check that is asked alone
    # Filled in by run.py before any check begins, so that all checks speak of the same moment.
    agent: Agent = field(default_factory=Agent)
    # The pins of this box, opened once for all checks; None and why: there are none, or the agent has them.
    factory: Factory | None = None
    why_no_factory: str = "the pins were not opened"
    # Who held each pin of the configuration before we touched any, as the kernel keeps it: {BCM number: name}.
    owners: Mapping[int, str] = field(default_factory=dict)
    # Runs a program of the box (systemctl, journalctl) and gives what it printed; None: not there, failed, or too slow.
    program: Callable[[tuple[str, ...]], str | None] = no_program

    def left_s(self) -> float:
        """So long a check may still take."""
        return self.within_s if self.ends_at is None else max(0.0, self.ends_at - self.clock.now())

    def below(self, path: str) -> Path:
        """An absolute path of the box, below `root`."""
        return self.root / path.lstrip("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One question. *ask* may give several results (one for each camera), or none where it does not apply."""

    key: str
    group: str  # "board", "switch", "cameras", "journal", "clock", "hub", "files", "versions"
    ask: Callable[[Patient], list[Result]]
    also: tuple[str, ...] = ()  # further keys that its results may bear
    slow: bool = False  # loads so much that not to end in time says more of the board than of what is looked at


def well(key: str, seen: str, *, about: str | None = None) -> Result:
    """All is well there."""
    return Result(key=key, state=State.OK, seen=seen, about=about)


def warning(key: str, seen: str, remedy: Sentence, *, about: str | None = None) -> Result:
    """It works today; somebody should look."""
    return Result(key=key, state=State.WARNING, seen=seen, remedy=remedy, about=about)


def fault(key: str, seen: str, remedy: Sentence, *, about: str | None = None) -> Result:
    """Something the box is for does not work."""
    return Result(key=key, state=State.FAULT, seen=seen, remedy=remedy, about=about)


def text_of(path: Path) -> str | None:
    """A small file's text without the blanks around it (and the zero bytes of a device tree); None: not there, or not to be read."""
    try:
        with path.open("rb") as file:
            return file.read(65_536).decode("utf-8", "replace").strip("\0 \n\t")
    except (OSError, ValueError):
        return None
