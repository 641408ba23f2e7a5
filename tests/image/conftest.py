"""The box that every test of the image begins with: built, flashed, signed, commissioned, in service. Some minutes, once.

`IMAGE_TEST=FILE.img` takes that image instead of building one; `IMAGE_SUITE=trixie` builds the other Debian; `IMAGE_CUTS=100` cuts the
power so often; `IMAGE_SEED=2` at other moments; `IMAGE_LONG=1` adds what takes long. The logs are kept in dist/image-test/.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import pytest

from tests.image.making import Making
from tests.image.street import CAMERA, UP, Frozen, Running, Street, street
from tests.support.broker import MOSQUITTO

ROOT = Path(__file__).resolve().parents[2]
SUITE = os.environ.get("IMAGE_SUITE", "bookworm")
SEED = int(os.environ.get("IMAGE_SEED", "1"))
# Of five, two come while the box starts for the first time, three while it is in service.
# Within so many seconds of its processor: a whole start takes some 60, and the request is written at about 40.
EARLY_CUTS_S = ((5.0, 40.0), (45.0, 60.0))
CUTS = max(0, int(os.environ.get("IMAGE_CUTS", "5")) - len(EARLY_CUTS_S))
LONG = "IMAGE_LONG" in os.environ
LOGS = ROOT / "dist/image-test"
# All of it together, the building of the image apart: what hangs has failed, long before CI's own hour is over.
LIMIT_S = 1800 + 240 * max(0, CUTS - 5) + 5400 * LONG
BUILD_S = 1500  # what is left of it when the first of these begins
NEEDED = (
    *(
        "qemu-system-aarch64",
        "mcopy",
        "mdir",
        "fdtput",
        "dtc",
        "mmdebstrap",
        "arch-test",
        "mksquashfs",
    ),
    *("mke2fs", "mkfs.vfat", "sfdisk", "zstd"),
)


def why_not() -> str:
    """Why this machine can neither build nor start an image; empty = it can."""
    if os.geteuid() != 0:
        return "the image is built in a chroot: needs root"
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [name for name in NEEDED if shutil.which(name, path=path) is None]
    if MOSQUITTO is None:
        missing.append("mosquitto")
    if missing:
        return f"needs {', '.join(missing)}: .ci/setup image"
    if "IMAGE_TEST" not in os.environ and not Path("/proc/sys/fs/binfmt_misc").is_dir():
        return "this kernel runs no foreign programs (binfmt_misc)"
    return ""


def ours(item: pytest.Item) -> bool:
    return Path(__file__).parent in item.path.parents


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of these share a machine, need sockets and take long; where they cannot run they say so. They come last, whatever shuffles."""
    reason = why_not()
    items.sort(key=ours)
    for item in filter(ours, items):
        item.add_marker(pytest.mark.image)
        item.add_marker(pytest.mark.enable_socket)
        if reason:
            item.add_marker(pytest.mark.skip(reason=f"THE IMAGE IS NOT TESTED: {reason}"))


def pytest_collection_finish(session: pytest.Session) -> None:
    """The image is made beside the tests that come before these."""
    wanted = any(
        "image" in getattr(item, "fixturenames", ()) for item in filter(ours, session.items)
    )
    if (
        wanted
        and not session.config.option.collectonly
        and "IMAGE_TEST" not in os.environ
        and not why_not()
    ):
        Left.making = Making(SUITE, LOGS / f"image-{SUITE}", LOGS / f"{SUITE}-build.log")


def pytest_sessionfinish() -> None:
    if Left.making is not None:
        Left.making.end()


class Left:
    """What is left of the time that all of these tests may take together; counted from the first one."""

    until: float | None = None
    making: Making | None = None

    @classmethod
    def seconds(cls) -> float:
        if cls.until is None:
            cls.until = time.monotonic() + LIMIT_S + BUILD_S * ("IMAGE_TEST" not in os.environ)
        return cls.until - time.monotonic()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    # A machine that hangs ends its own test and, with the time used up, those after it at once. (Called for every test there is.)
    if ours(item):
        item.add_marker(pytest.mark.timeout(max(1.0, Left.seconds())), append=False)
    return (yield)


@dataclass(frozen=True)
class Start:
    """What was seen of one start of the box."""

    up_s: float  # guest uptime
    failed: str
    agent: str
    result: str


