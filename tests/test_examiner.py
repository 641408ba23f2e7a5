"""The doctor as a child of the agent: each question is answered, whatever it does, and none is left behind."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest

from edge_agent.core.messages import Event, Examine, Examined
from edge_agent.core.report import of_doctor
from edge_agent.examiner import Examiner
from tests.support.broker import wait_for
from tests.support.mailbox import Mailbox

HANGS = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).touch(); time.sleep(600)"


@contextmanager
def asked(mail: Mailbox, config: Path, program: str, within_s: float = 60.0) -> Iterator[Examiner]:
    """An examiner whose doctor is this little program."""
    words = (sys.executable, "-I", "-c", program)
    with Examiner(config, post=mail.post, doctor=words, within_s=within_s) as examiner:
        yield examiner


def answer(mail: Mailbox, count: int = 1) -> Examined:
    return cast(
        "Examined",
        mail.wait_for(lambda event: isinstance(event, Examined), count=count, timeout=60.0),
    )


@pytest.mark.timeout(600)
def test_the_real_doctor_examines_the_box_of_that_configuration(tmp_path: Path) -> None:
    config = tmp_path / "box.toml"
    config.write_text("[identity]\nbox = 3\n")
    mail = Mailbox()
    with Examiner(config, post=mail.post) as examiner:
        examiner.examine(Examine(number=7))
        said = answer(mail)
    assert (said.number, said.why) == (7, "")
    data = of_doctor(said)
    assert data["state"] == "fault"
    found = {str(dict(cast("dict[str, object]", each))["key"]) for each in _list(data["results"])}
    assert "config.sound" in found


def _list(value: object) -> list[object]:
    assert isinstance(value, list)
    return value


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("import sys; sys.exit('you may not read it')", "ended with 1: you may not read it"),
        ("raise ValueError('of a camera: hunter2')", "ended with 1: ValueError"),
        ("print('[1, 2]')", "ended with 0: it said nothing"),
        ("print('{\"state\":')", "ended with 0: it said nothing"),
        ("print('[' * 100_000)", "ended with 0"),
        ("import os; os.kill(os.getpid(), 9)", "ended with -9"),
        ("import sys; sys.stdout.buffer.write(b'\\xff\\xfe')", "ended with 0"),
    ],
)
def test_a_doctor_that_says_nothing_sensible_is_told_of(
    tmp_path: Path, program: str, why: str
) -> None:
    mail = Mailbox()
    with asked(mail, tmp_path / "box.toml", program) as examiner:
        examiner.examine(Examine(number=1))
        said = answer(mail)
    assert said.told == {}
    assert why in said.why
    assert "hunter2" not in said.why


def test_a_doctor_that_hangs_is_ended_and_the_next_one_asked(tmp_path: Path) -> None:
    mail = Mailbox()
    with asked(mail, tmp_path / "began", HANGS, within_s=0.2) as examiner:
        for count in (1, 2):
            examiner.examine(Examine(number=count))
            said = answer(mail, count)
            assert (said.number, said.why) == (count, "the doctor did not end within 0.2 s")


def test_a_program_that_is_not_there_is_an_answer(tmp_path: Path) -> None:
    mail = Mailbox()
    with Examiner(
        tmp_path / "box.toml", post=mail.post, doctor=(str(tmp_path / "no"),)
    ) as examiner:
        examiner.examine(Examine(number=1))
        assert "cannot be started: No such file" in answer(mail).why


def test_an_agent_without_a_configuration_file_says_so() -> None:
    mail = Mailbox()
    with Examiner(None, post=mail.post) as examiner:
        examiner.examine(Examine(number=1))
        assert "no configuration file" in answer(mail).why


def test_no_doctor_outlives_the_agent_and_what_waits_is_one_more(tmp_path: Path) -> None:
    mail = Mailbox()
    began = tmp_path / "began"
    program = (
        "import os, pathlib, sys, time\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "path.with_suffix('.pid').write_text(str(os.getpid()))\n"
        "path.touch()\n"
        "while path.exists(): time.sleep(0.01)\n"
        "print('{}')"
    )
    with asked(mail, began, program) as examiner:
        examiner.examine(Examine(number=1))
        _await(began)
        for number in (2, 3, 4):
            examiner.examine(Examine(number=number))
        began.unlink()
        _await(began)  # the second one runs
        assert answer(mail).number == 1
        pid = int(began.with_suffix(".pid").read_text())
    answer(
        mail, 2
    )  # of the one that was ended; its thread may be held up beyond what the agent waits for
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert [event.number for event in mail.events if isinstance(event, Examined)] == [1, 4]


def _await(path: Path) -> None:
    wait_for(path.exists, f"{path.name} is there")


def test_the_service_managers_words_are_not_handed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A doctor that fed the agent's watchdog would keep a hung one alive."""
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("LG_WD", "/run/x")
    mail = Mailbox()
    program = "import json, os; print(json.dumps(dict(os.environ)))"
    with asked(mail, tmp_path, program) as examiner:
        examiner.examine(Examine(number=1))
        told = answer(mail).told
    assert told["LG_WD"] == "/run/x"
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM"} & set(told)


def test_a_thread_that_breaks_says_so(tmp_path: Path) -> None:
    mail = Mailbox()

    def post(event: Event) -> None:
        mail.post(event)
        if isinstance(event, Examined):
            raise RuntimeError("the inbox broke")

    words = (sys.executable, "-I", "-c", "print('{}')")
    with Examiner(tmp_path, post=post, doctor=words) as examiner:
        examiner.examine(Examine(number=1))
        died = mail.wait_for(lambda event: type(event).__name__ == "Died")
    assert "the inbox broke" in str(died)
