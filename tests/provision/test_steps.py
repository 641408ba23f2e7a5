"""A box started with a card in it, and started again; and with the power cut at every step between."""

from __future__ import annotations

import json
import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from edge_agent import whole
from edge_agent.config import ConfigError, read_secret
from edge_agent.core.renewal import Fate
from edge_agent.pairs import Pairs
from edge_agent.provision.card import Card
from edge_agent.provision.keep import Kept, NotOurs
from tests.support.filled_card import BOX_TOML, CITY, SHELL_KEY, FilledCard
from tests.support.local_ca import DAY_S, now_s, pem


@pytest.fixture
def box(tmp_path: Path) -> FilledCard:
    return FilledCard(tmp_path)


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def pairs_of(box: FilledCard) -> Pairs:
    tls = box.settings().hub.tls
    assert tls is not None
    return Pairs(tls, str(box.root / "pairs"), secret=read_secret)


# ---- the first starts ----


def test_a_flashed_box_runs_before_the_city_has_signed_and_asks_for_its_certificate(box):
    assert box.start() == 1  # somebody has to take box.csr to the city
    assert box.settings().identity.box == "box-1"
    assert "hub/box.pem      BELUM ADA" in box.result
    assert "hub/box.pem      NONE YET" in box.result
    assert box.request().is_signature_valid
    assert box.request().subject.rfc4514_string() == "CN=kuningan/rw-03/rt-05/box-1"
    assert pairs_of(box).offer().name == "configured"  # a pair that no hub takes, but a pair
    camera = box.settings().cameras[0].password
    assert camera is not None
    assert read_secret(camera) == "kata-sandi"
    assert not box.secrets_shown()


def test_with_the_citys_certificate_on_the_card_everything_is_in_use(box):
    box.start()
    box.put("hub/box.pem", box.sign().replace(b"\n", b"\r\n"))
    assert box.start() == 0
    assert "SEMUA DITERIMA" in box.result
    assert "ALL ACCEPTED" in box.result
    pair = pairs_of(box).offer()
    assert pair.leaf.issuer == CITY.name
    key = load_pem_private_key(pair.key, None)
    assert key.public_key() == pair.leaf.public_key()


def test_the_key_is_made_once_and_never_leaves_the_box(box):
    box.start()
    raw = (box.config / "box.key").read_bytes()
    assert stat.S_IMODE((box.config / "box.key").stat().st_mode) == 0o640
    box.edit("box.toml", "box-1", "box-2")
    box.start()
    assert (box.config / "box.key").read_bytes() == raw
    assert box.request().subject.rfc4514_string() == "CN=kuningan/rw-03/rt-05/box-2"
    assert not any(b"PRIVATE" in content for content in tree(box.folder).values())


def test_a_renewed_certificate_outlives_each_reading_of_the_card_but_not_a_new_one_on_it(box):
    """The city's first certificate stays on the card for years, and must not bring back its own expiry."""
    box.start()
    box.put("hub/box.pem", box.sign())
    box.start()
    pairs = pairs_of(box)
    key = pairs.request_key()
    renewed = pairs.keep(
        pem(CITY.issue("kuningan/rw-03/rt-05/box-1", key.public_key(), hosts=())), key
    )
    assert pairs.worked(renewed) is Fate.KEEP
    box.edit("box.toml", "192.168.1.64", "192.168.1.65")
    assert box.start() == 0
    assert pairs_of(box).offer().certificate == renewed.certificate
    (box.folder / "hub/box.pem").unlink()
    box.start()
    assert pairs_of(box).offer().certificate == renewed.certificate
    fresh = box.sign()
    box.put("hub/box.pem", fresh)
    box.start()
    assert (pairs_of(box).offer().name, pairs_of(box).offer().certificate) == ("configured", fresh)


def test_a_card_that_says_the_same_is_not_judged_and_not_written_again(box):
    box.start()
    before, record = tree(box.folder), (box.config / "provisioned.json").stat()
    written = (box.folder / "RESULT.txt").stat()
    box.said.clear()
    box.start()
    assert box.said == ["the card says what it said before"]
    assert tree(box.folder) == before
    assert (box.folder / "RESULT.txt").stat().st_ino == written.st_ino
    assert (box.config / "provisioned.json").stat().st_ino == record.st_ino


