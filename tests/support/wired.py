"""A box's input board in simulated time: the product's own board reads the simulated electrics, the core's loops take its word.

Nothing is waited for: a pause of the board moves the clock, and what was planned for that moment happens in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from edge_agent.core.cable import Baseline, Loop, LoopView, Sample, Step, commission
from edge_agent.core.messages import BaselineRead, Event, LoopMeasured
from edge_agent.core.settings import Electrics, Privacy, Run, SwitchKind
from edge_agent.sensors import Board
from edge_agent.sensors.board import PERIOD_S
from edge_agent.simulate import SimulatedClock, Street


@dataclass
class Wired:
    """*bit_by_bit* false: whole words through the port, where no bits need to be seen."""

    runs: Sequence[Run]
    electrics: Electrics = field(default_factory=Electrics)
    bit_by_bit: bool = True
    clock: SimulatedClock = field(default_factory=SimulatedClock)

    def __post_init__(self) -> None:
        self.street = Street(
            Privacy(switch=SwitchKind.NONE),
            tuple(self.runs),
            self.electrics,
            bit_by_bit=self.bit_by_bit,
        )
        self.street.board.now = self.clock.now
        self.loops = {run.camera: Loop(run, at=self.clock.at) for run in self.runs}
        self.baselines: dict[str, Baseline] = {}
        self.told: list[tuple[float, Event]] = []
        self._plans: list[tuple[float, Callable[[], None]]] = []
        self._next_at = self.clock.at
        self.board = Board(
            tuple(self.runs),
            self.electrics,
            factory=self.street.factory,
            why_no_factory="",
            post=self._post,
            clock=self.clock,
            pause=self._pause,
        )

    # -- time --

    def plan(self, at: float, action: Callable[[], None]) -> None:
        """Do *action* once the clock has passed *at*, in the middle of a reading if need be."""
        self._plans.append((at, action))

    def read(self, count: int = 1) -> None:
        """So many readings, one each period."""
        for _ in range(count):
            self._pause(max(0.0, self._next_at - self.clock.at))
            self._next_at = self.clock.at + PERIOD_S
            self.board.read()

    def _pause(self, seconds: float) -> None:
        until = self.clock.at + seconds
        due = sorted((plan for plan in self._plans if plan[0] <= until), key=lambda plan: plan[0])
        for plan in due:
            self.clock.at = max(self.clock.at, plan[0])
            self._plans.remove(plan)
            plan[1]()
        self.clock.at = until

    def _post(self, event: Event) -> None:
        self.told.append((self.clock.at, event))
        if isinstance(event, LoopMeasured):
            self.loops[event.camera].read(event, at=self.clock.at)

    # -- the technician --

    def commission(self, camera: str) -> Baseline:
        """The three readings, through the board, with the run's length as typed; the run is whole afterwards."""
        run = next(run for run in self.runs if run.camera == camera)
        pair = self.street.pair(camera)
        samples = {}
        for step in Step:
            pair.short_at_m = 0.0 if step is Step.ZERO else None
            pair.plug_at_m = pair.length_m if step is Step.BASE else 0.0
            self.read()
            measured = self.measured(camera)
            samples[step] = Sample(ohm=measured.ohm, spread_ohm=measured.spread_ohm)
        baseline = commission(
            run,
            samples,
            length_m=run.length_m,
            bits=self.electrics.adc_bits,
            wall_s=self.clock.wall(),
            trusted=False,
            owner="bench",
        )
        assert isinstance(baseline, Baseline), baseline
        self.baselines[camera] = baseline
        self.loops[camera].commissioned(
            BaselineRead(camera=camera, baseline=baseline), at=self.clock.at
        )
        return baseline

    def restart(self, camera: str) -> None:
        """The agent was started anew: its baseline is read from disk, all else is forgotten."""
        run = self.loops[camera].run
        self.loops[camera] = Loop(run, at=self.clock.at, baseline=self.baselines[camera])

    # -- what it says --

    def measured(self, camera: str) -> LoopMeasured:
        """The last reading."""
        return next(
            event
            for _, event in reversed(self.told)
            if isinstance(event, LoopMeasured) and event.camera == camera
        )

    def view(self, camera: str) -> LoopView:
        """The loop's state now."""
        return self.loops[camera].view(at=self.clock.at)
