"""A writer's every change to a folder, as strace saw it, in the order in which the kernel made them.

The real program runs, with the real SQLite and the real file system; what it told on stdout stands between its writes, so that what
was accepted before each of them is known exactly. An SQLite VFS would see neither files beside the database nor the library that the
agent uses (apsw brings its own).
Promise: a call that changes the folder in a way that is not understood here is an error, never skipped.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

# "?": not on every machine (aarch64 knows only the calls that end in "at").
_CALLS: Final = (
    "?open ?openat ?creat ?close ?dup ?dup2 ?dup3 ?write ?pwrite64 ?writev ?pwritev ?pwritev2 ?ftruncate ?truncate ?fallocate ?rename"
    " ?renameat ?renameat2 ?unlink ?unlinkat ?rmdir ?mkdir ?mkdirat ?link ?linkat ?symlink ?symlinkat ?fsync ?fdatasync"
    " ?sync_file_range ?syncfs ?sync ?sendfile ?copy_file_range ?mmap ?msync ?lseek"
)
_LINE: Final = re.compile(r"^(\d+) +(\w+)\((.*)\) += (-?\d+|\?)(.*)$", re.DOTALL)
_BEGUN: Final = re.compile(r"^(\d+) +(\w+)\((.*?) <unfinished \.\.\.>$", re.DOTALL)
_RESUMED: Final = re.compile(r"^(\d+) +<\.\.\. (\w+) resumed>(.*)$", re.DOTALL)
_TEXT: Final = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


@dataclass(frozen=True, slots=True)
class Op:
    """One thing that happened. Files are named by their node: a file keeps it when it is renamed."""

    what: str  # make, folder, rename, unlink, rmdir, write, size, sync, sync-folder, failed-sync, told
    node: int = 0  # of the file or folder
    path: str = ""  # within the folder; also where a rename comes from
    to: str = ""
    at: int = 0  # where it is written, or the new size
    data: bytes = field(default=b"", repr=False)


def why_no_strace() -> str:
    """Why no program can be traced here; empty if it can."""
    if shutil.which("strace") is None:
        return "not installed: strace"
    tried = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else f"tracing is forbidden here: {tried.stderr!r:.200}"


def wrapper(out: Path, *inject: str) -> list[str]:
    """The words before a command that trace it into *out*; *inject*: faults, as strace's `-e inject=` takes them."""
    faults = [word for fault in inject for word in ("-e", f"inject={fault}")]
    calls = ",".join(_CALLS.split())
    return ["strace", "-f", "--seccomp-bpf", "-xx", "-s", "100000000", "-e", "signal=none",
            "-e", f"trace={calls}", *faults, "-o", str(out)]  # fmt: skip


def read(trace: Path, folder: Path, nodes: dict[str, int]) -> Iterator[Op]:
    """What *trace* tells of *folder*; *nodes*: the files and folders that were there before, by their path within it."""
    reader = _Reader(str(folder), nodes)
    for name, words, result, rest in _calls(trace):
        yield from reader.op(name, words, result, rest)


def _calls(trace: Path) -> Iterator[tuple[str, str, int, str]]:
    """(call, its arguments, what it returned, what strace says of that), in order of their ends."""
    begun: dict[str, str] = {}
    with trace.open(encoding="ascii", errors="replace") as lines:
        for raw in lines:
            line = raw.rstrip("\n")
            if match := _BEGUN.match(line):
                begun[match[1]] = match[3]
                continue
            if match := _RESUMED.match(line):
                line = f"{match[1]} {match[2]}({begun.pop(match[1], '')}{match[3]}"
            if (match := _LINE.match(line)) and match[4] != "?":
                yield match[2], match[3], int(match[4]), match[5]


