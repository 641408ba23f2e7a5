"""What waits in a journal, for a technician: how much of what, from when to when, what had to go, and how much room there is.

Promises: the journal alone is asked, read beside the agent or without it, and nothing is changed; a time is shown with whether
anything vouched for it; what cannot be read is said.
Not its job: whether all of it is sound (checking.py), the agent's own view (`edge-agent status`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from rich.markup import escape
from rich.table import Table

from edge_agent.core import wire
from edge_agent.core.messages import Json, Stored
from edge_agent.core.settings import Journal
from edge_agent.spool import Holdings
from edge_agent.spool.room import RESERVE

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """One class, or the pictures of one camera."""

    shelf: str
    records: int
    file_bytes: int
    oldest: Stored | None
    newest: Stored | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """All of it. `limits` None: no configuration was given."""

    folder: str
    epoch: str
    last_seq: int
    oldest_seq: int | None
    waiting: tuple[Waiting, ...]
    used: Mapping[str, int]
    free_bytes: int
    limits: Journal | None
    gone: Mapping[str, tuple[int, int]]  # reason: tombstones that wait, records they declare
    aside: tuple[tuple[str, int], ...]
    faults: tuple[str, ...]

    @property
    def settled_upto(self) -> int:
        """Every seq up to this is settled, or declared gone."""
        return self.last_seq if self.oldest_seq is None else self.oldest_seq - 1


def look(folder: str, limits: Journal | None) -> Stats:
    """Read it; `UnreadableError` if there is none."""
    with Holdings(folder) as holdings:
        waiting = []
        for shelf in holdings.shelves():
            ends = holdings.ends(shelf.number)
            waiting.append(
                Waiting(
                    shelf=shelf.name,
                    records=shelf.records,
                    file_bytes=shelf.file_bytes,
                    oldest=None if ends is None else ends[0],
                    newest=None if ends is None else ends[1],
                )
            )
        gone = _gone(holdings)
        return Stats(
            folder=folder,
            epoch=holdings.epoch,
            last_seq=holdings.last_seq,
            oldest_seq=holdings.oldest_seq(),
            waiting=tuple(waiting),
            used=holdings.bytes_used(),
            free_bytes=shutil.disk_usage(folder).free,
            limits=limits,
            gone=gone,
            aside=tuple(holdings.aside()),
            faults=tuple(holdings.all_faults()),
        )


def _gone(holdings: Holdings) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for stored in holdings.audit_records():
        if stored.kind not in wire.TOMBSTONES:
            continue
        body = cast("dict[str, object]", json.loads(stored.data))
        reason = f"{stored.kind} {body.get('reason')}"
        count = body.get("count")
        stones, records = found.get(reason, (0, 0))
        found[reason] = (stones + 1, records + (count if isinstance(count, int) else 0))
    return found


# ---- as JSON ----


def to_json(stats: Stats) -> dict[str, Json]:
    """For a program; keys are stable, unknown values null."""
    limits = stats.limits
    return {
        "folder": stats.folder,
        "epoch": stats.epoch,
        "last_seq": stats.last_seq,
        "oldest_seq": stats.oldest_seq,
        "settled_upto": stats.settled_upto,
        "records": sum(one.records for one in stats.waiting),
        "waiting": [
            {
                "what": one.shelf,
                "records": one.records,
                "file_bytes": one.file_bytes,
                "oldest": _moment(one.oldest),
                "newest": _moment(one.newest),
            }
            for one in stats.waiting
        ],
        "used_bytes": sum(stats.used.values()),
        "used": dict(stats.used),
        "quota_bytes": None if limits is None else limits.quota_bytes,
        "reserve_bytes": None if limits is None else limits.quota_bytes // RESERVE,
        "floor_bytes": None if limits is None else limits.disk_floor_bytes,
        "disk_free_bytes": stats.free_bytes,
        "gone": [
            {"why": why, "tombstones": stones, "records": records}
            for why, (stones, records) in sorted(stats.gone.items())
        ],
        "aside": [{"name": name, "bytes": size} for name, size in stats.aside],
        "faults": list(stats.faults),
    }


def _moment(stored: Stored | None) -> dict[str, Json] | None:
    if stored is None:
        return None
    return {
        "seq": stored.seq,
        "boot": stored.boot,
        "mono": stored.at,
        "time": wire.rfc3339(stored.wall_s),
        "trusted": stored.trusted,
    }


# ---- for a person ----


def render(stats: Stats) -> Iterator[RenderableType]:
    """For a terminal, part by part."""
    yield f"journal {escape(stats.folder)}\nepoch   {escape(stats.epoch)}"
    yield (
        f"seq     {stats.last_seq} given; up to {stats.settled_upto} all is settled or declared gone"
    )
    yield _waiting(stats)
    yield from _room(stats)
    for why, (stones, records) in sorted(stats.gone.items()):
        yield f"gone    {escape(why)}: {records} records, told by {stones} tombstones that wait to be sent"
    for name, size in stats.aside:
        yield f"aside   {escape(name)}: {_size(size)} of a damaged store; goes when room is wanted"
    for fault in stats.faults:
        yield f"[bold red]![/] {escape(fault)}; edge-agent journal check says more"


def _waiting(stats: Stats) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("waiting", "records", "bytes", "oldest", "newest"):
        right = title in {"records", "bytes"}
        table.add_column(title, justify="right" if right else "left", overflow="fold")
    for one in stats.waiting:
        size = _size(one.file_bytes) if one.file_bytes else ""
        ends = (escape(_label(one.oldest)), escape(_label(one.newest)))
        table.add_row(escape(one.shelf), str(one.records), size, *ends)
    if not stats.waiting:
        table.add_row("nothing", "0", "", "", "")
    return table


def _room(stats: Stats) -> Iterator[str]:
    used = sum(stats.used.values())
    parts = ", ".join(
        f"{name.replace('_', ' ')} {_size(size)}" for name, size in stats.used.items()
    )
    limits = stats.limits
    if limits is None:
        yield f"room    {_size(used)} used ({parts}); {_size(stats.free_bytes)} free on the disk"
        return
    share = 100 * used / limits.quota_bytes
    yield f"room    {_size(used)} of {_size(limits.quota_bytes)} used, {share:.0f} % ({parts})"
    yield (
        f"        {_size(limits.quota_bytes // RESERVE)} of it are kept for audit and state;"
        f" {_size(stats.free_bytes)} free on the disk, {_size(limits.disk_floor_bytes)} stay free"
    )


def _label(stored: Stored | None) -> str:
    """Wall time, whether it is vouched for, and below it what orders: the boot and its own seconds."""
    if stored is None:
        return "?"
    time = wire.rfc3339(stored.wall_s)[:19].replace("T", " ")
    trusted = "Z" if stored.trusted else "Z not trusted"
    return f"{time}{trusted}\n{stored.boot[:8]} +{stored.at:.0f} s"


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size} B"
