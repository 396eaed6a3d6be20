"""The client protocol against packets as they were recorded, and its own arithmetic."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from slackwater.lab import wire

NONCE = bytes(range(1, 21))


def greeting(plugin: bytes) -> bytes:
    return (
        b"\x0a5.5.5-10.11.19-MariaDB\0"
        + (77).to_bytes(4, "little")
        + NONCE[:8]
        + b"\0\xfe\xf7\x2d\x02\0\xff\x81\x15"
        + bytes(10)
        + NONCE[8:]
        + b"\0"
        + plugin
        + b"\0"
    )


def test_greeting() -> None:
    seen = wire.parse_greeting(greeting(b"mysql_native_password"))
    assert seen == wire.Greeting("5.5.5-10.11.19-MariaDB", 77, NONCE, "mysql_native_password")
    with pytest.raises(wire.WireError, match="not a MySQL greeting"):
        wire.parse_greeting(b"SSH-2.0")


def test_native_token_is_what_a_server_can_check() -> None:
    stored = hashlib.sha1(hashlib.sha1(b"pw").digest()).digest()
    mask = hashlib.sha1(NONCE + stored).digest()
    once = bytes(a ^ b for a, b in zip(wire.native_token(b"pw", NONCE), mask, strict=True))
    assert hashlib.sha1(once).digest() == stored
    assert wire.native_token(b"", NONCE) == b""


def test_errors_before_and_after_login() -> None:
    assert wire.parse_error(b"\xff\x10\x04Too many connections") == wire.ServerError(
        1040, "", "Too many connections"
    )
    assert wire.parse_error(b"\xff\x0a\x05#HY000no") == wire.ServerError(1290, "HY000", "no")


def test_full_authentication_asks_for_the_key_and_seals_the_password() -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    login = wire.Login(wire.Credentials("app", "secret", "db"), private=False)
    assert b"caching_sha2_password" in login.feed(greeting(b"caching_sha2_password"), 0)
    assert login.feed(b"\x01\x04", 2) == wire.packet(b"\x02", 3)
    sealed = login.feed(b"\x01" + pem, 4)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
    plain = key.decrypt(sealed[4:], oaep)
    assert bytes(a ^ b for a, b in zip(plain, NONCE, strict=False)) == b"secret\0"
    assert login.feed(b"\x00\x00\x00\x02\x00\x00\x00", 6) == b"" and login.done


def test_a_switch_to_another_plugin_is_followed_or_refused_by_name() -> None:
    login = wire.Login(wire.Credentials("app", "secret"), private=False)
    login.feed(greeting(b"caching_sha2_password"), 0)
    answer = login.feed(b"\xfemysql_native_password\0" + NONCE[::-1] + b"\0", 2)
    assert answer == wire.packet(wire.native_token(b"secret", NONCE[::-1]), 3)
    with pytest.raises(wire.WireError, match="client_ed25519"):
        login.feed(b"\xfeclient_ed25519\0" + NONCE, 4)


def test_the_password_is_in_no_text() -> None:
    assert "secret" not in repr(wire.Credentials("app", "secret"))
