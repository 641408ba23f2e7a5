"""Reads box.toml into `core.settings.Settings`, or says every fault of the file at once.

Promises: `load` gives a sound `Settings` or raises `ConfigError`, nothing else, whatever the file holds; each fault names its
key path, what was found, what is allowed and what to do; no secret is ever shown, not even one that was put in a wrong place.
Secrets are references (`SecretRef`) until `read_secret` is called where one is needed.
Not its job: whether a camera answers or the hub accepts us (doctor), whether a view is commissioned (a finding, not a fault).
"""

from __future__ import annotations

import argparse
import difflib
import getpass
import ipaddress
import os
import re
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import tomli

from edge_agent.core.settings import (
    CABLES,
    Camera,
    CameraKind,
    Health,
    Hub,
    Identity,
    Journal,
    Privacy,
    Run,
    SecretRef,
    Settings,
    Settlement,
    SparePair,
    SwitchKind,
    Tls,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

EXIT_SOUND: Final = 0
EXIT_FAULTY: Final = 1
EXIT_UNREADABLE: Final = 2

_MB: Final = 1_000_000
_EXAMPLE: Final = "docs/box.example.toml"
_FILE_MAX_BYTES: Final = 1_000_000  # a box.toml of 32 cameras has 10 kB; more is another file
_SECRET_MAX_BYTES: Final = 65_536  # a PEM key has 4 kB
_CAMERAS_MAX: Final = 32  # the capture worker's memory limit is reckoned for no more
_SOCKET_PATH_MAX_BYTES: Final = 107  # sun_path holds 108 with its end mark

_TOPIC_LEVEL: Final = re.compile(r"[a-z0-9-]{1,48}")
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,48}")
_HOST_NAME: Final = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*",
    re.IGNORECASE,
)
_CREDENTIAL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_PRINTABLE: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,120}")
_PRINTABLE_PATH: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,1000}")
_ADDRESS: Final = re.compile(r"[\x21-\x7e]{1,253}")
_USERNAME: Final = re.compile(r"[^\x00-\x20\x7f-\x9f\ud800-\udfff:@/]{1,64}")
_VIDEO_DEVICE: Final = re.compile(r"/dev/(video\d{1,3}|v4l/by-(id|path)/[A-Za-z0-9_.:@+-]{1,200})")
_URL_TEXT: Final = re.compile(r"[\x21-\x7e]{1,1000}")
# Names under which people put a secret; "sandi" is Indonesian for password.
_SECRET_NAME: Final = re.compile(
    r"(?i)(^|[_-])(pass|passw(or)?d|passphrase|pwd|secret|token|sandi|password[_-]?\w*)$"
)
_SECRET_IN_URL: Final = re.compile(r"(?i)(pass(word|wd|wort)?|pwd|secret|token|sandi)=[^&/?#]")
_LOOKS_SECRET: Final = re.compile(r"@|(?i:pass|pwd|secret|token|sandi)")

# What makers document as the picture or stream of a channel; 101 = channel 1, main stream.
_PRESETS: Final[Mapping[tuple[CameraKind, str], str]] = {
    (CameraKind.HTTP, "hikvision"): "http://{host}/ISAPI/Streaming/channels/{channel}01/picture",
    # Newer NVRs serve their channels here and answer 404 at the address above.
    (
        CameraKind.HTTP,
        "hikvision-nvr",
    ): "http://{host}/ISAPI/ContentMgmt/StreamingProxy/channels/{channel}01/picture",
    (CameraKind.HTTP, "dahua"): "http://{host}/cgi-bin/snapshot.cgi?channel={channel}",
    (CameraKind.RTSP, "hikvision"): "rtsp://{host}/Streaming/Channels/{channel}01",
    (CameraKind.RTSP, "hikvision-nvr"): "rtsp://{host}/Streaming/Channels/{channel}01",
    (CameraKind.RTSP, "dahua"): "rtsp://{host}/cam/realmonitor?channel={channel}&subtype=0",
}
_SCHEMES: Final[Mapping[CameraKind, tuple[str, ...]]] = {
    CameraKind.RTSP: ("rtsp",),
    CameraKind.HTTP: ("http", "https"),
}
_SOURCE_KEYS: Final[Mapping[CameraKind, tuple[str, ...]]] = {
    CameraKind.RTSP: (
        "url",
        "preset",
        "host",
        "channel",
        "username",
        "password_file",
        "password_credential",
    ),
    CameraKind.HTTP: (
        "url",
        "preset",
        "host",
        "channel",
        "username",
        "password_file",
        "password_credential",
    ),
    CameraKind.V4L2: ("device",),
    CameraKind.CLIP: ("path",),
}
_ANY_SOURCE_KEYS: Final = tuple(
    dict.fromkeys(key for keys in _SOURCE_KEYS.values() for key in keys)
)

# BCM numbers that something else on the 40-pin header owns (docs/wiring: pin plan).
_PINS_TAKEN: Final[Mapping[int, str]] = {
    0: "GPIO0 reads the identity chip of a board on top",
    1: "GPIO1 reads the identity chip of a board on top",
    2: "GPIO2 is the I2C bus and has a fixed pull-up",
    3: "GPIO3 is the I2C bus, has a fixed pull-up and wakes a halted box",
    14: "GPIO14 is the serial console and goes high during boot",
    15: "GPIO15 is the serial console",
}
_PIN_HIGHEST: Final = 27
_LAMP_PIN_LOWEST: Final = (
    9  # GPIO0 to 8 are pulled up at reset: a lamp there would lie while the box starts
)

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


