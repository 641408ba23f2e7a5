"""The files that a configuration names: can they be read, and are secrets kept from others.

Promise: nothing here ever shows the content of a file.
Not its job: which keys name files (box_toml.py).
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from edge_agent.core.settings import SecretRef

_SECRET_MAX_BYTES: Final = 65_536  # a PEM key has 4 kB
# As in the unit: LoadCredential=secret:/etc/edge-agent/secrets
SECRETS_FOLDER: Final = Path("/etc/edge-agent/secrets")


class SecretError(Exception):
    """A secret cannot be had. Says which and what to do; never holds any of its content."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What keeps a file from being used; FILE in the remedy stands for its name."""

    found: str
    allowed: str
    remedy: str


def file_trouble(path: Path) -> Trouble | os.stat_result:
    """What keeps *path* from being read as a file, or its status."""
    allowed = "a readable file"
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return Trouble("no such file", allowed, "create it, or correct the path")
    except OSError as error:
        return Trouble(
            str(error.strerror),
            allowed,
            "correct the path, or let the service's user into the folder",
        )
    except ValueError:
        return Trouble("no possible path", allowed, "correct the path")
    if not stat.S_ISREG(status.st_mode):
        return Trouble("not a file", allowed, "name a file, not a folder or a device")
    if status.st_size == 0:
        return Trouble("an empty file", "a file with content", "write the content into it")
    if not os.access(path, os.R_OK):
        remedy = "chgrp edge-agent FILE && chmod 640 FILE; to check as the service: sudo -u edge-agent edge-agent check ..."
        return Trouble("this user may not read it", allowed, remedy)
    return status


def secret_file_trouble(path: Path, *, systemd: bool = False) -> Trouble | None:
    """As `file_trouble`, and nobody else may open it; *systemd* guards its own credentials."""
    status = file_trouble(path)
    if isinstance(status, Trouble):
        return status
    if status.st_size > _SECRET_MAX_BYTES:
        return Trouble(
            f"{status.st_size} bytes",
            f"at most {_SECRET_MAX_BYTES} bytes",
            "this is another file: correct the path",
        )
    if not systemd and stat.S_IMODE(status.st_mode) & stat.S_IRWXO:
        mode = f"{stat.S_IMODE(status.st_mode):04o}"
        remedy = (
            "chown root:edge-agent FILE && chmod 640 FILE; change the secret if others use this box"
        )
        return Trouble(
            f"mode {mode}: every user of the box may open it",
            "no rights for others (0640, 0600)",
            remedy,
        )
    return None


def credential_path(folder: Path, name: str) -> Path:
    """Where a credential lies among those systemd gave: by its name, or as a file of /etc/edge-agent/secrets."""
    own = folder / name
    # Of a whole folder, LoadCredential=secret:FOLDER, systemd joins the two names like that.
    return own if os.access(own, os.F_OK) else folder / f"secret_{name}"


def secret_path(secret: SecretRef) -> Path:
    """Where the secret lies; `SecretError` if there is no folder of credentials."""
    if secret.file is not None:
        return Path(secret.file)
    name = str(secret.credential)
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder is not None:
        return credential_path(Path(folder), name)
    # Not the service, but someone at the box: `sudo edge-agent commission` reads what the unit would be given.
    if os.access(SECRETS_FOLDER / name, os.F_OK):
        return SECRETS_FOLDER / name
    msg = (
        f"credential {name!r}: no credentials were given to this process, and there is no {SECRETS_FOLDER / name} "
        f"that it may see; write it there, or add LoadCredential={name}:FILE to the service unit, or use a ..._file key"
    )
    raise SecretError(msg)


def read_secret(secret: SecretRef) -> str:
    """The secret without one trailing line end. Any thread; local disk only. `SecretError` never shows content."""
    path = secret_path(secret)
    name = f"credential {secret.credential!r}" if secret.file is None else f"secret file {path}"
    by_systemd = secret.file is None and "CREDENTIALS_DIRECTORY" in os.environ
    trouble = secret_file_trouble(path, systemd=by_systemd)
    if trouble is not None:
        msg = f"{name}: {trouble.found}; {trouble.remedy}"
        raise SecretError(msg)
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        msg = f"{name}: {error.strerror}"
        raise SecretError(msg) from None
    except UnicodeDecodeError:
        msg = f"{name}: not UTF-8 text; write it again with a plain text editor"
        raise SecretError(msg) from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        msg = f"{name}: empty; write the secret into it"
        raise SecretError(msg)
    return text
