"""Fakes that behave like the parts of a box on their worst day: for tests, and for the demo's street.

Promise: real code runs on them unchanged (pins and ADCs through gpiozero, as on a box).
street.py is what is wired to a box; relay.py the cameras' power; electrics.py its cables and input board; disk.py the card; clock.py time.
Not its job: deciding what a test or the demo plays.
"""

from edge_agent.simulate.clock import SimulatedClock
from edge_agent.simulate.disk import Disk, Fault
from edge_agent.simulate.electrics import Bus, Dice, Draw, Fet, InputBoard, Pair, Sky
from edge_agent.simulate.street import Street

__all__ = [
    "Bus",
    "Dice",
    "Disk",
    "Draw",
    "Fault",
    "Fet",
    "InputBoard",
    "Pair",
    "SimulatedClock",
    "Sky",
    "Street",
]
