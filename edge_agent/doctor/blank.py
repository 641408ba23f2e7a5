"""A configuration, and any text, fit to be shown to a support desk: what is known to be harmless stays, all else goes.

Promises: of box.toml a value is shown only if its key is listed here and the value has the very shape that the key allows:
a number within its bounds, one of a few words, an address; no free text, no file's name, no name of a user. What was not shown
there is taken out of every other text too (`Scrub`), and so is the content of the secret files.
What goes to the hub as an address anyway is shown: the box's identity, the ids of its cameras, the hub's host.
Not its job: what else is in a bundle (bundle.py).
"""

from __future__ import annotations

import ipaddress
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias
from urllib.parse import quote, unquote, urlsplit

from edge_agent.core.settings import (
    CABLES,
    CAMERA_ID,
    CameraKind,
    LoopOpenPolicy,
    Relay,
    Settlement,
    SwitchKind,
)

# What may be shown of a value; None = nothing.
_Shape: TypeAlias = Callable[[object], object]

HIDDEN: Final = "(not shown)"
_TOO_SHORT: Final = 4  # shorter pieces are parts of ordinary words
# Usual names of users and credentials, which stand for nothing; as the content of a secret's file they are taken out all the same.
_ORDINARY: Final = {
    "admin",
    "agent",
    "box-key",
    "camera",
    "cameras",
    "operator",
    "root",
    "user",
    "viewer",
}


def _word(*words: str) -> _Shape:
    return lambda value: value if isinstance(value, str) and value in words else None


def _like(pattern: str) -> _Shape:
    known = re.compile(pattern)
    return lambda value: value if isinstance(value, str) and known.fullmatch(value) else None


