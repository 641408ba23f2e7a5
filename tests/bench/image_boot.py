"""How long a box takes from power to its birth at the hub, beside a bare Debian on the same machine.

    python -m tests.bench.image_boot FILE.img [--rounds 3] [--suite bookworm] [--json]

Both are started by the same QEMU, on the same virtual board and disk, in turn: the box with its configuration and certificate in
place (its second start, as on each day of its life), and Debian's minimum with systemd, udev, D-Bus and a network on ext4, nothing of
ours in it. Seconds are the guest's own uptime: until the birth is at the broker, and until multi-user.target. Under emulation they
are many times those of a Pi, and grow with whatever else this machine does; what counts is the one beside the other.
Needs root, QEMU and mosquitto as the boot test does (docs/boot-test.md). The bare Debian is made once, in some minutes, and kept in
the cache of image-build. The last line is one JSON object with the middle of the rounds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random
from typing import Final

from tests.image.nbd import Card
from tests.image.street import UP, WIRED, Street, street
from tests.image.vm import Kit, Machine, copied

ROOT: Final = Path(__file__).resolve().parents[2]
CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge-agent-image"
# Debian's essential packages, what a machine needs to start, and a network: nobody would call less a system.
BARE: Final = "systemd-sysv,udev,kmod,dbus,iproute2,linux-image-arm64,initramfs-tools,busybox"
_MAKE: Final = r"""
set -eu -o pipefail
cd image-build
. ./common.sh
suite=$1 out=$2 work=$(mktemp -d -p "$EDGE_TMP" edge-bare.XXXXXX)
trap 'rm -rf --one-file-system "$work"' EXIT
if [ "$(uname -m)" != aarch64 ] && [ ! -e /proc/sys/fs/binfmt_misc/qemu-aarch64 ]; then
  [ -e /proc/sys/fs/binfmt_misc/register ] || mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
  update-binfmts --import
fi
debian_sources "$suite" >"$work/mirror.list"
# The kernel's own package would make an initrd of every module, under emulation.
INITRD=No TMPDIR=$work unshare --mount mmdebstrap --quiet --mode=root --architectures=arm64 --variant=minbase --format=directory \
  --include="$3" --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --aptopt='APT::Install-Recommends "false"' \
  "$suite" "$work/root" "$work/mirror.list"
printf '/dev/vda / ext4 defaults 0 1\n' >"$work/root/etc/fstab"
printf '[Match]\nName=e*\n[Network]\nDHCP=ipv4\n' >"$work/root/etc/systemd/network/80-wired.network"
echo debian >"$work/root/etc/hostname"
printf 'virtio_blk\nvirtio_pci\next4\n' >>"$work/root/etc/initramfs-tools/modules"
printf 'MODULES=list\n' >"$work/root/etc/initramfs-tools/conf.d/modules"
unshare --mount sh -euc 'mount -t proc proc "$1/proc"; chroot "$1" systemctl --quiet enable systemd-networkd
  exec chroot "$1" mkinitramfs -o /boot/initrd.img "$(ls "$1/usr/lib/modules" || ls "$1/lib/modules")"' - "$work/root"
