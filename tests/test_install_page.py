"""docs/install.md, docs/field-guide.id.md and their drawings: what they say is what the program, the card and the image do."""

from __future__ import annotations

import io
import itertools
import re
import shlex
import tomllib
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from functools import cache
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree as ET

import pytest

from edge_agent.cli import COMMANDS, main
from edge_agent.core.cable import SLACK, expected
from edge_agent.core.messages import FindingKey, Lamp
from edge_agent.core.settings import Journal, MeasuredLoop
from edge_agent.doctor.check import State
from edge_agent.doctor.page import _DO, _MARK
from edge_agent.provision import card
from edge_agent.sensors.lamps import TEST_S, lit, lit_in_test, lit_unconfigured
from tests.support.filled_card import SHELL_KEY, FilledCard

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
IMAGE = ROOT / "image-build"
INSTALL = (DOCS / "install.md").read_text(encoding="utf-8")
FIELD = (DOCS / "field-guide.id.md").read_text(encoding="utf-8")
SVG = "{http://www.w3.org/2000/svg}"

Lit = Callable[[float], tuple[bool, bool]]


def between(page: str, mark: str) -> str:
    (found,) = re.findall(rf"<!-- {mark} -->\n(.*?)\n<!-- /{mark} -->", page, re.DOTALL)
    return str(found)


def rows(page: str, mark: str) -> list[list[str]]:
    """Cells of a table, without its head."""
    lines = between(page, mark).splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def prose(page: str) -> str:
    return " ".join(page.split())


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def in_image(path: str) -> str:
    """A file of the image's own, by where it lies on the box."""
    return (IMAGE / "root" / path).read_text(encoding="utf-8")


@cache
def drawing(name: str) -> ET.Element:
    return ET.fromstring(read(f"docs/images/{name}"))


# ---- lamps ----


def of(lamp: Lamp) -> Lit:
    return lambda at: lit(lamp, at)[:2]


def after_start(at: float) -> tuple[bool, bool]:
    """The test, and what follows on it: private, until the switch has proven to be live."""
    return lit_in_test(at)[:2] if at < TEST_S else lit(Lamp.PRIVATE, at)[:2]


# All that is seen at a box: the core's patterns, and what there is without the core.
PATTERNS: dict[str, Lit] = {
    "dark": lambda _: (False, False),
    "test": after_start,
    "unconfigured": lambda at: lit_unconfigured(at)[:2],
    **{lamp.value: of(lamp) for lamp in Lamp},
}


def levels(shown: Lit, side: int, until_s: float) -> list[bool]:
    return [shown((n + 0.5) / 100)[side] for n in range(round(until_s * 100))]


def times(shown: Lit, side: int, until_s: float) -> list[tuple[float, float]]:
    """From and to of each time that a lamp is lit, to a hundredth of a second."""
    at_s = 0.0
    found = []
    for on, run in itertools.groupby(levels(shown, side, until_s)):
        begin_s, at_s = at_s, at_s + len(list(run)) / 100
        if on:
            found.append((round(begin_s, 2), round(at_s, 2)))
    return found


def rhythm(shown: Lit, side: int) -> str:
    """In the words of the page."""
    until_s = 12.0
    lit_from_to = times(shown, side, until_s)
    if not lit_from_to:
        return "off"
    if lit_from_to == [(0.0, until_s)]:
        return "steady"
    long_s = lit_from_to[0][1] - lit_from_to[0][0]
    gaps = [round(later - sooner, 2) for (sooner, _), (later, _) in itertools.pairwise(lit_from_to)]
    if len(set(gaps)) == 1:
        return f"{long_s:.1f} s, each {gaps[0]:g} s"
    return f"two of {long_s:.1f} s, each {gaps[0] + gaps[1]:g} s"


def with_the_left(shown: Lit) -> str:
    """How the right lamp goes with the left, where both blink."""
    left, right = (levels(shown, side, 12.0) for side in (0, 1))
    if len(set(left)) == 1 or len(set(right)) == 1:
        return ""
    if left == right:
        return ", with the left"
    return ", in turn with the left" if not any(map(bool.__and__, left, right)) else "?"


