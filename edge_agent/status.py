"""What the agent sees now, for a person on the box: a socket that serves it, and the command that shows it.

Promises: whoever connects gets one JSON object and is let go; a client that is slow, silent or one of many never holds the
agent up; nothing that a client sends is ever read. Never a picture: the snapshot is made of words and numbers.
Who may ask is decided by the file system alone (socket 0660 in a folder 0750, both of the agent's group): there is nothing
here that a member of that group might not know, so the kernel's word on who connected is not asked for.

The object: `box version boot at wall_s clock_trusted simulated suspended suspension {until_s id en}`;
`private {on since_s fault switch last_press_test_age_s}`;
`cameras [{id name shown gate why link session fresh_video right_scene cable last_released_age_s period_s signal_detail gop_s}]`;
`journal {depth oldest_age_s used_bytes quota_bytes durable}`;
`uplink {state detail since_s in_flight settled_upto last_seq retry_in_s backfill_in_s line_bytes_per_s
pictures_wait_for_clock diagnosis {rung fault seen since_s id en steps [{rung holds seen}]} certificate {slot end_s due_s waiting trouble}}`;
`orders [{order cause cameras open_s id en bring {id [] en []}}]`, the open work orders;
`findings [{key camera since_s id en}]`. Unknown values are null. `{}` = the agent has only just started.

Exit codes of `edge-agent status`: 0 all well; 1 there are findings; 2 the agent does not answer.
Not its job: making the snapshot (core/agent.py).
"""

from __future__ import annotations

import argparse
import errno
import grp
import json
import logging
import os
import socket
import stat
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.console import RenderableType

DEFAULT_SOCKET: Final = "/run/edge-agent/status.sock"
CLIENTS_MAX: Final = 4
CLIENT_TIMEOUT_S: Final = 1.0
_ANSWER_MAX_BYTES: Final = 4_000_000
_ANSWER_TIMEOUT_S: Final = 3.0
_WATCH_S: Final = 1.0

EXIT_WELL: Final = 0
EXIT_FINDINGS: Final = 1
EXIT_SILENT: Final = 2

log = logging.getLogger("edge_agent")


# ---- the agent's side ----


