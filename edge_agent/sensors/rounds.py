"""The privacy switch, the closed-or-open loops, the lines, the relay, the lamps and the buzzer: ten rounds a second.

Promises: the first reading that is not "live" presses the shutter before anybody is told; a pin that cannot be opened or
read is None with a reason, never a default, and is tried again; levels are polled, so a lost edge or a hung library thread
costs 0.1 s, not the promise. With no pin driver at all every pin reads None and the box still runs.
The relay and the lamps follow the hand, not the core: once a press came after the number that the core's last word rests on, or
the switch is not live, the power goes and "private" is shown, at once and for as long as the core has said nothing newer.
Each round reads the switch before it does anything else, and drives relay, lamps and buzzer without waiting for any. Only then
is a new press noted for a life of the agent after this one (press_note.py), and only then is anybody told.
Threads: one of our own reads, posts and drives; the input board has another (board.py), so that its pulses delay no
look at the switch; the driver's edge thread only presses the shutter and wakes ours.
Not its job: what a reading means (core/privacy.py, core/cable.py), debouncing, which pattern the lamps show.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from edge_agent.core.messages import Died, Event, Lamp, LoopRead, Sound, SwitchRead
from edge_agent.core.settings import DigitalLoop, Electrics, Privacy, Run
from edge_agent.sensors.board import Board
from edge_agent.sensors.buzzer import Buzzer
from edge_agent.sensors.driver import edges_alive
from edge_agent.sensors.lamps import TEST_S, lit, lit_in_test
from edge_agent.sensors.lines import Lines
from edge_agent.sensors.pins import Input, Output
from edge_agent.sensors.relay import CameraPower
from edge_agent.sensors.switch import Switch

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpiozero import Factory

    from edge_agent.clock import Clock
    from edge_agent.press_note import PressNote
    from edge_agent.shutter import Shutter

POLL_S: Final = 0.1
SWITCH_REPEAT_S: Final = 1.0  # the core takes 3 s of silence for "unreadable"
LOOP_REPEAT_S: Final = 5.0
# A bouncing contact or a wire beside a motor makes thousands of edges a second; each presses the shutter, but rounds are
# at least this far apart, so that they cannot eat the processor.
_ROUND_MIN_S: Final = 0.01


class Sensors:
    """Reads and drives all that is wired to the box. Entering starts its threads; leaving closes the shutter, darkens the lamps, lets the relay go.

    `show`, `beep`, `power` and `progress` may be called from any thread and never block.
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
        note: PressNote | None = None,
        edges_alive: Callable[[], bool] = edges_alive,
    ) -> None:
        """*note*: where a press is noted until the card has it; None = nowhere."""
        self._shutter = shutter
        self._post = post
        self._clock = clock
        self._note = note
        self._edges_alive = edges_alive
        self._switch = Switch(privacy, factory, why_no_factory, shutter=shutter, wake=self._wake_up)
        self._power = CameraPower(privacy, factory, shutter=shutter)
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
        self._lamp: tuple[Lamp, int | None] = (Lamp.PRIVATE, None)
        # Not where the agent alone was started again: whoever stands before it would see a pressed switch say "live".
        tested = note is not None and note.restarted
        self._lamps_tested_at = clock.now() + (0.0 if tested else TEST_S)
        self._buzzer = Buzzer(privacy.buzzer_pin, factory)
        self._told_switch: tuple[SwitchRead, float] | None = None
        self._told_loops: dict[str, tuple[LoopRead, float]] = {}
        self._progress_at = clock.now()
        self._ended = False
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

    def show(self, lamp: Lamp, *, press: int) -> None:
        """Show this until told otherwise, or until a press comes after number *press*, or the switch is not live: "private" then."""
        self._lamp = (lamp, press)
        self._wake.set()

    def beep(self, sound: Sound) -> None:
        """Say this once."""
        self._buzzer.say(sound, press=self._shutter.presses)
        self._wake.set()

    def power(self, *, on: bool, press: int) -> None:
        """Let the cameras have power, void once a press comes after number *press*, or take it away."""
        self._power.leave(on=on, press=press)
        self._wake.set()

    def progress(self) -> float:
        """When the last round and the last reading of the board had both ended, in seconds since boot."""
        return min(self._progress_at, self._board.progress())

    # -- any thread, the driver's edge thread among them --

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
            self._end()
            self._post(Died(part="sensors", detail=f"{type(error).__name__}: {error}"))
        finally:
            self._end()
            self._close()

    def _end(self) -> None:
        """Nobody looks at the switch from here on. A press that no round saw is noted; what is pressed here is no hand's."""
        if not self._ended:
            self._note_press(None)
        self._ended = True
        self._shutter.press()

    def _close(self) -> None:
        self._switch.close()
        self._power.close()
        self._lines.close()
        self._buzzer.close()
        for loop in self._loops.values():
            loop.close()
        for lamp in self._lamps:
            lamp.close()

    def _round(self) -> float:
        """Read all, tell what changed, drive what is driven; returns how long the next round may wait."""
        at = self._clock.now()
        read = self._switch.look(at)
        waits_s = [POLL_S, self._power.round(at, contacts_live=self._switch.contacts_live)]
        waits_s.append(self._set_lamps(at))
        self._note_press(at if self._switch.live else None)
        self._tell_switch(read, at)
        for camera, loop in self._loops.items():
            self._read_loop(camera, loop, at)
        self._lines.round(at)
        waits_s.append(self._buzzer.round(at, press=self._shutter.presses))
        if not self._edges_alive():
            # The polling above still sees a press within 0.1 s, but only a new process has a new edge thread.
            self._end()
            self._post(Died(part="gpio edges", detail="the pin library's edge thread has ended"))
            self._stop.set()
        self._progress_at = self._clock.now()
        return max(_ROUND_MIN_S, min(waits_s))

    def _note_press(self, live_at: float | None) -> None:
        if self._note is not None:
            self._note.look(presses=self._shutter.presses, live_at=live_at)

    def _tell_switch(self, read: SwitchRead, at: float) -> None:
        whys = (self._power.why, self._buzzer.why, *(lamp.why for lamp in self._lamps))
        event = replace(read, undriven="; ".join(why for why in whys if why), read_at=at)
        if (
            self._told_switch is None
            or self._told_switch[0] != event
            or at - self._told_switch[1] >= SWITCH_REPEAT_S
        ):
            self._told_switch = (event, at)
            self._post(event)

    def _read_loop(self, camera: str, loop: Input, at: float) -> None:
        event = LoopRead(camera=camera, closed=loop.on(at), why=loop.why)
        told = self._told_loops.get(camera)
        if told is None or told[0] != event or at - told[1] >= LOOP_REPEAT_S:
            self._told_loops[camera] = (event, at)
            self._post(event)

    def _set_lamps(self, at: float) -> float:
        """What is true now, even if the core is busy: the shutter is closed already. For how many seconds that stays so."""
        lamp, press = self._lamp
        if lamp is not Lamp.WIRING_FAULT and not (
            self._switch.live and press == self._shutter.presses
        ):
            lamp = Lamp.PRIVATE
        left_s = self._lamps_tested_at - at
        private_lit, live_lit, stays_s = (
            lit_in_test(TEST_S - left_s) if left_s > 0 else lit(lamp, at)
        )
        self._lamps[0].drive(on=private_lit, at=at)
        self._lamps[1].drive(on=live_lit, at=at)
        return stays_s
