"""Checks of what lies on the box: the configuration, its secrets' rights, the folders of the service, what was commissioned.

Nothing here shows the content of a file, nor a value that stands in the configuration.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from edge_agent import baselines
from edge_agent.config import ConfigError, ConfigFault, load
from edge_agent.config.files import SECRETS_FOLDER
from edge_agent.core.settings import MeasuredLoop, SecretRef
from edge_agent.core.words import Sentence
from edge_agent.doctor.blank import known_path
from edge_agent.doctor.check import Check, Patient, Result, fault, warning, well
from edge_agent.doctor.people import Service, node_of
from edge_agent.doctor.run import UNIT, unit_properties
from edge_agent.press_note import in_memory

_GROUP: Final = "files"
_FAULTS_MAX: Final = 20
# Made for the service by systemd at each start.
_MADE: Final = (Path("/var/lib/edge-agent"), Path("/run/edge-agent"))
_SECRET_KEYS: Final = ("key_file", "password_file")

_REMEDY_CONFIG: Final = Sentence(
    "Perbaiki baris ini di box.toml. edge-agent check BERKAS menunjukkan nilai yang salah dan cara memperbaikinya; "
    "contohnya box.example.toml.",
    "Put this line of box.toml right. edge-agent check FILE shows the wrong value and its remedy; compare it with "
    "box.example.toml.",
)
_REMEDY_NONE: Final = Sentence(
    "Kotak ini belum punya konfigurasi yang dapat dibaca. Tulis box.toml di kartu (bagian FAT) dan nyalakan ulang kotak, atau salin "
    "box.example.toml ke /etc/edge-agent/box.toml dan isi.",
    "This box has no configuration that can be read. Write box.toml on the card (its FAT part) and restart the box, or copy "
    "box.example.toml to /etc/edge-agent/box.toml and fill it in.",
)
_REMEDY_OPEN: Final = Sentence(
    "Jalankan: sudo chown root:edge-agent BERKAS && sudo chmod 640 BERKAS. Ganti rahasianya bila orang lain memakai kotak ini.",
    "Run: sudo chown root:edge-agent FILE && sudo chmod 640 FILE. Change the secret if others use this box.",
)
_REMEDY_MISSING: Final = Sentence(
    "Buat berkas itu dengan isinya (mode 0640, root:edge-agent), atau betulkan nama berkas di box.toml.",
    "Make that file with its content (mode 0640, root:edge-agent), or correct its name in box.toml.",
)
_REMEDY_CREDENTIAL: Final = Sentence(
    "Tambahkan LoadCredential=NAMA:BERKAS ke unit (sudo systemctl edit edge-agent), lalu mulai ulang layanannya.",
    "Add LoadCredential=NAME:FILE to the unit (sudo systemctl edit edge-agent), then restart the service.",
)
_REMEDY_FOLDER: Final = Sentence(
    "Jalankan: sudo chown -R edge-agent:edge-agent FOLDER && sudo chmod 750 FOLDER, lalu mulai ulang layanannya.",
    "Run: sudo chown -R edge-agent:edge-agent FOLDER && sudo chmod 750 FOLDER, then restart the service.",
)

_REMEDY_RUNTIME: Final = Sentence(
    "Hapus status_socket dari box.toml (bawaannya di /run/edge-agent), lalu mulai ulang layanannya.",
    "Delete status_socket from box.toml (by itself it is in /run/edge-agent), then restart the service.",
)


# ---- configuration ----


def _sound(patient: Patient) -> list[Result]:
    key = "config.sound"
    try:
        settings = load(str(patient.config_file))
    except ConfigError as error:
        if error.unreadable:
            # Of the file as a whole; nothing of its content.
            return [fault(key, f"{patient.config_file}: {error.faults[0].found}", _REMEDY_NONE)]
        faults = error.faults[:_FAULTS_MAX]
        return [fault(key, _said(found, patient), _REMEDY_CONFIG) for found in faults]
    return [well(key, f"{len(settings.cameras)} cameras, {len(settings.runs)} runs")]


def _said(found: ConfigFault, patient: Patient) -> str:
    """Place and what is allowed there; never what was found: it may be a secret in a wrong place, and so may a key's name."""
    name, _, path = found.where.partition(": ")
    if name not in {patient.config_file.name, str(patient.config_file)}:
        name, path = patient.config_file.name, ""
    at = f" (line {found.line})" if found.line is not None else ""
    place = f"{name}{at}" if not path else f"{name}: {known_path(path)}{at}"
    return f"{place}: allowed is {found.allowed}"


def _config_rights(patient: Patient) -> list[Result]:
    key, node = "files.config", node_of(patient.config_file)
    if node is None:
        return []  # config.sound says so
    service = _service(patient)
    if service is not None and not service.may_read(node):
        return [fault(key, f"{service.name} may not read it ({node})", _REMEDY_OPEN)]
    if node.mode & stat.S_IRWXO and service is not None:
        seen = f"every user of the box may open it ({node}): it names cameras and their users"
        return [warning(key, seen, _REMEDY_OPEN)]
    return [well(key, f"mode {node.mode:04o}")]


