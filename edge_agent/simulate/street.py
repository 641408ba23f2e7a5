"""What is wired to one box: switch, relay, loops, lines, lamps, buzzer, input board, on gpiozero's mock pins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gpiozero import SPI
from gpiozero.pins.mock import MockFactory, MockPin

from edge_agent.clock import SystemClock
from edge_agent.core.messages import Line
from edge_agent.core.settings import (
    DigitalLoop,
    Electrics,
    MeasuredLoop,
    Privacy,
    Relay,
    Run,
    SwitchKind,
)
from edge_agent.simulate.electrics import (
    CLOCK,
    FROM_CHIP,
    SELECTS,
    TO_CHIP,
    Bus,
    Draw,
    InputBoard,
    McpChip,
    Pair,
)
from edge_agent.simulate.relay import PowerRelay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gpiozero import Factory


_BOUNCES: Final = 3  # a mushroom button's contact settles within a few ms; each bounce is two edges


class _WiredPin(MockPin):  # type: ignore[misc]  # gpiozero has no types
    """A pin that may have a contact to ground and a pull-up soldered to it, which win over its own pull. It can also fail.

    `moves`: what the pin drives is to follow its level. `moved`: what it reads may have moved by itself meanwhile.
    """

    grounded: bool | None = None  # None = nothing is soldered to it
    trouble: Exception | None = None
    moves: Callable[[], None] | None = None
    moved: Callable[[], None] | None = None

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
        if self.moves is not None:
            self.moves()

    def _get_state(self) -> bool:
        if self.trouble is not None:
            raise self.trouble
        if self.moved is not None:
            self.moved()
        return bool(super()._get_state())

    def _set_state(self, value: bool) -> None:  # noqa: FBT001 - gpiozero's signature
        if self.trouble is not None:
            raise self.trouble
        super()._set_state(value)
        if self.moves is not None:
            self.moves()


class _Port(SPI):  # type: ignore[misc]  # gpiozero has no types
    """The box's SPI port with one chip selected: bit by bit over the mock pins, or whole words as the kernel's driver moves them.

    Not gpiozero's own software SPI: that shares its bus between factories, and wants a global default factory.
    """

    def __init__(self, wiring: _Wiring, number: int) -> None:
        self._wiring: _Wiring | None = wiring
        self._number = number
        super().__init__(pin_factory=wiring)
        wiring.reserve_pins(self, CLOCK, TO_CHIP, FROM_CHIP, SELECTS[number])

    def _conflicts_with(self, other: object) -> bool:
        return not isinstance(other, _Port)

    @property
    def closed(self) -> bool:
        return self._wiring is None

    def close(self) -> None:
        wiring, self._wiring = self._wiring, None
        if wiring is not None:
            wiring.release_all(self)
        super().close()

    def transfer(self, data: Sequence[int]) -> list[int]:
        self._check_open()
        wiring = self._wiring
        assert wiring is not None  # noqa: S101 - for the type checker; it is open
        wiring.check_port()
        if not wiring.bit_by_bit:
            chip: McpChip = wiring.chips[self._number]
            return chip.exchange(data)
        clock, to_chip, from_chip, select = (
            wiring.pin(number) for number in (CLOCK, TO_CHIP, FROM_CHIP, SELECTS[self._number])
        )
        select.state = 0
        received = []
        for word in data:
            bits = 0
            for bit in range(7, -1, -1):
                to_chip.state = word >> bit & 1
                clock.state = 1
                bits = bits << 1 | from_chip.state
                clock.state = 0
            received.append(bits)
        select.state = 1
        return received


class _Wiring(MockFactory):  # type: ignore[misc]  # gpiozero has no types
    """The header's pins, with an input board behind its SPI port."""

    def __init__(self, board: InputBoard, *, bit_by_bit: bool) -> None:
        super().__init__(pin_class=_WiredPin)
        self.bit_by_bit = bit_by_bit
        self.owners: dict[int, str] = {}
        self.chips: tuple[McpChip, ...] = ()
        self._board = board

    def solder(self, excitation: int) -> None:
        """Put the input board on its pins; a box without one has them free."""
        transistor = self.pin(excitation)
        transistor.ground(closed=False)  # its own pull-up: off
        self.chips = tuple(
            # The wire's level, whoever drives it and however.
            McpChip(number, self._board, lambda: not transistor._state, self)  # noqa: SLF001
            for number in (0, 1)
        )
        for number, level in ((CLOCK, 0), (TO_CHIP, 0), *((select, 1) for select in SELECTS)):
            self.pin(number).function = "output"
            self.pin(number).state = level

    def owner_of(self, pin: int) -> str:
        """Who holds a pin, as the kernel would tell."""
        return self.owners.get(pin, "")

    def check_port(self) -> None:
        """Raises as lgpio does where there is no such device."""
        if self._board.bus is Bus.GONE or not self.chips:
            msg = "can not open SPI device"
            raise RuntimeError(msg)

    def spi(self, **arguments: object) -> SPI:
        """The port, as hardware SPI is opened: by its number or by its pins."""
        self.check_port()
        pins, _ = self._extract_spi_args(**arguments)
        return _Port(self, SELECTS.index(int(pins["select_pin"].removeprefix("GPIO"))))


