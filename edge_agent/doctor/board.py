"""Checks of the board itself: which one it is, its kernel, memory, heat, supply, watchdog and battery clock.

All of it is read from files below the patient's root. What a machine does not say is left out where no Raspberry Pi is
expected to say it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from edge_agent.box import cpu_celsius, throttled, under_voltage
from edge_agent.core.settings import Health
from edge_agent.core.words import Sentence
from edge_agent.doctor.check import Check, Patient, Result, fault, text_of, warning, well
from edge_agent.doctor.hardware import boot_lines, takes_overlays, takes_parameters, wants_pins

if TYPE_CHECKING:
    from pathlib import Path

_GROUP: Final = "board"

# What the card image is built and tried for; a Pi 5 has another chip behind its header, and no kernel of Debian 12 knows it.
_KNOWN: Final = re.compile(
    r"Raspberry Pi (3 Model [AB]|4 Model B|400|Zero 2 W|Compute Module (3|4))"
)
_NOT_YET: Final = re.compile(r"Raspberry Pi (5|500|Compute Module 5)")
_KERNEL_OLDEST: Final = (6, 1)  # Debian 12's; with it the box was tried
_MEMORY_LOW_BYTES: Final = 64_000_000  # the kernel begins to kill soon after
_NEAR_HOT: Final = 8.0  # kelvin below the limit: an afternoon hotter than this one
_RTC_OLDEST_S: Final = 1_735_689_600  # 2025-01-01: a clock before this one has lost its time


def model(root: Path) -> str | None:
    """The board's own name; None: no device tree, so no board of this kind."""
    return text_of(root / "proc/device-tree/model")


def is_pi(root: Path) -> bool:
    """Whether this calls itself a Raspberry Pi."""
    return (model(root) or "").startswith("Raspberry Pi")


def _model(patient: Patient) -> list[Result]:
    key, name = "board.model", model(patient.root)
    if name is None or not name.startswith("Raspberry Pi"):
        seen = "no Raspberry Pi" if name is None else name[:80]
        if patient.settings is None or not wants_pins(patient.settings):
            return [well(key, f"{seen}; the configuration uses no pins")]
        remedy = Sentence(
            "Konfigurasi memakai pin, tetapi papan ini bukan Raspberry Pi. Pakai Pi 3 atau 4, atau hapus pin dari box.toml.",
            "The configuration uses pins, but this board is no Raspberry Pi. Use a Pi 3 or 4, or take the pins out of box.toml.",
        )
        return [warning(key, seen, remedy)]
    if _KNOWN.match(name):
        return [well(key, name)]
    remedy = Sentence(
        "Agen belum diuji pada papan ini; Pi 5 belum didukung. Pakai Raspberry Pi 3, 4, 400, CM3, CM4 atau Zero 2 W.",
        "The agent was not tried on this board; the Pi 5 is not supported yet. Use a Raspberry Pi 3, 4, 400, CM3, CM4 or Zero 2 W.",
    )
    seen = f"{name[:80]}: {'not supported yet' if _NOT_YET.match(name) else 'not a board that was tried'}"
    return [warning(key, seen, remedy)]


def _kernel(patient: Patient) -> list[Result]:
    key, release = "board.kernel", text_of(patient.root / "proc/sys/kernel/osrelease")
    found = re.match(r"(\d+)\.(\d+)", release or "")
    if found is None:
        return []
    if (int(found[1]), int(found[2])) >= _KERNEL_OLDEST:
        return [well(key, f"Linux {release}")]
    remedy = Sentence(
        "Kernel terlalu tua. Perbarui sistem ke Debian 12 atau 13, atau tulis ulang kartunya dengan citra kami.",
        "The kernel is too old. Upgrade to Debian 12 or 13, or flash the card with our image.",
    )
    oldest = ".".join(map(str, _KERNEL_OLDEST))
    return [warning(key, f"Linux {release}, older than {oldest}", remedy)]


