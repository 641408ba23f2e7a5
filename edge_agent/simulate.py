"""Fakes that behave like the parts of a box on their worst day: for tests, and for the demo's street.

Promise: real code runs on them unchanged (pins through gpiozero, as on a box).
Not its job: deciding what a test or the demo plays.
"""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from gpiozero.pins.mock import MockFactory, MockPin

from edge_agent.core.settings import Privacy, Run, SwitchKind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gpiozero import Factory


@dataclass
class SimulatedClock:
    """Time that only its owner moves. Unlike a real one it can stand still, run on by years, and lose its trust."""

    at: float = 1000.0  # seconds since boot
    wall_s: float = 1_700_000_000.0
    is_trusted: bool = False
    boot: str = "boot"

    def now(self) -> float:
        """Seconds since boot."""
        return self.at

    def wall(self) -> float:
        """Unix time."""
        return self.wall_s

    def trusted(self) -> bool:
        """Whether anything vouches for it."""
        return self.is_trusted


_BOUNCES: Final = 3  # a mushroom button's contact settles within a few ms; each bounce is two edges


class _WiredPin(MockPin):  # type: ignore[misc]  # gpiozero has no types
    """A pin that may have a contact to ground and a pull-up soldered to it, which win over its own pull. It can also fail."""

    grounded: bool | None = None  # None = nothing is soldered to it
    trouble: Exception | None = None

    def ground(self, *, closed: bool) -> None:
        self.grounded = closed
        if self.function == "input":
            self._settle()

    def _settle(self) -> None:
        if self.grounded is True:
            self.drive_low()
        elif self.grounded is False:
            self.drive_high()

    def _set_pull(self, value: str) -> None:
        super()._set_pull(value)
        self._settle()

    def close(self) -> None:
        # lgpio finds a pin taken when it is first claimed; giving up a claim that never was costs nothing.
        trouble, self.trouble = self.trouble, None
        super().close()
        self.trouble = trouble

    def _set_function(self, value: str) -> None:
        if self.trouble is not None:
            raise self.trouble
        super()._set_function(value)

    def _get_state(self) -> bool:
        if self.trouble is not None:
            raise self.trouble
        return bool(super()._get_state())

    def _set_state(self, value: bool) -> None:  # noqa: FBT001 - gpiozero's signature
        if self.trouble is not None:
            raise self.trouble
        super()._set_state(value)


class Street:
    """The switch, loops and lamps of one box, on gpiozero's mock pins. Starts with the switch live and all loops closed.

    Its methods run the edges in the caller's thread, as gpiozero's mock does; give `factory` to `Sensors`.
    """

    def __init__(self, privacy: Privacy, runs: tuple[Run, ...] = ()) -> None:
        self.factory: Factory = MockFactory(pin_class=_WiredPin)
        self._privacy = privacy
        self._loop_pins = {run.camera: run.loop_pin for run in runs if run.loop_pin is not None}
        self._is_pressed = False
        self._cut: set[str] = set()
        for pin in self._loop_pins.values():
            self._pin(pin).ground(closed=True)
        self._contacts()

    # -- the switch --

    def press(self) -> None:
        """The hand pushes: NC opens, both are open for the travel, NO closes; both bounce."""
        if not self._is_pressed:
            self._is_pressed = True
            self._move("nc", closed=False)
            self._move("no", closed=True)

    def release(self) -> None:
        """The hand turns the knob back."""
        if self._is_pressed:
            self._is_pressed = False
            self._move("no", closed=False)
            self._move("nc", closed=True)

    def cut_switch_wire(self, *wires: str) -> None:
        """Cut "nc", "no" or, with nothing said, both."""
        self._cut |= set(wires or ("nc", "no"))
        self._contacts()

    def mend_switch_wire(self) -> None:
        """All wires of the switch are whole again."""
        self._cut.clear()
        self._contacts()

    def short_switch_wire(self, wire: str) -> None:
        """Crush "nc" or "no" to ground until the next press or release moves it."""
        self._contact(wire).ground(closed=True)

    # -- loops --

    def open_loop(self, camera: str) -> None:
        """Cut this camera's run, or pull its plug."""
        self._pin(self._loop_pins[camera]).ground(closed=False)

    def close_loop(self, camera: str) -> None:
        """The run is whole again."""
        self._pin(self._loop_pins[camera]).ground(closed=True)

    # -- lamps and troubles --

    def lamps(self) -> tuple[bool, bool]:
        """Whether the private and the live lamp are lit."""
        private, live = (
            number is not None
            and self._pin(number).function == "output"
            and bool(self._pin(number)._state)  # noqa: SLF001 - the lamp's eye, not the library's
            for number in (self._privacy.lamp_private_pin, self._privacy.lamp_live_pin)
        )
        return private, live

    def break_pin(self, number: int, trouble: Exception) -> None:
        """From now on each access to this pin raises *trouble*, as when another program took it."""
        self._pin(number).trouble = trouble

    def mend_pin(self, number: int) -> None:
        """The pin works again."""
        self._pin(number).trouble = None

    def _pin(self, number: int) -> _WiredPin:
        pin = self.factory.pin(number)
        assert isinstance(pin, _WiredPin)  # noqa: S101 - for the type checker; the factory makes no others
        return pin

    def _contact(self, wire: str) -> _WiredPin:
        return self._pin({"nc": self._privacy.nc_pin, "no": self._privacy.no_pin}[wire])

    def _contacts(self) -> None:
        if self._privacy.switch is SwitchKind.NONE:
            return
        for wire, closed in (("nc", not self._is_pressed), ("no", self._is_pressed)):
            self._contact(wire).ground(closed=closed and wire not in self._cut)

    def _move(self, wire: str, *, closed: bool) -> None:
        if self._privacy.switch is SwitchKind.NONE or wire in self._cut:
            return
        for _ in range(_BOUNCES):
            self._contact(wire).ground(closed=closed)
            self._contact(wire).ground(closed=not closed)
        self._contact(wire).ground(closed=closed)


