"""What lies in systemd/: the unit's rights and why it has them, and the drop-ins that `make install` puts beside it.

That the unit starts, is confined and is restarted is seen on a running systemd: tests/test_install.py, and the boot test.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.config import files

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "systemd"
UNIT = FOLDER / "edge-agent.service"

# Each finding of `systemd-analyze security` that costs, and the words in the unit's comments that give the reason.
GRANTED = {
    "SupplementaryGroups=": "gpio: /dev/gpiochip*",
    "DeviceAllow=": "Those three kinds of device and none else",
    "PrivateDevices=": "PrivateDevices=yes would hide them",
    "RestrictAddressFamilies=~AF_(INET|INET6)": "INET, INET6: cameras and hub",
    "RestrictAddressFamilies=~AF_UNIX": "UNIX: READY and the watchdog",
    "PrivateNetwork=": "PrivateNetwork=no",
    "IPAddressDeny=": "IPAddressDeny= stays unset",
    "ProcSubset=": "ProcSubset=all",
    "RootDirectory=/RootImage=": "The host's own root directory",
    "SystemCallFilter=~@resources": "Of @resources only this",
}

PROVISION = FOLDER / "edge-agent-provision.service"
GRANTED_PROVISION = {
    "User=/DynamicUser=": "Root (0.4), but with little of its power",
    "CapabilityBoundingSet=~CAP_SYS_ADMIN": "SYS_ADMIN (0.3)",
    "CapabilityBoundingSet=~CAP_(CHOWN|FSETID|SETFCAP)": "CHOWN (0.2)",
    "PrivateUsers=": "Neither works with PrivateUsers=yes",
    "SystemCallFilter=~@mount": "@mount (0.2)",
    "SystemCallFilter=~@privileged": "of @privileged the calls that chown a file",
    "ProtectHostname=": "with ProtectHostname=yes",
    "ProcSubset=": "ProcSubset=all",
    "DeviceAllow=": "ProtectClock adds char-rtc r by itself",
}


def run(*command: str | Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=os.environ | (env or {}),
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def settings(path: Path) -> list[tuple[str, str]]:
    """Key and value of each line that is neither remark nor heading."""
    lines = (line.strip() for line in path.read_text().splitlines())
    return [
        (key, value)
        for line in lines
        if line and line[0] not in "#;["
        for key, _, value in [line.partition("=")]
    ]


def values(path: Path, key: str) -> list[str]:
    return [value for name, value in settings(path) if name == key]


def without_program(unit: Path, folder: Path) -> Path:
    """*unit* as shipped, but for the program, which is not installed where tests run."""
    path = folder / unit.name
    path.write_text(unit.read_text().replace("/opt/edge-agent/bin/edge-agent", "/bin/true"))
    return path


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    return without_program(UNIT, tmp_path)


def exposed(unit: Path) -> dict[str, float]:
    """What `systemd-analyze security` finds fault with, and how much each costs."""
    told = run("systemd-analyze", "security", "--offline=true", "--json=short", "--no-pager", unit)
    found = json.loads(told[told.index("[") :])
    return {each["name"]: float(each["exposure"]) for each in found if each["exposure"]}


@pytest.mark.parametrize(("shipped", "granted"), [(UNIT, GRANTED), (PROVISION, GRANTED_PROVISION)])
def test_every_right_that_is_granted_has_its_reason_in_the_unit(
    shipped: Path, granted: dict[str, str], tmp_path: Path
):
    remarks = " ".join(
        line.lstrip("# ") for line in shipped.read_text().splitlines() if line.startswith("#")
    )
    costs = exposed(without_program(shipped, tmp_path))
    assert set(costs) <= set(granted), "a right that no comment speaks of"
    for name in costs:
        assert granted[name] in remarks, name


@pytest.mark.parametrize("shipped", sorted(FOLDER.glob("*.service")), ids=lambda path: path.stem)
def test_each_unit_scores_one_and_a_half_or_less(shipped: Path, tmp_path: Path):
    unit = without_program(shipped, tmp_path)
    run("systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager", unit)


def test_it_never_gives_up_and_waits_for_nothing():
    assert values(UNIT, "Restart") == ["always"]
    assert values(UNIT, "StartLimitIntervalSec") == ["0"]
    assert not [
        key for key, _ in settings(UNIT) if key in {"After", "Wants", "Requires", "BindsTo"}
    ]
    # Unknown to Debian 12's systemd, which would only warn.
    assert not [key for key, _ in settings(UNIT) if key in {"RestartSteps", "ImportCredential"}]


def test_a_missing_credential_does_not_keep_it_from_starting():
    # A folder that is not there ends the start, unless another source of the same name stands in.
    assert values(UNIT, "LoadCredential") == [f"secret:{files.SECRETS_FOLDER}"]
    assert [value.partition(":")[0] for value in values(UNIT, "SetCredential")] == ["secret"]


def test_debugging_loosens_nothing_and_prints_no_password(unit: Path, tmp_path: Path):
    debug = FOLDER / "debug.conf"
    both = tmp_path / "both/edge-agent.service"
    both.parent.mkdir()
    text = unit.read_text()
    service = debug.read_text().partition("[Service]")[2]
    both.write_text(text.replace("\n[Install]", f"{service}\n[Install]"))
    assert exposed(both) == exposed(unit)
    # OpenCV's and FFmpeg's own logs name addresses with their passwords.
    assert not re.search(r"OPENCV|FFMPEG|LimitCORE|CoredumpFilter", service)
    said = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(both)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    ).stderr
    assert both.name not in said, said


def test_what_is_shipped_is_what_is_installed():
    rows = [
        line.split()
        for line in (FOLDER / "FILES").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    # The card image's own: image-build puts them in place.
    other = {
        "FILES",
        "edge-agent-card.conf",
        "edge-agent-provision.service",
        "edge-agent-unconfigured.service",
    }
    assert {row[0] for row in rows} == {path.name for path in FOLDER.iterdir()} - other
    assert len({row[1] for row in rows}) == len(rows)
    assert all(row[2:] in ([], ["updates"]) for row in rows)


def test_each_kind_of_device_is_known_when_the_agent_starts():
    kinds = {value.removeprefix("char-").split()[0] for value in values(UNIT, "DeviceAllow")}
    assert kinds == {"gpiochip", "spi", "video4linux"}
    modules = {name for name, _ in settings(FOLDER / "edge-agent.modules.conf")}
    # Built into every kernel; the two others are modules, whose numbers do not exist before.
    assert modules == {"spidev", "videodev"}
    groups = values(UNIT, "SupplementaryGroups")[0].split()
    rules = (FOLDER / "60-edge-agent.rules").read_text()
    assert sorted(groups) == sorted(re.findall(r'^SUBSYSTEM.*GROUP="(\w+)"', rules, re.MULTILINE))


def minutes(span: str) -> int:
    number = re.fullmatch(r"(\d+)min", span)
    assert number, span
    return int(number[1])


@pytest.mark.parametrize("name", ["apt-daily", "apt-daily-upgrade"])
def test_updates_happen_at_night_and_not_all_at_once(name: str):
    path = FOLDER / f"{name}.timer.conf"
    cleared, when = values(path, "OnCalendar")
    assert cleared == "", "Debian's own times would stay"
    run("systemd-analyze", "calendar", when)
    utc = re.fullmatch(r"\*-\*-\* (\d\d):(\d\d):00 UTC", when)
    assert utc
    begins = (int(utc[1]) * 60 + int(utc[2]) + 7 * 60) % (24 * 60)  # WIB is UTC+7
    (spread,) = values(path, "RandomizedDelaySec")
    assert begins >= 60
    # An update takes a Pi some minutes.
    assert begins + minutes(spread) <= 3 * 60 + 30
    assert minutes(spread) >= 60
    assert values(path, "Persistent") == ["no"], "10,000 boxes would ask when the power is back"


def test_only_security_updates_come_by_themselves_and_never_a_restart(tmp_path: Path):
    parts = tmp_path / "parts"
    parts.mkdir()
    # What Debian and Raspberry Pi OS have before ours.
    (parts / "50unattended-upgrades").write_text(
        'Unattended-Upgrade::Allowed-Origins { "Raspberry Pi Foundation:stable"; };\n'
        'Unattended-Upgrade::Origins-Pattern { "origin=Debian,codename=${distro_codename}"; };\n'
        'Unattended-Upgrade::Automatic-Reboot "true";\n'
    )
    (parts / "52edge-agent").write_bytes((FOLDER / "edge-agent.apt.conf").read_bytes())
    alone = tmp_path / "apt.conf"
    alone.write_text(f'Dir::Etc::parts "{parts}";\nDir::Etc::main "/dev/null";\n')
    told = run("apt-config", "dump", "Unattended-Upgrade", env={"APT_CONFIG": str(alone)})
    lines = set(told.splitlines())
    assert [line for line in lines if re.match(r"Unattended-Upgrade::(All|Ori)\S+:: ", line)] == [
        'Unattended-Upgrade::Origins-Pattern:: "origin=Debian,codename=${distro_codename}-security,label=Debian-Security";'
    ]
    assert 'Unattended-Upgrade::Automatic-Reboot "false";' in lines


def test_logs_stay_in_memory_and_are_bounded():
    conf = dict(settings(FOLDER / "edge-agent.journald.conf"))
    assert conf["Storage"] == "volatile"
    assert conf["RuntimeMaxUse"] == "32M"
    assert int(conf["RateLimitBurst"]) > 0
    assert conf["ForwardToSyslog"] == "no"


# ---- the pin driver ----


def driver(folder: Path, text: str) -> str:
    """What scripts/pin_driver.py says of a driver made of *text*."""
    (folder / "lgpio.py").write_text(text)
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/pin_driver.py"],
        env=os.environ | {"PYTHONPATH": str(folder), "LG_WD": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode != 0) == bool(done.stderr)
    return done.stderr


def test_an_empty_stub_is_no_pin_driver(tmp_path: Path):
    assert "empty stub" in driver(tmp_path, "")


def test_an_old_pin_driver_is_refused_and_a_new_one_is_not(tmp_path: Path):
    as_real = "def gpiochip_open(n): ...\ndef get_module_version(): return 'lgpio.py_{}'\n"
    assert "too old" in driver(tmp_path, as_real.format("0.2.1.9"))
    assert driver(tmp_path, as_real.format("0.2.2.0")) == ""
    assert driver(tmp_path, as_real.format("0.10.0.0")) == ""


def test_a_pin_driver_that_cannot_be_loaded_is_named(tmp_path: Path):
    assert "no chip" in driver(tmp_path, "raise OSError('no chip')")


# ---- the image's own units ----

IMAGE = ROOT / "image-build/root"


@pytest.mark.parametrize(
    "name",
    ["etc/systemd/system/ssh.service.d/edge.conf", "usr/lib/systemd/system/edge-ssh.service"],
)
def test_ssh_is_on_by_the_cards_word_alone_and_by_any_name_that_provisioning_takes(name: str):
    """RESULT.txt says "SSH is on" also of `authorized_keys.txt`, as Notepad names it."""
    assert values(IMAGE / name, "ConditionPathExists") == [
        "|/run/edge-agent-ssh/authorized_keys",
        "|/boot/firmware/authorized_keys",
    ]
    assert "ssh.service" in " ".join(values(PROVISION, "Before")).split()
    (line,) = re.findall(r"--ssh (\S+)", PROVISION.read_text())
    assert line == "/run/edge-agent-ssh"