mkdir "$work/out"
cp "$work/root/boot/vmlinuz-"* "$work/out/vmlinuz"
cp "$work/root/boot/initrd.img" "$work/out/initrd.img"
truncate -s 2G "$work/out/root.img"
mke2fs -q -t ext4 -d "$work/root" "$work/out/root.img"
rm -rf "$out"
cp -r --sparse=always "$work/out" "$out"
"""


def bare(suite: str) -> Path:
    """A folder with the bare Debian: vmlinuz, initrd.img, root.img; made if it is not there."""
    recipe = hashlib.sha256(f"{_MAKE}{BARE}".encode()).hexdigest()[:12]
    made = CACHE / f"bare-{suite}-{recipe}"
    if not (made / "root.img").exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        print(f"making a bare Debian {suite} for arm64 (some minutes)", flush=True)
        subprocess.run(["bash", "-c", _MAKE, "-", suite, made, BARE], cwd=ROOT, check=True)
    return made


def multi_user_s(machine: Machine) -> float:
    """Uptime at which multi-user.target was reached."""
    said = machine.run("systemctl show multi-user.target -P ActiveEnterTimestampMonotonic")
    return int(said) / 1e6


def start_bare(made: Path, place: Path, log: Path) -> float:
    """One start of the bare Debian."""
    place.mkdir()
    kept = place / "kit"
    kept.mkdir()
    for name in ("vmlinuz", "initrd.img"):
        shutil.copy(made / name, kept)
    # The login prompt of the serial line would take it from the test's own shell.
    words = "root=/dev/vda ro rootwait net.ifnames=0 systemd.mask=serial-getty@ttyAMA0.service"
    kit = Kit(kept, words, {"bare": b""})
    with (
        Card(copied(made / "root.img", place / "root.img"), place / "nbd") as disk,
        Machine(kit, place, card=disk.address, log=log) as machine,
    ):
        machine.shell()
        machine.run(UP, 900, good=False)
        took = multi_user_s(machine)
    shutil.rmtree(place)
    return took


def start_box(here: Street, card: Path, place: Path) -> tuple[float, float]:
    """One start of the box in service: birth at the hub, multi-user.target."""
    place.mkdir()
    here.city.pause()
    here.city.go_on()
    with (
        Card(card, place / "nbd") as disk,
        Machine(here.kit, place, card=disk.address, log=here.console) as machine,
    ):
        machine.drive(WIRED)
        machine.shell()
        here.city.until(here.city.connected, "the birth", 900)
        birth_s = machine.uptime_s()
        machine.run(UP, 900, good=False)
        took = birth_s, multi_user_s(machine)
        disk.cut(Random(0))
    return took


def main(argv: list[str] | None = None) -> int:
    """Run the bench; 0 = measured, 2 = this machine cannot."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.image_boot", description=__doc__)
    parser.add_argument("image", type=Path, nargs="?", help="usually dist/image-bookworm/*.img")
    parser.add_argument("--suite", default="bookworm")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="the last line alone")
    asked = parser.parse_args(argv)
    found = sorted(ROOT.glob(f"dist/image-{asked.suite}/*.img"))
    image = asked.image or (found[0] if found else None)
    if image is None or os.geteuid() != 0:
        print("needs root and an image: make image", file=sys.stderr)
        print(json.dumps({"skipped": "no root or no image"}))
        return 0 if asked.image is None else 2
    made = bare(asked.suite)
    births: list[float] = []
    ups: list[float] = []
    bares: list[float] = []
    memory = Path("/dev/shm") if shutil.disk_usage("/dev/shm").free > 8 << 30 else None
    with tempfile.TemporaryDirectory(prefix="image-boot-", dir=memory) as name:
        folder = Path(name)
        with street(image, folder / "street", folder / "log") as here:
            card = here.flashed()
            with here.started(card) as box:
                box.machine.shell()
                box.machine.run(UP, 900, good=False)
                here.cut(box, Random(0))
            here.fill(card, {"hub/box.pem": here.city.sign(here.on_card(card, "box.csr").encode())})
            start_box(here, card, folder / "taken-over")
            for number in range(asked.rounds):
                bares.append(start_bare(made, folder / f"bare{number}", here.console))
                birth_s, up_s = start_box(here, card, folder / f"box{number}")
                births.append(birth_s)
                ups.append(up_s)
                if not asked.json:
                    print(
                        f"round {number + 1}: birth {birth_s:.1f} s, the box's multi-user {up_s:.1f} s, "
                        f"the bare Debian's {bares[-1]:.1f} s of uptime",
                        flush=True,
                    )
    middle = {
        "birth_s": round(statistics.median(births), 1),
        "multi_user_s": round(statistics.median(ups), 1),
        "bare_multi_user_s": round(statistics.median(bares), 1),
        "rounds": asked.rounds,
    }
    print(json.dumps(middle))
    return 0


if __name__ == "__main__":
    sys.exit(main())
