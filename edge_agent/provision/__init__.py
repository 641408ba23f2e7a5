"""A box from a card: what a person wrote on its FAT partition becomes configuration, network and identity, or a readable answer.

The parts: `card` reads the partition and writes the answer back; `keep` keeps the configuration so that a power cut leaves the
old or the new one; `hub`, `network`, `secret` and `shell_keys` judge their files; `identity` makes the box's key and its request; `box`
judges what the agent runs on; `steps` is the order of it all; `lamp` shows that there is nothing to run on.
"""

from edge_agent.provision.command import main

__all__ = ["main"]
