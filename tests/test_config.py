"""A technician's file: sound, or every fault of it at once, and never a secret on the screen."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
import tomli
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent import baselines, config
from edge_agent.config import (
    ConfigError,
    SecretError,
    check,
    load,
    main_check,
    read_secret,
    secret_path,
)
from edge_agent.core.settings import (
    CameraKind,
    DigitalLoop,
    Electrics,
    LoopOpenPolicy,
    MeasuredLoop,
    Relay,
    SecretRef,
    Settings,
    Settlement,
    SwitchKind,
)
from tests.support import build

EXAMPLE = Path(__file__).parents[1] / "docs" / "box.example.toml"
SECRET = "hunter2-rahasia"

SOUND = """
[identity]
kelurahan = "kuningan"
rw = "03"
rt = "05"
box = "box-1"
[hub]
host = "127.0.0.1"
[[camera]]
id = "gate"
name = "Gate"
kind = "rtsp"
url = "rtsp://192.168.1.64/main"
[[camera]]
id = "bridge"
kind = "http"
url = "http://192.168.1.65/snap.jpg"
[[run]]
camera = "gate"
cable = "cat5e-outdoor"
length_m = 50
loop_pin = 5
[privacy]
switch = "latching"
"""


@pytest.fixture(autouse=True)
def no_service(monkeypatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)


def write(folder: Path, text: str) -> str:
    path = folder / "box.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def faults(folder: Path, text: str) -> dict[str, config.ConfigFault]:
    with pytest.raises(ConfigError) as caught:
        load(write(folder, text))
    assert SECRET not in str(caught.value)
    found = {fault.where.removeprefix("box.toml: "): fault for fault in caught.value.faults}
    assert len(found) == len(caught.value.faults), "two faults at one place"
    for fault in caught.value.faults:
        assert fault.found
        assert fault.allowed
        assert fault.remedy
    return found


def only_fault(folder: Path, text: str) -> config.ConfigFault:
    (fault,) = faults(folder, text).values()
    return fault


def secret_file(
    folder: Path, name: str = "camera.password", text: str = SECRET + "\n", mode: int = 0o640
) -> Path:
    path = folder / name
    path.write_text(text)
    path.chmod(mode)
    return path


def pem(folder: Path, name: str, label: str, mode: int = 0o644) -> Path:
    return secret_file(
        folder, name, f"-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n", mode
    )


# ---- sound files ----


def test_the_example_is_sound_as_it_stands():
    result = check(str(EXAMPLE))
    assert (result.exit_code, result.faults) == (0, ())
    assert result.settings is not None
    assert [camera.id for camera in result.settings.cameras] == ["gang-mawar", "jalan-melati"]
    assert result.settings.cameras[1].source == (
        "http://192.168.1.10/ISAPI/ContentMgmt/StreamingProxy/channels/201/picture"
    )
    assert result.settings.runs[0].loop == MeasuredLoop(channel=0)
    assert result.settings.runs[0].gps == (-6.9831, 110.3886)
    assert result.settings.runs[1].nvr_events


def test_the_examples_other_lines_are_sound_too(tmp_path):
    text = EXAMPLE.read_text(encoding="utf-8")
    text = text.replace('host = "127.0.0.1"\nport = 1883\n', "")
    text = re.sub(r"(?m)^#:", "", text)
    for name, label in (
        ("hub-ca.pem", "CERTIFICATE"),
        ("box.pem", "CERTIFICATE"),
        ("hub-orders.pem", "PUBLIC KEY"),
    ):
        pem(tmp_path, name, label)
    pem(tmp_path, "box.key", "PRIVATE KEY", 0o600)
    found = load(write(tmp_path, text))
    assert found.hub.tls is not None
    assert found.hub.tls.ca_file == str(tmp_path / "hub-ca.pem")
    assert found.hub.tls.key == SecretRef(file=str(tmp_path / "box.key"))
    assert found.hub.order_key_file == str(tmp_path / "hub-orders.pem")
    assert found.hub.port == 8883
    assert found.cameras[2].kind is CameraKind.V4L2
    run = found.runs[0]
    assert run.loop == MeasuredLoop(channel=0)
    assert (run.video_pin, run.alarm_pin, run.current_channel) == (20, 21, 0)
    assert found.runs[1].interface == "eth1"
    assert found.electrics == Electrics(
        power_pin=26, door_channel=7, mains_pin=6, shutdown_pin=12, service_pin=18
    )


def test_a_short_file_gets_the_usual_values(tmp_path):
    found = load(write(tmp_path, SOUND))
    assert found.hub.settle is Settlement.WATERMARK
    assert (found.hub.port, found.hub.tls, found.hub.order_key_file) == (1883, None, None)
    assert found.cameras[1].name == "bridge"
    assert found.cameras[0].period_s == 10
    assert (found.privacy.nc_pin, found.privacy.no_pin) == (17, 27)
    assert (found.privacy.lamp_private_pin, found.privacy.lamp_live_pin) == (23, 22)
    assert found.journal.quota_bytes == 2_000_000_000
    assert found.journal.disk_floor_bytes == 500_000_000
    assert found.health.disk_free_min_bytes == 1_000_000_000
    assert found.views_folder == "/var/lib/edge-agent/views"
    assert found.status_socket == "/run/edge-agent/status.sock"
    assert found.simulated is False


def test_all_that_can_be_said_arrives(tmp_path):
    secret_file(tmp_path)
    extra = """
