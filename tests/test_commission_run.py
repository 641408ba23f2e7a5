"""Three readings with a technician at the box: what should be read is shown first, and nonsense never gets onto the disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from edge_agent import baselines, commission_run
from edge_agent.commission import main as commission_command
from edge_agent.commission_run import BoardMeter, Desk, chip_test, main
from edge_agent.core.cable import Baseline
from edge_agent.core.settings import (
    Camera,
    CameraKind,
    DigitalLoop,
    Electrics,
    Hub,
    Identity,
    MeasuredLoop,
    Privacy,
    Run,
    Settings,
    SwitchKind,
)
from edge_agent.network import NotTested, PairTested
from edge_agent.simulate import Bus, Fet, SimulatedClock, Street

RUN = Run(camera="gate", cable="cat5e-outdoor", length_m=50.0, loop=MeasuredLoop(channel=2))


class UnforeseenError(Exception):
    """The technician was asked something that nobody thought of."""


@dataclass
class Box:
    """A box at a pole: what is wired, what the technician does when told to, and what he types."""

    folder: Path
    run: Run = RUN
    electrics: Electrics = field(default_factory=Electrics)
    typed: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.clock = SimulatedClock()
        self.said: list[str] = []
        self.street = Street(
            Privacy(switch=SwitchKind.NONE), (self.run,), self.electrics, bit_by_bit=False
        )
        self.pair = self.street.pair("gate") if isinstance(self.run.loop, MeasuredLoop) else None
        self.hands: dict[str, Callable[[], None]] = {
            "Step 1": lambda: self.plug(0.0, short=True),
            "Step 2": lambda: self.plug(0.0),
            "housing: open": self.open_housing,
            "Close it": self.close_housing,
            "Step 3": lambda: self.plug(self.run.length_m),
        }
        self.answers: dict[str, Iterator[str]] = {
            about: iter(words) for about, words in self.typed.items()
        }
        self.usual = {
            "Who measures": "HS",
            "What does the sheath": "y",
            "Length of the cable": "50",
            "Type y when": "y",
            "Close it": "y",
            "Type gate to store": "gate",
        }

    def plug(self, at_m: float | None, *, short: bool = False) -> None:
        assert self.pair is not None
        self.pair.plug_at_m = at_m
        self.pair.short_at_m = 0.0 if short else None

    def open_housing(self) -> None:
        assert self.pair is not None
        self.pair.tamper_open = True

    def close_housing(self) -> None:
        assert self.pair is not None
        self.pair.tamper_open = False

    def say(self, text: str) -> None:
        self.said.append(text)
        for words, act in self.hands.items():
            if words in text:
                act()

    def ask(self, question: str) -> str:
        self.said.append(question)
        for about, words in self.answers.items():
            if about in question and (typed := next(words, None)) is not None:
                break
        else:
            typed = next((word for about, word in self.usual.items() if about in question), None)
        if typed is None:
            raise UnforeseenError(question)
        if "Close it" in question:
            self.close_housing()
        return typed

    def settings(self) -> Settings:
        return Settings(
            identity=Identity(kelurahan="k", rw="1", rt="2", box="b"),
            hub=Hub(host="127.0.0.1", port=1883, tls=None),
            privacy=Privacy(switch=SwitchKind.NONE),
            cameras=(Camera(id="gate", name="Gate", kind=CameraKind.CLIP, source="/x"),),
            runs=(self.run,),
            electrics=self.electrics,
            baselines_folder=str(self.folder),
        )

    def meter(self, run: Run, electrics: Electrics) -> BoardMeter:
        def pause(seconds: float) -> None:
            self.clock.at += seconds

        return BoardMeter(
            run, electrics, self.clock, pins=lambda: (self.street.factory, ""), pause=pause
        )

    def commission(self, camera: str = "gate") -> int:
        desk = Desk(say=self.say, ask=self.ask)
        return main(camera, self.settings(), desk, clock=self.clock, meter=self.meter)

    def stored(self) -> object:
        return baselines.load(self.folder, self.run, self.electrics)

    def text(self) -> str:
        return "\n".join(self.said)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def test_a_sound_run_is_stored_with_who_measured_it(folder):
    box = Box(folder)
    assert box.commission() == 0
    stored = box.stored()
    assert isinstance(stored, Baseline)
    assert (stored.owner, stored.length_m, stored.cable) == ("HS", 50.0, "cat5e-outdoor")
    assert stored.ohm_per_m == pytest.approx(0.1876, abs=0.002)
    assert stored.r_zero_ohm == pytest.approx(9.4, abs=0.2)
    assert (stored.trusted, stored.wall_s) == (False, box.clock.wall_s)
    assert "systemctl start edge-agent" in box.said[-2]
    assert "bring 55 m of cat5e-outdoor" in box.text()


def test_what_should_be_read_is_shown_before_it_is_read(folder):
    box = Box(folder)
    box.commission()
    order = [
        next(n for n, line in enumerate(box.said) if words in line)
        for words in ("Step 1", "expected: 132 to 372 counts", "read: 24", "Step 2", "Step 3")
    ]
    assert order == sorted(order)


def test_the_agent_is_let_go_of_afterwards(folder):
    box = Box(folder)
    box.commission()
    with box.meter(RUN, box.electrics) as meter:
        assert meter.read().ohm is not None


def test_an_mcp3008_is_good_enough(folder):
    box = Box(folder, electrics=Electrics(adc_bits=10))
    assert box.commission() == 0
    stored = box.stored()
    assert isinstance(stored, Baseline)
    assert stored.bits == 10


def test_a_plug_without_a_switch_is_not_asked_for_one(folder):
    box = Box(folder, run=replace(RUN, loop=MeasuredLoop(channel=2, tamper_ohm=None)))
    assert box.commission() == 0
    assert "housing: open" not in box.text()


def test_clad_aluminium_is_named(folder):
    box = Box(folder)
    assert box.pair is not None
    box.pair.ohm_per_m = 0.30
    assert box.commission() == 0
    assert "copper-clad aluminium" in box.text()


def test_a_second_commissioning_is_compared_with_the_first(folder):
    assert Box(folder).commission() == 0
    box = Box(folder)
    assert box.pair is not None
    box.pair.corroded_ohm = 1.0
    assert box.commission() == 0
    assert "before: " in box.text()
    assert "+1.0" in box.text()


# ---- nonsense ----


def test_steps_in_the_wrong_order_are_refused_at_once_and_can_be_read_again(folder):
    box = Box(folder, typed={"read again": ["r"]})
    box.hands["Step 2"] = lambda: box.plug(0.0, short=True)  # forgot to take the wire off
    box.hands["Is it the plug"] = lambda: box.plug(0.0)
    assert box.commission() == 0
    assert "was the jumper left in?" in box.text()


def test_the_wrong_end_of_the_cable_ends_without_a_trace(folder):
    box = Box(folder, typed={"read again": ["q"]})
    box.hands["Step 3"] = lambda: box.plug(10.0)
    assert box.commission() == 1
    assert "impossible for copper" in box.text()
    assert box.stored() is None
    assert not folder.exists()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda box: box.plug(None), "open circuit"),
        (lambda box: setattr(box.pair, "loose_ohm", 6.0), "noisy"),
        (lambda box: setattr(box.pair, "short_at_m", 30.0), "short"),
        (lambda box: box.plug(0.0), "nothing to measure|impossible order"),
    ],
)
def test_a_bad_last_reading_is_refused_with_its_reason(folder, spoil, words):
    box = Box(folder, typed={"read again": ["q"]})

    def at_the_pole() -> None:
        box.plug(50.0)
        spoil(box)

    box.hands["Step 3"] = at_the_pole
    assert box.commission() == 1
    assert any(word in box.text() for word in words.split("|"))
    assert box.stored() is None


def test_a_run_of_one_metre_needs_some_wire_too(folder):
    box = Box(
        folder,
        run=replace(RUN, length_m=1.0),
        typed={"Length of the cable": ["1"], "read again": ["q"]},
    )
    box.hands["Step 3"] = lambda: box.plug(0.0)
    assert box.commission() == 1
    assert "nothing to measure a length by" in box.text() or "impossible order" in box.text()


@pytest.mark.parametrize(
    ("lengths", "words"),
    [
        (["fifty", "-3", "50"], "is no length"),
        (["0", "600", "50"], "impossible"),
        (["30", "80", "50,5 m"], "box.toml says 50 m"),
    ],
)
def test_a_length_that_cannot_be_is_asked_again(folder, lengths, words):
    box = Box(folder, typed={"Length of the cable": lengths})
    assert box.commission() == 0
    assert words in box.text()


def test_three_lengths_that_cannot_be_end_it(folder):
    box = Box(folder, typed={"Length of the cable": ["5", "500", "5000"]})
    assert box.commission() == 2
    assert "measure it" in box.said[-1]


def test_another_cable_than_box_toml_says_is_refused(folder):
    box = Box(folder, typed={"What does the sheath": ["cat6-outdoor"]})
    assert box.commission() == 1
    assert "Correct it first" in box.said[-1]


def test_a_housing_switch_that_is_crushed_is_found_in_the_hand(folder):
    box = Box(folder, typed={"read again": ["q"]})
    assert box.pair is not None
    box.pair.tamper_shorted = True
    assert box.commission() == 1
    assert "its switch is not seen" in box.text()
    assert box.stored() is None


def test_a_housing_opened_at_the_second_try_is_good(folder):
    box = Box(folder, typed={"read again": ["r"]})
    box.hands["housing: open"] = lambda: None
    box.hands["its switch is not seen"] = box.open_housing
    assert box.commission() == 0


def test_nothing_is_stored_without_the_cameras_name(folder):
    box = Box(folder, typed={"Type gate to store": ["y"]})
    assert box.commission() == 1
    assert box.said[-1] == "not approved: nothing was changed"
    assert box.stored() is None


def test_a_name_that_cannot_be_printed_is_asked_again(folder):
    box = Box(folder, typed={"Who measures": ["\x07", "x" * 61, "HS"]})
    assert box.commission() == 0
    box = Box(folder, typed={"Who measures": ["\x07"] * 3})
    assert box.commission() == 2


# ---- nobody, no board, no disk ----


def test_a_script_without_a_person_gets_nowhere(folder):
    box = Box(folder, typed={"": [""] * 9})
    assert box.commission() == 2
    assert "needs a person" in box.said[-1]


def test_enter_alone_is_asked_again(folder):
    box = Box(folder, typed={"Who measures": ["", "HS"], "Type y when": ["", "n", "y"]})
    assert box.commission() == 0


def test_a_person_who_never_says_y_ends_it(folder):
    box = Box(folder, typed={"Type y when": ["n", "n", "n"]})
    assert box.commission() == 2


@pytest.mark.parametrize("word", ["q", "Q", "batal"])
def test_q_ends_it_anywhere(folder, word):
    box = Box(folder, typed={"Length of the cable": [word]})
    assert box.commission() == 1
    assert "nothing was changed" in box.said[-1]


def test_a_running_agent_must_be_stopped_first(folder):
    box = Box(folder)
    box.street.break_pin(25, RuntimeError("'GPIO busy'"), owner="edge-agent")
    assert box.commission() == 2
    assert "systemctl stop edge-agent" in box.said[-1]
    assert 'calls itself "edge-agent"' in box.said[-1]
    assert "no picture leaves the box" in box.said[-1]


def test_a_foreign_voltage_ends_it_before_anybody_climbs(folder):
    box = Box(folder)
    assert box.pair is not None
    box.pair.foreign_volts = 12.0
    assert box.commission() == 2
    assert "foreign voltage" in box.said[-1]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda box: setattr(box.street.board, "fet", Fet.DEAD),
        lambda box: setattr(box.street.board, "bus", Bus.GONE),
    ],
)
def test_a_dead_board_is_said_first(folder, spoil):
    box = Box(folder)
    spoil(box)
    assert box.commission() == 2
    assert "cannot be read" in box.said[-1]
    assert len(box.said) == 1


def test_a_board_that_dies_in_the_middle_is_no_reading(folder):
    box = Box(folder, typed={"read again": ["q"]})
    box.hands["Step 2"] = lambda: setattr(box.street.board, "bus", Bus.STUCK_LOW)
    assert box.commission() == 1
    assert "There is no reading for the plug at the terminals" in box.text()


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (replace(RUN, loop=None), "no loop is fitted"),
        (replace(RUN, loop=DigitalLoop(pin=5)), "nothing to measure"),
        (replace(RUN, loop=None, cable="cat5e-poe"), "48 V"),
    ],
)
def test_a_run_without_a_measured_loop_is_explained(folder, run, words):
    box = Box(folder, run=run)
    assert box.commission() == 2
    assert words in box.said[-1]


def test_a_camera_without_a_run_is_named_with_those_that_have_one(folder):
    box = Box(folder)
    assert box.commission("gaet") == 2
    assert "there are: gate" in box.said[-1]


def test_a_disk_that_refuses_is_said(folder):
    folder.write_text("not a folder")
    box = Box(folder)
    assert box.commission() == 2
    assert box.said[-1].startswith("not done: ")


def test_without_pins_the_reason_is_said(folder, capsys):
    said: list[str] = []
    box = Box(folder)

    def no_pins(run: Run, electrics: Electrics) -> BoardMeter:
        return BoardMeter(
            run, electrics, box.clock, pins=lambda: (None, "this machine has no GPIO chip")
        )

    desk = Desk(say=said.append, ask=box.ask)
    assert main("gate", box.settings(), desk, clock=box.clock, meter=no_pins) == 2
    assert "no GPIO chip" in said[-1]


def test_the_step_words_are_complete():
    assert commission_run.EXIT_DONE == 0
    words: Iterable[str] = (*commission_run._TODO.values(), *commission_run._LOOK_AT.values())
    assert all(text.endswith((".", "?")) for text in words)


# ---- the network chip's own test ----


NETWORK = Run(camera="gate", cable="cat5e-poe", length_m=35.0, interface="eth1")
WHOLE = tuple(PairTested(pair=pair, result="OK") for pair in "ABCD")
CUT = (*WHOLE[:3], PairTested(pair="D", result="Open Circuit", fault_m=12.5))


@pytest.mark.parametrize(
    ("typed", "found", "code", "words"),
    [
        ("gate", WHOLE, 0, "pair A: OK"),
        ("gate", CUT, 1, "pair D: Open Circuit, 12.5 m from the box"),
        ("gate", NotTested(why="the chip cannot"), 2, "the chip cannot"),
        ("", WHOLE, 1, "nothing was done"),
    ],
)
def test_the_chip_tests_a_cable_only_on_a_persons_word(
    folder: Path,
    typed: str,
    found: tuple[PairTested, ...] | NotTested,
    code: int,
    words: str,
) -> None:
    box = Box(folder, run=NETWORK)
    asked: list[str] = []

    def test(interface: str, _: Settings) -> tuple[PairTested, ...] | NotTested:
        asked.append(interface)
        return found

    desk = Desk(say=box.said.append, ask=lambda _: typed)
    assert chip_test("gate", box.settings(), desk, test=test) == code
    assert words in box.text()
    assert asked == (["eth1"] if typed else [])


def test_the_chip_of_a_run_that_is_not_there_is_not_asked(folder):
    said: list[str] = []
    desk = Desk(say=said.append, ask=lambda _: "bridge")
    assert chip_test("bridge", Box(folder).settings(), desk) == 2
    assert "no [[run]]" in said[0]


@pytest.mark.parametrize("flag", ["--run", "--cable-test"])
def test_the_command_line_leads_here(capsys, flag):
    """The example's bridge has power over Ethernet and no interface of its own: both are told in words."""
    example = Path(__file__).parents[1] / "docs" / "box.example.toml"
    assert commission_command(["jalan-melati", flag, "--config", str(example)]) == 2
    assert "not done: jalan-melati" in capsys.readouterr().out
