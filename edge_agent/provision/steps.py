"""From the card to a box that runs, step by step, each of which may be the last before a power cut.

Promises: nothing is judged while the card says what it said before and what was made of it is whole; what is in use is only ever
replaced by something judged good, and a damaged one by the one before it only if that is of the same place and holds pictures back
as what was last in force does: the switch and its wiring, cables, sealing, no camera more (with neither, the box has no configuration,
and shows it); a step that fails costs that step, and is told; the answer goes to the card last.
What the system needs at each start (network, SSH, host name) is written from what is kept, as /etc and /run forget it.
Not its job: reading options (command.py).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_agent import __version__, whole
from edge_agent.config import ConfigError, load
from edge_agent.core import card_words
from edge_agent.core.card import Fault, Part, Report, Verdict, troubled, verdict
from edge_agent.core.settings import Settings, SwitchKind
from edge_agent.core.words import Sentence
from edge_agent.provision import box, card, identity, network, shell_keys
from edge_agent.provision.keep import Kept
from edge_agent.provision.text import text_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

    from edge_agent.clock import Clock

RECORD: Final = "provisioned.json"  # the agent reads it: core/health.py makes a finding of it
_PRIVACY: Final = "privacy"
_ROOT_ONLY: Final = 0o600
_EVERYONE: Final = 0o644  # networkd, timesyncd and sshd read as users of their own
_RECORD_MAX_BYTES: Final = 100_000
_COUNT_MAX: Final = 10**6

DONE, WRONG, NOT_DONE = 0, 1, 2

_EMPTY_NETWORK: Final = Sentence(
    "taruh lagi berkas itu; berkas kosong berarti jaringan kabel dengan DHCP",
    "put it back; an empty one means wired, by DHCP",
)
_NOT_AS_STRICT: Final = Sentence(
    "pengaturan yang dipakai rusak; yang sebelumnya tidak dipakai karena tempat, sakelar privasi atau pengaman gambarnya berbeda,"
    " atau tidak dapat dipastikan sama: kotak menunggu box.toml yang benar",
    "the configuration in use was damaged; the one before it is not used, as its place, its privacy switch or what else holds"
    " pictures back is another, or cannot be known to be the same: the box waits for a sound box.toml",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where things go. None = not wanted."""

    config: Path
    networkd: Path | None = None
    wifi: Path | None = None
    timesyncd: Path | None = None
    ssh: Path | None = None
    data: Path | None = None  # what `config` lies on, if that is a partition of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    """What was made of the card last; `switch`, `place` and `holds` are of what was in force last, "" = not known."""

    digest: str = ""
    generation: str = ""
    host: str = ""
    count: int = 0
    trouble: tuple[str, ...] = ()
    switch: str = ""
    place: str = ""
    holds: Mapping[str, str] = field(
        default_factory=dict
    )  # what holds pictures back, each as a hash

    def told(self, settings: Settings | None) -> tuple[str, str, Mapping[str, str]]:
        """Switch, place and the rest from here on: of *settings*, that are in use now; None: nothing is, and these stay the last."""
        if settings is None:
            return self.switch, self.place, self.holds
        place = identity.place(settings.identity)
        return settings.privacy.switch.value, place, _holds(settings)

    def is_kept_by(self, older: Settings) -> bool:
        """Whether *older* may take the place of what was in force last: no picture that would have been withheld gets out by it.

        Another kind of switch is not as strict as the one that is fitted: read as a latching one, a push button lets go at once; on
        another pin it is never heard. A camera that was taken off the box still has its view on it, and would be let through.
        """
        holds = _holds(older)
        if self.switch == SwitchKind.NONE.value:
            del holds[_PRIVACY]  # any is stricter
        elif self.switch != older.privacy.switch.value:
            return False
        same = all(self.holds.get(what) == how for what, how in holds.items())
        return same and self.place == identity.place(older.identity)


