"""The privacy switch, the closed-or-open loops, the lines and the two lamps: ten rounds a second.

Promises: the first reading that is not "live" presses the shutter before anybody is told; a pin that cannot be opened or
read is None with a reason, never a default, and is tried again; levels are polled, so a lost edge or a hung library thread
costs 0.1 s, not the promise. With no pin driver at all every pin reads None and the box still runs.
Threads: one of our own reads, posts and drives the lamps; the input board has another (board.py), so that its pulses delay no
look at the switch; the driver's edge thread only presses the shutter and wakes ours.
Not its job: what a reading means (core/privacy.py, core/cable.py), debouncing, which pattern the lamps show.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from edge_agent.core.messages import Died, Event, Lamp, LoopRead, SwitchRead
from edge_agent.core.privacy import is_live
from edge_agent.core.settings import DigitalLoop, Electrics, Privacy, Run, SwitchKind
from edge_agent.sensors.board import Board
from edge_agent.sensors.driver import edges_alive
from edge_agent.sensors.lamps import lit
from edge_agent.sensors.lines import Lines
from edge_agent.sensors.pins import Input, Output

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpiozero import Factory

    from edge_agent.clock import Clock
    from edge_agent.shutter import Shutter

POLL_S: Final = 0.1
SWITCH_REPEAT_S: Final = 1.0  # the core takes 3 s of silence for "unreadable"
LOOP_REPEAT_S: Final = 5.0
# A bouncing contact or a wire beside a motor makes thousands of edges a second; each presses the shutter, but rounds are
# at least this far apart, so that they cannot eat the processor.
_ROUND_MIN_S: Final = 0.01


class Sensors:
    """Reads all that is wired to the box, drives the lamps. Entering starts its threads; leaving closes the shutter and darkens the lamps.

    `show` and `progress` may be called from any thread and never block.
    """

    def __init__(
        self,
        privacy: Privacy,
        runs: tuple[Run, ...],
        electrics: Electrics,
        *,
        factory: Factory | None,
        why_no_factory: str,
        shutter: Shutter,
        post: Callable[[Event], None],
        clock: Clock,
        edges_alive: Callable[[], bool] = edges_alive,
    ) -> None:
        self._shutter = shutter
        self._post = post
        self._clock = clock
        self._edges_alive = edges_alive
        self._switch: tuple[Input, Input] | None = None
        if privacy.switch is not SwitchKind.NONE:
            self._switch = (
                Input(privacy.nc_pin, factory, why_no_factory, woken=self._pressed),
                Input(privacy.no_pin, factory, why_no_factory, woken=self._pressed),
            )
        self._loops = {
            run.camera: Input(run.loop.pin, factory, why_no_factory, woken=self._wake_up)
            for run in runs
            if isinstance(run.loop, DigitalLoop)
        }
        self._lines = Lines(
            runs, electrics, factory=factory, why_no_factory=why_no_factory, post=post
        )
        self._board = Board(
            runs, electrics, factory=factory, why_no_factory=why_no_factory, post=post, clock=clock
        )
        self._lamps = (
            Output(privacy.lamp_private_pin, factory),
            Output(privacy.lamp_live_pin, factory),
        )
        self._lamp = Lamp.PRIVATE
        self._was_live = True  # so that the first reading that is not live presses
        self._told_switch: tuple[SwitchRead, float] | None = None
        self._told_loops: dict[str, tuple[LoopRead, float]] = {}
        self._progress_at = clock.now()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sensors", daemon=True)

    def __enter__(self) -> Sensors:
        self._thread.start()
        self._board.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=5)
        self._board.__exit__(None, None, None)

    def show(self, lamp: Lamp) -> None:
        """Show this pattern until told otherwise; while the switch is not live, "private" wins over it."""
        self._lamp = lamp
        self._wake.set()

    def progress(self) -> float:
        """When the last round and the last reading of the board had both ended, in seconds since boot."""
        return min(self._progress_at, self._board.progress())

    # -- the driver's edge thread --

    def _pressed(self) -> None:
        """An edge of either contact, up or down: never a moment to send in. Must not raise: that would end the thread."""
        self._shutter.press()
        self._wake.set()

    def _wake_up(self) -> None:
        self._wake.set()

    # -- our thread --

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                if self._wake.wait(self._round()):
                    self._stop.wait(_ROUND_MIN_S)
                # Cleared before reading: an edge from here on is either seen by the reading or wakes the next round.
                self._wake.clear()
        except Exception as error:  # noqa: BLE001 - the top of a thread: nothing may end it in silence
            self._shutter.press()
            self._post(Died(part="sensors", detail=f"{type(error).__name__}: {error}"))
        finally:
            self._shutter.press()  # nobody looks at the switch from here on
            for part in (*(self._switch or ()), *self._loops.values(), self._lines, *self._lamps):
                part.close()

    def _round(self) -> float:
        """Read all, tell what changed, set the lamps; returns how long the next round may wait."""
        at = self._clock.now()
        live = self._read_switch(at)
        for camera, loop in self._loops.items():
            self._read_loop(camera, loop, at)
        self._lines.round(at)
        stays_s = self._set_lamps(at, live=live)
        if not self._edges_alive():
            # The polling above still sees a press within 0.1 s, but only a new process has a new edge thread.
            self._shutter.press()
            self._post(Died(part="gpio edges", detail="the pin library's edge thread has ended"))
            self._stop.set()
        self._progress_at = self._clock.now()
        return min(POLL_S, stays_s)

    def _read_switch(self, at: float) -> bool:
        # The count is taken before the levels: a press in between makes the reading void, not the press forgotten.
        press = self._shutter.presses
        nc_closed: bool | None = True
        no_closed: bool | None = False
        why = ""
        if self._switch is not None:
            nc, no = self._switch
            nc_closed, no_closed = nc.on(at), no.on(at)
            why = "; ".join(part.why for part in (nc, no) if part.why)
        live = is_live(nc_closed, no_closed)
        if self._was_live and not live:
            press = self._shutter.press()
        self._was_live = live
        why = "; ".join(text for text in (why, *(lamp.why for lamp in self._lamps)) if text)
        event = SwitchRead(nc_closed=nc_closed, no_closed=no_closed, press=press, why=why)
        if (
            self._told_switch is None
            or self._told_switch[0] != event
            or at - self._told_switch[1] >= SWITCH_REPEAT_S
        ):
            self._told_switch = (event, at)
            self._post(event)
        return live

    def _read_loop(self, camera: str, loop: Input, at: float) -> None:
        event = LoopRead(camera=camera, closed=loop.on(at), why=loop.why)
        told = self._told_loops.get(camera)
        if told is None or told[0] != event or at - told[1] >= LOOP_REPEAT_S:
            self._told_loops[camera] = (event, at)
            self._post(event)

    def _set_lamps(self, at: float, *, live: bool) -> float:
        lamp = self._lamp
        if not live and lamp is not Lamp.WIRING_FAULT:
            lamp = (
                Lamp.PRIVATE
            )  # true at once, even if the core is busy: the shutter is closed already
        private_lit, live_lit, stays_s = lit(lamp, at)
        self._lamps[0].show(lit_now=private_lit, at=at)
        self._lamps[1].show(lit_now=live_lit, at=at)
        return stays_s
