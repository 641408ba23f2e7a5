"""Sealing: the hub opens it, nobody else, and no bit of it may change."""

import pyrage
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.wire import is_sealed
from edge_agent.seal import Opener, Sealer, SealError, recipient_fault


@pytest.fixture(scope="module")
def identity():
    return pyrage.x25519.Identity.generate()


@pytest.fixture
def opener(identity, tmp_path):
    file = tmp_path / "hub.age"
    file.write_text(f"# created: today\n# public key: {identity.to_public()}\n{identity}\n")
    return Opener(file)


def test_the_hub_opens_what_the_box_sealed(identity, opener):
    sealer = Sealer(str(identity.to_public()))
    picture = b"\xff\xd8" + bytes(range(256)) * 200
    sealed = sealer.seal(picture)
    assert is_sealed(sealed)
    assert not is_sealed(picture)
    assert picture[10:60] not in sealed
    assert sealer.seal(picture) != sealed
    # What core/fitting.py leaves room for. The library adds a stanza of random size, so once says little.
    assert max(len(sealer.seal(picture)) for _ in range(300)) - len(picture) < 400 + 16
    assert opener.open(sealed) == picture


def test_another_hub_opens_nothing(opener):
    other = Sealer(str(pyrage.x25519.Identity.generate().to_public()))
    with pytest.raises(SealError, match="cannot be opened"):
        opener.open(other.seal(b"street"))


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_no_changed_byte_is_ever_opened(share, change):
    identity = pyrage.x25519.Identity.generate()
    sealed = bytearray(Sealer(str(identity.to_public())).seal(b"a street in the rain" * 10))
    sealed[int(share * len(sealed))] ^= change
    with pytest.raises(pyrage.DecryptError):
        pyrage.decrypt(bytes(sealed), [identity])


@pytest.mark.parametrize("text", ["", "age1", "age1xyz", "ssh-ed25519 AAAA", "AGE1" + "Q" * 58])
def test_a_recipient_that_is_none_is_named(text):
    assert "age1" in recipient_fault(text)


def test_the_hubs_secret_is_refused_as_a_recipient_without_being_repeated(identity):
    fault = recipient_fault(str(identity))
    assert "never be on a box" in fault
    assert str(identity) not in fault


@pytest.mark.parametrize(
    "text", [b"", b"# only a comment\n", b"AGE-SECRET-KEY-1NONE\n", b"\xff\xfe"]
)
def test_an_identity_file_that_is_none_is_named_with_its_path(tmp_path, text):
    file = tmp_path / "hub.age"
    file.write_bytes(text)
    with pytest.raises(SealError, match=r"hub\.age"):
        Opener(file)
    with pytest.raises(SealError, match="cannot be read"):
        Opener(tmp_path / "none.age")
