"""Checks of the pin header: the chip behind it, the library, the rights, who else has a pin, the SPI port.

Nothing is claimed here: a chip is opened without its lines (command.py), the rest is files and the kernel's own notes.
"""

from __future__ import annotations

import os
import re
from importlib import metadata
from typing import TYPE_CHECKING, Final

from edge_agent.core.settings import Relay, Settings
from edge_agent.core.words import Sentence
from edge_agent.doctor.board import is_pi
from edge_agent.doctor.check import Check, Patient, Result, fault, text_of, warning, well
from edge_agent.doctor.hardware import (
    SPI_PINS,
    boot_lines,
    pins,
    takes_overlays,
    takes_parameters,
    wants_adc,
    wants_pins,
)
from edge_agent.doctor.overlays import claims
from edge_agent.doctor.people import Node, Service, node_of
from edge_agent.doctor.run import unit_properties

if TYPE_CHECKING:
    from pathlib import Path

_GROUP: Final = "header"
_AGENTS_OWN: Final = (
    "lg"  # how lgpio calls itself at the kernel, in the agent and in other programs alike
)
_LIBRARY_OLDEST: Final = (
    0,
    2,
    2,
)  # 0.0.0.2 is an empty stub that some index offers for Python 3.13

_REMEDY_LIBRARY: Final = Sentence(
    "Pasang pustaka pin yang benar: pip install 'lgpio>=0.2.2' di lingkungan agen, atau tulis ulang kartu dengan citra kami.",
    "Install the real pin library: pip install 'lgpio>=0.2.2' in the agent's environment, or flash the card with our image.",
)
_REMEDY_CHIP: Final = Sentence(
    "Chip GPIO header tidak ditemukan. Pakai Raspberry Pi 3 atau 4 dengan citra kami atau Raspberry Pi OS; bila sudah, nyalakan ulang "
    "kotak.",
    "The header's GPIO chip is not found. Use a Raspberry Pi 3 or 4 with our image or Raspberry Pi OS; if it is one, restart the box.",
)
_REMEDY_RIGHTS: Final = Sentence(
    "Pengguna layanan tidak boleh memakai pin. Pasang aturan udev dan grupnya (make install), lalu nyalakan ulang; untuk "
    "pemeriksaan ini jalankan dengan sudo.",
    "The service's user may not use the pins. Install its udev rules and groups (make install), then restart; run this check "
    "with sudo.",
)

_REMEDY_SPI: Final = Sentence(
    "Port SPI mati. Tulis dtparam=spi=on di /boot/firmware/config.txt, hapus overlay yang memakai SPI0, lalu nyalakan ulang.",
    "The SPI port is off. Write dtparam=spi=on into /boot/firmware/config.txt, take out overlays that use SPI0, restart.",
)
_REMEDY_SPI_DEBIAN: Final = Sentence(
    "Port SPI mati, dan kernel Debian tidak membaca dtparam di config.txt. Tulis ulang kartu dengan citra kami (SPI sudah menyala di "
    "dalamnya), atau pakai Raspberry Pi OS dengan dtparam=spi=on.",
    "The SPI port is off, and Debian's kernel takes no dtparam from config.txt. Flash the card with our image (SPI is on in it), or "
    "use Raspberry Pi OS with dtparam=spi=on.",
)
_REMEDY_SPI_OTHER: Final = Sentence(
    "Papan ini tidak punya port SPI yang menyala. Pakai Raspberry Pi 3 atau 4, atau nyalakan SPI seperti petunjuk pembuat papan ini.",
    "No SPI port is on at this board. Use a Raspberry Pi 3 or 4, or switch SPI on as this board's maker says.",
)
_REMEDY_STRICT: Final = Sentence(
    "Tulis dtparam=strict_gpiod di /boot/firmware/config.txt, lalu nyalakan ulang: pin yang dilepas agen yang mati harus jadi "
    "masukan, agar relai dan lampu tidak berbohong.",
    "Write dtparam=strict_gpiod into /boot/firmware/config.txt and restart: pins that a dead agent let go of must become "
    "inputs, or relay and lamps lie.",
)
_REMEDY_STRICT_DEBIAN: Final = Sentence(
    "Tulis pinctrl_bcm2835.persist_gpio_outputs=n di akhir baris /boot/firmware/cmdline.txt (tetap satu baris), lalu nyalakan ulang: "
    "pin yang dilepas agen yang mati harus jadi masukan, agar relai dan lampu tidak berbohong.",
    "Write pinctrl_bcm2835.persist_gpio_outputs=n at the end of the line in /boot/firmware/cmdline.txt (it stays one line) and "
    "restart: pins that a dead agent let go of must become inputs, or relay and lamps lie.",
)
_REMEDY_KERNEL: Final = Sentence(
    "Kernel ini terlalu tua untuk mengatakannya. Perbarui: sudo apt update && sudo apt full-upgrade, tulis dtparam=strict_gpiod di "
    "/boot/firmware/config.txt, lalu nyalakan ulang.",
    "This kernel is too old to say. Upgrade: sudo apt update && sudo apt full-upgrade, write dtparam=strict_gpiod into "
    "/boot/firmware/config.txt, then restart.",
)
_REMEDY_UNREAD: Final = Sentence(
    "config.txt tidak terbaca, jadi baris yang mengambil pin kita tidak terlihat. Jalankan dengan sudo; bila tetap begini, periksa "
    "apakah partisi boot terpasang di /boot/firmware.",
    "config.txt cannot be read, so a line in it that takes a pin of ours is not seen. Run this with sudo; if it stays so, see that "
    "the boot partition is mounted on /boot/firmware.",
)


