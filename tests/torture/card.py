"""A card that loses power: what of the traced changes may be on it afterwards.

The model is harsher than ext4. A write that no sync of its file has covered is there in any of its sectors (512 or 4,096 bytes), in
no order, or not at all; one that made the file longer may have done so with zeros or with what lay there before. A change of size
may be there or not. After a sync that failed, what it was to bring may be gone for good, and no later sync brings it (the kernel
marks pages that it could not write as written). Names: either in order, any sync brings all changes so far (as a journalling file system
does), or each change for itself, until its folder is synced.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.torture.trace import Op

_NAMES: Final = frozenset({"make", "folder", "rename", "unlink", "rmdir"})


@dataclass(slots=True)
class _Change:
    """To a file: a write, or a change of its size."""

    op: Op
    synced: bool = False
    doubtful: bool = False  # its sync failed: no later one brings it


@dataclass(slots=True)
class _Node:
    """A file: what is on the card for certain, and what came since."""

    base: bytearray = field(default_factory=bytearray)
    changes: list[_Change] = field(default_factory=list)


class Card:
    """Follows a trace, and says at any point what a power cut may leave."""

    def __init__(self, before: dict[str, bytes | None]) -> None:
        """*before*: the files that were there, None for a folder, by path."""
        self._paths: dict[str, int] = {}  # on the card for certain
        self._nodes: dict[int, _Node] = {}
        self._named: list[Op] = []  # changes of names not yet on the card for certain
        self._folders = {0}
        for number, (path, content) in enumerate(before.items(), 1):
            self._paths[path] = number
            if content is None:
                self._folders.add(number)
            else:
                self._nodes[number] = _Node(bytearray(content))

    def nodes(self) -> dict[str, int]:
        """The numbers that the trace's reader is to use."""
        return {"": 0, **self._paths}

    def do(self, op: Op, *, in_order: bool) -> None:
        """The next thing that happened. *in_order*: any sync brings all changes of names."""
        if op.what in _NAMES:
            self._named.append(op)
            if op.what == "make":
                self._nodes[op.node] = _Node()
            elif op.what == "folder":
                self._folders.add(op.node)
        elif op.what in ("write", "size"):
            self._nodes[op.node].changes.append(_Change(op))
        elif op.what == "failed-sync":
            for change in self._nodes[op.node].changes if op.node in self._nodes else ():
                change.doubtful |= not change.synced
        elif op.what == "sync":
            self._sync(self._nodes[op.node])
        if op.what in ("sync", "sync-folder"):
            self._settle_names(op, in_order=in_order)

    def _sync(self, node: _Node) -> None:
        for change in node.changes:
            change.synced |= not change.doubtful
        while node.changes and node.changes[0].synced:
            _apply(node.base, node.changes.pop(0).op)

    def _settle_names(self, op: Op, *, in_order: bool) -> None:
        left: list[Op] = []
        for named in self._named:
            if in_order or (op.what == "sync-folder" and self._folder_of(named) == op.node):
                _rename(self._paths, named)
            else:
                left.append(named)
        self._named = left

    def _folder_of(self, named: Op) -> int:
        folder = (named.to or named.path).rpartition("/")[0]
        return 0 if not folder else self._node_of(folder)

    def _node_of(self, folder: str) -> int:
        paths = dict(self._paths)
        for named in self._named:
            _rename(paths, named)
        return paths.get(folder, -1)

    def cut(self, rng: random.Random, *, in_order: bool) -> dict[str, bytes | None]:
        """What a power cut leaves now, by path; a folder is None."""
        paths = dict(self._paths)
        upto = rng.randint(0, len(self._named))
        share = rng.choice([0.0, 0.5, 1.0])
        for number, named in enumerate(self._named):
            if number < upto if in_order else rng.random() < share:
                _rename(paths, named)
        out: dict[str, bytes | None] = {}
        for path in sorted(paths):
            folder = path.rpartition("/")[0]
            if folder and folder not in out:
                continue  # the folder's own name did not get there
            is_folder = paths[path] in self._folders
            out[path] = None if is_folder else self._left_of(self._nodes[paths[path]], rng)
        return out

    def _left_of(self, node: _Node, rng: random.Random) -> bytes:
        content = bytearray(node.base)
        open_changes = [change for change in node.changes if not change.synced]
        sector = rng.choice([512, 4096])
        way = rng.choice(["none", "all", "first", "whole", "torn", "torn"])
        upto = rng.randint(0, len(open_changes))
        share = rng.choice([0.1, 0.5, 0.9])
        seen = 0
        for change in node.changes:
            if change.synced:
                _apply(content, change.op)
                continue
            seen += 1
            landed = (
                way == "all"
                or (way == "first" and seen <= upto)
                or (way == "whole" and rng.random() < share)
            )
            torn = way == "torn" or (way == "first" and seen == upto + 1)
            if landed:
                _apply(content, change.op)
            elif torn and change.op.what == "write":
                _tear(content, change.op, rng, sector, share)
            elif change.op.what == "write" and rng.random() < 0.3:
                _stretch(content, change.op.at + len(change.op.data), rng)
        return bytes(content)


def _apply(content: bytearray, op: Op) -> None:
    if op.what == "size":
        del content[op.at :]
        content.extend(bytes(op.at - len(content)))
        return
    content.extend(bytes(max(0, op.at - len(content))))
    content[op.at : op.at + len(op.data)] = op.data


def _tear(content: bytearray, op: Op, rng: random.Random, sector: int, share: float) -> None:
    """Some of its sectors, each for itself."""
    at, end = op.at, op.at + len(op.data)
    while at < end:
        upto = min(end, (at // sector + 1) * sector)
        if rng.random() < share:
            _apply(content, Op("write", at=at, data=op.data[at - op.at : upto - op.at]))
        at = upto


def _stretch(content: bytearray, size: int, rng: random.Random) -> None:
    """The file got longer, and what is there was never written."""
    more = max(0, size - len(content))
    content.extend(rng.randbytes(more) if rng.random() < 0.3 else bytes(more))


def _rename(paths: dict[str, int], op: Op) -> None:
    """Do one change of names."""
    if op.what in ("make", "folder"):
        paths[op.path] = op.node
    elif op.what == "rename":
        for old in [old for old, node in paths.items() if old == op.path and node == op.node]:
            del paths[old]
        for inner in [name for name in paths if name.startswith(f"{op.path}/")]:
            paths[op.to + inner[len(op.path) :]] = paths.pop(inner)
        paths[op.to] = op.node
    elif paths.get(op.path) == op.node:
        del paths[op.path]


def put_down(content: dict[str, bytes | None], folder: Path) -> None:
    """Make *folder* hold this."""
    folder.mkdir(parents=True, mode=0o700)
    for path, data in content.items():
        if data is None:
            (folder / path).mkdir(mode=0o700)
        else:
            (folder / path).write_bytes(data)


def pick_up(folder: Path) -> dict[str, bytes | None]:
    """What *folder* holds, for `put_down`."""
    if not folder.is_dir():
        return {}
    paths = sorted(folder.rglob("*"))
    return {str(p.relative_to(folder)): None if p.is_dir() else p.read_bytes() for p in paths}
