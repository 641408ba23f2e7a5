"""One table of a TOML file: hands out typed values, notes each fault, and at the end what nobody asked for.

Promise: a getter never raises, whatever the file holds, and never repeats what may be a secret.
Not its job: which keys a table has (box_toml.py).
"""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_agent.config.faults import Notes, show
from edge_agent.config.files import (
    Trouble,
    credential_path,
    file_trouble,
    secret_file_trouble,
)
from edge_agent.core.settings import SecretRef

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,48}")
_CREDENTIAL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_PRINTABLE_PATH: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,1000}")
# Names under which people put a secret; "sandi" is Indonesian for password.
_SECRET_NAME: Final = re.compile(
    r"(?i)(^|[_-])(pass|passw(or)?d|passphrase|pwd|secret|token|sandi|password[_-]?\w*)$"
)

# BCM numbers that something else on the 40-pin header owns (docs/wiring: pin plan).
PINS_TAKEN: Final[Mapping[int, str]] = {
    0: "GPIO0 reads the identity chip of a board on top",
    1: "GPIO1 reads the identity chip of a board on top",
    2: "GPIO2 is the I2C bus and has a fixed pull-up",
    3: "GPIO3 is the I2C bus, has a fixed pull-up and wakes a halted box",
    14: "GPIO14 is the serial console and goes high during boot",
    15: "GPIO15 is the serial console",
}
PIN_HIGHEST: Final = 27
_PAIR_MAX: Final = 1e9  # a larger whole number may not even fit into a float
# GPIO0 to 8 are pulled up at reset: a lamp there would lie while the box starts, a relay there would switch by itself.
OUTPUT_PIN_LOWEST: Final = 9


