"""How a report looks: a table for a person, an object for a program.

The object: `doctor` (its version), `state`, `box`, `at_s` (wall clock, not vouched for), `took_s`,
`agent {running answers}`, `counts {ok warning fault}`, `results [{key group state about seen id en}]`; `id` and `en` are the remedy.
Not its job: finding anything out.
"""

from __future__ import annotations

from itertools import groupby, zip_longest
from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from edge_agent import __version__
from edge_agent.doctor.check import Patient, Result, State
from edge_agent.doctor.run import Report, badness

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

_MARK: Final = {State.OK: "ok     ", State.WARNING: "warning", State.FAULT: "FAULT  "}
_STYLE: Final = {State.OK: "green", State.WARNING: "yellow", State.FAULT: "bold red"}
_DO: Final = {"id": "lakukan: ", "en": "do: "}


def render(report: Report, patient: Patient, *, language: str | None = None) -> RenderableType:
    """For a terminal: the group with the worst answer first, then from the box outwards. *language*: of the remedies; None: both."""
    groups = [
        (name, [answer.result for answer in answers])
        for name, answers in groupby(report.answers, key=lambda answer: answer.group)
    ]
    groups.sort(key=lambda group: -max(badness(result.state) for result in group[1]))
    parts: list[RenderableType] = [_head(patient)]
    for name, results in groups:
        parts.append(Text(f"\n{name}", style="bold"))
        parts.append(_table(results, language))
    parts.append(_sum(report))
    return Group(*parts)


def _head(patient: Patient) -> Text:
    identity = None if patient.settings is None else patient.settings.identity
    box = "this box" if identity is None else identity.box
    if identity is None:
        beside = "its configuration cannot be used: what needs one was not asked"
    elif not patient.agent.running:
        beside = "the agent does not run: pins and cameras were asked directly"
    elif patient.agent.status is None:
        beside = "the agent runs but says nothing: what it owns was left alone"
    else:
        beside = "beside the running agent: what it owns was taken from its own word"
    return Text(f"{box}, version {__version__}; {beside}")


def _table(results: Sequence[Result], language: str | None) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for result, following in zip_longest(results, results[1:]):
        mark = Text(f"  {_MARK[result.state]}", style=_STYLE[result.state])
        said = _said(result)
        # Several lines of a file, or cameras, with the same thing to do: it is said once, below the last of them.
        if following is None or following.remedy != result.remedy:
            said.append_text(_remedy(result, language))
        table.add_row(mark, said)
    return table


def _said(result: Result) -> Text:
    said = Text(_name(result))
    if result.state is not State.OK:
        said.stylize("bold")
    said.append(f": {plain(result.seen)}")
    return said


def _remedy(result: Result, language: str | None) -> Text:
    remedy = result.remedy
    texts = () if remedy is None else (("id", remedy.id), ("en", remedy.en))
    wanted = [(name, text) for name, text in texts if language in {None, name}]
    lines = [f"\n{_DO[name]}{plain(text)}" for name, text in wanted]
    return Text("".join(lines), style="not bold italic")


def _name(result: Result) -> str:
    about = "" if result.about is None else f" [{plain(result.about)}]"
    return f"{plain(result.key)}{about}"


def _sum(report: Report) -> Text:
    counted = counts(report)
    said = ", ".join(f"{counted[state.value]} {state.value}" for state in State)
    lines = [f"\n{said}, in {report.took_s:.1f} s"]
    # Once more at the end, where the eye is when a long page has gone by.
    wrong = [a.result for a in report.answers if a.result.state is State.FAULT]
    if wrong:
        names = dict.fromkeys(_name(result) for result in wrong)
        lines.append(f"FAULT: {', '.join(names)}")
    return Text("\n".join(lines), style=_STYLE[report.state])


def counts(report: Report) -> dict[str, int]:
    """How many answers of each state."""
    states = [answer.result.state for answer in report.answers]
    return {state.value: states.count(state) for state in State}


def as_json(report: Report, patient: Patient) -> dict[str, object]:
    """For a program; the shape is documented above."""
    return {
        "doctor": __version__,
        "state": report.state.value,
        "box": None if patient.settings is None else patient.settings.identity.box,
        "at_s": round(patient.clock.wall()),
        "took_s": round(report.took_s, 2),
        "agent": {
            "running": patient.agent.running,
            "answers": patient.agent.status is not None,
        },
        "counts": counts(report),
        "results": [
            {
                "key": answer.result.key,
                "group": answer.group,
                "state": answer.result.state.value,
                "about": answer.result.about,
                "seen": answer.result.seen,
                "id": None if answer.result.remedy is None else answer.result.remedy.id,
                "en": None if answer.result.remedy is None else answer.result.remedy.en,
            }
            for answer in report.answers
        ],
    }


def plain(text: str) -> str:
    """A value for a terminal: nothing in it that the terminal would obey."""
    return "".join(mark if mark.isprintable() else " " for mark in text)