# ---- what is said about a faulty file ----


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


class SecretError(Exception):
    """A secret cannot be had. Says which and what to do; never holds any of its content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What `check` found. `text` is for a person; `exit_code` is 0 sound, 1 faulty, 2 not readable."""

    settings: Settings | None
    faults: tuple[ConfigFault, ...]
    text: str
    exit_code: int


# ---- the doors ----


def load(path: str) -> Settings:
    """Read the file at *path*; `ConfigError` names every fault. Blocks for local disk only."""
    file = Path(path)
    text = _read_text(file)
    try:
        document: Mapping[str, object] = tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        remedy = next(
            (say for start, say in _SYNTAX_REMEDIES if error.msg.startswith(start)),
            f"compare it with {_EXAMPLE}",
        )
        raise ConfigError(
            [
                ConfigFault(
                    where=f"{file.name}: line {error.lineno}, column {error.colno}",
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
                    where=file.name,
                    found="brackets within brackets, hundreds deep",
                    allowed="TOML as in the example",
                    remedy=f"compare it with {_EXAMPLE}",
                )
            ]
        ) from None
    return settings_from(document, name=file.name, folder=file.parent, text=text)


def settings_from(
    document: Mapping[str, object], *, name: str, folder: Path, text: str = ""
) -> Settings:
    """Check a parsed *document*; relative paths are taken from *folder*, *text* gives the line numbers of faults."""
    notes = _Notes(name=name, folder=Path(os.path.abspath(folder)), lines=_line_numbers(text))  # noqa: PTH100 - no symlink is followed
    settings = _read_document(_Table(document, path="", notes=notes), notes)
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
        settings=settings, faults=(), text=_summary(path, settings), exit_code=EXIT_SOUND
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


# ---- secrets ----


def secret_path(secret: SecretRef) -> Path:
    """Where the secret lies; `SecretError` if systemd gave us no folder of credentials."""
    if secret.file is not None:
        return Path(secret.file)
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder is None:
        msg = (
            f"credential {secret.credential!r}: no credentials were given to this process; "
            f"add LoadCredential={secret.credential}:FILE to the service unit, or use a ..._file key"
        )
        raise SecretError(msg)
    return Path(folder) / str(secret.credential)


def read_secret(secret: SecretRef) -> str:
    """The secret without one trailing line end. Any thread; local disk only. `SecretError` never shows content."""
    path = secret_path(secret)
    name = f"credential {secret.credential!r}" if secret.file is None else f"secret file {path}"
    trouble = _secret_file_trouble(path, systemd=secret.file is None)
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


@dataclass(frozen=True, slots=True)
class _Trouble:
    found: str
    allowed: str
    remedy: str


def _file_trouble(path: Path) -> _Trouble | os.stat_result:
    """What keeps *path* from being read as a file, or its status."""
    allowed = "a readable file"
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return _Trouble("no such file", allowed, "create it, or correct the path")
    except OSError as error:
        return _Trouble(
            str(error.strerror),
            allowed,
            "correct the path, or let the service's user into the folder",
        )
    except ValueError:
        return _Trouble("no possible path", allowed, "correct the path")
    if not stat.S_ISREG(status.st_mode):
        return _Trouble("not a file", allowed, "name a file, not a folder or a device")
    if status.st_size == 0:
        return _Trouble("an empty file", "a file with content", "write the content into it")
    if not os.access(path, os.R_OK):
        who = (
            getpass.getuser()
            if os.environ.get("USER") or os.environ.get("LOGNAME")
            else f"user {os.getuid()}"
        )
        remedy = "chgrp edge-agent FILE && chmod 640 FILE; to check as the service: sudo -u edge-agent edge-agent check ..."
        return _Trouble(f"{who} may not read it", allowed, remedy)
    return status


def _secret_file_trouble(path: Path, *, systemd: bool = False) -> _Trouble | None:
    status = _file_trouble(path)
    if isinstance(status, _Trouble):
        return status
    if status.st_size > _SECRET_MAX_BYTES:
        return _Trouble(
            f"{status.st_size} bytes",
            f"at most {_SECRET_MAX_BYTES} bytes",
            "this is another file: correct the path",
        )
    if not systemd and stat.S_IMODE(status.st_mode) & stat.S_IRWXO:
        mode = f"{stat.S_IMODE(status.st_mode):04o}"
        remedy = (
            "chown root:edge-agent FILE && chmod 640 FILE; change the secret if others use this box"
        )
        return _Trouble(
            f"mode {mode}: every user of the box may open it",
            "no rights for others (0640, 0600)",
            remedy,
        )
    return None


# ---- collecting faults ----


class _Notes:
    """The faults so far, and what is needed to word them."""

    def __init__(self, *, name: str, folder: Path, lines: Mapping[str, int]) -> None:
        self.folder = folder
        self.faults: list[ConfigFault] = []
        self._name = name
        self._lines = lines

    def fault(self, path: str, *, found: str, allowed: str, remedy: str) -> None:
        line = self._lines.get(path) or self._lines.get(path.rpartition(".")[0])
        where = f"{self._name}: {path}" if path else self._name
        self.faults.append(
            ConfigFault(where=where, found=found, allowed=allowed, remedy=remedy, line=line)
        )

    def trouble(self, path: str, trouble: _Trouble, *, shown: str) -> None:
        remedy = trouble.remedy.replace("FILE", shown or "FILE")
        found = f"{shown}: {trouble.found}" if shown else f"{trouble.found} (value not shown)"
        self.fault(path, found=found, allowed=trouble.allowed, remedy=remedy)