class _Reader:
    def __init__(self, folder: str, nodes: dict[str, int]) -> None:
        self._folder = folder
        self._nodes = dict(nodes)  # by path within the folder; "" is the folder itself
        self._next = max(nodes.values(), default=0) + 1
        self._open: dict[int, int] = {}  # node by descriptor
        self._folders = set[int]()  # those nodes that are folders
        self._ends: dict[int, int] = {}  # where a plain write goes on, by descriptor

    def op(self, name: str, words: str, result: int, rest: str) -> Iterator[Op]:
        failed = result < 0 and not (name in ("fsync", "fdatasync") and "EIO" in rest)
        if failed or ("INJECTED" in rest and name not in ("fsync", "fdatasync")):
            return
        texts = [bytes.fromhex(text.replace("\\x", "")) for text in _TEXT.findall(words)]
        if name.endswith(("at", "at2")):
            texts[0] = self._beside(words, texts[0])
        handler: Callable[[str, list[bytes], int], Iterator[Op]] | None
        handler = getattr(
            self, f"_on_{name.removesuffix('64').removesuffix('at2').removesuffix('at')}", None
        )
        if handler is not None:
            yield from handler(words, texts, result)
        elif self._concerns(words, texts):
            msg = f"what does {name}({words:.200}) do to the journal's folder?"
            raise NotImplementedError(msg)

    def _concerns(self, words: str, texts: list[bytes]) -> bool:
        first = words.partition(",")[0]
        known = first.isdecimal() and int(first) in self._open
        return known or any(self._within(text) is not None for text in texts)

    def _beside(self, words: str, path: bytes) -> bytes:
        """*path* as it is meant beside the open folder that the call names first, if it names one of ours."""
        first = words.partition(",")[0]
        if not first.isdecimal() or int(first) not in self._open:
            return path
        node = self._open[int(first)]
        (folder,) = (name for name, at in self._nodes.items() if at == node)
        return "/".join(filter(None, [self._folder, folder, path.decode()])).encode()

    def _within(self, path: bytes) -> str | None:
        """*path* within the folder; None if it lies elsewhere."""
        text = path.decode()
        if text == self._folder:
            return ""
        return text[len(self._folder) + 1 :] if text.startswith(f"{self._folder}/") else None

    def _make(self, path: str, what: str) -> Iterator[Op]:
        self._nodes[path] = self._next
        self._next += 1
        yield Op(what, self._nodes[path], path)

    def _on_open(self, words: str, texts: list[bytes], result: int) -> Iterator[Op]:
        path = self._within(texts[0])
        if path is None:
            return
        if path not in self._nodes:
            yield from self._make(path, "make")
        elif "O_TRUNC" in words:
            yield Op("size", self._nodes[path], at=0)
        assert "O_APPEND" not in words, "appending is not understood"
        self._open[result] = self._nodes[path]
        self._ends[result] = 0
        if "O_DIRECTORY" in words or path == "":
            self._folders.add(self._nodes[path])

    def _on_close(self, words: str, _: list[bytes], __: int) -> Iterator[Op]:
        self._open.pop(int(words), None)
        yield from ()

    def _on_write(self, words: str, texts: list[bytes], result: int) -> Iterator[Op]:
        descriptor = int(words.partition(",")[0])
        if descriptor == 1:
            yield Op("told", data=texts[0][:result])
        elif descriptor in self._open:
            yield Op(
                "write", self._open[descriptor], at=self._ends[descriptor], data=texts[0][:result]
            )
            self._ends[descriptor] += result

    def _on_pwrite(self, words: str, texts: list[bytes], result: int) -> Iterator[Op]:
        descriptor = int(words.partition(",")[0])
        if descriptor in self._open:
            at = int(words.rsplit(",", 1)[1])
            yield Op("write", self._open[descriptor], at=at, data=texts[0][:result])

    def _on_ftruncate(self, words: str, _: list[bytes], __: int) -> Iterator[Op]:
        descriptor, size = map(int, words.split(","))
        if descriptor in self._open:
            yield Op("size", self._open[descriptor], at=size)

    def _on_fallocate(self, words: str, _: list[bytes], __: int) -> Iterator[Op]:
        """Room alone, all of it behind the end: the ballast, which holds nothing."""
        descriptor, mode, at, size = map(int, words.split(","))
        if descriptor in self._open:
            assert mode == 0, "only room is asked for"
            yield Op("size", self._open[descriptor], at=at + size)

    def _on_lseek(self, words: str, _: list[bytes], result: int) -> Iterator[Op]:
        descriptor = int(words.partition(",")[0])
        if descriptor in self._open:
            self._ends[descriptor] = result
        yield from ()

    def _on_fsync(self, words: str, _: list[bytes], result: int) -> Iterator[Op]:
        node = self._open.get(int(words))
        if node is not None and result < 0:
            yield Op("failed-sync", node)
        elif node is not None:
            yield Op("sync-folder" if node in self._folders else "sync", node)

    _on_fdatasync = _on_fsync

    def _on_mkdir(self, _: str, texts: list[bytes], __: int) -> Iterator[Op]:
        path = self._within(texts[0])
        if path:  # the journal's own folder is there from the beginning
            yield from self._make(path, "folder")

    def _on_rename(self, _: str, texts: list[bytes], __: int) -> Iterator[Op]:
        path, to = self._within(texts[0]), self._within(texts[1])
        if path is None and to is None:
            return
        assert path is not None
        assert to is not None
        node = self._nodes.pop(path)
        self._nodes[to] = node
        for inner in [name for name in self._nodes if name.startswith(f"{path}/")]:
            self._nodes[to + inner[len(path) :]] = self._nodes.pop(inner)
        yield Op("rename", node, path, to)

    def _on_unlink(self, words: str, texts: list[bytes], __: int) -> Iterator[Op]:
        path = self._within(texts[0])
        if path is not None:
            what = "rmdir" if "AT_REMOVEDIR" in words else "unlink"
            yield Op(what, self._nodes.pop(path), path)

    def _on_rmdir(self, _: str, texts: list[bytes], __: int) -> Iterator[Op]:
        path = self._within(texts[0])
        if path is not None:
            yield Op("rmdir", self._nodes.pop(path), path)

    def _on_mmap(self, words: str, _: list[bytes], __: int) -> Iterator[Op]:
        """Only memory that is shared and may be written goes back to a file."""
        parts = [part.strip() for part in words.split(",")]
        writes = "PROT_WRITE" in parts[2] and "MAP_SHARED" in parts[3]
        assert not (writes and parts[4].isdecimal() and int(parts[4]) in self._open), words
        yield from ()