def _wired(patient: Patient) -> Settings | None:
    """The settings, if anything in them needs the header."""
    settings = patient.settings
    return settings if settings is not None and wants_pins(settings) else None


# ---- library and chip ----


def _library(patient: Patient) -> list[Result]:
    key = "gpio.library"
    if _wired(patient) is None:
        return []
    try:
        version = metadata.version("lgpio")
    except metadata.PackageNotFoundError:
        return [fault(key, "lgpio is not installed", _REMEDY_LIBRARY)]
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    if numbers < _LIBRARY_OLDEST:
        return [
            fault(key, f"lgpio {version} is a stub, or too old (at least 0.2.2)", _REMEDY_LIBRARY)
        ]
    return [well(key, f"lgpio {version}")]


def _chip(patient: Patient) -> list[Result]:
    key = "gpio.chip"
    if _wired(patient) is None:
        return []
    if patient.factory is not None:
        label = getattr(patient.factory, "label", None)
        return [well(key, f"open, {label}" if isinstance(label, str) else "open")]
    why = patient.why_no_factory
    if "not installed" in why:
        return []  # gpio.library says so
    return [fault(key, why, _REMEDY_RIGHTS if "no right" in why else _REMEDY_CHIP)]


def _notify(patient: Patient) -> list[Result]:
    key = "gpio.notify"
    if _wired(patient) is None or patient.factory is None:
        return []
    from edge_agent.sensors import edges_alive  # noqa: PLC0415 - it brings the pin library

    if edges_alive():
        own = "; the running agent watches its own" if patient.agent.running else ""
        return [well(key, f"the library's edge thread lives here{own}")]
    remedy = Sentence(
        "Benang pustaka pin mati begitu dimulai. Periksa ruang dan hak di folder LG_WD (/run/edge-agent), lalu mulai ulang agen.",
        "The pin library's thread ends as soon as it starts. See that the folder LG_WD (/run/edge-agent) has room and may be "
        "written to, then restart the agent.",
    )
    return [fault(key, "the library's edge thread has ended", remedy)]