def _memory(patient: Patient) -> list[Result]:
    key, text = "board.memory", text_of(patient.root / "proc/meminfo") or ""
    sizes = {name: int(size) * 1024 for name, size in re.findall(r"(?m)^(\w+):\s+(\d+) kB$", text)}
    total, available = sizes.get("MemTotal"), sizes.get("MemAvailable")
    if not total or available is None:
        return []
    used_percent = 100 * (1 - available / total)
    most = _health(patient).memory_used_max_percent
    seen = f"{available / 1e6:.0f} MB of {total / 1e6:.0f} MB available, {used_percent:.0f} % used"
    if available >= _MEMORY_LOW_BYTES and used_percent <= most:
        return [well(key, seen)]
    remedy = Sentence(
        "Memori hampir habis. Lihat dengan top program apa yang memakainya, hentikan yang bukan milik kotak ini, atau kurangi kamera.",
        "Memory runs out. See with top what uses it, stop what does not belong on this box, or read fewer cameras.",
    )
    told = fault if available < _MEMORY_LOW_BYTES else warning
    return [told(key, f"{seen} (limit {most:.0f} %)", remedy)]


def _temperature(patient: Patient) -> list[Result]:
    key, celsius = "board.temperature", cpu_celsius(patient.root / "sys")
    if celsius is None:
        return [] if not is_pi(patient.root) else [warning(key, "no sensor says", _NO_SENSOR)]
    most = _health(patient).cpu_celsius_max
    if celsius <= most - _NEAR_HOT:
        return [well(key, f"{celsius:.0f} C, limit {most:.0f} C")]
    remedy = Sentence(
        "Kotak terlalu panas. Pindahkan ke tempat teduh, buka jalan udaranya, bersihkan kipas; pasang pendingin pada prosesornya.",
        "The box is too hot. Move it into the shade, clear its air holes, clean its fan; fit a heat sink.",
    )
    told = fault if celsius > most else warning
    return [told(key, f"{celsius:.0f} C, limit {most:.0f} C", remedy)]


_NO_SENSOR: Final = Sentence(
    "Sensor papan tidak terbaca. Perbarui kernel; bila tetap begitu, papannya mungkin rusak.",
    "The board's sensor cannot be read. Update the kernel; if that does not help, the board may be broken.",
)


def _voltage(patient: Patient) -> list[Result]:
    key, low = "board.voltage", under_voltage(patient.root / "sys")
    if low is None:
        # Debian's kernel has the sensor on all boards that we know: on a Pi its absence is worth a line.
        return [] if not is_pi(patient.root) else [warning(key, "no sensor says", _NO_SENSOR)]
    if not low:
        return [well(key, "above 4.63 V now")]
    remedy = Sentence(
        "Tegangan di bawah 4,63 V. Ganti catu daya dengan 5,1 V 3 A yang asli dan kabelnya dengan yang pendek dan tebal.",
        "The supply is below 4.63 V. Replace it with a genuine 5.1 V 3 A one, and its cable with a short, thick one.",
    )
    return [fault(key, "below 4.63 V now", remedy)]


def _throttled(patient: Patient) -> list[Result]:
    key, slow = "board.throttled", throttled(patient.root / "sys")
    if slow is None:
        return []
    if not slow:
        return [well(key, "the processor runs at its full speed")]
    remedy = Sentence(
        "Prosesor diperlambat karena panas atau tegangan rendah. Periksa suhu dan catu daya (baris di atas dan di bawah ini).",
        "The processor is slowed down by heat or a weak supply. Look at temperature and supply (the lines beside this one).",
    )
    return [warning(key, "the processor is slowed down now", remedy)]


