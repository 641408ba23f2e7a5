"""Reading somebody else's JSON: a path that is not there is empty, never an exception.

Not its job: knowing what should be there; whoever asks decides what empty means.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import cast


class Facts:
    """A JSON value, or nothing."""

    def __init__(self, value: object) -> None:
        self._value = value

    @classmethod
    def parse(cls, data: bytes | str) -> Facts:
        """The value that *data* spells; nothing if it spells none."""
        try:
            return cls(json.loads(data))
        except ValueError:
            return cls(None)

    def __getitem__(self, key: str) -> Facts:
        value = self._value
        return Facts(cast("dict[str, object]", value).get(key) if isinstance(value, dict) else None)

    def items(self) -> Iterator[Facts]:
        """Members of a list."""
        value = self._value
        yield from (
            Facts(item) for item in (cast("list[object]", value) if isinstance(value, list) else ())
        )

    def text(self) -> str:
        """A string; "" if it is none."""
        return self._value if isinstance(self._value, str) else ""

    def truth(self) -> bool:
        """Whether it is true; anything else is not."""
        return self._value is True

    def maybe_number(self) -> float | None:
        """A number, or None."""
        value = self._value
        return (
            float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
        )

    def number(self) -> float:
        """A number; 0 if it is none."""
        return self.maybe_number() or 0.0
