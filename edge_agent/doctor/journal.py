"""Does the journal keep what it is given: is it whole, is there room, does the card write, how long will it last.

Promises: changes nothing that is the journal's; what is written for a measurement has no name and is gone with its descriptor, even if the
power goes; the agent is not held up. A store that is too large to be read in time is told of as read in part. What is certainly damaged is
told at once; a file that may be a picture on its way to the card is watched for 2.3 s, and told if the doctor has the time for that.
Not its job: mending (the agent does, when it starts), the whole check of a large store (`edge-agent journal check`).
"""

from __future__ import annotations

import errno
import os
import queue
import shutil
import statistics
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from edge_agent.box import (
    block_device,
    card_wear,
    card_written_bytes,
    inodes_free_percent,
    mount_of,
)
from edge_agent.core.settings import Journal
from edge_agent.core.words import Sentence
from edge_agent.doctor.check import Check, Patient, Result, fault, warning, well
from edge_agent.spool import (
    Break,
    Entry,
    Holdings,
    UnreadableError,
    check_beside,
    is_aside,
    read_trail,
)

_WHOLE_BYTES: Final = 24_000_000  # of the database: copied and checked within a second from a card
_WHOLE_PICTURES: Final = 500  # each is read whole: 60 kB from a card
_TRAIL_S: Final = 2.0
_MARGIN_S: Final = 0.4  # to say it
_LEAST_FOR_TRAIL_S: Final = 1.2  # kept for the trail where the whole check does not end
_WRITES: Final = 5
_WRITE_BYTES: Final = 4096
_SYNC_FOR_S: Final = 2.0
# A sound card syncs in 5 to 50 ms; one that wears out takes seconds, and everything that is accepted waits for it.
_SLOW_S: Final = 0.5
_WORN_PERCENT: Final = 80
_INODES_PERCENT: Final = 5.0
_OLD_S: Final = 86_400.0  # a backlog of a day, while the link is up
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})

_DAMAGED: Final = Sentence(
    "Simpanan catatan di kartu rusak sebagian. Jalankan edge-agent journal check untuk melihat semuanya, lalu nyalakan ulang agen: ia "
    "menyelamatkan yang utuh. Bila terulang, ganti kartunya.",
    "The store of records on the card is partly damaged. Run edge-agent journal check to see all of it, then restart the agent: it "
    "saves what is whole. If it happens again, replace the card.",
)
_UNREADABLE: Final = Sentence(
    "Simpanan catatan tidak dapat dibaca oleh pengguna ini. Jalankan lagi dengan sudo; bila tetap gagal, nyalakan ulang agen dan ganti "
    "kartunya bila terulang.",
    "The store of records cannot be read by this user. Run it again with sudo; if that fails too, restart the agent, and replace the "
    "card if it happens again.",
)
_IN_MEMORY: Final = Sentence(
    "Catatan hanya disimpan di memori dan hilang bila listrik padam. Kartu menolak tulisan: lihat pemeriksaan journal yang lain, "
    "biasanya kartunya harus diganti.",
    "Records are kept in memory only and are lost with the power. The card takes no writes: look at the other journal checks; "
    "usually the card must be replaced.",
)
_ASIDE: Final = Sentence(
    "Simpanan yang rusak pernah disisihkan di sini. Yang utuh sudah diselamatkan. Periksa catu daya dan, bila terulang, ganti kartunya; "
    "berkas lama hilang sendiri setelah isinya terkirim.",
    "A damaged store was moved aside here. What was whole has been saved. Check the power supply and, if it happens again, replace the "
    "card; the old files go by themselves once their content is sent.",
)
_FULL: Final = Sentence(
    "Kartu hampir penuh: agen tidak boleh lagi menambah simpanannya. Hapus berkas lain di kartu ini, atau pasang kartu yang lebih besar.",
    "The card is nearly full: the agent may not let its store grow any more. Delete other files on this card, or fit a larger one.",
)
_QUOTA: Final = Sentence(
    "Batas simpanan (quota) lebih besar daripada kartunya. Kecilkan journal.quota_bytes di box.toml, atau pasang kartu yang lebih besar.",
    "The store's quota is larger than the card has room for. Make journal.quota_bytes in box.toml smaller, or fit a larger card.",
)
_READ_ONLY: Final = Sentence(
    "Sistem berkas simpanan hanya dapat dibaca: kartu rusak atau kernel menguncinya setelah kesalahan. Nyalakan ulang kotak; bila "
    "terulang, ganti kartunya.",
    "The store's file system is read-only: the card is failing, or the kernel locked it after an error. Restart the box; if it "
    "happens again, replace the card.",
)
_NOT_OURS: Final = Sentence(
    "Folder simpanan tidak ada atau tidak dapat ditulisi. Jalankan pemeriksaan ini dengan sudo; bila tetap gagal: "
    "sudo systemctl restart edge-agent, systemd membuat folder itu untuk agen.",
    "The store's folder is not there or cannot be written. Run this check with sudo; if that fails too: "
    "sudo systemctl restart edge-agent, as systemd makes that folder for the agent.",
)
_SLOW: Final = Sentence(
    "Kartu sangat lambat menulis; kartu yang mulai rusak bertingkah begini. Siapkan kartu pengganti (kelas A1 atau lebih baik).",
    "The card writes very slowly, as one that wears out does. Have a spare card ready (class A1 or better).",
)
_WORN: Final = Sentence(
    "Kartu hampir aus menurut catatannya sendiri. Ganti kartu pada kunjungan ini; simpanan ikut pindah dengan edge-agent journal export.",
    "The card is nearly worn out by its own word. Replace it on this visit; edge-agent journal export saves the records.",
)
_BACKLOG: Final = Sentence(
    "Catatan yang menunggu sudah lama, padahal pusat kota tersambung. Lihat edge-agent status: mungkin pusat kota tidak mengakui, "
    "atau gambar ditahan karena pemandangan belum cocok.",
    "Records have been waiting for long although the hub is connected. See edge-agent status: the hub may not acknowledge, "
    "or pictures are held as a view does not match.",
)