@pytest.mark.parametrize("damage", ["torn", "gone", "a folder"])
def test_an_answer_that_a_cut_tore_is_written_again(box, damage):
    box.start()
    path, whole_text = box.folder / "RESULT.txt", box.result
    path.unlink()
    if damage == "torn":
        path.write_text(whole_text[:30])
    if damage == "a folder":
        path.mkdir()
    code = box.start()
    assert code == 1
    if damage == "a folder":
        assert "the answer cannot be written" in box.said[-1]
    else:
        assert box.result == whole_text


SHIPPED = Path(__file__).parents[2] / "image-build/card"


def test_the_card_as_it_is_flashed_needs_the_citys_files_and_a_password_and_nothing_else(box):
    names = ["box.toml", "network.toml", "README.txt", "hub/README.txt", "secrets/README.txt"]
    assert sorted(tree(SHIPPED)) == sorted(names)
    for name in names:
        raw = (SHIPPED / name).read_bytes()
        box.put(name, raw)
        # A notice is opened by Notepad of any age; the two others are edited, by whatever comes along.
        assert (raw.count(b"\r\n") == raw.count(b"\n")) == name.endswith("README.txt")
    box.start()
    box.put("hub/box.pem", box.sign())
    assert box.start() == 0, box.result
    assert box.settings().cameras[0].id == "gang-mawar"
    assert "Yang perlu diketahui" not in box.result
    box.put("box.toml", (SHIPPED / "box.toml").read_text().replace("\n#:order_key", "\norder_key"))
    assert box.start() == 0, box.result


# ---- each part by itself ----


def test_a_slip_in_the_network_does_not_cost_the_box_its_configuration(box):
    box.edit("network.toml", "sangat rahasia", "pendek")
    box.start()
    assert box.settings().identity.box == "box-1"
    assert "box.toml         dipakai" in box.result
    assert "network.toml     DITOLAK" in box.result
    assert "wifi.password, baris 8" in box.result
    assert "pendek" not in box.result
    assert "DHCP=yes" in (box.root / "networkd/20-edge-agent-wired.network").read_text()
    assert not list(box.root.glob("wifi/*"))


def test_a_slip_in_box_toml_leaves_the_last_good_one_in_use_and_takes_the_network(box):
    box.start()
    box.edit("box.toml", 'switch = "latching"', 'swich = "latching"')
    box.edit("network.toml", "192.168.1.50/24", "192.168.1.51/24")
    assert box.start() == 1
    assert box.settings().privacy.switch.value == "latching"
    assert "box.toml         DITOLAK; pengaturan sebelumnya tetap dipakai" in box.result
    assert "REFUSED; the one from before stays in use" in box.result
    assert "mungkin maksudnya switch" in box.result
    assert "did you mean switch?" in box.result
    wired = (box.root / "networkd/20-edge-agent-wired.network").read_text()
    assert "Address=192.168.1.51/24" in wired
    assert json.loads((box.config / "provisioned.json").read_text())["trouble"] == [
        "box.toml",
        "hub/box.pem",
    ]


def test_a_slip_in_box_toml_does_not_hold_back_the_certificate(box):
    box.start()
    box.put("hub/box.pem", box.sign())
    box.edit("box.toml", "[privacy]", "[privaci]")
    assert box.start() == 1
    assert pairs_of(box).offer().leaf.issuer == CITY.name
    assert "hub/box.pem      dipakai; sampai 20" in box.result


def test_another_boxs_certificate_is_refused_and_the_one_in_use_stays(box, tmp_path):
    box.start()
    own = box.sign()
    box.put("hub/box.pem", own)
    box.start()
    other = FilledCard(tmp_path / "other")
    other.start()
    box.put("hub/box.pem", other.sign())
    assert box.start() == 1
    assert pairs_of(box).offer().certificate == own
    assert "sertifikat untuk kotak lain" in box.result
    assert "the certificate of another box" in box.result


def test_a_certificate_of_last_year_does_not_replace_this_years(box):
    box.start()
    old, new = box.sign(begin_s=now_s() - 400 * DAY_S), box.sign()
    for each in (old, new):
        box.put("hub/box.pem", each)
        assert box.start() == 0
    box.put("hub/box.pem", old)
    assert box.start() == 1
    assert pairs_of(box).offer().certificate == new
    assert "hub/box.pem: older than the one in use" in box.result