# Which level means "on", for each line that has a pin of its own.
_LOW_IS_ON: Final = {
    Line.VIDEO: False,
    Line.NVR_ALARM: True,
    Line.POWER: True,
    Line.MAINS_LOST: False,
    Line.SHUTDOWN: False,
    Line.SERVICE: True,
}


class Street:
    """Switch, relay, runs, lines, lamps and buzzer of one box, on gpiozero's mock pins. Starts with the switch live and all whole.

    Its methods run the edges in the caller's thread, as gpiozero's mock does; give `factory` to `Sensors`. `board`, `pair`
    and `relay` are the electrics themselves, to be spoilt at will (say `settle` afterwards, where a relay was). *bit_by_bit*
    false: the port moves whole words, as the kernel's driver does, at a fraction of the cost. *now*: seconds, for what time
    alone moves; left out, the box's own.
    """

    def __init__(
        self,
        privacy: Privacy,
        runs: tuple[Run, ...] = (),
        electrics: Electrics | None = None,
        *,
        bit_by_bit: bool = True,
        now: Callable[[], float] | None = None,
    ) -> None:
        electrics = electrics or Electrics()
        self.board = InputBoard(bits=electrics.adc_bits, door_channel=electrics.door_channel)
        self._wiring = _Wiring(self.board, bit_by_bit=bit_by_bit)
        self.factory: Factory = self._wiring
        self._privacy = privacy
        self._runs = {run.camera: run for run in runs}
        self._is_pressed = False
        self._swapped = False
        self._cut: set[str] = set()
        self._shorted: set[str] = set()
        self.relay = PowerRelay(mode=privacy.relay, now=now or SystemClock().now)
        self._powers = self.relay.powers
        # What the feedback reads for ever; None = what the relay says.
        self._feedback_wire: bool | None = None
        self._pairs: dict[str, Pair] = {}
        self._draws: dict[str, Draw] = {}
        for run in runs:
            self._lay(run)
        if self.board.pairs or self.board.draws or electrics.door_channel is not None:
            self._wiring.solder(electrics.excitation_pin)
        self._line_pins = dict(_line_pins(runs, electrics))
        for line, camera in self._line_pins:
            self.set_line(line, camera, on=line in {Line.VIDEO, Line.POWER})
        self._contacts()
        self._wire_relay()

    def _lay(self, run: Run) -> None:
        match run.loop:
            case DigitalLoop(pin=pin):
                self._pin(pin).ground(closed=True)
            case MeasuredLoop() as loop:
                self._pairs[run.camera] = self.board.pairs[loop.channel] = Pair(
                    length_m=run.length_m,
                    rref_ohm=loop.rref_ohm,
                    eol_ohm=loop.eol_ohm,
                    tamper_ohm=loop.tamper_ohm,
                )
            case None:
                pass
        self._draws[run.camera] = Draw()
        if run.current_channel is not None:
            self.board.draws[run.current_channel] = self._draws[run.camera]

    # -- the switch --

    def press(self) -> None:
        """The hand pushes: NC opens, both are open for the travel, NO closes; both bounce. A button is held until `release`."""
        if not self._is_pressed:
            self._is_pressed = True
            self._move("nc", closed=False)
            self._block_3()
            self._move("no", closed=True)

    def release(self) -> None:
        """The hand turns the knob back, or lets go of the button."""
        if self._is_pressed:
            self._is_pressed = False
            self._move("no", closed=False)
            self._block_3()
            self._move("nc", closed=True)

    def chatter(self, times: int) -> None:
        """Neither pressed nor released, but so many bounces of the contact that is closed: a blow, a loose plug."""
        wire = "no" if self._is_pressed else "nc"
        for _ in range(times):
            self._put(wire, closed=False)
            self._put(wire, closed=True)

    def cut_switch_wire(self, *wires: str) -> None:
        """Cut "nc", "no" or, with nothing said, both."""
        self._cut |= set(wires or ("nc", "no"))
        self._contacts()

    def short_switch_wire(self, *wires: str) -> None:
        """Crush the pair of "nc", "no" or, with nothing said, both to ground; a welded contact or a grounded pin reads alike."""
        self._shorted |= set(wires or ("nc", "no"))
        self._contacts()

    def mend_switch_wire(self) -> None:
        """All wires of the switch are whole again."""
        self._cut.clear()
        self._shorted.clear()
        self._contacts()

    def swap_switch_wires(self) -> None:
        """The installer's mistake: NC hangs where NO belongs. The third block has a plug of its own."""
        self._swapped = not self._swapped
        self._contacts()

    # -- the relay --

    def settle(self) -> None:
        """The relay's contacts follow its coil, and its feedback follows them; both bounce."""
        powers = self.relay.powers
        if powers is self._powers:
            return
        self._powers = powers
        for _ in range(_BOUNCES):
            self._feed_back(off=not powers)
            self._feed_back(off=powers)
        self._feed_back(off=not powers)

    def cut_feedback_wire(self) -> None:
        """No current through the opto-coupler any more, whatever the relay does."""
        self._feedback_wire = True
        self._feed_back(off=not self._powers)

    def short_feedback_wire(self) -> None:
        """The pin hangs on ground, whatever the relay does."""
        self._feedback_wire = False
        self._feed_back(off=not self._powers)

    def mend_feedback_wire(self) -> None:
        """It says again what the relay does."""
        self._feedback_wire = None
        self._feed_back(off=not self._powers)

    def cameras_powered(self) -> bool:
        """Whether the cameras have power."""
        self.settle()
        return self._powers

    def _wire_relay(self) -> None:
        if self._privacy.feedback_pin is not None:
            pin = self._pin(self._privacy.feedback_pin)
            pin.moved = self.settle  # a pump runs empty by time alone
            self._feed_back(off=not self._powers)
        if self._privacy.relay is not Relay.NONE:
            self._pin(self._privacy.relay_pin).moves = self._driven
            self._driven()

    def _driven(self) -> None:
        # An input has the 10 kohm pull-down: low.
        self.relay.drive(high=self._is_high(self._privacy.relay_pin))
        self.settle()

    def _feed_back(self, *, off: bool) -> None:
        if self._privacy.feedback_pin is not None:
            wire = self._feedback_wire
            self._pin(self._privacy.feedback_pin).ground(closed=off if wire is None else not wire)

    def _block_3(self) -> None:
        if self._privacy.switch is SwitchKind.LATCHING:  # a button has no third block
            self.relay.block_3_closed = not self._is_pressed
            self.settle()

    # -- runs --

    def cut_run(self, camera: str, *, at_m: float = 0.0) -> None:
        """Cut this camera's run so far from the box: no loop, no 12 V, no picture."""
        if camera in self._pairs:
            self._pairs[camera].cut_at_m = at_m
        self._carry(camera, whole=False)

    def short_run(self, camera: str, *, at_m: float) -> None:
        """Crush the supervised pair so far from the box; picture and 12 V are on others."""
        self._pairs[camera].short_at_m = at_m

    def pull_plug(self, camera: str) -> None:
        """Unplug the camera at its end, with the end-of-line resistor in the plug."""
        if camera in self._pairs:
            self._pairs[camera].plug_at_m = None
        self._carry(camera, whole=False)

    def plug_in(self, camera: str, *, at_m: float | None = None) -> None:
        """Put camera and plug on a whole cable, of so many metres; left out, on its own."""
        if camera in self._pairs:
            pair = self._pairs[camera]
            pair.cut_at_m = pair.short_at_m = None
            pair.plug_at_m = pair.length_m if at_m is None else at_m
        self._carry(camera, whole=True)

    def mend_run(self, camera: str) -> None:
        """The run is whole again, with the camera at its end."""
        self.plug_in(camera)

    def pair(self, camera: str) -> Pair:
        """The supervised pair itself."""
        return self._pairs[camera]

    def draw(self, camera: str) -> Draw:
        """What the camera takes."""
        return self._draws[camera]

    def _carry(self, camera: str, *, whole: bool) -> None:
        run = self._runs[camera]
        if isinstance(run.loop, DigitalLoop):
            self._pin(run.loop.pin).ground(closed=whole)
        self._draws[camera].fed = whole
        if run.video_pin is not None:
            self.set_line(Line.VIDEO, camera, on=whole)

    # -- lines --

    def set_line(self, line: Line, camera: str | None = None, *, on: bool) -> None:
        """Put a line that has a pin of its own into this state."""
        self._pin(self._line_pins[line, camera]).ground(closed=on is _LOW_IS_ON[line])

    # -- lamps and troubles --

    def lamps(self) -> tuple[bool, bool]:
        """Whether the private and the live lamp are lit."""
        private, live = (
            self._is_high(number)
            for number in (self._privacy.lamp_private_pin, self._privacy.lamp_live_pin)
        )
        return private, live

    def buzzes(self) -> bool:
        """Whether the buzzer is heard."""
        return self._is_high(self._privacy.buzzer_pin)

    def _is_high(self, number: int | None) -> bool:
        """By the eye of what hangs on the pin, not the library's; an input has its pull-down."""
        return (
            number is not None
            and self._pin(number).function == "output"
            and bool(self._pin(number)._state)  # noqa: SLF001 - as said
        )

    def break_pin(self, number: int, trouble: Exception, *, owner: str = "") -> None:
        """From now on each access to this pin raises *trouble*, as when another program took it, which calls itself *owner*."""
        self._pin(number).trouble = trouble
        self._wiring.owners[number] = owner

    def mend_pin(self, number: int) -> None:
        """The pin works again."""
        self._pin(number).trouble = None

    def _pin(self, number: int) -> _WiredPin:
        pin = self.factory.pin(number)
        assert isinstance(pin, _WiredPin)  # noqa: S101 - for the type checker; the factory makes no others
        return pin

    def _contact(self, wire: str) -> _WiredPin:
        pins = {"nc": self._privacy.nc_pin, "no": self._privacy.no_pin}
        return self._pin(pins[{"nc": "no", "no": "nc"}[wire] if self._swapped else wire])

    def _contacts(self) -> None:
        for wire in self._fitted():
            self._put(wire, closed=self._is_pressed is (wire == "no"))

    def _fitted(self) -> tuple[str, ...]:
        match self._privacy.switch:
            case SwitchKind.LATCHING:
                return ("nc", "no")
            case SwitchKind.MOMENTARY:
                return ("nc",)
            case SwitchKind.NONE:
                return ()

    def _put(self, wire: str, *, closed: bool) -> None:
        """The contact moves; its wire says what it can."""
        if wire in self._fitted():
            pair = (closed or wire in self._shorted) and wire not in self._cut
            self._contact(wire).ground(closed=pair)

    def _move(self, wire: str, *, closed: bool) -> None:
        for _ in range(_BOUNCES):
            self._put(wire, closed=closed)
            self._put(wire, closed=not closed)
        self._put(wire, closed=closed)


def _line_pins(
    runs: tuple[Run, ...], electrics: Electrics
) -> Iterator[tuple[tuple[Line, str | None], int]]:
    own: list[tuple[Line, str | None, int | None]] = [
        (Line.POWER, None, electrics.power_pin),
        (Line.MAINS_LOST, None, electrics.mains_pin),
        (Line.SHUTDOWN, None, electrics.shutdown_pin),
        (Line.SERVICE, None, electrics.service_pin),
    ]
    for run in runs:
        own += [
            (Line.VIDEO, run.camera, run.video_pin),
            (Line.NVR_ALARM, run.camera, run.alarm_pin),
        ]
    for line, camera, pin in own:
        if pin is not None:
            yield (line, camera), pin
