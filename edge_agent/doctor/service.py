"""Checks of the service: its unit under systemd, its watchdog, whether it answers, and what it has found itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from edge_agent.core.words import Sentence
from edge_agent.doctor.check import Check, Patient, Result, fault, warning, well
from edge_agent.doctor.run import UNIT, unit_properties

_GROUP: Final = "service"
_INSTALLED: Final = Path(
    "/etc/edge-agent"
)  # a configuration elsewhere is being tried, not installed
_RESTARTS_MANY: Final = 3
_FAILED_MAX: Final = 5
_FINDINGS_MAX: Final = 50
# What the switch's own checks tell of the running agent (switch.py).
_TOLD_ELSEWHERE: Final = {
    *("privacy_wiring", "privacy_unreadable", "privacy_jammed", "privacy_relay"),
    *("privacy_undriven", "privacy_press_test", "privacy_no_switch"),
}
_UNITS_OTHER: Final = ("systemctl", "list-units", "--state=failed", "--plain", "--no-legend")

_REMEDY_START: Final = Sentence(
    "Jalankan: sudo systemctl enable --now edge-agent. Bila berhenti lagi: journalctl -u edge-agent menunjukkan sebabnya.",
    "Run: sudo systemctl enable --now edge-agent. If it ends again: journalctl -u edge-agent tells why.",
)
_REMEDY_INSTALL: Final = Sentence(
    "Unit layanan tidak terpasang, jadi agen tidak hidup setelah listrik padam. Pasang dengan make install, atau pakai citra kami.",
    "The service unit is not installed, so the agent does not come up after a power cut. Run make install, or use our image.",
)
_REMEDY_WATCHDOG: Final = Sentence(
    "Tanpa pengawas, agen yang macet tidak dimulai ulang. Pasang unit yang asli (make install), tanpa drop-in yang mematikan WatchdogSec.",
    "Without its watchdog an agent that hangs is not restarted. Install the unit as it came (make install), without a drop-in "
    "that turns WatchdogSec off.",
)
_REMEDY_RESTARTS: Final = Sentence(
    "Agen berulang kali dimulai ulang. Lihat journalctl -u edge-agent -p warning dan kirim hasil edge-agent doctor --bundle.",
    "The agent was restarted again and again. See journalctl -u edge-agent -p warning, and send the result of edge-agent doctor "
    "--bundle.",
)
_REMEDY_FAILED: Final = Sentence(
    "Unit lain gagal. Lihat sebabnya dengan systemctl status NAMA dan perbaiki, atau matikan unit yang tidak diperlukan.",
    "Other units have failed. See why with systemctl status NAME and put it right, or disable what is not needed.",
)
_REMEDY_SILENT: Final = Sentence(
    "Agen berjalan tetapi tidak menjawab. Tunggu dua menit: pengawasnya memulainya ulang. Bila tetap begini: sudo systemctl restart "
    "edge-agent. Hanya root dan grup edge-agent boleh bertanya.",
    "The agent runs, but does not answer. Wait two minutes: its watchdog restarts it. If it stays so: sudo systemctl restart "
    "edge-agent. Only root and the group edge-agent may ask.",
)


def findings(patient: Patient) -> list[Mapping[str, object]]:
    """What the running agent has found; empty while it says nothing."""
    status = patient.agent.status or {}
    found = status.get("findings")
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def finding_of(patient: Patient, key: str) -> Sentence | None:
    """The agent's own sentence on one finding."""
    return next((_sentence(found) for found in findings(patient) if found.get("key") == key), None)


def _sentence(found: Mapping[str, object]) -> Sentence:
    return Sentence(str(found.get("id")), str(found.get("en")))


def _running(patient: Patient) -> list[Result]:
    key = "service.unit"
    unit = unit_properties(patient.program)
    if not unit:
        installed = patient.config_file.parent == _INSTALLED
        systemd = patient.program(("systemctl", "--version")) is not None
        return [fault(key, f"no {UNIT}", _REMEDY_INSTALL)] if installed and systemd else []
    state = f"{unit.get('ActiveState')} ({unit.get('SubState')}), {unit.get('UnitFileState')}"
    if unit.get("ActiveState") != "active":
        return [fault(key, f"{state}, result {unit.get('Result')}", _REMEDY_START)]
    if unit.get("UnitFileState") not in {"enabled", "enabled-runtime", "static", ""}:
        return [fault(key, f"{state}: it will not come up after a power cut", _REMEDY_START)]
    restarts = unit.get("NRestarts", "0")
    if restarts.isdigit() and int(restarts) >= _RESTARTS_MANY:
        return [warning(key, f"{state}, restarted {restarts} times", _REMEDY_RESTARTS)]
    return [well(key, f"{state}, restarted {restarts} times")]


def _watchdog(patient: Patient) -> list[Result]:
    key = "service.watchdog"
    period = unit_properties(patient.program).get("WatchdogUSec")
    if period is None:
        return []
    if period in {"0", "infinity"}:
        return [fault(key, "the unit has no watchdog", _REMEDY_WATCHDOG)]
    return [well(key, f"systemd restarts it after {period} of silence")]


def _failed(patient: Patient) -> list[Result]:
    key, said = "service.others", patient.program(_UNITS_OTHER)
    if said is None or not unit_properties(patient.program):
        return []
    names = [line.split()[0] for line in said.splitlines() if line.split()]
    others = [name for name in names if name != UNIT]
    if not others:
        return [well(key, "no other unit has failed")]
    more = f" and {len(others) - _FAILED_MAX} more" if len(others) > _FAILED_MAX else ""
    return [warning(key, f"failed: {', '.join(others[:_FAILED_MAX])}{more}", _REMEDY_FAILED)]


def _answers(patient: Patient) -> list[Result]:
    key, agent = "service.answers", patient.agent
    if agent.status is not None:
        return [well(key, f"the agent answers, {len(findings(patient))} findings")]
    if not agent.running:
        return []  # service.unit says so, where there is a unit
    return [fault(key, agent.why_silent or "the agent does not answer", _REMEDY_SILENT)]


def _findings(patient: Patient) -> list[Result]:
    """What the agent itself has found: its sentences say what to do."""
    key = "service.findings"
    if patient.agent.status is None:
        return []
    found = [item for item in findings(patient) if item.get("key") not in _TOLD_ELSEWHERE]
    if not found:
        return [well(key, "the agent has found nothing wrong that is not told of its switch")]
    return [_finding(key, item) for item in found[:_FINDINGS_MAX]]


def _finding(key: str, item: Mapping[str, object]) -> Result:
    since_s, camera = item.get("since_s"), item.get("camera")
    since = f", for {since_s / 60:.0f} min" if isinstance(since_s, int | float) else ""
    about = camera if isinstance(camera, str) else None
    return warning(key, f"{item.get('key')}{since}", _sentence(item), about=about)


CHECKS: Final = (
    Check(key="service.unit", group=_GROUP, ask=_running),
    Check(key="service.watchdog", group=_GROUP, ask=_watchdog),
    Check(key="service.others", group=_GROUP, ask=_failed),
    Check(key="service.answers", group=_GROUP, ask=_answers),
    Check(key="service.findings", group=_GROUP, ask=_findings),
)
