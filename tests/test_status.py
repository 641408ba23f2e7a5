"""The status socket under friendly, slow and hostile clients, and what a person reads on the terminal."""

from __future__ import annotations

import grp
import json
import logging
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from edge_agent import status as status_module
from edge_agent.clock import SystemClock
from edge_agent.status import CLIENTS_MAX, NoAnswer, StatusServer, fetch, main, render
from tests.support.patience import patient

CLOCK = SystemClock()
WELL: dict[str, object] = {
    "box": "kuningan/03/05/box-1",
    "version": "1.0",
    "boot": "b",
    "at": 100.0,
    "wall_s": 1.7e9,
    "clock_trusted": True,
    "simulated": False,
    "suspended": False,
    "private": {"on": False, "since_s": 50.0, "fault": None},
    "cameras": [
        {
            "id": "gang-mawar",
            "name": "Gang Mawar",
            "gate": "open",
            "why": "proven",
            "link": "normal",
            "session": True,
            "fresh_video": True,
            "right_scene": None,
            "cable": "normal",
            "last_released_age_s": 4.2,
            "period_s": 10.0,
            "signal_detail": "",
        }
    ],
    "journal": {
        "depth": 12,
        "oldest_age_s": 7300.0,
        "used_bytes": 3_400_000,
        "quota_bytes": 2e9,
        "durable": True,
    },
    "uplink": {
        "state": "live",
        "detail": "",
        "since_s": 300.0,
        "in_flight": 2,
        "settled_upto": 88,
        "last_seq": 100,
    },
    "findings": [],
}
FINDING = {
    "key": "cable_open",
    "camera": "gang-mawar",
    "since_s": 61.0,
    "id": "Kabel putus.",
    "en": "The cable is cut.",
}
ORDER = {
    "order": "aaaaaaaa-100-1",
    "cause": "cable_cut",
    "cameras": ["gang-mawar"],
    "open_s": 65.0,
    "id": "kabel putus atau tercabut",
    "en": "cable cut or unplugged",
    "bring": {"id": ["55 m kabel", "tangga"], "en": ["55 m of cable", "a ladder"]},
}
ILL = WELL | {"findings": [FINDING]}


def serve(path: Path, status: object = WELL) -> StatusServer:
    return StatusServer(str(path), lambda: json.dumps(status).encode())


def shown(status: dict[str, object], **more: str) -> str:
    console = Console(width=200, record=True, file=open(os.devnull, "w"))  # noqa: PTH123, SIM115
    console.print(render(status, **more))
    console.file.close()
    return console.export_text()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "s.sock"


# ---- serving ----


def test_whoever_asks_gets_one_object(path):
    with serve(path):
        assert fetch(str(path)) == WELL
        assert fetch(str(path)) == WELL
    assert not path.exists()


def test_the_modes_do_not_depend_on_the_umask(path):
    for umask in (0o077, 0o000):
        before = os.umask(umask)
        try:
            with serve(path):
                assert stat.S_IMODE(path.stat().st_mode) == 0o660
                assert stat.S_IMODE(path.parent.stat().st_mode) == 0o750
        finally:
            os.umask(before)
        path.parent.rmdir()


def test_the_socket_of_a_killed_agent_is_replaced(path):
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(path))
        gone.listen()
    with serve(path):
        assert fetch(str(path)) == WELL


def test_an_agent_that_still_answers_is_not_robbed(path, caplog):
    with serve(path, ILL):
        with caplog.at_level(logging.WARNING, logger="edge_agent"), serve(path):
            assert fetch(str(path)) == ILL
        assert fetch(str(path)) == ILL
    assert "another agent answers there" in caplog.text


def test_a_file_in_the_way_is_never_deleted(path, caplog):
    path.parent.mkdir()
    path.write_text("precious")
    with serve(path):
        pass
    assert path.read_text() == "precious"
    assert "no socket" in caplog.text


