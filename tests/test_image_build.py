"""What image-build/ is made of, on plain files: the slot record, the mending of /data, what is fetched, what is listed, how a build ends.

No virtual machine: a box that starts from the built image is tests/image/.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random  # noqa: TID251 - the test's own, seeded: the same each time
from types import ModuleType

import pytest

from edge_agent.provision.network import networkd, read
from tests.support.patience import patient

ROOT = Path(__file__).parents[1]
IMAGE = ROOT / "image-build"
EDGE = IMAGE / "root/usr/lib/edge-image"
UNITS = IMAGE / "root/usr/lib/systemd/system"
SBIN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


def absent(*commands: str) -> list[str]:
    return [name for name in commands if shutil.which(name, path=SBIN["PATH"]) is None]


def needs(*commands: str) -> pytest.MarkDecorator:
    missing = absent(*commands)
    return pytest.mark.skipif(
        bool(missing), reason=f"NOT TESTED: needs {', '.join(missing)}: .ci/setup test"
    )


def sh(script: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """*script* as the initrd's shell would take it: POSIX, and `busybox` before some words."""
    return subprocess.run(
        ["dash", "-c", f'busybox() {{ "$@"; }}\n{script}', "dash", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=patient(30.0),
        env=SBIN,
    )


# ---- the slot record ----

SECTORS = (2048 * 512, 4096 * 512)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    with path.open("wb") as card:
        card.truncate(4 << 20)
    return path


def write(disk: Path, good: str, trial: str, left: int) -> int:
    return sh(f'. {EDGE}/slot.sh; slot_write "$@"', disk, good, trial, str(left)).returncode


def record(disk: Path) -> str:
    """What a start would go by: `SEQ GOOD TRIAL LEFT`."""
    done = sh(
        f'. {EDGE}/slot.sh; slot_read "$1"; echo $slot_seq $slot_good $slot_trial $slot_left', disk
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def put(disk: Path, at: int, content: bytes) -> None:
    with disk.open("r+b") as card:
        card.seek(at)
        card.write(content)


def sector(disk: Path, at: int) -> bytes:
    with disk.open("rb") as card:
        card.seek(at)
        return card.read(512)


def test_a_card_without_a_record_starts_from_a(disk: Path):
    assert record(disk) == "0 A - 0"


def test_a_record_is_read_back_and_the_two_are_written_in_turn(disk: Path):
    seen = []
    for good, trial, left in (("A", "B", 3), ("A", "B", 2), ("B", "-", 0)):
        before = [sector(disk, at) for at in SECTORS]
        assert write(disk, good, trial, left) == 0
        changed = [at for at, old in zip(SECTORS, before, strict=True) if sector(disk, at) != old]
        assert len(changed) == 1, "the record from before must outlive a cut"
        seen += changed
        assert record(disk).split()[1:] == [good, trial, str(left)]
    assert seen[0] == seen[2] != seen[1]
    assert record(disk) == "3 B - 0"


@pytest.mark.parametrize("kept", [0, 1, 8, 9, 11, 20, 30, 33, 40, 256, 511])
def test_a_record_that_was_cut_off_gives_way_to_the_one_before(disk: Path, kept: int):
    write(disk, "A", "B", 3)
    write(disk, "A", "B", 2)
    before = {at: sector(disk, at) for at in SECTORS}
    write(disk, "B", "-", 0)
    (at,) = (at for at in SECTORS if sector(disk, at) != before[at])
    new = sector(disk, at)
    # Of the new one so much, the rest as it was: or as a card leaves it that was erasing.
    for rest in (before[at], b"\xff" * 512, b"\0" * 512):
        put(disk, at, new[:kept] + rest[kept:])
        whole = len(new.rstrip(b" \n"))
        if kept < whole:
            assert record(disk) == "2 A B 2"
        else:
            # All that counts is there; what lies behind it may spoil it or not.
            assert record(disk) in ("2 A B 2", "3 B - 0")
    # The next one is written over the torn one, never over the one that stands.
    put(disk, at, new[: min(kept, 20)] + before[at][min(kept, 20) :])
    stands = (set(SECTORS) - {at}).pop()
    assert write(disk, "A", "B", 1) == 0
    assert record(disk) == "3 A B 1"
    assert sector(disk, stands) == before[stands]


def test_garbage_in_both_starts_from_a_and_can_be_written_over(disk: Path):
    chance = Random(8)
    for garbage in (
        b"\xff" * 512,
        chance.randbytes(512),
        b"edgeslot 9 B - 0 0123456789abcdef\n",
        b"* * *\n",
    ):
        for at in SECTORS:
            put(disk, at, garbage)
        assert record(disk) == "0 A - 0"
    assert write(disk, "B", "-", 0) == 0
    assert record(disk) == "1 B - 0"


def test_a_record_that_cannot_be_written_is_told():
    assert write(Path("/dev/full"), "B", "-", 0) != 0


# ---- the choice in the initrd ----


class Start:
    """A start of the initrd's script with a folder for the box's paths; mounting is all that is not real."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.disk = folder / "disk"
        with self.disk.open("wb") as card:
            card.truncate(4 << 20)
        for name in ("run", "slots", "proc"):
            (folder / name).mkdir()
        self.slot(2)
        (folder / "proc/cmdline").write_text("boot=edge quiet\n")

    def slot(self, number: int, kernel: str = os.uname().release) -> None:
        (self.folder / f"slots/{number}/usr/lib/modules/{kernel}").mkdir(parents=True)

    def go(self) -> dict[str, str]:
        """What it wrote down about the start."""
        shutil.rmtree(self.folder / "run")
        (self.folder / "run").mkdir()
        script = (IMAGE / "initramfs/scripts/edge").read_text()
        for box, here in (
            ("/usr/lib/edge-image/slot.sh", str(EDGE / "slot.sh")),
            ("/run/", f"{self.folder}/run/"),
            ("/proc/", f"{self.folder}/proc/"),
            ("edge_block=/dev/${edge_block##*/}", f"edge_block={self.disk}"),
        ):
            assert box in script
            script = script.replace(box, here)
        stubs = f"""
            ROOT=PARTUUID=eda6e001-02 rootmnt={self.folder}/root
            modprobe() {{ :; }}; wait_for_udev() {{ :; }}; sleep() {{ :; }}
            panic() {{ echo "$*" >&2; exit 9; }}
            resolve_device() {{ echo "{self.folder}/slots/${{1##*-0}}"; }}
            umount() {{ rm "$1" && mkdir "$1"; }}
            mount() {{
              case $2 in
                squashfs) [ -d "$5" ] && rmdir "$6" && ln -s "$5" "$6" ;;
                tmpfs) : ;;
                overlay) cat {self.folder}/run/edge/upper/data/etc/machine-id >{self.folder}/id 2>/dev/null || : ;;
                *) exit 8 ;;
              esac
            }}
        """
        done = sh(f"{stubs}\n{script}\nmountroot")
        assert done.returncode == 0, done.stderr
        facts = (self.folder / "run/edge/slot").read_text().split()
        return dict(line.partition("=")[::2] for line in facts)

    @property
    def limited(self) -> bool:
        """Whether systemd is told to give up a start that does not end."""
        return (self.folder / "run/systemd/system/multi-user.target.d/trial.conf").exists()


@pytest.fixture
def start(tmp_path: Path) -> Start:
    return Start(tmp_path)


def test_a_root_on_trial_is_started_three_times_and_then_the_one_before_is_back(start: Start):
    start.slot(3)
    write(start.disk, "A", "B", 3)
    for left in ("2", "1", "0"):
        facts = start.go()
        assert (facts["slot"], facts["left"]) == ("B", left)
        assert start.limited, "one that hangs on its way up would never be given up"
    assert start.go()["slot"] == "A"
    assert not start.limited
    assert record(start.disk).split()[1:] == ["A", "B", "0"]


def test_a_root_that_is_kept_is_started_for_good_and_without_a_limit(start: Start):
    start.slot(3)
    write(start.disk, "B", "-", 0)
    assert start.go()["slot"] == "B"
    assert not start.limited


@pytest.mark.parametrize("kernel", ["", "5.10.0-other"])
def test_a_root_on_trial_that_is_half_written_or_for_another_kernel_is_passed_over(
    start: Start, kernel: str
):
    if kernel:
        start.slot(3, kernel)
    write(start.disk, "A", "B", 3)
    facts = start.go()
    assert (facts["asked"], facts["slot"], facts["left"]) == ("B", "A", "2")
    assert not start.limited


def test_a_root_whose_trials_cannot_be_counted_is_not_tried(start: Start):
    start.slot(3)
    write(start.disk, "A", "B", 3)
    before = start.disk.read_bytes()
    # A card that takes no more writes: what is read is there, what is written is not.
    (start.folder / "proc/cmdline").write_text("boot=edge\n")
    script = IMAGE / "initramfs/scripts/edge"
    assert "slot_write" in script.read_text()
    start.disk.rename(start.folder / "full")
    (start.folder / "disk").symlink_to("/dev/full")
    assert start.go()["slot"] == "A"
    assert (start.folder / "full").read_bytes() == before


def test_a_word_on_the_command_line_overrules_the_record(start: Start):
    start.slot(3)
    write(start.disk, "B", "-", 0)
    (start.folder / "proc/cmdline").write_text("boot=edge edge.slot=A quiet\n")
    assert start.go()["slot"] == "A"


def test_the_machine_id_is_the_boards_and_is_there_before_the_overlay(start: Start):
    (start.folder / "proc/device-tree").mkdir()
    serial = start.folder / "proc/device-tree/serial-number"
    seen = []
    for number in (b"10000000abcdef01\0", b"10000000abcdef02\0", b"10000000abcdef01\0"):
        serial.write_bytes(number)
        start.go()
        seen.append((start.folder / "id").read_text())
    assert seen[0] == seen[2] != seen[1]
    assert all(re.fullmatch(r"[0-9a-f]{32}\n", each) for each in seen)
    serial.unlink()
    start.go()
    assert (start.folder / "id").read_text() == "", "one for all boards without a number"


# ---- /data's file system ----

mending = needs("e2fsck", "mke2fs", "debugfs", "dumpe2fs", "resize2fs", "blkid", "mkfs.vfat")
MARK = b"the journal of three years\n"


def run(*command: str | Path) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        check=False,
        timeout=patient(50.0),
        env=SBIN,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def mend(part: Path) -> tuple[int, str]:
    done = sh(f'{EDGE}/data-mend "$1"', part)
    return done.returncode, done.stdout + done.stderr


def features(part: Path) -> dict[str, str]:
    lines = run("dumpe2fs", "-h", part).splitlines()
    return {
        name: value.strip() for name, _, value in (line.partition(":") for line in lines) if value
    }


def as_on_the_card(part: Path, *more: str | Path, mib: int = 64) -> None:
    """Made as image-build/build does."""
    with part.open("wb") as new:
        new.truncate(mib << 20)
    script = f'. {EDGE}/ext4.sh; part=$1; shift; mke2fs -q $ext4_options -E "$ext4_extended" "$@" "$part"'
    done = sh(script, part, *more)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def part(tmp_path: Path) -> Path:
    """A data partition of 300 MiB with a file on it: large enough for copies of the superblock."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/mark").write_bytes(MARK)
    as_on_the_card(tmp_path / "part", "-d", tmp_path / "tree", mib=300)
    return tmp_path / "part"


