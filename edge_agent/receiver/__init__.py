"""`edge-agent hub`: a reference receiver for those who build the city's side, and the hub of the demo and the tests.

Promises: a record is acknowledged only after it is committed to disk; the same record twice is kept once, by
(box, epoch, seq); a picture that was withdrawn is destroyed, and is not kept if it arrives later or again; names of files
come from checked words only, whatever a topic says; where an audit chain does not hold, it says so.
One receiver for all boxes of a broker; two at one broker would contradict each other's watermarks.
Not its job: a portal, years of many thousand boxes on one machine, deciding on orders.

`service.py` is the receiver at a broker and its threads, `line.py` its connection; `store.py` what it keeps, with `ranges.py` (which seqs came),
`asked_back.py` (withdrawn pictures), `chains.py` (the audit chains) and `news.py` (open work orders and findings); `summary.py`
what it says of all that, `table.py` for a person; `gaps.py` what a box's record has holes in, and why; `signing.py` signs orders;
`command.py` is the command.
"""

from edge_agent.receiver.asked_back import Withdrawal, withdrawal
from edge_agent.receiver.command import main
from edge_agent.receiver.ranges import Ranges
from edge_agent.receiver.service import Receiver
from edge_agent.receiver.signing import sign
from edge_agent.receiver.store import MAX_RANGES
from edge_agent.receiver.summary import BoxSummary, CameraSummary, Summary, to_json

__all__ = [
    "MAX_RANGES",
    "BoxSummary",
    "CameraSummary",
    "Ranges",
    "Receiver",
    "Summary",
    "Withdrawal",
    "main",
    "sign",
    "to_json",
    "withdrawal",
]
