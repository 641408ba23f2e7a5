"""Only what the one pinned key signed is an order."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, OKPKey

from edge_agent.core.messages import HubMessage, Json, OrderForged, OrderVerified
from edge_agent.orders import MAX_ORDER_BYTES, Orders
from edge_agent.receiver import sign

CLAIMS: Final[dict[str, Json]] = {"v": 1, "kind": "policy", "aud": "cctv/v1", "number": 1}


@pytest.fixture(scope="module")
def key() -> OKPKey:
    return OKPKey.generate_key("Ed25519")


@pytest.fixture(scope="module")
def key_file(key: OKPKey, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("keys") / "hub.pem"
    path.write_bytes(key.as_pem(private=False))
    return str(path)


def message(payload: bytes) -> HubMessage:
    return HubMessage(
        leaf="policy", payload=payload, retained=True, response_topic="t", correlation=b"c"
    )


def b64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def test_what_the_hub_signed_is_an_order(key: OKPKey, key_file: str) -> None:
    token = sign(CLAIMS, key.as_pem(private=True))
    found = Orders(key_file).verify(message(token))
    assert isinstance(found, OrderVerified)
    assert json.loads(found.claims) == CLAIMS
    assert (found.leaf, found.retained, found.response_topic) == ("policy", True, "t")
    assert found.correlation == b"c"


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
def test_the_older_name_of_the_algorithm_is_understood_too(key: OKPKey, key_file: str) -> None:
    token = jws.serialize_compact({"alg": "EdDSA"}, b"{}", key, algorithms=["EdDSA"])
    orders = Orders(key_file)
    assert isinstance(orders.verify(message(token.encode())), OrderVerified)
    assert isinstance(orders.verify(message(token.encode())), OrderVerified)


def test_another_key_signs_nothing(key_file: str) -> None:
    stranger = OKPKey.generate_key("Ed25519")
    token = sign(CLAIMS, stranger.as_pem(private=True))
    found = Orders(key_file).verify(message(token))
    assert isinstance(found, OrderForged)
    assert "signature" in found.why


def test_no_other_algorithm_will_do(key: OKPKey, key_file: str) -> None:
    """Neither none at all, nor a shared secret made of the public key, nor the attacker's own key within the token."""
    public = Path(key_file).read_bytes()
    unsigned = b64(b'{"alg":"none"}') + b"." + b64(b"{}") + b"."
    secret = jws.serialize_compact(
        {"alg": "HS256"}, b"{}", OctKey.import_key(b64(public)), algorithms=["HS256"]
    )
    curve = ECKey.generate_key("P-256")
    other = jws.serialize_compact({"alg": "ES256"}, b"{}", curve, algorithms=["ES256"])
    own = OKPKey.generate_key("Ed25519")
    smuggled = jws.serialize_compact(
        {"alg": "Ed25519", "jwk": own.as_dict(private=False)}, b"{}", own, algorithms=["Ed25519"]
    )
    orders = Orders(key_file)
    for token in (unsigned, secret.encode(), other.encode(), smuggled.encode()):
        assert isinstance(orders.verify(message(token)), OrderForged), token


def test_one_changed_letter_breaks_it(key: OKPKey, key_file: str) -> None:
    token = sign(CLAIMS, key.as_pem(private=True))
    orders = Orders(key_file)
    for place in range(0, len(token) - 1, 7):
        changed = bytearray(token)
        changed[place] = ord("A") if changed[place] != ord("A") else ord("B")
        assert isinstance(orders.verify(message(bytes(changed))), OrderForged)


@given(st.binary(max_size=200) | st.text("abcdefABCDEF0189-_.=", max_size=200).map(str.encode))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_at_all_are_an_order(key_file: str, payload: bytes) -> None:
    assert isinstance(Orders(key_file).verify(message(payload)), OrderForged)


@pytest.mark.parametrize("name", ["\\ud800", "\\u001b[2J", "\\n\\u2028"])
def test_what_a_stranger_writes_moves_no_terminal_and_breaks_no_text(
    key_file: str, name: str
) -> None:
    head = b64(b'{"alg":"%s"}' % name.encode())
    found = Orders(key_file).verify(message(head + b"." + b64(b"{}") + b"." + b64(b"x" * 64)))
    assert isinstance(found, OrderForged)
    assert "UnsupportedAlgorithm" in found.why
    assert found.why.isprintable()


def test_without_a_key_nothing_is_obeyed(key: OKPKey) -> None:
    found = Orders(None).verify(message(sign(CLAIMS, key.as_pem(private=True))))
    assert isinstance(found, OrderForged)
    assert "order_key_file" in found.why


def test_an_order_of_absurd_size_is_not_even_read(key_file: str) -> None:
    found = Orders(key_file).verify(message(b"x" * (MAX_ORDER_BYTES + 1)))
    assert isinstance(found, OrderForged)
    assert "at most" in found.why


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_a_key_file_that_is_none_verifies_nothing(
    key: OKPKey, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "hub.pem"
    if content is not None:
        path.write_bytes(content)
    token = sign(CLAIMS, key.as_pem(private=True))
    assert isinstance(Orders(str(path)).verify(message(token)), OrderForged)


def test_a_key_of_another_curve_is_refused(key: OKPKey, tmp_path: Path) -> None:
    path = tmp_path / "hub.pem"
    path.write_bytes(OKPKey.generate_key("Ed448").as_pem(private=False))
    found = Orders(str(path)).verify(message(sign(CLAIMS, key.as_pem(private=True))))
    assert isinstance(found, OrderForged)
    assert "needs Ed25519" in found.why


# ---- what is remembered of a policy ----


def remembered(key: OKPKey, key_file: str) -> tuple[bytes, bytes]:
    """The claims of a policy that was obeyed, and how they lie on the card."""
    orders = Orders(key_file)
    found = orders.verify(message(sign(CLAIMS, key.as_pem(private=True))))
    assert isinstance(found, OrderVerified)
    return found.claims, orders.bound(found.claims)


def test_a_policy_is_remembered_as_long_as_its_key_is_the_hubs(
    key: OKPKey, key_file: str, tmp_path: Path
) -> None:
    claims, kept = remembered(key, key_file)
    assert Orders(key_file).own(kept) == claims
    other = tmp_path / "new.pem"
    other.write_bytes(OKPKey.generate_key("Ed25519").as_pem(private=False))
    assert Orders(str(other)).own(kept) is None, "the last word of a key that was changed"
    assert Orders(None).own(kept) is None
    assert Orders(key_file).own(None) is None


def test_a_key_that_cannot_be_read_forgets_nothing(
    key: OKPKey, key_file: str, tmp_path: Path
) -> None:
    claims, kept = remembered(key, key_file)
    assert Orders(str(tmp_path / "missing.pem")).own(kept) == claims


@given(kept=st.binary(max_size=100))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_never_bound_is_not_remembered(key_file: str, kept: bytes) -> None:
    assert Orders(key_file).own(kept) is None
