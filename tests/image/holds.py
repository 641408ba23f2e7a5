"""Runs inside the machine: what the box's journal holds.

The agent keeps the database to itself, so it is stopped for the moment in which a copy is taken: what it wrote up to then, as
the next one that opens it would find it.
"""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
from pathlib import Path

HERE = Path("/dev/edge-test")
JOURNAL = Path("/var/lib/edge-agent/journal/journal.db")

agent = int(subprocess.check_output(["systemctl", "show", "edge-agent", "-P", "MainPID"]))
assert agent, "the agent does not run"
os.kill(agent, signal.SIGSTOP)
try:
    for end in ("", "-wal"):
        (HERE / f"copy{end}").unlink(missing_ok=True)
        if JOURNAL.with_name(JOURNAL.name + end).exists():
            shutil.copyfile(JOURNAL.with_name(JOURNAL.name + end), HERE / f"copy{end}")
finally:
    os.kill(agent, signal.SIGCONT)

journal = sqlite3.connect(HERE / "copy")
((whole,),) = journal.execute("PRAGMA integrity_check")
((epoch, last),) = journal.execute("SELECT name, last_seq FROM epoch, store")
# The number of a record stands below the shelf that it lies on (edge_agent/spool/schema.py).
kept = [key & ((1 << 48) - 1) for (key,) in journal.execute("SELECT key FROM record")]
# What a press had destroyed, or what had to go, is declared by records that may still wait here.
stones = journal.execute(
    "SELECT data FROM record WHERE kind IN ('journal.thinned', 'privacy.purged')"
)
ranges = [pair for (data,) in stones for pair in json.loads(data)["ranges"]]
declared = [seq for low, high in ranges for seq in range(low, high + 1)]
print(
    json.dumps({"epoch": epoch, "declared": declared, "last": last, "kept": kept, "whole": whole})
)
