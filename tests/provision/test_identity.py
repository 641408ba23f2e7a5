"""Who the box is, before and after the city has said so."""

from __future__ import annotations

import stat

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from edge_agent.core.renewal import Life
from edge_agent.provision import identity
from edge_agent.tls import Pair, client_context
from tests.support.filled_card import CITY, FakeClock
from tests.support.local_ca import pem, pem_of


def test_the_key_is_made_once(tmp_path):
    key = identity.key_in(tmp_path)
    assert isinstance(key.curve, ec.SECP256R1)
    assert stat.S_IMODE((tmp_path / "box.key").stat().st_mode) == 0o640
    assert identity.key_in(tmp_path).private_numbers() == key.private_numbers()


@pytest.mark.parametrize("raw", [b"", b"\xff" * 300, b"-----BEGIN PRIVATE KEY-----\nAAAA\n"])
def test_a_damaged_key_is_told_and_left_where_it_is(tmp_path, raw):
    (tmp_path / "box.key").write_bytes(raw)
    with pytest.raises(identity.KeyDamaged):
        identity.key_in(tmp_path)
    assert (tmp_path / "box.key").read_bytes() == raw


def test_the_request_is_made_anew_only_for_another_place_or_key(tmp_path):
    assert identity.kept_request(tmp_path) == b""
    key = identity.key_in(tmp_path)
    made = identity.request(tmp_path, key, "a/b/c/d")
    request = x509.load_pem_x509_csr(made)
    assert request.is_signature_valid
    assert request.public_key() == key.public_key()
    assert identity.request(tmp_path, key, "a/b/c/d") == made == identity.kept_request(tmp_path)
    assert identity.request(tmp_path, key, "a/b/c/e") != made
    (tmp_path / "box.csr").write_bytes(b"\xff torn")
    other = ec.generate_private_key(ec.SECP256R1())
    again = x509.load_pem_x509_csr(identity.request(tmp_path, other, "a/b/c/d"))
    assert again.public_key() == other.public_key()
    longest = "/".join("x" * 15 for _ in range(4))
    assert len(longest) < identity.COMMON_NAME_MAX
    identity.request(tmp_path, key, longest + "x" * (identity.COMMON_NAME_MAX - len(longest)))


def test_the_stand_in_is_a_pair_that_tls_takes_and_no_renewal_is_ever_due_for(tmp_path):
    key = identity.key_in(tmp_path)
    raw = identity.stand_in(key)
    pair = Pair(name="configured", certificate=raw, key=pem_of(key))
    (tmp_path / "ca.pem").write_bytes(CITY.pem)
    for vouched in (True, False):
        client_context(str(tmp_path / "ca.pem"), pair, clock=FakeClock(vouched=vouched))
    leaf = pair.leaf
    life = Life(
        begin_s=leaf.not_valid_before_utc.timestamp(), end_s=leaf.not_valid_after_utc.timestamp()
    )
    assert life.due_s(0.0) > 100 * 365 * 86_400.0
    assert life.begin_s < 7 * 86_400.0  # it tells nothing of a time that has surely passed


def test_a_stand_in_is_told_from_what_the_city_signed(tmp_path):
    key = identity.key_in(tmp_path)
    assert identity.is_stand_in(identity.stand_in(key))
    assert not identity.is_stand_in(pem(CITY.issue("box-1", key.public_key())))
    assert not identity.is_stand_in(b"")
