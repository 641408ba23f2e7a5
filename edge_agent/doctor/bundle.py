"""What a support desk gets of a box: one tar.gz of texts that a person can read.

Promises: no picture and no secret, as everything in it is made here, piece by piece, from what is known to be harmless, and goes
through `Scrub` besides; no file of the box is copied. Never more than `SIZE_MAX` bytes, whatever the box has seen.
Not its job: what may be shown of a configuration (blank.py), sending it anywhere.
"""

from __future__ import annotations

import base64
import errno
import gzip
import io
import json
import os
import re
import tarfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_agent import __version__, whole
from edge_agent.config import SecretError, read_secret, secret_path
from edge_agent.core import report as box_report
from edge_agent.doctor.blank import Scrub, blanked, parse
from edge_agent.doctor.check import Patient, text_of
from edge_agent.doctor.page import as_json
from edge_agent.doctor.run import UNIT, Report, unit_properties
from edge_agent.doctor.versions import os_release

if TYPE_CHECKING:
    from edge_agent.core.settings import SecretRef, Settings

SIZE_MAX: Final = 5_000_000
_PART_MAX: Final = 500_000  # bytes of one text
_LINES: Final = 500
_LINE_MAX: Final = 400
_TEXT_MAX: Final = 4000  # of one value before it is cut: nothing of ours is as long
_RESULTS_MAX: Final = 500
_CONFIG_MAX: Final = 1_000_000
_LOG: Final = (
    "journalctl",
    f"--unit={UNIT}",
    f"--lines={_LINES}",
    "--output=short-iso",
    "--no-pager",
    "--quiet",
)
_UNIT: Final = (
    *("ActiveState", "SubState", "Result", "NRestarts", "UnitFileState", "WatchdogUSec"),
    *("ActiveEnterTimestamp", "ExecMainStatus", "MemoryCurrent", "User", "SupplementaryGroups"),
)
_LIBRARIES: Final = ("lgpio", "gpiozero", "numpy", "opencv-python-headless", "paho-mqtt", "psutil")
_OS: Final = ("ID", "VERSION_ID", "VERSION_CODENAME", "IMAGE_ID", "IMAGE_VERSION")
_MEMORY: Final = ("MemTotal", "MemAvailable", "SwapTotal", "SwapFree")
_RESULT: Final = ("key", "group", "state", "about", "seen")
_REMARK: Final = """\
What this is: what `edge-agent doctor --bundle` found on a box, for a support desk. Made to hold no picture and no secret;
what is not known to be harmless was left out: "(not shown)".

doctor.json    each answer (docs/doctor.md explains the keys; remedies are left out, they stand there)
box.toml       the configuration: only values that are known to be harmless
status.json    what the running agent saw, as the hub may ask for it; {} = it did not run, or did not answer
unit.txt       what systemd says of the service
log.txt        its last lines
versions.json  agent, libraries, system
box.json       disk, memory, load
"""


def write(path: Path, report: Report, patient: Patient) -> None:
    """Write the bundle to *path*; OSError if that cannot be done. Takes some seconds at most."""
    packed = pack(report, patient)
    if (
        not path.parent.is_dir()
    ):  # a stick that is not mounted: its folder must not be made on the card
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path.parent))
    # Whole, or not at all: the place is a stick as often as not, and gets pulled.
    whole.write(path, packed)


def pack(report: Report, patient: Patient) -> bytes:
    """The bundle's bytes."""
    text = _config_text(patient.config_file)
    scrub = Scrub(text, tuple(_secrets(patient.settings)))
    made_s = int(patient.clock.wall())
    held = io.BytesIO()
    # No name of ours and no time in gzip's own head; tar's members have the time.
    with (
        gzip.GzipFile(filename="", fileobj=held, mode="wb", mtime=0) as squeezed,
        tarfile.open(fileobj=squeezed, mode="w") as tar,
    ):
        for name, part in _parts(report, patient, text, scrub).items():
            raw = _cut(part)
            member = tarfile.TarInfo(f"edge-agent-support/{name}")
            member.size, member.mtime, member.mode = len(raw), made_s, 0o644
            tar.addfile(member, io.BytesIO(raw))
    return held.getvalue()


def _cut(text: str) -> bytes:
    raw = text.encode("utf-8", "replace")
    if len(raw) <= _PART_MAX:
        return raw
    return raw[:_PART_MAX] + b"\n(cut off here)\n"


def _parts(report: Report, patient: Patient, text: str, scrub: Scrub) -> Mapping[str, str]:
    return {
        "README.txt": _REMARK,
        "doctor.json": _json(_doctor(report, patient), scrub),
        "box.toml": _config(text),
        "status.json": _json(_status(patient), scrub),
        "unit.txt": scrub(_unit(patient)),
        "log.txt": _log(patient, scrub),
        "versions.json": _json(_versions(patient), scrub),
        "box.json": _json(_figures(patient), scrub),
    }


def _json(value: object, scrub: Scrub) -> str:
    return json.dumps(_scrubbed(value, scrub), indent=1, ensure_ascii=False) + "\n"