def _watchdog(patient: Patient) -> list[Result]:
    key = "board.watchdog"
    if not is_pi(patient.root):
        return []
    switch_on = (
        ("dtparam=watchdog=on di config.txt", "dtparam=watchdog=on into config.txt")
        if takes_parameters(patient.root)
        else (
            "bcm2835_wdt di /etc/modules-load.d/watchdog.conf",
            "bcm2835_wdt into /etc/modules-load.d/watchdog.conf",
        )
    )
    remedy = Sentence(
        "Tanpa pengawas perangkat keras, kotak yang macet tetap mati. Tulis RuntimeWatchdogSec=15s di /etc/systemd/system.conf.d/ "
        f"dan {switch_on[0]}, lalu nyalakan ulang.",
        "Without the hardware watchdog a box that hangs stays dead. Write RuntimeWatchdogSec=15s below "
        f"/etc/systemd/system.conf.d/ and {switch_on[1]}, then restart.",
    )
    if not (patient.root / "dev/watchdog0").exists():
        return [warning(key, "no /dev/watchdog0", remedy)]
    said = patient.program(("systemctl", "show", "--property=RuntimeWatchdogUSec"))
    period = (said or "").strip().partition("=")[2]
    if said is None or not period:
        return [well(key, "/dev/watchdog0 is there")]
    if period in {"0", "infinity"}:
        return [warning(key, "/dev/watchdog0 is there, and systemd does not feed it", remedy)]
    return [well(key, f"systemd feeds it, {period}")]


def _rtc(patient: Patient) -> list[Result]:
    key = "board.rtc"
    clocks = sorted((patient.root / "sys/class/rtc").glob("rtc*"))
    wanted = any("i2c-rtc" in line for line in boot_lines(patient.root) or ())
    if not clocks and wanted and not takes_overlays(patient.root):
        remedy = Sentence(
            "Kernel Debian tidak membaca dtoverlay, jadi modul jam itu tidak dipakai. Hapus baris itu: tanpa modul pun kotak bekerja "
            "dan mengambil jam dari jaringan. Bila modulnya perlu, pakai Raspberry Pi OS.",
            "Debian's kernel takes no dtoverlay, so that clock module is not used. Delete the line: the box works without one and "
            "takes the time from the network. If the module is needed, use Raspberry Pi OS.",
        )
        seen = "config.txt names a battery clock, and this kernel's device tree takes no overlay"
        return [warning(key, seen, remedy)]
    if not clocks and wanted:
        remedy = Sentence(
            "Modul jam tidak ditemukan. Periksa apakah terpasang benar di pin 1 sampai 9, dan nama chipnya di dtoverlay=i2c-rtc.",
            "The clock module is not found. See that it sits right on pins 1 to 9, and the chip's name in dtoverlay=i2c-rtc.",
        )
        return [fault(key, "config.txt names a battery clock, and there is none", remedy)]
    if not clocks:
        return [well(key, "no battery clock: after a power cut the time waits for the network")]
    since = text_of(clocks[0] / "since_epoch") or ""
    if since.isdigit() and int(since) < _RTC_OLDEST_S:
        remedy = Sentence(
            "Jam baterai kehilangan waktunya. Ganti baterainya (CR2032 atau sesuai modul), lalu biarkan kotak tersambung sejam.",
            "The battery clock has lost its time. Replace its battery (CR2032, or as the module needs), then leave the box "
            "connected for an hour.",
        )
        return [warning(key, f"{clocks[0].name} stands before 2025", remedy)]
    return [well(key, f"{clocks[0].name} keeps time")]


def _health(patient: Patient) -> Health:
    return Health() if patient.settings is None else patient.settings.health


CHECKS: Final = (
    Check(key="board.model", group=_GROUP, ask=_model),
    Check(key="board.kernel", group=_GROUP, ask=_kernel),
    Check(key="board.memory", group=_GROUP, ask=_memory),
    Check(key="board.temperature", group=_GROUP, ask=_temperature),
    Check(key="board.voltage", group=_GROUP, ask=_voltage),
    Check(key="board.throttled", group=_GROUP, ask=_throttled),
    Check(key="board.watchdog", group=_GROUP, ask=_watchdog),
    Check(key="board.rtc", group=_GROUP, ask=_rtc),
)