def test_a_folder_that_cannot_be_made_costs_the_status_not_the_agent(tmp_path, caplog):
    (tmp_path / "file").touch()
    with serve(tmp_path / "file" / "s.sock"):
        assert "status unavailable" in caplog.text
    with serve(tmp_path / ("x" * 120)):
        pass


def test_the_place_of_a_newer_agent_is_left_alone(path):
    with serve(path):
        path.unlink()
        newer = serve(path, ILL).__enter__()
    assert fetch(str(path)) == ILL
    newer.__exit__(None, None, None)
    newer.__exit__(None, None, None)


def silent_client(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    client.connect(str(path))
    return client


def ask_until_answered(path: Path) -> dict[str, object]:
    began = CLOCK.now()
    while True:
        try:
            return fetch(str(path))
        except NoAnswer:
            assert CLOCK.now() - began < patient(20)
            threading.Event().wait(0.05)


def test_clients_that_never_read_hold_nobody_up_for_long(path):
    """The snapshot is larger than any socket's buffer, so each of these keeps a sender waiting."""
    big = WELL | {"box": "x" * 3_000_000}
    with serve(path, big):
        clients = [silent_client(path) for _ in range(2 * CLIENTS_MAX)]
        assert ask_until_answered(path) == big
        for client in clients:
            client.close()


def test_no_more_than_four_are_served_at_once(path):
    entered, go_on = threading.Semaphore(0), threading.Event()

    def snapshot() -> bytes:
        entered.release()
        go_on.wait(patient(20))
        return json.dumps(WELL).encode()

    with StatusServer(str(path), snapshot):
        clients = [silent_client(path) for _ in range(CLIENTS_MAX)]
        for _ in clients:
            assert entered.acquire(timeout=patient(20))
        with pytest.raises(NoAnswer, match="too many ask at once"):
            fetch(str(path))
        go_on.set()
        assert ask_until_answered(path) == WELL
        for client in clients:
            client.close()


def test_a_storm_of_clients_that_leave_at_once_is_survived(path):
    with serve(path):
        for _ in range(300):
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            client.connect_ex(str(path))
            client.close()
        assert ask_until_answered(path) == WELL


def test_what_a_client_sends_is_never_read(path):
    with serve(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.settimeout(5)
        with suppress(BrokenPipeError):  # answered, and closed, before all of it was sent
            client.sendall(b'{"gate": "open"}\n' * 100)
        assert json.loads(client.makefile("rb").readline()) == WELL


def test_leaving_takes_no_time_though_nobody_ever_asked(path):
    server = serve(path)
    with server:
        pass
    assert not server._thread.is_alive()


# ---- asking ----


def run(capsys, *argv: str) -> tuple[int, str, str]:
    code = main(argv)
    out = capsys.readouterr()
    return code, out.out, out.err


def test_the_exit_code_tells_well_from_ill(path, capsys):
    with serve(path):
        code, out, _ = run(capsys, "--socket", str(path))
        assert (code, "all well" in out) == (0, True)
    with serve(path, ILL):
        code, out, _ = run(capsys, "--socket", str(path))
        assert (code, "The cable is cut." in out) == (1, True)
        code, out, _ = run(capsys, "--socket", str(path), "--lang", "id")
        assert "Kabel putus." in out
        code, out, _ = run(capsys, "--socket", str(path), "--json")
        assert (code, json.loads(out)) == (1, ILL)


def test_the_language_is_the_terminals(monkeypatch):
    monkeypatch.delenv("LC_ALL", raising=False)
    monkeypatch.delenv("LC_MESSAGES", raising=False)
    monkeypatch.setenv("LANG", "id_ID.UTF-8")
    assert status_module._language() == "id"
    monkeypatch.setenv("LANG", "C")
    assert status_module._language() == "en"


def test_no_agent_says_so_and_how_to_look(tmp_path, capsys):
    code, out, err = run(capsys, "--socket", str(tmp_path / "s.sock"))
    assert (code, out) == (2, "")
    assert "not running" in err
    assert "systemctl status edge-agent" in err
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(tmp_path / "s.sock"))
    assert "left over" in run(capsys, "--socket", str(tmp_path / "s.sock"))[2]
    assert run(capsys, "--socket", "/" + "x" * 200)[0] == 2


@pytest.mark.parametrize("answer", [b"", b"{}", b"[]", b"{", b"\xff", b"x" * 4_000_001])
def test_an_answer_without_sense_is_no_status(path, capsys, answer):
    with StatusServer(str(path), lambda: answer):
        assert run(capsys, "--socket", str(path))[0] == 2


def test_an_agent_that_hangs_is_told_from_one_that_is_gone(tmp_path, monkeypatch):
    monkeypatch.setattr(status_module, "_ANSWER_TIMEOUT_S", 0.2)
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(tmp_path / "s.sock"))
        hung.listen()
        with pytest.raises(NoAnswer, match="hangs"):
            fetch(str(tmp_path / "s.sock"))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become a second user")
