"""The box itself: its health and its clock as events, and the service manager's notifications and watchdog.

Promises: what this machine does not say is None, never a guess and never a fault; the watchdog is fed only while every named
part makes progress, so that a hang anywhere ends in a restart, closed.
Threads: `Box` has one that reads and posts, `Watchdog` one that looks and feeds; neither ever waits for a network.
Not its job: whether a figure is a finding (core/health.py), whether a time can be trusted for what (core).
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil

from edge_agent.core.messages import BoxRead, ClockRead, Event
from edge_agent.part import Part

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edge_agent.clock import Clock

EVERY_S: Final = 10.0
_RECORD_MAX_BYTES: Final = 100_000
_FIRST_S: Final = (
    1.0  # the processor's share is known only over a time; the first second is enough for a start
)
_CPU_ZONES: Final = ("cpu-thermal", "cpu_thermal", "soc-thermal", "x86_pkg_temp")

# How long each part may go without progress. The longest legal waits: a capture worker is killed after 12 s, a card's
# fsync can take 10 s, a connection attempt 30 s; the sensors turn ten times a second.
LIMITS_S: Final[Mapping[str, float]] = {
    "loop": 20.0,
    "journal": 45.0,
    "link": 60.0,
    "cameras": 45.0,
    "sensors": 10.0,
}
_LIMIT_S: Final = 45.0  # of a part that is not named above

log = logging.getLogger("edge_agent")


# ---- health ----


class Box:
    """Posts the clock and the box's health now and every 10 s. *folder* is where the journal lives."""

    def __init__(
        self,
        folder: str,
        *,
        post: Callable[[Event], None],
        clock: Clock,
        sysfs: Path = Path("/sys"),
        proc: Path = Path("/proc"),
        provisioned: Path | None = None,
    ) -> None:
        """*provisioned*: what `edge-agent provision` made of the card; None or no such file: this box has none."""
        self._folder = folder
        self._provisioned = provisioned
        self._proc = proc
        self._post = post
        self._clock = clock
        self._sysfs = sysfs
        self._process = psutil.Process()
        self._mute = False  # whether the last reading failed: said once
        self._part = Part("box", self._run, post=post)

    def __enter__(self) -> Box:
        self._part.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._part.leave()

    def _run(self) -> None:
        self._post(clock_read(self._clock))
        psutil.cpu_percent()  # psutil counts from this thread's last call
        wait_s = _FIRST_S
        while not self._part.wait(wait_s):
            self._post(clock_read(self._clock))
            self._report()
            wait_s = EVERY_S

    def _report(self) -> None:
        """One reading; a kernel that answers oddly costs the reading, not the agent."""
        try:
            read = self._box_read()
        except (psutil.Error, OSError, ValueError, RuntimeError) as error:
            if not self._mute:
                log.warning("box cannot be read %s: %s", type(error).__name__, error)
            self._mute = True
            return
        self._mute = False
        self._post(read)

    def _box_read(self) -> BoxRead:
        memory = psutil.virtual_memory()
        free_bytes, used_percent = self._disk()
        mount = mount_of(self._folder, self._proc)
        disk = None if mount is None else block_device(mount.device, self._sysfs)
        worn_percent, ending = card_wear(disk, self._sysfs)
        # What goes over loopback costs nobody a quota.
        nets = [net for name, net in psutil.net_io_counters(pernic=True).items() if name != "lo"]
        return BoxRead(
            cpu_percent=psutil.cpu_percent(),
            cpu_celsius=cpu_celsius(self._sysfs),
            memory_used_percent=memory.percent,
            memory_available_bytes=memory.available,
            disk_free_bytes=free_bytes,
            disk_used_percent=used_percent,
            uptime_s=self._clock.now(),
            agent_rss_bytes=self._process.memory_info().rss,
            net_sent_bytes=sum(net.bytes_sent for net in nets),
            net_received_bytes=sum(net.bytes_recv for net in nets),
            under_voltage=under_voltage(self._sysfs),
            throttled=throttled(self._sysfs),
            inodes_free_percent=inodes_free_percent(self._folder),
            read_only=None if mount is None else mount.read_only,
            card_written_bytes=card_written_bytes(disk, self._sysfs),
            card_worn_percent=worn_percent,
            card_ending=ending,
            config_refused=config_refused(self._provisioned),
        )

    def _disk(self) -> tuple[int | None, float | None]:
        try:
            usage = psutil.disk_usage(self._folder)
        except OSError:  # not there yet, or the card is dying: the journal says so in its own words
            return None, None
        return usage.free, usage.percent