class _Table:
    """One table of the file: hands out typed values and notes what is wrong.

    A getter that notes a fault returns a harmless stand-in ("" or the default), so that reading goes on to the next fault;
    no `Settings` leaves this module while a fault is noted. `close` notes each key that no getter asked for.
    """

    def __init__(self, values: Mapping[str, object], *, path: str, notes: _Notes) -> None:
        self.path = path
        self._values = values
        self._notes = notes
        self._known: dict[str, None] = {}

    def at(self, key: str) -> str:
        """The key path of *key*."""
        shown = key if _BARE_KEY.fullmatch(key) else repr(key[:48])
        return f"{self.path}.{shown}" if self.path else shown

    def has(self, key: str) -> bool:
        self._known[key] = None
        return key in self._values

    def fault(self, key: str, *, found: str, allowed: str, remedy: str) -> None:
        self._notes.fault(self.at(key), found=found, allowed=allowed, remedy=remedy)

    def close(self) -> None:
        known = tuple(self._known)
        for key in self._values:
            if key in self._known:
                continue
            if _SECRET_NAME.search(key):
                self.fault(
                    key,
                    found="a secret in the configuration itself (not shown)",
                    allowed="only the name of a file or of a systemd credential that holds it",
                    remedy='move it to a file of mode 0640 and write password_file = "..."; it was readable here, so change it',
                )
                continue
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
            remedy = f"did you mean {near[0]}?" if near else f"delete it, or see {_EXAMPLE}"
            self.fault(
                key,
                found="a name that nothing here knows",
                allowed=", ".join(known) or "nothing",
                remedy=remedy,
            )

    def refuse(self, keys: Iterable[str], *, allowed: str, remedy: str) -> None:
        """Note each of *keys* that is there although it does not belong here."""
        for key in keys:
            if self.has(key):
                self.fault(
                    key, found="a key that does not belong here", allowed=allowed, remedy=remedy
                )

    # -- tables --

    def table(self, key: str, *, required: bool) -> _Table:
        value = self._values.get(key)
        if self.has(key) and isinstance(value, dict):
            return _Table(value, path=self.at(key), notes=self._notes)
        if key in self._values:
            self.fault(
                key,
                found=_show(value),
                allowed=f"a table: [{key}]",
                remedy=f"write [{key}] on a line of its own, its keys below",
            )
        elif required:
            self.fault(
                key, found="nothing", allowed=f"a table [{key}]", remedy=f"add it as in {_EXAMPLE}"
            )
        # A missing table is one fault, not one per key: what is read from it is thrown away.
        silent = (
            _Notes(name="", folder=self._notes.folder, lines={})
            if required or key in self._values
            else self._notes
        )
        return _Table({}, path=self.at(key), notes=silent)

    def tables(self, key: str) -> list[_Table]:
        if not self.has(key):
            return []
        value = self._values[key]
        remedy = f"write [[{key}]] with double brackets, once for each {key}"
        if not isinstance(value, list):
            self.fault(key, found=_show(value), allowed=f"[[{key}]]", remedy=remedy)
            return []
        found = []
        for index, item in enumerate(value):
            if isinstance(item, dict):
                found.append(_Table(item, path=f"{self.at(key)}[{index}]", notes=self._notes))
            else:
                self._notes.fault(
                    f"{self.at(key)}[{index}]",
                    found=_show(item),
                    allowed=f"[[{key}]]",
                    remedy=remedy,
                )
        return found

    # -- values --

    def text(
        self,
        key: str,
        pattern: re.Pattern[str],
        *,
        allowed: str,
        remedy: str,
        default: str | None = None,
        shown: bool = True,
    ) -> str:
        """Text that *pattern* matches whole; "" after a fault. `shown=False`: never repeat the value."""
        if not self.has(key):
            if default is None:
                self.fault(
                    key, found="nothing", allowed=allowed, remedy=f'add {key} = "...": {remedy}'
                )
            return default or ""
        value = self._values[key]
        if isinstance(value, str) and pattern.fullmatch(value):
            return value
        found = _show(value) if shown else "a value that does not fit (not shown)"
        if isinstance(value, int) and not isinstance(value, bool) and shown:
            remedy = f'put it in quotes: {key} = "{value!s:.20}"'
        self.fault(key, found=found, allowed=allowed, remedy=remedy)
        return ""

    def number(
        self,
        key: str,
        lowest: float,
        highest: float,
        *,
        unit: str,
        default: float | None = None,
        why: str = "",
    ) -> float:
        """A number within bounds; the default, or else *lowest*, after a fault."""
        stand_in = lowest if default is None else default
        allowed = f"a number from {lowest:g} to {highest:g} ({unit})"
        if not self.has(key):
            if default is None:
                self.fault(key, found="nothing", allowed=allowed, remedy=f"add {key} = ...: {why}")
            return stand_in
        value = self._values[key]
        if (
            isinstance(value, (int, float))
            and not isinstance(value, bool)
            and lowest <= value <= highest
        ):
            return float(value)
        remedy = (
            "write it without quotes" if isinstance(value, str) else why or f"usual is {stand_in:g}"
        )
        self.fault(key, found=_show(value), allowed=allowed, remedy=remedy)
        return stand_in

    def whole(
        self,
        key: str,
        lowest: int,
        highest: int,
        *,
        unit: str,
        default: int | None = None,
        why: str = "",
    ) -> int:
        """A whole number within bounds; the default, or else *lowest*, after a fault."""
        value = self._values.get(key)
        if isinstance(value, float) and lowest <= value <= highest:
            self.has(key)
            self.fault(
                key,
                found=_show(value),
                allowed=f"a whole number from {lowest} to {highest} ({unit})",
                remedy="leave out the decimals",
            )
            return lowest if default is None else default
        return int(self.number(key, lowest, highest, unit=unit, default=default, why=why))

    def choice(
        self, key: str, names: Sequence[str], *, default: str | None = None, why: str = ""
    ) -> str | None:
        """One of *names*; None after a fault."""
        allowed = ", ".join(f'"{name}"' for name in names)
        if not self.has(key):
            if default is None:
                self.fault(key, found="nothing", allowed=allowed, remedy=f"add {key}: {why}")
            return default
        value = self._values[key]
        if isinstance(value, str) and value in names:
            return value
        near = (
            difflib.get_close_matches(value.lower(), names, n=1, cutoff=0.5)
            if isinstance(value, str)
            else []
        )
        remedy = f'did you mean "{near[0]}"?' if near else why or "take one of these"
        self.fault(key, found=_show(value), allowed=allowed, remedy=remedy)
        return None

    def path_to(self, key: str, *, what: str, default: str | None = None) -> str:
        """An absolute path, made so from the configuration's folder; "" after a fault. Need not exist."""
        text = self.text(
            key, _PRINTABLE_PATH, allowed=f"a path: {what}", remedy=f"name {what}", default=default
        )
        return os.path.normpath(self._notes.folder / text) if text else ""

    def file(self, key: str, *, what: str, default: str | None = None) -> str:
        """As `path_to`, and the file can be read."""
        given = self.has(key)
        path = self.path_to(key, what=what, default=default)
        if path and given:
            status = _file_trouble(Path(path))
            if isinstance(status, _Trouble):
                self._notes.trouble(self.at(key), status, shown=path)
                return ""
        return path

    def secret(self, prefix: str, *, what: str) -> SecretRef | None:
        """The reference under `<prefix>_file` or `<prefix>_credential`; None if absent or faulty."""
        file_key, credential_key = f"{prefix}_file", f"{prefix}_credential"
        has_file, has_credential = self.has(file_key), self.has(credential_key)
        if has_file and has_credential:
            self.fault(
                credential_key,
                found=f"both {file_key} and {credential_key}",
                allowed="one of them",
                remedy="delete one of them",
            )
            return None
        if has_file:
            return self._secret_file(file_key, what=what)
        if has_credential:
            return self._secret_credential(credential_key, what=what)
        return None

    def _secret_file(self, key: str, *, what: str) -> SecretRef | None:
        allowed = f"the path of a file that holds {what}, never {what} itself"
        text = self.text(key, _PRINTABLE_PATH, allowed=allowed, remedy="name the file", shown=False)
        if not text:
            return None
        path = os.path.normpath(self._notes.folder / text)
        trouble = _secret_file_trouble(Path(path))
        if trouble is None:
            return SecretRef(file=path)
        # Someone may have put the secret itself here: repeat the value only if it surely is a path.
        surely = (
            text.startswith("/") and Path(path).parent.is_dir()
            if trouble.found == "no such file"
            else True
        )
        self._notes.trouble(
            self.at(key),
            _Trouble(trouble.found, allowed, trouble.remedy) if not surely else trouble,
            shown=path if surely else "",
        )
        return None

    def _secret_credential(self, key: str, *, what: str) -> SecretRef | None:
        allowed = f"the name of a systemd credential that holds {what}, never {what} itself"
        name = self.text(
            key,
            _CREDENTIAL,
            allowed=allowed,
            remedy="as in LoadCredential=NAME:FILE of the unit",
            shown=False,
        )
        if not name:
            return None
        # Outside of the service the folder is not there, and nothing can be said about it.
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        if folder is not None:
            trouble = _secret_file_trouble(Path(folder) / name, systemd=True)
            if trouble is not None:
                self._notes.fault(
                    self.at(key),
                    found=f"{trouble.found} under this name in the service's credentials (name not shown)",
                    allowed=allowed,
                    remedy="add LoadCredential=NAME:FILE to the service unit, systemctl daemon-reload, restart",
                )
                return None
        return SecretRef(credential=name)

    def pin(
        self, key: str, *, what: str, lowest: int = 0, default: int | None = None
    ) -> int | None:
        """A BCM pin; the default if absent, None after a fault."""
        if not self.has(key):
            return default
        value = self._values[key]
        allowed = f"a BCM number from {lowest} to {_PIN_HIGHEST} except {', '.join(map(str, _PINS_TAKEN))}"
        if (
            isinstance(value, bool)
            or not isinstance(value, int)
            or not lowest <= value <= _PIN_HIGHEST
        ):
            remedy = f"give the BCM number (GPIOn, not the place on the header) of {what}"
            if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < lowest:
                remedy = (
                    f"GPIO0 to 8 are pulled up while the box starts: move {what} to another pin"
                )
            self.fault(key, found=_show(value), allowed=allowed, remedy=remedy)
            return None
        if value in _PINS_TAKEN:
            self.fault(
                key,
                found=str(value),
                allowed=allowed,
                remedy=f"{_PINS_TAKEN[value]}: move {what} to another pin",
            )
            return None
        return value

    def lamp(self, key: str, *, default: int) -> int | None:
        """A lamp's pin; `false` = not fitted."""
        if self.has(key) and self._values[key] is False:
            return None
        return self.pin(key, what="the lamp", lowest=_LAMP_PIN_LOWEST, default=default)