def test_a_second_user_in_the_group_may_ask_and_nobody_else():
    group = next(entry for entry in grp.getgrall() if entry.gr_gid not in {0, 65534})
    nobody = pwd.getpwnam("nobody")
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    path = folder / "run" / "s.sock"
    ask = (
        "import socket, sys\n"
        "link = socket.socket(socket.AF_UNIX)\n"
        "try:\n"
        "    link.connect(sys.argv[1])\n"
        "    print(link.recv(5).decode())\n"
        "except PermissionError:\n"
        "    print('refused')\n"
    )
    python = shutil.which("python3", path="/usr/bin") or sys.executable
    try:
        with serve(path):
            os.chown(path.parent, -1, group.gr_gid)
            os.chown(path, -1, group.gr_gid)

            def asked(*groups: int) -> str:
                done = subprocess.run(
                    [python, "-c", ask, str(path)],
                    user=nobody.pw_uid,
                    group=nobody.pw_gid,
                    extra_groups=list(groups),
                    capture_output=True,
                    text=True,
                    timeout=patient(20),
                    check=True,
                    cwd="/",
                )
                return done.stdout.strip()

            assert asked(group.gr_gid) == '{"box'
            assert asked() == "refused"
            assert f"usermod -aG {group.gr_name} $USER" in status_module._how_to_join(str(path))
            os.chown(path, 0, 0)
            assert "usermod" not in status_module._how_to_join(str(path))  # never into root's group
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_watching_goes_on_until_ctrl_c(path, more):
    served = threading.Semaphore(0)

    def snapshot() -> bytes:
        served.release()
        return json.dumps(ILL).encode()

    script = "import sys; from edge_agent.status import main; sys.exit(main(sys.argv[1:]))"
    with StatusServer(str(path), snapshot):
        child = subprocess.Popen(
            [sys.executable, "-c", script, "--watch", "--socket", str(path), *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
        )
        try:
            for _ in range(2):
                assert served.acquire(timeout=patient(20))
            child.send_signal(signal.SIGINT)
            out, err = child.communicate(timeout=patient(20))
        finally:
            child.kill()
            child.wait()
    assert child.returncode == 0, err
    assert "cable_open" in out
    assert "Traceback" not in err


# ---- how it looks ----


def test_a_person_sees_which_rung_fails_and_how_long_the_certificate_holds():
    uplink: dict[str, Any] = {
        "state": "waiting",
        "pictures_wait_for_clock": True,
        "diagnosis": {
            "rung": "gateway",
            "fault": "gateway_silent",
            "seen": "eth0 10.0.0.1: does not answer",
            "since_s": 180.0,
            "id": "Router tidak menjawab kotak.",
            "en": "The router does not answer the box.",
            "steps": [
                {"rung": "address", "holds": True, "seen": "eth0 10.0.0.7"},
                {"rung": "gateway", "holds": False, "seen": "eth0 10.0.0.1: does not answer"},
            ],
        },
        "certificate": {
            "slot": "renewed",
            "end_s": 1_830_000_000,
            "due_s": 1_815_000_000,
            "waiting": True,
            "trouble": "hub.example.org:8443 answers 500",
        },
    }
    text = shown({**WELL, "uplink": uplink})
    assert "gateway" in text
    assert "The router does not answer the box. [address holds, gateway FAILS]" in text
    assert "until 2027-12-28" in text
    assert "renewed from 2027-07-07" in text
    assert "waits for its first connection" in text
    assert "answers 500" in text
    assert "pictures wait" in text
    assert "Router tidak menjawab" in shown({**WELL, "uplink": uplink}, language="id")
    unknown = {**uplink, "diagnosis": {**uplink["diagnosis"], "rung": None, "steps": []}}
    assert "cannot be told" in shown({**WELL, "uplink": unknown})
    assert "until ?" in shown(
        {**WELL, "uplink": {**uplink, "certificate": {"end_s": "x", "slot": 3}}}
    )


def test_a_person_sees_each_camera_the_journal_and_the_uplink():
    text = shown(ILL)
    for words in (
        "kuningan/03/05/box-1",
        "gang-mawar",
        "open",
        "4.2 s ago",
        "12 records, oldest 2 h 01 min old, 3 MB of 2000 MB",
        "live for 5 min, 2 in flight, settled up to 88 of 100",
        "gang-mawar: cable_open, for 61 s",
    ):
        assert words in text
    assert "PRIVATE" not in text
    assert "SIMULATED" not in text


def test_an_open_work_order_says_what_broke_since_when_and_what_to_bring():
    text = shown(WELL | {"orders": [ORDER]})
    for words in (
        "work order aaaaaaaa-100-1: gang-mawar",
        "cable cut or unplugged, open for 65 s",
        "bring: 55 m of cable, a ladder",
    ):
        assert words in text
    text = shown(WELL | {"orders": [ORDER]}, language="id")
    assert "kabel putus atau tercabut" in text
    assert "bawa: 55 m kabel, tangga" in text
    evil = ORDER | {"order": "\x1b[2J", "cameras": ["\x1b]0;x\x07"], "bring": {"en": ["\x1b[0m"]}}
    assert "\x1b" not in shown(WELL | {"orders": [evil]})


def test_the_state_of_each_cable_stands_beside_its_camera():
    assert "normal" in shown(WELL)
    assert "high resistance" in shown(WELL | {"cameras": [{"cable": "high resistance"}]})


def test_what_matters_most_stands_on_top():
    private: dict[str, object] = {"on": True, "since_s": 30.0, "fault": None}
    text = shown(
        WELL | {"private": private, "suspended": True, "simulated": True, "clock_trusted": False}
    )
    for words in ("PRIVATE for 30 s", "SUSPENDED by the city", "SIMULATED", "clock not trusted"):
        assert words in text


def test_a_journal_in_memory_is_shouted():
    assert "IN MEMORY ONLY" in shown(WELL | {"journal": {"depth": 1, "durable": False}})


def test_what_a_camera_says_cannot_command_the_terminal():
    cameras = [
        {"id": "[red]x[/red]", "gate": "\x1b[2J", "signal_detail": "\x1b]0;evil\x07[link=http://x]"}
    ]
    text = shown(WELL | {"cameras": cameras})
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[red]x[/red]" in text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*WELL, "id", "gate", "since_s", "durable", "cameras", "bring", "en"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=15,
)


@given(st.dictionaries(st.sampled_from([*WELL, "orders"]), JSON))
def test_an_agent_of_any_version_can_be_shown(status):
    assert shown(status)


def test_nothing_known_is_shown_as_private():
    """Unknown is never shown as fine."""
    assert "PRIVATE" in shown({"box": "x"})