def _integrity(patient: Patient) -> list[Result]:
    """As `edge-agent journal check` where that ends in time; else the audit trail, as far as the time reaches."""
    journal = _journal(patient)
    if journal is None:
        return []
    key = "journal.integrity"
    try:
        with Holdings(journal.folder) as held:
            records = sum(shelf.records for shelf in held.shelves())
            pictures = sum(shelf.records for shelf in held.shelves() if shelf.camera is not None)
            faults: tuple[str, ...] = tuple(held.all_faults())
        seen = ""
        whole = _bytes_of(journal.folder) <= _WHOLE_BYTES and pictures <= _WHOLE_PICTURES
        checked = _checked(journal.folder, patient) if whole and _has_room(journal.folder) else None
        if checked is not None:
            faults, seen = checked, f"whole: {records} records looked at"
        elif not faults:
            faults, seen = _trail(journal.folder, patient)
    except UnreadableError as error:
        return [_unreadable(patient, key, str(error))]
    if faults:
        more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
        return [fault(key, f"{faults[0][:200]}{more}", _DAMAGED)]
    return [well(key, seen)]


def _checked(folder: str, patient: Patient) -> tuple[str, ...] | None:
    """The whole check, or at once what is certain of it; None: neither comes in time, as on a slow card. UnreadableError.

    It is left behind as soon as it has told anything: that a file is no picture on its way takes seconds more.
    """
    came: queue.SimpleQueue[tuple[str, ...] | Exception] = queue.SimpleQueue()
    # Made here, as it has to be gone even if the check is left behind: it holds a copy of the records.
    scratch = tempfile.mkdtemp(prefix="edge-agent-doctor-")

    def check() -> None:
        try:
            came.put(check_beside(folder, scratch, certain=came.put))
        except Exception as error:  # noqa: BLE001 - the top of a thread; raised where it is waited for
            came.put(error)

    threading.Thread(target=check, name="whole journal", daemon=True).start()
    try:
        found = came.get(timeout=max(0.0, patient.left_s() - _LEAST_FOR_TRAIL_S))
    except queue.Empty:
        return None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if isinstance(found, Exception):
        raise found
    return found


def _unreadable(patient: Patient, key: str, why: str) -> Result:
    folder = Path(_folder(patient))
    if "there is no journal" in why and _may_look(folder):
        return well(key, "none yet; the agent makes it when it starts")
    if isinstance(patient.agent.status, Mapping) and "ermission" in why:
        return warning(key, why, _UNREADABLE)
    return fault(key, why, _UNREADABLE if "ermission" in why else _DAMAGED)


class _Enough(Exception):  # noqa: N818 - never leaves this module
    """The time is up."""


