"""`make install` and `make uninstall`, run for real in a root of their own (tests/support/debian_box.py).

Each run: on a copy of this machine, in memory. `make install-test SUITE=bookworm` (or trixie): on a Debian made for it, whose
systemd is booted, so that the unit runs in its own sandbox, is killed, hangs, is upgraded, and is taken off again.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import sandboxed
from tests.support.local_ca import Authority

ROOT = Path(__file__).resolve().parent.parent
SUITE = os.environ.get("INSTALL_SUITE", "")
# What a box has from the start that this one is made with. systemd-sysv makes it bootable.
PACKAGES = "systemd,systemd-sysv,udev,kmod,dbus,ca-certificates,python3,procps,make"
# What stays when the agent goes, for the day it comes back: its configuration, its accounts.
STAYS = (
    "/etc/edge-agent",
    "/var/lib/edge-agent",
    "/etc/passwd",
    "/etc/shadow",
    "/etc/group",
    "/etc/gshadow",
)


def why_not() -> str:
    """Why this machine can make no box; empty = it can."""
    if os.geteuid() != 0:
        return "a root of one's own needs root"
    probe = "mount -t tmpfs t /mnt && mkdir /mnt/a /mnt/b && mount -t overlay o -o lowerdir=/,upperdir=/mnt/a,workdir=/mnt/b /mnt"
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", probe],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"no overlay here: {done.stderr.strip()}" if done.returncode else ""


_REASON = why_not()
pytestmark = pytest.mark.skipif(bool(_REASON), reason=_REASON)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a stage said, its exit code, and what is other than before on the box after it."""

    status: int
    said: str
    left: list[str]

    def lines(self) -> dict[str, str]:
        """Of a stage that prints KEY=VALUE."""
        pairs = (line.partition("=") for line in self.said.splitlines() if "=" in line)
        return {key: value for key, _, value in pairs}