def _scrubbed(value: object, scrub: Scrub) -> object:
    """Texts only, and of members only what they hold: our own names and keys are known."""
    if isinstance(value, str):
        # Cut before it is scrubbed, it could end in half a secret.
        return scrub(value)[:_LINE_MAX] if len(value) <= _TEXT_MAX else f"({len(value)} characters)"
    if isinstance(value, dict):
        return {
            name: item if name in _OURS else _scrubbed(item, scrub) for name, item in value.items()
        }
    if isinstance(value, list):
        return [_scrubbed(item, scrub) for item in value]
    return value


# Members whose values come from our own code, whatever the box is told.
_OURS: Final = {"key", "group", "state", "doctor", "agent"}


def _doctor(report: Report, patient: Patient) -> dict[str, object]:
    told = as_json(report, patient)
    results = told["results"]
    # Without the remedies: those that the agent gave repeat names and places.
    told["results"] = [
        {member: result[member] for member in _RESULT}
        for result in (results[:_RESULTS_MAX] if isinstance(results, list) else [])
    ]
    return told


def _config_text(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(_CONFIG_MAX).decode("utf-8-sig", "replace")
    except (OSError, ValueError):
        return ""


def _config(text: str) -> str:
    document = parse(text)
    if document is None:
        return "# not TOML, so nothing of it is shown; config.sound in doctor.json says where it is wrong\n"
    return blanked(document)


def _secrets(settings: Settings | None) -> list[str]:
    """The contents of the secret files, only to be looked for."""
    found: list[str] = []
    for reference in _references(settings):
        try:
            found.append(read_secret(reference))
        except SecretError:
            # Wrong rights, perhaps; what can be read of it must be looked for all the same.
            try:
                found.append(_config_text(secret_path(reference)))
            except SecretError:
                continue
    # As a login goes over the wire, whichever camera it is meant for.
    users = {camera.username for camera in settings.cameras if camera.username} if settings else ()
    pairs = [f"{user}:{secret.strip()}" for user in users for secret in found]
    return found + [base64.b64encode(pair.encode()).decode() for pair in pairs]


def _references(settings: Settings | None) -> list[SecretRef]:
    if settings is None:
        return []
    cameras = [camera.password for camera in settings.cameras if camera.password is not None]
    return cameras if settings.hub.tls is None else [settings.hub.tls.key, *cameras]


def _status(patient: Patient) -> Mapping[str, object]:
    status = patient.agent.status
    if status is None:
        return {}
    # The same choice of members as for the hub; a status is JSON already, of whatever version.
    return dict(box_report.of_box(json.loads(json.dumps(status)), number=0))


def _unit(patient: Patient) -> str:
    found = unit_properties(patient.program)
    return "".join(f"{name}={found[name]}\n" for name in _UNIT if name in found) or "no unit\n"


def _log(patient: Patient, scrub: Scrub) -> str:
    said = patient.program(_LOG)
    if said is None:
        return "no log: journalctl cannot be asked\n"
    # Scrubbed as a whole: a key that was logged has several lines. From the beginning of a line on.
    kept = said if len(said) <= _PART_MAX else said[-_PART_MAX:].partition("\n")[2]
    lines = scrub(kept).splitlines()[-_LINES:]
    return "".join(f"{line[:_LINE_MAX]}\n" for line in lines)


def _versions(patient: Patient) -> dict[str, object]:
    told = os_release(patient)
    libraries = {}
    for name in _LIBRARIES:
        try:
            libraries[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            libraries[name] = "not installed"
    return {
        "agent": __version__,
        "libraries": libraries,
        "system": {name: told[name] for name in _OS if name in told},
        "kernel": text_of(patient.root / "proc/sys/kernel/osrelease"),
        "board": text_of(patient.root / "proc/device-tree/model"),
    }


def _figures(patient: Patient) -> dict[str, object]:
    meminfo = text_of(patient.root / "proc/meminfo") or ""
    sizes = dict(re.findall(r"(?m)^(\w+):\s+(\d+) kB$", meminfo))
    folders = (
        {}
        if patient.settings is None
        else {
            "journal": patient.settings.journal.folder,
            "views": patient.settings.views_folder,
        }
    )
    return {
        "memory_kb": {name: int(sizes[name]) for name in _MEMORY if name in sizes},
        "load": (text_of(patient.root / "proc/loadavg") or "").split()[:3],
        "uptime_s": round(patient.clock.now()),
        "clock_trusted": patient.clock.trusted(),
        "disk": {
            name: _disk(folder) for name, folder in {"root": str(patient.root), **folders}.items()
        },
    }


def _disk(folder: str) -> Mapping[str, int] | None:
    try:
        found = os.statvfs(folder)
    except (OSError, ValueError):
        return None
    return {
        "size_bytes": found.f_blocks * found.f_frsize,
        "free_bytes": found.f_bavail * found.f_frsize,
        "files_free": found.f_favail,
    }
