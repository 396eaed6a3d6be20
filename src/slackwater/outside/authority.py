"""The file of an authority that servers' certificates are checked against."""

from __future__ import annotations

from pathlib import Path


def unusable(path: Path) -> str:
    """Why nothing can be checked against it, for people; "" when it can."""
    import ssl  # only where a configuration names one

    try:
        ssl.create_default_context(cafile=str(path))
    except ssl.SSLError:
        return "there is no certificate of an authority, in PEM form, in it"
    except OSError as error:
        return f"cannot read it: {error.strerror}"
    return ""