def play(below: Path, work: Path, *stages: str) -> list[Answer]:
    done = subprocess.run(
        [
            *("unshare", "--mount", "--propagation", "private"),
            *(sys.executable, "-m", "tests.support.debian_box", below, work, ROOT),
        ],
        input=json.dumps(stages),
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=1500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [Answer(**each) for each in json.loads(done.stdout)]


# Everything is built and the files are put in place; then systemd-tmpfiles refuses its own.
LATE = """
mkdir /tmp/late && cp -r edge_agent scripts systemd docs pyproject.toml constraints.txt README.md CHANGELOG.md /tmp/late/
echo 'd /etc/edge-agent nonsense' >>/tmp/late/systemd/edge-agent.tmpfiles.conf
cd /tmp/late && UPDATES=none GPIO=none scripts/install
"""
# A cut while its files are put in place: nothing is tidied up, as by kill -9.
CUT = """
rm -r /tmp/late && mkdir /tmp/late && cp -r edge_agent scripts systemd docs pyproject.toml constraints.txt README.md CHANGELOG.md /tmp/late/
cd /tmp/late && sed -i 's/^systemd-tmpfiles --create/kill -KILL $$ #/' scripts/install
UPDATES=none GPIO=none scripts/install
"""


# As after an upgrade of Debian that took the agent's Python away: nothing of it can be started.
WITHOUT_PYTHON = """
own=$(readlink -f /opt/edge-agent)/bin/$(python3 -c 'import os, sys; print(os.path.basename(os.path.realpath(sys.executable)))')
echo "own=$(readlink "$own")"
ln -sfn /usr/bin/python3.gone "$own"
echo "broken=$(edge-agent --version >/dev/null 2>&1; echo $?)"
UPDATES=none GPIO=none scripts/install
echo "again=$(edge-agent --version)"
"""


@pytest.mark.timeout(900)
def test_what_is_installed_can_be_taken_away_without_a_trace(tmp_path: Path):
    refused, late, cut, gone, installed, driver, upgraded, removed, purged = play(
        Path("/"),
        tmp_path,
        "UPDATES=none PIP_NO_INDEX=1 PIP_FIND_LINKS=/nowhere scripts/install",
        LATE,
        CUT,
        "PURGE=1 scripts/uninstall",
        "UPDATES=none scripts/install",
        "LG_WD=/tmp /opt/edge-agent/bin/python scripts/pin_driver.py && edge-agent --version\n"
        "stat -c secrets=%a:%U:%G /etc/edge-agent/secrets",
        WITHOUT_PYTHON,
        "scripts/uninstall",
        "PURGE=1 scripts/uninstall",
    )
    assert refused.status != 0, refused.said
    assert "nothing was set up" in refused.said
    assert refused.left == [], "an installation that failed left something behind"
    assert late.status != 0, late.said
    assert "nothing was set up" in late.said
    assert late.left == [], "an installation that failed at its end left something behind"
    assert cut.status in (137, -9), cut.said
    assert "/etc/systemd/system/edge-agent.service is new" in cut.left
    assert gone.status == 0, gone.said
    assert gone.left == [], "what a power cut left half-installed cannot be taken off"
    assert installed.status == 0, installed.said
    assert "/etc/systemd/system/multi-user.target.wants/edge-agent.service is new" in installed.left
    assert not [path for path in installed.left if "/.cache/" in path]
    assert driver.status == 0, driver.said
    assert driver.lines()["secrets"] == "750:root:edge-agent"
    python = upgraded.lines()
    assert re.search(r"/python3\.\d+$", python["own"]), "the interpreter's name says its version"
    assert python["broken"] != "0"
    assert python["again"].startswith("edge-agent "), upgraded.said
    assert removed.status == 0, removed.said
    assert not [path for path in removed.left if not path.startswith(STAYS)]
    assert purged.status == 0, purged.said
    assert purged.left == [], purged.left


# ---- on a Debian made for it ----

BOX_TOML = """
[identity]
kelurahan = "kuningan"
rw = "03"
rt = "05"
box = "box-1"
[hub]
host = "127.0.0.1"
port = 1883
settle = "watermark"
[[camera]]
id = "gang"
name = "Gang"
kind = "http"
url = "http://127.0.0.1:8000/a.jpg"
username = "agent"
password_credential = "camera"
[privacy]
switch = "none"
"""

CONFIGURE = f"""
cat >/etc/edge-agent/box.toml <<'TOML'
{BOX_TOML}
TOML
chgrp edge-agent /etc/edge-agent/box.toml && chmod 0640 /etc/edge-agent/box.toml
install -m 0600 /dev/stdin /etc/edge-agent/secrets/camera <<<geheim
edge-agent check /etc/edge-agent/box.toml
"""

# The camera's own server; then wait for the capture process, which decodes under the same sandbox.
LOOK = """
mkdir -p /tmp/camera
cp /opt/edge-agent/lib/python3*/site-packages/edge_agent/demo_pictures/*/*.jpg /tmp/camera/ 2>/dev/null ||
  cp /opt/edge-agent/lib/python3*/site-packages/edge_agent/demo_pictures/*.jpg /tmp/camera/
cp "$(ls /tmp/camera/*.jpg | head -1)" /tmp/camera/a.jpg
systemd-run --quiet --unit=camera python3 -m http.server 8000 --bind 127.0.0.1 --directory /tmp/camera
for _ in $(seq 60); do
  journalctl -u edge-agent -o cat --no-pager | grep -q 'camera back id=gang' && break
  sleep 0.5
done
echo "camera=$(journalctl -u edge-agent -o cat --no-pager | grep -c 'camera back id=gang')"
echo "state=$(systemctl is-system-running)"
echo "failed=$(systemctl --failed --plain --no-legend | wc -l)"
echo "active=$(systemctl is-active edge-agent)"
pid=$(systemctl show -P MainPID edge-agent)
echo "user=$(stat -c %U /proc/$pid)"
echo "map=$(tr -s ' ' ' ' </proc/$pid/uid_map | tr '\n' ';')"
for each in $(pgrep -u edge-agent); do
  echo "confined-$each=$(sed -n 's/^\\(NoNewPrivs\\|Seccomp\\|CapBnd\\):\t//p' /proc/$each/status | tr '\n' ' ')"
  echo "core-$each=$(cat /proc/$each/coredump_filter) $(grep -c 'core file size *0 *0' /proc/$each/limits)"
done
echo "groups=$(for each in $(sed -n 's/^Groups:\t//p' /proc/$pid/status); do getent group $each | cut -d: -f1; done | sort | tr '\n' ' ')"
echo "secrets=$(nsenter -t $pid -m ls /run/credentials/edge-agent.service | tr '\n' ' ')"
echo "listens=$(cat /proc/$pid/net/tcp /proc/$pid/net/tcp6 | awk '$4 == "0A" && $2 !~ /:1F40$/' | wc -l)"
echo "unknown=$(journalctl --no-pager -o cat | grep -c -i 'unknown \\(key\\|lvalue\\|section\\)')"
echo "journal=$(test -d /var/log/journal/$(cat /etc/machine-id) && echo disk || echo memory)"
echo "exposure=$(systemd-analyze security edge-agent --no-pager | sed -n 's/.*: \\([0-9.]*\\) .*/\\1/p' | tail -1)"
systemctl start apt-daily.timer apt-daily-upgrade.timer
echo "night=$(systemctl show -P TimersCalendar apt-daily.timer apt-daily-upgrade.timer | grep -c ' UTC')"
"""

# As the agent has it run, and as a technician does.
DOCTOR = f"""
echo "inside=$({sandboxed.DOCTOR})"
echo "outside=$(edge-agent doctor --json)"
rm /run/systemd/system/doctor.service && systemctl daemon-reload
"""

# The card's reader in its own sandbox: memory in place of the FAT partition, read-only as that is mounted.
CARD_TOML = BOX_TOML.replace(
    'host = "127.0.0.1"\nport = 1883\nsettle = "watermark"',
    'host = "hub.example.org"\nca_file = "hub/hub-ca.pem"\ncertificate_file = "hub/box.pem"\nkey_file = "box.key"',
).replace('username = "agent"\npassword_credential = "camera"', "")
CARD = """
mkdir -p /boot/firmware /data /etc/wpa_supplicant
mount -t tmpfs -o mode=0700 card /boot/firmware && mount -t tmpfs data /data && mkdir /data/config /boot/firmware/hub
cat >/boot/firmware/box.toml <<'TOML'
@TOML@
TOML
cat >/boot/firmware/hub/hub-ca.pem <<'PEM'
@PEM@
PEM
mount -o remount,ro /boot/firmware && mount --bind /data/config /etc/edge-agent
cp systemd/edge-agent-provision.service /run/systemd/system/ && systemctl daemon-reload
systemctl start edge-agent-provision
echo "card=$(systemctl show -P ExecMainStatus edge-agent-provision)"
journalctl -u edge-agent-provision -o cat --no-pager
cat /boot/firmware/RESULT.txt
echo "asked=$(grep -c REQUEST /boot/firmware/box.csr)"
echo "locked=$(touch /boot/firmware/x 2>&1 | grep -c -i read-only)"
echo "key=$(stat -c %a:%U:%G /etc/edge-agent/box.key)"
echo "host=$(cat /proc/sys/kernel/hostname)"
echo "routes=$(ls /run/systemd/network)"
systemctl stop edge-agent-provision && rm /run/systemd/system/edge-agent-provision.service && systemctl daemon-reload
umount /etc/edge-agent && umount /boot/firmware /data && rmdir /boot/firmware /data /etc/wpa_supplicant
"""

# Each of them by itself; the pause before a restart is 5 s.
HARM = """
again() { # wait for another main process
  for _ in $(seq 100); do
    now=$(systemctl show -P MainPID edge-agent)
    [ "$now" != 0 ] && [ "$now" != "$1" ] && [ "$(systemctl is-active edge-agent)" = active ] && return
    sleep 0.3
  done
  echo "never=came back"
}
pid=$(systemctl show -P MainPID edge-agent)
kill -KILL $pid && again $pid && echo "killed=back"
mkdir -p /run/systemd/system/edge-agent.service.d
printf '[Service]\\nWatchdogSec=4\\n' >/run/systemd/system/edge-agent.service.d/hurry.conf
systemctl daemon-reload && systemctl restart edge-agent
pid=$(systemctl show -P MainPID edge-agent)
kill -STOP $pid && again $pid && echo "hung=back"
echo "word=$(journalctl -u edge-agent --no-pager -o cat | grep -c 'Watchdog timeout')"
echo "stacks=$(journalctl -u edge-agent --no-pager -o cat | grep -c 'most recent call first')"
rm /run/systemd/system/edge-agent.service.d/hurry.conf
mv /etc/edge-agent/secrets /etc/edge-agent/elsewhere
sed -i 's/^username.*//; s/^password_credential.*//' /etc/edge-agent/box.toml
systemctl daemon-reload && systemctl restart edge-agent
echo "without=$(systemctl is-active edge-agent)"
mv /etc/edge-agent/elsewhere /etc/edge-agent/secrets
mkdir -p /run/systemd/system/edge-agent.service.d && cp systemd/debug.conf /run/systemd/system/edge-agent.service.d/
systemctl daemon-reload && systemctl restart edge-agent
echo "debug=$(systemctl is-active edge-agent)"
rm -r /run/systemd/system/edge-agent.service.d && systemctl daemon-reload
"""

UPGRADE = """
before=$(readlink /opt/edge-agent)
scripts/install || echo "status=$?"
echo "moved=$([ "$(readlink /opt/edge-agent)" != "$before" ] && echo yes)"
echo "old=$(test -e "$before" && echo there || echo gone)"
echo "active=$(systemctl is-active edge-agent)"
"""

# A program that loads, but does not come up.
BROKEN = """
before=$(readlink /opt/edge-agent)
sums() { sha256sum /etc/systemd/system/edge-agent.service /etc/udev/rules.d/60-edge-agent.rules; }
sums >/tmp/sums
mkdir /tmp/broken && cp -r edge_agent scripts systemd docs pyproject.toml constraints.txt README.md CHANGELOG.md /tmp/broken/
sed -i 's/^def run(argv.*/&\\n    return 3/' /tmp/broken/edge_agent/app.py
echo '# of the program that failed' | tee -a /tmp/broken/systemd/edge-agent.service >>/tmp/broken/systemd/60-edge-agent.rules
sed -i 's/^RestartSec=.*/RestartSec=77/' /tmp/broken/systemd/edge-agent.service
(cd /tmp/broken && scripts/install); echo "status=$?"
echo "unit=$(sums | cmp -s - /tmp/sums && echo as before)"
echo "pause=$(systemctl show -P RestartUSec edge-agent)"
echo "moved=$([ "$(readlink /opt/edge-agent)" != "$before" ] && echo yes)"
echo "active=$(systemctl is-active edge-agent)"
"""


def debian(suite: str) -> Path:
    """A minimal Debian, made once and kept beside .venv's own things (mmdebstrap; a minute)."""
    name = hashlib.sha256(f"{suite} {PACKAGES}".encode()).hexdigest()[:12]
    folder = ROOT / ".debian" / f"{suite}-{name}"
    if not folder.is_dir():
        for old in folder.parent.glob(f"{suite}-*"):
            shutil.rmtree(old)
        folder.parent.mkdir(exist_ok=True)
        making = folder.with_suffix(".new")
        command = ["mmdebstrap", "--variant=minbase", "--mode=root", f"--include={PACKAGES}"]
        done = subprocess.run(
            [*command, suite, making], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        making.rename(folder)
    return folder


@pytest.mark.skipif(
    not SUITE, reason="minutes, and a Debian to fetch: make install-test SUITE=bookworm"
)
@pytest.mark.timeout(1800)
def test_a_debian_box_from_installation_to_removal(tmp_path: Path):
    installed, configured, _, looked, examined, carded, harmed, upgraded, broken, purged = play(
        debian(SUITE),
        tmp_path,
        "scripts/install",
        CONFIGURE,
        "boot",
        LOOK,
        DOCTOR,
        CARD.replace("@TOML@", CARD_TOML).replace("@PEM@", Authority().pem.decode()),
        HARM,
        UPGRADE,
        BROKEN,
        "PURGE=1 scripts/uninstall",
    )
    assert installed.status == 0, installed.said
    assert configured.status == 0, configured.said
    told = looked.said + harmed.said + upgraded.said + broken.said
    (tmp_path / "told.txt").write_text(told)
    seen = looked.lines()
    assert (seen["state"], seen["failed"], seen["active"]) == ("running", "0", "active")
    assert seen["camera"] != "0", "the capture process got no picture under the sandbox"
    assert seen["user"] == "edge-agent"
    assert seen["map"].count(";") == 2, "root and the agent's own, nobody else"
    confined = {value for key, value in seen.items() if key.startswith("confined-")}
    assert confined == {"0000000000000000 1 2 "}
    assert len([key for key in seen if key.startswith("confined-")]) >= 2
    assert {value for key, value in seen.items() if key.startswith("core-")} == {"00000000 1"}
    assert seen["groups"].split() == ["edge-agent", "gpio", "spi", "video"]
    assert "secret_camera" in seen["secrets"].split()
    assert (seen["listens"], seen["unknown"], seen["journal"]) == ("0", "0", "memory")
    assert float(seen["exposure"]) <= 1.5
    assert seen["night"] == "2"
    inside, outside = (
        {(each["key"], each["about"]): each["state"] for each in json.loads(said)["results"]}
        for said in (examined.lines()["inside"], examined.lines()["outside"])
    )
    assert len(inside) > 30
    # What only root may see is not asked of the agent's user; nothing is a fault only for being asked from within.
    assert {key for key, state in inside.items() if state == "fault"} <= outside.keys()
    assert all(outside[key] == "fault" for key, state in inside.items() if state == "fault")
    read = carded.lines()
    assert read["card"] == "1", carded.said  # the city's certificate is missing
    assert (read["asked"], read["locked"]) == ("2", "1"), carded.said
    assert (read["key"], read["host"]) == ("640:root:edge-agent", "kuningan-03-05-box-1")
    assert read["routes"] == "20-edge-agent-wired.network"
    hurt = harmed.lines()
    assert (hurt["killed"], hurt["hung"]) == ("back", "back")
    assert int(hurt["word"]) >= 1
    assert int(hurt["stacks"]) >= 1, "a hang that leaves no stack cannot be understood"
    assert (hurt["without"], hurt["debug"]) == ("active", "active")
    grown = upgraded.lines()
    assert "status" not in grown, upgraded.said
    assert (grown["moved"], grown["old"], grown["active"]) == ("yes", "gone", "active")
    kept = broken.lines()
    assert (kept["status"], kept["moved"], kept["active"]) == ("1", "", "active"), broken.said
    assert (kept["unit"], kept["pause"]) == ("as before", "5s"), "the old program, and its own unit"
    assert purged.status == 0, purged.said
    assert purged.left == [], purged.left