# ---- secrets ----


def _secrets(patient: Patient) -> list[Result]:
    key = "files.secrets"
    results: list[Result] = []
    references = list(dict.fromkeys(_references(patient)))
    credentials = _credentials(patient) if any(ref.credential for _, ref in references) else None
    for what, reference in references:
        found = _judge_secret(key, what, reference, credentials, patient)
        results += [found] if found is not None else []
    results += _renewed(key, patient)
    if patient.settings is None and not results:
        return []  # which secrets there are is not known: config.sound says why
    unseen = 0
    if credentials is None:
        unseen = sum(not _usual_place(ref, patient).exists() for _, ref in references)
    known = f"{len(references) - unseen} secrets, none open to others"
    more = f"; {unseen} more only the service itself is given" if unseen else ""
    return results or [well(key, f"{known}{more}")]


def _usual_place(reference: SecretRef, patient: Patient) -> Path:
    """Where `read_secret` looks for it outside the service."""
    if reference.file is not None:
        return Path(reference.file)
    return patient.below(str(SECRETS_FOLDER / (reference.credential or "")))


def _judge_secret(
    key: str,
    what: str,
    reference: SecretRef,
    credentials: Mapping[str, str] | None,
    patient: Patient,
) -> Result | None:
    """What is wrong with one secret; None: nothing, or nothing that can be seen from here."""
    if reference.file is not None:
        return _judge_file(key, what, Path(reference.file), _service(patient))
    if credentials is None:
        usual = _usual_place(reference, patient)
        return _judge_file(key, what, usual, None) if usual.exists() else None
    name = reference.credential or ""
    named = credentials.get(name)
    # A folder as a whole is the unit's own way: each file in it is a credential.
    folders = [path for path in map(patient.below, credentials.values()) if path.is_dir()]
    places = [patient.below(named)] if named else [folder / name for folder in folders]
    if not places:
        return fault(key, "the unit has no LoadCredential for it", _REMEDY_CREDENTIAL, about=what)
    # Read by systemd itself, so by root.
    there = next((place for place in places if place.exists()), places[0])
    return _judge_file(key, what, there, None)


def _judge_file(key: str, what: str, path: Path, service: Service | None) -> Result | None:
    node = node_of(path)
    if node is None or node.is_folder:
        return fault(key, "there is no such file", _REMEDY_MISSING, about=what)
    if node.mode & stat.S_IRWXO:
        return fault(key, f"every user of the box may open it ({node})", _REMEDY_OPEN, about=what)
    if service is not None and not service.may_read(node):
        return fault(key, f"{service.name} may not read it ({node})", _REMEDY_OPEN, about=what)
    return None


def _references(patient: Patient) -> Iterator[tuple[str, SecretRef]]:
    """(what for, where) of each secret; of a configuration that is not sound as far as it can be read."""
    settings = patient.settings
    if settings is None:
        yield from _loose_references(patient.config_file)
        return
    if settings.hub.tls is not None:
        yield "the hub's key", settings.hub.tls.key
    for camera in settings.cameras:
        if camera.password is not None:
            yield f"password of {camera.id}", camera.password


