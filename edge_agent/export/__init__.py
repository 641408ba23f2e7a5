"""`edge-agent journal`: a technician's look at what waits on the box, its check, and the way out when the uplink stays dead.

`command.py` is the command line; `stats.py` what lies there; `checking.py` whether it is sound; `leave.py` which pictures may leave;
`run.py` the export itself.
"""

from edge_agent.export.command import main

__all__ = ["main"]