def mark(part: Path) -> bytes:
    return run("debugfs", "-R", "cat /mark", part).encode()


@mending
def test_a_partition_with_nothing_on_it_gets_a_file_system(tmp_path: Path):
    part = tmp_path / "part"
    with part.open("wb") as new:
        new.truncate(64 << 20)
    status, said = mend(part)
    assert status == 0
    assert "making one" in said
    made = features(part)
    assert made["Filesystem volume name"] == "EDGEDATA"
    as_on_the_card(tmp_path / "card")
    card = features(tmp_path / "card")
    for key in (
        "Inode count",
        "Inode size",
        "Block size",
        "Errors behavior",
        "Reserved GDT blocks",
        "Reserved block count",
        "Total journal blocks",
        "Filesystem features",
    ):
        assert made[key] == card[key], key
    assert mend(part)[0] == 0


@mending
def test_the_tables_stay_small_when_it_grows_to_the_card(tmp_path: Path):
    part = tmp_path / "part"
    as_on_the_card(part)
    assert features(part)["Errors behavior"] == "Remount read-only"
    with part.open("r+b") as card:
        card.truncate(8 << 30)
    run("resize2fs", part)
    grown = features(part)
    assert int(grown["Block count"]) == 8 << 18
    # At 4 KiB each, as mke2fs has it for 64 MiB, it would be two million: half a gigabyte of tables.
    assert int(grown["Inode count"]) < 64 * 1024
    assert mend(part)[0] == 0


