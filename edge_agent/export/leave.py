"""Which pictures may leave the box on a stick: those, and only those, that may leave it over the wire, and are sealed.

Promises: closed unless proven: without the agent's own word that the box is not private and the camera's gate is open, none of
it leaves, sealed or not; none leaves that a press could still reach back to, and none of a place that this box is not at; a plain one leaves only if a person asked for it.
Not its job: deciding on gates (core/gate.py); records, which hold no picture and always may leave.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from edge_agent.clock import Clock
from edge_agent.core.messages import Stored
from edge_agent.core.wire import is_sealed
from edge_agent.status import NoAnswer

# The most that a configuration allows a press to reach back. The agent's own word may be less, and need not be known here.
PURGE_MAX_S: Final = 600.0


class Pictures(Enum):
    """What a person asked for."""

    SEALED = "sealed"
    ALL = "all"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Word:
    """What the agent says now. `why_none`: no picture may leave at all, for this reason; "" = ask `gates`."""

    why_none: str
    gates: Mapping[str, str]
    simulated: bool = False


class Leave:
    """Asks the agent, and says of each picture why it has to stay. *ask* gives the agent's status, or raises `NoAnswer`."""

    def __init__(
        self,
        ask: Callable[[], Mapping[str, object]],
        *,
        wanted: Pictures,
        purge_s: float,
        clock: Clock,
        elsewhere: str = "",
    ) -> None:
        """*elsewhere*: the place that the pictures are of, if it is not this box's own any more."""
        self._elsewhere = elsewhere
        self._ask = ask
        self._wanted = wanted
        self._purge_s = min(purge_s, PURGE_MAX_S)
        self._clock = clock

    def word(self) -> Word:
        """The agent's, now."""
        try:
            status = self._ask()
        except NoAnswer as why:
            return Word(f"nobody can say that its gate is open: {why}", {})
        simulated = status.get("simulated") is True
        private = status.get("private")
        if not isinstance(private, dict) or private.get("on") is not False:
            return Word("the box is private", {}, simulated)
        if self._elsewhere:
            # A camera of the same id may hang here now: its gate says nothing about that street.
            return Word(
                f"they are of {self._elsewhere}, where this box is not any more", {}, simulated
            )
        cameras = status.get("cameras")
        gates = {
            str(camera.get("id")): str(camera.get("gate"))
            for camera in (cameras if isinstance(cameras, list) else [])
            if isinstance(camera, dict)
        }
        return Word("", gates, simulated)

    def why_camera_stays(self, camera: str) -> str:
        """Why none of this camera's pictures may leave now; "" = they may."""
        word = self.word()
        if word.why_none:
            return word.why_none
        gate = word.gates.get(camera)
        if gate is None:
            return "the agent does not know this camera (any more)"
        return "" if gate == "open" else f"its gate is {gate}"

    def is_fresh(self, stored: Stored) -> bool:
        """Whether a press of the switch could still destroy it: then it must not be out of reach."""
        return stored.boot == self._clock.boot and self._clock.now() - stored.at <= self._purge_s

    def why_plain_stays(self, picture: bytes) -> str:
        """Why this very picture may not leave as it is; "" = it may."""
        if self._wanted is Pictures.ALL or is_sealed(picture):
            return ""
        return (
            "not sealed, so whoever finds the stick could look at it: set hub.recipient for the next ones,"
            " or add --pictures all and guard the stick"
        )