lamp_private_pin = false
lamp_live_pin = 24
purge_s = 0
[journal]
folder = "j"
quota_mb = 100
disk_floor_mb = 60
[health]
cpu_celsius_max = 70
disk_free_min_mb = 70
memory_used_max_percent = 50.5
report_s = 60
[paths]
views_folder = "../v"
status_socket = "s.sock"
"""
    text = SOUND.replace(
        'snap.jpg"',
        'snap.jpg"\nusername = "agent"\npassword_file = "camera.password"\nperiod_s = 2.5',
    )
    found = load(write(tmp_path, text.replace("[hub]", '[hub]\nsettle = "broker"') + extra))
    assert found.hub.settle is Settlement.BROKER
    assert found.cameras[1].username == "agent"
    assert found.cameras[1].password == SecretRef(file=str(tmp_path / "camera.password"))
    assert found.cameras[1].period_s == 2.5
    assert (found.privacy.lamp_private_pin, found.privacy.lamp_live_pin, found.privacy.purge_s) == (
        None,
        24,
        0,
    )
    assert found.journal.folder == str(tmp_path / "j")
    assert (found.journal.quota_bytes, found.journal.disk_floor_bytes) == (100_000_000, 60_000_000)
    assert found.health.cpu_celsius_max == 70
    assert found.health.disk_free_min_bytes == 70_000_000
    assert (found.health.memory_used_max_percent, found.health.report_s) == (50.5, 60)
    assert found.views_folder == str(tmp_path.parent / "v")
    assert found.status_socket == str(tmp_path / "s.sock")


def test_a_byte_order_mark_from_windows_is_no_fault(tmp_path):
    path = tmp_path / "box.toml"
    path.write_bytes(b"\xef\xbb\xbf" + SOUND.replace("\n", "\r\n").encode())
    assert load(str(path)).identity.rw == "03"


def test_the_relay_the_buzzer_and_the_feedback_are_read(tmp_path):
    more = 'relay = "pump"\nrelay_pin = 12\nfeedback_pin = 19\nbuzzer_pin = 24\ncut_power = false\n'
    text = SOUND.replace('switch = "latching"\n', 'switch = "latching"\n' + more)
    found = load(write(tmp_path, text)).privacy
    assert (found.relay, found.relay_pin, found.feedback_pin) == (Relay.PUMP, 12, 19)
    assert (found.buzzer_pin, found.cut_power) == (24, False)
    not_fitted = "feedback_pin = false\nbuzzer_pin = false\n"
    found = load(
        write(
            tmp_path, SOUND.replace('switch = "latching"\n', 'switch = "latching"\n' + not_fitted)
        )
    ).privacy
    assert (found.feedback_pin, found.buzzer_pin) == (None, None)
    assert (found.relay, found.cut_power) == (Relay.NONE, True)


def test_a_push_button_leaves_the_second_pin_free_and_an_undriven_relay_its_own(tmp_path):
    text = SOUND.replace('switch = "latching"', 'switch = "momentary"\nnc_pin = 12')
    text = text.replace("loop_pin = 5", "loop_pin = 27\nvideo_pin = 16\nalarm_pin = 17")
    found = load(write(tmp_path, text))
    assert found.privacy.switch is SwitchKind.MOMENTARY
    assert found.privacy.nc_pin == 12
    assert found.runs[0].loop == DigitalLoop(pin=27)


def test_the_faults_of_a_relay_are_all_named_at_once(tmp_path):
    more = "relay_pin = 7\ncut_power = 1\nfeedback_pin = 28\nbuzzer_pin = true\n"
    text = SOUND.replace('switch = "latching"', f'switch = "latching"\nrelay = "on"\n{more}')
    assert set(faults(tmp_path, text)) == {
        f"privacy.{key}"
        for key in ("relay", "relay_pin", "cut_power", "feedback_pin", "buzzer_pin")
    }


def test_a_relay_on_the_port_of_the_adcs_is_named(tmp_path):
    text = WIRED.replace(
        'switch = "latching"', 'switch = "latching"\nrelay = "force_off"\nrelay_pin = 10'
    )
    assert "ADC" in faults(tmp_path, text)["privacy.relay_pin"].found


def test_the_check_says_what_a_press_does(tmp_path):
    said = config.check(write(tmp_path, SOUND)).text
    assert "privacy: a latching switch; no relay driven; no feedback read; a press dest" in said
    assert "the 60 s before it" in said
    more = 'switch = "momentary"\nrelay = "force_off"\nfeedback_pin = 19\ncut_power = false\npurge_s = 7.5'
    said = config.check(write(tmp_path, SOUND.replace('switch = "latching"', more))).text
    assert "a momentary button (press = private, hold 3 s = resume)" in said
    assert "by GPIO16, but private leaves the cameras their power; feedback on GPIO19" in said
    assert "the 7.5 s before it" in said
    said = config.check(write(tmp_path, SOUND.replace('"latching"', '"none"'))).text
    assert "NO privacy switch" in said


def test_without_a_switch_its_pins_are_free_for_others(tmp_path):
    text = SOUND.replace('"latching"', '"none"').replace("loop_pin = 5", "loop_pin = 17")
    found = load(write(tmp_path, text))
    assert found.privacy.switch is SwitchKind.NONE
    assert found.runs[0].loop == DigitalLoop(pin=17)


@pytest.mark.parametrize(
    ("kind", "preset", "channel", "source"),
    [
        ("http", "hikvision", 1, "http://10.0.0.9/ISAPI/Streaming/channels/101/picture"),
        (
            "http",
            "hikvision-nvr",
            12,
            "http://10.0.0.9/ISAPI/ContentMgmt/StreamingProxy/channels/1201/picture",
        ),
        ("http", "dahua", 3, "http://10.0.0.9/cgi-bin/snapshot.cgi?channel=3"),
        ("rtsp", "hikvision", 2, "rtsp://10.0.0.9/Streaming/Channels/201"),
        ("rtsp", "dahua", 2, "rtsp://10.0.0.9/cam/realmonitor?channel=2&subtype=0"),
    ],
)
def test_a_preset_spells_the_address(tmp_path, kind, preset, channel, source):
    lines = f'kind = "{kind}"\npreset = "{preset}"\nhost = "10.0.0.9"\nchannel = {channel}'
    text = SOUND.replace('kind = "http"\nurl = "http://192.168.1.65/snap.jpg"', lines)
    assert load(write(tmp_path, text)).cameras[1].source == source


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost", "LocalHost"])
def test_plain_tcp_is_for_the_box_itself(tmp_path, host):
    assert load(write(tmp_path, SOUND.replace("127.0.0.1", host))).hub.tls is None


# ---- one planted fault each ----

PLANTED = [
    # (replace, by, place, words that the fault must hold)
    (
        'kelurahan = "kuningan"',
        'kelurahan = "Kuningan Timur"',
        "identity.kelurahan",
        "small letters",
    ),
    ('kelurahan = "kuningan"', 'kelurahan = "a/b"', "identity.kelurahan", "a to z"),
    ('kelurahan = "kuningan"', 'kelurahan = "kuningan\\n"', "identity.kelurahan", "a to z"),
    ('rw = "03"', "rw = 3", "identity.rw", 'rw = "3"'),
    ('box = "box-1"', f'box = "{"b" * 49}"', "identity.box", "48"),
    ('box = "box-1"', "", "identity.box", "nothing"),
    (
        '[identity]\nkelurahan = "kuningan"\nrw = "03"\nrt = "05"\nbox = "box-1"',
        "",
        "identity",
        "[identity]",
    ),
    ('[hub]\nhost = "127.0.0.1"', "", "hub", "[hub]"),
    ('[hub]\nhost = "127.0.0.1"', "[[hub]]", "hub", "[hub]"),
    ('host = "127.0.0.1"', "", "hub.host", "nothing"),
    ('host = "127.0.0.1"', 'host = "mqtt://hub"', "hub.host", "without mqtt"),
    ('host = "127.0.0.1"', 'host = "1.2.3"', "hub.host", "IP address"),
    ('host = "127.0.0.1"', 'host = "hub.example.org"', "hub.ca_file", "mutual TLS"),
    ('host = "127.0.0.1"', 'host = "192.168.1.2"', "hub.ca_file", "mutual TLS"),
    ('host = "127.0.0.1"', 'host = "127.0.0.1"\nport = 0', "hub.port", "1 to 65535"),
    ('host = "127.0.0.1"', 'host = "127.0.0.1"\nport = "1883"', "hub.port", "without quotes"),
    ('host = "127.0.0.1"', 'host = "127.0.0.1"\nport = 18.5', "hub.port", "decimals"),
    ('host = "127.0.0.1"', 'host = "127.0.0.1"\nport = true', "hub.port", "true"),
    ('host = "127.0.0.1"', 'host = "127.0.0.1"\nsettle = "brokr"', "hub.settle", '"broker"?'),
    ('host = "127.0.0.1"', 'host = "127.0.0.1"\nprot = 1883', "hub.prot", "did you mean port?"),
    ('host = "127.0.0.1"', 'host = "127.0.0.1"\nzzz = 1', "hub.zzz", "settle"),
    (
        'host = "127.0.0.1"',
        f'host = "127.0.0.1"\npassword = "{SECRET}"',
        "hub.password",
        "not shown",
    ),
    (
        'host = "127.0.0.1"',
        'host = "127.0.0.1"\norder_key_file = "none.pem"',
        "hub.order_key_file",
        "no such file",
    ),
    ('host = "127.0.0.1"', 'host = "127.0.0.1"\nrecipient = "age1x"', "hub.recipient", "age1"),
    (
        'host = "127.0.0.1"',
        f'host = "127.0.0.1"\nrecipient = "AGE-SECRET-KEY-1{SECRET}"',
        "hub.recipient",
        "never be on a box",
    ),
    ('id = "bridge"', 'id = "gate"', "camera[1].id", "camera[0]"),
    ('id = "bridge"', 'id = "Bridge"', "camera[1].id", "a to z"),
    ('id = "bridge"', 'id = "-bridge"', "camera[1].id", "at the beginning"),
    ('id = "bridge"', "", "camera[1].id", "nothing"),
    ('name = "Gate"', 'name = ""', "camera[0].name", "1 to 120"),
    ('kind = "rtsp"', 'kind = "rstp"', "camera[0].kind", '"rtsp"?'),
    ('kind = "rtsp"', "", "camera[0].kind", "nothing"),
    ('kind = "rtsp"', 'kind = "http"', "camera[0].url", "http://"),
    (
        'kind = "rtsp"\nurl = "rtsp://192.168.1.64/main"',
        'kind = "v4l2"\ndevice = "/dev/sda"',
        "camera[0].device",
        "video0",
    ),
    (
        'kind = "rtsp"\nurl = "rtsp://192.168.1.64/main"',
        'kind = "clip"\npath = "gone.mp4"',
        "camera[0].path",
        "no such file",
    ),
    ('url = "rtsp://192.168.1.64/main"', "", "camera[0].url", "nothing"),
    ("rtsp://192.168.1.64/main", "rtsp://192.168.1.64:99999/main", "camera[0].url", "port"),
    ("rtsp://192.168.1.64/main", "rtsp://[::1/main", "camera[0].url", "brackets"),
    ("rtsp://192.168.1.64/main", "rtsp:///main", "camera[0].url", "without a host"),
    ("rtsp://192.168.1.64/main", "rtsp://nvr.local/main", "camera[0].url", "fixed IP address"),
    (
        "rtsp://192.168.1.64/main",
        f"rtsp://admin:{SECRET}@192.168.1.64/main",
        "camera[0].url",
        "password_file",
    ),
    (
        "rtsp://192.168.1.64/main",
        f"rtsp://admin:{SECRET}@nvr.local/main",
        "camera[0].url",
        "password_file",
    ),
    (
        "rtsp://192.168.1.64/main",
        "rtsp://admin@192.168.1.64/main",
        "camera[0].url",
        "password_file",
    ),
    (
        "http://192.168.1.65/snap.jpg",
        f"http://192.168.1.65/s?user=a&pwd={SECRET}",
        "camera[1].url",
        "password_file",
    ),
    (
        "rtsp://192.168.1.64/main",
        f"rtsp://192.168.1.64/user=a&password={SECRET}&channel=1",
        "camera[0].url",
        "password_file",
    ),
    ("http://192.168.1.65/snap.jpg", "http://192.168.1.65/a b", "camera[1].url", "not shown"),
    ('snap.jpg"', 'snap.jpg"\nhost = "10.0.0.1"', "camera[1].host", "preset"),
    ('snap.jpg"', 'snap.jpg"\ndevice = "/dev/video0"', "camera[1].device", 'kind = "http"'),
    ('snap.jpg"', f'snap.jpg"\npassword = "{SECRET}"', "camera[1].password", "password_file"),
    ('snap.jpg"', f'snap.jpg"\nkata_sandi = "{SECRET}"', "camera[1].kata_sandi", "password_file"),
    ('snap.jpg"', 'snap.jpg"\nusername = "agent"', "camera[1].username", "password_file"),
    (
        'snap.jpg"',
        'snap.jpg"\npassword_credential = "camera"',
        "camera[1].username",
        "without a user name",
    ),
    (
        'snap.jpg"',
        f'snap.jpg"\nusername = "u:{SECRET}"\npassword_credential = "c"',
        "camera[1].username",
        "not shown",
    ),
    (
        'snap.jpg"',
        f'snap.jpg"\nusername = "u"\npassword_file = "{SECRET}"',
        "camera[1].password_file",
        "never the password",
    ),
    (
        'snap.jpg"',
        f'snap.jpg"\nusername = "u"\npassword_file = "/{SECRET}/x"',
        "camera[1].password_file",
        "not shown",
    ),
    (
        'snap.jpg"',
        'snap.jpg"\nusername = "u"\npassword_file = "."',
        "camera[1].password_file",
        "not a file",
    ),
    (
        'snap.jpg"',
        f'snap.jpg"\nusername = "u"\npassword_credential = "{SECRET}!"',
        "camera[1].password_credential",
        "not shown",
    ),
    ('snap.jpg"', 'snap.jpg"\nperiod_s = 0', "camera[1].period_s", "1 to 3600"),
    ('snap.jpg"', 'snap.jpg"\nperiod_s = nan', "camera[1].period_s", "nan"),
    ('snap.jpg"', 'snap.jpg"\nperiod_s = inf', "camera[1].period_s", "inf"),
    ('snap.jpg"', f'snap.jpg"\nperiod_s = {10**400}', "camera[1].period_s", "very many digits"),
    ('snap.jpg"', 'snap.jpg"\nperiod_s = 2020-01-01', "camera[1].period_s", "a date"),
    ('camera = "gate"', 'camera = "gete"', "run[0].camera", 'did you mean "gate"?'),
    ("length_m = 50", "", "run[0].length_m", "what the technician must bring"),
    ("length_m = 50", "length_m = 0", "run[0].length_m", "500"),
    ("length_m = 50", "length_m = 501", "run[0].length_m", "measure"),
    ('cable = "cat5e-outdoor"', 'cable = "cat5-outdoor"', "run[0].cable", '"cat5e-outdoor"?'),
    ('cable = "cat5e-outdoor"', 'cable = "cat5e-poe"', "run[0].loop_pin", "48 V"),
    ('cable = "cat5e-outdoor"', 'cable = "rg59"', "run[0].loop_pin", "rg59-pair"),
    ("loop_pin = 5", "loop_pin = 17", "run[0].loop_pin", "privacy.nc_pin"),
    ("loop_pin = 5", "loop_pin = 23", "run[0].loop_pin", "privacy.lamp_private_pin"),
    ("loop_pin = 5", "loop_pin = 2", "run[0].loop_pin", "I2C"),
    ("loop_pin = 5", "loop_pin = 28", "run[0].loop_pin", "27"),
    ("loop_pin = 5", "loop_pin = true", "run[0].loop_pin", "BCM"),
    (
        "[[run]]",
        '[[run]]\ncamera="gate"\ncable="rg59"\nlength_m=5\n[[run]]',
        "run[1].camera",
        "one run for each",
    ),
    ('switch = "latching"', "", "privacy.switch", "in writing"),
    ('switch = "latching"', 'switch = "none"\nnc_pin = 17', "privacy.nc_pin", "delete it"),
    ('switch = "latching"', 'switch = "latching"\nno_pin = 17', "privacy.no_pin", "privacy.nc_pin"),
    (
        'switch = "latching"',
        'switch = "latching"\nlamp_live_pin = 6',
        "privacy.lamp_live_pin",
        "pulled up",
    ),
    (
        'switch = "latching"',
        'switch = "latching"\nlamp_live_pin = true',
        "privacy.lamp_live_pin",
        "true",
    ),
    ('switch = "latching"', 'switch = "latching"\npurge_s = 601', "privacy.purge_s", "600"),
    ('switch = "latching"', 'switch = "momentory"', "privacy.switch", '"momentary"?'),
    (
        'switch = "latching"',
        'switch = "momentary"\nno_pin = 27',
        "privacy.no_pin",
        "for a switch that stays where it is put",
    ),
    ('switch = "latching"', 'switch = "latching"\nrelay = "pmp"', "privacy.relay", '"pump"?'),
    (
        'switch = "latching"',
        'switch = "latching"\nrelay = "forceoff"\nrelay_pin = 16',
        "privacy.relay",
        '"force_off"?',
    ),
    (
        'switch = "latching"',
        'switch = "latching"\ncut_power = false',
        "privacy.cut_power",
        'relay = "pump"',
    ),
    (
        'switch = "latching"',
        'switch = "latching"\nrelay_pin = 16',
        "privacy.relay_pin",
        'relay = "force_off"',
    ),
    (
        'switch = "latching"',
        'switch = "latching"\nrelay = "pump"\ncut_power = "no"',
        "privacy.cut_power",
        "without quotes",
    ),
    (
        'switch = "latching"',
        'switch = "latching"\nrelay = "pump"\nrelay_pin = 7',
        "privacy.relay_pin",
        "pulled up",
    ),
    (
        'switch = "latching"',
        'switch = "latching"\nrelay = "pump"\nrelay_pin = 14',
        "privacy.relay_pin",
        "goes high during boot",
    ),
    (
        'switch = "latching"',
        'switch = "latching"\nrelay = "pump"\nrelay_pin = 27',
        "privacy.relay_pin",
        "privacy.no_pin",
    ),
    (
        'switch = "latching"',
        'switch = "latching"\nfeedback_pin = 17',
        "privacy.feedback_pin",
        "privacy.nc_pin",
    ),
    (
        'switch = "latching"',
        'switch = "latching"\nfeedback_pin = 3',
        "privacy.feedback_pin",
        "I2C",
    ),
    ('switch = "latching"', 'switch = "latching"\nbuzzer_pin = 8', "privacy.buzzer_pin", "buzzer"),
    (
        'switch = "latching"',
        'switch = "latching"\nbuzzer_pin = 23',
        "privacy.buzzer_pin",
        "privacy.lamp_private_pin",
    ),
    (
        'switch = "latching"',
        'switch = "none"\nfeedback_pin = 19',
        "privacy.feedback_pin",
        "delete it",
    ),
    ('switch = "latching"', 'switch = "none"\nrelay = "pump"', "privacy.relay", "delete it"),
    ('[privacy]\nswitch = "latching"', "", "privacy", "[privacy]"),
    ("[privacy]", "[journal]\nquota_mb = 1\n[privacy]", "journal.quota_mb", "20"),
    ("[privacy]", "[paths]\nviews_folder = 3\n[privacy]", "paths.views_folder", "path"),
    (
        "[privacy]",
        f'[paths]\nstatus_socket = "/{"s" * 107}"\n[privacy]',
        "paths.status_socket",
        "107",
    ),
    ("loop_pin = 5", "loop_pin = 5\nloop_channel = 0", "run[0].loop_pin", "both"),
    ("loop_pin = 5", "loop_pin = 5\neol_ohm = 100", "run[0].eol_ohm", "loop_channel"),
    ("loop_pin = 5", "loop_channel = 8", "run[0].loop_channel", "0 to 7"),
    ("loop_pin = 5", "loop_channel = -1", "run[0].loop_channel", "0 to 7"),
    ("loop_pin = 5", "loop_channel = true", "run[0].loop_channel", "0 to 7"),
    ("loop_pin = 5", "loop_channel = 1.5", "run[0].loop_channel", "decimals"),
    ("loop_pin = 5", "loop_channel = 0\neol_ohm = 4700", "run[0].eol_ohm", "47 to 1000"),
    ("loop_pin = 5", "loop_channel = 0\neol_ohm = 1000", "run[0].eol_ohm", "counts as cut"),
    (
        "loop_pin = 5",
        "loop_channel = 0\neol_ohm = 680\nrref_ohm = 680\ntamper_ohm = false",
        "run[0].eol_ohm",
        "counts or more",
    ),
    ("loop_pin = 5", "loop_channel = 0\nrref_ohm = 10", "run[0].rref_ohm", "100 to 1000"),
    ("loop_pin = 5", "loop_channel = 0\ntamper_ohm = 20", "run[0].tamper_ohm", "not fitted"),
    ("loop_pin = 5", "loop_channel = 0\ntamper_ohm = true", "run[0].tamper_ohm", "not fitted"),
    (
        'cable = "cat5e-outdoor"\nlength_m = 50\nloop_pin = 5',
        'cable = "cat5e-poe"\nlength_m = 50\nloop_channel = 5',
        "run[0].loop_channel",
        "48 V",
    ),
    ("loop_pin = 5", 'loop_open_policy = "scene_strict"', "run[0].loop_open_policy", "the loop"),
    (
        "loop_pin = 5",
        'loop_pin = 5\nloop_open_policy = "scene"',
        "run[0].loop_open_policy",
        "scene_strict",
    ),
    ("loop_pin = 5", "loop_pin = 5\nvideo_pin = 5", "run[0].video_pin", "run[0].loop_pin"),
    ("loop_pin = 5", "video_pin = 20\nalarm_pin = 20", "run[0].alarm_pin", "run[0].video_pin"),
    ("loop_pin = 5", "loop_channel = 0\nvideo_pin = 8", "run[0].video_pin", "first ADC"),
    ("loop_pin = 5", "current_channel = 0\nvideo_pin = 7", "run[0].video_pin", "second ADC"),
    ("loop_pin = 5", "loop_channel = 0\nvideo_pin = 25", "run[0].video_pin", "excitation_pin"),
    ("loop_pin = 5", "current_channel = 9", "run[0].current_channel", "0 to 7"),
    ("loop_pin = 5", "current_min_ma = 40", "run[0].current_min_ma", "current_channel"),
    (
        "loop_pin = 5",
        "current_channel = 1\ncurrent_min_ma = 0",
        "run[0].current_min_ma",
        "full scale",
    ),
    (
        'cable = "cat5e-outdoor"\nlength_m = 50\nloop_pin = 5',
        'cable = "cat6-poe"\nlength_m = 50\ncurrent_channel = 5',
        "run[0].current_channel",
        "with PoE",
    ),
    ("loop_pin = 5", 'interface = "lo"', "run[0].interface", "not lo"),
    ("loop_pin = 5", 'interface = "eth1; reboot"', "run[0].interface", "ip link"),
    ("loop_pin = 5", "interface = 1", "run[0].interface", "interface"),
    ("loop_pin = 5", "nvr_events = true", "run[0].nvr_events", "hikvision-nvr"),
    ("loop_pin = 5", 'nvr_events = "yes"', "run[0].nvr_events", "true or false"),
    ("loop_pin = 5", "gps = [6.98, 110.41]", "run[0].gps", "negative"),
    ("loop_pin = 5", "gps = [110.41, -6.98]", "run[0].gps", "latitude first"),
    ("loop_pin = 5", "gps = [0, 0]", "run[0].gps", "Indonesia"),
    ("loop_pin = 5", 'gps = ["-6.98", "110.41"]', "run[0].gps", "no two numbers"),
    ("loop_pin = 5", "gps = [-6.98]", "run[0].gps", "no two numbers"),
    ("loop_pin = 5", "gps = 5", "run[0].gps", "no two numbers"),
    ("loop_pin = 5", "gps = [nan, inf]", "run[0].gps", "no two numbers"),
    ("[privacy]", '[sensors]\nadc = "mcp3202"\n[privacy]', "sensors.adc", "mcp3208"),
    ("[privacy]", "[sensors]\nmains_pin = 28\n[privacy]", "sensors.mains_pin", "BCM"),
    ("[privacy]", "[sensors]\npower_pin = 17\n[privacy]", "sensors.power_pin", "nc_pin"),
    ("[privacy]", "[sensors]\nexcitation_pin = 22\n[privacy]", "sensors.excitation_pin", "lamp"),
    ("[privacy]", "[sensors]\ndoor_channel = 8\n[privacy]", "sensors.door_channel", "0 to 7"),
    ("[privacy]", "[sensors]\nservice = 18\n[privacy]", "sensors.service", "service_pin"),
    ("[privacy]", "[paths]\nbaselines_folder = 3\n[privacy]", "paths.baselines_folder", "path"),
    ("[privacy]", "[journl]\n[privacy]", "journl", "did you mean journal?"),
    ("[privacy]", "[cameras]\n[privacy]", "cameras", "did you mean camera?"),
    ("[privacy]", '["a\\nb"]\n[privacy]', "'a\\nb'", "nothing here knows"),
]


@pytest.mark.parametrize(("old", "new", "place", "words"), PLANTED)
def test_a_planted_fault_is_found_at_its_place_and_nowhere_else(tmp_path, old, new, place, words):
    assert SOUND.count(old) == 1
    found = faults(tmp_path, SOUND.replace(old, new))
    assert list(found) == [place]
    assert words in str(found[place])


def test_a_fault_names_its_line(tmp_path):
    text = SOUND.replace('snap.jpg"', 'snap.jpg"\nperiod_s = -3')
    fault = only_fault(tmp_path, text)
    assert fault.line == text.splitlines().index("period_s = -3") + 1
    assert "camera[1].period_s" in str(fault)


def test_a_single_bracket_camera_is_explained(tmp_path):
    text = re.sub(r"\[\[camera\]\]\nid = \"bridge\"(.|\n)*?\[\[run", "[[run", SOUND).replace(
        "[[camera]]", "[camera]"
    )
    found = faults(tmp_path, text)
    assert "double brackets" in found["camera"].remedy


def test_more_cameras_than_the_box_can_carry(tmp_path):
    more = "".join(
        f'[[camera]]\nid = "c{n}"\nkind = "rtsp"\nurl = "rtsp://10.0.0.{n}/"\n'
        for n in range(1, 32)
    )
    assert "32" in only_fault(tmp_path, SOUND.replace("[[run]]", more + "[[run]]")).allowed


@given(picks=st.sets(st.integers(0, len(PLANTED) - 1), min_size=2, max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_all_faults_are_named_at_once(tmp_path, picks):
    text = SOUND
    places: set[str] = set()
    tables: set[str] = set()
    for old, new, place, _ in (PLANTED[pick] for pick in sorted(picks)):
        # One fault per table: a second one may well hide behind the first; a run's events are its camera's too.
        touched = {re.split(r"\W", place)[0]} | ({"camera"} if "nvr_events" in place else set())
        if text.count(old) == 1 and not touched & tables:
            text, places, tables = text.replace(old, new), places | {place}, tables | touched
    assert places <= set(faults(tmp_path, text))


# ---- cables and what is wired ----

WIRED = SOUND.replace("loop_pin = 5", "loop_channel = 0")
SECOND = """[[run]]
camera = "bridge"
cable = "cat6-outdoor"
length_m = 30
"""


def test_all_that_can_be_wired_arrives(tmp_path):
    secret_file(tmp_path)
    run = """loop_channel = 3