@mending
def test_a_whole_one_is_left_as_it_is(part: Path):
    assert mend(part)[0] == 0
    assert mark(part) == MARK


@mending
def test_one_whose_beginning_is_lost_is_mended_from_a_copy(part: Path):
    put(part, 0, b"\0" * 4096)
    status, said = mend(part)
    assert status == 0, said
    assert mark(part) == MARK


@mending
def test_one_with_damaged_tables_is_mended(part: Path):
    # The bitmaps and the first inodes' neighbours: what a card loses when its power goes while it erases a block.
    put(part, 130 * 4096, Random(1).randbytes(64 * 4096))
    status, said = mend(part)
    assert status == 0, said
    run("e2fsck", "-f", "-n", part)


@mending
def test_one_that_cannot_be_mended_is_never_made_anew(tmp_path: Path):
    part = tmp_path / "part"
    part.write_bytes(Random(2).randbytes(64 << 20))
    put(part, 1024 + 56, b"\x53\xef")
    content = part.read_bytes()
    status, said = mend(part)
    assert status == 1
    assert "left as it is" in said
    assert part.read_bytes() == content


@mending
def test_another_file_system_is_left_alone(tmp_path: Path):
    part = tmp_path / "part"
    with part.open("wb") as new:
        new.truncate(64 << 20)
    run("mkfs.vfat", part)
    content = part.read_bytes()
    status, said = mend(part)
    assert status == 1
    assert "vfat, which is not ours" in said
    assert part.read_bytes() == content


