"""What is wired to the box: the privacy switch, loops, lines, the input board, relay, lamps, buzzer. Pins in, events out.

rounds.py is the part itself (`Sensors`); switch.py reads the switch, relay.py drives and reads the cameras' relay, board.py
measures; lines.py, pins.py, adc.py, lamps.py and buzzer.py are what they stand on; driver.py finds the real pins.
"""

from edge_agent.sensors.board import Board
from edge_agent.sensors.driver import edges_alive, real_factory
from edge_agent.sensors.lamps import lit
from edge_agent.sensors.pins import owners_of
from edge_agent.sensors.rounds import Sensors
from edge_agent.sensors.switch import contacts_alone

__all__ = ["Board", "Sensors", "contacts_alone", "edges_alive", "lit", "owners_of", "real_factory"]