def test_the_table_of_lamps_is_what_they_show():
    told = {name.strip("`"): (left, right) for name, left, right, *_ in rows(INSTALL, "lamps")}
    assert set(told) == set(PATTERNS)
    in_test = [
        ", ".join(f"{begin:.1f} to {end:.1f}" for begin, end in times(after_start, side, 1.95))
        for side in (0, 1)
    ]
    assert told.pop("test") == tuple(f"{text} s" for text in in_test)
    for name, said in told.items():
        shown = PATTERNS[name]
        assert said == (rhythm(shown, 0), rhythm(shown, 1) + with_the_left(shown)), name


def test_the_rhythms_are_drawn_as_the_lamps_show_them():
    unit = 45  # of the drawing, a second
    drawn = {}
    for group in drawing("lamps.svg").iter(f"{SVG}g"):
        begin = float(group.get("data-from", ""))
        drawn[group.get("data-lamp"), group.get("data-side")] = [
            (
                round((float(rect.get("x", "")) - begin) / unit, 2),
                round((float(rect.get("x", "")) + float(rect.get("width", "")) - begin) / unit, 2),
            )
            for rect in group.iter(f"{SVG}rect")
        ]
    assert drawn == {
        (name, side): times(shown, number, 6.0)
        for name, shown in PATTERNS.items()
        for number, side in enumerate(("left", "right"))
    }


def test_the_field_guide_names_the_rhythms_as_the_drawing_does():
    names = [
        "".join(text.itertext())
        for text in drawing("lamps.svg").findall(f"{SVG}text")
        if text.get("x") == "16" and text.get("font-weight") == "bold"
    ]
    assert len(names) == len(PATTERNS)
    told = [re.match(r"\*\*(.+?)\*\*", first) for first, *_ in rows(FIELD, "lamps")]
    assert [found and found[1] for found in told] == names


# ---- the card, from the first start to the certificate ----


ON_CARD = {
    card.BOX,
    card.NETWORK,
    card.CA,
    card.ORDERS,
    card.CERTIFICATE,
    f"{card.SECRETS}camera",
    card.KEYS,
    card.RESULT,
    card.REQUEST,
}


def test_the_files_on_the_card_are_those_that_the_box_reads_and_writes():
    assert {name.strip("`") for name, *_ in rows(INSTALL, "card")} == ON_CARD
    drawn = {group.get("data-file") for group in drawing("card-files.svg").iter(f"{SVG}g")}
    assert drawn - {None} == ON_CARD | {"hub/", "secrets/"}


def test_the_card_as_it_is_shipped_has_the_names_that_the_pages_use():
    shipped = tomllib.loads(read("image-build/card/box.toml"))
    assert (IMAGE / "card" / card.NETWORK).is_file()
    assert shipped["hub"]["ca_file"] == card.CA
    assert shipped["hub"]["certificate_file"] == card.CERTIFICATE
    (camera,) = shipped["camera"]
    assert camera["password_file"] == f"{card.SECRETS}camera"
    place = [shipped["identity"][key] for key in ("kelurahan", "rw", "rt", "box")]
    for page in (INSTALL, FIELD):
        assert f"edge-agent commission {camera['id']}" in page
        assert f"`{'-'.join(place)}`" in page
    assert f"`{'/'.join(place)}`" in INSTALL
    assert f"`hub/pictures/{'/'.join(place)}/{camera['id']}/`" in INSTALL


def shown_result() -> list[str]:
    """The lines of RESULT.txt after a first start, as on the page."""
    (block,) = re.findall(r"```\n(BELUM SELESAI.*?)```", INSTALL, re.DOTALL)
    return [line for line in block.splitlines() if line.strip() not in {"", "..."}]


def test_the_shipped_card_filled_in_as_the_page_says_starts_as_the_page_says(tmp_path):
    box = FilledCard(tmp_path)
    for name in (card.BOX, card.NETWORK):
        box.put(name, read(f"image-build/card/{name}"))
    box.put(card.KEYS, SHELL_KEY)
    box.start()
    said = box.result.replace("\r\n", "\n").splitlines()
    assert [line for line in shown_result() if line not in said] == []
    (common_name,) = box.request().subject
    assert f"Its common name is the box's place, `{common_name.value!s}`" in prose(INSTALL)
    assert box.hosts == ["kuningan-rw-03-rt-05-box-1"]
    box.put(card.CERTIFICATE, box.sign())
    assert box.start() == 0
    assert "SEMUA DITERIMA" in box.result
    for page in (INSTALL, FIELD):
        assert "`SEMUA DITERIMA`" in page
    assert "`BELUM SELESAI`" in FIELD


