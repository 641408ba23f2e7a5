"""`edge-agent doctor`: what is wrong with this box, and what to do, before a technician leaves it.

`check.py` is what a check is; `run.py` asks them all side by side; `command.py` is the command line, `page.py` how the answers
look, `bundle.py` what goes to a support desk. The checks: `board.py`, `switch.py`, `files.py`, `versions.py` look at the box itself;
`cameras.py`, `journal.py`, `clock_checks.py`, `hub_checks.py` at what is around it. docs/doctor.md lists each of them.
"""

from edge_agent.doctor.command import main

__all__ = ["main"]