def _trail(folder: str, patient: Patient) -> tuple[tuple[str, ...], str]:
    end = patient.clock.now() + min(_TRAIL_S, patient.left_s() - _MARGIN_S)
    count = 0

    def begin() -> Callable[[Entry], None]:
        def take(_: Entry) -> None:
            nonlocal count
            count += 1
            if patient.clock.now() > end:
                raise _Enough

        return take

    rest = "edge-agent journal check reads all of it"
    try:
        trail = read_trail(folder, begin)
    except _Enough:
        return (), f"large: {count} entries of the audit trail hold; {rest}"
    told = tuple(_told(found) for found in trail.breaks)
    return (*trail.faults, *told), f"large: the audit trail holds ({trail.count}); {rest}"


def _told(found: Break) -> str:
    return f"audit trail: {found}"


def _durable(patient: Patient) -> list[Result]:
    """What the running agent says of its store."""
    told = (patient.agent.status or {}).get("journal")
    if not isinstance(told, Mapping) or told.get("durable") is None:
        return []
    key = "journal.durable"
    if told.get("durable") is False:
        return [fault(key, "the agent keeps records in memory only", _IN_MEMORY)]
    return [well(key, "the agent keeps records on the card")]


def _backlog(patient: Patient) -> list[Result]:
    status = patient.agent.status
    told = (status or {}).get("journal")
    if status is None or not isinstance(told, Mapping):
        return []
    depth, age_s = told.get("depth"), told.get("oldest_age_s")
    key = "journal.backlog"
    if not isinstance(depth, int) or not isinstance(age_s, int | float):
        return [well(key, "nothing waits")]
    seen = f"{depth} records wait, the oldest {age_s / 3600:.1f} h old"
    uplink = status.get("uplink")
    up = isinstance(uplink, Mapping) and uplink.get("state") == "up"
    if up and age_s > _OLD_S and status.get("suspended") is not True:
        return [warning(key, seen, _BACKLOG)]
    return [well(key, seen)]


def _aside(patient: Patient) -> list[Result]:
    if patient.settings is None:
        return []
    key = "journal.aside"
    try:
        names = sorted(
            path.name
            for path in Path(_folder(patient)).iterdir()
            if is_aside(path.name) and not path.is_dir()
        )
    except OSError:
        return []  # journal.sync says so
    if not names:
        return [well(key, "no store was moved aside")]
    seen = f"{len(names)} damaged stores lie aside, such as {names[0][:80]}"
    return [warning(key, seen, _ASIDE)]


def _space(patient: Patient) -> list[Result]:
    """Room on the file system against quota and floor."""
    if patient.settings is None:
        return []
    journal = patient.settings.journal
    folder = _existing(journal.folder)
    key = "journal.space"
    try:
        usage = shutil.disk_usage(folder)
    except OSError as error:
        return [fault(key, f"{folder}: {error.strerror or error}", _NOT_OURS)]
    inodes = inodes_free_percent(folder)
    files = "" if inodes is None else f", {inodes:.0f} % of its files"
    seen = f"{_mb(usage.free)} of {_mb(usage.total)} free{files}; floor {_mb(journal.disk_floor_bytes)}"
    if usage.free <= journal.disk_floor_bytes or (inodes is not None and inodes < 1.0):
        return [fault(key, seen, _FULL)]
    if usage.free < patient.settings.health.disk_free_min_bytes or (
        inodes is not None and inodes < _INODES_PERCENT
    ):
        return [warning(key, seen, _FULL)]
    results = [well(key, seen)]
    if journal.quota_bytes > usage.total - journal.disk_floor_bytes:
        told = f"quota {_mb(journal.quota_bytes)}, the file system has {_mb(usage.total)}"
        results.append(warning("journal.quota", told, _QUOTA))
    return results


