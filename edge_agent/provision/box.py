"""What the agent will run on: box.toml with what it names in hub/ and secrets/, and this box's certificate, judged by two verdicts.

Promises: what is installed was loaded first, from the very files that will be used, by the agent's own reader; every fault at
once; a certificate that is not for this box's key is left out, and the one in use stays, or a stand-in takes its place, so that
switch, lamps and journal work before the city has answered; a slip in box.toml does not hold back a certificate, nor the reverse.
Not its job: the network, SSH, what is told of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_agent.config import ConfigError, ConfigFault, load
from edge_agent.config.faults import line_numbers
from edge_agent.core import card_words
from edge_agent.core.card import Fault, Part, Verdict, verdict
from edge_agent.core.settings import CameraKind, Settings
from edge_agent.core.words import Sentence
from edge_agent.provision import card, hub, identity, secret
from edge_agent.provision.text import text_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

    from edge_agent.provision.keep import Kept

MISSING: Final = Sentence("berkas tidak ada di kartu", "no such file on the card")
_PUT_BACK: Final = Sentence(
    "taruh box.toml di kartu; contohnya ada di docs/box.example.toml",
    "put a box.toml on the card; docs/box.example.toml is an example",
)
_LOST: Final = Fault(
    where="EDGEDATA",
    said=Sentence(
        "bagian data kartu tidak dapat dipakai: kunci kotak dan catatannya hilang bersama listrik",
        "the card's data partition cannot be used: the box's key and its records go with the power",
    ),
    remedy=Sentence(
        "siapkan kartu baru; jangan kirim box.csr dari kartu ini",
        "flash another card; do not send box.csr from this one",
    ),
)
_OLDER: Final = Fault(
    where=card.CERTIFICATE,
    said=Sentence("lebih lama daripada yang dipakai", "older than the one in use"),
    remedy=Sentence(
        "taruh yang terbaru dari kota, atau hapus berkas ini dari kartu",
        "put the city's newest one there, or delete this file from the card",
    ),
)
_INSIDE: Final = Sentence(
    "tulis nama seperti di kartu, tanpa / di depan: hub/..., secrets/...",
    "write the name as on the card, without / in front: hub/..., secrets/...",
)
_SEND: Final = Sentence(
    "kirim box.csr dari kartu ini ke kota, lalu taruh jawabannya di kartu sebagai hub/box.pem",
    "send box.csr from this card to the city, and put what comes back on the card as hub/box.pem",
)
_OUTSIDE: Final = Sentence(
    "tulis jalur lengkap mulai dengan /, atau hapus baris ini",
    "write the whole path, beginning with /, or delete this line",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was judged, and what is in use now. `settings` None: nothing is."""

    settings: Settings | None
    verdicts: tuple[Verdict, ...]
    notes: tuple[Sentence, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Certificate:
    """Which certificate to use."""

    raw: bytes  # empty: none can be had
    verdict: Verdict


def judge(
    contents: card.Contents,
    kept: Kept,
    now: Path | None,
    key: ec.EllipticCurvePrivateKey | None,
    *,
    wall_s: float | None,
    lost: bool = False,
) -> Outcome:
    """Judge the card and install what is good of it. *now*: what is in use; *key* None: it is damaged; *lost*: it goes with the
    power, as all that is kept. OSError."""
    used = {} if now is None else _files(now)
    certificate = _certificate(contents, used, key, wall_s=wall_s, lost=lost)
    new = _New(contents, certificate.raw, wall_s=wall_s)
    settings = new.load(kept)
    if settings is None and now is not None:
        # The certificate may be good although box.toml is not.
        settings = _exchange(kept, used, certificate.raw)
    box = verdict(
        Part.BOX,
        faults=new.faults,
        present=card.BOX in contents.files,
        in_use=settings is not None,
    )
    needs = settings is not None and settings.hub.tls is not None
    verdicts = (box, certificate.verdict) if needs or certificate.verdict.faults else (box,)
    return Outcome(settings=settings, verdicts=verdicts, notes=tuple(new.notes))


# ---- the certificate ----


def _certificate(
    contents: card.Contents,
    used: Mapping[str, bytes],
    key: ec.EllipticCurvePrivateKey | None,
    *,
    wall_s: float | None,
    lost: bool,
) -> _Certificate:
    before = used.get(card.CERTIFICATE, b"")
    if key is not None and before and not hub.is_for(before, key.public_key()):
        before = b""
    real = bool(before) and not identity.is_stand_in(before)
    raw = contents.files.get(card.CERTIFICATE)
    faults = [fault for fault in contents.faults if fault.where == card.CERTIFICATE]
    note: Sentence | None = None
    chosen = before
    if key is None:
        faults.append(_damaged_key())
    elif lost:
        faults.append(_LOST)  # a certificate for this key would be of no use at the next start
    elif raw is not None:
        found = _judged(raw, key, before if real else b"", wall_s=wall_s)
        if isinstance(found, Fault):
            faults.append(found)
        else:
            chosen, note = found.raw, Sentence(f"sampai {found.until}", f"until {found.until}")
    if not chosen and key is not None:
        chosen = identity.stand_in(key)
    if not real and raw is None and key is not None and not lost:
        note = _SEND
    return _Certificate(
        raw=chosen,
        verdict=verdict(
            Part.CERTIFICATE, faults=faults, present=raw is not None, in_use=real, note=note
        ),
    )


def _judged(
    raw: bytes, key: ec.EllipticCurvePrivateKey, before: bytes, *, wall_s: float | None
) -> hub.Sound | Fault:
    """The certificate on the card; *before*: the city's one that is in use, if any."""
    found = hub.certificate(raw, card.CERTIFICATE, key.public_key(), wall_s=wall_s)
    if isinstance(found, Fault) or not before:
        return found
    # What was renewed from the one in use would be given up for it, expired or not: no clock vouches at a start.
    return _OLDER if hub.is_older(found.raw, than=before) else found


def _damaged_key() -> Fault:
    return Fault(
        where=identity.KEY,
        said=Sentence(
            "kunci kotak di kartu ini rusak", "the box's own key on this card is damaged"
        ),
        remedy=Sentence(
            "siapkan kartu baru; kotak membuat kunci baru dan box.csr baru",
            "flash another card; the box makes a new key and a new box.csr",
        ),
    )


def _exchange(kept: Kept, used: Mapping[str, bytes], certificate: bytes) -> Settings | None:
    """The configuration in use with *certificate*; its settings, None = it cannot be used any more."""
    staged = kept.stage({**used, card.CERTIFICATE: certificate} if certificate else used)
    try:
        settings = load(str(staged / card.BOX))
    except ConfigError:  # a newer agent is stricter than the one that took it
        kept.forget()
        return None
    kept.install(staged)
    return settings


def _files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


# ---- box.toml, hub/ and secrets/ ----


class _New:
    """The configuration on the card."""

    def __init__(
        self, contents: card.Contents, certificate: bytes, *, wall_s: float | None
    ) -> None:
        others = {card.CERTIFICATE, card.NETWORK, card.KEYS}
        self.faults = [
            fault
            for fault in contents.faults
            if fault.where not in others and not fault.where.startswith(card.SECRETS)
        ]
        self.notes: list[Sentence] = []
        self._contents = contents
        self._wall_s = wall_s
        self._files = {card.CERTIFICATE: certificate} if certificate else {}
        self._bad = [fault.where for fault in self.faults]
        self._text = self._box()
        self._hub()
        self._secrets()

    def load(self, kept: Kept) -> Settings | None:
        """Install it; None = it has faults, and nothing changed. OSError."""
        if card.BOX not in self._files:
            return None
        staged = kept.stage(self._files)
        settings: Settings | None = None
        try:
            settings = load(str(staged / card.BOX))
        except ConfigError as error:
            told = (self._of_config(fault, staged) for fault in error.faults)
            self.faults += [fault for fault in told if fault is not None]
        if settings is not None:
            self.faults += _misplaced(settings, staged, line_numbers(self._text))
        if settings is None or self.faults:
            kept.forget()
            return None
        kept.install(staged)
        return settings

    def _box(self) -> str:
        raw = self._contents.files.get(card.BOX)
        if raw is None:
            if card.BOX not in self._bad:
                self.faults.append(Fault(where=card.BOX, said=MISSING, remedy=_PUT_BACK))
            return ""
        text = text_of(raw, card.BOX)
        if isinstance(text, Fault):
            self.faults.append(text)
            return ""
        self._files[card.BOX] = text.encode()
        return text

    def _hub(self) -> None:
        raw = self._contents.files.get(card.CA)
        if raw is not None:
            self._judged(card.CA, hub.authorities(raw, card.CA, wall_s=self._wall_s))
        raw = self._contents.files.get(card.ORDERS)
        if raw is not None:
            self._judged(card.ORDERS, hub.orders(raw, card.ORDERS))

    def _judged(self, name: str, found: hub.Sound | Fault) -> None:
        if isinstance(found, Fault):
            self.faults.append(found)
            self._bad.append(name)
        else:
            self._files[name] = found.raw

    def _secrets(self) -> None:
        names = [name for name in self._contents.files if name.startswith(card.SECRETS)]
        unread = {
            fault.where: fault
            for fault in self._contents.faults
            if fault.where.startswith(card.SECRETS)
        }
        for name in sorted({*names, *unread}):
            aliases = card.secret_names(name.removeprefix(card.SECRETS))
            wanted = any(
                f'{alias}"' in self._text or f"{alias}'" in self._text for alias in aliases
            )
            found = unread.get(name) or secret.read(self._contents.files[name], name)
            if isinstance(found, Fault) and wanted:
                self.faults.append(found)
                found = b"-\n"  # said once is enough: nothing is installed any more
            if not wanted and self._text:
                self.notes.append(
                    Sentence(
                        f"{name} tidak dipakai: box.toml tidak menyebutnya",
                        f"{name} is not used: box.toml does not name it",
                    )
                )
            elif wanted and isinstance(found, bytes):
                for alias in aliases:
                    self._files.setdefault(f"{card.SECRETS}{alias}", found)

    def _of_config(self, fault: ConfigFault, staged: Path) -> Fault | None:
        """None = it only repeats what was said of the file itself."""
        found = fault.found.replace(f"{staged}/", "")
        if any(found.startswith(f"{name}:") for name in self._bad):
            return None
        said, remedy = card_words.of_config(found, fault.remedy.replace(f"{staged}/", ""))
        where = fault.where.replace(f"{staged}/", "")
        return Fault(where=where, line=fault.line, said=said, allowed=fault.allowed, remedy=remedy)


def _misplaced(settings: Settings, staged: Path, lines: Mapping[str, int]) -> Iterator[Fault]:
    """What is a sound box.toml, but none that can be used from a card."""
    for key, said, remedy in (
        *_of_hub(settings, staged),
        *_of_cameras(settings, staged),
        *_of_folders(settings, staged),
    ):
        line = lines.get(key)
        yield Fault(where=f"{card.BOX}: {key}", line=line, said=said, remedy=remedy)


def _of_hub(settings: Settings, staged: Path) -> Iterator[tuple[str, Sentence, Sentence]]:
    tls, order_key = settings.hub.tls, settings.hub.order_key_file
    name = identity.place(settings.identity)
    if order_key is not None and not Path(order_key).is_relative_to(staged):
        yield "hub.order_key_file", *_off_card()
    if tls is None:
        return
    if not Path(tls.ca_file).is_relative_to(staged):
        yield "hub.ca_file", *_off_card()
    if tls.certificate_file != str(staged / card.CERTIFICATE):
        yield "hub.certificate_file", *_must_be(f'certificate_file = "{card.CERTIFICATE}"')
    if tls.key.file != str(staged / identity.KEY):
        yield "hub.key_file", *_must_be(f'key_file = "{identity.KEY}"')
    if len(name) > identity.COMMON_NAME_MAX:
        yield (
            "identity",
            Sentence(
                f"{name}: {len(name)} huruf, terlalu panjang untuk sertifikat",
                f"{name}: {len(name)} characters, too long for a certificate",
            ),
            Sentence(
                f"persingkat, bersama-sama paling banyak {identity.COMMON_NAME_MAX} dengan garis miringnya",
                f"shorten them: at most {identity.COMMON_NAME_MAX} together, with the slashes",
            ),
        )


def _of_cameras(settings: Settings, staged: Path) -> Iterator[tuple[str, Sentence, Sentence]]:
    for index, camera in enumerate(settings.cameras):
        secret_at, path = camera.password, f"camera[{index}]"
        if camera.kind is CameraKind.CLIP and Path(camera.source).is_relative_to(staged):
            yield f"{path}.path", *_elsewhere()
        if secret_at is None:
            continue
        secrets = staged / card.SECRETS
        if secret_at.file is not None and not Path(secret_at.file).is_relative_to(secrets):
            yield f"{path}.password_file", *_must_be('password_file = "secrets/..."')
        name = secret_at.credential
        if name is not None and not (secrets / name).is_file():
            yield (
                f"{path}.password_credential",
                Sentence(
                    f"secrets/{name} tidak ada di kartu", f"there is no secrets/{name} on the card"
                ),
                Sentence(
                    "buat berkas itu dengan kata sandi di dalamnya",
                    "make that file, with the password in it",
                ),
            )


def _of_folders(settings: Settings, staged: Path) -> Iterator[tuple[str, Sentence, Sentence]]:
    folders = {
        "journal.folder": settings.journal.folder,
        "paths.views_folder": settings.views_folder,
        "paths.baselines_folder": settings.baselines_folder,
        "paths.pairs_folder": settings.pairs_folder,
        "paths.status_socket": settings.status_socket,
    }
    for key, folder in folders.items():
        if Path(folder).is_relative_to(staged):
            yield key, *_elsewhere()


def _off_card() -> tuple[Sentence, Sentence]:
    return Sentence("menunjuk ke luar kartu", "points to somewhere off the card"), _INSIDE


def _elsewhere() -> tuple[Sentence, Sentence]:
    return Sentence("bukan jalur lengkap", "not a whole path"), _OUTSIDE


def _must_be(line: str) -> tuple[Sentence, Sentence]:
    return (
        Sentence("berkas lain", "another file"),
        Sentence(f"tulis: {line}", f"write: {line}"),
    )