@mending
def test_one_that_cannot_be_read_is_left_alone(tmp_path: Path):
    status, said = mend(tmp_path / "gone")
    assert status == 1
    assert "cannot be read" in said
    assert not (tmp_path / "gone").exists()


def test_a_card_that_takes_no_more_writes_is_still_read():
    """A check that fails must not keep a partition from being mounted (systemd binds the mount to it)."""
    lines = [
        line.split()
        for line in (IMAGE / "root/etc/fstab").read_text().splitlines()
        if not line.startswith("#")
    ]
    assert {line[1]: line[5] for line in lines} == {"/boot/firmware": "0", "/data": "0"}
    bound = re.compile(
        r"(?m)^(Requires|RequiresMountsFor|BindsTo|Requisite)=.*(/boot/firmware|boot-firmware|/data|data\.mount)"
    )
    units = [
        path
        for folder in (UNITS, IMAGE / "root/etc/systemd/system")
        for path in folder.rglob("*")
        if path.is_file()
    ]
    assert len(units) > 12
    # That one only writes to /data.
    assert {path.name for path in units if bound.search(path.read_text())} == {
        "edge-log-last.service"
    }


# ---- real mounts, in a namespace of their own ----


def no_mounts() -> str:
    """Why this machine can make none; empty = it can."""
    if os.geteuid() != 0:
        return "needs root"
    if missing := absent("losetup", "unshare", "blockdev", "mke2fs", "mksquashfs"):
        return f"needs {', '.join(missing)}: .ci/setup test"
    known = Path("/proc/filesystems").read_text().split()
    if unknown := {"ext4", "overlay", "squashfs"} - set(known):
        return f"this kernel has no {', '.join(sorted(unknown))}"
    found = subprocess.run(["losetup", "--find"], capture_output=True, check=False, env=SBIN)
    return "" if found.returncode == 0 else "this kernel has no loop device to spare"


mounting = pytest.mark.skipif(bool(no_mounts()), reason=f"NOT TESTED: {no_mounts()}")


@pytest.fixture
def loop() -> Iterator[Callable[..., Path]]:
    """A file as a disk."""
    used = []

    def attach(*words: str | Path) -> Path:
        device = run("losetup", "--find", "--show", *words).strip()
        used.append(device)
        return Path(device)

    yield attach
    for each in used:
        run("losetup", "--detach", each)


def as_here(path: Path, places: dict[str, Path | str]) -> str:
    """A script of the box with this test's folders for the box's."""
    text = path.read_text()
    for box, here in places.items():
        assert box in text, box
        text = text.replace(box, str(here))
    return text


