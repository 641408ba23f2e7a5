"""A snapshot camera with digest login: Debian's lighttpd, and a picture that the test replaces like a camera's writer does."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import subprocess
from typing import TYPE_CHECKING, Final

from tests.support.patience import patient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATH: Final = "/ISAPI/Streaming/channels/101/picture"
_REALM: Final = "camera"


class HttpCamera:
    """A running camera. `show` renames a new picture into place; `log` holds the server's access log."""

    def __init__(self, folder: Path, port: int, process: subprocess.Popen[bytes]) -> None:
        self._picture = folder / "www" / PATH.lstrip("/")
        self.url = f"http://127.0.0.1:{port}{PATH}"
        self.process = process

    def show(self, jpeg: bytes) -> None:
        """From now on the camera sends *jpeg*."""
        fresh = self._picture.with_suffix(".new")
        fresh.write_bytes(jpeg)
        fresh.rename(self._picture)


@contextlib.contextmanager
def http_camera(
    folder: Path, jpeg: bytes, *, user: str, password: str, method: str = "digest"
) -> Iterator[HttpCamera]:
    """A camera on loopback with this login; ended by its own process id."""
    (folder / "www" / PATH.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
    backend = "htdigest" if method == "digest" else "plain"
    secret = hashlib.md5(f"{user}:{_REALM}:{password}".encode()).hexdigest()
    (folder / "users").write_text(
        f"{user}:{_REALM}:{secret}\n" if method == "digest" else f"{user}:{password}\n"
    )
    port = _free_port()
    (folder / "lighttpd.conf").write_text(f"""
server.modules = ("mod_auth", "mod_authn_file")
server.document-root = "{folder}/www"
server.bind = "127.0.0.1"
server.port = {port}
server.errorlog = "{folder}/errors"
mimetype.assign = ("" => "image/jpeg")
auth.backend = "{backend}"
auth.backend.{backend}.userfile = "{folder}/users"
auth.require = ("/" => ("method" => "{method}", "realm" => "{_REALM}", "require" => "valid-user"))
""")
    process = subprocess.Popen(["/usr/sbin/lighttpd", "-D", "-f", str(folder / "lighttpd.conf")])
    try:
        camera = HttpCamera(folder, port, process)
        camera.show(jpeg)
        _wait_for(port, process)
        yield camera
    finally:
        process.kill()
        process.wait(patient(10.0))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(round(patient(200))):
        assert process.poll() is None, "lighttpd did not start"
        with socket.socket() as probe:
            probe.settimeout(1.0)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        os.sched_yield()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
    raise AssertionError("lighttpd does not listen")
