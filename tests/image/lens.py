"""Runs inside the machine: what stands before the virtual camera's lens.

vivid's video output is fed with a picture and looped into its capture side, which the agent reads like any USB dongle. Shown are the
JPEGs of the folder that the file /dev/edge-test/show names, over and over, with the noise of a sensor.
"""

import fcntl
import mmap
import os
import time
from pathlib import Path

import cv2
import numpy as np

OUT, IN = "/dev/video1", "/dev/video0"
SHOW = Path("/dev/edge-test/show")
WIDTH, HEIGHT = 720, 576
_VIDEO_OUTPUT, _BGR24, _INTERLACED = 2, 0x33524742, 4
_S_FMT, _QUERY_EXT, _S_CTRL = 0xC0D05605, 0xC0E85667, 0xC008561C
_NEXT = 0x80000000
_REQBUFS, _QUERYBUF, _QBUF, _DQBUF, _STREAMON = (
    0xC0145608,
    0xC0585609,
    0xC058560F,
    0xC0585611,
    0x40045612,
)
_MMAP, _BUFFERS = 1, 4


class Output:
    """vivid's video output: frames go in one after the other; the last one stays until there is another."""

    def __init__(self, device: int, size: int) -> None:
        self._device = device
        self._size = size
        asked = bytearray(20)
        asked[:12] = b"".join(
            word.to_bytes(4, "little") for word in (_BUFFERS, _VIDEO_OUTPUT, _MMAP)
        )
        fcntl.ioctl(device, _REQBUFS, asked)
        self._buffers = []
        for index in range(_BUFFERS):
            told = self._words(index)
            fcntl.ioctl(device, _QUERYBUF, told)
            offset, length = (int.from_bytes(told[at : at + 4], "little") for at in (64, 72))
            self._buffers.append(mmap.mmap(device, length, offset=offset))
        self._put = 0

    def show(self, frame: bytes) -> None:
        index = self._put
        if self._put >= _BUFFERS:
            told = self._words(0)
            fcntl.ioctl(self._device, _DQBUF, told)
            index = int.from_bytes(told[:4], "little")
        self._buffers[index][: self._size] = frame
        fcntl.ioctl(self._device, _QBUF, self._words(index))
        self._put += 1
        if self._put == _BUFFERS:
            fcntl.ioctl(self._device, _STREAMON, _VIDEO_OUTPUT.to_bytes(4, "little"))

    def _words(self, index: int) -> bytearray:
        """struct v4l2_buffer."""
        words = bytearray(88)
        for at, value in (
            (0, index),
            (4, _VIDEO_OUTPUT),
            (8, self._size),
            (16, _INTERLACED),
            (60, _MMAP),
        ):
            words[at : at + 4] = value.to_bytes(4, "little")
        return words


def controls(device: int) -> dict[str, int]:
    """Each control's number by its name."""
    found: dict[str, int] = {}
    number = 0
    while True:
        query = bytearray(232)
        query[:4] = (number | _NEXT).to_bytes(4, "little")
        try:
            fcntl.ioctl(device, _QUERY_EXT, query)
        except OSError:
            return found
        number = int.from_bytes(query[:4], "little")
        found[bytes(query[8:40]).split(b"\0")[0].decode()] = number


def turn(device: int, number: int, value: int) -> None:
    fcntl.ioctl(
        device,
        _S_CTRL,
        bytearray(number.to_bytes(4, "little") + value.to_bytes(4, "little", signed=True)),
    )


def main() -> None:
    os.nice(5)
    cap, out = os.open(IN, os.O_RDWR), os.open(OUT, os.O_RDWR)
    for device in (cap, out):
        have = controls(device)
        for name, value in (("OSD Text Mode", 2), ("Loop Video", 1)):
            if name in have:
                turn(device, have[name], value)
    # struct v4l2_format: type, padding, then struct v4l2_pix_format.
    shape = bytearray(208)
    for at, value in (
        (0, _VIDEO_OUTPUT),
        (8, WIDTH),
        (12, HEIGHT),
        (16, _BGR24),
        (20, _INTERLACED),
    ):
        shape[at : at + 4] = value.to_bytes(4, "little")
    fcntl.ioctl(out, _S_FMT, shape)
    width, height = (int.from_bytes(shape[at : at + 4], "little") for at in (8, 12))
    output = Output(out, width * height * 3)
    chance = np.random.default_rng(1)
    noise = chance.integers(-6, 7, (height, width, 3), dtype=np.int16)
    pictures: list[np.ndarray] = []
    shown = ""
    count = 0
    while True:
        wanted = SHOW.read_text().strip()
        if wanted != shown:
            shown = wanted
            read = [cv2.imread(str(path)) for path in sorted(Path(shown).glob("*.jpg"))[:3]]
            pictures = [
                cv2.resize(each, (width, height)).astype(np.int16)
                for each in read
                if each is not None
            ]
        picture = pictures[count % len(pictures)] + np.roll(noise, 131 * count)
        output.show(np.clip(picture, 0, 255).astype(np.uint8).tobytes())
        count += 1
        if count == 5:
            print("shows", shown, width, height, flush=True)
        time.sleep(0.7)


main()