def test_without_its_data_partition_the_box_runs_and_asks_for_no_certificate(box, tmp_path):
    """Its key is another one at each start: the city's answer would come for a key that is gone."""
    box.places = replace(box.places, data=tmp_path)  # a folder: nothing is mounted on it
    assert box.start() == 1
    assert box.settings().identity.box == "box-1"
    assert pairs_of(box).offer().name == "configured"
    assert not (box.folder / "box.csr").exists()
    assert "EDGEDATA: the card's data partition cannot be used" in box.result
    assert "send box.csr from this card to the city" not in box.result
    box.places = replace(box.places, data=Path("/"))
    box.edit("box.toml", "192.168.1.64", "192.168.1.65")
    box.start()
    assert (box.folder / "box.csr").exists()
    assert "EDGEDATA" not in box.result


def test_without_any_good_configuration_there_is_none_and_all_faults_are_told_at_once(box):
    box.edit("box.toml", 'box = "box-1"', 'box = "Box 1"')
    box.edit("box.toml", 'kind = "rtsp"', 'kind = "rtspp"')
    (box.folder / "hub/hub-ca.pem").unlink()
    assert box.start() == 1
    assert not (box.config / "box.toml").exists()
    assert "kotak belum punya pengaturan dan belum bekerja" in box.result
    english = box.result.split("WHAT THE BOX")[1]
    for place in ("identity.box, line 5", "camera[0].kind, line 16", "hub.ca_file, line 9"):
        assert place in english
    assert "hub/hub-ca.pem: no such file" in english
    assert str(box.root) not in box.result


def test_a_secret_that_is_not_on_the_card_is_missed(box):
    (box.folder / "secrets/camera").unlink()
    box.start()
    assert not (box.config / "box.toml").exists()
    assert "camera[0].password_file, line 19" in box.result


def test_time_servers_host_name_and_files_have_the_rights_their_readers_need(box):
    box.start()
    modes = {
        path.relative_to(box.root).as_posix(): stat.S_IMODE(path.stat().st_mode)
        for folder in ("networkd", "wifi", "timesyncd")
        for path in (box.root / folder).iterdir()
    }
    assert modes == {
        "networkd/10-edge-agent-cameras.network": 0o644,
        "networkd/20-edge-agent-wired.network": 0o644,
        "networkd/30-edge-agent-wifi.network": 0o644,
        "wifi/wpa_supplicant-wlan0.conf": 0o600,
        "timesyncd/edge-agent.conf": 0o644,
    }
    assert stat.S_IMODE((box.root / "networkd").stat().st_mode) & 0o005 == 0o005
    assert stat.S_IMODE((box.config / "network.toml").stat().st_mode) == 0o600
    assert box.hosts == ["kuningan-rw-03-rt-05-box-1"]
    text = (box.root / "timesyncd/edge-agent.conf").read_text()
    assert text == "[Time]\nNTP=ntp.example.org\n"


def test_what_the_system_forgot_over_a_restart_is_written_again_from_what_is_kept(box):
    box.start()
    before = tree(box.root / "networkd")
    shutil.rmtree(box.root / "networkd")
    shutil.rmtree(box.folder)  # and the card cannot be read any more
    box.folder.mkdir()
    assert box.start() == 1
    assert tree(box.root / "networkd") == before
    assert box.settings().identity.box == "box-1"
    assert not list(box.folder.iterdir())


def test_a_card_that_hangs_does_not_cost_the_box_its_network(box, monkeypatch):
    box.start()
    before = tree(box.root / "networkd"), tree(box.root / "wifi")
    shutil.rmtree(box.root / "networkd")
    shutil.rmtree(box.root / "wifi")

    def hang(*_: object) -> None:  # until systemd ends it
        raise PowerCut

    with monkeypatch.context() as patch:
        patch.setattr(Card, "read", hang)
        with pytest.raises(PowerCut):
            box.start()
    assert (tree(box.root / "networkd"), tree(box.root / "wifi")) == before


def test_a_network_toml_that_is_gone_does_not_cost_a_box_its_wifi(box):
    """A card that lost one file would else take a box off the air that nobody can reach without a ladder."""
    box.start()
    before = tree(box.root / "networkd"), tree(box.root / "wifi")
    (box.folder / "network.toml").unlink()
    assert box.start() == 1
    assert (tree(box.root / "networkd"), tree(box.root / "wifi")) == before
    assert "network.toml     REFUSED; the network settings from before stay in use" in box.result
    assert "an empty one means wired, by DHCP" in box.result