class Table:
    """One table of the file: hands out typed values and notes what is wrong.

    A getter that notes a fault returns a harmless stand-in ("" or the default), so that reading goes on to the next fault;
    no `Settings` leaves this module while a fault is noted. `close` notes each key that no getter asked for.
    """

    def __init__(self, values: Mapping[str, object], *, path: str, notes: Notes) -> None:
        self.path = path
        self.notes = notes
        self._values = values
        self._known: dict[str, None] = {}

    def at(self, key: str) -> str:
        """The key path of *key*."""
        shown = key if _BARE_KEY.fullmatch(key) else repr(key[:48])
        return f"{self.path}.{shown}" if self.path else shown

    def has(self, key: str) -> bool:
        """Whether *key* is there; from now on it is known."""
        self._known[key] = None
        return key in self._values

    def fault(self, key: str, *, found: str, allowed: str, remedy: str) -> None:
        """Note what is wrong at *key*."""
        self.notes.fault(self.at(key), found=found, allowed=allowed, remedy=remedy)

    def close(self) -> None:
        """Note each key that no getter asked for."""
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
            remedy = (
                f"did you mean {near[0]}?" if near else f"delete it, or see {self.notes.example}"
            )
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

    def table(self, key: str, *, required: bool) -> Table:
        """The table under *key*; an empty one if it is missing or no table."""
        value = self._values.get(key)
        if self.has(key) and isinstance(value, dict):
            return Table(value, path=self.at(key), notes=self.notes)
        if key in self._values:
            self.fault(
                key,
                found=show(value),
                allowed=f"a table: [{key}]",
                remedy=f"write [{key}] on a line of its own, its keys below",
            )
        elif required:
            self.fault(
                key,
                found="nothing",
                allowed=f"a table [{key}]",
                remedy=f"add it as in {self.notes.example}",
            )
        # A missing table is one fault, not one per key: what is read from it is thrown away.
        silent = (
            Notes(name="", folder=self.notes.folder, lines={})
            if required or key in self._values
            else self.notes
        )
        return Table({}, path=self.at(key), notes=silent)

    def tables(self, key: str) -> list[Table]:
        """All of [[*key*]]."""
        if not self.has(key):
            return []
        value = self._values[key]
        remedy = f"write [[{key}]] with double brackets, once for each {key}"
        if not isinstance(value, list):
            self.fault(key, found=show(value), allowed=f"[[{key}]]", remedy=remedy)
            return []
        found = []
        for index, item in enumerate(value):
            if isinstance(item, dict):
                found.append(Table(item, path=f"{self.at(key)}[{index}]", notes=self.notes))
            else:
                self.notes.fault(
                    f"{self.at(key)}[{index}]",
                    found=show(item),
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
        found = show(value) if shown else "a value that does not fit (not shown)"
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
        self.fault(key, found=show(value), allowed=allowed, remedy=remedy)
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
                found=show(value),
                allowed=f"a whole number from {lowest} to {highest} ({unit})",
                remedy="leave out the decimals",
            )
            return lowest if default is None else default
        return int(self.number(key, lowest, highest, unit=unit, default=default, why=why))

    def number_or_none(
        self, key: str, lowest: float, highest: float, *, unit: str, default: float
    ) -> float | None:
        """As `number`; `false` = not fitted, which is None."""
        if self.has(key) and self._values[key] is False:
            return None
        return self.number(
            key,
            lowest,
            highest,
            unit=f"{unit}; false = not fitted",
            default=default,
        )

    def switch(self, key: str, *, default: bool) -> bool:
        """True or false; the default after a fault."""
        value = self._values.get(key)
        if not self.has(key) or isinstance(value, bool):
            return default if value is None else bool(value)
        self.fault(
            key,
            found=show(value),
            allowed="true or false",
            remedy="small letters, without quotes",
        )
        return default

    def texts(self, key: str, *, allowed: str) -> tuple[str, ...]:
        """A list of texts; empty if it is absent or faulty."""
        if not self.has(key):
            return ()
        value = self._values[key]
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        self.fault(
            key, found=show(value), allowed=allowed, remedy="write the brackets and the quotes"
        )
        return ()

    def pair(self, key: str) -> tuple[float, float] | None:
        """Two numbers in brackets; None if it is anything else."""
        value = self._values.get(key)
        if not isinstance(value, list) or len(value) != 2:
            return None
        numbers = [
            float(item)
            for item in value
            if isinstance(item, (int, float))
            and not isinstance(item, bool)
            and abs(item) < _PAIR_MAX
        ]
        return (numbers[0], numbers[1]) if len(numbers) == 2 else None

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
        self.fault(key, found=show(value), allowed=allowed, remedy=remedy)
        return None

    def path_to(self, key: str, *, what: str, default: str | None = None) -> str:
        """An absolute path, made so from the configuration's folder; "" after a fault. Need not exist."""
        text = self.text(
            key, _PRINTABLE_PATH, allowed=f"a path: {what}", remedy=f"name {what}", default=default
        )
        return os.path.normpath(self.notes.folder / text) if text else ""

    def file(self, key: str, *, what: str, default: str | None = None) -> str:
        """As `path_to`, and the file can be read."""
        given = self.has(key)
        path = self.path_to(key, what=what, default=default)
        if path and given:
            status = file_trouble(Path(path))
            if isinstance(status, Trouble):
                self.notes.trouble(self.at(key), status, shown=path)
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
        path = os.path.normpath(self.notes.folder / text)
        trouble = secret_file_trouble(Path(path))
        if trouble is None:
            return SecretRef(file=path)
        # Someone may have put the secret itself here: repeat the value only if it surely is a path.
        surely = (
            text.startswith("/") and Path(path).parent.is_dir()
            if trouble.found == "no such file"
            else True
        )
        self.notes.trouble(
            self.at(key),
            Trouble(trouble.found, allowed, trouble.remedy) if not surely else trouble,
            shown=path if surely else "",
        )
        return None

    def _secret_credential(self, key: str, *, what: str) -> SecretRef | None:
        allowed = f"the name of a systemd credential that holds {what}, never {what} itself"
        name = self.text(
            key,
            _CREDENTIAL,
            allowed=allowed,
            remedy="the name of a file in /etc/edge-agent/secrets, or as in LoadCredential=NAME:FILE of the unit",
            shown=False,
        )
        if not name:
            return None
        # Outside of the service the folder is not there, and nothing can be said about it.
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        if folder is not None:
            trouble = secret_file_trouble(credential_path(Path(folder), name), systemd=True)
            if trouble is not None:
                self.notes.fault(
                    self.at(key),
                    found=f"{trouble.found} under this name in the service's credentials (name not shown)",
                    allowed=allowed,
                    remedy="write it into /etc/edge-agent/secrets/NAME (or LoadCredential=NAME:FILE in a drop-in of the unit), restart",
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
        allowed = (
            f"a BCM number from {lowest} to {PIN_HIGHEST} except {', '.join(map(str, PINS_TAKEN))}"
        )
        if (
            isinstance(value, bool)
            or not isinstance(value, int)
            or not lowest <= value <= PIN_HIGHEST
        ):
            remedy = f"give the BCM number (GPIOn, not the place on the header) of {what}"
            if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < lowest:
                remedy = (
                    f"GPIO0 to 8 are pulled up while the box starts: move {what} to another pin"
                )
            self.fault(key, found=show(value), allowed=allowed, remedy=remedy)
            return None
        if value in PINS_TAKEN:
            self.fault(
                key,
                found=str(value),
                allowed=allowed,
                remedy=f"{PINS_TAKEN[value]}: move {what} to another pin",
            )
            return None
        return value

    def pin_or_none(
        self, key: str, *, what: str, lowest: int = 0, default: int | None
    ) -> int | None:
        """As `pin`; `false` = not fitted, which is None."""
        if self.has(key) and self._values[key] is False:
            return None
        return self.pin(key, what=what, lowest=lowest, default=default)
