"""What a box.toml may hold: its tables, keys and bounds, and what must fit together across them.

Promise: every fault of the file is noted in one pass; docs/configuration.md lists the same keys (a test compares them).
Not its job: reading the file, wording common faults (table.py).
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from edge_agent import baselines
from edge_agent.config.faults import PRINTABLE, Notes, show
from edge_agent.config.files import Trouble
from edge_agent.config.privacy import privacy_line, read_privacy
from edge_agent.config.table import Table
from edge_agent.config.wiring import check_wiring, read_electrics, read_run
from edge_agent.core.settings import (
    CAMERA_ID,
    Camera,
    CameraKind,
    Health,
    Hub,
    Identity,
    Journal,
    MeasuredLoop,
    Privacy,
    Relay,
    SecretRef,
    Settings,
    Settlement,
    SwitchKind,
    Tls,
    is_loopback,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MB: Final = 1_000_000
_CAMERAS_MAX: Final = 32  # the capture worker's memory limit is reckoned for no more
_SOCKET_PATH_MAX_BYTES: Final = 107  # sun_path holds 108 with its end mark
_PEM_MAX_BYTES: Final = 1_000_000  # a bundle of all public authorities has 250 kB

_TOPIC_LEVEL: Final = re.compile(r"[a-z0-9-]{1,48}")
_CAMERA_ID: Final = re.compile(CAMERA_ID)
_HOST_NAME: Final = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*",
    re.IGNORECASE,
)
_ADDRESS: Final = re.compile(r"[\x21-\x7e]{1,253}")
_USERNAME: Final = re.compile(r"[^\x00-\x20\x7f-\x9f\ud800-\udfff:@/]{1,64}")
_VIDEO_DEVICE: Final = re.compile(r"/dev/(video\d{1,3}|v4l/by-(id|path)/[A-Za-z0-9_.:@+-]{1,200})")
_URL_TEXT: Final = re.compile(r"[\x21-\x7e]{1,1000}")
_SECRET_IN_URL: Final = re.compile(r"(?i)(pass(word|wd|wort)?|pwd|secret|token|sandi)=[^&/?#]")

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
_NETWORK_KEYS: Final = (
    *("url", "preset", "host", "channel"),
    *("username", "password_file", "password_credential"),
)
_SOURCE_KEYS: Final[Mapping[CameraKind, tuple[str, ...]]] = {
    CameraKind.RTSP: _NETWORK_KEYS,
    CameraKind.HTTP: _NETWORK_KEYS,
    CameraKind.V4L2: ("device",),
    CameraKind.CLIP: ("path",),
}
_ANY_SOURCE_KEYS: Final = tuple(
    dict.fromkeys(key for keys in _SOURCE_KEYS.values() for key in keys)
)
_DEFAULTS: Final = Settings(
    identity=Identity(kelurahan="", rw="", rt="", box=""),
    hub=Hub(host="", port=0, tls=None),
    privacy=Privacy(switch=SwitchKind.LATCHING),
)


def read_document(document: Table, notes: Notes) -> Settings:
    """The settings of a whole file; to be thrown away if *notes* holds a fault afterwards."""
    paths = document.table("paths", required=False)
    sensors = document.table("sensors", required=False)
    settings = Settings(
        identity=_identity(document.table("identity", required=True)),
        hub=_hub(document.table("hub", required=True)),
        cameras=tuple(_camera(table) for table in document.tables("camera")),
        runs=tuple(read_run(table) for table in document.tables("run")),
        privacy=read_privacy(document.table("privacy", required=True)),
        journal=_journal(document.table("journal", required=False)),
        health=_health(document.table("health", required=False)),
        electrics=read_electrics(sensors),
        baselines_folder=paths.path_to(
            "baselines_folder",
            what="the folder of the commissioned baselines",
            default=_DEFAULTS.baselines_folder,
        ),
        views_folder=paths.path_to(
            "views_folder",
            what="the folder of the commissioned views",
            default=_DEFAULTS.views_folder,
        ),
        pairs_folder=paths.path_to(
            "pairs_folder",
            what="the folder of renewed certificates and their keys",
            default=_DEFAULTS.pairs_folder,
        ),
        status_socket=_status_socket(paths),
    )
    paths.close()
    document.close()
    _check_cameras(settings, notes)
    _check_runs(settings, notes)
    check_wiring(settings, notes, excitation_given=sensors.has("excitation_pin"))
    return settings


def _identity(table: Table) -> Identity:
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


def _hub(table: Table) -> Hub:
    host = table.text(
        "host",
        _ADDRESS,
        allowed="a host name or an IP address",
        remedy="the hub's name, without mqtt:// and without a port",
    )
    if host and not _is_host(host):
        table.fault(
            "host",
            found=show(host),
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
        renew_url=_renew_url(table, tls),
        recipient=_recipient(table),
    )
    table.close()
    return hub


def _tls(table: Table, host: str) -> Tls | None:
    """Mutual TLS whole, or none at all and then only on the box itself."""
    given = [
        key
        for key in ("ca_file", "certificate_file", "key_file", "key_credential")
        if table.has(key)
    ]
    if not given:
        if host and not is_loopback(host):
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


def _order_key(table: Table) -> str | None:
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


def _renew_url(table: Table, tls: Tls | None) -> str | None:
    if not table.has("renew_url"):
        return None
    allowed = "https://HOST[:PORT]/.well-known/est, as the city gave it"
    url = table.text(
        "renew_url",
        _URL_TEXT,
        allowed=allowed,
        remedy="the address of the city's EST endpoint",
        shown=False,
    )
    if not url:
        return None
    try:
        parts = urlsplit(url)
        host, port_is_sound = parts.hostname or "", parts.port != 0
    except ValueError:
        host, port_is_sound, parts = "", False, urlsplit("")
    secret = parts.username is not None or parts.password is not None or "?" in url or "#" in url
    if secret or parts.scheme != "https" or not port_is_sound or not _is_host(host):
        table.fault(
            "renew_url",
            found="something else (not shown)",
            allowed=allowed,
            remedy="https, a host, no user name, no ? and no #: the box shows its certificate there",
        )
        return None
    if tls is None:
        table.fault(
            "renew_url",
            found="an endpoint for renewals, but no certificate to renew",
            allowed="only together with ca_file, certificate_file and key_file",
            remedy="add them, or delete renew_url",
        )
        return None
    return url


def _recipient(table: Table) -> str | None:
    if not table.has("recipient"):
        return None
    # Imported here: 3 MB that a box without it never uses.
    from edge_agent.seal import recipient_fault  # noqa: PLC0415

    # Never repeated: a slip of the hand may have put the secret half here.
    allowed, remedy = "the hub's public age recipient (age1...)", "ask the city for its line"
    text = table.text("recipient", _ADDRESS, allowed=allowed, remedy=remedy, shown=False)
    why = recipient_fault(text) if text else ""
    if why:
        table.fault("recipient", found="something else (not shown)", allowed=allowed, remedy=why)
        return None
    return text or None


def _pem(table: Table, key: str, label: str, *, what: str) -> str:
    """A PEM file that holds a *label*, and no private key beside it."""
    path = table.file(key, what=what)
    if not path:
        return ""
    try:
        with Path(path).open("rb") as file:
            content = file.read(_PEM_MAX_BYTES)
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


def _camera(table: Table) -> Camera:
    identifier = table.text(
        "id",
        _CAMERA_ID,
        allowed="a to z, 0 to 9 and '-', 1 to 48 characters, no '-' at the beginning",
        remedy="a short name that never changes, like gate-north",
    )
    name = table.text(
        "name",
        PRINTABLE,
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


def _source(table: Table, kind: CameraKind | None) -> str:
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


def _clip(table: Table) -> str:
    path = table.path_to("path", what="a recording, or a folder of pictures")
    if path and not Path(path).exists():
        table.fault(
            "path",
            found=f"{path}: no such file or folder",
            allowed="a recording, or a folder of pictures",
            remedy="correct the path",
        )
    return path


def _preset(table: Table, kind: CameraKind) -> str:
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
        trouble = Trouble(
            "more than an address (not shown)",
            "the IP address, :port after it if needed",
            "the preset adds the rest itself",
        )
    if trouble is not None:
        table.fault("host", found=trouble.found, allowed=trouble.allowed, remedy=trouble.remedy)
        return ""
    return _PRESETS[kind, preset].format(host=host, channel=channel)


def _camera_url(table: Table, kind: CameraKind | None) -> str:
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
        trouble = Trouble(
            f"a URL that does not begin with {schemes[0]}://, as kind asks for",
            allowed,
            "correct the URL or kind",
        )
    if trouble is not None:
        table.fault("url", found=trouble.found, allowed=trouble.allowed, remedy=trouble.remedy)
        return ""
    return url


def _address_trouble(url: str) -> Trouble | None:
    """What is wrong with the host part of *url*; never repeats more of it than the host."""
    allowed = "an IP address as host, no user name or password"
    try:
        parts = urlsplit(url)
        host, port_is_sound = parts.hostname or "", parts.port != 0
    except ValueError:
        return Trouble("no valid URL (not shown)", allowed, "check brackets and port")
    if parts.username is not None or parts.password is not None or _SECRET_IN_URL.search(url):
        remedy = 'take it out of the URL and write username = "..." and password_file = "..."; it was readable here, so change it'
        return Trouble("a user name or password within the URL (not shown)", allowed, remedy)
    if not host or not port_is_sound:
        return Trouble(
            "a URL without a host and port that can be used",
            allowed,
            "write it like rtsp://192.168.1.64:554/path",
        )
    try:
        ipaddress.ip_address(host)
    except ValueError:
        remedy = "give the camera a fixed IP address and write that: looking up a name can hang for minutes when the network is down"
        return Trouble(f"the host name {show(host)}", allowed, remedy)
    return None


def _login(table: Table, kind: CameraKind | None) -> tuple[str | None, SecretRef | None]:
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


def _journal(table: Table) -> Journal:
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


def _health(table: Table) -> Health:
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


def _status_socket(table: Table) -> str:
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


def _check_cameras(settings: Settings, notes: Notes) -> None:
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


def _check_runs(settings: Settings, notes: Notes) -> None:
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


def _is_host(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        # All digits and dots, but no address: a mistyped one, not a name.
        return bool(_HOST_NAME.fullmatch(text)) and not re.fullmatch(r"[\d.]+", text)
    return True


def summary(path: str, settings: Settings) -> str:
    """What a sound file says, so that a person can see that it says what was meant."""
    identity, hub = settings.identity, settings.hub
    security = "mutual TLS" if hub.tls else "plain TCP on this box only"
    if hub.renew_url is not None:
        security += ", certificate renewed by the box"
    orders = "obeys signed orders" if hub.order_key_file else "obeys no orders (no order_key_file)"
    sealing = "pictures sealed" if hub.recipient else "pictures not sealed (no recipient)"
    return "\n".join(
        [
            f"{path}: sound",
            f"    box:     {identity.kelurahan}/{identity.rw}/{identity.rt}/{identity.box}",
            f"    hub:     {hub.host}:{hub.port}, {security}, {orders}, {sealing}",
            f"    cameras: {', '.join(f'{camera.id} ({camera.kind.value})' for camera in settings.cameras) or 'none'}",
            f"    runs:    {len(settings.runs)}, of these {_loops(settings)} with a supervised loop",
            f"    privacy: {privacy_line(settings.privacy)}",
            *(f"    note:    {note}" for note in _notes(settings)),
        ]
    )


def _loops(settings: Settings) -> int:
    return sum(run.loop is not None for run in settings.runs)


def _notes(settings: Settings) -> Iterator[str]:
    """What is no fault of the file, but still to be done, or to be known, before all of it works."""
    privacy = settings.privacy
    if privacy.relay is not Relay.NONE and not privacy.cut_power:
        yield (
            "with cut_power = false the relay cannot show that the switch's two contacts were swapped:"
            " press the switch once after the installation (docs/privacy.md)"
        )
    for run in settings.runs:
        if isinstance(run.loop, MeasuredLoop):
            known = baselines.load(settings.baselines_folder, run, settings.electrics)
            if known is None:
                yield f"the loop of {run.camera} was never commissioned; at the box: edge-agent commission {run.camera} --run"
            elif isinstance(known, baselines.BaselineFault):
                yield known.why
