"""Does the doctor find what is wrong, and name it? A catalogue of 40 faults, each done to a box that is otherwise well.

    python -m tests.bench.doctor [--only WORD] [--json]

Each fault is done for real where a machine without the parts allows it: cameras, brokers and certificates are real and really wrong, file
systems are small or read-only ones that are mounted for it (as root; otherwise the configuration or the mount table is changed), the
board's files are changed below the folder that stands in for /, and contacts, relay, loops and ADCs fail on the product's own simulated
wiring. A fault counts as found if an answer with exactly its key is a warning or a fault, says what to do in both languages, and nothing
else is called wrong but what follows from it (`also`). Two boxes that are well, one with its agent stopped and one beside it, must be called so.
The last line is one JSON object: `found` [n, 40], `seconds` (the slowest examination), `false_alarms`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from edge_agent.commission import commission_from_files
from edge_agent.core.messages import Json
from edge_agent.demo_pictures import STREETS
from edge_agent.doctor.check import Result, State
from edge_agent.doctor.run import examine
from edge_agent.sensors import real_factory
from edge_agent.simulate import Street
from tests.support.broker import free_port
from tests.support.evil_servers import answers, evil, never_answers
from tests.support.local_ca import DAY_S, now_s
from tests.support.ward import NAME, Box, Ward, broker, ward

Stack: TypeAlias = "contextlib.ExitStack[bool | None]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One entry of the catalogue."""

    what: str
    key: str
    do: Callable[[Box, Stack], None]
    also: frozenset[str] = frozenset()  # what follows from it


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the doctor made of a box."""

    what: str
    key: str
    found: bool
    alarms: tuple[str, ...]  # keys called wrong that are neither it nor follow from it
    took_s: float
    seen: str


# ---- the board and what is wired to it ----


def _no_spi(box: Box, _: Stack) -> None:
    (box.root / "dev/spidev0.0").unlink()
    (box.root / "dev/spidev0.1").unlink()


def _no_chip(box: Box, _: Stack) -> None:
    (box.root / "dev/gpiochip0").unlink()
    box.no_factory = real_factory(box.root / "dev")[1]


def _no_group(box: Box, _: Stack) -> None:
    box.write("etc/group", "edge-agent:x:990:\n")
    for folder in ("journal", "views", "runs", "pairs", "run"):
        (box.folder / folder).chmod(0o777)
    for secret in ("box.toml", "box.key", "camera"):
        (box.folder / secret).chmod(0o640)


def _pipe_folder(box: Box, _: Stack) -> None:
    box.beside = True
    box.unit = box.unit.replace("LG_WD=/run/edge-agent", "LG_WD=/opt/elsewhere")
    box.write("opt/elsewhere/keep", "")
    (box.root / "opt/elsewhere").chmod(0o700)
    box.write("etc/group", box.root.joinpath("etc/group").read_text().replace(":edge-agent", ":"))


def _hat(box: Box, _: Stack) -> None:
    _config_txt(box, "dtoverlay=rotary-encoder,pin_a=4,pin_b=17")


def _busy(box: Box, _: Stack) -> None:
    box.owners = {22: "pps-gpio"}


def _not_strict(box: Box, _: Stack) -> None:
    box.write("sys/module/pinctrl_bcm2835/parameters/persist_gpio_outputs", "Y\n")


def _switch_cut(box: Box, _: Stack) -> None:
    box.spoil = lambda street: street.cut_switch_wire()


def _relay(box: Box, _: Stack) -> None:
    box.spoil = lambda street: street.short_feedback_wire()


def _adc_dead(box: Box, _: Stack) -> None:
    box.spoil = lambda street: street.board.dead_chips.add(0)


def _loop_cut(box: Box, _: Stack) -> None:
    def cut(street: Street) -> None:
        street.board.pairs[0].cut_at_m = 20.0

    box.spoil = cut


def _camera_off(box: Box, _: Stack) -> None:
    def off(street: Street) -> None:
        street.board.draws[0].fed = False

    box.spoil = off


def _under_voltage(box: Box, _: Stack) -> None:
    box.write("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n")


def _hot(box: Box, _: Stack) -> None:
    box.write("sys/class/thermal/thermal_zone0/temp", "84600\n")


def _battery(box: Box, _: Stack) -> None:
    box.write("sys/class/rtc/rtc0/since_epoch", "946684800\n")


def _config_txt(box: Box, line: str) -> None:
    path = box.root / "boot/firmware/config.txt"
    path.write_text(f"{path.read_text()}{line}\n")


# ---- files ----


def _open_key(box: Box, _: Stack) -> None:
    (box.folder / "box.key").chmod(0o644)


def _not_ours(box: Box, _: Stack) -> None:
    (box.folder / "views").chmod(0o700)
    box.write("etc/group", f"edge-agent:x:990:\ngpio:x:{os.getgid()}:edge-agent\n")
    (box.folder / "views").chmod(0o500)


def _no_view(box: Box, _: Stack) -> None:
    for path in (box.folder / "views").iterdir():
        if path.name.startswith("gate"):
            path.unlink()


def _typo(box: Box, _: Stack) -> None:
    box.say('kind = "rtsp"', 'kind = "rtps"')


def _hung(box: Box, _: Stack) -> None:
    box.beside = True
    box.silent = "the agent does not answer: it hangs or is overloaded"


# ---- cameras ----


def _gate_at(box: Box, url: str) -> None:
    box.say(f"{box.ward.rtsp_url}/main", url)


def _camera_unplugged(box: Box, stack: Stack) -> None:
    _gate_at(box, f"rtsp://127.0.0.1:{stack.enter_context(evil(never_answers))}/main")


def _wrong_password(box: Box, _: Stack) -> None:
    path = box.folder / "camera"
    path.with_name("gate").write_text("not it")
    path.with_name("gate").chmod(0o640)
    text = box.config.read_text()
    first, rest = text.split('password_file = "camera"', 1)
    box.config.write_text(f'{first}password_file = "gate"{rest}')


def _wrong_channel(box: Box, _: Stack) -> None:
    _gate_at(box, f"{box.ward.rtsp_url}/other")


def _other_device(box: Box, stack: Stack) -> None:
    _gate_at(
        box,
        f"rtsp://127.0.0.1:{stack.enter_context(evil(answers('200 OK', _WEB_PAGE, 'Content-Type: text/html')))}/main",
    )


def _web_page(box: Box, stack: Stack) -> None:
    port = stack.enter_context(evil(answers("200 OK", _WEB_PAGE, "Content-Type: text/html")))
    box.say(box.ward.http_url, f"http://127.0.0.1:{port}/picture")


def _heavy(box: Box, _: Stack) -> None:
    _gate_at(box, f"{box.ward.rtsp_url}/heavy")
    box.write("proc/meminfo", "MemTotal: 945000 kB\nMemAvailable: 600000 kB\n")


def _smart_codec(box: Box, _: Stack) -> None:
    box.beside = True

    def rare(status: dict[str, Json]) -> None:
        _cameras(status)[0]["gop_s"] = 12.4

    box.spoil_status = rare


def _camera_clock(box: Box, stack: Stack) -> None:
    port = stack.enter_context(
        evil(answers("200 OK", _ONVIF, "Content-Type: application/soap+xml"))
    )
    box.beside = True
    box.say(box.ward.http_url, f"http://127.0.0.1:{port}/picture")


def _no_usb(box: Box, _: Stack) -> None:
    text = box.config.read_text()
    head, tail = text.split("[[run]]", 1)
    more = '[[camera]]\nid = "usb"\nname = "Balai"\nkind = "v4l2"\ndevice = "/dev/video7"\n\n'
    box.config.write_text(f"{head}{more}[[run]]{tail}")
    commission_from_files(STREETS[0].commission[:3], box.folder / "views", "usb")


def _cameras(status: dict[str, Json]) -> list[dict[str, Json]]:
    found = status["cameras"]
    assert isinstance(found, list)
    return [one for one in found if isinstance(one, dict)]


_WEB_PAGE: Final = b"<html>Selamat datang</html>"
_ONVIF: Final = (
    b"<s:Envelope><s:Body><tds:GetSystemDateAndTimeResponse><tds:SystemDateAndTime><tt:UTCDateTime><tt:Time><tt:Hour>3</tt:Hour>"
    b"<tt:Minute>4</tt:Minute><tt:Second>5</tt:Second></tt:Time><tt:Date><tt:Year>2001</tt:Year><tt:Month>2</tt:Month><tt:Day>3</tt:Day>"
    b"</tt:Date></tt:UTCDateTime></tds:SystemDateAndTime></tds:GetSystemDateAndTimeResponse></s:Body></s:Envelope>"
)


# ---- the journal ----


def _damaged(box: Box, _: Stack) -> None:
    path = box.journal / "journal.db"
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        for at in range(4096, size - 4096, 8192):
            file.seek(at + 100)
            file.write(os.urandom(2000))


def _mounted(box: Box, stack: Stack, options: str) -> bool:
    """A small file system of its own for the journal; False: we may not mount one here."""
    if os.geteuid() != 0:
        return False
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "ward", str(box.journal)],
        check=False,
        capture_output=True,
    )
    if done.returncode == 0:
        stack.callback(subprocess.run, ["umount", "-l", str(box.journal)], check=False)
    return done.returncode == 0


def _full(box: Box, stack: Stack) -> None:
    if _mounted(box, stack, "size=56m,mode=0770"):
        (box.journal / "other").write_bytes(bytes(30_000_000))
    else:
        box.say("disk_floor_mb = 50", "disk_floor_mb = 1000000")


def _read_only(box: Box, stack: Stack) -> None:
    if _mounted(box, stack, "size=200m,mode=0770,ro"):
        box.write("proc/mounts", Path("/proc/mounts").read_text())
    else:
        box.write("proc/mounts", "/dev/mmcblk0p4 / ext4 ro,noatime 0 0\n")


def _worn(box: Box, _: Stack) -> None:
    box.write("sys/block/mmcblk0/device/life_time", "0x0a 0x09\n")


# ---- time ----


def _not_vouched(box: Box, _: Stack) -> None:
    box.clock.is_trusted = False


def _back(box: Box, _: Stack) -> None:
    box.clock.ahead_s = -30 * DAY_S


# ---- the hub ----


def _no_interface(box: Box, _: Stack) -> None:
    box.say('host = "localhost"', 'host = "hub.invalid"')
    box.write("sys/class/net/eth0/carrier", "0\n")


def _no_name_server(box: Box, _: Stack) -> None:
    """The name is of the kind that nobody may give out (RFC 2606)."""
    box.say('host = "localhost"', 'host = "hub.invalid"')
    box.write("proc/net/if_inet6", "20010db8000000000000000000000001 02 40 00 80 eth0\n")
    route = "eth0 00000000 0100007F 0003 0 0 0 00000000 0 0 0\n"  # by way of this machine
    box.write("proc/net/route", f"Iface Destination Gateway Flags\n{route}")
    box.write("etc/resolv.conf", "# nobody\n")


def _hub_down(box: Box, _: Stack) -> None:
    box.say(f"port = {box.ward.hub_port}", f"port = {free_port()}")


def _hub_expired(box: Box, stack: Stack) -> None:
    authority = box.ward.authority
    end_s = now_s() - DAY_S
    pair = authority.pair("hub.example", begin_s=end_s - 90 * DAY_S, end_s=end_s)
    port = stack.enter_context(broker(box.folder / "broker", authority, server=pair))
    box.say(f"port = {box.ward.hub_port}", f"port = {port}")


def _own_expired(box: Box, _: Stack) -> None:
    end_s = now_s() - 2 * DAY_S
    box.show(box.ward.authority.pair(NAME, begin_s=end_s - 365 * DAY_S, end_s=end_s))


_CLOCKS: Final = frozenset({"camera.clock"})

CATALOGUE: Final[tuple[Fault, ...]] = (
    Fault(what="the SPI port is switched off", key="spi.device", do=_no_spi),
    Fault(what="no chip behind the header", key="gpio.chip", do=_no_chip),
    Fault(
        what="the service's user is in no group",
        key="gpio.rights",
        do=_no_group,
        also=frozenset({"spi.device", "files.secrets", "files.config"}),
    ),
    Fault(
        what="LG_WD names a folder that may not be written",
        key="gpio.lg-wd",
        do=_pipe_folder,
    ),
    Fault(what="an overlay takes the switch's pin", key="gpio.conflict", do=_hat),
    Fault(what="another driver holds a lamp's pin", key="gpio.busy", do=_busy),
    Fault(what="pins stay driven after the agent died", key="gpio.strict", do=_not_strict),
    Fault(what="the switch's plug is out", key="switch.contacts", do=_switch_cut),
    Fault(what="relay and switch disagree", key="switch.relay", do=_relay),
    Fault(
        what="the ADC is dead",
        key="adc.self-test",
        do=_adc_dead,
    ),
    Fault(what="the cable is cut after 20 m", key="loop.counts", do=_loop_cut),
    Fault(what="the camera's 12 V is off", key="camera.current", do=_camera_off),
    Fault(what="the supply is too weak", key="board.voltage", do=_under_voltage),
    Fault(what="the box is hot", key="board.temperature", do=_hot),
    Fault(what="the clock's battery is flat", key="board.rtc", do=_battery),
    Fault(
        what="everybody may read the box's key",
        key="files.secrets",
        do=_open_key,
        also=frozenset({"config.sound"}),  # with such a key no configuration is taken
    ),
    Fault(what="the views' folder cannot be written", key="files.folders", do=_not_ours),
    Fault(what="a camera was never commissioned", key="commission.view", do=_no_view),
    Fault(what="a typing error in box.toml", key="config.sound", do=_typo),
    Fault(
        what="the agent hangs",
        key="service.answers",
        do=_hung,
        also=frozenset({"camera.reach"}),
    ),
    Fault(what="a camera gives no answer", key="camera.reach", do=_camera_unplugged),
    Fault(what="the camera's password is wrong", key="camera.login", do=_wrong_password),
    Fault(what="the camera's channel is wrong", key="camera.path", do=_wrong_channel),
    Fault(what="another device has the camera's address", key="camera.speaks", do=_other_device),
    Fault(what="a web page in place of a picture", key="camera.video", do=_web_page),
    Fault(what="H.265 on a board of 1 GB", key="camera.codec", do=_heavy),
    Fault(what="a smart codec, a key picture each 12 s", key="camera.keyframes", do=_smart_codec),
    Fault(what="the camera's clock stands in 2001", key="camera.clock", do=_camera_clock),
    Fault(what="the USB camera is unplugged", key="camera.device", do=_no_usb),
    Fault(what="the journal is damaged", key="journal.integrity", do=_damaged),
    Fault(what="the disk is full", key="journal.space", do=_full),
    Fault(what="the file system is read-only", key="journal.read-only", do=_read_only),
    Fault(what="the card is worn out", key="journal.wear", do=_worn),
    Fault(what="nothing vouches for the clock", key="clock.synchronised", do=_not_vouched),
    Fault(
        what="the clock was set back a month",
        key="clock.plausible",
        do=_back,
        also=_CLOCKS | {"hub.own-certificate"},
    ),
    Fault(what="the network cable is out", key="hub.interface", do=_no_interface),
    Fault(what="there is no name server", key="hub.name", do=_no_name_server),
    Fault(what="nobody listens at the hub", key="hub.tcp", do=_hub_down),
    Fault(what="the hub's certificate has expired", key="hub.tls", do=_hub_expired),
    Fault(
        what="the box's certificate has expired",
        key="hub.own-certificate",
        do=_own_expired,
        also=frozenset({"hub.tls"}),
    ),
)


# ---- examining ----


def examined(box: Box, fault: Fault | None) -> Outcome:
    """One box and what is wrong with it; None: nothing."""
    report = examine(box.patient())
    wrong = [a.result for a in report.answers if a.result.state is not State.OK]
    key = "" if fault is None else fault.key
    named = [result for result in wrong if result.key == key and _helps(result)]
    allowed = set() if fault is None else {fault.key, *fault.also}
    return Outcome(
        what="a box that is well" if fault is None else fault.what,
        key=key,
        found=bool(named),
        alarms=tuple(f"{r.key}: {r.seen}" for r in wrong if r.key not in allowed),
        took_s=report.took_s,
        seen=named[0].seen if named else "",
    )


def _helps(result: Result) -> bool:
    remedy = result.remedy
    return remedy is not None and len(remedy.id) > 20 and len(remedy.en) > 20


def run(
    place: Path, say: Callable[[str], None], *, only: str = ""
) -> tuple[list[Outcome], list[Outcome]]:
    """(the faults, the boxes that are well)."""
    faulty: list[Outcome] = []
    well: list[Outcome] = []
    with ward(place) as made:
        for beside in (False, True):
            box = made.admit()
            box.beside = beside
            well.append(examined(box, None))
            say(_line(well[-1], "well" if not well[-1].alarms else "ALARM"))
        for fault in CATALOGUE:
            if only in fault.key or only in fault.what:
                faulty.append(_one(made, fault))
                good = faulty[-1].found and not faulty[-1].alarms
                say(_line(faulty[-1], "found" if good else "MISSED"))
    return faulty, well


def _one(made: Ward, fault: Fault) -> Outcome:
    with contextlib.ExitStack() as stack:
        box = made.admit()
        fault.do(box, stack)
        return examined(box, fault)


def _line(outcome: Outcome, verdict: str) -> str:
    seen = outcome.seen[:90] if outcome.found else ""
    text = f"{verdict:7} {outcome.took_s:4.1f} s  {outcome.key:22} {outcome.what:48} {seen}"
    return "\n".join(
        [text.rstrip(), *(f"        also called wrong: {one[:150]}" for one in outcome.alarms)]
    )


def summary(faulty: Sequence[Outcome], well: Sequence[Outcome]) -> dict[str, object]:
    """The keys of the last line. An alarm is false wherever it is raised."""
    return {
        "found": [sum(o.found for o in faulty), len(faulty)],
        "seconds": round(max(o.took_s for o in (*faulty, *well)), 2),
        "false_alarms": sum(len(o.alarms) for o in (*faulty, *well)),
    }


def main(argv: Sequence[str] | None = None, say: Callable[[str], None] = print) -> int:
    """Exit code 0 if all were found and nothing else was called wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.doctor", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--only", default="", metavar="WORD", help="faults whose key or text has it"
    )
    parser.add_argument(
        "--json", action="store_true", help="kept for scripts; the last line is JSON in any case"
    )
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as place:
        faulty, well = run(Path(place) / "ward", say, only=str(options.only))
    found = summary(faulty, well)
    say(json.dumps(found))
    all_named = all(outcome.found for outcome in faulty)
    return 0 if all_named and not found["false_alarms"] else 1


if __name__ == "__main__":
    sys.exit(main())
