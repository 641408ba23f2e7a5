"""authorized_keys: plain public keys, line by line."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from edge_agent.provision.shell_keys import read


def line(key) -> str:
    raw: bytes = key.public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return raw.decode()


ED = line(ed25519.Ed25519PrivateKey.generate().public_key())
EC = line(ec.generate_private_key(ec.SECP256R1()).public_key())
RSA = line(rsa.generate_private_key(65537, 2048).public_key())
SHORT = line(rsa.generate_private_key(65537, 1024).public_key())


def test_keys_of_every_common_kind_are_taken_with_their_comment():
    raw = f"# the office\r\n\r\n{ED} budi@laptop\r\n  {EC}\r\n{RSA}\tsiti wati\r\n".encode()
    found = read(raw, "authorized_keys")
    assert found.lines == (f"{ED} budi@laptop", EC, f"{RSA} siti wati")
    assert found.faults == ()


@pytest.mark.parametrize(
    "bad",
    [
        f'command="reboot" {ED}',
        f"no-pty {ED}",
        ED[:-9],
        ED.split()[0],
        f"ssh-rsa {ED.split()[1]}",
        f"ssh-ed25519 {RSA.split()[1]}",
        f"ssh-ed25519 {base64.b64encode(b'x' * 51).decode()}",
        SHORT,
        "ssh-dss AAAAB3NzaC1kc3MAAACBAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "password",
        "---- BEGIN SSH2 PUBLIC KEY ----",
    ],
)
def test_a_line_that_is_no_plain_key_is_told_and_costs_the_others_nothing(bad):
    found = read(f"{ED}\n{bad}\n{EC}\n".encode(), "authorized_keys")
    assert found.lines == (ED, EC)
    assert [fault.line for fault in found.faults] == [2]


def test_a_private_key_lets_nobody_in():
    raw = b"-----BEGIN OPENSSH PRIVATE KEY-----\nxxxx\n-----END OPENSSH PRIVATE KEY-----\n"
    found = read(ED.encode() + b"\n" + raw, "authorized_keys")
    assert found.lines == ()
    assert "xxxx" not in str(found.faults)


def test_a_file_that_is_no_text_or_has_no_end_is_bounded():
    assert read(b"\xff\xfe\xff", "authorized_keys").lines == ()
    many = read(f"{ED}\n".encode() * 60, "authorized_keys")
    assert (len(many.lines), len(many.faults)) == (50, 10)


def test_a_comment_cannot_smuggle_anything():
    (kept,) = read(f"{ED} a\x1b[31m\u202eb\n".encode(), "authorized_keys").lines
    assert kept == f"{ED} a[31mb"