def test_a_certificate_from_the_old_card_is_refused_as_the_page_says(tmp_path):
    old, new = FilledCard(tmp_path / "old"), FilledCard(tmp_path / "new")
    old.start()
    new.put(card.CERTIFICATE, old.sign())
    new.start()
    (quoted,) = re.findall(r"An old `box\.pem` is refused: \*(.+?)\*", INSTALL)
    assert quoted in " ".join(new.result.split())


# ---- commands ----


def code(page: str) -> list[str]:
    """Each piece of code, line by line."""
    blocks = re.findall(r"```\w*\n(.*?)```", page, re.DOTALL)
    rest = re.sub(r"```.*?```", "", page, flags=re.DOTALL)
    pieces = [line for block in blocks for line in block.splitlines()]
    return [*pieces, *(" ".join(piece.split()) for piece in re.findall(r"`([^`]+)`", rest))]


def called(program: str) -> list[list[str]]:
    """The words behind *program* wherever it is called."""
    call = re.compile(rf"(?:^|sudo ){program} ([^#|<]+)")
    return [
        shlex.split(words) for piece in code(INSTALL) + code(FIELD) for words in call.findall(piece)
    ]


@cache
def help_of(*command: str) -> str:
    out = io.StringIO()
    with redirect_stdout(out), suppress(SystemExit):
        assert main([*command, "--help"]) == 0
    assert out.getvalue().startswith("usage:")
    return out.getvalue()


def test_every_command_on_the_pages_exists_with_its_options():
    calls = called("edge-agent")
    assert {call[0] for call in calls} >= {"doctor", "status", "commission", "journal", "hub"}
    for name, *words in calls:
        assert name in COMMANDS, name
        known = help_of(name, words[0]) if name == "journal" else help_of(name)
        for option in (word for word in words if word.startswith("--")):
            assert re.search(rf"{option}\b", known), f"edge-agent {name}: {option}"
        if "--lang" in words:
            assert words[words.index("--lang") + 1] in {"id", "en"}


def test_what_the_pages_ask_of_a_slot_the_image_can_do():
    script = in_image("usr/sbin/edge-slot")
    asked = {words[0] for words in called("edge-slot")}
    assert asked == {"install", "status", "use"}
    for word in asked:
        assert re.search(rf"^  {word}\)", script, re.MULTILINE)
    assert "trials=3\n" in script
    assert "started from three times at the most" in prose(INSTALL)


def test_only_units_that_exist_are_stopped_and_started():
    for words in called("systemctl"):
        assert words[0] in {"stop", "start"}
        assert (ROOT / f"systemd/{words[1]}.service").is_file()


# ---- the image ----


def test_the_boards_are_those_of_the_image():
    (boards,) = re.findall(r"Boards: (.+?)\. Not the Pi 5", read("image-build/firmware/config.txt"))
    assert f"| Raspberry Pi: {boards} |" in INSTALL
    assert "**Not the Pi 5**" in INSTALL


def test_there_is_no_console_and_only_keys_open_ssh():
    assert "\nenable_uart=0\n" in read("image-build/firmware/config.txt")
    assert "console=ttyAMA0" not in read("image-build/firmware/cmdline.txt")
    build = read("image-build/build")
    for unit in ("getty.target", "serial-getty@.service"):
        assert re.search(rf"mask [^']*{re.escape(unit)}", build), unit
    sshd = in_image("etc/ssh/sshd_config.d/edge.conf")
    for line in ("PasswordAuthentication no", "AllowUsers root"):
        assert line in sshd
    unit = in_image("etc/systemd/system/ssh.service.d/edge.conf")
    needed = re.findall(r"(?m)^ConditionPathExists=(.*)$", unit)
    assert f"|/boot/firmware/{card.KEYS}" in needed
    assert all(PurePosixPath(path).name == card.KEYS for path in needed), "another way to have SSH"
    assert "opened { 22 }" in unit
    assert "icmp type { echo-request" in in_image("etc/nftables.conf")


