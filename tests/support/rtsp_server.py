"""A street's RTSP cameras on loopback: Debian's gst-rtsp-server, fed with ready-made access units at real pace.

Run as a child process under /usr/bin/python3, where Debian keeps gi:
    /usr/bin/python3 rtsp_server.py '{"port": 8554, "user": "u", "password": "p", "mounts": {"/main": "clip.h264"}}'
Prints `ready PORT`, then answers one line for each command line on stdin (MOUNT is "/main"):
    stall MOUNT        stop sending pictures, keep the session (RTCP goes on)
    freeze MOUNT       repeat the newest key picture for ever, at full rate, with stamps that advance
    go MOUNT           send the clip again
    switch MOUNT FILE  go on with another clip (other size, say) in the same session
    corrupt MOUNT N    spoil bytes inside N of 100 access units
    lag MOUNT SECONDS  from now on deliver so much later than the stamps say
Each mount runs on its own clock whether or not anyone watches, as a camera does. Clips are elementary streams with access
unit delimiters (tests/support/clips.py makes them); the name's end, .h264 or .h265, says which.
Not its job: anything with the product; it shares no code with it.
"""

import json
import random
import sys
import threading
import time
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
gi.require_version("GstRtsp", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

FPS = 25
DELIMITER = {"h264": b"\x00\x00\x00\x01\x09", "h265": b"\x00\x00\x00\x01\x46\x01"}


SPEAKING = threading.Lock()


def say(text):
    with SPEAKING:  # print writes a line and its end apart
        print(text, flush=True)


def is_key(unit, codec):
    at = 0
    while (at := unit.find(b"\x00\x00\x01", at)) >= 0:
        at += 3
        if at < len(unit):
            kind = unit[at] & 0x1F if codec == "h264" else (unit[at] >> 1) & 0x3F
            if (codec == "h264" and kind == 5) or (codec == "h265" and 16 <= kind <= 21):
                return True
    return False


def load(path):
    codec = path.rsplit(".", 1)[1]
    data = Path(path).read_bytes()
    mark = DELIMITER[codec]
    starts = []
    at = data.find(mark)
    while at >= 0:
        starts.append(at)
        at = data.find(mark, at + 1)
    units = [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)], strict=True)]
    return codec, [(unit, is_key(unit, codec)) for unit in units]


class Mount:
    """One camera: a clock, a clip, and whoever watches."""

    def __init__(self, path, clip):
        self.path = path
        self.lock = threading.Lock()
        self.codec, self.units = load(clip)
        self.watchers = []
        self.mode = "go"
        self.corrupt = 0
        self.lag_s = 0.0
        self.frozen = None
        self.chance = random.Random(1)
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        start = time.clock_gettime(time.CLOCK_BOOTTIME)
        say(f"t0 {self.path} {start!r}")
        number = 0
        late = []
        while True:
            due = start + number / FPS
            wait = due - time.clock_gettime(time.CLOCK_BOOTTIME)
            if wait > 0:
                time.sleep(wait)
            with self.lock:
                unit, key = self.units[number % len(self.units)]
                if self.mode == "freeze":
                    if self.frozen is None and key:
                        self.frozen = unit
                    unit, key = (self.frozen, True) if self.frozen else (unit, key)
                else:
                    self.frozen = None
                late.append((due + self.lag_s, number, unit, key))
                while late and late[0][0] <= due:
                    _, sent, unit, key = late.pop(0)
                    if self.mode != "stall":
                        self.send(self.spoil(unit), sent, key)
            number += 1

    def spoil(self, unit):
        if self.chance.random() * 100 >= self.corrupt:
            return unit
        bad = bytearray(unit)
        for _ in range(max(1, len(bad) // 200)):
            bad[self.chance.randrange(len(bad) // 4, len(bad))] ^= self.chance.randrange(1, 256)
        return bytes(bad)

    def send(self, unit, number, key):
        for watcher in list(self.watchers):
            if watcher["first"] is None:
                if not key:
                    continue  # a decoder cannot begin here, and the payloader would wait for it anyway
                watcher["first"] = number
            buffer = Gst.Buffer.new_wrapped(unit)
            buffer.pts = buffer.dts = (number - watcher["first"]) * Gst.SECOND // FPS
            buffer.duration = Gst.SECOND // FPS
            if watcher["source"].emit("push-buffer", buffer) != Gst.FlowReturn.OK:
                self.watchers.remove(watcher)

    def watch(self, source):
        with self.lock:
            self.watchers.append({"source": source, "first": None})


class Factory(GstRtspServer.RTSPMediaFactory):
    def __init__(self, mount, *, shared):
        super().__init__()
        self.mount = mount
        codec = mount.codec
        self.set_launch(
            f"( appsrc name=source is-live=true format=time do-timestamp=false "
            f"caps=video/x-{codec},stream-format=byte-stream,alignment=au "
            f"! {codec}parse config-interval=-1 ! rtp{codec}pay name=pay0 pt=96 config-interval=-1 mtu=1400 )"
        )
        self.set_shared(shared)
        self.connect("media-configure", self.configure)

    def configure(self, _factory, media):
        self.mount.watch(media.get_element().get_by_name("source"))


def obey(line, mounts):
    word, path, *rest = line.split()
    mount = mounts[path]
    with mount.lock:
        if word in {"stall", "freeze", "go"}:
            mount.mode = word
        elif word == "switch":
            mount.codec, mount.units = load(rest[0])
        elif word == "corrupt":
            mount.corrupt = float(rest[0])
        elif word == "lag":
            mount.lag_s = float(rest[0])
        else:
            raise ValueError(word)
    say(f"ok {line}")


def main():
    wanted = json.loads(sys.argv[1])
    Gst.init(None)
    server = GstRtspServer.RTSPServer.new()
    server.set_address("127.0.0.1")
    server.set_service(str(wanted.get("port", 0)))
    # One thread serves all clients by default, and DESCRIBE holds it until the first key picture.
    GstRtspServer.RTSPThreadPool.set_max_threads(server.get_thread_pool(), -1)
    if user := wanted.get("user"):
        auth = GstRtspServer.RTSPAuth()
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        if wanted.get("basic"):
            auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, wanted["password"]), token)
        else:
            auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
            auth.add_digest(user, wanted["password"], token)
        server.set_auth(auth)
    mounts = {}
    for path, clip in wanted["mounts"].items():
        mounts[path] = Mount(path, clip)
        factory = Factory(mounts[path], shared=bool(wanted.get("shared")))
        if user:
            permissions = GstRtspServer.RTSPPermissions()
            permissions.add_role("viewer")
            permissions.add_permission_for_role("viewer", "media.factory.access", True)
            permissions.add_permission_for_role("viewer", "media.factory.construct", True)
            factory.set_permissions(permissions)
        server.get_mount_points().add_factory(path, factory)
    server.attach(None)
    say(f"ready {server.get_bound_port()}")
    threading.Thread(target=GLib.MainLoop().run, daemon=True).start()
    for line in sys.stdin:
        obey(line.strip(), mounts)


if __name__ == "__main__":
    main()
