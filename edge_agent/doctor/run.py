"""Asks all checks side by side, with one deadline for all of them.

Promises: every check that applies is answered for, and in time: one that breaks or hangs, or whose module cannot be loaded,
is a fault that bears its name, and costs the others nothing. Nothing is claimed that a running agent owns.
Threads: one daemon thread for each check; what still hangs at the deadline is left behind and ends with the process.
Not its job: what is asked (the modules named in `MODULES`), how it is shown (page.py).
"""

from __future__ import annotations

import importlib
import queue
import subprocess
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from edge_agent.core.words import Sentence
from edge_agent.doctor.check import Agent, Check, Patient, Result, State
from edge_agent.status import DEFAULT_SOCKET, NoAnswer, fetch

# In the order in which a technician would go through them. Each has a tuple CHECKS.
MODULES: Final = (
    "versions",
    "service",
    "board",
    "header",
    "switch",
    "loops",
    "files",
    "cameras",
    "journal",
    "clock_checks",
    "hub_checks",
)
GROUPS: Final = (
    *("versions", "service", "board", "header", "switch", "loops", "files"),
    *("cameras", "journal", "clock", "hub"),
)
UNIT: Final = "edge-agent.service"

# However long loading took: a check that was cut off for it would be a false alarm. A slow board takes longer instead.
_LEAST_S: Final = 2.5
_PROGRAM_S: Final = 2.0
_PROPERTIES: Final = (
    *("LoadState", "ActiveState", "SubState", "Result", "Job", "NRestarts", "UnitFileState"),
    *("ActiveEnterTimestamp", "ExecMainStatus", "MemoryCurrent", "WatchdogUSec"),
    *("User", "SupplementaryGroups", "Environment", "RuntimeDirectory"),
)
_PROGRAM_MAX: Final = 4_000_000  # characters of a program's answer
_STATUS_S: Final = 1.0  # the agent answers within milliseconds, or it hangs

