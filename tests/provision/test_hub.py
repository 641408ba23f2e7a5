"""The city's files: what they must be, and what is never let through."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from edge_agent.core.card import Fault
from edge_agent.provision import hub
from tests.support.filled_card import CITY, ORDERS_PEM
from tests.support.local_ca import DAY_S, Authority, now_s, pem, pem_of

KEY = ec.generate_private_key(ec.SECP256R1())
OWN = CITY.issue("box-1", KEY.public_key())
OTHER = CITY.pair()
NOW = now_s()


def said(found: hub.Sound | Fault) -> str:
    assert isinstance(found, Fault), found
    assert "-----" not in str(found)
    return found.said.en


def test_what_is_kept_is_exactly_what_was_meant_whatever_else_the_file_holds():
    for raw in (
        CITY.pem,
        CITY.pem.replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + CITY.pem + b"\0",
        b"Bag Attributes\n" + CITY.pem + b"\nthe end",
    ):
        assert hub.authorities(raw, "x", wall_s=None) == hub.Sound(
            CITY.pem, until=CITY.certificate.not_valid_after_utc.date().isoformat()
        )
    assert hub.orders(ORDERS_PEM.replace(b"\n", b"\r\n"), "x") == hub.Sound(ORDERS_PEM)


@pytest.mark.parametrize("raw", [b"", b"\xff" * 50, CITY.pem[:200], pem_of(KEY)[:60], ORDERS_PEM])
def test_what_is_no_certificate_is_told(raw):
    assert said(hub.authorities(raw, "x", wall_s=None))
    assert said(hub.certificate(raw, "x", KEY.public_key(), wall_s=None))


def test_the_hubs_own_certificate_is_no_authority():
    told = said(hub.authorities(CITY.pem + OTHER.certificate, "x", wall_s=None))
    assert "not the certificate of an authority" in told


@pytest.mark.parametrize("days", [(-20, -10), (10, 20)])
def test_dates_count_only_while_something_vouches_for_the_clock(days):
    begin_s, end_s = (NOW + day * DAY_S for day in days)
    raw = pem(CITY.issue("box-1", KEY.public_key(), begin_s=begin_s, end_s=end_s))
    assert isinstance(hub.certificate(raw, "x", KEY.public_key(), wall_s=None), hub.Sound)
    assert said(hub.certificate(raw, "x", KEY.public_key(), wall_s=NOW))
    old = Authority("Tua", begin_s=NOW - 20 * DAY_S, end_s=NOW - 10 * DAY_S)
    assert isinstance(hub.authorities(old.pem, "x", wall_s=None), hub.Sound)
    assert said(hub.authorities(old.pem, "x", wall_s=NOW)) == "has expired"
    # While the city changes from one authority to the next, both lie in the file.
    assert isinstance(hub.authorities(old.pem + CITY.pem, "x", wall_s=NOW), hub.Sound)


def test_a_certificate_is_of_this_boxs_key_and_comes_before_its_chain():
    between = Authority("between", above=CITY)
    leaf = between.issue("box-1", KEY.public_key())
    found = hub.certificate(pem(between.certificate, leaf), "x", KEY.public_key(), wall_s=NOW)
    assert isinstance(found, hub.Sound)
    assert found.raw == pem(leaf, between.certificate)
    assert hub.is_for(found.raw, KEY.public_key())
    told = said(hub.certificate(OTHER.certificate, "x", KEY.public_key(), wall_s=NOW))
    assert told.startswith("the certificate of another box")
    assert not hub.is_for(OTHER.certificate, KEY.public_key())
    assert not hub.is_for(b"", KEY.public_key())


def test_a_private_key_is_never_let_through():
    for raw in (pem(OWN) + pem_of(KEY), pem_of(KEY), CITY.pem + pem_of(KEY)):
        for found in (
            hub.authorities(raw, "x", wall_s=None),
            hub.certificate(raw, "x", KEY.public_key(), wall_s=None),
            hub.orders(raw, "x"),
        ):
            assert "private key" in said(found)


def test_orders_are_signed_with_ed25519_alone():
    def public(key) -> bytes:
        raw: bytes = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return raw

    assert isinstance(hub.orders(public(ed25519.Ed25519PrivateKey.generate()), "x"), hub.Sound)
    for key in (rsa.generate_private_key(65537, 2048), KEY):
        assert said(hub.orders(public(key), "x")) == "a public key of another kind"
    assert said(hub.orders(b"-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----", "x"))
