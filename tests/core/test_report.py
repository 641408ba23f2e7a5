"""The record in which a box tells of itself: what `status` knows, bounded, and nothing that nobody listed."""

import json
from typing import Any

from edge_agent.core.messages import Examined
from edge_agent.core.report import LIST_MAX, TEXT_MAX, of_box, of_doctor
from tests.core.test_agent import live_box


def test_it_is_what_status_says_with_the_number_it_was_asked_for():
    play = live_box()
    status = play.status()
    data: Any = of_box(play.agent.status(at=play.now), number=3)
    assert data["number"] == 3
    assert [camera["gate"] for camera in data["cameras"]] == [
        camera["gate"] for camera in status["cameras"]
    ]
    assert data["journal"] == status["journal"]
    assert data["uplink"]["state"] == "up"
    assert data["left_out"] == {}


def test_it_stays_small_whatever_the_box_has_seen_and_says_what_it_left_out():
    status: Any = {
        "version": "v" * 9999,
        "findings": [{"key": "k" * 9999, "camera": None, "since_s": 1.0}] * (LIST_MAX + 7),
        "orders": [{"order": "o", "cameras": ["c" * 9999] * 999, "bring": {"id": ["x"] * 999}}] * 9,
        "cameras": [{"id": "river", "signal_detail": "d" * 9999, "password": "secret"}],
        "journal": {"depth": 5, "durable": True, "deep": {"secret": 1}},
        "private": None,
        "uplink": "odd",
        "secret": "secret",
    }
    data: Any = of_box(status, number=1)
    assert data["left_out"] == {"findings": 7}
    assert len(data["findings"]) == LIST_MAX
    assert len(data["version"]) == len(data["cameras"][0]["signal_detail"]) == TEXT_MAX
    assert len(data["orders"][0]["cameras"]) == LIST_MAX
    assert data["journal"] == {"depth": 5, "durable": True, "deep": None}
    assert (data["private"], data["uplink"]) == ({}, {})
    text = json.dumps(data)
    assert "secret" not in text
    assert len(text) < 150_000


def test_of_the_doctor_it_says_what_is_not_well_the_faults_first_and_counts_the_rest():
    def result(key: str, state: str) -> dict[str, Any]:
        return {
            "key": key,
            "group": "hub",
            "state": state,
            "about": None,
            "seen": "x" * 9999,
            "id": "L",
            "en": "D",
        }

    told: Any = {
        "doctor": "1.0",
        "state": "fault",
        "took_s": 3.2,
        "counts": {"ok": 1, "warning": LIST_MAX, "fault": 1},
        "results": [
            result("clock.trusted", "ok"),
            *[result(f"files.{n}", "warning") for n in range(LIST_MAX)],
            result("hub.tls", "fault"),
            "odd",
        ],
        "secret": "secret",
    }
    data: Any = of_doctor(Examined(number=4, told=told))
    assert (data["number"], data["state"], data["took_s"], data["why"]) == (4, "fault", 3.2, "")
    assert data["counts"] == told["counts"]
    assert data["results"][0] == {
        "key": "hub.tls",
        "state": "fault",
        "about": None,
        "seen": "x" * TEXT_MAX,
    }
    assert (len(data["results"]), data["left_out"]) == (LIST_MAX, 2)
    assert "secret" not in json.dumps(data)


def test_of_a_doctor_that_said_nothing_it_says_why():
    data: Any = of_doctor(Examined(number=4, told={"results": 3, "counts": []}, why="w" * 9999))
    assert (data["results"], data["counts"], data["why"]) == ([], {}, "w" * TEXT_MAX)
