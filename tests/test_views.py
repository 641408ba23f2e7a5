"""References on disk: whole or absent, and nothing believed that is not exactly what was saved."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import itertools
import json
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent import demo_pictures, views, vision
from edge_agent.device import Device
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
GOOD_DEVICE = {"codec": "h264", "width": 1920, "height": 1080, "mac": "aa:bb:cc:00:11:22"}
GOOD_HEAD = {
    "camera": "gate",
    "anchor": "x",
    "width": 320,
    "height": 240,
    "lights": [GOOD_LIGHT],
    "owner": "RT secretary",
    "commissioned_wall_s": 1.8e9,
    "device": GOOD_DEVICE,
}
PLANES = 320 * 240 // 8 + 2 * 320 * 240


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (b"", "empty"),
        (b"\0" * 100, "not a reference file"),
        (b"edge-agent view 1\nxx", "another version"),
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
        (_forged(GOOD_HEAD | {"lights": [GOOD_LIGHT] * 2}, b""), "there twice"),
        (_forged(GOOD_HEAD | {"owner": 7}, b""), "owner"),
        (_forged(GOOD_HEAD | {"owner": "x" * 81}, b""), "owner"),
        (_forged(GOOD_HEAD | {"owner": "\x1b[2J"}, b""), "owner"),
        (_forged(GOOD_HEAD | {"commissioned_wall_s": -1.0}, b""), "no time"),
        (_forged(GOOD_HEAD | {"commissioned_wall_s": float("nan")}, b""), "no time"),
        (_forged(GOOD_HEAD | {"commissioned_wall_s": "today"}, b""), "no time"),
        *(
            (_forged(GOOD_HEAD | {"device": device}, zlib.compress(b"\0" * PLANES)), "device")
            for device in (
                "h264",
                GOOD_DEVICE | {"codec": 264},
                GOOD_DEVICE | {"codec": "x" * 25},
                GOOD_DEVICE | {"codec": "\n"},
                GOOD_DEVICE | {"mac": "aa:bb"},
                GOOD_DEVICE | {"mac": None},
                GOOD_DEVICE | {"width": -1},
                GOOD_DEVICE | {"height": 1e9},
            )
        ),
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


# ---- who approved, and which device ----

DEVICE = Device(codec="h264", width=1920, height=1080, mac="00:12:31:aa:bb:cc")


def test_owner_time_and_device_come_back_and_are_part_of_the_view(tmp_path, references):
    signed = dataclasses.replace(
        references, owner="secretary, RT 05", commissioned_wall_s=1_800_000_000.0, device=DEVICE
    )
    assert signed.view != references.view
    views.save(tmp_path, "gate", signed)
    loaded = views.load(tmp_path, "gate")
    assert isinstance(loaded, References)
    assert (loaded.owner, loaded.commissioned_wall_s) == ("secretary, RT 05", 1_800_000_000.0)
    assert loaded.device == DEVICE
    assert loaded.view == loaded.anchor == signed.view


@pytest.mark.parametrize("owner", ["x" * 81, "a\nb", "\x1b[31m"])
def test_an_owner_that_is_no_name_is_not_saved(tmp_path, references, owner):
    with pytest.raises(ValueError, match="owner"):
        views.save(tmp_path, "gate", dataclasses.replace(references, owner=owner))
    assert views.load(tmp_path, "gate") is None


# ---- what was learnt ----


def _learnt(references: References, name: str = "learnt-1") -> tuple[vision.Light, ...]:
    return (dataclasses.replace(references.lights[0], name=name, mean_grey=50.0),)


@pytest.fixture
def with_learnt(tmp_path, references, saved) -> Path:
    return views.save_learnt(tmp_path, "gate", references.anchor, _learnt(references))


def test_what_was_learnt_stands_behind_what_was_approved(tmp_path, references, saved, with_learnt):
    approved_bytes = saved.read_bytes()
    loaded = views.load(tmp_path, "gate")
    assert isinstance(loaded, References)
    assert [light.name for light in loaded.lights] == ["day", "night", "learnt-1"]
    assert [light.name for light in loaded.approved] == ["day", "night"]
    assert loaded.anchor == references.anchor
    assert loaded.view != references.view
    assert saved.read_bytes() == approved_bytes
    alone = views.load_approved(tmp_path, "gate")
    assert isinstance(alone, References)
    assert alone.view == references.view
    (listed,) = views.listing(tmp_path)
    assert isinstance(listed.references, References)
    assert (listed.references.learnt, listed.learnt_why) == (1, "")


def test_learning_more_replaces_what_was_learnt_and_gives_the_view_another_name(
    tmp_path, references, saved, with_learnt
):
    first = views.load(tmp_path, "gate")
    two = _learnt(references) + _learnt(references, "learnt-2")
    views.save_learnt(tmp_path, "gate", references.anchor, two)
    second = views.load(tmp_path, "gate")
    assert isinstance(first, References)
    assert isinstance(second, References)
    assert (second.learnt, second.anchor) == (2, first.anchor)
    assert second.view != first.view


def _alone(tmp_path: Path, references: References) -> str:
    """The approved references stand, and why nothing learnt does."""
    loaded = views.load(tmp_path, "gate")
    assert isinstance(loaded, References)
    assert (loaded.view, loaded.learnt) == (references.view, 0)
    (listed,) = views.listing(tmp_path)
    return listed.learnt_why


def test_what_was_learnt_under_other_references_counts_for_nothing(tmp_path, references, saved):
    views.save_learnt(tmp_path, "gate", "0" * 64, _learnt(references))
    assert "other references" in _alone(tmp_path, references)


@pytest.mark.parametrize(
    "lights",
    [("day",), ("learnt-1", "learnt-1"), ("a", "b", "c", "d", "e")],
    ids=["an approved name", "one twice", "too many"],
)
def test_learnt_lights_that_do_not_fit_count_for_nothing(tmp_path, references, saved, lights):
    made = tuple(light for name in lights for light in _learnt(references, name))
    views.save_learnt(tmp_path, "gate", references.anchor, made)
    assert "twice" in _alone(tmp_path, references)


@pytest.mark.parametrize(
    ("foreign", "loaded"),
    [
        ((slice(80, 120), slice(40, 80), 0), True),  # a whole part left out
        ((slice(80, 240), slice(0, 320), 0), True),
        ((slice(80, 121), slice(40, 80), 0), False),  # edges cut out of a part: a drawing
        ((slice(80, 81), slice(40, 41), 7), False),  # an edge that nobody approved
    ],
)
def test_a_learnt_light_is_an_approved_one_with_parts_left_out_whoever_wrote_it(
    tmp_path, references, saved, foreign, loaded
):
    """A worker that a camera took over could write the file; it cannot make another scene of it."""
    (light,) = _learnt(references)
    rows, columns, value = foreign
    re, im = light.re.copy(), light.im.copy()
    re[120, 40:80] = 3  # the row below the part holds something to cut
    whole = dataclasses.replace(light, name="day", re=re, im=im)
    approved = dataclasses.replace(references, lights=(whole,))
    views.save(tmp_path, "gate", approved)
    changed = re.copy()
    changed[rows, columns] = value if value == 0 or re[80, 40] != value else -value
    cleared = im.copy()
    if value == 0:
        cleared[rows, columns] = 0
    made = dataclasses.replace(whole, name="learnt-1", re=changed, im=cleared)
    views.save_learnt(tmp_path, "gate", approved.anchor, (made,))
    found = views.load(tmp_path, "gate")
    assert isinstance(found, References)
    assert (found.learnt == 1) is loaded
    if not loaded:
        assert "nobody approved" in _alone(tmp_path, approved)


@pytest.mark.parametrize("count", [0, 6])
def test_no_light_or_too_many_are_not_saved(tmp_path, references, count):
    with pytest.raises(ValueError, match=f"{count} learnt lights"):
        views.save_learnt(tmp_path, "gate", references.anchor, _learnt(references) * count)


def test_lights_of_another_camera_or_version_count_for_nothing(
    tmp_path, references, saved, with_learnt
):
    other = views.save_learnt(tmp_path, "pole", references.anchor, _learnt(references))
    with_learnt.write_bytes(other.read_bytes())
    assert "'pole'" in _alone(tmp_path, references)
    with_learnt.write_bytes(b"edge-agent learnt 9\nx")
    assert "another version" in _alone(tmp_path, references)
    with_learnt.write_bytes(saved.read_bytes())
    assert "not a reference file" in _alone(tmp_path, references)
    with_learnt.unlink()
    with_learnt.mkdir()
    assert "cannot be read" in _alone(tmp_path, references)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_single_damage_to_what_was_learnt_leaves_the_approved_view(
    tmp_path, references, saved, data
):
    path = views.save_learnt(tmp_path, "gate", references.anchor, _learnt(references))
    raw = path.read_bytes()
    at = data.draw(st.integers(0, len(raw) - 1))
    flipped = raw[:at] + bytes([raw[at] ^ (1 << data.draw(st.integers(0, 7)))]) + raw[at + 1 :]
    path.write_bytes(data.draw(st.sampled_from([raw[:at], flipped, raw + b"\0" * (at + 1)])))
    assert _alone(tmp_path, references)


def test_without_approved_references_what_was_learnt_is_nothing(tmp_path, saved, with_learnt):
    saved.unlink()
    assert views.load(tmp_path, "gate") is None
    assert views.stamp(tmp_path, "gate") is None
    saved.write_bytes(b"junk")
    assert isinstance(views.load(tmp_path, "gate"), ViewFault)


def test_the_stamp_changes_with_what_is_learnt(tmp_path, references, saved):
    seen = [views.stamp(tmp_path, "gate")]
    path = views.save_learnt(tmp_path, "gate", references.anchor, _learnt(references))
    seen.append(views.stamp(tmp_path, "gate"))
    views.save_learnt(tmp_path, "gate", references.anchor, _learnt(references))
    seen.append(views.stamp(tmp_path, "gate"))
    path.unlink()
    assert len(set(seen)) == 3
    assert views.stamp(tmp_path, "gate") == seen[0]


def test_commissioning_anew_and_forgetting_end_what_was_learnt(
    tmp_path, references, saved, with_learnt
):
    views.save(tmp_path, "gate", dataclasses.replace(references, owner="another"))
    assert not with_learnt.exists()
    views.save_learnt(tmp_path, "gate", references.anchor, _learnt(references))
    assert views.forget(tmp_path, "gate")
    assert list(tmp_path.iterdir()) == []


def test_what_stands_behind_merged_references_is_saved_without_what_was_learnt(
    tmp_path, references, saved, with_learnt
):
    merged = views.load(tmp_path, "gate")
    assert isinstance(merged, References)
    views.save(tmp_path, "gate", merged)
    loaded = views.load(tmp_path, "gate")
    assert isinstance(loaded, References)
    assert (loaded.view, loaded.learnt) == (references.view, 0)


# ---- power cuts ----


class _PowerCut(BaseException):
    """The box is off: nothing after this line runs, not even a clean-up for errors."""


class _Box:
    """A folder on a disk that loses what was not synced when the power goes.

    Contents that were not synced are cut short; of the names that were made, replaced or removed since the folder was last
    synced, any may have reached the disk and any may not.
    """

    def __init__(self, folder: Path, monkeypatch, *, cut_at: int) -> None:
        self.folder = folder
        self.calls = 0
        self._cut_at = cut_at
        self._synced = {p.name: p.read_bytes() for p in folder.iterdir()}
        self._contents: dict[
            str, bytes
        ] = {}  # synced contents of files by the name they were made under
        self._pending: list[tuple[str, str, str]] = []
        self._names: dict[int, str] = {}
        real_open, real_fsync = os.open, os.fsync
        real_replace, real_unlink = Path.replace, Path.unlink

        def open_(path, flags, mode=0o777, **rest):
            if flags & os.O_CREAT:
                self._step()
                self._pending.append(("make", Path(path).name, ""))
            descriptor = real_open(path, flags, mode, **rest)
            self._names[descriptor] = Path(path).name
            return descriptor

        def fsync(descriptor):
            self._step()
            real_fsync(descriptor)
            name = self._names[descriptor]
            if name == folder.name:
                self._synced = self._after(self._pending)
                self._pending = []
            else:
                self._contents[name] = (folder / name).read_bytes()

        def replace(path, target):
            self._step()
            self._pending.append(("replace", path.name, Path(target).name))
            return real_replace(path, target)

        def unlink(path, missing_ok=False):
            self._step()
            if path.exists():
                self._pending.append(("remove", path.name, ""))
            return real_unlink(path, missing_ok=missing_ok)

        monkeypatch.setattr(os, "open", open_)
        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(Path, "replace", replace)
        monkeypatch.setattr(Path, "unlink", unlink)

    def _step(self) -> None:
        if self.calls == self._cut_at:
            raise _PowerCut
        self.calls += 1

    def _after(self, operations) -> dict[str, bytes]:
        found = dict(self._synced)
        for kind, name, target in operations:
            if kind == "make":
                found[name] = self._contents.get(name, b"edge-agent view 2\ncut sho")
            elif kind == "replace" and name in found:
                found[target] = found.pop(name)
            elif kind == "remove":
                found.pop(name, None)
        return found

    def afterwards(self) -> Iterator[dict[str, bytes]]:
        """Every state in which the folder may be found when the power is back."""
        for count in range(len(self._pending) + 1):
            for kept in itertools.combinations(self._pending, count):
                yield self._after(kept)


def _cut_everywhere(
    tmp_path: Path, before: dict[str, bytes], act: Callable[[Path], object]
) -> tuple[list[dict[str, bytes]], list[dict[str, bytes]]]:
    """Every state after a power cut before each single disk call of *act*; and after one once *act* has returned."""
    found: list[dict[str, bytes]] = []
    for cut_at in itertools.count():
        folder = tmp_path / f"cut-{cut_at}"
        folder.mkdir()
        for name, raw in before.items():
            (folder / name).write_bytes(raw)
        with pytest.MonkeyPatch.context() as patch:
            box = _Box(folder, patch, cut_at=cut_at)
            try:
                act(folder)
            except _PowerCut:
                pass
            else:
                assert cut_at >= 2, "the disk was hardly asked for anything"
                return found, list(box.afterwards())
            found += box.afterwards()
    raise AssertionError


def _found(tmp_path: Path, states: list[dict[str, bytes]]) -> list[References | ViewFault | None]:
    loaded = []
    for state in states:
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        for name, raw in state.items():
            (folder / name).write_bytes(raw)
        loaded.append(views.load(folder, "gate"))
    return loaded


def _names_of(loaded: list[References | ViewFault | None]) -> list[str | None]:
    for one in loaded:
        assert one is None or isinstance(one, References), one
    return [one.view if isinstance(one, References) else None for one in loaded]


def _bytes_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_power_cut_at_any_step_of_saving_leaves_the_old_view_or_the_new_one(
    tmp_path, references, saved, with_learnt
):
    before = _bytes_in(tmp_path)
    merged = views.load(tmp_path, "gate")
    assert isinstance(merged, References)
    new = dataclasses.replace(references, owner="another")
    during, after = _cut_everywhere(
        tmp_path, before, lambda folder: views.save(folder, "gate", new)
    )
    # Never what was learnt under the old view beside the new one.
    assert set(_names_of(_found(tmp_path, during))) == {merged.view, new.view}
    assert set(_names_of(_found(tmp_path, after))) == {new.view}


def test_a_power_cut_at_any_step_of_the_first_saving_leaves_the_view_or_none(tmp_path, references):
    during, after = _cut_everywhere(
        tmp_path, {}, lambda folder: views.save(folder, "gate", references)
    )
    assert set(_names_of(_found(tmp_path, during))) == {None, references.view}
    assert set(_names_of(_found(tmp_path, after))) == {references.view}


def test_a_power_cut_at_any_step_of_learning_leaves_what_was_learnt_before_or_all_of_it(
    tmp_path, references, saved, with_learnt
):
    before = _bytes_in(tmp_path)
    old = views.load(tmp_path, "gate")
    two = _learnt(references) + _learnt(references, "learnt-2")
    during, after = _cut_everywhere(
        tmp_path,
        before,
        lambda folder: views.save_learnt(folder, "gate", references.anchor, two),
    )
    new = set(_names_of(_found(tmp_path, after)))
    assert isinstance(old, References)
    assert len(new) == 1
    assert set(_names_of(_found(tmp_path, during))) == {old.view} | new


def test_a_power_cut_at_any_step_of_forgetting_brings_nothing_new(
    tmp_path, references, saved, with_learnt
):
    before = _bytes_in(tmp_path)
    merged = views.load(tmp_path, "gate")
    assert isinstance(merged, References)
    during, after = _cut_everywhere(tmp_path, before, lambda folder: views.forget(folder, "gate"))
    assert set(_names_of(_found(tmp_path, during))) <= {merged.view, references.view, None}
    assert set(_names_of(_found(tmp_path, after))) == {None}