_REMEDY_BROKE: Final = Sentence(
    "Pemeriksaan ini sendiri gagal. Jalankan edge-agent doctor --bundle support.tar.gz dan kirim berkasnya ke meja bantuan; "
    "hasil pemeriksaan lain tetap berlaku.",
    "This check itself failed. Run edge-agent doctor --bundle support.tar.gz and send the file to the support desk; "
    "the other answers stand.",
)
_REMEDY_HUNG: Final = Sentence(
    "Yang diperiksa di sini tidak menjawab pada waktunya. Jalankan sekali lagi; bila terulang, nyalakan ulang kotak, lalu periksa "
    "kartu, kabel atau alat yang disebut pemeriksaan ini.",
    "What this check asks did not answer in time. Run it once more; if it happens again restart the box, then look at the card, "
    "cable or device that this check is about.",
)
_REMEDY_LOAD: Final = Sentence(
    "Satu bagian agen tidak dapat dimuat: pemasangannya rusak. Pasang ulang paketnya (make install) atau tulis ulang kartunya.",
    "A part of the agent cannot be loaded: its installation is damaged. Install the package again (make install), or flash the "
    "card anew.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One result, in its group."""

    group: str
    result: Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All answers, group by group in the order of `GROUPS`, the worst of a group first."""

    answers: tuple[Answer, ...]
    took_s: float

    @property
    def state(self) -> State:
        """The worst of all."""
        return max((a.result.state for a in self.answers), key=badness, default=State.OK)


def badness(state: State) -> int:
    """0 for well, more for worse."""
    return list(State).index(state)


def examine(patient: Patient, checks: Iterable[Check] | None = None) -> Report:
    """Ask all *checks* (None: all there are).

    Over `patient.within_s` after its beginning; where loading took long, the checks themselves have `_LEAST_S` all the same.
    """
    began = patient.clock.now() if patient.began_at is None else patient.began_at
    loaded, unloadable = load() if checks is None else (tuple(checks), ())
    least_s = min(_LEAST_S, patient.within_s)
    end = max(began + patient.within_s, patient.clock.now() + least_s)
    patient = replace(patient, ends_at=end)
    answers = [*unloadable, *_ask_all(patient, loaded)]
    answers.sort(key=lambda a: (_rank(a.group), -badness(a.result.state)))
    return Report(answers=tuple(answers), took_s=patient.clock.now() - began)


def _rank(group: str) -> int:
    return GROUPS.index(group) if group in GROUPS else len(GROUPS)


def load(names: Iterable[str] = MODULES) -> tuple[tuple[Check, ...], tuple[Answer, ...]]:
    """The checks of all modules, and a fault for each module that cannot be loaded.

    By name and only now: a box whose OpenCV or pin library is damaged is just the one that needs the other checks.
    """
    checks: list[Check] = []
    faults: list[Answer] = []
    for name in names:
        try:
            checks += importlib.import_module(f"edge_agent.doctor.{name}").CHECKS
        except Exception as error:  # noqa: BLE001 - whatever keeps it from being loaded is told as a fault
            result = Result(
                key=f"doctor.{name}",
                state=State.FAULT,
                seen=f"the checks of {name} cannot be loaded: {type(error).__name__}: {error}"[
                    :300
                ],
                remedy=_REMEDY_LOAD,
            )
            faults.append(Answer(group=name.removesuffix("_checks"), result=result))
    return tuple(checks), tuple(faults)


def _ask_all(patient: Patient, checks: tuple[Check, ...]) -> list[Answer]:
    came: queue.SimpleQueue[tuple[int, list[Result]]] = queue.SimpleQueue()
    for number, check in enumerate(checks):
        threading.Thread(
            target=_ask, args=(number, check, patient, came), name=check.key, daemon=True
        ).start()
    results: dict[int, list[Result]] = {}
    while len(results) < len(checks):
        try:
            number, found = came.get(timeout=patient.left_s())
        except queue.Empty:
            break
        results[number] = found
    return [
        Answer(group=check.group, result=result)
        for number, check in enumerate(checks)
        for result in results.get(number, [_hung(check, patient)])
    ]


def _ask(
    number: int,
    check: Check,
    patient: Patient,
    came: queue.SimpleQueue[tuple[int, list[Result]]],
) -> None:
    try:
        found = list(check.ask(patient))
    except Exception as error:  # noqa: BLE001 - the top of a thread: a check that breaks is a fault of its own
        found = [
            Result(
                key=check.key,
                state=State.FAULT,
                # Its text may repeat what a camera or a file said, a secret too; its kind may not.
                seen=f"the check itself broke: {type(error).__name__}{_where(error)}",
                remedy=_REMEDY_BROKE,
            )
        ]
    came.put((number, found))


def _where(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f" in {trace.tb_frame.f_code.co_name}, line {trace.tb_lineno}"


def _hung(check: Check, patient: Patient) -> Result:
    return Result(
        key=check.key,
        state=State.WARNING if check.slow else State.FAULT,
        seen=f"no answer within {patient.within_s:g} s",
        remedy=_REMEDY_HUNG,
    )


# ---- the service beside us ----


def run_program(command: tuple[str, ...]) -> str | None:
    """What *command* prints, or None: it is not there, fails, or takes more than two seconds."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROGRAM_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    if done.returncode != 0:
        return None
    return done.stdout.decode("utf-8", "replace")[:_PROGRAM_MAX]


class Asked:
    """`run_program`, each command once: a dozen checks ask systemd the same, and each question is a process. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asking: dict[tuple[str, ...], threading.Lock] = {}
        self._said: dict[tuple[str, ...], str | None] = {}

    def __call__(self, command: tuple[str, ...]) -> str | None:
        """What it printed when it was first run."""
        with self._lock:
            asking = self._asking.setdefault(command, threading.Lock())
        with asking:  # one that hangs holds up nobody who asks something else
            if command not in self._said:
                self._said[command] = run_program(command)
            return self._said[command]


def agent_beside(socket: str | None, program: Callable[[tuple[str, ...]], str | None]) -> Agent:
    """Whether the service runs, and what it says. One that was just told to start counts as running; so does one that is silent."""
    came = _asked(DEFAULT_SOCKET if socket is None else socket)
    unit = unit_properties(program)  # meanwhile
    status, why, answers = _word(came)
    # A job is what systemd is about to do: while the box starts, it may wait for others before the unit is even activating.
    awaited = unit.get("Job", "0") not in {"", "0"}
    active = unit.get("ActiveState") in {"active", "activating", "reloading", "deactivating"}
    running = answers or active or awaited
    return Agent(running=running, status=status, why_silent=why)


def unit_properties(program: Callable[[tuple[str, ...]], str | None]) -> dict[str, str]:
    """What systemd says of the unit; empty where there is no systemd or no such unit. One question for all, so that it is asked once."""
    said = program(("systemctl", "show", UNIT, f"--property={','.join(_PROPERTIES)}"))
    found = dict(line.split("=", 1) for line in (said or "").splitlines() if "=" in line)
    return found if found.get("LoadState", "not-found") != "not-found" else {}


_Word: TypeAlias = tuple[dict[str, object] | None, str, bool]


def _asked(socket: str) -> queue.SimpleQueue[_Word]:
    """Where will come: the agent's word, why there is none, does somebody hold the socket."""
    came: queue.SimpleQueue[_Word] = queue.SimpleQueue()

    def ask() -> None:
        try:
            came.put((fetch(socket), "", True))
        except NoAnswer as error:
            # "Not running" is the only answer that frees the pins.
            came.put((None, str(error), "not running" not in str(error)))

    threading.Thread(target=ask, name="status", daemon=True).start()
    return came


def _word(came: queue.SimpleQueue[_Word]) -> _Word:
    try:
        return came.get(timeout=_STATUS_S)
    except queue.Empty:
        return None, "the agent does not answer: it hangs or is overloaded", True
