"""The registry with a certificate: who calls it verifies it, and is told what is wrong with it."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.registry.conftest import Serving
from tests.registry.rig import Backend, Registry, end
from tests.registry.test_join import SLACKWATER, script
from tests.servers.patience import PATIENCE, eventually

from slackwater.errors import ConfigError, OutsideError
from slackwater.outside.registry import tls
from slackwater.outside.registry.client import Access, Client
from slackwater.service.registry import serve

TABLE = '[tls]\ncertificate = "{0}/registry.crt"\nkey = "{0}/registry-tls.key"\n'


@pytest.fixture
def backend() -> Iterator[Backend]:
    made = Backend("web1").start()
    yield made
    made.stop()


def make(room: Path, *, days: tuple[float, float] = (-1, 90)) -> Path:
    """A certificate for 127.0.0.1 that is its own authority, valid between these days from now."""
    room.mkdir(exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, room.name)])
    now = datetime.datetime.now(datetime.UTC)
    begins, ends = (now + datetime.timedelta(days=d) for d in days)
    made = (x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(),
                                    begins, ends)
            .add_extension(x509.SubjectAlternativeName(
                [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256()))
    certificate, private = room / "registry.crt", room / "registry-tls.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.touch(0o600)
    private.write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption()))
    return certificate


def health(access: Access) -> object:
    async def ask() -> object:
        client = Client(access)
        try:
            return (await client.ask("GET", "/v1/health"))["ok"]
        finally:
            await client.close()

    return asyncio.run(ask())


@pytest.mark.servers
def test_members_and_operators_verify_it(serving: Serving, room: Path, backend: Backend) -> None:
    """With the authority that the page makes."""
    if not (shutil.which("openssl") and shutil.which("curl")):
        pytest.skip("openssl or curl is not installed")
    subprocess.run([str(script("make-certificate", room)), "IP:127.0.0.1"], cwd=room, check=True,
                   capture_output=True, timeout=60 * PATIENCE)
    registry, made = serving("haproxy", start=False, store=TABLE.format(room))
    registry.ca = str(room / "authority.crt")
    registry.start()
    access = registry.key("ops", role="admin")
    assert health(access) is True

    key = registry.key_file("web1", pools=("web",))
    words = ["--registry", registry.url, "--key-file", str(key)]
    agent = subprocess.Popen([*SLACKWATER, "register", *words, "--ca", registry.ca, "--pool", "web",
                              "--port", str(backend.port), "--loopback"], start_new_session=True)
    try:
        balancer = made["haproxy"]
        eventually(lambda: balancer.names(2) == {"web1"}, "it serves", limit_s=30)
        (room / "slackwater.toml").write_text(
            f'[registry]\nurls = ["{registry.url}"]\nkey_file = "{key}"\nca = "{registry.ca}"\n')
        done = subprocess.run([*SLACKWATER, "pool", "show", "web", "--config",
                               str(room / "slackwater.toml")], capture_output=True, text=True,
                              timeout=60 * PATIENCE, check=False)
        assert done.returncode == 0 and "web1" in done.stdout, done.stderr
        done = subprocess.run([*SLACKWATER, "members", *words], capture_output=True, text=True,
                              timeout=60 * PATIENCE, check=False)
        assert "not trusted here" in done.stderr and "--ca FILE" in done.stderr
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(30 * PATIENCE) == 0
    finally:
        end(agent)
    given = {"REGISTRY": registry.url, "KEY": str(key), "PORT": str(backend.port)}
    join = [str(script("join-by-http", room)), "PUT"]
    refused = subprocess.run(join, env={**os.environ, **given}, capture_output=True, check=False)
    assert refused.returncode
    subprocess.run(join, env={**os.environ, **given, "CURL_CA_BUNDLE": registry.ca}, check=True,
                   capture_output=True, timeout=60 * PATIENCE)
    eventually(lambda: balancer.names(2) == {"web1"}, "it serves again")


def refusal(access: Access) -> str:
    with pytest.raises(OutsideError) as caught:
        health(access)
    assert not isinstance(caught.value, ConfigError)
    return f"{caught.value} [{caught.value.hint}]"


@pytest.mark.servers
def test_a_certificate_that_does_not_hold_is_told_apart(room: Path) -> None:
    other = make(room / "other")
    good, old = Registry(room / "g", TABLE.format(room / "good") + "[pools.web]\n"), Registry(
        room / "o", TABLE.format(room / "old") + "[pools.web]\n")
    good.ca, old.ca = str(make(room / "good")), str(make(room / "old", days=(-9, -1)))
    try:
        for each in (good, old):
            each.start()
        silent = socket.create_connection(("127.0.0.1", good.port))
        access = good.key("ops", role="admin")
        assert health(access) is True
        by_name = replace(access, url=f"https://localhost:{good.port}")
        assert "its certificate is not for localhost" in refusal(by_name)
        unknown = refusal(replace(access, ca=str(other)))
        assert "not trusted here" in unknown and f"is {other} the authority's" in unknown
        assert "--ca FILE" in refusal(replace(access, ca=""))
        plain = replace(access, url=access.url.replace("https", "http"))
        assert "https://, not http://" in refusal(plain)
        assert "has expired on" in old.said()  # it serves, for balancers and probes
        assert "its certificate has expired" in refusal(old.key("ops", role="admin"))
        silent.settimeout((serve.HANDSHAKE_S + 5) * PATIENCE)
        with silent:  # who says nothing is let go
            assert silent.recv(1) == b""
    finally:
        good.stop()
        old.stop()


@pytest.mark.servers
def test_who_speaks_tls_to_a_registry_without_is_told(room: Path) -> None:
    registry = Registry(room / "registry", "[pools.web]\n")
    try:
        registry.start()
        access = registry.key("ops", role="admin")
        wrong = replace(access, url=access.url.replace("http", "https"))
        assert "it does not speak TLS there" in refusal(wrong)
    finally:
        registry.stop()


def test_a_registry_does_not_start_with_what_is_no_certificate_of_its_own(tmp_path: Path) -> None:
    mine, other = make(tmp_path / "mine"), make(tmp_path / "other")
    key = mine.with_name("registry-tls.key")
    assert tls.check_own(mine, key) == ""
    key.chmod(0o640)  # a group of its own is how Debian does it
    assert tls.check_own(mine, key) == ""
    for certificate, private, mode, words in (
        (mine, key, 0o644, "may be read by others"),
        (mine, key, 0o660, "written by its group"),
        (mine, other.with_name("registry-tls.key"), 0o600, "the key is not the certificate's"),
        (mine, mine, 0o600, "not a certificate and its key"),
        (tmp_path / "none", key, 0o600, "is not there"),
    ):
        private.chmod(mode)
        with pytest.raises(ConfigError, match=words):
            tls.check_own(certificate, private)
    key.chmod(0o600)
    mine.chmod(0o644)
    soon = make(tmp_path / "soon", days=(-1, 3))
    assert "expires on" in tls.check_own(soon, soon.with_name("registry-tls.key"))
    early = make(tmp_path / "early", days=(1, 3))
    assert "not valid before" in tls.check_own(early, early.with_name("registry-tls.key"))
    key.write_bytes(serialization.load_pem_private_key(key.read_bytes(), None).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret")))
    with pytest.raises(ConfigError, match="passphrase"):
        tls.check_own(mine, key)


def test_an_authority_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("nothing")
    for file, words in (("none", "cannot read the authority's certificate"),
                        ("empty", "no certificates of an authority")):
        with pytest.raises(ConfigError, match=words):
            Client(Access("https://127.0.0.1:1", "ops", "x", str(tmp_path / file)))


def test_the_command_says_it_too(tmp_path: Path) -> None:
    made = make(tmp_path / "mine")
    made.with_name("registry-tls.key").chmod(0o604)
    file = tmp_path / "registry.toml"
    file.write_text(f'directory = "{tmp_path}/state"\n{TABLE.format(made.parent)}[pools.web]\n')
    done = subprocess.run([sys.executable, "-m", "slackwater", "registry", "serve", "--config",
                           str(file)], capture_output=True, text=True, timeout=60 * PATIENCE,
                          check=False)
    assert done.returncode == 78 and "chmod 640" in done.stderr, done.stderr