class Provision:
    """One run. `name_host` sets the system's host name (OSError)."""

    def __init__(
        self,
        where: card.Card,
        places: Places,
        *,
        clock: Clock,
        say: Callable[[str], None],
        name_host: Callable[[str], None] | None = None,
    ) -> None:
        self._card = where
        self._places = places
        self._clock = clock
        self._say = say
        self._name_host = name_host
        self._kept = Kept(places.config)
        self._failed = False
        self._notes: list[Sentence] = []

    def run(self) -> int:
        """`DONE`; `WRONG`: the card needs a person's hand; `NOT_DONE`: the box's own storage does. NotOurs."""
        self._kept.check_ours()
        record = self._recorded()
        # A dying card may hold up the reading until systemd ends it; the way to the city is then the one from before.
        self._apply(record)
        contents = self._card.read()
        text = ""
        try:
            record, text = self._import(contents, record)
        except OSError as error:
            self._fail("the configuration cannot be kept", error)
            text = card_words.result(_storage_report(record.count + 1, error))
        self._apply(record)
        if not contents.blank:
            files = {card.RESULT: text.encode("utf-8-sig")}
            if request := identity.kept_request(self._places.config):
                files[card.REQUEST] = request
            if why := self._card.write(files):
                self._say(f"the answer cannot be written to the card: {why}")
        if self._failed:
            return NOT_DONE
        return WRONG if record.trouble or contents.blank else DONE

    # ---- the card ----

    def _import(self, contents: card.Contents, record: _Record) -> tuple[_Record, str]:
        folder = self._places.config
        with contextlib.suppress(OSError):
            for path in folder.glob(".*.new"):
                path.unlink()
        now = self._kept.heal(lambda before: self._is_fit(before, record))
        if contents.blank:
            self._say(
                "no card of ours: box.toml and network.toml are not there; all stays as it is"
            )
            return record, ""
        digest = contents.digest(__version__)
        if record.digest == digest and self._stands(contents, record):
            with contextlib.suppress(OSError):
                text = (folder / card.RESULT).read_bytes().decode("utf-8-sig", "replace")
                self._say("the card says what it said before")
                return record, text
        return self._judge(contents, now, record, digest)

    def _is_fit(self, before: Path, record: _Record) -> bool:
        try:
            if record.is_kept_by(load(str(before / card.BOX))):
                return True
        except ConfigError:  # a newer agent is stricter than the one that took it
            return False
        self._notes.append(_NOT_AS_STRICT)
        self._say(_NOT_AS_STRICT.en)
        return False

    def _stands(self, contents: card.Contents, record: _Record) -> bool:
        """Whether all that was made of this card is still there, and whole. Without a configuration it is always tried again."""
        folder = self._places.config
        if not record.host or record.generation != self._kept.digest():
            return False
        if not (folder / identity.KEY).exists():
            return False
        raw = contents.files.get(card.NETWORK)
        if raw is not None and card.NETWORK not in record.trouble:
            text = text_of(raw, card.NETWORK)
            if isinstance(text, Fault) or _read(folder / card.NETWORK) != text.encode():
                return False
        found = shell_keys.read(contents.files.get(card.KEYS, b""), card.KEYS)
        return _read(folder / card.KEYS) == _lines(found)

    def _judge(
        self, contents: card.Contents, now: Path | None, record: _Record, digest: str
    ) -> tuple[_Record, str]:
        folder = self._places.config
        key: ec.EllipticCurvePrivateKey | None = None
        with contextlib.suppress(identity.KeyDamaged):
            key = identity.key_in(folder)
        wall_s = self._clock.wall() if self._clock.trusted() else None
        lost = self._places.data is not None and not self._places.data.is_mount()
        outcome = box.judge(contents, self._kept, now, key, wall_s=wall_s, lost=lost)
        settings = outcome.settings
        if settings is None:
            self._kept.hide()
        elif settings.hub.tls is not None and key is not None and not lost:
            identity.request(folder, key, identity.place(settings.identity))
        report = Report(
            place="" if settings is None else identity.place(settings.identity),
            count=min(record.count, _COUNT_MAX) + (digest != record.digest),
            verdicts=(*outcome.verdicts, self._network(contents), self._keys(contents)),
            notes=(*contents.strays, *outcome.notes, *self._notes),
        )
        text = card_words.result(report)
        whole.write(folder / card.RESULT, text.encode("utf-8-sig"))
        switch, place, holds = record.told(settings)
        made = _Record(
            digest=digest,
            generation=self._kept.digest(),
            host="" if settings is None else network.host_name(settings.identity),
            count=report.count,
            trouble=troubled(report),
            switch=switch,
            place=place,
            holds=holds,
        )
        self._write_record(made)
        for one in report.verdicts:
            self._say(f"part={one.part.value} in_use={one.standing.value} faults={len(one.faults)}")
        return made, text

    def _network(self, contents: card.Contents) -> Verdict:
        path = self._places.config / card.NETWORK
        raw = contents.files.get(card.NETWORK)
        faults = [fault for fault in contents.faults if fault.where == card.NETWORK]
        if raw is None:
            note: Sentence | None = None
            if path.exists() and not faults:
                # Lost by the card or by a slip, it must not cost a box on Wi-Fi its way to the city.
                faults.append(Fault(where=card.NETWORK, said=box.MISSING, remedy=_EMPTY_NETWORK))
            elif not faults:
                note = Sentence(
                    "tidak ada di kartu: jaringan kabel dengan DHCP",
                    "not on the card: wired, by DHCP",
                )
            there = not faults
            return verdict(
                Part.NETWORK, faults=faults, present=there, in_use=path.exists(), note=note
            )
        text = text_of(raw, card.NETWORK)
        if isinstance(text, Fault):
            faults.append(text)
        else:
            faults += _network_faults(text)
            if not faults:
                whole.write(path, text.encode(), mode=_ROOT_ONLY)
        return verdict(Part.NETWORK, faults=faults, present=True, in_use=path.exists())

    def _keys(self, contents: card.Contents) -> Verdict:
        path = self._places.config / card.KEYS
        raw = contents.files.get(card.KEYS, b"")
        unread = [fault for fault in contents.faults if fault.where == card.KEYS]
        found = shell_keys.read(raw, card.KEYS)
        if found.lines:
            whole.write(path, _lines(found))
        else:
            _remove(path)
        return verdict(
            Part.KEYS,
            faults=(*unread, *found.faults),
            present=bool(found.lines),
            in_use=False,
            note=Sentence(f"{len(found.lines)} kunci", f"keys: {len(found.lines)}")
            if found.lines
            else None,
        )

    # ---- the record ----

    def _recorded(self) -> _Record:
        try:
            raw = (self._places.config / RECORD).read_bytes()[:_RECORD_MAX_BYTES]
            found = json.loads(raw)
            return _Record(
                digest=str(found["digest"]),
                generation=str(found["generation"]),
                host=str(found["host"]),
                count=int(found["count"]),
                trouble=tuple(str(part) for part in found["trouble"]),
                switch=str(found["switch"]),
                place=str(found["place"]),
                holds={str(what): str(how) for what, how in found["holds"].items()},
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return _Record()

    def _write_record(self, record: _Record) -> None:
        told = {
            "digest": record.digest,
            "generation": record.generation,
            "host": record.host,
            "count": record.count,
            "trouble": list(record.trouble),
            "switch": record.switch,
            "place": record.place,
            "holds": dict(record.holds),
        }
        whole.write(self._places.config / RECORD, json.dumps(told, indent=1).encode())

    # ---- the system ----

    def _apply(self, record: _Record) -> None:
        wanted = self._kept_network()
        for folder, files, ours, mode in (
            (self._places.networkd, network.networkd(wanted), "*-edge-agent-*.network", _EVERYONE),
            (
                self._places.wifi,
                network.supplicant(wanted),
                f"wpa_supplicant-{network.WIFI_SOCKET}.conf",
                _ROOT_ONLY,
            ),
            (self._places.timesyncd, network.timesyncd(wanted), "edge-agent.conf", _EVERYONE),
            (self._places.ssh, dict(self._kept_keys()), card.KEYS, _EVERYONE),
        ):
            if folder is not None:
                try:
                    _mirror(folder, files, ours, mode)
                except OSError as error:
                    self._fail(str(folder), error)
        if self._name_host is not None and record.host:
            try:
                self._name_host(record.host)
            except OSError as error:
                self._fail("the host name", error)

    def _kept_network(self) -> network.Network:
        """As kept; by DHCP if there is nothing, or nothing that this version can read."""
        try:
            raw = (self._places.config / card.NETWORK).read_bytes()
            return network.read(raw.decode(), card.NETWORK)
        except FileNotFoundError:
            return network.Network()
        except (OSError, ValueError, ConfigError) as error:
            self._say(f"the network settings cannot be read, wired by DHCP: {type(error).__name__}")
            return network.Network()

    def _kept_keys(self) -> Iterator[tuple[str, str]]:
        with contextlib.suppress(OSError, ValueError):
            yield card.KEYS, (self._places.config / card.KEYS).read_text(encoding="ascii")

    def _fail(self, what: str, error: OSError) -> None:
        self._failed = True
        self._say(f"{what}: {error.strerror or error}")


def _holds(settings: Settings) -> dict[str, str]:
    """What decides whether a picture gets out, apart from its street, which its view proves: by name, as hashes."""
    runs = {run.camera: run for run in settings.runs}
    parts: dict[str, object] = {
        _PRIVACY: settings.privacy,
        "inputs": settings.electrics,
        "seal": settings.hub.recipient,
    }
    parts |= {f"camera {one.id}": runs.get(one.id) for one in settings.cameras}
    return {
        what: hashlib.sha256(repr(part).encode()).hexdigest()[:16] for what, part in parts.items()
    }


def _network_faults(text: str) -> list[Fault]:
    try:
        network.read(text, card.NETWORK)
    except ConfigError as error:
        return [
            Fault(where=fault.where, line=fault.line, said=said, allowed=fault.allowed, remedy=told)
            for fault in error.faults
            for said, told in (card_words.of_config(fault.found, fault.remedy),)
        ]
    return []


def _storage_report(count: int, error: OSError) -> Report:
    said = Sentence(
        f"penyimpanan kotak tidak dapat ditulis ({error.strerror})",
        f"the box's storage cannot be written ({error.strerror})",
    )
    remedy = Sentence("siapkan kartu baru", "flash another card")
    fault = Fault(where="EDGEDATA", said=said, remedy=remedy)
    refused = verdict(Part.BOX, faults=[fault], present=True, in_use=True)
    return Report(place="", count=count, verdicts=(refused,))


def _mirror(folder: Path, files: Mapping[str, str], ours: str, mode: int) -> None:
    """Exactly *files* of those that *ours* matches are in *folder*. OSError."""
    if files:
        # Not by `whole`, whose folders are the agent's alone: networkd and sshd look in here as users of their own.
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    for name, text in files.items():
        raw = text.encode()
        path = folder / name
        if not path.is_file() or path.read_bytes() != raw:
            whole.write(path, raw, mode=mode)
    for path in folder.glob(ours):
        if path.name not in files:
            path.unlink()


def _lines(found: shell_keys.ShellKeys) -> bytes:
    return "".join(f"{line}\n" for line in found.lines).encode()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _remove(path: Path) -> None:
    if path.exists():
        path.unlink()
        whole.sync_folder(path.parent)


def make_folder(folder: Path, group_id: int | None) -> None:
    """The configuration's folder: root writes, the service's group reads, nobody else. OSError."""
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    if os.geteuid() == 0 and group_id is not None:
        os.chown(folder, 0, group_id)
        folder.chmod(0o750)