class StatusServer:
    """Serves `snapshot()` at *path*. A socket that cannot be made costs the status, never the agent: one line says so."""

    def __init__(self, path: str, snapshot: Callable[[], bytes]) -> None:
        self._path = Path(path)
        self._snapshot = snapshot
        self._free = threading.Semaphore(CLIENTS_MAX)
        self._stop = threading.Event()
        self._listener: socket.socket | None = None
        self._inode: int | None = None
        self._thread = threading.Thread(target=self._accept, name="status", daemon=True)

    def __enter__(self) -> StatusServer:
        try:
            self._listener = self._listen()
        except OSError as error:
            log.warning("status unavailable socket=%s error=%s", self._path, error)
            return self
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        listener, self._listener = self._listener, None
        if listener is None:
            return
        self._stop.set()
        listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self._thread.join(timeout=5)
        try:
            # Or a newer agent has taken the place. As long as ours is held, nobody else's has its number.
            if self._path.lstat().st_ino == self._inode:
                self._path.unlink()
        except OSError:
            pass  # gone already: all the better
        listener.close()

    def _listen(self) -> socket.socket:
        folder = self._path.parent
        if not folder.is_dir():
            folder.mkdir(parents=True)
            folder.chmod(0o750)  # whatever the umask
        _remove_stale(self._path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            listener.bind(str(self._path))
            self._path.chmod(0o660)  # before anybody can be let in
            self._inode = self._path.lstat().st_ino
            listener.listen(CLIENTS_MAX)
        except OSError:
            listener.close()
            raise
        return listener

    def _accept(self) -> None:
        listener = self._listener
        while listener is not None and not self._stop.is_set():
            try:
                client, _ = listener.accept()
            except OSError:
                # Closing, or out of file descriptors for a while.
                self._stop.wait(1.0)
                continue
            if not self._free.acquire(blocking=False):
                client.close()
                continue
            threading.Thread(
                target=self._serve, args=(client,), name="status client", daemon=True
            ).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            with client:
                client.settimeout(CLIENT_TIMEOUT_S)  # for all of sendall, not for each piece
                client.sendall(self._snapshot() + b"\n")
        except OSError:
            pass  # it went away or does not read: its loss
        finally:
            self._free.release()


def _remove_stale(path: Path) -> None:
    """Remove the socket of an agent that is gone; `OSError` if an agent still answers or *path* is no socket."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise FileExistsError(errno.EEXIST, "something that is no socket lies there", str(path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.settimeout(CLIENT_TIMEOUT_S)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except FileNotFoundError:
            return
    raise OSError(errno.EADDRINUSE, "another agent answers there", str(path))


# ---- the person's side ----


class NoAnswer(Exception):  # noqa: N818 - what happened, not an error of ours
    """The agent's status cannot be had; `str()` tells a person why and what to do."""


def fetch(path: str) -> dict[str, object]:
    """The agent's snapshot; raises `NoAnswer`. Waits 3 s at most for each piece."""
    try:
        answer = _receive(path)
    except OSError as error:
        raise NoAnswer(_why_silent(error, path)) from None
    try:
        status: object = json.loads(answer)
    except ValueError:
        status = None
    if not isinstance(status, dict):
        msg = "the agent's answer makes no sense: too many ask at once, or it is of another version; try again"
        raise NoAnswer(msg)
    if not status:
        msg = "the agent has only just started; try again in a second"
        raise NoAnswer(msg)
    return status


def _why_silent(error: OSError, path: str) -> str:
    if isinstance(error, FileNotFoundError):
        return f"the agent is not running: there is no {path}; see: systemctl status edge-agent"
    if isinstance(error, ConnectionRefusedError):
        return f"the agent is not running any more, its socket {path} is left over; see: systemctl status edge-agent"
    if isinstance(error, PermissionError):
        return _how_to_join(path)
    if isinstance(error, TimeoutError):
        return "the agent does not answer: it hangs or is overloaded; its watchdog restarts it within two minutes"
    return f"{path}: {error.strerror or error}"


def _receive(path: str) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as link:
        link.settimeout(_ANSWER_TIMEOUT_S)
        link.connect(path)
        answer = bytearray()
        while piece := link.recv(65_536):
            answer += piece
            if len(answer) > _ANSWER_MAX_BYTES:
                return b""
    return bytes(answer)


def _how_to_join(path: str) -> str:
    group = "edge-agent"
    for place in (Path(path), Path(path).parent):
        try:
            group = grp.getgrgid(place.stat().st_gid).gr_name
            break
        except (OSError, KeyError):
            continue
    if group == "root":  # an agent that root started by hand: nobody is to join that group
        return "you may not ask the agent: only root may; run it with sudo"
    return (
        f"you may not ask the agent: only root and the group {group} may; "
        f"to join: sudo usermod -aG {group} $USER, then log in again"
    )


def main(argv: Sequence[str]) -> int:
    """`edge-agent status`: show what the agent sees now; 0 all well, 1 findings, 2 it does not answer."""
    parser = argparse.ArgumentParser(
        prog="edge-agent status",
        description="Show what the agent on this box sees now. Never a picture.",
        epilog="exit codes: 0 all well; 1 there are findings; 2 the agent does not answer",
    )
    parser.add_argument("--json", action="store_true", help="the agent's own JSON, one line")
    parser.add_argument("--watch", action="store_true", help="again each second, until Ctrl-C")
    parser.add_argument(
        "--lang", choices=("id", "en"), default=_language(), help="language of the findings"
    )
    parser.add_argument(
        "--socket", default=DEFAULT_SOCKET, metavar="PATH", help=f"usually {DEFAULT_SOCKET}"
    )
    options = parser.parse_args(argv)
    path, language, as_json = str(options.socket), str(options.lang), bool(options.json)
    if not options.watch:
        return _once(path, language, as_json=as_json)
    try:
        return _watch_json(path) if as_json else _watch(path, language)
    except KeyboardInterrupt:
        return EXIT_WELL


def _language() -> str:
    set_to = (
        os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
    )
    return "id" if set_to.startswith("id") else "en"


def _once(path: str, language: str, *, as_json: bool) -> int:
    try:
        status = fetch(path)
    except NoAnswer as error:
        Console(stderr=True).print(Text(f"edge-agent status: {error}"), soft_wrap=True)
        return EXIT_SILENT
    if as_json:
        print(json.dumps(status, ensure_ascii=False))
    else:
        Console().print(render(status, language=language))
    return EXIT_FINDINGS if _items(status.get("findings")) else EXIT_WELL


def _watch_json(path: str) -> int:
    never = threading.Event()
    while True:
        _once(path, "en", as_json=True)
        never.wait(_WATCH_S)


def _watch(path: str, language: str) -> int:
    never = threading.Event()
    with Live(auto_refresh=False, console=Console()) as live:
        while True:
            try:
                shown: RenderableType = render(fetch(path), language=language)
            except NoAnswer as error:
                shown = Text(str(error), style="bold red")
            live.update(shown, refresh=True)
            never.wait(_WATCH_S)


# ---- how it looks ----


def render(status: Mapping[str, object], *, language: str = "en") -> RenderableType:
    """The snapshot for a terminal. Whatever an agent of another version sent, this shows what it knows."""
    parts: list[RenderableType] = [_head(status), _cameras(status), _lines(status, language)]
    parts += [_order(order, language) for order in _items(status.get("orders"))]
    findings = _items(status.get("findings"))
    parts += [_finding(finding, language) for finding in findings]
    if not findings:
        parts.append(Text("all well: no findings", style="green"))
    return Group(*parts)


def _head(status: Mapping[str, object]) -> Text:
    clock = "" if status.get("clock_trusted") is True else ", clock not trusted"
    head = Text(
        f"{_text(status.get('box'))}  version {_text(status.get('version'))}{clock}", style="bold"
    )
    if status.get("simulated") is True:
        head.append("  SIMULATED", style="bold magenta")
    private = _table(status.get("private"))
    if private.get("on") is not False:
        since = f" for {_lasting(private.get('since_s'))}" if private else ""
        head.append(f"\nPRIVATE{since}: no picture leaves the box", style="bold blue")
    if status.get("suspended") is True:
        said = _table(status.get("suspension")).get("en")
        why = "" if said is None else f" ({_text(said)})"
        head.append(f"\nSUSPENDED by the city{why}", style="bold yellow")
    return head


def _cameras(status: Mapping[str, object]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in (
        "camera",
        "gate",
        "why",
        "link",
        "session",
        "fresh video",
        "right scene",
        "cable",
        "last released",
        "each",
    ):
        table.add_column(title, overflow="fold")
    for camera in _items(status.get("cameras")):
        gate = _text(camera.get("gate"))
        cable = _text(camera.get("cable"))
        why = ", ".join(
            part
            for part in (_text(camera.get("why")), _text(camera.get("signal_detail")))
            if part not in {"", "?"}
        )
        table.add_row(
            Text(_text(camera.get("id"))),
            Text(gate, style={"open": "green", "private": "blue"}.get(gate, "yellow")),
            Text(why),
            _mark(camera.get("link")),
            _mark(camera.get("session")),
            _mark(camera.get("fresh_video")),
            _mark(camera.get("right_scene")),
            Text(cable, style="" if cable in {"normal", "no loop", "?"} else "yellow"),
            Text(_ago(camera.get("last_released_age_s"))),
            Text(_lasting(camera.get("period_s"))),
        )
    return table


def _lines(status: Mapping[str, object], language: str) -> Text:
    journal, uplink = _table(status.get("journal")), _table(status.get("uplink"))
    durable = "" if journal.get("durable") is not False else ", IN MEMORY ONLY"
    oldest = (
        f", oldest {_lasting(journal.get('oldest_age_s'))} old"
        if journal.get("oldest_age_s") is not None
        else ""
    )
    text = Text()
    text.append("journal  ", style="dim")
    text.append(
        f"{_text(journal.get('depth'))} records{oldest}, "
        f"{_size(journal.get('used_bytes'))} of {_size(journal.get('quota_bytes'))}{durable}\n"
    )
    detail = _text(uplink.get("detail"))
    text.append("uplink   ", style="dim")
    text.append(
        f"{_text(uplink.get('state'))} for {_lasting(uplink.get('since_s'))}"
        f"{f' ({detail})' if detail not in {'', '?'} else ''}, {_text(uplink.get('in_flight'))} in flight, "
        f"settled up to {_text(uplink.get('settled_upto'))} of {_text(uplink.get('last_seq'))}"
    )
    for line in (_diagnosis(uplink, language), _certificate(uplink)):
        text.append(line)
    return text


def _diagnosis(uplink: Mapping[str, object], language: str) -> Text:
    """What is wrong on the way to the hub, and what to do about it."""
    told = _table(uplink.get("diagnosis"))
    if not told:
        return Text()
    rung = "cannot be told" if told.get("rung") is None else _text(told.get("rung"))
    steps = ", ".join(
        f"{_text(step.get('rung'))} {_STEP.get(step.get('holds'), '?')}"
        for step in _items(told.get("steps"))
    )
    text = Text("\ndiagnosis", style="bold yellow")
    text.append(
        f" {rung}, for {_lasting(told.get('since_s'))}: {_text(told.get(language))}"
        f"{f' [{steps}]' if steps else ''}",
        style="default",
    )
    return text


_STEP: Final[Mapping[object, str]] = {True: "holds", False: "FAILS", None: "?"}


def _certificate(uplink: Mapping[str, object]) -> Text:
    """How long the hub will know this box."""
    told = _table(uplink.get("certificate"))
    text = Text()
    if told:
        trouble = _text(told.get("trouble"))
        text.append("\ncert     ", style="dim")
        text.append(f"{_text(told.get('slot'))}, until {_day(told.get('end_s'))}")
        if told.get("due_s") is not None:
            text.append(f", to be renewed from {_day(told.get('due_s'))}")
        if told.get("waiting") is True:
            text.append(", a new one waits for its first connection")
        if trouble not in {"", "?"}:
            text.append(f" ({trouble})", style="yellow")
    if uplink.get("pictures_wait_for_clock") is True:
        text.append("\npictures wait until something vouches for the box's clock", style="yellow")
    return text


def _day(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 2e11:
        return "?"
    return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d}"


def _order(order: Mapping[str, object], language: str) -> RenderableType:
    cameras, bring = order.get("cameras"), _table(order.get("bring")).get(language)
    where = ", ".join(_text(camera) for camera in cameras) if isinstance(cameras, list) else "?"
    head = Text("> ", style="bold yellow")
    head.append(f"work order {_text(order.get('order'))}: {where}", style="bold default")
    said = f"{_text(order.get(language))}, open for {_lasting(order.get('open_s'))}"
    items = [_text(item) for item in bring] if isinstance(bring, list) else []
    said += f"\n{'bawa' if language == 'id' else 'bring'}: {', '.join(items)}" if items else ""
    return Group(head, Padding(Text(said), (0, 0, 0, 2)))


def _finding(finding: Mapping[str, object], language: str) -> RenderableType:
    camera = finding.get("camera")
    where = f"{_text(camera)}: " if isinstance(camera, str) else ""
    head = Text("! ", style="bold red")
    head.append(
        f"{where}{_text(finding.get('key'))}, for {_lasting(finding.get('since_s'))}",
        style="bold default",
    )
    return Group(head, Padding(Text(_text(finding.get(language))), (0, 0, 0, 2)))


def _table(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _items(value: object) -> list[Mapping[str, object]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _text(value: object) -> str:
    """A value for a terminal: nothing in it that the terminal would obey."""
    if value is None:
        return "?"
    return "".join(mark if mark.isprintable() else " " for mark in str(value))


def _mark(value: object) -> Text:
    if value is None:
        return Text("?", style="yellow")
    if isinstance(value, bool):
        return Text("yes", style="green") if value else Text("no", style="red")
    return Text(_text(value))


def _ago(value: object) -> str:
    return "never" if value is None else f"{_lasting(value)} ago"


def _lasting(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e10:
        return "?"
    if value < 120:
        return f"{value:.3g} s"
    minutes = int(value) // 60
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes < 2880 else f"{minutes // 1440} d"


def _size(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e18:
        return "?"
    return f"{value / 1e6:.0f} MB" if value >= 1e6 else f"{value / 1e3:.0f} kB"