def test_a_box_that_never_had_a_network_toml_asks_for_an_address(box):
    (box.folder / "network.toml").unlink()
    box.start()
    assert "DHCP=yes" in (box.root / "networkd/20-edge-agent-wired.network").read_text()
    assert "not on the card: wired, by DHCP" in box.result


def test_wifi_that_is_taken_out_of_the_file_is_gone_from_the_system(box):
    box.start()
    box.put("network.toml", "")
    box.start()
    assert [path.name for path in (box.root / "networkd").iterdir()] == [
        "20-edge-agent-wired.network"
    ]
    assert not list((box.root / "wifi").iterdir())
    assert "network.toml     in use" in box.result


def test_ssh_is_on_only_while_the_card_has_a_key(box):
    box.start()
    assert not (box.root / "ssh").exists()
    assert "SSH mati" in box.result
    box.put("authorized_keys", f"{SHELL_KEY} teknisi\n")
    box.start()
    assert (box.root / "ssh/authorized_keys").read_text() == f"{SHELL_KEY} teknisi\n"
    assert "SSH is on; keys: 1" in box.result
    (box.folder / "authorized_keys").unlink()
    box.start()
    assert not (box.root / "ssh/authorized_keys").exists()


def test_a_key_file_that_was_spoilt_leaves_no_old_key_in_force(box):
    """Whoever replaces a key wants the old one gone, whatever became of the new one."""
    box.put("authorized_keys", SHELL_KEY)
    box.start()
    box.put("authorized_keys", SHELL_KEY[:40])
    assert box.start() == 1
    assert not (box.root / "ssh/authorized_keys").exists()


# ---- worst days ----


def test_a_configuration_written_by_hand_is_left_alone(box):
    (box.config / "box.toml").write_text("by hand")
    with pytest.raises(NotOurs):
        box.start()
    assert (box.config / "box.toml").read_text() == "by hand"


def test_a_damaged_configuration_is_taken_from_the_card_again(box):
    box.start()
    kept = next((box.config / "kept").iterdir())
    (kept / "box.toml").write_bytes(b"\xff" * 10)
    box.start()
    assert box.settings().identity.box == "box-1"


def test_a_damaged_configuration_gives_way_to_the_one_before_if_the_card_is_no_better(box):
    box.start()
    box.edit("box.toml", "192.168.1.64", "192.168.1.65")
    box.start()
    (box.config / "now/box.toml").write_bytes(b"\xff" * 10)
    box.edit("box.toml", "[privacy]", "[")
    assert box.start() == 1
    assert box.settings().cameras[0].source == "rtsp://192.168.1.64/x"


SWITCHES = ("latching", "momentary", "none")
TABLE = [
    # switch of the one before, of the one in use, its place, whether what is noted of it is there: may the one before be used?
    *((s, s, "rt-05", True, True) for s in SWITCHES),
    ("latching", "none", "rt-05", True, True),
    ("momentary", "none", "rt-05", True, True),
    ("none", "latching", "rt-05", True, False),
    ("none", "momentary", "rt-05", True, False),
    # A push button lets go at once: read as a latching switch it would open what a press has closed.
    ("latching", "momentary", "rt-05", True, False),
    ("momentary", "latching", "rt-05", True, False),
    *((s, s, "rt-06", True, False) for s in SWITCHES),
    *((s, s, "rt-05", False, False) for s in SWITCHES),
]


@pytest.mark.parametrize("row", TABLE)
def test_an_older_configuration_is_used_only_if_no_picture_gets_out_by_it(box, row):
    older, newer, rt, noted, used = row

    def write(switch: str, rt: str, host: str) -> None:
        text = BOX_TOML.replace("latching", switch).replace("rt-05", rt)
        box.put("box.toml", text.replace("192.168.1.64", host))

    write(older, "rt-05", "192.168.1.64")
    box.start()
    write(newer, rt, "192.168.1.65")
    box.start()
    assert box.settings().privacy.switch.value == newer
    (box.config / "now/box.toml").write_bytes(b"\xff" * 10)
    if not noted:
        (box.config / "provisioned.json").write_bytes(b"{")
    box.put("box.toml", "[")
    for _ in range(2):  # and not at the start after that either
        assert box.start() == 1
        assert (box.config / "box.toml").exists() is used
    if used:
        assert box.settings().privacy.switch.value == older
    else:
        assert "kotak belum punya pengaturan dan belum bekerja" in box.result
        assert "the one before it is not used" in " ".join(box.result.split())
    write(newer, rt, "192.168.1.65")
    box.start()
    assert box.settings().privacy.switch.value == newer


