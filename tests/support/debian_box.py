"""An ordinary Debian box made of namespaces: install on it, boot its systemd, look at what stays behind. Needs root.

What runs inside sees a root of its own: an overlay in memory over a Debian root, which is never written to. Booted, it is a real
systemd with the real sandbox of the unit, in five seconds; but it is this machine's kernel, without GPIO, SPI or cameras.
Run as `unshare --mount --propagation private python -m tests.support.debian_box ROOT WORK SOURCE`; stages come as JSON on
stdin, what each said and what it left behind goes as JSON to stdout.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

# Debian's own book-keeping on packages and accounts, caches and logs. It grows whatever is installed or removed.
# From its first start on a system has dbus's name for it and notes that it started; /var/tmp keeps the private folders of services
# that were cut short.
BOOKS = re.compile(
    r"/var/(lib/(dpkg|apt|systemd|ucf|python|logrotate|unattended-upgrades)|cache|log)(/.*)?"
    r"|/etc/((passwd|group|shadow|gshadow|subuid|subgid)-|\.pwd\.lock|ld\.so\.cache)"
    r"|/(run|tmp|proc|sys|dev)(/.*)?"
    r"|/var/lib/dbus/machine-id|/(etc|var)/\.updated"
    r"|/var/tmp/systemd-private-[0-9a-f]+-(?!edge-agent).*"
    r"|/etc/(mtab|machine-id|resolv\.conf|hostname)"
)
BOOT_S = 60.0

# What a container manager does before it starts systemd. The clock, kernel modules and this machine's settings stay out of reach.
BOOT = r"""
set -e
echo $$ >"$GROUP/cgroup.procs"
exec unshare --mount --pid --uts --ipc --net --cgroup --fork bash -c '
set -e
cd "$ROOT"
umount -R dev
mount -t tmpfs dev dev
mkdir dev/pts dev/shm
for each in null zero full random urandom tty; do touch dev/$each; mount --bind /dev/$each dev/$each; done
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx; ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin; ln -s fd/1 dev/stdout; ln -s fd/2 dev/stderr
umount proc
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,ro,bind proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
ip link set lo up
mkdir -p .before
pivot_root . .before
cd /
umount -l .before
rmdir .before
mount --make-rshared /
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin setpriv \
  --bounding-set -sys_time,-sys_module,-sys_boot,-sys_rawio,-syslog /lib/systemd/systemd --system --show-status=0
