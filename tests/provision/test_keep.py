"""Configurations on the data partition: whole, switched in one step, swept up. Power cuts: test_steps.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.provision.keep import Kept, NotOurs

ONE = {"box.toml": b"one", "hub/ca": b"ca1", "secrets/a": b"s1"}
TWO = {"box.toml": b"two", "hub/ca": b"ca2"}


def anything(_: Path) -> bool:
    return True


def install(kept: Kept, files: dict[str, bytes]) -> Path:
    return kept.install(kept.stage(files))


def test_what_is_installed_is_seen_by_the_names_the_agent_uses(tmp_path):
    kept = Kept(tmp_path)
    assert kept.heal(anything) is None
    assert kept.digest() == ""
    install(kept, ONE)
    assert (tmp_path / "box.toml").read_bytes() == b"one"
    assert (tmp_path / "hub/ca").read_bytes() == b"ca1"
    assert (tmp_path / "secrets/a").read_bytes() == b"s1"
    (tmp_path / "box.key").write_text("key")
    assert (tmp_path / "now/box.key").read_text() == "key"
    install(kept, TWO)
    assert (tmp_path / "box.toml").read_bytes() == b"two"
    assert not (tmp_path / "secrets/a").exists()


def test_only_the_one_in_use_and_the_one_before_are_kept(tmp_path):
    kept = Kept(tmp_path)
    names = [install(kept, {"box.toml": bytes([65 + number])}).name for number in range(5)]
    assert {path.name for path in (tmp_path / "kept").iterdir()} == set(names[-2:])
    assert install(kept, {"box.toml": b"D"}).name == names[3]  # back to the one before
    assert (tmp_path / "box.toml").read_bytes() == b"D"
    assert {path.name for path in (tmp_path / "kept").iterdir()} == set(names[-2:])


def test_the_same_again_is_no_new_one(tmp_path):
    kept = Kept(tmp_path)
    first = install(kept, ONE)
    before = (tmp_path / "now").lstat().st_ino
    assert install(kept, ONE) == first
    assert (tmp_path / "now").lstat().st_ino == before
    assert [path.name for path in (tmp_path / "kept").iterdir()] == [first.name]


@pytest.mark.parametrize("damage", ["content", "more", "less", "gone", "dangling"])
def test_a_damaged_configuration_gives_way_to_the_one_before(tmp_path, damage):
    kept = Kept(tmp_path)
    install(kept, ONE)
    now = install(kept, TWO)
    if damage == "content":
        (now / "hub/ca").write_bytes(b"xxx")
    elif damage == "more":
        (now / "hub/more").write_bytes(b"")
    elif damage == "less":
        (now / "hub/ca").unlink()
    elif damage == "gone":
        (tmp_path / "now").unlink()
    else:
        (tmp_path / "now").unlink()
        (tmp_path / "now").symlink_to("kept/none")
    healed = kept.heal(anything)
    assert healed is not None
    assert (tmp_path / "box.toml").read_bytes() == b"one"
    if damage in {"content", "more", "less"}:
        assert install(kept, TWO) == now  # and the damaged one can be installed again
        assert (tmp_path / "hub/ca").read_bytes() == b"ca2"


@pytest.mark.parametrize("damage", ["content", "gone"])
def test_a_damaged_configuration_whose_predecessor_is_not_fit_leaves_the_agent_none(
    tmp_path, damage
):
    """What is damaged may well be read: with one bit turned it would say another pin, or another street."""
    kept = Kept(tmp_path)
    first = install(kept, ONE)
    now = install(kept, TWO)
    if damage == "content":
        (now / "box.toml").write_bytes(b"twp")
    else:
        (tmp_path / "now").unlink()
    asked: list[Path] = []

    def refuse(before: Path) -> bool:
        asked.append(before)
        return False

    for _ in range(2):
        assert kept.heal(refuse) is None
        assert not (tmp_path / "box.toml").exists()
    assert asked == [first, first]
    assert install(kept, TWO).name == now.name
    assert (tmp_path / "box.toml").read_bytes() == b"two"


def test_with_both_damaged_the_agent_finds_neither(tmp_path):
    kept = Kept(tmp_path)
    for files in (ONE, TWO):
        (install(kept, files) / "box.toml").write_bytes(b"xxx")
    assert kept.heal(anything) is None
    assert not (tmp_path / "box.toml").exists()


def test_what_was_staged_and_not_good_leaves_nothing(tmp_path):
    kept = Kept(tmp_path)
    install(kept, ONE)
    staged = kept.stage(TWO)
    kept.forget()
    assert not staged.exists()
    kept.stage(TWO)
    kept.heal(anything)
    assert not staged.exists()
    assert (tmp_path / "box.toml").read_bytes() == b"one"


@pytest.mark.parametrize("name", ["box.toml", "hub", "secrets", "now", "before"])
def test_what_a_person_put_there_is_not_ours(tmp_path, name):
    kept = Kept(tmp_path)
    kept.check_ours()
    install(kept, ONE)
    install(kept, TWO)
    kept.check_ours()
    (tmp_path / name).unlink()
    (tmp_path / name).write_text("by hand")
    with pytest.raises(NotOurs, match=name):
        kept.check_ours()
