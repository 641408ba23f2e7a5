"""Who may open what."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.doctor.people import Node, Service, node_of

SERVICE = Service(name="edge-agent", uid=100, gids=frozenset({100, 997}))


def node(uid: int, gid: int, mode: int, *, folder: bool = False) -> Node:
    return Node(uid=uid, gid=gid, mode=mode, is_folder=folder)


def test_the_first_class_that_fits_decides_as_in_the_kernel():
    assert SERVICE.may_write(node(0, 997, 0o660))
    assert not SERVICE.may_write(
        node(0, 997, 0o606)
    )  # in the group, so the others' rights do not count
    assert not SERVICE.may_read(node(100, 0, 0o044))  # the owner, so the group's do not
    assert SERVICE.may_read(node(0, 0, 0o644))
    assert not SERVICE.may_write(node(0, 0, 0o644))


def test_a_folder_must_be_entered_too():
    assert SERVICE.may_write(node(100, 0, 0o700, folder=True))
    assert not SERVICE.may_write(node(100, 0, 0o600, folder=True))


@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 0o777))
def test_root_may_all(uid, gid, mode):
    assert Service(name="root", uid=0, gids=frozenset({0})).may_write(node(uid, gid, mode))


def test_the_user_is_read_with_its_own_the_lent_and_the_memberships_groups(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\nagent2:x:55:56::/:/\nbroken:x\n")
    (tmp_path / "etc/group").write_text(
        "gpio:x:997:\nspi:x:998:a,agent2\nvideo:x:999:agent22\nodd\n"
    )
    found = Service.of(tmp_path, {"User": "agent2", "SupplementaryGroups": "gpio"})
    assert found == Service(name="agent2", uid=55, gids=frozenset({56, 997, 998}))
    assert Service.of(tmp_path, {}) is None
    assert Service.of(tmp_path, {"User": "broken"}) is None
    assert Service.of(tmp_path / "none", {}) is None


def test_a_node_is_told_with_its_rights(tmp_path):
    path = tmp_path / "key"
    path.write_text("")
    path.chmod(0o604)
    found = node_of(path)
    assert found is not None
    assert str(found).startswith("mode 0604, owner ")
    assert node_of(tmp_path / "none") is None
    assert node_of(tmp_path / "a\0b") is None
