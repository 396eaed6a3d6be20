"""The little of the MySQL client protocol that the load needs: no I/O, bytes in and bytes out.

Sources: MySQL "Client/Server Protocol" (dev.mysql.com, Connection Phase, Command Phase) and
MariaDB "Client/Server Protocol". No TLS, no prepared statements, no compression.
Shapes: a *packet* is 3 bytes of length (little endian), 1 byte of sequence, then its payload.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

COM_QUIT = b"\x01\x00\x00\x00\x01"
COM_PING = b"\x01\x00\x00\x00\x0e"

# LONG_PASSWORD, LONG_FLAG, PROTOCOL_41, TRANSACTIONS, SECURE_CONNECTION, PLUGIN_AUTH
_CAPABILITIES = 0x1 | 0x4 | 0x200 | 0x2000 | 0x8000 | 0x80000
_CONNECT_WITH_DB = 0x8
_CONNECT_ATTRS = 0x100000
_UTF8MB4 = 45  # utf8mb4_general_ci: every server from 5.5 on has it

OK, EOF, ERR, MORE = 0x00, 0xFE, 0xFF, 0x01
_NATIVE, _SHA2 = "mysql_native_password", "caching_sha2_password"


class WireError(Exception):
    """The server said something this client cannot follow; the text says what."""


@dataclass(frozen=True)
class ServerError:
    """An ERR packet. `text` is the server's own."""

    code: int
    sqlstate: str
    text: str


@dataclass(frozen=True)
class Greeting:
    """The server's first packet: its version, the session's id, plugin and 20 random bytes."""

    version: str
    session_id: int
    nonce: bytes
    plugin: str


def packet(payload: bytes, sequence: int = 0) -> bytes:
    """Frame one payload of less than 16 MiB."""
    return len(payload).to_bytes(3, "little") + bytes((sequence & 0xFF,)) + payload


def query(sql: str) -> bytes:
    """A COM_QUERY packet, ready to send."""
    return packet(b"\x03" + sql.encode())


def parse_error(payload: bytes) -> ServerError:
    """Read an ERR payload (it starts with 0xff); before the login it has no SQL state."""
    code = int.from_bytes(payload[1:3], "little")
    if payload[3:4] == b"#":
        return ServerError(code, payload[4:9].decode("ascii", "replace"), _text(payload[9:]))
    return ServerError(code, "", _text(payload[3:]))


def parse_greeting(payload: bytes) -> Greeting:
    """Read a version 10 handshake. Raises WireError for anything else."""
    if not payload or payload[0] != 10:
        raise WireError(f"not a MySQL greeting: {payload[:20]!r}")
    end = payload.index(0, 1)
    version, at = _text(payload[1:end]), end + 1
    session_id = int.from_bytes(payload[at : at + 4], "little")
    # 8 random bytes, filler, 2 capabilities, charset, 2 status, 2 capabilities, length, 10 filler
    first = payload[at + 4 : at + 12]
    length = payload[at + 20] if len(payload) > at + 20 else 21
    rest = payload[at + 31 : at + 31 + max(13, length - 8)]
    plugin = payload[at + 31 + len(rest) :].split(b"\0", 1)[0].decode("ascii", "replace")
    return Greeting(version, session_id, first + rest[:12], plugin or _NATIVE)


class Credentials:
    """User, password and database, with all that can be computed before a login.

    One object serves thousands of logins; it holds no state of any of them.
    """

    def __init__(self, user: str, password: str, database: str = "", program: str = "") -> None:
        self._password = password.encode()
        flags = _CAPABILITIES | (_CONNECT_WITH_DB if database else 0)
        attributes = b""
        if program:
            flags |= _CONNECT_ATTRS
            attributes = _prefixed(_prefixed(b"program_name") + _prefixed(program.encode()))
        self._head = (
            flags.to_bytes(4, "little")
            + (1 << 24).to_bytes(4, "little")
            + bytes((_UTF8MB4,))
            + bytes(23)
            + user.encode()
            + b"\0"
        )
        self._middle = database.encode() + b"\0" if database else b""
        self._tail = attributes

    def __repr__(self) -> str:
        return "Credentials(...)"

    def answer(self, greeting: Greeting, sequence: int = 1) -> bytes:
        """The handshake response to a greeting, framed."""
        # A plugin we do not know: answer as native, and the server asks to switch.
        plugin = greeting.plugin if greeting.plugin in (_NATIVE, _SHA2) else _NATIVE
        token = self.token(plugin, greeting.nonce)
        name = plugin.encode() + b"\0"
        body = self._head + bytes((len(token),)) + token + self._middle + name + self._tail
        return packet(body, sequence)

    def token(self, plugin: str, nonce: bytes) -> bytes:
        """The proof that we know the password, for this nonce. Raises WireError."""
        if plugin == _NATIVE:
            return native_token(self._password, nonce)
        if plugin == _SHA2:
            return sha2_token(self._password, nonce)
        raise WireError(f"the account needs the authentication plugin {plugin}, unknown here")

    def clear(self) -> bytes:
        """The password as it goes over a connection that nobody can read (a unix socket)."""
        return self._password + b"\0"

    def sealed(self, pem: bytes, nonce: bytes) -> bytes:
        """The password for caching_sha2_password's full authentication without TLS."""
        key = serialization.load_pem_public_key(pem)
        if not isinstance(key, RSAPublicKey):
            raise WireError("the server's public key is not RSA")
        plain = bytes(c ^ nonce[i % len(nonce)] for i, c in enumerate(self.clear()))
        oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
        return key.encrypt(plain, oaep)