# ---- the card ----


class Fault(Enum):
    """What happens to a commit."""

    NONE = "none"
    LOST = "fails, and nothing of it is on disk"
    LANDED = "fails, and yet it is on disk: the error came after the write"
    DEAD = "the process is gone before it"
    DEAD_AFTER = "the process is gone right after it, before anyone was told"


class Disk:
    """A card on its worst day, beneath a real SQLite: commits fail before or after they landed, hang, or never return.

    `connect` is what a `Spool` takes as its connector; everything but the fault is real. `times` commits meet the fault, then
    all is well; `broken`: nothing can be opened.
    """

    def __init__(self) -> None:
        self.fault = Fault.NONE
        self.times = 0
        self.broken = False
        self.commits = 0
        self.hardened = 0  # how often the log was brought in and emptied
        self.go = threading.Event()  # cleared: commits hang until it is set
        self.go.set()
        self.hanging = threading.Event()

    def fail(self, fault: Fault, times: int = 1) -> None:
        """The next *times* commits meet *fault*."""
        self.fault, self.times = fault, times

    def connect(self, path: str) -> sqlite3.Connection:
        """A connection to the real file at *path*, on this disk."""
        if self.broken:
            raise _io_error("unable to open database file", "SQLITE_CANTOPEN")
        disk = self

        class Connection(sqlite3.Connection):
            def execute(  # type: ignore[override]  # as wide as the original, which names types of its stub alone
                self, sql: str, *parameters: Sequence[object]
            ) -> sqlite3.Cursor:
                disk.hardened += "wal_checkpoint(TRUNCATE)" in sql
                if sql != "COMMIT":
                    return super().execute(sql, *parameters)
                return disk.commit(super().execute)

        return sqlite3.connect(path, timeout=1.0, isolation_level=None, factory=Connection)

    def commit(self, execute: Callable[[str], sqlite3.Cursor]) -> sqlite3.Cursor:
        """One commit."""
        if not self.go.is_set():
            self.hanging.set()
            self.go.wait()
        fault = self.fault if self.times > 0 else Fault.NONE
        self.times -= 1
        if fault is Fault.LOST:
            execute("ROLLBACK")
            raise _io_error("disk I/O error", "SQLITE_IOERR_FSYNC")
        if fault is Fault.DEAD:
            raise SystemExit  # ends the thread without a word, as a kill would
        self.commits += 1
        done = execute("COMMIT")
        if fault is Fault.LANDED:
            raise _io_error("disk I/O error", "SQLITE_IOERR_FSYNC")
        if fault is Fault.DEAD_AFTER:
            raise SystemExit
        return done


def _io_error(text: str, name: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorname = name
    error.sqlite_errorcode = getattr(sqlite3, name)
    return error
