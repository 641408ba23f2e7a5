"""The built image in a virtual machine: QEMU's arm64 `virt` board, whose GPIO controller, network plug and power are in the host's hand.

The image is not touched: its own kernel and initrd are started, taken out of its boot partition. Three things are of the test:
more words on the kernel's command line (a root shell on the serial line, which the image itself never gives), a second initrd
behind the first (`early`: it waits for the host's word, and lays files into /dev/edge-test), and the board's device tree, which
gives seven lines of the GPIO controller the names that they have on a Pi's header.

What QEMU cannot show: the Pi's own firmware (config.txt, overlays), its SD host and its GPIO chip.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from tests.image.cpio import segment
from tests.support.broker import free_port

BOARD: Final = ("-machine", "virt,gic-version=3", "-cpu", "cortex-a72", "-smp", "2", "-m", "1024")
# Always by software: where /dev/kvm exists it may be one that cannot run this kernel.
BY_SOFTWARE: Final = ("-accel", "tcg,thread=multi")

# The lines of the PL061, by BCM number. Line 3 is the board's own power key.
LINES: Final[Mapping[int, int]] = {17: 0, 27: 1, 23: 2, 22: 4, 5: 5, 20: 6, 16: 7}
_NAMES: Final = tuple(
    next((f"GPIO{bcm}" for bcm, line in LINES.items() if line == number), "") for number in range(8)
)
_GPIO_DATA: Final = 0x0903_03FC  # every line of the PL061 at once

# Read by the initrd before anything else, modules and /run included; /dev is there already, and goes on into the system.
EARLY: Final = b"""
mkdir -p /dev/edge-test
cp /edge-test/* /dev/edge-test/ 2>/dev/null || true
if grep -q edge-test.wait /proc/cmdline; then
  echo '@@waiting@@' >/dev/ttyAMA0
  read -r edge_test_word </dev/ttyAMA0
fi
"""


class Ended(AssertionError):  # noqa: N818 - what it did, not an error of ours
    """The machine ended, or did not do what was awaited; with the last that it said."""


def device_tree(folder: Path) -> Path:
    """QEMU's own tree of this board, with names for the GPIO lines."""
    tree = folder / "board.dtb"
    machine = [*BOARD[:1], f"{BOARD[1]},dumpdtb={tree}", *BOARD[2:]]
    _quietly("qemu-system-aarch64", *machine, *BY_SOFTWARE, "-nodefaults", "-display", "none")
    path = _quietly("fdtget", "-l", str(tree), "/")
    node = next(line for line in path.splitlines() if line.startswith("pl061@"))
    _quietly("fdtput", "-t", "s", str(tree), f"/{node}", "gpio-line-names", *_NAMES)
    return tree


def _quietly(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, f"{shlex.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


class Kit:
    """What every start of a machine needs and no start changes: kernel, initrd, command line, device tree."""

    def __init__(self, folder: Path, words: str, files: Mapping[str, bytes]) -> None:
        """*folder* holds `vmlinuz` and `initrd.img`; *files* are what the test lays into /dev/edge-test."""
        self.folder = folder
        self.words = words
        ours = {"conf/conf.d/edge-test": EARLY} | {
            f"edge-test/{name}": content for name, content in files.items()
        }
        raw = (folder / "initrd.img").read_bytes()
        # The kernel looks for the next archive on a boundary of four.
        raw += b"\0" * (-len(raw) % 4)
        (folder / "initrd.img").write_bytes(raw + gzip.compress(segment(ours)))
        self.tree = device_tree(folder)

    @classmethod
    def of(cls, image: Path, folder: Path, files: Mapping[str, bytes]) -> Kit:
        """The image's own, out of its boot partition. *folder* is made."""
        folder.mkdir(parents=True)
        for name in ("vmlinuz", "initrd.img", "cmdline.txt"):
            _quietly("mcopy", "-i", f"{image}@@4M", f"::{name}", str(folder / name))
        return cls(folder, (folder / "cmdline.txt").read_text().strip(), files)


class Machine:
    """One QEMU. Ended by its own process id, whatever happens; a context manager."""

    board: tuple[str, ...] = BOARD
    # kpti=0: with a page table of its own for programs, each of their calls would empty QEMU's store of translated addresses: a start
    # would cost up to half as much again. A Cortex-A72, and so a Pi, does not need it against Meltdown.
    words = "console=ttyAMA0 loglevel=3 systemd.show_status=0 systemd.debug_shell=ttyAMA0 kpti=0"

    def devices(self, kit: Kit, card: Path | None) -> tuple[str, ...]:
        """What hangs on the board, for QEMU."""
        network = f"user,id=net,hostfwd=tcp:127.0.0.1:{self.ssh_port}-:22"
        return (
            *("-dtb", str(kit.tree), "-netdev", network),
            *("-device", "virtio-net-pci,netdev=net,id=nic,romfile=,addr=5"),
            *("-device", "virtio-rng-pci,addr=6", *self._disk(card)),
        )

    @staticmethod
    def _disk(card: Path | None) -> tuple[str, ...]:
        if card is None:
            return ()
        return (
            *("-blockdev", f"driver=nbd,node-name=card,server.type=unix,server.path={card}"),
            *("-device", "virtio-blk-pci,drive=card,addr=4"),
        )

    def __init__(
        self,
        kit: Kit,
        folder: Path,
        *,
        card: Path | None,
        wait: bool = False,
        frozen: Path | None = None,
        words: str = "",
        log: Path | None = None,
    ) -> None:
        """*card*: the address of a `Card`; None = no card. *wait*: stop in the initrd until `go`. *frozen*: go on from there."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.log = log or folder / "console.log"
        self._said = b""
        self._silent = False
        self._word = threading.Condition()
        serial, qmp, qtest = (folder / name for name in ("serial", "qmp", "qtest"))
        for each in (serial, qmp, qtest):
            each.unlink(missing_ok=True)
        line = f"{kit.words} {self.words} {words}"
        self.ssh_port = free_port()
        self._open = ExitStack()
        errors = self._open.enter_context((folder / "qemu.err").open("w"))
        self.process = subprocess.Popen(
            [
                *(
                    "setpriv",
                    "--pdeathsig",
                    "KILL",
                    "nice",
                    "-n",
                    "2",
                    "qemu-system-aarch64",
                    *self.board,
                    *BY_SOFTWARE,
                ),
                *("-display", "none", "-no-reboot", "-nodefaults", *self.devices(kit, card)),
                *("-kernel", str(kit.folder / "vmlinuz")),
                *("-initrd", str(kit.folder / "initrd.img")),
                *("-append", f"{line} edge-test.wait" if wait else line),
                *(
                    "-chardev",
                    f"socket,id=serial,path={serial},server=on,wait=off,logfile={self.log},logappend=on",
                ),
                *("-serial", "chardev:serial", "-qmp", f"unix:{qmp},server=on,wait=off"),
                *("-qtest", f"unix:{qtest},server=on,wait=off"),
                *(() if frozen is None else ("-incoming", f"exec:cat {shlex.quote(str(frozen))}")),
            ],
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=subprocess.STDOUT,
        )
        try:
            self._serial = self._connect(serial)
            self._qmp = self._connect(qmp)
            self._qtest = self._connect(qtest)
            threading.Thread(target=self._listen, daemon=True).start()
            self._words = self._open.enter_context(self._qmp.makefile("rb"))
            self._qmp.settimeout(120)
            self._qtest.settimeout(30)
            self._words.readline()
            self.ask("qmp_capabilities")
            if frozen is not None:
                self._await(lambda: self._state() not in {"inmigrate", "finish-migrate"}, 60)
                if self._state() != "running":
                    self.ask("cont")
            self._gpio = ""
        except BaseException:
            self.end()
            raise

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """As kill -9 does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(20)
        self._open.close()

    # ---- QEMU's own doors ----

    def ask(self, command: str, **arguments: object) -> object:
        """A QMP command's answer."""
        words = {"execute": command, "arguments": arguments}
        self._qmp.sendall(json.dumps(words).encode() + b"\n")
        while True:
            answer: dict[str, object] = json.loads(self._words.readline() or b'{"error": "ended"}')
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise Ended(f"{command}: {answer['error']}; {self._why()}")

    def plug(self, *, network: bool) -> None:
        """The network cable in or out."""
        self.ask("set_link", name="nic", up=network)

    def freeze(self, to: Path) -> None:
        """Memory and devices into a file. The machine stands still from then on; its card is the caller's to keep beside."""
        self.ask("stop")
        self.ask("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
        self.ask("migrate", uri=f"exec:cat >{shlex.quote(str(to))}")
        self._await(lambda: self._migration() in {"completed", "failed"}, 120)
        assert self._migration() == "completed", self._why()

    def _migration(self) -> object:
        answer = self.ask("query-migrate")
        assert isinstance(answer, dict)
        return answer.get("status")

    def _state(self) -> object:
        answer = self.ask("query-status")
        assert isinstance(answer, dict)
        return answer["status"]

    def _find_gpio(self) -> str:
        parts = self.ask("qom-list", path="/machine/unattached")
        assert isinstance(parts, list)
        name = next(part["name"] for part in parts if part["type"] == "child<pl061>")
        return f"/machine/unattached/{name}"

    # ---- GPIO, as a hand at the box ----

    def drive(self, levels: Mapping[int, bool]) -> None:
        """Put levels on the input lines with these BCM numbers."""
        for bcm, high in levels.items():
            self._gpio = self._gpio or self._find_gpio()
            self._tell(f"set_irq_in {self._gpio} unnamed-gpio-in {LINES[bcm]} {int(high)}")

    def level(self, bcm: int) -> bool:
        """What stands on a line, whoever drives it."""
        word = self._tell(f"readb {_GPIO_DATA:#x}")
        return bool(int(word, 16) >> LINES[bcm] & 1)

    def _tell(self, command: str) -> str:
        self._qtest.sendall(command.encode() + b"\n")
        got = b""
        while not got.endswith(b"\n"):
            more = self._qtest.recv(4096)
            if not more:
                raise Ended(self._why())
            got += more
        answer = got.decode().split()
        assert answer[0] == "OK", f"{command}: {got!r}"
        return answer[1] if len(answer) > 1 else ""

    # ---- the serial line ----

    def await_waiting(self) -> None:
        """The initrd has stopped at the test's own door (`wait=True`)."""
        self._expect(rb"@@waiting@@", 400)

    def go(self) -> None:
        """Let the initrd go on."""
        self._serial.sendall(b"go\n")

    def shell(self, within_s: float = 600) -> None:
        """Wait for the root shell; from here on `run` works, in a machine that goes on from here as well."""
        # A word at a time, each awaited: a shell that is replaced takes with it what was typed ahead.
        self._expect(rb"root@[^\r\n]*# ", within_s)
        self._serial.sendall(b"exec /bin/sh\n")
        self._expect(rb"[\r\n]# ", 60)
        self._serial.sendall(b"stty -echo -icanon min 1; PS1=; PS2=; echo @@re''ady@@\n")
        self._expect(rb"@@ready@@", 60)

    def run(self, command: str, within_s: float = 120, *, good: bool = True) -> str:
        """What a command of root's said; with *good*, its exit code has to be 0."""
        word = base64.b64encode(command.encode()).decode()
        self._forget()
        line = (
            f'(eval "$(echo {word} | base64 -d)") >/dev/edge-test/said 2>&1 </dev/null; '
            "printf '@@%s %s@@\\n' $? \"$(gzip -c /dev/edge-test/said | base64 -w0)\"\n"
        )
        assert len(line) < 4000, "too long for a line: put it into a file of the kit"
        self._serial.sendall(line.encode())
        found = self._expect(rb"@@(\d+) ([A-Za-z0-9+/=]*)@@", within_s)
        said = gzip.decompress(base64.b64decode(found[2])).decode(errors="replace")
        if good and found[1] != b"0":
            raise Ended(f"{command}: exit code {found[1].decode()}: {said}")
        return said

    def until(self, command: str, within_s: float = 180) -> str:
        """Run *command* until its exit code is 0. Under emulation a program's mere start costs: ask for little."""
        return self.run(
            f"until {{ {command}; }} >/dev/edge-test/try 2>&1; do sleep 1; done; cat /dev/edge-test/try",
            within_s,
        )

    def begin(self, command: str) -> None:
        """Start a command that goes on talking; from then on `heard` alone is of use."""
        self._forget()
        self._serial.sendall(command.encode() + b"\n")

    def heard(self, pattern: bytes, for_s: float) -> list[re.Match[bytes]]:
        """What the serial line said within *for_s* seconds that is like *pattern*."""
        found: list[re.Match[bytes]] = []
        until = time.monotonic() + for_s
        with self._word:
            while (left := until - time.monotonic()) > 0:
                self._word.wait(left)
            found = list(re.finditer(pattern, self._said))
            if found:
                self._said = self._said[found[-1].end() :]
        return found

    def uptime_s(self) -> float:
        return float(self.run("cut -d ' ' -f 1 /proc/uptime"))

    def cpu_s(self) -> float:
        """What this machine has cost the host: on a busy host a truer measure than the clock."""
        words = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def _expect(self, pattern: bytes, within_s: float) -> re.Match[bytes]:
        until = time.monotonic() + within_s
        with self._word:
            while not (found := re.search(pattern, self._said)):
                left = until - time.monotonic()
                if left <= 0:
                    raise Ended(f"nothing like {pattern!r} in {within_s:.0f} s; {self._why()}")
                if self._silent:
                    raise Ended(self._why())
                self._word.wait(left)
            self._said = self._said[found.end() :]
        return found

    def _forget(self) -> None:
        with self._word:
            self._said = b""

    def _listen(self) -> None:
        # All the time: a machine whose serial line nobody reads stands still, QEMU's other doors with it.
        more = b"-"
        while more:
            try:
                more = self._serial.recv(65536)
            except OSError:
                more = b""
            with self._word:
                self._said += more
                self._silent = not more
                self._word.notify_all()

    # ----

    def _connect(self, path: Path) -> socket.socket:
        line = self._open.enter_context(socket.socket(socket.AF_UNIX))
        self._await(lambda: self._connected(line, path), 60)
        return line

    @staticmethod
    def _connected(line: socket.socket, path: Path) -> bool:
        try:
            line.connect(str(path))
        except OSError:
            return False
        return True

    def _await(self, there: Callable[[], bool], within_s: float) -> None:
        until = time.monotonic() + within_s
        while not there():
            if self.process.poll() is not None or time.monotonic() > until:
                raise Ended(self._why())
            time.sleep(0.02)

    def _why(self) -> str:
        end = self.process.poll()
        state = "runs" if end is None else f"ended with {end}"
        errors = (self.folder / "qemu.err").read_text(errors="replace")[-1000:]
        console = self.log.read_text(errors="replace")[-1500:] if self.log.exists() else ""
        return f"QEMU {state}: {errors}\nconsole: {console}"


def copied(card: Path, to: Path) -> Path:
    """A card's copy; holes stay holes."""
    _quietly("cp", "--sparse=always", "--reflink=auto", str(card), str(to))
    return to


def blank_card(image: Path, to: Path, *, mib: int = 4096) -> Path:
    """A freshly flashed card that is larger than the image."""
    copied(image, to)
    with to.open("r+b") as file:
        file.truncate(mib << 20)
    return to


# ---- the boot partition, as on a laptop ----


def put_on_card(card: Path, files: Mapping[str, bytes], scratch: Path) -> None:
    """Write files onto the FAT partition."""
    for name, content in files.items():
        source = scratch / "to-card"
        source.write_bytes(content)
        _quietly("mcopy", "-o", "-i", f"{card}@@4M", str(source), f"::{name}")


def on_card(card: Path, name: str) -> bool:
    """Whether that file is on the FAT partition."""
    words = ("mdir", "-b", "-i", f"{card}@@4M", f"::{name}")
    return subprocess.run(words, capture_output=True, check=False, timeout=60).returncode == 0


def take_from_card(card: Path, name: str, scratch: Path) -> bytes:
    """A file of the FAT partition."""
    target = scratch / "from-card"
    target.unlink(missing_ok=True)
    _quietly("mcopy", "-n", "-i", f"{card}@@4M", f"::{name}", str(target))
    return target.read_bytes()
