"""Checks of what runs here: the agent's version, and the system or card image that it runs on."""

from __future__ import annotations

import re
import sys
from typing import Final

from edge_agent import __version__
from edge_agent.core.words import Sentence
from edge_agent.doctor.check import Check, Patient, Result, text_of, warning, well

_GROUP: Final = "versions"
_SUITES: Final = {"12", "13"}  # of Debian: what the agent is built and tried on

_REMEDY_RESTART: Final = Sentence(
    "Yang berjalan bukan versi yang terpasang. Jalankan: sudo systemctl restart edge-agent (kamera privat beberapa detik).",
    "What runs is not the version that is installed. Run: sudo systemctl restart edge-agent (the cameras are private for some "
    "seconds).",
)
_REMEDY_PYTHON: Final = Sentence(
    "Debian sudah dinaikkan di bawah agen, jadi Python miliknya tidak lagi diperbarui dan bisa terhapus. Jalankan lagi: sudo make install "
    "(docs/install-debian.md).",
    "Debian was upgraded beneath the agent, so its Python gets no updates any more and may be removed. Run once more: sudo make "
    "install (docs/install-debian.md).",
)
_REMEDY_SYSTEM: Final = Sentence(
    "Agen belum diuji pada sistem ini. Pakai Debian 12 atau 13 (Raspberry Pi OS sepadan), atau citra kami.",
    "The agent was not tried on this system. Use Debian 12 or 13 (or the Raspberry Pi OS made from it), or our image.",
)


def _agent(patient: Patient) -> list[Result]:
    key = "agent.version"
    python = f"Python {sys.version_info.major}.{sys.version_info.minor}"
    runs = (patient.agent.status or {}).get("version")
    if isinstance(runs, str) and runs != __version__:
        seen = f"{__version__} is installed ({python}), and {runs[:40]} runs"
        return [warning(key, seen, _REMEDY_RESTART)]
    debians = _debians_python(patient)
    if sys.base_prefix == "/usr" and debians not in {None, python}:
        seen = f"{__version__} runs on {python}, and the system's own is {debians}"
        return [warning(key, seen, _REMEDY_PYTHON)]
    return [well(key, f"{__version__}, {python}")]


def _debians_python(patient: Patient) -> str | None:
    """What the system means by "python3"; None: it does not say."""
    try:
        name = (patient.root / "usr/bin/python3").readlink().name
    except OSError:
        return None
    return f"Python {name.removeprefix('python')}"


def os_release(patient: Patient) -> dict[str, str]:
    """The system's own word on itself."""
    text = text_of(patient.root / "etc/os-release") or ""
    return {name: value.strip("\"'") for name, value in re.findall(r"(?m)^([A-Z_]+)=(.*)$", text)}


def _image(patient: Patient) -> list[Result]:
    key, told = "image.version", os_release(patient)
    if not told:
        return []
    system = told.get("PRETTY_NAME", told.get("ID", "?"))[:60]
    if told.get("IMAGE_ID"):
        system = f"image {told['IMAGE_ID'][:40]} {told.get('IMAGE_VERSION', '?')[:40]}, {system}"
    family = {told.get("ID", ""), *told.get("ID_LIKE", "").split()}
    if "debian" in family and (told.get("VERSION_ID") in _SUITES or told.get("ID") != "debian"):
        return [well(key, system)]
    return [warning(key, system, _REMEDY_SYSTEM)]


CHECKS: Final = (
    Check(key="agent.version", group=_GROUP, ask=_agent),
    Check(key="image.version", group=_GROUP, ask=_image),
)