def test_what_is_looked_for_on_the_data_partition_lies_there():
    layout = in_image("usr/lib/edge-image/data-layout")
    assert "config:/etc/edge-agent state:/var/lib/edge-agent" in layout
    journal = PurePosixPath(Journal().folder).relative_to("/var/lib/edge-agent")
    assert f"--folder /mnt/state/{journal}\n" in INSTALL
    assert f"--config /mnt/config/{card.BOX} " in INSTALL
    ring = in_image("usr/lib/edge-image/log-ring")
    assert "cd /data/log\n" in ring
    assert ">>warnings.txt" in ring
    build = read("image-build/build")
    assert "/usr/lib/edge-image/release" in build
    assert "\nKERNEL=$kernel\n" in build


# ---- the rest of what is said ----


def test_keys_and_findings_that_are_named_exist():
    doctor = read("docs/doctor.md")
    for key in ("commission.view", "commission.run", "journal.read-only", "journal.sync"):
        assert f"`{key}`" in INSTALL
        assert f"| `{key}` |" in doctor
    assert f"`{FindingKey.JOURNAL_BROKEN.value}`" in INSTALL


def test_the_field_guide_quotes_the_doctor_as_it_prints():
    assert f"setiap `{_MARK[State.FAULT].strip()}` sekarang (baris `{_DO['id'].strip()}`)" in FIELD


def test_the_counts_in_the_field_guide_are_those_the_command_shows():
    steps = expected(MeasuredLoop(channel=0), cable="cat5e-outdoor", length_m=50, bits=12)
    shown = re.findall(r"\| (\d+) sampai (\d+) \|", FIELD)
    assert shown == [(str(low), str(high)) for low, high in (step.counts for step in steps)]


def test_the_length_to_bring_has_the_slack_of_the_work_order():
    assert SLACK == 0.1
    assert "sudah ditambah sepersepuluh" in prose(FIELD)
    assert "and a tenth more" in prose(INSTALL)


def test_the_field_guide_begins_with_the_rule_of_december_2024():
    first = prose(FIELD.partition("\n2. ")[0])
    assert "Jangan pernah membawa kamera pulang" in first
    assert "Jangan colokkan kamera di tempat lain" in first


def test_the_field_guide_is_four_sheets():
    """1,250 words and five drawings, printed in 10.5 points with drawings of 62 mm, filled four sheets of A4."""
    assert len(FIELD.split()) < 1300
    assert FIELD.count("![") <= 5


def slug(heading: str) -> str:
    """As GitHub makes an anchor of it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", [INSTALL, FIELD], ids=["install", "field guide"])
def test_links_into_a_page_lead_to_a_heading(page):
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#([^)\s]+)\)", page):
        text = (DOCS / target).read_text(encoding="utf-8") if target else page
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        assert anchor in map(slug, headings), f"{target}#{anchor}"


# ---- the drawings ----


SHOWN = {
    page: re.findall(r"!\[[^\]]+\]\(images/([\w-]+\.svg)\)", page) for page in (INSTALL, FIELD)
}
DRAWINGS = sorted({name for names in SHOWN.values() for name in names})


def test_both_pages_show_every_drawing_once():
    for names in SHOWN.values():
        assert sorted(names) == DRAWINGS
    assert len(DRAWINGS) == 5


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_drawing_is_plain_svg_in_both_languages_on_white(name):
    root = drawing(name)
    assert root.tag == f"{SVG}svg"
    width, height = root.get("width", ""), root.get("height", "")
    assert root.get("viewBox") == f"0 0 {width} {height}"
    assert root.get("font-family") == "sans-serif"
    title, paper = list(root)[:2]
    assert " / " in (title.text or "")
    assert (paper.get("width"), paper.get("height"), paper.get("fill")) == (width, height, "#fff")
    plain = {"svg", "title", "rect", "circle", "path", "g", "text", "tspan"}
    for element in root.iter():
        assert element.tag.removeprefix(SVG) in plain, element.tag
        assert "font-family" not in element.attrib or element is root
        assert not any("href" in key or "url(" in value for key, value in element.attrib.items())


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_drawing_is_read_in_black_and_white(name):
    """Only black, greys, white, and one dark blue that prints as black."""
    found = re.findall(r"(?:fill|stroke)=\"([^\"]+)\"", read(f"docs/images/{name}"))
    assert set(found) <= {"none", "#111", "#fff", "#eee", "#ddd", "#bbb", "#0a3d91"}


def test_the_front_has_the_private_lamp_on_the_left():
    at = {
        "".join(text.itertext()): float(text.get("x", ""))
        for text in drawing("box-front.svg").iter(f"{SVG}text")
    }
    assert at["PRIVAT"] < at["SIARAN"]