@dataclass(frozen=True)
class InService:
    """A box in service, frozen, and how it came there."""

    frozen: Frozen
    first: Start
    second: Start
    birth_s: float  # guest uptime when its birth was at the hub
    commissioned: str
    pictures: int
    requests: tuple[str, ...]  # box.csr as found on the card after each cut, and in the end
    data_bytes: int  # the data partition


def seen(box: Running, result: str = "") -> Start:
    """Look at a box as soon as its start is over."""
    state = box.machine.run(UP, 900, good=False)
    failed = state + box.machine.run("systemctl --failed --no-legend --plain")
    agent = box.machine.run("systemctl show edge-agent -p ActiveState,SubState,Type,NRestarts")
    return Start(up_s=box.machine.uptime_s(), failed=failed, agent=agent, result=result)


@pytest.fixture(scope="session")
def image() -> Path:
    """The image under test."""
    if "IMAGE_TEST" in os.environ:
        return Path(os.environ["IMAGE_TEST"]).resolve()
    assert Left.making is not None, "none of these tests was collected"
    return Left.making.image(BUILD_S)


@pytest.fixture(scope="session")
def box_street(image: Path) -> Iterator[Street]:
    log = LOGS / f"{SUITE}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    for each in (log, log.with_suffix(".console")):
        each.unlink(missing_ok=True)
    memory = Path("/dev/shm") if shutil.disk_usage("/dev/shm").free > 8 << 30 else None
    folder = Path(tempfile.mkdtemp(prefix="image-test-", dir=memory))
    try:
        with street(image, folder, log) as made:
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def in_service(box_street: Street) -> InService:
    """From a flashed card to a box that sends pictures."""
    here, city = box_street, box_street.city
    card = here.flashed()
    requests = [
        cut_while_it_starts(here, card, Random(SEED + number), *bounds_s)
        for number, bounds_s in enumerate(EARLY_CUTS_S)
    ]
    with here.started(card) as box:
        box.machine.shell()
        first = seen(box)
        data_bytes = int(box.machine.run("blockdev --getsize64 $(findmnt -n -o SOURCE /data)"))
        here.say("first start: up", box)
        here.cut(box, Random(0))
    first = replace(first, result=here.on_card(card, "RESULT.txt"))
    requests.append(here.on_card(card, "box.csr"))
    here.fill(card, {"hub/box.pem": city.sign(here.on_card(card, "box.csr").encode())})
    with here.started(card) as box:
        box.machine.shell()
        city.until(city.connected, "the birth", 900)
        birth_s = box.machine.uptime_s()
        second = seen(box, box.machine.run("cat /boot/firmware/RESULT.txt"))
        here.say(f"second start: birth at the hub at {birth_s:.0f} s of uptime; up", box)
        # A device on USB is read by one program at a time.
        box.machine.run("systemctl stop edge-agent")
        box.plug_camera()
        said = box.machine.run(
            f"edge-agent commission {CAMERA} --pictures 5 --yes --owner 'Sekretaris RT 05'", 900
        )
        here.say("commissioned", box)
        box.machine.run("systemctl start --no-block edge-agent")
        city.until(lambda: pictures(here) > 0, "a picture at the hub", 600)
        came = pictures(here)
        here.say(f"pictures at the hub: {came}", box)
        box.off_the_net(city)
        frozen = here.freeze(box)
    return InService(
        frozen, first, second, birth_s, said, came, tuple(filter(None, requests)), data_bytes
    )


def cut_while_it_starts(
    here: Street, card: Path, chance: Random, least_s: float, most_s: float
) -> str:
    """The power goes somewhere within the start: the request that stands on the card then, "" if none does."""
    with here.started(card) as box:
        # By what the machine has done, not by the clock.
        enough_s = box.machine.cpu_s() + chance.uniform(least_s, most_s)
        here.city.until(lambda: box.machine.cpu_s() > enough_s, "so much work", 600)
        unsure, lost = here.cut(box, chance, while_writing_s=15.0)
    request = here.on_card(card, "box.csr") if here.is_on_card(card, "box.csr") else ""
    here.say(f"cut while it starts: {unsure} sectors unsure, {lost} lost, request: {bool(request)}")
    return request


def pictures(here: Street) -> int:
    """How many pictures the hub keeps."""
    rows = here.city.ask("SELECT count(*) FROM record WHERE picture IS NOT NULL")
    return int(str(rows[0][0])) if rows else 0