def _pipe_folder(patient: Patient) -> list[Result]:
    """lgpio makes a pipe where LG_WD says, while the agent loads it; without a place it cannot be loaded at all."""
    key = "gpio.lg-wd"
    unit = unit_properties(patient.program)
    if _wired(patient) is None or not unit:
        return []
    remedy = Sentence(
        "Pasang unit layanan yang asli (make install): di dalamnya ada Environment=LG_WD=/run/edge-agent dan "
        "RuntimeDirectory=edge-agent. Hapus drop-in yang mengubahnya.",
        "Install the service unit as it came (make install): it has Environment=LG_WD=/run/edge-agent and "
        "RuntimeDirectory=edge-agent. Delete the drop-in that changed it.",
    )
    folder = next(
        (word[6:] for word in unit.get("Environment", "").split() if word.startswith("LG_WD=")), ""
    )
    if not folder:
        return [warning(key, "the unit sets no LG_WD", remedy)]
    made = {f"/run/{name}" for name in unit.get("RuntimeDirectory", "").split()}
    if folder in made:
        return [well(key, f"{folder}, made by systemd at each start")]
    node = node_of(patient.below(folder))
    if node is None or not node.is_folder:
        return [fault(key, f"LG_WD={folder}: no such folder", remedy)]
    service = Service.of(patient.root, unit)
    if service is not None and not service.may_write(node):
        return [fault(key, f"LG_WD={folder}: {service.name} may not write there ({node})", remedy)]
    return [well(key, folder)]


# ---- rights ----


def _rights(patient: Patient) -> list[Result]:
    key = "gpio.rights"
    nodes = sorted((patient.root / "dev").glob("gpiochip[0-9]*"))
    if _wired(patient) is None or not nodes:
        return []
    return [_may_use(key, patient, nodes)]


def _spi(patient: Patient) -> list[Result]:
    key, settings = "spi.device", _wired(patient)
    if settings is None or not any(wants_adc(settings)):
        return []
    names = [f"spidev0.{number}" for number, wanted in enumerate(wants_adc(settings)) if wanted]
    nodes = [patient.root / "dev" / name for name in names]
    gone = [node.name for node in nodes if not node.exists()]
    if gone:
        if takes_parameters(patient.root):
            remedy = _REMEDY_SPI
        else:
            remedy = _REMEDY_SPI_DEBIAN if is_pi(patient.root) else _REMEDY_SPI_OTHER
        return [fault(key, f"no /dev/{', no /dev/'.join(gone)}", remedy)]
    return [_may_use(key, patient, nodes)]


def _may_use(key: str, patient: Patient, nodes: list[Path]) -> Result:
    """Whether the service's user may read and write all *nodes*; where there is no such user, whether we may."""
    service = Service.of(patient.root, unit_properties(patient.program))
    known = {node.name: node_of(node) for node in nodes}
    shut = []
    for node in nodes:
        found: Node | None = known[node.name]
        # As that user itself we ask the kernel: within its sandbox (PrivateUsers) every other group's number reads as nobody's.
        if service is None or service.uid == os.geteuid() != 0:
            may = os.access(node, os.R_OK | os.W_OK)
        else:
            may = found is not None and service.may_write(found)
        if not may:
            shut.append(f"/dev/{node.name} ({found})")
    who = "this user" if service is None else service.name
    if shut:
        return fault(key, f"{who} may not use {', '.join(shut)}", _REMEDY_RIGHTS)
    return well(key, f"{who} may use {', '.join(f'/dev/{node.name}' for node in nodes)}")


# ---- what a pin does when nobody holds it ----


def _strict(patient: Patient) -> list[Result]:
    """The makers' kernels leave an output driven after its program died, unless told otherwise; Debian's let it go."""
    key, settings = "gpio.strict", _wired(patient)
    if settings is None:
        return []
    root = patient.root
    # Of all that starts on these boards, only the makers' system has a device tree with parameters.
    makers = takes_parameters(root)
    modules = (root / "sys/module" / name for name in ("pinctrl_bcm2835", "pinctrl_rp1"))
    told = (text_of(module / "parameters/persist_gpio_outputs") for module in modules)
    persist = next((word for word in told if word is not None), None)
    if persist in {"N", "0"}:
        return [well(key, "released pins become inputs")]
    if persist is None and not is_pi(root):
        return []
    if persist is None and not makers:
        return [well(key, "this kernel knows nothing but to make released pins inputs")]
    if persist is None:
        seen, remedy = "this kernel does not say what becomes of released pins", _REMEDY_KERNEL
        return [warning(key, seen, remedy)]
    remedy = _REMEDY_STRICT if makers else _REMEDY_STRICT_DEBIAN
    worse = warning if settings.privacy.relay is Relay.NONE else fault
    return [worse(key, "pins stay driven after their program died", remedy)]


# ---- who else has a pin ----


