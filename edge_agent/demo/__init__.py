"""`edge-agent demo`: a simulated street on this machine, playing both incidents, nothing to set up.

Exit codes: 0 every act came out right; 1 an act did not, and the summary says which and why; 2 it could not be played.
The parts: pictures.py and street.py (what hangs before the cameras), stage.py (box and hub), city.py (the hub's side),
acts.py (the story), evidence.py (what proves an act), view.py (how it is shown), command.py (options and the summary).
"""

from edge_agent.demo.command import main

__all__ = ["main"]