def _loose_references(config_file: Path) -> Iterator[tuple[str, SecretRef]]:
    try:
        document: Mapping[str, object] = tomllib.loads(config_file.read_bytes().decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return
    hub, cameras = document.get("hub"), document.get("camera")
    tables = [("hub", hub)]
    if isinstance(cameras, list):
        tables += [(f"camera[{number}]", camera) for number, camera in enumerate(cameras)]
    for name, table in tables:
        for key in _SECRET_KEYS:
            value = table.get(key) if isinstance(table, dict) else None
            # What is no file may be the secret itself: config.sound says that something is wrong there.
            if isinstance(value, str) and _is_file(config_file.parent, value):
                yield f"{name}.{key}", SecretRef(file=os.path.normpath(config_file.parent / value))


def _is_file(folder: Path, value: str) -> bool:
    try:
        return (folder / value).is_file()
    except (OSError, ValueError):
        return False


def _credentials(patient: Patient) -> Mapping[str, str] | None:
    """Name and file of each credential of the unit; None: there is no systemd to ask."""
    said = patient.program(("systemctl", "cat", UNIT))
    if said is None:
        return None
    return dict(re.findall(r"(?m)^\s*LoadCredential=([^:\s]+):(\S+)", said))


def _renewed(key: str, patient: Patient) -> Iterator[Result]:
    """Keys that the box made itself."""
    settings = patient.settings
    if settings is None or settings.hub.tls is None:
        return
    try:
        files = sorted(Path(settings.pairs_folder).iterdir())
    except OSError:
        return
    for file in files[:_FAULTS_MAX]:
        node = node_of(file)
        if node is not None and not node.is_folder and node.mode & stat.S_IRWXO:
            seen = f"every user of the box may open it ({node})"
            yield fault(key, seen, _REMEDY_OPEN, about=f"renewed key {file.name[:40]}")


# ---- folders ----


def _folders(patient: Patient) -> list[Result]:
    key, settings, service = "files.folders", patient.settings, _service(patient)
    if settings is None:
        return []
    results = []
    for what, folder in (
        ("journal", settings.journal.folder),
        ("views", settings.views_folder),
        ("baselines", settings.baselines_folder),
        ("renewed keys", settings.pairs_folder),
        ("status socket", str(Path(settings.status_socket).parent)),
    ):
        why = _shut(Path(folder), service)
        if why:
            results.append(fault(key, f"{folder}: {why}", _REMEDY_FOLDER, about=what))
    runtime = Path(settings.status_socket).parent
    # A copy of a box lies anywhere.
    if not results and patient.root == Path("/") and in_memory(runtime) is False:
        seen = f"{runtime}: not in memory (tmpfs); the switch's note is written there each second"
        results.append(warning(key, seen, _REMEDY_RUNTIME, about="status socket"))
    return results or [well(key, "all there and the service's own, or made at its start")]


def _shut(folder: Path, service: Service | None) -> str:
    """Why the service cannot keep anything in *folder*; "" = it can, as far as can be seen."""
    node = node_of(folder)
    if node is not None and not node.is_folder:
        return "something that is no folder lies there"
    if service is None:
        return ""
    if node is None and any(folder.is_relative_to(made) for made in _MADE):
        return ""
    above = folder
    while node is None and above != above.parent:
        above = above.parent
        node = node_of(above)
    if node is None or service.may_write(node):
        return ""
    where = "" if above == folder else f"not there, and in {above} "
    return f"{where}{service.name} may not write ({node})"


# ---- commissioned ----


def _views(patient: Patient) -> list[Result]:
    key, settings = "commission.view", patient.settings
    if settings is None or not settings.cameras:
        return []
    from edge_agent import views  # noqa: PLC0415 - it brings OpenCV; where that is damaged, only this check breaks

    results = []
    for camera in settings.cameras:
        remedy = Sentence(
            f"Pemandangan {camera.id} belum (atau tidak lagi) terdaftar; tidak ada gambarnya yang keluar. Jalankan di kotak: sudo "
            f"edge-agent commission {camera.id}",
            f"The view of {camera.id} is not (or no longer) commissioned; none of its pictures leaves the box. Run at the box: "
            f"sudo edge-agent commission {camera.id}",
        )
        known = views.load_approved(settings.views_folder, camera.id)
        if known is None:
            results.append(fault(key, "never commissioned", remedy, about=camera.id))
        elif isinstance(known, views.ViewFault):
            results.append(fault(key, known.why, remedy, about=camera.id))
        else:
            seen = f"commissioned, {len(known.lights)} lights"
            results.append(well(key, seen, about=camera.id))
    return results


def _runs(patient: Patient) -> list[Result]:
    key, settings = "commission.run", patient.settings
    results = []
    for run in () if settings is None else settings.runs:
        if settings is None or not isinstance(run.loop, MeasuredLoop):
            continue
        remedy = Sentence(
            f"Kabel pengawas {run.camera} belum (atau tidak lagi) terdaftar. Hentikan agen, lalu jalankan di kotak dengan steker "
            f"ujung: sudo edge-agent commission {run.camera} --run",
            f"The supervised pair of {run.camera} is not (or no longer) commissioned. Stop the agent, then run at the box, with "
            f"its end plug: sudo edge-agent commission {run.camera} --run",
        )
        known = baselines.load(settings.baselines_folder, run, settings.electrics)
        if known is None:
            results.append(warning(key, "never commissioned", remedy, about=run.camera))
        elif isinstance(known, baselines.BaselineFault):
            results.append(fault(key, known.why, remedy, about=run.camera))
        else:
            seen = f"commissioned, {known.length_m:g} m, {known.r_base_ohm:.1f} ohm"
            results.append(well(key, seen, about=run.camera))
    return results


def _service(patient: Patient) -> Service | None:
    return Service.of(patient.root, unit_properties(patient.program))


CHECKS: Final = (
    Check(key="config.sound", group=_GROUP, ask=_sound),
    Check(key="files.config", group=_GROUP, ask=_config_rights),
    Check(key="files.secrets", group=_GROUP, ask=_secrets),
    Check(key="files.folders", group=_GROUP, ask=_folders),
    Check(key="commission.view", group=_GROUP, ask=_views, slow=True),
    Check(key="commission.run", group=_GROUP, ask=_runs),
)
