"""The street of the demo: what hangs before each camera, the broker, and the line that leads to it.

Promises: a camera's folder changes in one step, so its reader sees the old pictures or the new ones, never a mixture; each
picture carries a label of its own (evidence.py), so that it can be found again wherever it went; broker and line
listen on loopback only.
Not its job: the switch, the loops and the lamps (simulate.py), the story (acts.py).
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from iotcore import Broker as Rumqttd

from edge_agent.demo.evidence import Gallery, Label, What, labelled
from edge_agent.demo.lens import Lens
from edge_agent.vision import Grey, scaled_grey_from_jpeg

if TYPE_CHECKING:
    from types import TracebackType

_LOOPBACK: Final = "127.0.0.1"
_PORT_TRIES: Final = 5
_CHUNK_BYTES: Final = 64 * 1024
# rumqttd's own form of configuration. 4 MB take the largest batch of the contract.
_BROKER: Final = """\
id = 0

[router]
id = 0
max_connections = 100
max_outgoing_packet_count = 200
max_segment_size = 16777216
max_segment_count = 4

[v5.demo]
name = "demo"
listen = "{address}"
next_connection_delay_ms = 1

[v5.demo.connections]
connection_timeout_ms = 60000
max_payload_size = 4194304
max_inflight_count = 100
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One picture before one camera."""

    label: Label
    grey: Grey


class Films:
    """What hangs before each camera. Any thread."""

    def __init__(self, folder: Path, cameras: Sequence[str], lens: Lens) -> None:
        self.gallery = Gallery()
        self._folder = folder
        self._lens = lens
        self._lock = threading.Lock()
        self._reel = 0
        self._shown: dict[Path, Shown] = {}
        self._before = dict.fromkeys(cameras, "nothing")
        self._dark = folder / "dark"
        self._dark.mkdir(parents=True)
        for camera in cameras:
            self.path_of(camera).symlink_to(self._dark)

    def path_of(self, camera: str) -> Path:
        """What the camera reads: always this path, whatever hangs there."""
        return self._folder / camera

    def show(self, camera: str, what: What, jpegs: Sequence[bytes], words: str) -> int:
        """Hang these before *camera*, in place of what hung there; the number of their reel."""
        self.gallery.add(camera, what, jpegs)
        with self._lock:
            self._reel += 1
            reel = self._reel
            folder = self._folder / f"{camera}-reel-{reel}"
            folder.mkdir()
            for number, jpeg in enumerate(jpegs, start=1):
                label = Label(camera=camera, what=what.value, reel=reel, picture=number)
                path = folder / f"{number:02d}.jpg"
                path.write_bytes(labelled(jpeg, label))
                grey = scaled_grey_from_jpeg(jpeg)
                assert grey is not None  # noqa: S101 - the gallery has just read it
                self._shown[path] = Shown(label=label, grey=grey)
            self._lens.watch(folder)
            self._point(camera, folder)
            self._before[camera] = words
        return reel

    def darken(self, camera: str, words: str) -> None:
        """Nothing hangs before *camera* any more: no signal."""
        with self._lock:
            self._point(camera, self._dark)
            self._before[camera] = words

    def before(self, camera: str) -> str:
        """In words, what hangs before *camera*."""
        return self._before[camera]

    def is_dark(self, camera: str) -> bool:
        """Whether nothing hangs before *camera*."""
        return self.path_of(camera).readlink() == self._dark

    def taken(self) -> tuple[Shown, ...] | None:
        """Every picture that was read so far; None where the kernel does not count."""
        read = self._lens.taken()
        if read is None:
            return None
        with self._lock:
            return tuple(self._shown[path] for path in read if path in self._shown)

    def of(self, label: Label) -> Shown | None:
        """The picture that carries *label*."""
        return next((shown for shown in self._every() if shown.label == label), None)

    def _every(self) -> Sequence[Shown]:
        with self._lock:
            return tuple(self._shown.values())

    def _point(self, camera: str, folder: Path) -> None:
        # A symbolic link is replaced in one step; a folder with something in it cannot be.
        beside = self._folder / f".{camera}.new"
        beside.symlink_to(folder)
        beside.replace(self.path_of(camera))


class Broker:
    """The embedded broker, in a process of its own that ends with this one. A context manager."""

    def __init__(self, folder: Path) -> None:
        self._config = folder / "broker.toml"
        self.port = 0
        self._broker: Rumqttd | None = None

    def __enter__(self) -> Broker:
        for left in reversed(range(_PORT_TRIES)):
            self.port = _free_port()
            self._config.write_text(_BROKER.format(address=f"{_LOOPBACK}:{self.port}"))
            self._broker = Rumqttd(config_path=str(self._config))
            try:
                self._broker.start()
            except OSError:  # somebody else was quicker to take the port
                if not left:
                    raise
            else:
                break
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._broker is not None:
            self._broker.stop()


class Line:
    """The line from the box to the broker: hands on bytes, until it is cut. A context manager.

    `cut` and `mend` may be called from any thread; while it is cut, its port refuses.
    """

    def __init__(self, broker_port: int) -> None:
        self._broker_port = broker_port
        self._lock = threading.Lock()
        self._ends: set[socket.socket] = set()
        self._door: socket.socket | None = None
        self._threads: list[threading.Thread] = []
        self.port = 0

    def __enter__(self) -> Line:
        self.mend()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cut()
        for thread in self._threads:
            thread.join()

    def mend(self) -> None:
        """Take calls, at the same port as ever. OSError if somebody took it meanwhile."""
        door = socket.create_server((_LOOPBACK, self.port))
        self.port = int(door.getsockname()[1])
        with self._lock:
            self._door = door
        self._begin(partial(self._take_calls, door))

    def cut(self) -> None:
        """Break it without a word: every connection is gone, and nobody answers. Twice is harmless."""
        with self._lock:
            door, self._door = self._door, None
            ends, self._ends = self._ends, set()
        for end in (*ends, *((door,) if door is not None else ())):
            _end(end)

    def _take_calls(self, door: socket.socket) -> None:
        with door:
            while True:
                try:
                    box, _ = door.accept()
                    broker = socket.create_connection((_LOOPBACK, self._broker_port))
                except OSError:
                    return  # cut
                with self._lock:
                    mended = self._door is door
                    if mended:
                        self._ends |= {box, broker}
                if not mended:
                    box.close()
                    broker.close()
                    return
                self._begin(partial(self._hand_on, box, broker))
                self._begin(partial(self._hand_on, broker, box))

    def _hand_on(self, one: socket.socket, other: socket.socket) -> None:
        with one:
            try:
                while data := one.recv(_CHUNK_BYTES):
                    other.sendall(data)
            except OSError:
                pass  # cut, or the other side is gone
            _end(one)
            _end(other)

    def _begin(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name="line", daemon=True)
        self._threads.append(thread)
        thread.start()


def _end(end: socket.socket) -> None:
    """Wake whoever waits on it; its own thread closes it."""
    with contextlib.suppress(OSError):  # it was over already
        end.shutdown(socket.SHUT_RDWR)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """What is shipped: of each camera its street, and rooms, plain and under the first camera's on-screen text.

    `commissioning` is what a technician would record of each view, one picture each; `streets` is the film that plays.
    """

    streets: Mapping[str, tuple[bytes, ...]]
    commissioning: Mapping[str, tuple[bytes, ...]]
    rooms: tuple[bytes, ...]
    rooms_with_text: tuple[bytes, ...]
