"""The built image, started: what issue after issue promised of the agent, seen on the card that a technician flashes.

Each test goes on from the same frozen box, with a card and a hub of its own. Nothing in the image knows that it is tested.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from contextlib import closing

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.image.conftest import InService, pictures
from tests.image.hub import City
from tests.image.street import LIVE, LOOP_CLOSED, LOOP_OPEN, PRESSED, READY, Running, Street
from tests.support import sandboxed

# docs/boot-test.md says the same, for people.
LISTENS = {"udp 68"}


# ---- how it came there ----


def test_the_service_is_up_and_has_notified(in_service: InService):
    for start in (in_service.first, in_service.second):
        lines = set(start.agent.split())
        assert {"Type=notify", "ActiveState=active", "SubState=running", "NRestarts=0"} <= lines


def test_no_unit_has_failed(in_service: InService):
    for start in (in_service.first, in_service.second):
        assert start.failed.split() == ["running"], start.failed


def test_the_first_start_makes_the_request_and_says_what_is_missing(in_service: InService):
    told = in_service.first.result
    assert "BELUM SELESAI: hub/box.pem" in told
    assert "NOT FINISHED: hub/box.pem" in told
    assert "\r\n" in told, "Notepad on an old laptop"


def test_power_cuts_while_it_starts_for_the_first_time_cost_nothing(in_service: InService):
    """One key from the first request on, and the data partition as large as the card."""
    keys = {
        x509.load_pem_x509_csr(request.encode())
        .public_key()
        .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        for request in in_service.requests
    }
    assert len(keys) == 1
    assert in_service.data_bytes > 2 << 30, "it was not grown"


def test_the_second_start_takes_the_certificate_and_its_birth_comes_to_the_hub(
    in_service: InService,
):
    assert "SEMUA DITERIMA" in in_service.second.result
    assert in_service.birth_s > 0


def test_a_picture_is_commissioned_released_and_received(in_service: InService):
    assert "pictures are released once they match it" in in_service.commissioned
    assert in_service.pictures > 0


# ---- at rest ----


@pytest.fixture(scope="module")
def at_rest(box_street: Street, in_service: InService) -> Mapping[str, str]:
    """What a box in service says to questions that change nothing."""
    with box_street.thawed(in_service.frozen, network=True) as box:
        return {
            "mounts": box.machine.run("cat /proc/mounts"),
            "below": box.machine.run(
                "mkdir /dev/below && mount -o rw $(sed -n 's/^disk=//p' /run/edge/slot)2 /dev/below; touch /dev/below/x",
                good=False,
            ),
            "set-uid": box.machine.run("find / -xdev -perm /6000 -type f"),
            "listens": box.machine.run("ss -H -ltnu"),
            "ssh": box.machine.run("systemctl is-active ssh", good=False),
            "rules": box.machine.run("nft list chain inet edge input"),
            "doctor": box.machine.run(sandboxed.DOCTOR, 240),
            **knocked(box),
        }


def knocked(box: Running) -> Mapping[str, str]:
    """What comes of a connection from outside to a program that listens on port 22: as it is, and with the way in opened."""
    # This board has no lo to wait for: the program listens as soon as it says so.
    box.machine.run(
        "(setsid python3 -m http.server 22 --directory /dev/edge-test >/dev/null 2>&1 &)"
    )
    box.machine.until("ss -Htln | grep -q :22")
    shut = asked(box.machine.ssh_port)
    box.machine.run("nft add element inet edge opened '{ 22 }'")
    opened = asked(box.machine.ssh_port)
    return {"shut": shut, "opened": opened}


def asked(port: int) -> str:
    """The first words of whoever answers there; empty = nobody does."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as line:
        line.settimeout(10)
        line.sendall(b"HEAD / HTTP/1.0\r\n\r\n")
        try:
            return line.recv(100).decode(errors="replace")
        except OSError:
            return ""


def test_the_root_is_read_only_below_and_forgets_above(at_rest: Mapping[str, str]):
    mounts = at_rest["mounts"].splitlines()
    kinds = {line.split()[1]: (line.split()[2], line.split()[3].split(",")) for line in mounts}
    assert kinds["/"][0] == "overlay"
    assert kinds["/boot/firmware"][1][0] == "ro"
    assert {"nosuid", "nodev", "noexec"} <= set(kinds["/data"][1])
    below = at_rest["below"]
    assert "Read-only file system" in below or "write-protected" in below
    assert at_rest["set-uid"] == "", "set-uid files"


def test_the_doctor_that_the_agent_runs_may_use_what_the_agent_uses(at_rest: Mapping[str, str]):
    """No more than that: under emulation half of its checks run out of their seconds."""
    found = {each["key"]: each for each in json.loads(at_rest["doctor"])["results"]}
    for key in ("gpio.rights", "gpio.chip", "config.sound"):
        assert found[key]["state"] == "ok", found[key]


