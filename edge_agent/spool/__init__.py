"""The journal: what the box accepted waits here, over outages and power cuts, until the hub has it for good.

Promises (docs/design/journal.md has each with its checker and its test):
- Accepted means kept: a `Committed` with `durable` true is posted only after SQLite has synced those records to disk.
- `(epoch, seq)` names one record for ever: `seq` only grows, `epoch` is new with every new store.
- Deleted is only what was settled, purged, or thinned for want of room; thinning and purging leave a tombstone.
- Bounded by `quota_bytes` and `disk_floor_bytes`, looked at before writing. Records of rank AUDIT are never thinned.
- What decides what was visible is kept on as an audit trail when the hub has the record, chained by hash.
- No caller waits for the disk. It always starts: with a damaged store moved aside, or in memory until the disk is mended.
- Pictures come in as `Released` only; none is written that a press of the switch overtook; a purge reaches the queue, the store,
  files given up and what was moved aside, and is not forgotten because the agent was killed or the disk refused it.
Not its job: what to send when (core/uplink.py), words for findings, sealing, topics.

`journal.py` is the door and the writer thread; `waiting.py` what waits for it; `store.py` one SQLite database and the pictures
beside it; `schema.py` its tables; `answer.py` what a fetch gets; `shelves.py` reading records; `pictures.py` a file each; `room.py` how much may be taken;
`patrol.py` looking after all of it; `files.py` names and errors; `rescue.py` damaged stores; `aside.py` how far they are saved; `owed.py` purges still to be done;
`values.py` rows, gaps and tombstones; `chain.py` the audit chain; `times.py` labels of time put right; `peek.py` pages read without
SQLite; `reading.py` and `holdings.py` the read-only doors to trail and records.
"""

from edge_agent.spool.aside import is_aside
from edge_agent.spool.chain import Break, Entry, Place, State, Tally, past_of
from edge_agent.spool.holdings import Found, Holdings, ReplacedError, Shelf
from edge_agent.spool.journal import Spool
from edge_agent.spool.patrol import check
from edge_agent.spool.peek import UnreadableError
from edge_agent.spool.reading import Trail, check_beside, read_trail

__all__ = [
    "Break",
    "Entry",
    "Found",
    "Holdings",
    "Place",
    "ReplacedError",
    "Shelf",
    "Spool",
    "State",
    "Tally",
    "Trail",
    "UnreadableError",
    "check",
    "check_beside",
    "is_aside",
    "past_of",
    "read_trail",
]