CAMERA_TOO = """
[[camera]]
id = "alley"
name = "Alley"
kind = "rtsp"
url = "rtsp://192.168.1.66/x"
"""


@pytest.mark.parametrize(
    ("older", "newer", "used"),
    [
        ("", CAMERA_TOO, True),
        (CAMERA_TOO, "", False),  # taken off the box: its view is still known there
        ("", "", True),
    ],
)
def test_a_camera_that_was_taken_off_does_not_come_back_by_damage(box, older, newer, used):
    for more, host in ((older, "192.168.1.64"), (newer, "192.168.1.65")):
        box.put("box.toml", BOX_TOML.replace("192.168.1.64", host) + more)
        box.start()
        assert len(box.settings().cameras) == 1 + bool(more)
    (box.config / "now/box.toml").write_bytes(b"\xff" * 10)
    box.put("box.toml", "[")
    box.start()
    assert (box.config / "box.toml").exists() is used


@pytest.mark.parametrize("line", ["nc_pin = 5", "purge_s = 10.0"])
def test_a_switch_that_was_wired_otherwise_does_not_come_back_by_damage(box, line):
    box.put("box.toml", BOX_TOML.replace("[privacy]", f"[privacy]\n{line}"))
    box.start()
    box.put("box.toml", BOX_TOML)
    box.start()
    assert box.settings().privacy.nc_pin == 17
    (box.config / "now/box.toml").write_bytes(b"\xff" * 10)
    box.put("box.toml", "[")
    box.start()
    assert not (box.config / "box.toml").exists()


def test_without_a_card_too_nothing_less_strict_is_used(box):
    box.put("box.toml", BOX_TOML.replace("latching", "none"))
    box.start()
    box.put("box.toml", BOX_TOML)
    box.start()
    (box.config / "now/box.toml").write_bytes(b"\xff" * 10)
    shutil.rmtree(box.folder)
    box.folder.mkdir()
    assert box.start() == 1
    assert not (box.config / "box.toml").exists()
    assert "the one before it is not used" in "\n".join(box.said)


def test_a_damaged_key_is_never_replaced_and_what_was_renewed_goes_on(box):
    box.start()
    box.put("hub/box.pem", box.sign())
    box.start()
    certificate = pairs_of(box).offer().certificate
    (box.config / "box.key").write_bytes(b"\x00" * 200)
    box.edit("box.toml", "192.168.1.64", "192.168.1.65")
    assert box.start() == 1
    assert (box.config / "box.key").read_bytes() == b"\x00" * 200
    assert (box.config / "hub/box.pem").read_bytes() == certificate
    assert "kunci kotak di kartu ini rusak" in box.result


@pytest.mark.parametrize("name", ["provisioned.json", "RESULT.txt"])
@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b'{"digest": 1}', b"[" * 50_000])
def test_notes_of_the_last_reading_may_be_damaged(box, name, raw):
    box.start()
    (box.config / name).write_bytes(raw)
    assert box.start() == 1
    assert box.settings().identity.box == "box-1"


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("box.key", None),
        *(("network.toml", raw) for raw in (None, b"", b"\xff")),
        *(("authorized_keys", raw) for raw in (None, b"", b"\xff")),
    ],
)
def test_what_is_kept_and_was_damaged_is_taken_from_the_card_again(box, name, raw):
    box.put("authorized_keys", SHELL_KEY)
    box.start()
    (box.config / name).unlink()
    if raw is not None:
        (box.config / name).write_bytes(raw)
    box.start()
    assert (
        "Address=192.168.1.50/24" in (box.root / "networkd/20-edge-agent-wired.network").read_text()
    )
    assert (box.root / "ssh/authorized_keys").read_text() == f"{SHELL_KEY}\n"
    assert pairs_of(box).offer().name == "configured"


