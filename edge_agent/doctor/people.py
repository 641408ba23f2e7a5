"""Who may open what: the service's user and groups, and a file's owner and mode, as the box's own files have them.

Not its job: judging any of it (header.py, files.py).
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edge_agent.doctor.check import text_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_USER: Final = "edge-agent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """Owner and rights of something in the file system."""

    uid: int
    gid: int
    mode: int  # rights alone
    is_folder: bool

    def __str__(self) -> str:
        return f"mode {self.mode:04o}, owner {self.uid}:{self.gid}"


def node_of(path: Path) -> Node | None:
    """Of what *path* leads to; None: nothing there, or hidden."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return Node(
        uid=found.st_uid,
        gid=found.st_gid,
        mode=stat.S_IMODE(found.st_mode),
        is_folder=stat.S_ISDIR(found.st_mode),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The user that the service runs as."""

    name: str
    uid: int
    gids: frozenset[int]

    @classmethod
    def of(cls, root: Path, unit: Mapping[str, str]) -> Service | None:
        """As /etc/passwd, /etc/group and the unit's properties have it; None: there is no such user."""
        name = unit.get("User") or _USER
        row = next((row for row in _rows(root / "etc/passwd") if row[0] == name), None)
        if row is None or len(row) < 4 or not (row[2].isdigit() and row[3].isdigit()):
            return None
        lent = unit.get("SupplementaryGroups", "").split()
        gids = {int(row[3])}
        for group in _rows(root / "etc/group"):
            member = len(group) > 3 and name in group[3].split(",")
            if len(group) > 2 and group[2].isdigit() and (member or group[0] in lent):
                gids.add(int(group[2]))
        return cls(name=name, uid=int(row[2]), gids=frozenset(gids))

    def may_read(self, node: Node) -> bool:
        """Whether the kernel would let it."""
        return self._may(node, 4)

    def may_write(self, node: Node) -> bool:
        """Read and write; into a folder, make files there too."""
        return self._may(node, 7 if node.is_folder else 6)

    def _may(self, node: Node, wanted: int) -> bool:
        if self.uid == 0:
            return True
        if node.uid == self.uid:
            rights = node.mode >> 6
        elif node.gid in self.gids:
            rights = node.mode >> 3
        else:
            rights = node.mode
        return rights & wanted == wanted


def _rows(path: Path) -> list[list[str]]:
    return [line.split(":") for line in (text_of(path) or "").splitlines()]
