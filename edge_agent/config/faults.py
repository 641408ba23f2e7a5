"""Faults of a configuration: what one is, how they are gathered, how a value is shown without showing a secret.

Not its job: finding them (table.py, box_toml.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from edge_agent.config.files import Trouble

EXAMPLE: Final = "box.example.toml"
_LOOKS_SECRET: Final = re.compile(r"@|(?i:pass|pwd|secret|token|sandi)")
PRINTABLE: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,120}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFault:
    """One thing wrong with a configuration. `where` is file and key path; `line` is a hint, None = not known."""

    where: str
    found: str
    allowed: str
    remedy: str
    line: int | None = None

    def __str__(self) -> str:
        at = f" (line {self.line})" if self.line is not None else ""
        return f"{self.where}{at}\n    found:   {self.found}\n    allowed: {self.allowed}\n    remedy:  {self.remedy}"


class ConfigError(Exception):
    """The file is no sound configuration. `str()` of it is the text for a person; `unreadable`: it was never parsed."""

    def __init__(self, faults: Iterable[ConfigFault], *, unreadable: bool = False) -> None:
        self.faults: tuple[ConfigFault, ...] = tuple(faults)
        self.unreadable = unreadable
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        super().__init__("\n".join([f"{count} in the configuration:", *map(str, self.faults)]))


class Notes:
    """The faults so far, and what is needed to word them."""

    def __init__(
        self, *, name: str, folder: Path, lines: Mapping[str, int], example: str = EXAMPLE
    ) -> None:
        """*example*: the page that a remedy may send a person to."""
        self.folder = folder
        self.example = example
        self.faults: list[ConfigFault] = []
        self._name = name
        self._lines = lines

    def fault(self, path: str, *, found: str, allowed: str, remedy: str) -> None:
        """Note what is wrong at the key *path*."""
        line = self._lines.get(path) or self._lines.get(path.rpartition(".")[0])
        where = f"{self._name}: {path}" if path else self._name
        self.faults.append(
            ConfigFault(where=where, found=found, allowed=allowed, remedy=remedy, line=line)
        )

    def trouble(self, path: str, trouble: Trouble, *, shown: str) -> None:
        """Note what is wrong with the file that is named at *path*; *shown* is its name, "" = not to be repeated."""
        remedy = trouble.remedy.replace("FILE", shown or "FILE")
        found = f"{shown}: {trouble.found}" if shown else f"{trouble.found} (value not shown)"
        self.fault(path, found=found, allowed=trouble.allowed, remedy=remedy)


def show(value: object) -> str:
    """A value of the file as a person would know it; nothing that looks like a secret."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        if _LOOKS_SECRET.search(value):
            return "text that may hold a secret (not shown)"
        return (
            f'"{value}"'
            if PRINTABLE.fullmatch(value) and len(value) <= 60
            else f"text of {len(value)} characters"
        )
    if isinstance(value, int):
        return str(value) if abs(value) < 10**18 else "a number with very many digits"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return "a date or time"


_HEADER: Final = re.compile(r"\s*(\[\[?)\s*([A-Za-z0-9_-]+)\s*\]")
_ASSIGNMENT: Final = re.compile(r"\s*([A-Za-z0-9_-]+)\s*=")


def line_numbers(text: str) -> dict[str, int]:
    """Key path -> line, for files in the example's style; a hint for the reader, so the rest of TOML may go without."""
    lines: dict[str, int] = {}
    seen: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), start=1):
        header = _HEADER.match(line)
        assignment = _ASSIGNMENT.match(line)
        if header:
            table = header[2]
            if header[1] == "[[":
                seen[table] = seen.get(table, -1) + 1
                table = f"{table}[{seen[table]}]"
            lines.setdefault(table, number)
        elif assignment:
            lines.setdefault(f"{table}.{assignment[1]}" if table else assignment[1], number)
    return lines