def _number(low: float, high: float) -> _Shape:
    def shape(value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return value if low <= value <= high else None

    return shape


def _or_off(shape: _Shape) -> _Shape:
    return lambda value: value if isinstance(value, bool) else shape(value)


def _switch(value: object) -> object:
    return value if isinstance(value, bool) else None


def _hidden(value: object) -> object:
    """Whether it is there is all that may be known."""
    del value
    return None


def _address(value: object) -> object:
    try:
        return str(ipaddress.ip_address(value)) if isinstance(value, str) else None
    except ValueError:
        return None


def _host(value: object) -> object:
    name = re.compile(r"localhost|(?=.{4,100}\Z)([a-z][a-z0-9-]{0,30}\.){1,4}[a-z]{2,10}")
    known = _address(value)
    if known is None and isinstance(value, str) and name.fullmatch(value):
        return value
    return known


# Makers' paths; no other path is shown, as some cameras take their password in it.
_PATH: Final = re.compile(
    r"/Streaming/[Cc]hannels/\d{3,5}"
    r"|/ISAPI/(Streaming|ContentMgmt/StreamingProxy)/channels/\d{3,5}/picture"
    r"|/cam/realmonitor\?channel=\d{1,3}&subtype=\d"
    r"|/cgi-bin/snapshot\.cgi(\?channel=\d{1,3})?"
)


def _url(value: object) -> object:
    """Scheme, IP address and port; the path only where it is a maker's."""
    try:
        parts = urlsplit(value) if isinstance(value, str) else None
        host, port = (None, None) if parts is None else (_address(parts.hostname), parts.port)
    except ValueError:
        return None
    if parts is None or host is None or parts.scheme not in {"rtsp", "http", "https"}:
        return None
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    shown = path if _PATH.fullmatch(path) else f"/{HIDDEN}"
    return f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{shown}"


_LEVEL: Final = _like(r"[a-z0-9-]{1,48}")
_ID: Final = _like(CAMERA_ID)
_PIN: Final = _or_off(_number(0, 27))
_CHANNEL: Final = _or_off(_number(0, 7))
_OHM: Final = _or_off(_number(1, 1000))

_TABLES: Final[Mapping[str, Mapping[str, _Shape]]] = {
    "identity": {"kelurahan": _LEVEL, "rw": _LEVEL, "rt": _LEVEL, "box": _LEVEL},
    "hub": {
        "host": _host,
        "port": _number(1, 65_535),
        "ca_file": _hidden,
        "certificate_file": _hidden,
        "key_file": _hidden,
        "key_credential": _hidden,
        "settle": _word(*(kind.value for kind in Settlement)),
        "order_key_file": _hidden,
        "renew_url": _hidden,
        "recipient": _hidden,
    },
    "camera": {
        "id": _ID,
        "name": _hidden,
        "kind": _word(*(kind.value for kind in CameraKind)),
        "url": _url,
        "preset": _word("hikvision", "hikvision-nvr", "dahua"),
        "host": _address,
        "channel": _number(1, 256),
        "device": _like(r"/dev/video\d{1,2}"),
        "path": _hidden,
        "username": _hidden,
        "password_file": _hidden,
        "password_credential": _hidden,
        "period_s": _number(1, 3600),
    },
    "run": {
        "camera": _ID,
        "cable": _word(*CABLES),
        "length_m": _number(0.5, 500),
        "place": _hidden,
        "gps": _hidden,
        "loop_channel": _CHANNEL,
        "rref_ohm": _OHM,
        "eol_ohm": _OHM,
        "tamper_ohm": _OHM,
        "loop_pin": _PIN,
        "loop_open_policy": _word(*(policy.value for policy in LoopOpenPolicy)),
        "video_pin": _PIN,
        "alarm_pin": _PIN,
        "current_channel": _CHANNEL,
        "current_min_ma": _number(5, 600),
        "interface": _like(r"(eth|end|wlan|br|usb)\d{1,2}"),
        "nvr_events": _switch,
    },
    "privacy": {
        "switch": _word(*(kind.value for kind in SwitchKind)),
        "nc_pin": _PIN,
        "no_pin": _PIN,
        "lamp_private_pin": _PIN,
        "lamp_live_pin": _PIN,
        "buzzer_pin": _PIN,
        "relay": _word(*(kind.value for kind in Relay)),
        "relay_pin": _PIN,
        "feedback_pin": _PIN,
        "cut_power": _switch,
        "purge_s": _number(0, 600),
    },
    "sensors": {
        "adc": _word("mcp3208", "mcp3008"),
        "excitation_pin": _PIN,
        "power_pin": _PIN,
        "door_channel": _CHANNEL,
        "mains_pin": _PIN,
        "shutdown_pin": _PIN,
        "service_pin": _PIN,
    },
    "journal": {
        "folder": _word("/var/lib/edge-agent/journal"),
        "quota_mb": _number(20, 1_000_000),
        "disk_floor_mb": _number(50, 1_000_000),
    },
    "health": {
        "cpu_celsius_max": _number(40, 110),
        "disk_free_min_mb": _number(50, 1_000_000),
        "memory_used_max_percent": _number(10, 100),
        "report_s": _number(10, 86_400),
    },
    "paths": {
        "views_folder": _word("/var/lib/edge-agent/views"),
        "baselines_folder": _word("/var/lib/edge-agent/runs"),
        "pairs_folder": _word("/var/lib/edge-agent/pairs"),
        "status_socket": _word("/run/edge-agent/status.sock"),
    },
}
_MANY: Final = ("camera", "run")


def keys() -> Iterator[tuple[str, str]]:
    """(table, key) of all that is known here."""
    for table, shapes in _TABLES.items():
        yield from ((table, key) for key in shapes)


def known_path(path: str) -> str:
    """A key path, or a place in a text, with each name that is not known left out."""
    if re.fullmatch(r"line \d{1,9}, column \d{1,9}|byte \d{1,9}", path):
        return path
    table, _, key = path.partition(".")
    name = re.sub(r"\[\d{1,3}\]$", "", table)
    if name not in _TABLES:
        return "a key that is not known"
    if not key:
        return table
    return f"{table}.{key}" if key in _TABLES[name] else f"{table}: a key that is not known"


def blanked(document: Mapping[str, object]) -> str:
    """The configuration as text, with nothing in it that is not known to be harmless."""
    lines: list[str] = []
    odd = 0
    for name, shapes in _TABLES.items():
        for table in _tables(document, name):
            lines += ["", f"[[{name}]]" if name in _MANY else f"[{name}]"]
            for key, value in table.items():
                if key in shapes:
                    shown = shapes[key](value)
                    lines.append(f"{key} = {json.dumps(HIDDEN if shown is None else shown)}")
                else:
                    odd += 1
    odd += sum(name not in _TABLES for name in document)
    lines.append(f"\n# {odd} keys that are not known, not shown")
    return "\n".join(lines).lstrip("\n") + "\n"


def _tables(document: Mapping[str, object], name: str) -> list[Mapping[str, object]]:
    found = document.get(name)
    tables = found if isinstance(found, list) else [found]
    return [table for table in tables if isinstance(table, dict)]


def parse(text: str) -> Mapping[str, object] | None:
    """The document; None: it is not TOML."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError):
        return None


# ---- other texts ----


class Scrub:
    """Takes out of any text what was not shown of a configuration, the secrets it leads to, and what looks like one."""

    def __init__(self, text: str, secrets: Sequence[str] = ()) -> None:
        """*text*: of box.toml; *secrets*: contents of the files it names."""
        document = parse(text)
        # Not TOML: all in quotes, and all that stands behind a "=", may be what somebody wanted hidden.
        hidden = set(_quoted(text) if document is None else _unshown(document)) - _ORDINARY
        pieces = {piece for secret in (*secrets, *hidden) for piece in _forms(secret)}
        # The longest first: one secret may be the beginning of another.
        ordered = sorted(pieces, key=lambda piece: (-len(piece), piece))
        self._known = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def __call__(self, text: str) -> str:
        """*text* without them; line ends stay."""
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        for pattern, instead in _LOOKS:
            text = pattern.sub(instead, text)
        return _COMMANDS.sub("?", text)


# What a terminal or an editor would obey: controls, and marks that turn the direction of writing.
_COMMANDS: Final = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_LOOKS: Final = (
    # A key of which the text has only the end.
    (re.compile(r"\A(?:(?!-----BEGIN).)*?-----END [^-]{1,40}-----", re.DOTALL), HIDDEN),
    (re.compile(r"-----BEGIN [^-]{1,40}-----.*?(-----END [^-]{1,40}-----|\Z)", re.DOTALL), HIDDEN),
    # Up to the last "@": a password that was typed into a URL as it is may have "/" and "@" in it.
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]{0,20}://)[^\s\"'<>]{0,300}@"), rf"\1{HIDDEN}@"),
    (
        re.compile(
            r"(?i)\b(\w{0,40}(?:pass|pwd|psk|secret|token|sandi|authorization)\w{0,40}[\"']?\s{0,9}[=:]\s{0,9})(\"[^\"\n]*\"|'[^'\n]*'|(basic |bearer |digest )?\S+)"
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"\beyJ[\w-]{8,}(\.[\w-]*){1,4}"), HIDDEN),
    (re.compile(r"(?i)AGE-SECRET-KEY-\S+"), HIDDEN),
    # A login as it goes over the wire, without its header's name: Basic, and what Digest proves a password with.
    (re.compile(r"(?i)\b(basic|bearer) +[A-Za-z0-9+/._~-]{8,}={0,2}"), rf"\1 {HIDDEN}"),
    (re.compile(r"(?i)\b(response|cnonce|nonce)=\"?[^\s\",]{8,}\"?"), rf"\1={HIDDEN}"),
    # Keys, hashes and picture bytes written as text; a boot's name has '-' in it and is shorter between them.
    (re.compile(r"[A-Za-z0-9+/]{40,}={0,2}"), HIDDEN),
    # The other alphabet, as in tokens: paths of ours are as long, but have no capitals and no digits both.
    (re.compile(r"(?=[\w-]{0,300}[A-Z])(?=[\w-]{0,300}[0-9])(?<![\w-])[\w-]{40,}"), HIDDEN),
    # A hash or key of 16 bytes, such as MD5 of a login.
    (re.compile(r"(?i)(?<![0-9a-z])[0-9a-f]{32,39}(?![0-9a-z])"), HIDDEN),
)


def _forms(secret: str) -> Iterator[str]:
    """As it may stand in a text: itself, each of its lines, as a part of a URL, within JSON."""
    for piece in {secret, secret.strip(), *secret.splitlines()}:
        for form in (piece, quote(piece, safe=""), quote(piece), json.dumps(piece)[1:-1]):
            if len(form) >= _TOO_SHORT and form != HIDDEN:
                yield form


def _unshown(document: Mapping[str, object]) -> Iterator[str]:
    for name, content in document.items():
        if name not in _TABLES:
            yield from _texts({name: content})
            continue
        for table in content if isinstance(content, list) else [content]:
            if not isinstance(table, dict):
                yield from _texts(table)
                continue
            for key, value in table.items():
                yield from _unshown_value(_TABLES[name].get(key), key, value)


def _unshown_value(shape: _Shape | None, key: str, value: object) -> Iterator[str]:
    if shape is None:
        yield from _texts({key: value})
    elif shape(value) is None:
        yield from _texts(value)
    elif shape is _url:
        yield from _parts(str(value))


def _parts(url: str) -> Iterator[str]:
    """What of a URL was left out."""
    parts = urlsplit(url)
    for part in (parts.username, parts.password):
        yield from (part or "", unquote(part or ""))
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    if not _PATH.fullmatch(path):
        yield url
        yield path.lstrip("/")
        yield from (part for part in re.split(r"[/?&=]", path) if len(part) >= _TOO_SHORT)
    if parts.fragment:
        yield parts.fragment


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif not isinstance(value, bool):
        yield str(value)


def _quoted(text: str) -> Iterator[str]:
    """What stands in quotes, or behind a "=", as it was written and as it was meant."""
    for found in re.finditer(r"\"((?:[^\"\\\n]|\\.)+)\"|'([^'\n]+)'", text):
        yield found[1] or found[2]
        yield from _meant(found[1] or "")
    for line in text.splitlines():
        yield line.partition("=")[2].strip().strip("\"'")


def _meant(escaped: str) -> Iterator[str]:
    """Without its backslashes, where they make sense."""
    try:
        yield str(json.loads(f'"{escaped}"'))
    except ValueError:
        return
