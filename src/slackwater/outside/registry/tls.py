"""The registry's certificate: seen to be usable before it serves, and told apart when it fails."""

from __future__ import annotations

import datetime
import os
import re
import ssl
from pathlib import Path

from slackwater import clock
from slackwater.errors import ConfigError

SOON_S = 14 * 86_400.0
_EXPIRED, _NOT_YET = 10, 9
_WRONG_NAME = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, …_IP_ADDRESS_MISMATCH


def check_own(certificate: Path, key: Path) -> str:
    """Whether the registry can serve with these. Raises ConfigError.

    Returns what to warn of, or "": a registry whose certificate has expired is of use still, to
    balancers, and to members that are registered; so it starts.
    """
    for path in (certificate, key):
        if not os.access(path, os.R_OK):
            why = "cannot be read by this user" if path.exists() else "is not there"
            raise ConfigError(f"[tls]: {path} {why}")
    mode = key.stat().st_mode
    credentials = os.environ.get("CREDENTIALS_DIRECTORY", "")
    # A group may read it (Debian's ssl-cert); others may not.
    if mode & 0o037 and not (credentials and key.parent == Path(credentials)):
        raise ConfigError(f"[tls]: the key in {key} may be read by others, or written by its group",
                          hint=f"chmod 640 {key}, or 600")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, _no_passphrase)
    except ssl.SSLError as error:
        why = ("the key is not the certificate's" if "MISMATCH" in (error.reason or "")
               else f"not a certificate and its key in PEM form ({error.reason or error})")
        raise ConfigError(f"[tls]: {certificate} and {key}: {why}") from error
    return _lifetime(certificate)


def _no_passphrase() -> str:
    raise ConfigError("[tls]: the key has a passphrase, and nobody to ask for it",
                      hint="openssl pkey -in KEY -out NEW")


def _lifetime(path: Path) -> str:
    from cryptography import x509  # members do not need it

    try:
        found = x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError as error:
        raise ConfigError(f"[tls]: {path}: {error}") from error
    now = datetime.datetime.fromtimestamp(clock.unix(), datetime.UTC)
    begins, ends = found.not_valid_before_utc, found.not_valid_after_utc
    if now < begins:
        return f"{path} is not valid before {begins:%Y-%m-%d %H:%M} UTC: no member takes it"
    if now >= ends:
        return f"{path} has expired on {ends:%Y-%m-%d %H:%M} UTC: no member takes it"
    if (ends - now).total_seconds() < SOON_S:
        return f"{path} expires on {ends:%Y-%m-%d %H:%M} UTC"
    return ""


def trust(ca: str) -> ssl.SSLContext:
    """What a client goes by: this authority alone. Raises ConfigError."""
    try:
        return ssl.create_default_context(cafile=ca)
    except ssl.SSLError as error:
        raise ConfigError(f"{ca}: no certificates of an authority in PEM form") from error
    except OSError as error:
        raise ConfigError(f"{ca}: cannot read the authority's certificate: {error.strerror}"
                          ) from error


def why_not(error: BaseException, host: str, ca: str) -> tuple[str, str]:
    """What is wrong with the connection's TLS in plain words, and a hint; ("", "") for nothing."""
    found = _of(error)
    if isinstance(found, ssl.SSLCertVerificationError):
        return _refused(found, host, ca)
    if isinstance(found, ssl.SSLError) and re.search("WRONG_VERSION|HTTP_REQUEST|RECORD_LAYER",
                                                     found.reason or ""):
        return "it does not speak TLS there", "is it http://, not https://?"
    if isinstance(found, ssl.SSLError):
        return f"TLS: {found.reason or found}", ""
    return "", ""


def _refused(error: ssl.SSLCertVerificationError, host: str, ca: str) -> tuple[str, str]:
    if error.verify_code in _WRONG_NAME:
        return (f"its certificate is not for {host}",
                "use a name that is in the certificate, or make one that has this name")
    if error.verify_code == _EXPIRED:
        return "its certificate has expired", "renew it, and restart the registry"
    if error.verify_code == _NOT_YET:
        return "its certificate is not valid yet", "is this machine's clock right?"
    return (f"its certificate is of an authority that is not trusted here ({error.verify_message})",
            f"is {ca} the authority's that made it?" if ca else
            "name the authority's certificate: --ca FILE, or ca in [registry]")


def _of(error: BaseException | None) -> ssl.SSLError | None:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return error
        error = error.__cause__ or error.__context__
    return None
