"""References on disk: whole or absent, and nothing believed that is not exactly what was saved."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent import demo_pictures, views, vision
from edge_agent.views import Listed, ViewFault
from edge_agent.vision import References

STREET = demo_pictures.STREETS[0]


def _grey(path: Path) -> vision.Grey | None:
    return vision.scaled_grey_from_jpeg(path.read_bytes())


@pytest.fixture(scope="module")
def references() -> References:
    built = vision.build(
        {"day": [_grey(p) for p in STREET.commission], "night": [_grey(p) for p in STREET.night]}
    )
    assert isinstance(built, References)
    return built


@pytest.fixture
def saved(tmp_path, references) -> Path:
    return views.save(tmp_path, "gate", references)


def _fault(folder: Path, camera: str = "gate") -> str:
    found = views.load(folder, camera)
    assert isinstance(found, ViewFault), found
    assert found.camera == camera
    return found.why


def test_what_was_saved_is_loaded_and_sees_the_same(tmp_path, references, saved):
    loaded = views.load(tmp_path, "gate")
    assert isinstance(loaded, References)
    assert loaded.view == references.view
    picture = _grey(STREET.stream[0])
    assert vision.Eye(loaded).read(picture) == vision.Eye(references).read(picture)


def test_references_stay_small_with_every_kind_of_light(tmp_path, references, saved):
    assert saved.stat().st_size <= views.MAX_FILE_BYTES
    night = vision.add_light(references, "dusk", [_grey(p) for p in STREET.dusk])
    assert isinstance(night, References)
    assert views.save(tmp_path, "gate", night).stat().st_size <= views.MAX_FILE_BYTES


def test_too_large_a_set_is_refused_and_the_old_one_stays(tmp_path, references, saved):
    random = np.random.default_rng(1)
    noise = [
        vision.Light(
            name=f"l{i}",
            re=random.integers(-7, 8, (240, 320)).astype(np.int8),
            im=random.integers(-7, 8, (240, 320)).astype(np.int8),
            mean_grey=100.0,
            crispness=1.0,
            frames=1,
        )
        for i in range(6)
    ]
    with pytest.raises(ValueError, match="at most 200000"):
        views.save(tmp_path, "gate", References(counts=references.counts, lights=tuple(noise)))
    loaded = views.load(tmp_path, "gate")
    assert isinstance(loaded, References)
    assert loaded.view == references.view


def test_a_camera_without_a_file_is_not_commissioned(tmp_path):
    assert views.load(tmp_path, "gate") is None
    assert views.load(tmp_path / "nowhere", "gate") is None
    assert views.stamp(tmp_path, "gate") is None
    assert views.listing(tmp_path / "nowhere") == ()


def test_the_file_holds_no_photograph_and_others_cannot_read_it(saved):
    raw = saved.read_bytes()
    assert b"\xff\xd8\xff" not in raw
    assert b"PNG" not in raw
    assert saved.stat().st_mode & 0o007 == 0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_single_damage_is_a_fault_and_never_another_view(tmp_path, references, saved, data):
    raw = (
        views.path_of(tmp_path, "whole").read_bytes()
        if (tmp_path / "whole.view").exists()
        else None
    )
    if raw is None:
        raw = views.save(tmp_path, "whole", references).read_bytes()
    kind = data.draw(st.sampled_from(["cut", "flip", "longer", "zeros"]))
    at = data.draw(st.integers(0, len(raw) - 1))
    damaged = {
        "cut": raw[:at],
        "flip": raw[:at] + bytes([raw[at] ^ (1 << data.draw(st.integers(0, 7)))]) + raw[at + 1 :],
        "longer": raw + b"\0" * (at + 1),
        "zeros": raw[:at] + b"\0" * (len(raw) - at),
    }[kind]
    views.path_of(tmp_path, "whole").write_bytes(raw)
    (tmp_path / "gate.view").write_bytes(damaged)
    found = views.load(tmp_path, "gate")
    assert isinstance(found, ViewFault)
    assert found.why


def _forged(head: object, body: bytes) -> bytes:
    inner = (head if isinstance(head, bytes) else json.dumps(head).encode()) + b"\n" + body
    return views.MAGIC + hashlib.sha256(inner).hexdigest().encode() + b"\n" + inner


GOOD_LIGHT = {"name": "day", "mean_grey": 100.0, "crispness": 0.7, "frames": 5}
GOOD_HEAD = {"camera": "gate", "view": "x", "width": 320, "height": 240, "lights": [GOOD_LIGHT]}
PLANES = 320 * 240 // 8 + 2 * 320 * 240


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (b"", "empty"),
        (b"\0" * 100, "not a reference file"),
        (b"edge-agent view 2\nxx", "another version"),
        (b"x" * 200_001, "larger"),
        (_forged(b"{", b""), "header"),
        (_forged(b"[1]", b""), "no table"),
        (_forged(b"\xff\xfe", b""), "header"),
        (_forged({}, b""), "not for this one"),
        (_forged(GOOD_HEAD | {"camera": "other"}, b""), "other"),
        (_forged(GOOD_HEAD | {"width": 640}, b""), "another picture size"),
        (_forged(GOOD_HEAD | {"lights": []}, b""), "empty set"),
        (_forged(GOOD_HEAD | {"lights": [GOOD_LIGHT] * 7}, b""), "empty set"),
        (_forged(GOOD_HEAD | {"lights": "day"}, b""), "empty set"),
        (_forged(GOOD_HEAD | {"lights": [1]}, b""), "kind of light"),
        (_forged(GOOD_HEAD | {"lights": [GOOD_LIGHT | {"name": "../x"}]}, b""), "kind of light"),
        (
            _forged(GOOD_HEAD | {"lights": [GOOD_LIGHT | {"mean_grey": "NaN"}]}, b""),
            "kind of light",
        ),
        (_forged(GOOD_HEAD | {"lights": [GOOD_LIGHT | {"crispness": -1.0}]}, b""), "kind of light"),
        (_forged(GOOD_HEAD | {"lights": [GOOD_LIGHT | {"frames": 1.5}]}, b""), "kind of light"),
        (_forged(GOOD_HEAD, b"not deflated"), "unpacked"),
        (_forged(GOOD_HEAD, zlib.compress(b"\0" * (PLANES - 1))), "right size"),
        (_forged(GOOD_HEAD, zlib.compress(b"\0" * 100_000_000)), "right size"),
        (_forged(GOOD_HEAD, zlib.compress(b"\x7f" * PLANES)), "no map has"),
        (_forged(GOOD_HEAD, zlib.compress(b"\0" * PLANES)), "not those it was saved with"),
    ],
)
def test_a_file_that_is_not_ours_is_refused_with_a_reason(tmp_path, raw, word):
    (tmp_path / "gate.view").write_bytes(raw)
    assert word in _fault(tmp_path)


def test_the_file_of_another_camera_is_refused(tmp_path, saved):
    (tmp_path / "pole.view").write_bytes(saved.read_bytes())
    assert "'gate'" in _fault(tmp_path, "pole")


def test_what_cannot_be_read_is_a_fault_with_its_place(tmp_path):
    (tmp_path / "gate.view").mkdir()
    assert str(tmp_path / "gate.view") in _fault(tmp_path)


@pytest.mark.parametrize("camera", ["", "../etc/passwd", "a/b", "UPPER", ".x", "x" * 49, "a\n"])
def test_an_id_that_could_be_a_path_is_no_id(tmp_path, references, camera):
    for act in (views.load, views.stamp, views.forget):
        with pytest.raises(ValueError, match="camera id"):
            act(tmp_path, camera)
    with pytest.raises(ValueError, match="camera id"):
        views.save(tmp_path, camera, references)


def test_the_stamp_changes_with_every_save(tmp_path, references, saved):
    before = views.stamp(tmp_path, "gate")
    assert before == views.stamp(tmp_path, "gate")
    views.save(tmp_path, "gate", references)
    assert views.stamp(tmp_path, "gate") != before
    views.forget(tmp_path, "gate")
    assert views.stamp(tmp_path, "gate") is None


def test_forgetting_removes_the_file_once(tmp_path, saved):
    assert views.forget(tmp_path, "gate")
    assert not saved.exists()
    assert not views.forget(tmp_path, "gate")


def test_the_listing_names_sound_and_damaged_files_and_nothing_else(tmp_path, references, saved):
    (tmp_path / "bad.view").write_bytes(b"junk")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "NOT-AN-ID.view").write_bytes(b"junk")
    (tmp_path / ".gate.view.99.new").write_bytes(b"left by a power cut")
    bad, good = views.listing(tmp_path)
    assert isinstance(bad, Listed)
    assert (bad.camera, type(bad.references)) == ("bad", ViewFault)
    assert good.camera == "gate"
    assert isinstance(good.references, References)
    assert good.size_bytes == saved.stat().st_size


class _Disk:
    """A disk that fails at one call, and remembers what came before it."""

    def __init__(self, monkeypatch, fails_at: str) -> None:
        self.calls: list[str] = []
        for module, name in ((os, "open"), (os, "fsync"), (Path, "replace")):
            monkeypatch.setattr(module, name, self._wrapped(getattr(module, name), name, fails_at))

    def _wrapped(self, real, name, fails_at):
        def act(*args, **kwargs):
            self.calls.append(name)
            if name == fails_at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*args, **kwargs)

        return act


@pytest.mark.parametrize("fails_at", ["open", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_references_and_no_litter(
    tmp_path, references, saved, monkeypatch, fails_at
):
    old = saved.read_bytes()
    with monkeypatch.context() as patch:
        _Disk(patch, fails_at)
        with pytest.raises(OSError, match="No space"):
            views.save(tmp_path, "gate", references)
    assert saved.read_bytes() == old
    assert sorted(p.name for p in tmp_path.iterdir()) == ["gate.view"]


def test_the_bytes_are_on_disk_before_they_get_their_name_and_the_name_after(
    tmp_path, references, monkeypatch
):
    with monkeypatch.context() as patch:
        disk = _Disk(patch, "nothing")
        views.save(tmp_path, "gate", references)
    assert disk.calls == ["open", "fsync", "replace", "open", "fsync"]


def test_a_technician_who_is_root_leaves_a_file_the_service_can_read(tmp_path, references):
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(tmp_path, 12345, 12346)
    found = views.save(tmp_path, "gate", references).stat()
    assert (found.st_uid, found.st_gid) == (12345, 12346)
