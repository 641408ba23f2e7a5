"""Commands as a hub signs them, and a card that keeps what the agent remembers."""

from __future__ import annotations

import json
from typing import Any

from edge_agent.core.messages import (
    Command,
    Keep,
    Memory,
    OrderVerified,
    Remember,
    Remembered,
    Send,
    SetPeriod,
    ShowLamps,
)
from tests.support.play import WALL_S, Play

BOX = "cctv/v1/kuningan/03/07/box-1"


def claims(number: int, name: str, arguments: object = None, **more: object) -> dict[str, object]:
    """A command that is in order, but for what *more* says."""
    return {
        "v": 1,
        "kind": "command",
        "aud": BOX,
        "number": number,
        "name": name,
        "expires": WALL_S + 3600.0,
        "arguments": {} if arguments is None else arguments,
        **more,
    }


def command(
    number: int,
    name: str,
    arguments: object = None,
    *,
    retained: bool = False,
    correlation: bytes | None = b"c",
    **more: object,
) -> OrderVerified:
    """The same, with its signature checked."""
    return OrderVerified(
        leaf="command",
        claims=json.dumps(claims(number, name, arguments, **more)).encode(),
        retained=retained,
        correlation=correlation,
    )


def card_answers(play: Play, *, durable: bool = True, ahead: bool = False) -> list[Command]:
    """The journal has what it was last asked to remember of commands; [] if it was never asked."""
    kept = kept_of(play)
    if kept is None:
        return []
    return play.post(Remembered(memory=Memory.COMMANDS, value=kept, durable=durable, ahead=ahead))


def kept_of(play: Play) -> bytes | None:
    """The newest that was to be kept of commands."""
    values = [c.value for c in play.did(Remember) if c.memory is Memory.COMMANDS]
    return values[-1] if values else None


def replies(done: list[Command]) -> list[dict[str, Any]]:
    """What the hub was told, with the correlation data beside it."""
    return [
        {**json.loads(c.message.payload), "correlation": c.message.response_to}
        for c in done
        if isinstance(c, Send) and c.message.topic.endswith("/reply")
    ]


def kinds(done: list[Command]) -> list[str]:
    """The records among *done*."""
    return [c.record.kind for c in done if isinstance(c, Keep)]


def deeds(done: list[Command]) -> list[Command]:
    """What only a command could have brought about in a box at rest."""
    return [c for c in done if isinstance(c, SetPeriod | ShowLamps)]