def test_a_configuration_that_a_stricter_agent_cannot_run_on_is_hidden_from_it(box):
    """The lamps show it then; the agent of the other slot, which took it, finds it again."""
    box.start()
    kept = Kept(box.config)
    files = {"box.toml": BOX_TOML.replace("[privacy]", "[privacy]\nolden = 1").encode()}
    kept.install(kept.stage(files))
    box.edit("box.toml", "[privacy]", "[privacy]\nolden = 1")
    for _ in range(2):
        assert box.start() == 1
        assert not (box.config / "box.toml").exists()
        assert "Pembacaan ke-2" in box.result
    assert (box.config / "now/box.toml").exists()


def test_storage_that_takes_no_writes_is_told_on_the_card(box, monkeypatch):
    box.start()
    box.edit("box.toml", "box-1", "box-2")

    def full(path: Path, raw: bytes, *, mode: int = 0) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(whole, "write", full)
        assert box.start() == 2
    assert "penyimpan" in box.result
    assert "No space left on device" in box.result
    assert box.settings().identity.box == "box-1"
    assert box.start() == 1
    assert box.settings().identity.box == "box-2"


def test_dates_are_judged_only_by_a_clock_that_something_vouches_for(box):
    box.start()
    box.put("hub/box.pem", box.sign(begin_s=1_000_000_000.0, end_s=1_100_000_000.0))
    assert box.start() == 0  # a box that woke in 1970 says until when, and nothing more
    assert "2004-11-09" in box.result
    box.clock.vouched, box.clock.wall_s = True, 1_700_000_000.0
    box.edit("box.toml", "192.168.1.64", "192.168.1.65")
    assert box.start() == 1
    assert "expired on 2004-11-09" in box.result


# ---- the power goes ----


class PowerCut(BaseException):
    """Nothing after this instant happens."""


class Meter:
    """Cuts the power before or after the n-th call that changes a disk; what was not synced by then is empty afterwards."""

    def __init__(self, patch: pytest.MonkeyPatch, root: Path) -> None:
        self.left = 0
        self._root = root
        self._open = os.open
        self._safe = {path.stat().st_ino for path in root.rglob("*") if path.is_file()}
        for owner, names in (
            (os, ("open", "replace")),
            (Path, ("replace", "unlink", "symlink_to", "mkdir")),
            (shutil, ("rmtree",)),
        ):
            for name in names:
                patch.setattr(owner, name, self._stepped(getattr(owner, name)))
        patch.setattr(os, "fsync", self._stepped(self._sync))

    def _sync(self, descriptor: int) -> None:
        # A page cache never really loses anything here, so nothing is gained by waiting for the disk.
        self._safe.add(os.fstat(descriptor).st_ino)

    def _stepped(self, original):
        def call(*arguments, **named):
            reads = original is self._open and not arguments[1] & os.O_WRONLY
            if not reads:
                self._step()
            done = original(*arguments, **named)
            if not reads:
                self._step()
            return done

        return call

    def _step(self) -> None:
        self.left -= 1
        if self.left != 0:
            return
        for path in list(self._root.rglob("*")):
            if path.is_file() and path.stat().st_ino not in self._safe:
                os.truncate(path, 0)
        raise PowerCut


def answers(box: FilledCard) -> tuple[str, str, bytes]:
    """What the agent would run on, as one value: from box.toml, hub/ and secrets/ together."""
    settings = box.settings()
    tls, camera = settings.hub.tls, settings.cameras[0].password
    assert tls is not None
    assert camera is not None
    certificate = Path(tls.certificate_file).read_bytes()
    return settings.identity.box, read_secret(camera), certificate


