"""Signed requests: who asks, when, and for what; the same few lines on both sides.

The signature is HMAC-SHA256 over method, path with query, time, nonce and the body's SHA-256, a
line each. The key is the text in the key's file, as it is there.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

KEY, TIME, NONCE, SIGNATURE = "x-sw-key", "x-sw-time", "x-sw-nonce", "x-sw-signature"


def signature(
    secret: str, method: str, target: str, time: str, nonce: str, body: bytes
) -> str:
    """The signature in hex. `target`: path and query as they stand in the request line."""
    lines = "\n".join([method, target, time, nonce, hashlib.sha256(body).hexdigest()])
    return hmac.new(secret.encode(), lines.encode(), hashlib.sha256).hexdigest()


def headers(
    name: str, secret: str, method: str, target: str, body: bytes, *, at: float
) -> dict[str, str]:
    """The four headers of a request that is made at that unix time."""
    time, nonce = str(int(at)), secrets.token_hex(16)
    return {KEY: name, TIME: time, NONCE: nonce,
            SIGNATURE: signature(secret, method, target, time, nonce, body)}


def same(one: str, other: str) -> bool:
    """Compare signatures in a time that tells nothing."""
    return hmac.compare_digest(one.encode(), other.encode())