def _busy(patient: Patient) -> list[Result]:
    key, settings = "gpio.busy", _wired(patient)
    if settings is None or patient.factory is None:
        return []
    results = []
    for what, pin in pins(settings):
        owner = patient.owners.get(pin, "")
        if not owner or (patient.agent.running and owner == _AGENTS_OWN):
            continue
        remedy = Sentence(
            f"GPIO{pin} dipegang pihak lain. Hentikan program itu (gpioinfo menunjukkannya), atau hapus overlay-nya di config.txt.",
            f"Another holds GPIO{pin}. Stop that program (gpioinfo shows it), or delete its overlay in config.txt.",
        )
        seen = f'GPIO{pin}, {what}, is held by "{owner[:40]}"'
        results.append(fault(key, seen, remedy, about=f"GPIO{pin}"))
    return results or [well(key, "no pin of ours is held by another")]


def _conflicts(patient: Patient) -> list[Result]:
    key, settings = "gpio.conflict", _wired(patient)
    if settings is None:
        return []
    ours = {pin: what for what, pin in pins(settings)}
    on_spi = any(wants_adc(settings))
    results = []
    lines = boot_lines(patient.root)
    for pin, line in claims(_in_force(patient.root, lines or ())):
        if on_spi and pin in SPI_PINS and not line.startswith("dtparam"):
            what = SPI_PINS[pin]
        elif pin in ours:
            what = ours[pin]
        else:
            continue
        remedy = Sentence(
            f"Hapus baris {line[:60]} dari config.txt dan lepas papan yang memerlukannya, atau pindahkan kabel ke pin lain dan tulis "
            "di box.toml.",
            f"Delete the line {line[:60]} from config.txt and take off the board that needs it, or move our wire to another pin "
            "and write that into box.toml.",
        )
        seen = f"GPIO{pin} is {what}, and config.txt gives it away: {line[:80]}"
        results.append(fault(key, seen, remedy, about=f"GPIO{pin}"))
    hat = patient.root / "proc/device-tree/hat"
    product = text_of(hat / "product")
    if product:
        remedy = Sentence(
            f"Papan tambahan {product[:40]} terpasang. Cocokkan pinnya dengan docs/wiring.md; bila tidak perlu, lepas.",
            f"A board on top ({product[:40]}) is fitted. Compare its pins with docs/wiring.md; take it off if it is not needed.",
        )
        seen = f"a board on top: {text_of(hat / 'vendor') or '?'} {product}"[:120]
        results.append(warning(key, seen, remedy))
    firmware = patient.root / "boot/firmware"
    # On the card's image that folder is root's alone; who is not root is not told to become it, but says nothing of it.
    shut = firmware.is_dir() and not os.access(firmware, os.X_OK)
    if lines is None and is_pi(patient.root) and not shut:
        results.append(warning(key, "config.txt is not there, or may not be read", _REMEDY_UNREAD))
    if results or lines is None:
        return results  # where no config.txt is expected either, there is nothing to say
    return [well(key, "config.txt gives none of our pins away; no board on top")]


def _in_force(root: Path, lines: tuple[str, ...]) -> tuple[str, ...]:
    """Those of *lines* that this board's device tree can take; a line without effect takes nobody's pin."""
    idle = (
        *(() if takes_parameters(root) else ("dtparam", "device_tree_param")),
        *(() if takes_overlays(root) else ("dtoverlay", "device_tree_overlay")),
    )
    return tuple(line for line in lines if line.partition("=")[0].strip() not in idle)


CHECKS: Final = (
    Check(key="gpio.library", group=_GROUP, ask=_library),
    Check(key="gpio.chip", group=_GROUP, ask=_chip),
    Check(key="gpio.notify", group=_GROUP, ask=_notify),
    Check(key="gpio.lg-wd", group=_GROUP, ask=_pipe_folder),
    Check(key="gpio.rights", group=_GROUP, ask=_rights),
    Check(key="spi.device", group=_GROUP, ask=_spi),
    Check(key="gpio.strict", group=_GROUP, ask=_strict),
    Check(key="gpio.busy", group=_GROUP, ask=_busy),
    Check(key="gpio.conflict", group=_GROUP, ask=_conflicts),
)
