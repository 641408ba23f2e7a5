"""Reads box.toml into `core.settings.Settings`, or says every fault of the file at once.

Promises: `load` gives a sound `Settings` or raises `ConfigError`, nothing else, whatever the file holds; each fault names its
key path, what was found, what is allowed and what to do; no secret is ever shown, not even one that was put in a wrong place.
Secrets are references (`SecretRef`) until `read_secret` is called where one is needed.
Not its job: whether a camera answers or the hub accepts us (doctor), whether a view is commissioned (a finding, not a fault).
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import tomli

from edge_agent.config.box_toml import read_document, summary
from edge_agent.config.faults import EXAMPLE, ConfigError, ConfigFault, Notes, line_numbers
from edge_agent.config.files import SecretError, Trouble, file_trouble, read_secret, secret_path
from edge_agent.config.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edge_agent.core.settings import Settings

__all__ = [
    "CheckResult",
    "ConfigError",
    "ConfigFault",
    "SecretError",
    "check",
    "load",
    "main_check",
    "parsed",
    "read_secret",
    "secret_path",
    "settings_from",
]

EXIT_SOUND: Final = 0
EXIT_FAULTY: Final = 1
EXIT_UNREADABLE: Final = 2

_FILE_MAX_BYTES: Final = 1_000_000  # a box.toml of 32 cameras has 10 kB; more is another file
_SYNTAX_REMEDIES: Final = (
    (
        "Invalid value",
        'text needs quotes ("..."), true and false are small letters, decimals have a point',
    ),
    ("Unescaped", "in double quotes a backslash must be doubled; or use single quotes: '...'"),
    ("Unterminated", 'close the text with the same quote it began with: "..."'),
    ("Cannot overwrite", "the same key is there twice: delete one of them"),
    (
        "Cannot declare",
        "the same table is there twice: join them, or for a further camera or run write [[camera]], [[run]]",
    ),
    ("Expected '='", "write: key = value"),
    (
        "Illegal character",
        "the line holds an invisible character: delete the line and type it anew",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What `check` found. `text` is for a person; `exit_code` is 0 sound, 1 faulty, 2 not readable."""

    settings: Settings | None
    faults: tuple[ConfigFault, ...]
    text: str
    exit_code: int


def load(path: str) -> Settings:
    """Read the file at *path*; `ConfigError` names every fault. Blocks for local disk only."""
    file = Path(path)
    text = _read_text(file)
    return settings_from(
        parsed(text, name=file.name), name=file.name, folder=file.parent, text=text
    )


def parsed(text: str, *, name: str, example: str = EXAMPLE) -> Mapping[str, object]:
    """The tables of a TOML *text*; `ConfigError` says where it is none. *example*: the page a person may compare it with."""
    try:
        return tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        remedy = next(
            (say for start, say in _SYNTAX_REMEDIES if error.msg.startswith(start)),
            f"compare it with {example}",
        )
        raise ConfigError(
            [
                ConfigFault(
                    where=f"{name}: line {error.lineno}, column {error.colno}",
                    found=f"not TOML: {error.msg}",
                    allowed="TOML",
                    remedy=remedy,
                )
            ]
        ) from None  # the error holds the whole text, and that may hold a misplaced secret
    except RecursionError:
        raise ConfigError(
            [
                ConfigFault(
                    where=name,
                    found="brackets within brackets, hundreds deep",
                    allowed="TOML as in the example",
                    remedy=f"compare it with {example}",
                )
            ]
        ) from None


def settings_from(
    document: Mapping[str, object], *, name: str, folder: Path, text: str = ""
) -> Settings:
    """Check a parsed *document*; relative paths are taken from *folder*, *text* gives the line numbers of faults."""
    notes = Notes(name=name, folder=Path(os.path.abspath(folder)), lines=line_numbers(text))  # noqa: PTH100 - a link stays as it was written
    settings = read_document(Table(document, path="", notes=notes), notes)
    if notes.faults:
        raise ConfigError(sorted(notes.faults, key=lambda fault: fault.line or 0))
    return settings


def check(path: str) -> CheckResult:
    """`load` for a person: the same faults, or a summary of what the file says."""
    try:
        settings = load(path)
    except ConfigError as error:
        exit_code = EXIT_UNREADABLE if error.unreadable else EXIT_FAULTY
        return CheckResult(settings=None, faults=error.faults, text=str(error), exit_code=exit_code)
    return CheckResult(
        settings=settings, faults=(), text=summary(path, settings), exit_code=EXIT_SOUND
    )


def main_check(argv: Sequence[str]) -> int:
    """`edge-agent check FILE`: print the faults; 0 sound, 1 faults, 2 the file cannot be read or wrong usage."""
    parser = argparse.ArgumentParser(
        prog="edge-agent check",
        description="Name every fault of a configuration at once, with its remedy.",
        epilog="exit codes: 0 sound; 1 faults in the file; 2 the file cannot be read, or wrong usage",
    )
    parser.add_argument(
        "file", metavar="FILE", help="the configuration, usually /etc/edge-agent/box.toml"
    )
    result = check(str(parser.parse_args(argv).file))
    sys.stdout.write(result.text + "\n")
    return result.exit_code


def _read_text(file: Path) -> str:
    trouble = file_trouble(file)
    if not isinstance(trouble, Trouble) and trouble.st_size > _FILE_MAX_BYTES:
        trouble = Trouble(
            f"{trouble.st_size} bytes",
            f"at most {_FILE_MAX_BYTES} bytes",
            "this is another file: correct the path",
        )
    if isinstance(trouble, Trouble):
        trouble_fault = ConfigFault(
            where=str(file),
            found=trouble.found,
            allowed=trouble.allowed,
            remedy=trouble.remedy.replace("FILE", str(file)),
        )
        raise ConfigError([trouble_fault], unreadable=True)
    try:
        return file.read_bytes().decode(
            "utf-8-sig"
        )  # Windows' Notepad begins a file with a byte order mark
    except UnicodeDecodeError as error:
        fault = ConfigFault(
            where=f"{file.name}: byte {error.start}",
            found="not UTF-8 text",
            allowed="UTF-8 text",
            remedy='save it again as "UTF-8" in the editor',
        )
        raise ConfigError([fault], unreadable=True) from None
    except OSError as error:
        fault = ConfigFault(
            where=str(file),
            found=str(error.strerror),
            allowed="a readable file",
            remedy="check the card and the path",
        )
        raise ConfigError([fault], unreadable=True) from None
