"""A work order on one screen: whatever the names are, it fits, and nothing that matters is cut off."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.diagnosis import Cause, Diagnosis, Measure, Seen, Sign
from edge_agent.core.order_words import LINES_MAX, WIDTH, ago, bring, metres, sheet, where
from edge_agent.core.settings import CABLES, MeasuredLoop, Run

LABELS = {
    "id": ("PERINTAH KERJA", "Sebab:", "Sejak:", "Tempat:", "Artinya:", "Bawa:", "RT:", "Selesai:"),
    "en": ("WORK ORDER", "Cause:", "Since:", "Place:", "Means:", "Bring:", "RT:", "Done when:"),
}


def run(
    camera: str = "gate",
    *,
    cable: str = "cat5e-outdoor",
    length_m: float = 50.0,
    loop=True,
    place="tiang 3",
) -> Run:
    return Run(
        camera=camera,
        cable=cable,
        length_m=length_m,
        place=place,
        gps=(-6.96612, 110.41893),
        loop=MeasuredLoop(channel=0) if loop else None,
    )


def told(cause: Cause, *cameras: str, subject: str = "", **more) -> Diagnosis:
    seen = (Seen(Sign.LOOP_OPEN, 0.0),)
    return Diagnosis(
        subject=subject or cameras[0],
        cause=cause,
        since=0.0,
        cameras=cameras,
        **({"seen": seen} | more),
    )


def english(cause: Cause, runs: dict[str, Run] | None = None, **more) -> str:
    runs = runs or {"gate": run()}
    return sheet(
        "a-1", told(cause, *runs, **more), since_s=5.0, names={"gate": "Gate"}, runs=runs
    ).en


def items(cause: Cause, **more) -> list[str]:
    return [item.en for item in bring(told(cause, "gate"), {"gate": run(**more)})]


def fits(text: str, labels: tuple[str, ...]) -> None:
    lines = text.split("\n")
    assert len(lines) <= LINES_MAX, text
    assert all(len(line) <= WIDTH for line in lines), text
    for label in labels:
        assert any(line.startswith(label) for line in lines), (label, text)
    assert text.rstrip().endswith("."), text


BOX = {
    Cause.CONDUIT_CUT: "box:conduit",
    Cause.POWER_DEAD: "box:power",
    Cause.RECORDER_DEAD: "recorder:10.0.0.9",
    Cause.BOARD_FAULT: "box:board",
}
names = (
    st.text(max_size=90) | st.just("W" * 90) | st.just("kamera gerbang utara jalan kuningan " * 3)
)


evidence = st.lists(st.builds(Seen, st.sampled_from(Sign), st.floats(0, 9), names), max_size=9)
wires = st.lists(
    st.tuples(st.sampled_from([*CABLES, "unheard-of"]), st.floats(0.5, 500.0), st.booleans()),
    min_size=1,
    max_size=8,
)


@given(st.sampled_from(list(Cause)), wires, st.tuples(names, names), evidence, st.floats(0, 1e7))
def test_every_order_fits_on_one_screen_and_ends_with_its_end(cause, fitted, words, seen, since_s):
    name, place = words
    subject = BOX.get(cause, "")
    fitted = fitted if subject else fitted[:1]
    runs = {
        camera: run(camera, cable=cable, length_m=length_m, loop=loop, place=place)
        for number, (cable, length_m, loop) in enumerate(fitted)
        for camera in (f"camera-with-a-long-name-{number}",)
    }
    measure = tuple(Measure) if cause is Cause.CANNOT_TELL else ()
    one = told(cause, *runs, subject=subject, seen=tuple(seen), measure=measure)
    text = sheet(
        "aaaaaaaa-1234567-12", one, since_s=since_s, names=dict.fromkeys(runs, name), runs=runs
    )
    fits(text.id, LABELS["id"])
    fits(text.en, LABELS["en"])


@pytest.mark.parametrize("cause", list(Cause))
def test_every_order_says_what_residents_must_not_do(cause):
    text = sheet("a-1", told(cause, "gate"), since_s=5.0, names={}, runs={"gate": run()})
    assert "Jangan bawa pulang kamera; biarkan di tempatnya, kami yang datang." in " ".join(
        text.id.split()
    )
    assert "Do not take the camera home; leave it, we come." in " ".join(text.en.split())


def test_an_order_without_a_run_still_has_words():
    one = told(Cause.CANNOT_TELL, "gate", measure=(Measure.MONITOR,))
    text = sheet("a-1", one, since_s=0.0, names={}, runs={})
    fits(text.en, LABELS["en"])
    assert "measure first" in text.en
    assert "not recorded" in text.en
    assert metres(("gate",), {}) == 0


def test_a_cut_of_fifty_metres_brings_fifty_five_and_all_that_goes_onto_its_ends():
    assert items(Cause.CABLE_CUT) == [
        "55 m of outdoor Cat5e cable",
        "RJ45 plugs",
        "a pair of video baluns",
        "1 end plug for the supervised pair",
        "a crimping tool",
        "a cable tester",
        "a ladder",
    ]
    assert items(Cause.CABLE_CUT, cable="rg59-power", length_m=46.0, loop=False)[:3] == [
        "55 m of RG59 coaxial cable with power pair",
        "BNC plugs",
        "DC power plugs",
    ]


REPULL = {
    Cause.CABLE_CUT,
    Cause.CAMERA_UNPLUGGED,
    Cause.CAMERA_TAKEN,
    Cause.CABLE_SHORT,
    Cause.OTHER_LENGTH,
    Cause.PAIR_BROKEN,
    Cause.DAMP,
    Cause.LOST_PAIR,
    Cause.CANNOT_TELL,
    Cause.CONDUIT_CUT,
}


@pytest.mark.parametrize("cause", list(Cause))
def test_whoever_may_have_to_pull_a_cable_has_one_with_him(cause):
    found = items(cause)
    assert found
    assert (found[0] == "55 m of outdoor Cat5e cable") is (cause in REPULL)
    assert len(set(found)) == len(found)
    plug = any("end plug" in item for item in items(cause, loop=False))
    assert not plug


def test_a_cut_conduit_brings_each_runs_metres():
    runs = {
        "gate": run("gate"),
        "river": run("river", length_m=30.0),
        "school": run("school", cable="rg59-pair", length_m=18.0),
    }
    found = [item.en for item in bring(told(Cause.CONDUIT_CUT, *runs, subject="box:conduit"), runs)]
    assert found[0] == "90 m of outdoor Cat5e cable"
    assert found[1] == "by run: gate 55 m, river 35 m, school 20 m"
    assert "20 m of RG59 coaxial cable" in found
    assert found.count("a ladder") == 1


def test_a_short_says_where_and_another_length_says_how_long():
    assert "at most 20 m from the box" in " ".join(english(Cause.CABLE_SHORT, at_m=20.3).split())
    moved = " ".join(english(Cause.OTHER_LENGTH, length_m=5.2).split())
    assert "About 5 m of cable hang there now instead of 50 m" in moved


def test_done_means_what_the_box_can_see():
    assert "edge-agent commission gate --run" in " ".join(english(Cause.CABLE_CUT).split())
    blind = english(Cause.CABLE_CUT, {"gate": run(loop=False)})
    assert "supervised pair reads" not in blind
    assert "fresh pictures come for 30 s" in blind


def test_a_place_opens_in_a_map():
    runs = {"gate": run()}
    assert where(told(Cause.CABLE_CUT, "gate"), runs) == ("tiang 3", "geo:-6.96612,110.41893")
    assert where(told(Cause.POWER_DEAD, "gate", subject="box:power"), runs) == ("", "")
    assert where(
        told(Cause.CABLE_CUT, "gate"), {"gate": Run(camera="gate", cable="rg59", length_m=5)}
    ) == ("", "")
    assert "geo:-6.96612,110.41893" in english(Cause.CABLE_CUT)
    assert "Place: at the box" in english(Cause.POWER_DEAD, subject="box:power")


def test_a_name_that_is_the_id_stands_once():
    text = sheet("a-1", told(Cause.CABLE_CUT, "gate"), since_s=5, names={"gate": "gate"}, runs={})
    assert text.en.startswith("WORK ORDER a-1: gate\n")
    assert english(Cause.CABLE_CUT).startswith("WORK ORDER a-1: Gate (gate)\n")
    assert "1 cameras" not in english(Cause.CABLE_CUT)


@pytest.mark.parametrize(
    ("seconds", "native", "foreign"),
    [
        (-1, "0 detik", "0 seconds"),
        (1, "1 detik", "1 second"),
        (59.9, "59 detik", "59 seconds"),
        (60, "1 menit", "1 minute"),
        (7199, "1 jam", "1 hour"),
        (7200, "2 jam", "2 hours"),
        (86_399, "23 jam", "23 hours"),
        (86_400, "1 hari", "1 day"),
        (900_000, "10 hari", "10 days"),
    ],
)
def test_a_span_is_as_coarse_as_people_say_it(seconds, native, foreign):
    assert (ago(seconds).id, ago(seconds).en) == (native, foreign)