'
"""


def said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode != 0:
        msg = f"{' '.join(command)}: {done.stdout}{done.stderr}"
        raise RuntimeError(msg)
    return done.stdout


class Box:
    """A Debian root, its overlay, and perhaps the systemd that runs in it."""

    def __init__(self, below: Path, work: Path, source: Path) -> None:
        self._below = below
        self._above = work / "above"
        self.root = work / "root"
        self._init: subprocess.Popen[bytes] | None = None
        self._group: Path | None = None
        said("mount", "-t", "tmpfs", "-o", "size=2g", "box", str(work))
        for folder in (self._above, self.root, work / "moves"):
            folder.mkdir()
        layers = f"lowerdir={below},upperdir={self._above},workdir={work / 'moves'}"
        said("mount", "-t", "overlay", "overlay", "-o", layers, str(self.root))
        for name in ("proc", "sys", "dev", "run", "tmp"):
            (self.root / name).mkdir(exist_ok=True)
        said("mount", "-t", "proc", "proc", str(self.root / "proc"))
        said("mount", "--rbind", "/dev", str(self.root / "dev"))
        for name in ("run", "tmp"):
            said("mount", "-t", "tmpfs", name, str(self.root / name))
        (self.root / "tmp/source").mkdir()
        said("mount", "--bind", "-o", "ro", str(source), str(self.root / "tmp/source"))
        # The ways out of this machine, to Debian and to Python's packages, are those of the box too.
        for name in (
            "etc/resolv.conf",
            "etc/pip.conf",
            "root/.config/pip/pip.conf",
            "etc/ssl/certs/ca-certificates.crt",
        ):
            theirs, ours = Path("/", name), self.root / name
            if theirs.is_file() and below != Path("/"):
                ours.parent.mkdir(parents=True, exist_ok=True)
                ours.unlink(missing_ok=True)
                shutil.copyfile(theirs, ours)
        self._before = self._strange()

    def run(self, command: str) -> tuple[int, str]:
        """A shell's exit code and words, in the box's source folder; in its running system if it was booted."""
        inside = ["chroot", str(self.root), "bash", "-c"]
        if self._init is not None:
            # Its network is its own, with nothing on it; a command that installs is given this machine's.
            inside = ["nsenter", "-t", str(self._first()), "-m", "-p", "-u", "-i", "-C", "-r", "-w"]
            inside += ["bash", "-c"]
        done = subprocess.run(
            [*inside, f"cd /tmp/source; {command}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
            timeout=300,
            env=os.environ
            | {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
        )
        return done.returncode, done.stdout

    def left(self) -> list[str]:
        """What is not as it was: path and how."""
        now = self._strange()
        changed = [f"{path} {how}" for path, how in now.items() if self._before.get(path) != how]
        return sorted(changed + [f"{path} put back" for path in self._before.keys() - now.keys()])

    def boot(self) -> None:
        """Start its systemd and wait until it is up, with or without failed units."""
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
        hierarchy = next(words[1] for words in mounts if words[2] == "cgroup2")
        self._group = Path(hierarchy, f"debian-box-{os.getpid()}")
        self._group.mkdir()
        env = os.environ | {"ROOT": str(self.root), "GROUP": str(self._group)}
        self._init = subprocess.Popen(
            ["bash", "-c", BOOT], env=env, stdin=subprocess.DEVNULL, stdout=sys.stderr
        )
        until = time.monotonic() + BOOT_S
        state = ""
        while state not in {"running", "degraded"}:
            if self._init.poll() is not None or time.monotonic() > until:
                msg = f"the box did not come up: {state}"
                raise RuntimeError(msg)
            time.sleep(0.2)
            with contextlib.suppress(IndexError, OSError, subprocess.SubprocessError):
                state = self.run("systemctl is-system-running 2>/dev/null")[1].strip()

    def close(self) -> None:
        """Pull its plug."""
        if self._init is None:
            return
        with contextlib.suppress(IndexError, OSError):
            os.kill(self._first(), signal.SIGKILL)
        self._init.wait(timeout=20)
        if self._group is not None:
            for folder, _, _ in os.walk(self._group, topdown=False):
                with contextlib.suppress(OSError):
                    Path(folder).rmdir()

    def _first(self) -> int:
        """Its process 1, as this machine counts."""
        assert self._init is not None
        children = Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children").read_text()
        return int(children.split()[0])

    def _strange(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for folder, folders, files in os.walk(self._above):
            for name in [*folders, *files]:
                above = Path(folder, name)
                path = "/" + above.relative_to(self._above).as_posix()
                how = self._how(above, self._below / path[1:])
                if how and not BOOKS.fullmatch(path):
                    found[path] = how
        return found

    @staticmethod
    def _how(above: Path, below: Path) -> str:
        """How what lies above differs from what lay there; empty = not at all."""
        now = above.lstat()
        if stat.S_ISCHR(now.st_mode) and now.st_rdev == 0:
            return "is gone" if os.path.lexists(below) else ""
        if not os.path.lexists(below):
            return "is new"
        was = below.lstat()
        if (now.st_mode, now.st_uid, now.st_gid) != (was.st_mode, was.st_uid, was.st_gid):
            return "has another mode or owner"
        if stat.S_ISDIR(now.st_mode):
            # Removed and made anew, it hides what lay in it.
            hides = "trusted.overlay.opaque" in os.listxattr(above)
            lost = {each.name for each in below.iterdir()} - {each.name for each in above.iterdir()}
            return "lost files" if hides and lost else ""
        if stat.S_ISLNK(now.st_mode):
            return "leads elsewhere" if above.readlink() != below.readlink() else ""
        return "has other content" if above.read_bytes() != below.read_bytes() else ""


def main() -> None:
    below, work, source = map(Path, sys.argv[1:4])
    box = Box(below, work, source)
    answers = []
    try:
        for stage in json.load(sys.stdin):
            status, words = 0, ""
            if stage == "boot":
                box.boot()
            else:
                status, words = box.run(stage)
            answers.append({"status": status, "said": words, "left": box.left()})
    finally:
        box.close()
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