class Login:
    """One login in progress: feed it payloads, send what it returns.

    `feed(payload, sequence)` returns bytes to send, `b""` when nothing is to be sent yet, and
    sets `done`, or `refused` to the server's error. Raises WireError.
    """

    __slots__ = ("_credentials", "_nonce", "_plugin", "_private", "done", "greeting", "refused")

    def __init__(self, credentials: Credentials, *, private: bool) -> None:
        self._credentials = credentials
        self._private = private  # a unix socket: the password may go in clear
        self._nonce = b""
        self._plugin = ""
        self.greeting: Greeting | None = None
        self.done = False
        self.refused: ServerError | None = None

    def feed(self, payload: bytes, sequence: int) -> bytes:
        kind = payload[0] if payload else -1
        if kind == ERR:
            self.refused = parse_error(payload)
            return b""
        if self.greeting is None:
            self.greeting = parse_greeting(payload)
            self._nonce, self._plugin = self.greeting.nonce, self.greeting.plugin
            return self._credentials.answer(self.greeting, sequence + 1)
        if kind == OK:
            self.done = True
            return b""
        if kind == EOF:
            return self._switch(payload, sequence)
        if kind == MORE:
            return self._more(payload[1:], sequence)
        raise WireError(f"unexpected packet during login: {payload[:20]!r}")

    def _switch(self, payload: bytes, sequence: int) -> bytes:
        name, _, nonce = payload[1:].partition(b"\0")
        self._plugin, self._nonce = name.decode("ascii", "replace"), nonce[:20]
        return packet(self._credentials.token(self._plugin, self._nonce), sequence + 1)

    def _more(self, data: bytes, sequence: int) -> bytes:
        if self._plugin != _SHA2:
            raise WireError(f"unexpected question from {self._plugin}")
        if data == b"\x03":  # the server remembers us: its OK follows
            return b""
        if data == b"\x04":  # it does not (restarted, or another server): the whole password
            if self._private:
                return packet(self._credentials.clear(), sequence + 1)
            return packet(b"\x02", sequence + 1)  # "send your public key"
        return packet(self._credentials.sealed(data, self._nonce), sequence + 1)


def native_token(password: bytes, nonce: bytes) -> bytes:
    """mysql_native_password: SHA1(p) XOR SHA1(nonce + SHA1(SHA1(p)))."""
    if not password:
        return b""
    once, twice = _sha1s(password)
    return _xor(once, hashlib.sha1(nonce + twice).digest())


def sha2_token(password: bytes, nonce: bytes) -> bytes:
    """caching_sha2_password: SHA256(p) XOR SHA256(SHA256(SHA256(p)) + nonce)."""
    if not password:
        return b""
    once, twice = _sha256s(password)
    return _xor(once, hashlib.sha256(twice + nonce).digest())


@lru_cache(maxsize=4)
def _sha1s(password: bytes) -> tuple[bytes, bytes]:
    once = hashlib.sha1(password).digest()
    return once, hashlib.sha1(once).digest()


@lru_cache(maxsize=4)
def _sha256s(password: bytes) -> tuple[bytes, bytes]:
    once = hashlib.sha256(password).digest()
    return once, hashlib.sha256(once).digest()


def _xor(a: bytes, b: bytes) -> bytes:
    return (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).to_bytes(len(a), "big")


def _prefixed(data: bytes) -> bytes:
    return bytes((len(data),)) + data  # length-encoded: shorter than 251 here


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
