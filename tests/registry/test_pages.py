"""The pages about the registry say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import BaseModel
from tests.docs.generated import ROOT
from tests.registry import openapi

from slackwater.service.registry import gate, settings
from slackwater.service.registry.settings import Settings

REFERENCE = ROOT / "docs/reference/configuration.md"


def test_the_description_is_up_to_date() -> None:
    """`python -m tests.registry.openapi` renews it."""
    assert openapi.PAGE.read_text() == openapi.text()


def test_every_key_of_registry_toml_is_documented() -> None:
    text = REFERENCE.read_text()
    text = text[text.index("## registry.toml"):]
    tables: dict[str, type[BaseModel]] = {
        "": Settings, "tls.": settings.TlsTable, "store.": settings.StoreTable,
        "pools.NAME.": settings.PoolTable, "balancers.NAME.": settings.BalancerTable,
        "limits.": settings.LimitsTable,
    }
    inner = {"tls", "store", "limits", "pools", "balancers"}
    keys = [p + k for p, table in tables.items() for k in table.model_fields if k not in inner]
    assert [k for k in keys if f"`{k}`" not in text] == []


def test_the_examples_are_valid(tmp_path: Path) -> None:
    blocks = []
    for page in (REFERENCE, ROOT / "docs/howto/registry.md"):
        blocks += re.findall(r"^ *```toml\n(.*?)^ *```", page.read_text(), re.M | re.DOTALL)
    examples = [text for text in blocks if "[pools." in text]
    assert len(examples) == 2
    for text in examples:
        file = tmp_path / "registry.toml"
        file.write_text(text)
        assert settings.load(file).listen == "10.0.0.5:8440"


def test_the_limits_of_the_page_are_the_codes() -> None:
    text = (ROOT / "docs/explanation/registry.md").read_text()
    assert f"good for {gate.SKEW_S} s" in text and gate.MAX_BODY == 4096
    assert "6 s for a request" in text