@pytest.mark.parametrize("first", [True, False])
def test_the_power_may_go_at_any_step(tmp_path, monkeypatch, first):
    """Before and after each call that changes the disk: what the agent would start on is the old configuration or the new one,
    never a mixture, and the next start ends as if nothing had happened."""
    cuts = count = 0
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # see Meter
    while True:
        count += 1
        box = FilledCard(tmp_path / str(count))
        old = new = None
        if not first:
            box.start()
            old = answers(box)
            box.put("hub/box.pem", box.sign())
            box.put("secrets/camera", "yang-baru")
            box.edit("box.toml", "box-1", "box-2")
        inputs = {name: raw for name, raw in tree(box.folder).items() if name not in ANSWERS}
        ended = False
        with monkeypatch.context() as patch:
            meter = Meter(patch, box.root)
            meter.left = count
            try:
                box.start()
                ended = True
            except PowerCut:
                cuts += 1
            meter.left = 0
        if old is None:
            try:
                between = answers(box)
            except ConfigError:
                between = None  # the first start of all: nothing yet
        else:
            between = answers(box)
        box.start()
        new = answers(box)
        assert between in (old, new), count
        assert new[:2] == (("box-1", "kata-sandi") if first else ("box-2", "yang-baru"))
        if not first:
            assert new[2] == inputs["hub/box.pem"]
        assert {n: r for n, r in tree(box.folder).items() if n not in ANSWERS} == inputs
        assert (
            box.request().public_key()
            == load_pem_private_key((box.config / "box.key").read_bytes(), None).public_key()
        )
        assert box.result.count("Pembacaan ke-") == 1
        left = {path.name for path in (box.config / "kept").iterdir()}
        assert len(left) == (1 if first else 2), left
        assert not list(box.config.glob(".*"))
        if ended:
            break
    assert cuts > 60


ANSWERS = {"RESULT.txt", "box.csr", "RESULT.new", "box.new"}


# ---- hostile cards ----


def test_no_card_whatever_is_on_it_gives_anything_but_an_answer(tmp_path, monkeypatch):
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    names = (
        *("box.toml", "network.toml", "authorized_keys", "hub/hub-ca.pem", "hub/hub-orders.pem"),
        *("hub/box.pem", "secrets/camera", "secrets/x.txt", "box.toml.txt", "boks.toml"),
    )
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    base = FilledCard(tmp_path / "base")
    base.start()
    base.put("hub/box.pem", base.sign())
    sound = tree(base.folder)
    nasty = st.one_of(
        st.binary(max_size=300),
        st.text(max_size=200).map(lambda text: text.encode("utf-16", "surrogatepass")),
        st.text(alphabet='[]="\\\n{}.#a1\x00é“', max_size=80).map(str.encode),
        st.sampled_from(
            [b"[" * 3000, b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"]
        ),
    )
    spoilt = st.tuples(nasty, st.integers(0, 2000), st.booleans())
    runs = iter(range(10**9))

    @settings(
        max_examples=80,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(st.dictionaries(st.sampled_from(names), spoilt, min_size=1, max_size=4))
    def judge(changes):
        box = FilledCard(tmp_path / str(next(runs)))
        for name, (raw, at, within) in changes.items():
            good = sound.get(name, b"")
            cut = min(at, len(good))
            box.put(name, good[:cut] + raw + good[cut:] if within else raw)
        assert box.start() in (0, 1)
        assert box.result.endswith("\r\n")
        assert box.start() in (0, 1)
        for name in names:  # and a good card afterwards is taken
            (box.folder / name).unlink(missing_ok=True)
        for name, raw in sound.items():
            if name not in {"RESULT.txt", "box.csr", "hub/box.pem"}:
                box.put(name, raw)
        box.start()
        assert box.settings().identity.box == "box-1"
        assert "box.toml         dipakai" in box.result
        shutil.rmtree(box.root)

    judge()


def test_a_sound_box_toml_that_cannot_be_used_from_a_card_is_refused_at_the_key(box):
    """Anything named by a path off the card, or that would hand the key to a camera."""
    for old, new, place in (
        ('"secrets/camera"', '"box.key"', "camera[0].password_file"),
        ('"secrets/camera"', '"/etc/hostname"', "camera[0].password_file"),
        ('"hub/hub-ca.pem"', f'"{box.config}/../firmware/hub/hub-ca.pem"', "hub.ca_file"),
        ('key_file = "box.key"', 'key_file = "secrets/camera"', "hub.key_file"),
        ('"hub/hub-orders.pem"', f'"{box.folder}/hub/hub-orders.pem"', "hub.order_key_file"),
        ('"hub/box.pem"', '"hub/hub-ca.pem"', "hub.certificate_file"),
        (
            'kind = "rtsp"\nurl = "rtsp://192.168.1.64/x"',
            'kind = "clip"\npath = "hub"',
            "camera[0]",
        ),
        ('"latching"', '"latching"\n[journal]\nfolder = "journal"', "journal.folder"),
        ('"rt-05"', f'"{"r" * 48}"', "identity"),
    ):
        box.put("box.toml", BOX_TOML.replace(old, new))
        box.start()
        assert f"box.toml: {place}" in box.result, place
        assert not (box.config / "box.toml").exists()