def _sync(patient: Patient) -> list[Result]:
    """Can the folder be written, and how long until the card has it."""
    if patient.settings is None:
        return []
    folder, key = patient.settings.journal.folder, "journal.sync"
    mount = mount_of(folder, patient.root / "proc")
    if mount is not None and mount.read_only:
        return [
            fault("journal.read-only", f"{folder} lies on {mount.device}, read-only", _READ_ONLY)
        ]
    place = _existing(folder)
    try:
        took = _measure(place, patient)
    except OSError as error:
        seen = f"{place}: {error.strerror or error}"
        if error.errno == errno.EROFS:
            return [fault("journal.read-only", seen, _READ_ONLY)]
        if error.errno in _NO_ROOM:
            return [fault("journal.space", seen, _FULL)]
        if error.errno in {errno.EACCES, errno.EPERM, errno.ENOENT}:
            return [warning(key, seen, _NOT_OURS)]
        return [fault(key, seen, _SLOW)]
    middle, worst = statistics.median(took), max(took)
    seen = (
        f"{len(took)} writes synced in {middle * 1000:.0f} ms each, at most {worst * 1000:.0f} ms"
    )
    if middle > _SLOW_S:
        return [warning(key, seen, _SLOW)]
    return [well(key, seen)]


def _measure(folder: str, patient: Patient) -> list[float]:
    """Seconds until each of a few small writes was on the disk; OSError. What is written never has a name for long, or none at all."""
    descriptor = _nameless(folder)
    took: list[float] = []
    end = patient.clock.now() + min(_SYNC_FOR_S, patient.left_s() - _MARGIN_S)
    try:
        while len(took) < _WRITES and (not took or patient.clock.now() < end):
            began = patient.clock.now()
            os.pwrite(descriptor, os.urandom(_WRITE_BYTES), len(took) * _WRITE_BYTES)
            os.fsync(descriptor)
            took.append(patient.clock.now() - began)
    finally:
        os.close(descriptor)
    return took


def _nameless(folder: str) -> int:
    with suppress(
        OSError
    ):  # some file systems have no such files; whatever else is wrong shows below
        return os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    descriptor, name = tempfile.mkstemp(prefix=".doctor-", dir=folder)
    Path(name).unlink()
    return descriptor


def _wear(patient: Patient) -> list[Result]:
    """What the card says of its own end; an SD card says nothing."""
    if patient.settings is None:
        return []
    key, sysfs = "journal.wear", patient.root / "sys"
    mount = mount_of(patient.settings.journal.folder, patient.root / "proc")
    disk = None if mount is None else block_device(mount.device, sysfs)
    worn, ending = card_wear(disk, sysfs)
    written = card_written_bytes(disk, sysfs)
    name = disk or "the disk"
    since = "" if written is None else f"; {_mb(written)} written since boot"
    if worn is None and ending is None:
        return [well(key, f"{name} does not say how worn it is{since}")]
    seen = f"{name}: {'?' if worn is None else worn} % worn{since}"
    if ending or (worn is not None and worn > 100):
        return [fault(key, f"{seen}, its spare blocks run out", _WORN)]
    if worn is not None and worn >= _WORN_PERCENT:
        return [warning(key, seen, _WORN)]
    return [well(key, seen)]


# ---- around them ----


def _journal(patient: Patient) -> Journal | None:
    return None if patient.settings is None else patient.settings.journal


def _folder(patient: Patient) -> str:
    return "" if patient.settings is None else patient.settings.journal.folder


def _existing(folder: str) -> str:
    """*folder*, or what there is of the way to it: a new box has no journal yet."""
    path = Path(folder)
    while not path.is_dir() and path != path.parent:
        path = path.parent
    return str(path)


def _may_look(folder: Path) -> bool:
    return not folder.exists() or os.access(folder, os.R_OK | os.X_OK)


def _bytes_of(folder: str) -> int:
    total = 0
    for name in ("journal.db", "journal.db-wal"):
        with suppress(OSError):
            total += (Path(folder) / name).stat().st_size
    return total


def _has_room(folder: str) -> bool:
    """Whether two copies fit where temporary files go, which may be memory."""
    try:
        return shutil.disk_usage(tempfile.gettempdir()).free > 4 * _bytes_of(folder)
    except OSError:
        return False


def _mb(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 10**9 else f"{count / 1e6:.0f} MB"


CHECKS: Final[tuple[Check, ...]] = (
    Check(key="journal.integrity", group="journal", ask=_integrity),
    Check(key="journal.durable", group="journal", ask=_durable),
    Check(key="journal.backlog", group="journal", ask=_backlog),
    Check(key="journal.aside", group="journal", ask=_aside),
    Check(key="journal.space", group="journal", ask=_space, also=("journal.quota",)),
    Check(key="journal.sync", group="journal", ask=_sync, also=("journal.read-only",)),
    Check(key="journal.wear", group="journal", ask=_wear),
)