rref_ohm = 220
eol_ohm = 150.5
tamper_ohm = false
loop_open_policy = "scene_strict"
video_pin = 20
alarm_pin = 21
current_channel = 3
current_min_ma = 80
interface = "enp3s0.10"
nvr_events = true
gps = [-6.98, 110.41]
place = "tiang 3"
[sensors]
adc = "mcp3208"
excitation_pin = 12
power_pin = 26
door_channel = 0
mains_pin = 6
shutdown_pin = 13
service_pin = 18
"""
    text = SOUND.replace("loop_pin = 5", run).replace(
        "rtsp://192.168.1.64/main",
        'rtsp://192.168.1.64/Streaming/Channels/101"\nusername = "agent"\npassword_file = "camera.password',
    )
    found = load(write(tmp_path, text + '[paths]\nbaselines_folder = "b"\n'))
    run_found = found.runs[0]
    assert run_found.loop == MeasuredLoop(channel=3, rref_ohm=220, eol_ohm=150.5, tamper_ohm=None)
    assert run_found.loop_open_policy is LoopOpenPolicy.SCENE_STRICT
    assert (run_found.video_pin, run_found.alarm_pin) == (20, 21)
    assert (run_found.current_channel, run_found.current_min_ma) == (3, 80)
    assert (run_found.interface, run_found.nvr_events) == ("enp3s0.10", True)
    assert (run_found.gps, run_found.place) == ((-6.98, 110.41), "tiang 3")
    assert found.electrics == Electrics(
        adc_bits=12,
        excitation_pin=12,
        power_pin=26,
        door_channel=0,
        mains_pin=6,
        shutdown_pin=13,
        service_pin=18,
    )
    assert found.baselines_folder == str(tmp_path / "b")


def test_what_is_not_fitted_is_none(tmp_path):
    found = load(write(tmp_path, SOUND.replace("loop_pin = 5", "")))
    assert found.runs[0].loop is None
    assert found.runs[0].loop_open_policy is LoopOpenPolicy.QUARANTINE
    assert found.electrics == Electrics()
    assert found.baselines_folder == "/var/lib/edge-agent/runs"


def test_one_alarm_contact_serves_all_cameras_of_a_recorder(tmp_path):
    text = WIRED.replace("loop_channel = 0", "alarm_pin = 21")
    text = text.replace("[privacy]", SECOND + "alarm_pin = 21\n[privacy]")
    assert [run.alarm_pin for run in load(write(tmp_path, text)).runs] == [21, 21]


def test_two_loops_on_one_channel(tmp_path):
    text = WIRED.replace("[privacy]", SECOND + "loop_channel = 0\n[privacy]")
    fault = only_fault(tmp_path, text)
    assert fault.where == "box.toml: run[1].loop_channel"
    assert "channel 0 of the first ADC, which run[0].loop_channel uses already" in fault.found
    assert "1 is free" in fault.remedy


def test_the_door_and_a_current_on_one_channel(tmp_path):
    text = SOUND.replace("loop_pin = 5", "loop_pin = 5\ncurrent_channel = 2")
    fault = only_fault(
        tmp_path, text.replace("[privacy]", "[sensors]\ndoor_channel = 2\n[privacy]")
    )
    assert fault.where == "box.toml: sensors.door_channel"


def test_the_same_channel_of_two_adcs_is_two_channels(tmp_path):
    text = WIRED.replace("loop_channel = 0", "loop_channel = 0\ncurrent_channel = 0")
    assert load(write(tmp_path, text)).runs[0].current_channel == 0


def test_one_interface_leads_to_one_camera(tmp_path):
    text = SOUND.replace("loop_pin = 5", 'interface = "eth1"')
    text = text.replace("[privacy]", SECOND + 'interface = "eth1"\n[privacy]')
    fault = only_fault(tmp_path, text)
    assert fault.where == "box.toml: run[1].interface"
    assert "behind a switch" in fault.remedy


def test_spi_pins_are_free_where_no_adc_is(tmp_path):
    found = load(write(tmp_path, SOUND.replace("loop_pin = 5", "loop_pin = 5\nvideo_pin = 11")))
    assert found.runs[0].video_pin == 11


@pytest.mark.parametrize(
    ("resistors", "adc"),
    [
        ("", "mcp3208"),
        ("", "mcp3008"),
        ("rref_ohm = 220\neol_ohm = 220\n", "mcp3208"),
        ("eol_ohm = 147\n", "mcp3208"),
        ("eol_ohm = 196\n", "mcp3208"),
    ],
)
@pytest.mark.parametrize("length_m", [0.5, 20, 50, 70, 150, 500])
def test_good_resistors_are_good_at_any_length(tmp_path, resistors, adc, length_m):
    text = WIRED.replace("loop_channel = 0", f"loop_channel = 0\n{resistors}")
    text = text.replace("length_m = 50", f"length_m = {length_m}")
    found = load(write(tmp_path, f'{text}[sensors]\nadc = "{adc}"\n'))
    assert isinstance(found.runs[0].loop, MeasuredLoop)


def test_resistors_too_coarse_for_ten_bits_name_the_better_chip(tmp_path):
    text = WIRED.replace("loop_channel = 0", "loop_channel = 0\nrref_ohm = 220\neol_ohm = 220")
    fault = only_fault(tmp_path, text + '[sensors]\nadc = "mcp3008"\n')
    assert fault.where == "box.toml: run[0].eol_ohm"
    assert "MCP3208" in fault.remedy


def test_events_need_a_login(tmp_path):
    text = SOUND.replace("rtsp://192.168.1.64/main", "rtsp://192.168.1.64/Streaming/Channels/101")
    fault = only_fault(tmp_path, text.replace("loop_pin = 5", "nvr_events = true"))
    assert "known users only" in fault.remedy


def test_the_faults_of_the_last_section_of_the_story_are_named_at_once(tmp_path):
    """Two devices on one pin, a loop on a PoE run, an unknown cable, lengths that cannot be, an EOL nobody can measure."""
    cameras = "".join(
        f'[[camera]]\nid = "c{n}"\nkind = "rtsp"\nurl = "rtsp://10.0.0.{n}/"\n' for n in range(1, 6)
    )
    runs = "".join(
        f'[[run]]\ncamera = "c{n}"\ncable = "{cable}"\nlength_m = {length}\n{extra}\n'
        for n, (cable, length, extra) in enumerate(
            [
                ("cat5e-outdoor", 20, "loop_pin = 17"),
                ("cat5e-poe", 20, "loop_channel = 1"),
                ("string", 20, ""),
                ("rg59", 0, ""),
                ("cat6-outdoor", 501, "loop_channel = 2\neol_ohm = 999"),
            ],
            start=1,
        )
    )
    found = faults(tmp_path, SOUND.replace("[privacy]", cameras + runs + "[privacy]"))
    assert set(found) == {
        "run[1].loop_pin",
        "run[2].loop_channel",
        "run[3].cable",
        "run[4].length_m",
        "run[5].length_m",
        "run[5].eol_ohm",
    }


def test_a_relay_that_leaves_the_power_on_asks_for_a_press_at_the_installation(tmp_path, capsys):
    for cuts, notes in (("false", 1), ("true", 0)):
        relay = f'[privacy]\nrelay = "force_off"\ncut_power = {cuts}'
        assert main_check([write(tmp_path, SOUND.replace("[privacy]", relay))]) == 0
        assert capsys.readouterr().out.count("note:    with cut_power = false") == notes


def test_a_loop_without_a_baseline_is_a_note_and_no_fault(tmp_path, capsys):
    path = write(tmp_path, WIRED + '[paths]\nbaselines_folder = "runs"\n')
    assert main_check([path]) == 0
    assert "note:    the loop of gate was never commissioned" in capsys.readouterr().out
    baselines.save(
        tmp_path / "runs",
        replace(build.BASELINE, wall_s=0.0, owner="HS"),
    )
    assert main_check([path]) == 0
    assert "note:" not in capsys.readouterr().out
    path = write(tmp_path, (WIRED + '[paths]\nbaselines_folder = "runs"\n').replace("50", "80"))
    assert main_check([path]) == 0
    assert "box.toml now says 80 m" in capsys.readouterr().out


# ---- TLS and secrets ----

TLS = 'host = "hub.example.org"\nca_file = "ca.pem"\ncertificate_file = "box.pem"\nkey_file = "box.key"'


@pytest.fixture
def tls(tmp_path) -> str:
    pem(tmp_path, "ca.pem", "CERTIFICATE")
    pem(tmp_path, "box.pem", "CERTIFICATE")
    pem(tmp_path, "box.key", "PRIVATE KEY", 0o600)
    return SOUND.replace('host = "127.0.0.1"', TLS)


def test_a_box_with_its_certificates_is_sound(tmp_path, tls):
    assert load(write(tmp_path, tls)).hub.port == 8883


@pytest.mark.parametrize("key", ["ca_file", "certificate_file", "key_file"])
def test_half_of_mutual_tls_is_a_fault(tmp_path, tls, key):
    found = faults(tmp_path, re.sub(rf"(?m)^{key} = .*\n", "", tls))
    assert list(found) == [f"hub.{key}"]


def test_a_key_anyone_can_read_is_a_fault(tmp_path, tls):
    (tmp_path / "box.key").chmod(0o644)
    fault = only_fault(tmp_path, tls)
    assert "0644" in fault.found
    assert f"chmod 640 {tmp_path / 'box.key'}" in fault.remedy


def test_a_private_key_in_the_certificate_file_is_a_fault(tmp_path, tls):
    with (tmp_path / "box.pem").open("a") as file:
        file.write("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    assert "take the private key out" in only_fault(tmp_path, tls).remedy


def test_an_endpoint_for_renewals_is_taken_as_it_stands(tmp_path, tls):
    url = "https://hub.example.org:8443/.well-known/est"
    found = load(write(tmp_path, tls.replace("[hub]\n", f'[hub]\nrenew_url = "{url}"\n')))
    assert found.hub.renew_url == url
    assert found.pairs_folder == "/var/lib/edge-agent/pairs"


@pytest.mark.parametrize(
    "url",
    [
        "http://hub.example.org/.well-known/est",
        "https://",
        "https://:8443/est",
        "https://user:word@hub.example.org/est",
        "https://hub.example.org/est?token=x",
        "https://hub.example.org/est#x",
        "https://hub.example.org:0/est",
        "https://[::1/est",
        "hub.example.org",
    ],
)
def test_an_endpoint_that_is_not_safe_is_a_fault_and_not_repeated(tmp_path, tls, url):
    fault = only_fault(tmp_path, tls.replace("[hub]\n", f'[hub]\nrenew_url = "{url}"\n'))
    assert fault.where.endswith("hub.renew_url")
    assert "word" not in f"{fault.found} {fault.allowed} {fault.remedy}"


def test_an_endpoint_without_a_certificate_is_a_fault(tmp_path):
    text = SOUND.replace("[hub]\n", '[hub]\nrenew_url = "https://hub.example.org/est"\n')
    assert "no certificate to renew" in only_fault(tmp_path, text).found


def test_a_der_certificate_is_explained(tmp_path, tls):
    (tmp_path / "ca.pem").write_bytes(b"\x30\x82\x01\x0a")
    assert "PEM" in only_fault(tmp_path, tls).remedy


def test_two_ways_to_one_secret_are_a_fault(tmp_path, tls):
    text = tls.replace('key_file = "box.key"', 'key_file = "box.key"\nkey_credential = "box"')
    assert "one of them" in only_fault(tmp_path, text).allowed


def test_a_password_file_that_anyone_may_read_is_a_fault_and_is_not_shown(tmp_path):
    secret_file(tmp_path, mode=0o604)
    text = SOUND.replace(
        'snap.jpg"', 'snap.jpg"\nusername = "u"\npassword_file = "camera.password"'
    )
    assert "every user of the box" in only_fault(tmp_path, text).found


def test_a_credential_is_looked_for_only_within_the_service(tmp_path, monkeypatch):
    text = SOUND.replace('snap.jpg"', 'snap.jpg"\nusername = "u"\npassword_credential = "camera"')
    assert load(write(tmp_path, text)).cameras[1].password == SecretRef(credential="camera")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    assert "LoadCredential" in only_fault(tmp_path, text).remedy
    (tmp_path / "credentials").mkdir()
    secret_file(tmp_path / "credentials", "camera", mode=0o444)
    assert load(write(tmp_path, text)).cameras[1].password == SecretRef(credential="camera")
    assert read_secret(SecretRef(credential="camera")) == SECRET


def test_a_credential_may_come_from_the_folder_of_secrets(tmp_path, monkeypatch):
    # The unit loads the whole folder; systemd puts the folder's id before each name.
    text = SOUND.replace('snap.jpg"', 'snap.jpg"\nusername = "u"\npassword_credential = "camera"')
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    secret_file(tmp_path, "secret_camera", mode=0o400)
    assert load(write(tmp_path, text)).cameras[1].password == SecretRef(credential="camera")
    assert read_secret(SecretRef(credential="camera")) == SECRET


def test_someone_at_the_box_reads_the_secrets_that_the_service_is_given(tmp_path, monkeypatch):
    monkeypatch.setattr("edge_agent.config.files.SECRETS_FOLDER", tmp_path)
    with pytest.raises(SecretError, match="LoadCredential=camera:FILE"):
        read_secret(SecretRef(credential="camera"))
    path = secret_file(tmp_path, "camera", mode=0o604)
    with pytest.raises(SecretError, match="every user of the box"):
        read_secret(SecretRef(credential="camera"))
    path.chmod(0o600)
    assert read_secret(SecretRef(credential="camera")) == SECRET


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        ("geheim", "geheim"),
        ("geheim\n", "geheim"),
        ("geheim\r\n", "geheim"),
        ("geheim\n\n", "geheim\n"),
        (" a b ", " a b "),
    ],
)
def test_one_line_end_is_not_part_of_a_secret(tmp_path, content, secret):
    path = tmp_path / "s"
    path.write_bytes(content.encode())
    path.chmod(0o600)
    assert read_secret(SecretRef(file=str(path))) == secret


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (b"", 0o600, "empty"),
        (b"\n", 0o600, "empty"),
        (b"hunter2-rahasia\xff", 0o600, "UTF-8"),
        (b"hunter2-rahasia" * 5000, 0o600, "bytes"),
        (b"hunter2-rahasia", 0o644, "0644"),
    ],
)
def test_a_secret_that_cannot_be_used_is_named_but_not_shown(tmp_path, content, mode, words):
    path = tmp_path / "s"
    path.write_bytes(content)
    path.chmod(mode)
    with pytest.raises(SecretError, match=words) as caught:
        read_secret(SecretRef(file=str(path)))
    assert str(path) in str(caught.value)
    chain = [
        caught.value,
        caught.value.__cause__,
        caught.value.__context__ if not caught.value.__suppress_context__ else None,
    ]
    assert not any(SECRET in repr(error) for error in chain)


def test_a_missing_secret_says_where(tmp_path):
    with pytest.raises(SecretError, match="no such file"):
        read_secret(SecretRef(file=str(tmp_path / "gone")))
    with pytest.raises(SecretError, match="LoadCredential=camera"):
        secret_path(SecretRef(credential="camera"))


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_secret_of_somebody_else_says_who_may_not(tmp_path):
    with pytest.raises(SecretError, match="may not read it"):
        read_secret(SecretRef(file=str(secret_file(tmp_path, mode=0o200))))


# ---- files that are no configuration at all ----


@pytest.mark.parametrize(
    ("text", "where", "remedy"),
    [
        ("a = ", "line 1, column 5", "quotes"),
        ("a = 1\na = 2", "line 2", "twice"),
        ("[hub]\n[hub]", "line 2", "[[camera]]"),
        ('a = "C:\\d"', "line 1", "single quotes"),
        (f"password = {SECRET}", "line 1", "quotes"),
        ("port 1883", "line 1", "key = value"),
        ("a = 1 2", "line 1", "box.example.toml"),
    ],
)
def test_broken_toml_names_line_column_and_a_plain_remedy(tmp_path, text, where, remedy):
    fault = only_fault(tmp_path, text)
    assert where in fault.where
    assert remedy in fault.remedy


def test_brackets_without_end_are_a_fault_not_a_crash(tmp_path):
    assert "deep" in only_fault(tmp_path, "a = " + "[" * 100_000).found


def test_what_cannot_be_read_says_so_and_ends_with_2(tmp_path, capsys):
    utf16 = tmp_path / "utf16.toml"
    utf16.write_bytes(SOUND.encode("utf-16"))
    huge = tmp_path / "huge.toml"
    huge.write_bytes(b"#" * 1_000_001)
    empty = tmp_path / "empty.toml"
    empty.touch()
    fifo = tmp_path / "fifo.toml"
    os.mkfifo(fifo)
    for path, words in (
        (utf16, "UTF-8"),
        (huge, "bytes"),
        (empty, "empty"),
        (fifo, "not a file"),
        (tmp_path, "not a file"),
        (tmp_path / "gone.toml", "no such file"),
        (tmp_path / ("x" * 300), "correct the path, or"),
        (Path("nul\0byte"), "no possible path"),
    ):
        assert main_check([str(path)]) == 2
        assert words in capsys.readouterr().out
    for argv in ([], ["a", "b"]):
        with pytest.raises(SystemExit) as caught:
            main_check(argv)
        assert caught.value.code == 2


def test_check_prints_what_the_service_would_say(tmp_path, capsys):
    assert main_check([write(tmp_path, SOUND)]) == 0
    assert "gate (rtsp)" in capsys.readouterr().out
    path = write(tmp_path, SOUND.replace("[hub]", "[hbu]"))
    assert main_check([path]) == 1
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert capsys.readouterr().out == f"{caught.value}\n"


# ---- anything at all ----

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.text(st.characters(), max_size=3),
    st.datetimes(),
    st.binary(),
)
NAMES = sorted(
    {
        *(
            "identity",
            "hub",
            "camera",
            "run",
            "privacy",
            "journal",
            "health",
            "paths",
            "id",
            "name",
            "kind",
            "url",
            "preset",
        ),
        *(
            "host",
            "channel",
            "device",
            "path",
            "username",
            "password",
            "password_file",
            "password_credential",
            "period_s",
        ),
        *(
            "cable",
            "length_m",
            "place",
            "loop_pin",
            "switch",
            "nc_pin",
            "no_pin",
            "lamp_live_pin",
            "purge_s",
            "relay",
            "relay_pin",
            "feedback_pin",
            "buzzer_pin",
            "cut_power",
            "folder",
        ),
        *(
            "sensors",
            "gps",
            "loop_channel",
            "rref_ohm",
            "eol_ohm",
            "tamper_ohm",
            "loop_open_policy",
            "video_pin",
            "alarm_pin",
        ),
        *(
            "current_channel",
            "current_min_ma",
            "interface",
            "nvr_events",
            "adc",
            "excitation_pin",
            "door_channel",
            "baselines_folder",
        ),
        *(
            "quota_mb",
            "ca_file",
            "certificate_file",
            "key_file",
            "order_key_file",
            "settle",
            "port",
            "views_folder",
        ),
    }
)
WORTHY = st.sampled_from(
    [
        "rtsp",
        "http",
        "v4l2",
        "clip",
        "latching",
        "momentary",
        "force_off",
        "pump",
        "none",
        "hikvision",
        "dahua",
        "rg59",
        "cat5e-poe",
        "cat5e-outdoor",
        "mcp3008",
        "scene_strict",
        "eth1",
        100,
        47,
        "127.0.0.1",
        ".",
    ]
)
ANYTHING = st.recursive(
    SCALARS | WORTHY,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), inner, max_size=6)
    ),
    max_leaves=25,
)


def assert_settings_or_faults(document: dict[str, object]) -> None:
    """A surprise of any other kind would come through."""
    try:
        settings_or_faults: Settings | tuple[config.ConfigFault, ...] = config.settings_from(
            document, name="box.toml", folder=EXAMPLE.parent
        )
    except ConfigError as error:
        settings_or_faults = error.faults
    if not isinstance(settings_or_faults, Settings):
        assert settings_or_faults
        for fault in settings_or_faults:
            assert fault.where
            assert fault.found
            assert fault.allowed
            assert fault.remedy


@given(document=st.dictionaries(st.sampled_from(NAMES) | st.text(), ANYTHING, max_size=8))
def test_whatever_the_file_holds_it_is_settings_or_faults(document):
    assert_settings_or_faults(document)


def _places(document: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    if isinstance(document, dict):
        return [
            path,
            *(place for key, value in document.items() for place in _places(value, (*path, key))),
        ]
    if isinstance(document, list):
        return [
            path,
            *(
                place
                for index, value in enumerate(document)
                for place in _places(value, (*path, index))
            ),
        ]
    return [path]


@given(data=st.data())
def test_a_sound_file_with_one_value_changed_never_crashes_and_says_where(data):
    document = tomli.loads(EXAMPLE.read_text(encoding="utf-8"))
    place = data.draw(st.sampled_from([place for place in _places(document) if place]))
    value = data.draw(SCALARS | WORTHY | ANYTHING)
    target = document
    for step in place[:-1]:
        target = target[step]
    target[place[-1]] = value
    assert_settings_or_faults(document)


def test_the_document_lists_every_key_of_every_table():
    """What the reader knows is what it names when it meets a key that it does not know."""
    tables = (
        *("identity", "hub", "camera", "run", "privacy", "sensors", "journal", "health", "paths"),
    )
    document: dict[str, object] = {name: {"zzz": 1} for name in tables}
    document |= {"camera": [{"zzz": 1}], "run": [{"zzz": 1}]}
    with pytest.raises(ConfigError) as caught:
        config.settings_from(document, name="box.toml", folder=EXAMPLE.parent)
    known = {
        re.sub(r"\[0\]", "", fault.where.removeprefix("box.toml: ")).removesuffix(
            ".zzz"
        ): fault.allowed.split(", ")
        for fault in caught.value.faults
        if fault.where.endswith(".zzz")
    }
    assert set(known) == set(tables)
    text = (EXAMPLE.parent / "configuration.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"(?ms)^## \[+(\w+)\]+.*?$(.*?)(?=^## |\Z)", text))
    for table, keys in known.items():
        listed = {
            key
            for row in re.findall(r"(?m)^\| (`[^|]*) \|", sections[table])
            for key in re.findall(r"`(\w+)`", row)
        }
        assert listed == set(keys), table
