"""Signing orders as a hub does: for hub developers, the tests and the demo.

Not its job: checking signatures (orders.py), publishing.
"""

from __future__ import annotations

import json

from edge_agent.core.messages import Json


def sign(claims: Json, private_key_pem: bytes) -> bytes:
    """Claims as a compact JWS, signed with an Ed25519 key, as a box expects a policy or a command."""
    from joserfc import jws  # noqa: PLC0415 - heavy, and only a hub that gives orders needs it
    from joserfc.jwk import OKPKey  # noqa: PLC0415

    key = OKPKey.import_key(private_key_pem)
    text = json.dumps(claims, separators=(",", ":"))
    return jws.serialize_compact({"alg": "Ed25519"}, text, key, algorithms=["Ed25519"]).encode()
