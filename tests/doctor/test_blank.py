"""A configuration fit to be shown: by allowing, whatever was written where."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_agent.doctor.blank import HIDDEN, Scrub, blanked, keys, known_path, parse
from tests.support.patient import CONFIG

DOCS = Path(__file__).resolve().parents[2] / "docs"
# Go to the hub as a part of the box's address: shown, if they are what an address may be.
ADDRESSES = {("identity", key) for key in ("kelurahan", "rw", "rt", "box")} | {
    ("camera", "id"),
    ("run", "camera"),
    ("hub", "host"),
}
MANY = {"camera", "run"}

_ANY = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Zl", "Zp")), max_size=20
)
# What nobody may see: no word of an address, nor one of the few that a key allows.
secrets = st.tuples(
    _ANY, st.sampled_from(["Z", "_", "!", "Ωx", "@", '"', "'", "\\", "#", "%"]), _ANY
).map(lambda parts: f"{parts[0]}Q{parts[1]}7{parts[2]}w_".strip())
url_words = st.text(st.sampled_from("ABCabc123!$&'()*+,;=_~"), max_size=20).map(
    lambda text: f"{text}Z_9w"
)
places = st.sampled_from([*keys(), ("camera", "unknown"), ("hub", "password"), ("notes", "text")])


def written(place: tuple[str, str], value: object) -> str:
    table, key = place
    head = f"[[{table}]]" if table in MANY else f"[{table}]"
    return f"{head}\n{key} = {toml(value)}\n"


def toml(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def shown(text: str) -> str:
    document = parse(text)
    assert document is not None, text
    return blanked(document)


# ---- what is shown ----


def test_every_key_of_the_configuration_page_is_known_and_no_other():
    page = (DOCS / "configuration.md").read_text(encoding="utf-8")
    told = set()
    for part in re.split(r"(?m)^## ", page)[1:]:
        head = re.match(r"\[+(\w+)\]", part)
        if head is not None:
            rows = re.findall(r"(?m)^\| (`[^|]*) \|", part)
            told |= {(head[1], key) for row in rows for key in re.findall(r"`(\w+)`", row)}
    assert told == set(keys())


def test_a_usual_configuration_keeps_what_helps_and_loses_what_is_free_text():
    text = shown(CONFIG)
    for line in (
        'box = "box-7"',
        'kind = "rtsp"',
        "length_m = 50",
        "loop_channel = 0",
        'switch = "latching"',
    ):
        assert line in text
    assert '"rtsp://127.0.0.1:1/Streaming/Channels/101"' in text
    for gone in ("Gang Mawar", "Pak Slamet", "pengawas", "camera.password", "state/"):
        assert gone not in text
    assert text.count(HIDDEN) == 9


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("rtsp://10.0.0.2:554/Streaming/Channels/101", "rtsp://10.0.0.2:554/Streaming/Channels/101"),
        ("rtsp://10.0.0.2/cam/realmonitor?channel=1&subtype=0", "rtsp://10.0.0.2/cam/realmonitor?channel=1&subtype=0"),
        ("http://10.0.0.2/snap?user=a&pwd=b", f"http://10.0.0.2/{HIDDEN}"),
        ("rtsp://admin:hunter2@10.0.0.2/live", f"rtsp://10.0.0.2/{HIDDEN}"),
        ("http://[fe80::1]:80/live", HIDDEN),
        ("rtsp://name.example/live", HIDDEN),
        ("ftp://10.0.0.2/x", HIDDEN),
        ("rtsp://10.0.0.2:nonsense/x", HIDDEN),
        (17, HIDDEN),
    ],
)  # fmt: skip
def test_of_a_url_only_the_address_and_a_makers_path_are_shown(url, expected):
    text = shown(written(("camera", "url"), url))
    assert "hunter2" not in text
    assert "pwd" not in text
    if "fe80" not in str(url):
        assert f"url = {json.dumps(expected)}\n" in text


@given(secrets, places)
@example("Kata sandi: 123!", ("camera", "name"))
@example("A" * 12, ("hub", "recipient"))
def test_no_text_that_was_put_anywhere_is_shown(secret, place):
    assert secret not in shown(written(place, secret))
    deep = f"[{toml(secret)}, {{ deep = {toml(secret)} }}]"
    assert secret not in shown(written(place, 0).replace("= 0", f"= {deep}"))
    assert secret not in shown(f"[{toml(secret)}]\nx = 1\n")
    assert secret not in shown(f"[camera]\n{toml(secret)} = 1\n")


@given(st.integers(min_value=10**7, max_value=10**15), places)
def test_no_number_beyond_its_bounds_is_shown(number, place):
    assert str(number) not in shown(written(place, number))
    assert str(number) not in shown(written(place, str(number))) or place in ADDRESSES


@given(url_words)
def test_no_word_of_a_url_is_shown(secret):
    for url in (
        f"rtsp://{secret}:x@10.0.0.2/",
        f"rtsp://u:{secret}@10.0.0.2/Streaming/Channels/101",
        f"rtsp://10.0.0.2/{secret}",
        f"http://10.0.0.2/cgi-bin/snapshot.cgi?channel={secret}",
        f"http://10.0.0.2/cgi-bin/snapshot.cgi#{secret}",
    ):
        assert secret not in shown(written(("camera", "url"), url))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("camera[3].url", "camera[3].url"),
        ("hub", "hub"),
        ("camera[0].rahasia", "camera[0]: a key that is not known"),
        ("rahasia.url", "a key that is not known"),
        ("line 3, column 14", "line 3, column 14"),
        ("line 3, rahasia", "a key that is not known"),
    ],
)
def test_a_name_that_is_not_known_is_left_out_of_a_path(path, expected):
    assert known_path(path) == expected


# ---- other texts ----


@given(secrets, places)
def test_what_was_not_shown_is_taken_out_of_every_other_text(secret, place):
    said = Scrub(written(place, secret))(f"error: cannot open {secret}!\nagain {secret}")
    assert secret not in said
    assert said.startswith("error: cannot open")


@given(secrets)
def test_so_is_what_stands_deep_in_tables_and_lists_that_nobody_knows(secret):
    word = toml(secret)
    for text in (
        f"[notes]\nof = [[{word}], {{ deep = {{ {word} = 1 }} }}]\n",
        f"hub = [{word}]\n",
        f"camera = {word}\n",
        f"[hub]\n{word} = true\n",
        f"[run]\ngps = [{word}, 4711471147]\n",
    ):
        assert parse(text) is not None, text
        said = Scrub(text)(f"seen {secret} and 4711471147")
        assert secret not in said
        assert "4711471147" not in said or "gps" not in text


@given(url_words)
def test_so_is_what_a_url_held_beside_the_address(secret):
    for url in (
        f"rtsp://{secret}:x@10.0.0.2/Streaming/Channels/101",
        f"rtsp://u:{secret}@10.0.0.2/Streaming/Channels/101",
        f"rtsp://u:{quote(secret, safe='')}@10.0.0.2/live",
        f"http://10.0.0.2/snap/{secret}?x=1",
        f"http://10.0.0.2/snap?key={secret}",
        f"http://10.0.0.2/cgi-bin/snapshot.cgi?channel=1#{secret}",
    ):
        if secret.isascii() and not set(secret) & set("&="):  # else it is several words
            assert secret not in Scrub(written(("camera", "url"), url))(f"tried {secret} again")


def test_a_host_that_is_no_name_is_not_shown():
    assert 'host = "hub.example.org"' in shown(written(("hub", "host"), "hub.example.org"))
    assert HIDDEN in shown(written(("hub", "host"), "Rahasia 88"))
    assert HIDDEN in shown(written(("hub", "host"), 17))


@given(secrets)
def test_the_content_of_a_secret_file_is_taken_out_as_it_may_be_written(secret):
    scrub = Scrub("", (secret,))
    for form in (secret, quote(secret), quote(secret, safe=""), json.dumps(secret)[1:-1]):
        assert form not in scrub(f"refused {form} twice {form}")


@given(secrets)
def test_of_a_file_that_is_no_toml_all_that_stands_behind_a_sign_goes(secret):
    for broken in (
        f"[hub\npassword = {toml(secret)}\n",
        f"[hub\npassword = {json.dumps(secret)} # {secret}\n",
    ):
        assert parse(broken) is None
        assert secret not in Scrub(broken)(f"oops {secret}")


@pytest.mark.parametrize(
    "line",
    [
        "open rtsp://admin:HUNTER2@10.0.0.2/live failed",
        "login password=HUNTER2 refused",
        'sent {"token": "HUNTER2"}',
        "open rtsp://admin:a/HUNTER2@10.0.0.2/live failed",
        "open rtsp://admin:HUNTER2@b@10.0.0.2/live failed",
        "wifi psk=HUNTER2",
        "Authorization: Basic HUNTER2",
        "sent Basic HUNTER2HUNTER2== to it",
        'Digest username="a", nonce="HUNTER2HUNTER2", response="HUNTER2HUNTER2"',
        "age-secret-key-HUNTER2",
        "order eyJhbGciOiJF.eyJIVU5URVIy.HUNTER2 refused",
        "token " + "HUNTER2_-" * 5,
        "kata_sandi: HUNTER2",
        "-----BEGIN PRIVATE KEY-----\nHUNTER2\n-----END PRIVATE KEY-----",
        "-----BEGIN EC PRIVATE KEY-----\nHUNTER2 cut off",
        "cut off at its beginning HUNTER2\n-----END PRIVATE KEY-----\nmore",
        "AGE-SECRET-KEY-HUNTER2",
        "jpeg /9j/" + "HUNTER2" * 8,
    ],
)
def test_what_looks_like_a_secret_is_taken_out_though_nobody_knows_it(line):
    assert "HUNTER2" not in Scrub("")(line)


@pytest.mark.parametrize("sign", ["0123456789abcdef" * 2, "0123456789ABCDEF" * 2])
def test_a_hash_of_a_login_is_taken_out(sign):
    assert sign not in Scrub("")(f"tried {sign} and {sign}")


@pytest.mark.parametrize(
    "line",
    [
        "gate open camera=gang-mawar boot=0b5a1c52-6f0e-4f0c-8a0e-1f6f6c1d2e3f after_s=12.5",
        "journal moved aside to /var/lib/edge-agent/journal/journal.db.damaged-20261122-070000",
        "finding.opened key=hub_nobody_listens cctv/v1/kuningan/03/05/box-7/history",
        "work_order.updated order=4d831013-40378-1 cause=camera_taken",
        "a basic setting of the camera is wrong",
    ],
)
def test_an_ordinary_line_stays_as_it_is(line):
    assert Scrub("")(line) == line


def test_a_line_with_the_ids_of_the_configuration_stays_too():
    line = "gate open camera=gang-mawar boot=0b5a1c52-6f0e-4f0c-8a0e-1f6f6c1d2e3f after_s=12.5"
    assert Scrub(CONFIG)(line) == line


def test_what_a_terminal_would_obey_is_taken_out():
    assert Scrub("")("a\x1b[31mb\r\nc\x00") == "a?[31mb?\nc?"