def _show(value: object) -> str:
    """A value of the file as a person would know it; nothing that looks like a secret."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        if _LOOKS_SECRET.search(value):
            return "text that may hold a secret (not shown)"
        return (
            f'"{value}"'
            if _PRINTABLE.fullmatch(value) and len(value) <= 60
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


def _line_numbers(text: str) -> dict[str, int]:
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


def _read_text(file: Path) -> str:
    trouble = _file_trouble(file)
    if not isinstance(trouble, _Trouble) and trouble.st_size > _FILE_MAX_BYTES:
        trouble = _Trouble(
            f"{trouble.st_size} bytes",
            f"at most {_FILE_MAX_BYTES} bytes",
            "this is another file: correct the path",
        )
    if isinstance(trouble, _Trouble):
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


# ---- the tables of box.toml ----

_DEFAULTS: Final = Settings(
    identity=Identity(kelurahan="", rw="", rt="", box=""),
    hub=Hub(host="", port=0, tls=None),
    privacy=Privacy(switch=SwitchKind.LATCHING),
)


def _read_document(document: _Table, notes: _Notes) -> Settings:
    paths = document.table("paths", required=False)
    settings = Settings(
        identity=_identity(document.table("identity", required=True)),
        hub=_hub(document.table("hub", required=True)),
        cameras=tuple(_camera(table) for table in document.tables("camera")),
        runs=tuple(_run(table) for table in document.tables("run")),
        privacy=_privacy(document.table("privacy", required=True)),
        journal=_journal(document.table("journal", required=False)),
        health=_health(document.table("health", required=False)),
        views_folder=paths.path_to(
            "views_folder",
            what="the folder of the commissioned views",
            default=_DEFAULTS.views_folder,
        ),
        status_socket=_status_socket(paths),
    )
    paths.close()
    document.close()
    _check_cameras(settings, notes)
    _check_runs(settings, notes)
    _check_pins(settings, notes)
    return settings


def _identity(table: _Table) -> Identity:
    allowed = "a to z, 0 to 9 and '-', 1 to 48 characters"
    remedy = (
        "small letters, '-' instead of spaces: it becomes a part of the box's address at the hub"
    )
    kelurahan, rw, rt, box = (
        table.text(key, _TOPIC_LEVEL, allowed=allowed, remedy=remedy)
        for key in ("kelurahan", "rw", "rt", "box")
    )
    table.close()
    return Identity(kelurahan=kelurahan, rw=rw, rt=rt, box=box)


def _hub(table: _Table) -> Hub:
    host = table.text(
        "host",
        _ADDRESS,
        allowed="a host name or an IP address",
        remedy="the hub's name, without mqtt:// and without a port",
    )
    if host and not _is_host(host):
        table.fault(
            "host",
            found=_show(host),
            allowed="a host name or an IP address",
            remedy="without mqtt://, without a port, without spaces",
        )
        host = ""
    tls = _tls(table, host)
    hub = Hub(
        host=host,
        port=table.whole("port", 1, 65_535, unit="TCP port", default=8883 if tls else 1883),
        tls=tls,
        settle=Settlement(
            table.choice(
                "settle", [kind.value for kind in Settlement], default=Settlement.WATERMARK.value
            )
            or Settlement.WATERMARK.value
        ),
        order_key_file=_order_key(table),
    )
    table.close()
    return hub


def _tls(table: _Table, host: str) -> Tls | None:
    """Mutual TLS whole, or none at all and then only on the box itself."""
    given = [
        key
        for key in ("ca_file", "certificate_file", "key_file", "key_credential")
        if table.has(key)
    ]
    if not given:
        if host and not _is_loopback(host):
            table.fault(
                "ca_file",
                found="neither ca_file nor certificate_file nor key_file",
                allowed="mutual TLS; without it only a hub on the box itself (127.0.0.1, ::1, localhost)",
                remedy="add ca_file, certificate_file and key_file as the city gave them for this box",
            )
        return None
    ca_file = _pem(
        table,
        "ca_file",
        "CERTIFICATE",
        what="the PEM file of the authority that signed the hub's certificate",
    )
    certificate_file = _pem(
        table, "certificate_file", "CERTIFICATE", what="the PEM file of this box's certificate"
    )
    key = table.secret("key", what="the private key of this box's certificate")
    if key is None and "key_file" not in given and "key_credential" not in given:
        remedy = "the PEM file of the private key, mode 0640"
        table.fault(
            "key_file",
            found="nothing",
            allowed="key_file or key_credential",
            remedy=f'add key_file = "...": {remedy}',
        )
    if key is None:
        return None
    return Tls(ca_file=ca_file, certificate_file=certificate_file, key=key)


def _order_key(table: _Table) -> str | None:
    if not table.has("order_key_file"):
        return None
    return (
        _pem(
            table,
            "order_key_file",
            "PUBLIC KEY",
            what="the PEM file of the hub's public Ed25519 key",
        )
        or None
    )


def _pem(table: _Table, key: str, label: str, *, what: str) -> str:
    """A PEM file that holds a *label*, and no private key beside it."""
    path = table.file(key, what=what)
    if not path:
        return ""
    try:
        with Path(path).open("rb") as file:
            content = file.read(_FILE_MAX_BYTES)
    except OSError as error:
        table.fault(
            key,
            found=f"{path}: {error.strerror}",
            allowed=what,
            remedy="check the card and the path",
        )
        return ""
    if b"PRIVATE KEY-----" in content:
        table.fault(
            key,
            found=f"{path}: a private key",
            allowed=what,
            remedy="take the private key out of this file; if it lay open on the box, have it replaced",
        )
    elif f"-----BEGIN {label}-----".encode() not in content:
        table.fault(
            key,
            found=f"{path}: no BEGIN {label} in it",
            allowed=what,
            remedy="take the right file, in PEM form (text, not DER)",
        )
    return path


def _camera(table: _Table) -> Camera:
    identifier = table.text(
        "id",
        _TOPIC_LEVEL,
        allowed="a to z, 0 to 9 and '-', 1 to 48 characters",
        remedy="a short name that never changes, like gate-north",
    )
    name = table.text(
        "name",
        _PRINTABLE,
        allowed="text of 1 to 120 characters",
        remedy="what the street calls this camera",
        default=identifier,
    )
    kinds = [kind.value for kind in CameraKind]
    kind_name = table.choice(
        "kind",
        kinds,
        why="rtsp or http for a network camera, v4l2 for one on USB, clip for a recording",
    )
    kind = CameraKind(kind_name) if kind_name is not None else None
    source = _source(table, kind)
    username, password = _login(table, kind)
    camera = Camera(
        id=identifier,
        name=name,
        kind=kind or CameraKind.RTSP,
        source=source,
        username=username,
        password=password,
        period_s=table.number("period_s", 1, 3600, unit="seconds between two pictures", default=10),
    )
    table.close()
    return camera


def _source(table: _Table, kind: CameraKind | None) -> str:
    if kind is None:
        # What belongs here is not known, but a secret in a URL is a fault of its own.
        given = [key for key in _ANY_SOURCE_KEYS if table.has(key)]
        return _camera_url(table, None) if "url" in given else ""
    own = _SOURCE_KEYS[kind]
    others = [key for key in _ANY_SOURCE_KEYS if key not in own]
    table.refuse(
        others,
        allowed=f'for kind = "{kind.value}": {", ".join(own)}',
        remedy="delete it, or correct kind",
    )
    if kind is CameraKind.V4L2:
        return table.text(
            "device",
            _VIDEO_DEVICE,
            allowed="/dev/video0 or a name below /dev/v4l/by-id",
            remedy="v4l2-ctl --list-devices shows them",
        )
    if kind is CameraKind.CLIP:
        return _clip(table)
    if table.has("preset"):
        return _preset(table, kind)
    table.refuse(
        ("host", "channel"),
        allowed="only together with preset",
        remedy="add preset, or write the whole url",
    )
    return _camera_url(table, kind)


def _clip(table: _Table) -> str:
    path = table.path_to("path", what="a recording, or a folder of pictures")
    if path and not Path(path).exists():
        table.fault(
            "path",
            found=f"{path}: no such file or folder",
            allowed="a recording, or a folder of pictures",
            remedy="correct the path",
        )
    return path


def _preset(table: _Table, kind: CameraKind) -> str:
    table.refuse(("url",), allowed="either url or preset", remedy="delete one of them")
    names = [name for of_kind, name in _PRESETS if of_kind is kind]
    preset = table.choice("preset", names)
    host = table.text(
        "host",
        _URL_TEXT,
        allowed="the IP address, :port after it if needed",
        remedy="the camera's or the NVR's IP address",
    )
    channel = table.whole("channel", 1, 256, unit="channel of the NVR", default=1)
    if not host or preset is None:
        return ""
    trouble = _address_trouble(f"//{host}")
    if trouble is None and any(mark in host for mark in "/?#@"):
        trouble = _Trouble(
            "more than an address (not shown)",
            "the IP address, :port after it if needed",
            "the preset adds the rest itself",
        )
    if trouble is not None:
        table.fault("host", found=trouble.found, allowed=trouble.allowed, remedy=trouble.remedy)
        return ""
    return _PRESETS[kind, preset].format(host=host, channel=channel)


def _camera_url(table: _Table, kind: CameraKind | None) -> str:
    schemes = ("rtsp", "http", "https") if kind is None else _SCHEMES[kind]
    allowed = f"{' or '.join(f'{scheme}://' for scheme in schemes)}IP-ADDRESS/..."
    url = table.text(
        "url",
        _URL_TEXT,
        allowed=allowed,
        remedy="the camera's address as its manual gives it, or use preset and host",
        shown=False,
    )
    if not url:
        return ""
    trouble = _address_trouble(url)
    if trouble is None and url.partition("://")[0].lower() not in schemes:
        trouble = _Trouble(
            f"a URL that does not begin with {schemes[0]}://, as kind asks for",
            allowed,
            "correct the URL or kind",
        )
    if trouble is not None:
        table.fault("url", found=trouble.found, allowed=trouble.allowed, remedy=trouble.remedy)
        return ""
    return url


def _address_trouble(url: str) -> _Trouble | None:
    """What is wrong with the host part of *url*; never repeats more of it than the host."""
    allowed = "an IP address as host, no user name or password"
    try:
        parts = urlsplit(url)
        host, port_is_sound = parts.hostname or "", parts.port != 0
    except ValueError:
        return _Trouble("no valid URL (not shown)", allowed, "check brackets and port")
    if parts.username is not None or parts.password is not None or _SECRET_IN_URL.search(url):
        remedy = 'take it out of the URL and write username = "..." and password_file = "..."; it was readable here, so change it'
        return _Trouble("a user name or password within the URL (not shown)", allowed, remedy)
    if not host or not port_is_sound:
        return _Trouble(
            "a URL without a host and port that can be used",
            allowed,
            "write it like rtsp://192.168.1.64:554/path",
        )
    try:
        ipaddress.ip_address(host)
    except ValueError:
        remedy = "give the camera a fixed IP address and write that: looking up a name can hang for minutes when the network is down"
        return _Trouble(f"the host name {_show(host)}", allowed, remedy)
    return None


def _login(table: _Table, kind: CameraKind | None) -> tuple[str | None, SecretRef | None]:
    if kind is not None and "username" not in _SOURCE_KEYS[kind]:
        return None, None  # refused with the other keys of the source
    has_name = table.has("username")
    has_password = table.has("password_file") or table.has("password_credential")
    password = table.secret("password", what="the password")
    allowed = "username and password_file (or password_credential), or none of them"
    if has_name and not has_password:
        table.fault(
            "username",
            found="a user name without a password",
            allowed=allowed,
            remedy='add password_file = "..."',
        )
    if has_password and not has_name:
        table.fault(
            "username",
            found="a password without a user name",
            allowed=allowed,
            remedy='add username = "..."',
        )
    if not has_name:
        return None, password
    remedy = "the user name alone; the password goes to password_file"
    username = table.text(
        "username",
        _USERNAME,
        allowed="1 to 64 characters without space, ':', '@', '/'",
        remedy=remedy,
        shown=False,
    )
    return username or None, password


def _run(table: _Table) -> Run:
    camera = table.text(
        "camera",
        _TOPIC_LEVEL,
        allowed="the id of a [[camera]]",
        remedy="which camera this run goes to",
    )
    cable = table.choice("cable", tuple(CABLES), why="what must be bought if it breaks")
    length_m = table.number(
        "length_m",
        0.5,
        500,
        unit="metres",
        why="measure the run: it is what the technician must bring",
    )
    place = table.text(
        "place",
        _PRINTABLE,
        allowed="text of 1 to 120 characters",
        remedy="where the camera hangs: pole, address",
        default="",
    )
    loop_pin = table.pin("loop_pin", what="the loop")
    if cable is not None and table.has("loop_pin"):
        _check_loop_cable(table, cable)
    table.close()
    return Run(camera=camera, cable=cable or "", length_m=length_m, place=place, loop_pin=loop_pin)


def _check_loop_cable(table: _Table, cable: str) -> None:
    if CABLES[cable] is SparePair.POE:
        table.fault(
            "loop_pin",
            found=f'a loop on cable = "{cable}"',
            allowed="no loop on a run with Power over Ethernet",
            remedy="delete loop_pin: a PoE source may put 48 V on any pair, also on those that look free, and would destroy the box",
        )
    elif CABLES[cable] is SparePair.NONE:
        table.fault(
            "loop_pin",
            found=f'a loop on cable = "{cable}"',
            allowed="a cable with a pair to spare",
            remedy='delete loop_pin, or lay a two-core wire beside it and write cable = "rg59-pair"',
        )


def _privacy(table: _Table) -> Privacy:
    kinds = [kind.value for kind in SwitchKind]
    switch = table.choice(
        "switch", kinds, why='"latching" for the switch; "none" only where the RT agreed in writing'
    )
    kind = SwitchKind(switch) if switch is not None else SwitchKind.LATCHING
    if kind is SwitchKind.NONE:
        table.refuse(
            ("nc_pin", "no_pin"),
            allowed='no contact pins with switch = "none"',
            remedy='delete it, or write switch = "latching"',
        )
        nc_pin: int | None = None
        no_pin: int | None = None
    else:
        nc_pin = table.pin(
            "nc_pin", what="the switch's NC contact", default=_DEFAULTS.privacy.nc_pin
        )
        no_pin = table.pin(
            "no_pin", what="the switch's NO contact", default=_DEFAULTS.privacy.no_pin
        )
    privacy = Privacy(
        switch=kind,
        nc_pin=_DEFAULTS.privacy.nc_pin if nc_pin is None else nc_pin,
        no_pin=_DEFAULTS.privacy.no_pin if no_pin is None else no_pin,
        lamp_private_pin=table.lamp(
            "lamp_private_pin", default=_DEFAULTS.privacy.lamp_private_pin or 23
        ),
        lamp_live_pin=table.lamp("lamp_live_pin", default=_DEFAULTS.privacy.lamp_live_pin or 22),
        purge_s=table.number(
            "purge_s", 0, 600, unit="seconds before the press", default=_DEFAULTS.privacy.purge_s
        ),
    )
    table.close()
    return privacy


def _journal(table: _Table) -> Journal:
    usual = _DEFAULTS.journal
    journal = Journal(
        folder=table.path_to("folder", what="the journal's folder", default=usual.folder),
        quota_bytes=table.whole(
            "quota_mb", 20, 1_000_000, unit="MB", default=usual.quota_bytes // _MB
        )
        * _MB,
        disk_floor_bytes=table.whole(
            "disk_floor_mb", 50, 1_000_000, unit="MB", default=usual.disk_floor_bytes // _MB
        )
        * _MB,
    )
    table.close()
    return journal


def _health(table: _Table) -> Health:
    usual = _DEFAULTS.health
    health = Health(
        cpu_celsius_max=table.number(
            "cpu_celsius_max", 40, 110, unit="degrees Celsius", default=usual.cpu_celsius_max
        ),
        disk_free_min_bytes=table.whole(
            "disk_free_min_mb", 50, 1_000_000, unit="MB", default=usual.disk_free_min_bytes // _MB
        )
        * _MB,
        memory_used_max_percent=table.number(
            "memory_used_max_percent",
            10,
            100,
            unit="percent",
            default=usual.memory_used_max_percent,
        ),
        report_s=table.number("report_s", 10, 86_400, unit="seconds", default=usual.report_s),
    )
    table.close()
    return health


def _status_socket(table: _Table) -> str:
    path = table.path_to(
        "status_socket", what="the socket of `edge-agent status`", default=_DEFAULTS.status_socket
    )
    length = len(os.fsencode(path))
    if length > _SOCKET_PATH_MAX_BYTES:
        remedy = "take a shorter path, below /run"
        table.fault(
            "status_socket",
            found=f"a path of {length} bytes",
            allowed=f"at most {_SOCKET_PATH_MAX_BYTES} bytes",
            remedy=remedy,
        )
    return path


# ---- cross-checks ----


def _check_cameras(settings: Settings, notes: _Notes) -> None:
    if len(settings.cameras) > _CAMERAS_MAX:
        found = f"{len(settings.cameras)} cameras"
        notes.fault(
            "camera", found=found, allowed=f"at most {_CAMERAS_MAX}", remedy="use a second box"
        )
    first: dict[str, int] = {}
    for index, camera in enumerate(settings.cameras):
        if camera.id and camera.id in first:
            notes.fault(
                f"camera[{index}].id",
                found=f'"{camera.id}", as in camera[{first[camera.id]}]',
                allowed="an id that no other camera has",
                remedy="rename the newer one: records of the older one stay with their id",
            )
        first.setdefault(camera.id, index)


def _check_runs(settings: Settings, notes: _Notes) -> None:
    cameras = [camera.id for camera in settings.cameras if camera.id]
    first: dict[str, int] = {}
    for index, run in enumerate(settings.runs):
        if not run.camera:
            continue
        path = f"run[{index}].camera"
        if run.camera not in cameras:
            near = difflib.get_close_matches(run.camera, cameras, n=1, cutoff=0.5)
            remedy = (
                f'did you mean "{near[0]}"?' if near else "add the [[camera]], or delete this run"
            )
            notes.fault(
                path,
                found=f'"{run.camera}", but no camera has this id',
                allowed=", ".join(cameras) or "no camera is there",
                remedy=remedy,
            )
        elif run.camera in first:
            notes.fault(
                path,
                found=f'a second run for "{run.camera}", as in run[{first[run.camera]}]',
                allowed="one run for each camera",
                remedy="delete one of them; a run with a joint is one run: add the lengths",
            )
        first.setdefault(run.camera, index)


def _check_pins(settings: Settings, notes: _Notes) -> None:
    privacy = settings.privacy
    contacts = (("privacy.nc_pin", privacy.nc_pin), ("privacy.no_pin", privacy.no_pin))
    used: list[tuple[str, int | None]] = [
        *(contacts if privacy.switch is SwitchKind.LATCHING else ()),
        ("privacy.lamp_private_pin", privacy.lamp_private_pin),
        ("privacy.lamp_live_pin", privacy.lamp_live_pin),
        *((f"run[{index}].loop_pin", run.loop_pin) for index, run in enumerate(settings.runs)),
    ]
    owner: dict[int, str] = {}
    for path, pin in used:
        if pin is None:
            continue
        if pin in owner:
            free = next(
                (
                    str(n)
                    for n in range(_LAMP_PIN_LOWEST, _PIN_HIGHEST)
                    if n not in _PINS_TAKEN and n not in {p for _, p in used}
                ),
                "another",
            )
            notes.fault(
                path,
                found=f"pin {pin}, which {owner[pin]} uses already (a pin not written down has its usual number)",
                allowed="each pin for one purpose",
                remedy=f"look how it is wired; {free} is free"
                if free != "another"
                else "look how it is wired",
            )
        owner.setdefault(pin, path)


def _is_host(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        # All digits and dots, but no address: a mistyped one, not a name.
        return bool(_HOST_NAME.fullmatch(text)) and not re.fullmatch(r"[\d.]+", text)
    return True


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _summary(path: str, settings: Settings) -> str:
    """What a sound file says, so that a person can see that it says what was meant."""
    identity, hub = settings.identity, settings.hub
    security = "mutual TLS" if hub.tls else "plain TCP on this box only"
    orders = "obeys signed orders" if hub.order_key_file else "obeys no orders (no order_key_file)"
    switch = (
        "a latching switch"
        if settings.privacy.switch is SwitchKind.LATCHING
        else "NO privacy switch"
    )
    loops = sum(run.loop_pin is not None for run in settings.runs)
    return "\n".join(
        [
            f"{path}: sound",
            f"    box:     {identity.kelurahan}/{identity.rw}/{identity.rt}/{identity.box}",
            f"    hub:     {hub.host}:{hub.port}, {security}, {orders}",
            f"    cameras: {', '.join(f'{camera.id} ({camera.kind.value})' for camera in settings.cameras) or 'none'}",
            f"    runs:    {len(settings.runs)}, of these {loops} with a supervised loop",
            f"    privacy: {switch}",
        ]
    )
