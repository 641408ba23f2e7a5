"""`edge-agent audit`: what was open when, proven by the journal's audit chain, and the facts that a breach notice needs.

`story.py` makes periods of entries; `command.py` asks and shows; `notice.py` has the notice's sentences, Indonesian and English.
"""

from edge_agent.audit.command import main

__all__ = ["main"]