def test_nothing_listens_but_what_is_documented_and_ssh_is_off(at_rest: Mapping[str, str]):
    lines = at_rest["listens"].splitlines()
    listens = {f"{line.split()[0]} {line.split()[4].rpartition(':')[2]}" for line in lines}
    assert listens <= LISTENS, lines
    assert at_rest["ssh"].strip() == "inactive"
    assert "policy drop" in at_rest["rules"]
    assert at_rest["shut"] == ""
    assert at_rest["opened"].startswith("HTTP/"), "else the line above proves nothing"


# ---- switch, loop, camera ----


def watched(here: Street, box: Running) -> None:
    """The street is shown: else nothing could be seen to end."""
    came = pictures(here)
    here.city.until(lambda: box.gate() == "open", "an open gate")
    here.city.until(lambda: pictures(here) > came, "a fresh picture at the hub")


def findings(city: City, what: str, after: int) -> set[object]:
    """The keys of all findings that were opened, or closed."""
    return {each["key"] for each in city.records(f"finding.{what}", after=after)}


def test_a_pressed_switch_turns_private_and_the_hub_hears_it_at_once_or_when_it_can(
    box_street: Street, in_service: InService
):
    """Online, and on the same box with its cable out: the lamps obey all the same, and the hub is told later."""
    city = box_street.city
    with box_street.thawed(in_service.frozen, network=True) as box:
        watched(box_street, box)
        before = city.newest()
        pressed_at = time.monotonic()
        box.machine.drive(PRESSED)
        city.until(lambda: city.records("privacy.on", after=before), "privacy.on")
        took_s = time.monotonic() - pressed_at
        box.await_lamps((True, False))
        assert box.gate() == "private"
        came = pictures(box_street)
        box.machine.run("sleep 8")  # four pictures' time
        box.machine.drive(LIVE)
        city.until(lambda: city.records("privacy.off", after=before), "privacy.off")
        between = city.ask(
            "SELECT count(*) FROM record WHERE picture IS NOT NULL AND seq > "
            "(SELECT max(seq) FROM record WHERE kind = 'privacy.on') AND seq < "
            "(SELECT max(seq) FROM record WHERE kind = 'privacy.off')"
        )
        assert between == [(0,)], f"a picture was taken while private; {came} before"
        box_street.say(f"press: at the hub after {took_s:.1f} s")

        box.off_the_net(city)
        before = city.newest()
        assert "up" not in box.machine.run("cat /sys/class/net/eth0/operstate")
        box.machine.drive(PRESSED)
        box.await_lamps((True, False))
        box.machine.drive(LIVE)
        city.until(
            lambda: any(live and not private for private, live in box.lamps(40, 0.07)),
            "the live lamp",
        )
        assert city.records("privacy.on", after=before) == []
        box_street.plug_in(box, 300)
        city.until(lambda: city.records("privacy.off", after=before), "what was kept", 300)
        assert len(city.records("privacy.on", after=before)) == 1


def test_an_open_loop_is_a_work_order_and_the_camera_that_comes_back_in_a_living_room_is_held(
    box_street: Street, in_service: InService
):
    """December 2024, on the built image: the very picture that must never leave."""
    city = box_street.city
    with box_street.thawed(in_service.frozen, network=True) as box:
        watched(box_street, box)
        before = city.newest()
        box.machine.drive(LOOP_OPEN)
        city.until(lambda: "cable_open" in findings(city, "opened", before), "cable_open")
        city.until(lambda: box.gate() != "open", "the gate closes")
        # From here on nothing may be taken into the journal but records: not while the plug is out, not as it goes back in.
        held_from = box.last_seq()
        box.lens("home")
        box.machine.drive(LOOP_CLOSED)
        city.until(
            lambda: "cable_open" in findings(city, "closed", before), "cable_open is closed", 300
        )
        city.until(
            lambda: "view_foreign" in findings(city, "opened", before),
            "a foreign view is told",
            400,
        )
        box.machine.run("sleep 15")  # seven more pictures
        assert box.gate() in {"closed", "held"}
        last = box.last_seq()
        city.until(lambda: city.newest() >= last, "all that the box has taken in")
        assert city.ask(
            "SELECT count(*) FROM record WHERE picture IS NOT NULL AND seq > ?", held_from
        ) == [(0,)]


def test_a_service_that_hangs_is_restarted(box_street: Street, in_service: InService):
    """Asked for sooner than the unit's own 60 s, by a drop-in: the wait is no part of what is tested."""
    with box_street.thawed(in_service.frozen) as box:
        machine = box.machine
        first = machine.run("systemctl show edge-agent -P MainPID").strip()
        machine.run(
            "mkdir -p /run/systemd/system/edge-agent.service.d && printf '[Service]\\nWatchdogSec=5\\n'"
            " >/run/systemd/system/edge-agent.service.d/test.conf"
        )
        machine.run(f"kill -STOP {first} && systemctl daemon-reload")
        machine.until(f"[ ! -d /proc/{first} ]", 120)
        machine.until(READY, 300)
        assert machine.run("systemctl show edge-agent -P MainPID").strip() not in {first, "0"}
        assert "watchdog" in machine.run("journalctl -u edge-agent --no-pager -n 40").lower()