def clock_read(clock: Clock) -> ClockRead:
    """Wall time now, and who vouches for it."""
    trusted = clock.trusted()
    source = "kernel: synchronised" if trusted else "kernel: not synchronised"
    return ClockRead(wall_s=clock.wall(), trusted=trusted, source=source)


def cpu_celsius(sysfs: Path) -> float | None:
    """The processor's temperature; None = this machine does not say."""
    for zone in sorted((sysfs / "class/thermal").glob("thermal_zone*")):
        if _text(zone / "type") in _CPU_ZONES:
            milli = _text(zone / "temp")
            # A zone that is switched off reads 0, some broken ones absurd values: both are "does not say".
            if milli is not None and milli.lstrip("-").isdigit() and 0 < int(milli) < 150_000:
                return int(milli) / 1000
    return None


def under_voltage(sysfs: Path) -> bool | None:
    """Whether the supply is below 4.63 V right now; None = no such sensor (only a Raspberry Pi has it)."""
    for chip in sorted((sysfs / "class/hwmon").glob("hwmon*")):  # its number moves between boots
        if _text(chip / "name") == "rpi_volt":
            return {"0": False, "1": True}.get(_text(chip / "in0_lcrit_alarm") or "")
    return None


def throttled(sysfs: Path) -> bool | None:
    """Whether the processor is slowed down right now; None = this machine does not say.

    The firmware's word: bit 1 capped, 2 throttled, 3 soft limit of heat. The kernel calls this file deprecated and notes once
    in its log that somebody reads it; there is no other that tells without a program of the firmware's maker.
    """
    for path in sorted((sysfs / "devices/platform/soc").glob("*firmware/get_throttled")):
        try:
            return bool(int(_text(path) or "", 16) & 0b1110)
        except ValueError:
            continue
    return None


# ---- the card ----


