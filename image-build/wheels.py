#!/usr/bin/env python3
"""Fetch what the agent imports, for arm64, and lay it out as a site-packages folder: `wheels PYTHON FOLDER`.

PYTHON is the image's minor version, like 3.11; the wheels are only unpacked, so no foreign code runs here.
The pins are constraints.txt's. Only wheels are taken, except lgpio's for a Python that it has none for: that one is built
from its source by `lgpio`, beside this file. An lgpio that drives no pin (the empty 0.0.0.2) ends the build.
"""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from email.parser import HeaderParser
from pathlib import Path

HERE = Path(__file__).resolve().parent
PLATFORMS = (
    "manylinux_2_36",
    "manylinux_2_34",
    "manylinux_2_31",
    "manylinux_2_28",
    "manylinux_2_17",
    "manylinux2014",
)
# colorzero names it for its own old-style packaging; nothing here imports it.
LEFT_OUT = ("setuptools",)


def requirements() -> list[str]:
    """What pyproject.toml asks for on a box; markers are judged here, for pip would judge them by its own Python."""
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]
    return [
        one.partition(";")[0].strip()
        for one in project["dependencies"] + project["optional-dependencies"]["box"]
    ]


def fetch(python: str, to: Path) -> None:
    """All wheels for this Python on arm64, into a folder; lgpio apart, where there is no wheel of it."""
    pip = HERE.parent / ".venv/bin/pip"
    command = [str(pip)] if pip.exists() else [sys.executable, "-m", "pip"]
    tag = "cp" + python.replace(".", "")
    wanted = requirements()
    if python not in ("3.11", "3.12"):
        wanted = [one for one in wanted if not one.startswith("lgpio")]
        subprocess.run([HERE / "lgpio", python, to], check=True)
    subprocess.run(
        [*command, "download", "-qq", "--only-binary=:all:", "--implementation=cp", f"--python-version={python}",
         f"--abi={tag}", "--abi=abi3", "--abi=none", *(f"--platform={each}_aarch64" for each in PLATFORMS),
         f"--constraint={HERE.parent / 'constraints.txt'}", f"--dest={to}", *wanted],
        check=True,
    )  # fmt: skip


def unpack(wheel: Path, to: Path) -> None:
    """One wheel's modules and its description. What it would put elsewhere (scripts, headers) is not for a box."""
    with zipfile.ZipFile(wheel) as packed:
        for each in packed.infolist():
            top, _, rest = each.filename.partition("/")
            if each.is_dir() or rest.endswith("RECORD"):
                continue
            if top.endswith(".data"):
                kind, _, rest = rest.partition("/")
                if kind not in ("purelib", "platlib"):
                    continue
                name = rest
            else:
                name = each.filename
            target = to / name
            if not target.resolve().is_relative_to(to):
                sys.exit(f"{wheel.name}: {each.filename} lies outside")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(packed.read(each))


def check(folder: Path) -> None:
    """End here unless the lgpio that was laid out can drive a pin."""
    for each in folder.glob("*.dist-info/METADATA"):
        named = HeaderParser().parsestr(each.read_text())
        if named["Name"] == "lgpio" and tuple(map(int, named["Version"].split(".")[:2])) < (0, 2):
            sys.exit(f"lgpio {named['Version']} is the empty stub: no pin would ever be driven")
    drivers = list(folder.glob("_lgpio*.so"))
    if len(drivers) != 1 or b"lgGpiochipOpen" not in drivers[0].read_bytes():
        sys.exit("lgpio without its driver: no pin would ever be driven")


def main() -> None:
    """Fetch, unpack, check."""
    python, folder = sys.argv[1], Path(sys.argv[2]).resolve()
    got = folder.with_name(folder.name + ".wheels")
    shutil.rmtree(got, ignore_errors=True)
    got.mkdir(parents=True)
    folder.mkdir(parents=True, exist_ok=True)
    fetch(python, got)
    for wheel in sorted(got.glob("*.whl")):
        if wheel.name.partition("-")[0] not in LEFT_OUT:
            unpack(wheel, folder)
    check(folder)


if __name__ == "__main__":
    main()