def apart(script: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """*script*, and whatever it mounts goes with it."""
    return subprocess.run(
        [
            "unshare",
            "--mount",
            "dash",
            "-c",
            f'busybox() {{ "$@"; }}\n{script}',
            "dash",
            *map(str, words),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=patient(50.0),
        env=SBIN,
    )


class Layout:
    """data-layout, with what is seen afterwards."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("data", "etc", "var"):
            (folder / name).mkdir()
        self.script = as_here(
            EDGE / "data-layout",
            {
                "/run/edge/slot": folder / "slot",
                "/run/edge/config": folder / "memory",
                "/data": folder / "data",
                "/etc/edge-agent": folder / "etc",
                "/var/lib/edge-agent": folder / "var",
            },
        )

    def mounted_as_usual(self, device: Path) -> str:
        """The words that mount it as fstab does."""
        (line,) = re.findall(
            r"(?m)^PARTUUID\S+ /data (\S+) (\S+) ", (IMAGE / "root/etc/fstab").read_text()
        )
        options = ",".join(
            each for each in line[1].split(",") if each != "nofail" and not each.startswith("x-")
        )
        return f"mount -t {line[0]} -o {options} {device} {self.folder}/data"

    def run(self, before: str, after: str) -> subprocess.CompletedProcess[str]:
        return apart(f"{before}\n( {self.script} )\n{after}")


@mounting
def test_the_folders_are_made_and_seen_where_they_belong(tmp_path: Path, loop: Callable[..., Path]):
    as_on_the_card(tmp_path / "part")
    layout = Layout(tmp_path)
    done = layout.run(
        layout.mounted_as_usual(loop(tmp_path / "part")),
        f"echo kept >{tmp_path}/etc/box.toml; cat {tmp_path}/data/config/box.toml; stat -c '%a %n' {tmp_path}/data/*",
    )
    said = done.stdout.replace(f"{tmp_path}/data/", "").splitlines()
    assert said == ["kept", "750 config", "700 log", "700 lost+found", "700 ssh", "755 state"]


@mounting
def test_a_card_that_takes_no_more_writes_is_read_without_its_journal(
    tmp_path: Path, loop: Callable[..., Path]
):
    """As it dies in service: mounted, and so with a journal to be played back, which nobody can any more."""
    as_on_the_card(tmp_path / "part")
    layout = Layout(tmp_path)
    (tmp_path / "disk4").symlink_to(loop(tmp_path / "part"))
    (tmp_path / "slot").write_text(f"slot=A\ndisk={tmp_path}/disk\n")
    mount = layout.mounted_as_usual(tmp_path / "disk4")
    alive = layout.run(
        mount,
        f"echo last good >{tmp_path}/etc/box.toml; sync -f {tmp_path}/data; touch {tmp_path}/data/more; sync -f {tmp_path}/data"
        f" && cp {tmp_path}/part {tmp_path}/dead",
    )
    assert alive.returncode == 0, alive.stderr
    assert "needs_recovery" in features(tmp_path / "dead")["Filesystem features"]
    (tmp_path / "disk4").unlink()
    (tmp_path / "disk4").symlink_to(loop("--read-only", tmp_path / "dead"))
    dead = layout.run(
        f"{mount} && echo mounted after all; mkdir {tmp_path}/memory; mount -t tmpfs none {tmp_path}/memory",
        f"cat {tmp_path}/etc/box.toml; echo new >{tmp_path}/etc/box.toml && cat {tmp_path}/etc/box.toml;"
        f" stat -c %a {tmp_path}/etc; touch {tmp_path}/var/x",
    )
    assert "mounted after all" not in dead.stdout, "then there is nothing to see here"
    assert "it is only read\nlast good\nnew\n750\n" in dead.stdout
    assert "Read-only file system" in dead.stderr


class Slots:
    """edge-slot on a disk of files: slot A has the box, slot B is *device*."""

    def __init__(self, folder: Path, device: Path) -> None:
        self.folder = folder
        self.disk = folder / "disk"
        with self.disk.open("wb") as card:
            card.truncate(4 << 20)
        (folder / "disk3").symlink_to(device)
        (folder / "facts").write_text(f"slot=A\ndisk={self.disk}\n")
        self.active_s: int | None = None  # for how long the agent is up

    def say(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        script = as_here(
            IMAGE / "root/usr/sbin/edge-slot",
            {
                "/usr/lib/edge-image/slot.sh": EDGE / "slot.sh",
                "/run/edge/slot": self.folder / "facts",
                "/run/edge/held": self.folder / "held",
                "/proc/sys/vm/drop_caches": "/dev/null",
            },
        )
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        since = "" if self.active_s is None else f"{(uptime - self.active_s) * 1e6:.0f}"
        return apart(
            f"systemctl() {{ case $1 in --quiet) [ '{since}' ] ;; show) echo {since} ;; *) echo restarts ;; esac; }}\n{script}",
            *words,
        )

    def install(self, root: Path) -> subprocess.CompletedProcess[str]:
        return self.say("install", root, hashlib.sha256(root.read_bytes()).hexdigest())


@pytest.fixture
def slots(tmp_path: Path, loop: Callable[..., Path]) -> Slots:
    with (tmp_path / "b").open("wb") as part:
        part.truncate(8 << 20)
    return Slots(tmp_path, loop(tmp_path / "b"))


def packed(folder: Path, kernel: str) -> Path:
    (folder / f"tree-{kernel}/usr/lib/modules/{kernel}").mkdir(parents=True)
    root = folder / f"{kernel}.squashfs"
    run("mksquashfs", folder / f"tree-{kernel}", root, "-quiet", "-no-progress")
    return root


@mounting
def test_a_root_for_this_kernel_comes_on_trial(slots: Slots, tmp_path: Path):
    root = packed(tmp_path, os.uname().release)
    done = slots.install(root)
    assert done.returncode == 0, done.stderr
    assert "on trial from the next start" in done.stdout
    assert record(slots.disk).split()[1:] == ["A", "B", "3"]
    assert (tmp_path / "b").read_bytes().startswith(root.read_bytes())


@mounting
def test_what_the_next_start_would_pass_over_is_refused(slots: Slots, tmp_path: Path):
    other = slots.install(packed(tmp_path, "5.10.0-other"))
    assert other.returncode == 65
    assert "is for kernel 5.10.0-other" in other.stderr
    (tmp_path / "garbage").write_bytes(b"no root" * 1000)
    garbage = slots.install(tmp_path / "garbage")
    assert garbage.returncode == 65
    assert "is no root" in garbage.stderr
    (tmp_path / "large").write_bytes(b"x" * (9 << 20))
    assert "larger than slot B" in slots.install(tmp_path / "large").stderr
    wrong = slots.say("install", tmp_path / "garbage", "0" * 64)
    assert "not what its checksum says" in wrong.stderr
    assert record(slots.disk).split()[1:] == ["A", "-", "0"], "nothing is on trial"


@mounting
def test_a_record_that_is_not_on_the_card_does_not_pass_for_one(slots: Slots):
    slots.disk.unlink()
    slots.disk.symlink_to("/dev/full")
    done = slots.say("use", "B")
    assert done.returncode == 1
    assert "the slot record could not be written" in done.stderr


@mounting
def test_a_root_is_kept_when_the_agent_has_been_up_for_five_minutes(slots: Slots):
    write(slots.disk, "B", "A", 2)
    for active_s in (None, 30, 280):
        slots.active_s = active_s
        assert "not kept yet" in slots.say("good").stderr
        assert record(slots.disk).split()[1:] == ["B", "A", "2"]
    slots.active_s = 400
    assert "slot A is kept" in slots.say("good").stdout
    assert record(slots.disk).split()[1:] == ["A", "-", "0"]


# ---- what is fetched ----


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, IMAGE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def lgpio(site: Path, version: str, driver: bytes | None) -> None:
    info = site / f"lgpio-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: lgpio\nVersion: {version}\n")
    (site / "lgpio.py").write_text("")
    if driver is not None:
        (site / "_lgpio.cpython-313-aarch64-linux-gnu.so").write_bytes(driver)


DRIVER = b"\x7fELF...lgGpiochipOpen..."


@pytest.mark.parametrize(
    ("version", "driver", "said"),
    [
        # As pip takes it for a Python that 0.2.2 has no wheel for.
        ("0.0.0.2", None, "the empty stub"),
        ("0.1.9.9", DRIVER, "the empty stub"),
        ("0.2.2.0", None, "without its driver"),
        ("0.2.2.0", b"\x7fELF", "without its driver"),
    ],
)
def test_an_lgpio_that_drives_no_pin_ends_the_build(
    tmp_path: Path, version: str, driver: bytes | None, said: str
):
    lgpio(tmp_path, version, driver)
    with pytest.raises(SystemExit, match=said):
        script("wheels").check(tmp_path)


@pytest.mark.parametrize("version", ["0.2.2.0", "0.10.0.0", "1.0"])
def test_an_lgpio_with_its_driver_is_taken(tmp_path: Path, version: str):
    lgpio(tmp_path, version, DRIVER)
    script("wheels").check(tmp_path)


def test_no_lgpio_at_all_ends_the_build(tmp_path: Path):
    with pytest.raises(SystemExit, match="without its driver"):
        script("wheels").check(tmp_path)


def test_of_a_wheel_only_its_modules_are_unpacked_and_only_into_the_folder(tmp_path: Path):
    wheel = tmp_path / "part-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as packed:
        packed.writestr("part/__init__.py", "")
        packed.writestr("part-1.data/purelib/more.py", "")
        packed.writestr("part-1.data/scripts/run-me", "#!/bin/sh")
        packed.writestr("part-1.dist-info/RECORD", "")
    site = tmp_path / "site"
    unpack = script("wheels").unpack
    unpack(wheel, site)
    assert {str(path.relative_to(site)) for path in site.rglob("*") if path.is_file()} == {
        "part/__init__.py",
        "more.py",
    }
    with zipfile.ZipFile(wheel, "w") as packed:
        packed.writestr("../../outside.py", "")
    with pytest.raises(SystemExit, match="lies outside"):
        unpack(wheel, site)
    assert not (tmp_path.parent / "outside.py").exists()


# ---- what is listed ----

STATUS = """Package: base
Status: install ok installed
Essential: yes
Version: 12.4
Architecture: arm64
Installed-Size: 1024
Depends: libc6 (>= 2.36)

Package: libc6
Status: install ok installed
Source: glibc (2.36-9)
Version: 2.36-9+b1
Architecture: arm64
Installed-Size: 2048
Description: a library
 with two lines

Package: nftables
Status: install ok installed
Version: 1.0.6-2
Architecture: arm64
Installed-Size: 4096

Package: gone
Status: deinstall ok config-files
Version: 1
Architecture: arm64
"""
SITE = "opt/edge-agent/lib/python3.11/site-packages"


@pytest.fixture
def made_root(tmp_path: Path) -> Path:
    """What inventory.py reads of a finished root."""
    root = tmp_path / "root"
    wheels = {"paho_mqtt": "paho_mqtt-2.2.0-py3-none-any.whl", "lgpio": "lgpio-0.2.2.0-cp311.whl"}
    sums = [
        f"{hashlib.sha256(name.encode()).hexdigest()}  {name}"
        for name in (*wheels.values(), "setuptools-80-py3-none-any.whl")
    ]
    texts = {
        "var/lib/dpkg/status": STATUS,
        "usr/share/edge-image/unpacked.tsv": "raspi-firmware\t1.2022\tall\n",
        "opt/edge-agent/lib/python3.11/wheels.sha256": "\n".join(sums) + "\n",
        f"{SITE}/paho_mqtt-2.2.0.dist-info/METADATA": "Name: paho-mqtt\nVersion: 2.2.0\nLicense: EPL\n",
        f"{SITE}/lgpio-0.2.2.0.dist-info/METADATA": "Name: lgpio\nVersion: 0.2.2.0\n",
        f"{SITE}/edge_agent-1.dist-info/METADATA": "Name: edge-agent\nVersion: 1\n",
    }
    for name, text in texts.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def inventory(root: Path, out: Path) -> subprocess.CompletedProcess[str]:
    out.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, IMAGE / "inventory.py", root, SITE, "bookworm", "1", out],
        capture_output=True,
        text=True,
        check=False,
        timeout=patient(30.0),
        env=os.environ | {"SOURCE_DATE_EPOCH": "1795305600"},
    )


def test_what_is_installed_is_listed_once_with_where_it_comes_from(made_root: Path, tmp_path: Path):
    done = inventory(made_root, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    rows = [
        line.split("\t") for line in (tmp_path / "out/manifest.tsv").read_text().splitlines()[1:]
    ]
    listed = {row[1]: (row[0], row[2], row[4]) for row in rows}
    assert len(listed) == len(rows)
    digest = hashlib.sha256(b"paho_mqtt-2.2.0-py3-none-any.whl").hexdigest()
    assert listed["paho-mqtt"] == ("wheel", "2.2.0", f"sha256={digest}")
    assert listed["edge-agent"] == ("wheel", "1", "this repository")
    assert listed["libc6"] == ("deb", "2.36-9+b1", "glibc=2.36-9")
    assert listed["nftables"] == ("deb", "1.0.6-2", "nftables=1.0.6-2")
    assert listed["raspi-firmware"][0] == "deb-unpacked"
    assert "gone" not in listed
    sbom = json.loads((tmp_path / "out/sbom.cdx.json").read_text())
    purls = [part["purl"] for part in sbom["components"]]
    assert len(set(purls)) == len(purls) == len(rows)
    assert {(part["name"], part["version"]) for part in sbom["components"]} == {
        (row[1], row[2]) for row in rows
    }
    hashes = {part["name"]: part.get("hashes") for part in sbom["components"]}
    assert hashes["paho-mqtt"] == [{"alg": "SHA-256", "content": digest}]
    added = (tmp_path / "out/added.txt").read_text()
    assert "(2 packages, 3 MiB by their own word): 1 packages, 4 MiB" in added


def test_the_same_root_gives_the_same_lists(made_root: Path, tmp_path: Path):
    for out in ("one", "two"):
        assert inventory(made_root, tmp_path / out).returncode == 0
    for each in (tmp_path / "one").iterdir():
        assert each.read_bytes() == (tmp_path / "two" / each.name).read_bytes()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("Name: stranger\nVersion: 1\n", "stranger is in the root, and no wheel of it was fetched"),
        ("", "fetched, and not in the root: lgpio"),
    ],
)
def test_a_wheel_that_nobody_fetched_or_that_is_missing_ends_the_build(
    made_root: Path, tmp_path: Path, fault: str, said: str
):
    described = made_root / SITE / "lgpio-0.2.2.0.dist-info/METADATA"
    if fault:
        extra = made_root / SITE / "stranger-1.dist-info"
        extra.mkdir()
        (extra / "METADATA").write_text(fault)
    else:
        described.unlink()
    done = inventory(made_root, tmp_path / "out")
    assert done.returncode == 1
    assert said in done.stderr


# ---- the build itself ----

BUILD_NEEDS = {
    "mmdebstrap": "mmdebstrap",
    "arch-test": "arch-test",
    "mksquashfs": "squashfs-tools",
    "mcopy": "mtools",
    "mkfs.vfat": "dosfstools",
    "mke2fs": "e2fsprogs",
    "sfdisk": "fdisk",
    "zstd": "zstd",
    "dtc": "device-tree-compiler",
}
ESSENTIAL = {"unshare", "setpriv", "flock"}  # util-linux: on every Debian

building = pytest.mark.skipif(
    os.geteuid() != 0 or bool(absent(*BUILD_NEEDS)),
    reason="NOT TESTED: needs root and the image's tools (.ci/setup image)",
)


def test_what_the_build_asks_for_is_what_the_setup_installs():
    """Debian only *recommends* some of it to the packages that are installed, and recommendations are not followed."""
    (asked,) = re.findall(r"for each in (.*); do\n  command -v", (IMAGE / "build").read_text())
    assert set(asked.split()) == set(BUILD_NEEDS) | ESSENTIAL
    setup = (ROOT / ".ci/setup").read_text()
    (packages,) = re.findall(r"(?ms)^image=\((.*?)\)", setup)
    assert set(BUILD_NEEDS.values()) | {"mount"} <= set(packages.split())


def test_ssh_is_never_opened_to_the_cameras_network():
    network = read('[cameras]\naddress = "192.168.64.1/24"\ninterface = "eth1"\n', "network.toml")
    (group,) = re.findall(r"(?m)^Group=(\d+)$", networkd(network)["10-edge-agent-cameras.network"])
    opened = [
        line.strip()
        for line in (IMAGE / "root/etc/nftables.conf").read_text().splitlines()
        if "@opened" in line
    ]
    assert len(opened) == 1
    assert opened[0].startswith(f"iifgroup != {group} tcp dport @opened ")


@building
def test_a_folder_with_anything_else_in_it_is_never_replaced(tmp_path: Path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "summary.txt").write_text("a build's")
    (home / "letters").write_text("years of them")
    done = subprocess.run(
        [IMAGE / "build"],
        capture_output=True,
        text=True,
        check=False,
        timeout=patient(50.0),
        cwd=tmp_path,
        # Relative, as one types it: to where it is typed.
        env=os.environ | {"OUT": "home", "XDG_CACHE_HOME": str(tmp_path / "cache")},
    )
    assert done.returncode == 1
    assert f"{home} would be replaced as a whole, but holds letters" in done.stderr
    assert sorted(path.name for path in home.iterdir()) == ["letters", "summary.txt"]


@pytest.fixture
def mirror() -> Iterator[socket.socket]:
    """A mirror of Debian that takes the call and never answers: a build that asks it is in the midst of its work."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(patient(50.0))
        yield listening


def building_from(mirror: socket.socket, folder: Path) -> subprocess.Popen[bytes]:
    uri = f"http://127.0.0.1:{mirror.getsockname()[1]}/debian"
    more = {
        "MIRROR": f"{uri} {uri}",
        "OUT": str(folder / "out"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "EDGE_TMP": str(folder / "work"),
    }
    clean = {name: word for name, word in os.environ.items() if "proxy" not in name.lower()}
    (folder / "work").mkdir(exist_ok=True)
    return subprocess.Popen(
        [IMAGE / "build"],
        env=clean | more,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def until_it_hangs_up(caller: socket.socket) -> None:
    """Waits for the end of whoever called, deep in mmdebstrap: so everything between here and there has ended too."""
    with caller:
        caller.settimeout(patient(50.0))
        while caller.recv(65536):
            pass


@building
@pytest.mark.enable_socket
@pytest.mark.timeout(900)
def test_a_build_that_is_ended_leaves_no_process_and_no_folder(
    mirror: socket.socket, tmp_path: Path
):
    work = tmp_path / "work"
    # Killed outright, as by the kernel when memory runs out: nobody is left who could tidy up.
    with building_from(mirror, tmp_path) as build:
        caller, _ = mirror.accept()
        build.kill()
        until_it_hangs_up(caller)
    (left,) = work.iterdir()
    lock = os.open(left, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)  # comes when the last of them is gone
    os.close(lock)
    os.utime(left, (0, 0))
    # Ctrl-C, or a test that has run out of time: that one's own folder, and the other's.
    with building_from(mirror, tmp_path) as build:
        caller, _ = mirror.accept()
        assert not left.exists()
        build.send_signal(signal.SIGTERM)
        assert build.wait(patient(50.0)) == 143
        until_it_hangs_up(caller)
    assert list(work.iterdir()) == []
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.new").exists()