def config_refused(record: Path | None) -> str | None:
    """The parts of the card's configuration that are not in use, by their names; "" = none, None = this box has no such card."""
    if record is None:
        return None
    try:
        found = json.loads(record.read_bytes()[:_RECORD_MAX_BYTES])
        return ", ".join(str(part) for part in found["trouble"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


@dataclass(frozen=True, slots=True)
class Mount:
    """Where a folder's file system comes from, and whether it takes no writes."""

    device: str
    read_only: bool


def mount_of(folder: str, proc: Path) -> Mount | None:
    """The file system that *folder* lies on; None = this machine does not say."""
    where = Path(folder).resolve()
    best: tuple[int, Mount] | None = None
    for line in (_text(proc / "mounts") or "").splitlines():
        words = line.split(" ")
        if len(words) < 4:
            continue
        point = Path(_unescaped(words[1]))
        depth = len(point.parts)
        # Of two on one point the later covers the earlier.
        if where.is_relative_to(point) and (best is None or depth >= best[0]):
            best = (depth, Mount(_unescaped(words[0]), "ro" in words[3].split(",")))
    return None if best is None else best[1]


def _unescaped(text: str) -> str:
    r"""As the kernel writes a path into a line: blanks as \040."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def block_device(device: str, sysfs: Path) -> str | None:
    """The whole disk that a partition such as /dev/mmcblk0p2 is on, by its name in sysfs; None = there is none (or it is hidden)."""
    name = device.removeprefix("/dev/")
    for disk in sorted((sysfs / "block").glob("*")):
        if disk.name == name or (disk / name).is_dir():
            return disk.name
    return None


def card_written_bytes(disk: str | None, sysfs: Path) -> int | None:
    """What was written to *disk* since boot, by anybody: field 7 of its statistics, in sectors of 512 bytes."""
    fields = (_text(sysfs / "block" / (disk or "-") / "stat") or "").split()
    return int(fields[6]) * 512 if len(fields) > 6 and fields[6].isdigit() else None


def card_wear(disk: str | None, sysfs: Path) -> tuple[int | None, bool | None]:
    """An eMMC's own word: (percent worn, rounded up to tens, of the worse of its two kinds of cells; do its spare blocks run out).

    None = it does not say, as no SD card does.
    """
    folder = sysfs / "block" / (disk or "-") / "device"
    steps = [_hex(word) for word in (_text(folder / "life_time") or "").split()]
    # 1 to 10 in tens of percent, 11 = beyond what it was made for; 0 = not told.
    known = [step for step in steps if 1 <= step <= 11]
    spare = _hex(
        _text(folder / "pre_eol_info") or ""
    )  # 1 well, 2 = 80 % of the spare blocks used, 3 urgent
    return max(known) * 10 if known else None, spare >= 2 if spare in {1, 2, 3} else None


def _hex(word: str) -> int:
    try:
        return int(word, 16)
    except ValueError:
        return -1


def inodes_free_percent(folder: str) -> float | None:
    """How many files can still be made; None where the file system counts none (vfat, btrfs)."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    return 100.0 * found.f_favail / found.f_files if found.f_files else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None


# ---- the service manager ----


def notify(state: str) -> bool:
    """Tell systemd, e.g. "READY=1"; False if nobody listens. Any thread; waits at most a second."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]  # an abstract socket, as in containers
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.settimeout(1)
            sender.sendto(state.encode(), address)
    except OSError:  # a service manager that went away must not take the agent along
        return False
    return True


class Watchdog:
    """Feeds systemd's watchdog while all *parts* make progress; each gives the time of its last, in seconds since boot.

    Does nothing if systemd asked for no watchdog. A part that hangs is named once in the log and in `systemctl status`.
    """

    def __init__(
        self,
        parts: Mapping[str, Callable[[], float]],
        *,
        clock: Clock,
        limits_s: Mapping[str, float] = LIMITS_S,
    ) -> None:
        self._parts = dict(parts)
        self._clock = clock
        self._limits_s = limits_s
        self._hung: tuple[str, ...] = ()
        self._stop = threading.Event()
        self._every_s = _watchdog_s()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        if self._every_s is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=5)

    def hung(self) -> tuple[str, ...]:
        """The parts that make no progress. Any thread."""
        now = self._clock.now()
        return tuple(
            name
            for name, progress in self._parts.items()
            if now - progress() > self._limits_s.get(name, _LIMIT_S)
        )

    def _run(self) -> None:
        # Four feeds in each period: a busy minute may cost three of them.
        every_s = (self._every_s or EVERY_S) / 4
        while True:
            self._look()
            if self._stop.wait(every_s):
                return

    def _look(self) -> None:
        hung = self.hung()
        if not hung:
            notify("WATCHDOG=1")
        if hung == self._hung:
            return
        self._hung = hung
        if hung:
            log.error("hung parts=%s, the watchdog will restart the agent", ",".join(hung))
            notify(f"STATUS=hung: {', '.join(hung)}")
        else:
            log.info("hung parts=none, all make progress again")
            notify("STATUS=")


def _watchdog_s() -> float | None:
    """The period systemd asked this process for; None = none."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    micros = os.environ.get("WATCHDOG_USEC", "")
    return int(micros) / 1e6 if micros.isdigit() and int(micros) > 0 else None
