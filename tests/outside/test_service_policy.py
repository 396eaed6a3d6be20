"""policy-rc.d: ours denies what concerns database servers, for a while, and nothing else."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from slackwater.errors import StepFailed
from slackwater.outside import service_policy
from slackwater.outside.host import Host

OTHERS = '#!/bin/sh\necho "asked: $*"\nexit 101\n'
LEFT_TO_DEBIAN = 104 if Path("/sbin/init").exists() else 101  # as invoke-rc.d has it


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    return tmp_path / "policy-rc.d"


def deny(policy: Path, operation: str = "one", seconds: float = 60) -> None:
    asyncio.run(service_policy.deny(Host(), operation, seconds, policy=policy))


def allow(policy: Path) -> None:
    asyncio.run(service_policy.allow(Host(), policy=policy))


def denied(policy: Path) -> bool:
    return asyncio.run(service_policy.denied(Host(), policy=policy))


def says(policy: Path, *words: str) -> int:
    return subprocess.run([policy, *words], check=False, capture_output=True).returncode


def names(policy: Path) -> list[str]:
    return sorted(path.name for path in policy.parent.iterdir())


def test_database_services_are_left_alone_and_nothing_is_left_afterwards(policy: Path) -> None:
    deny(policy)
    assert denied(policy)
    for words in (("mariadb", "stop", "2"), ("--quiet", "mysql", "restart"),
                  ("mariadb.service", "restart"), ("mariadb@a.service", "start")):
        assert says(policy, *words) == 101
    assert says(policy, "apache2", "restart", "2") == LEFT_TO_DEBIAN
    assert says(policy, "mariadb-exporter.service", "restart") == LEFT_TO_DEBIAN
    allow(policy)
    assert not denied(policy) and names(policy) == []
    allow(policy)  # twice does no harm


@pytest.mark.parametrize("kind", ["file", "link"])
def test_somebody_elses_policy_is_asked_and_comes_back(policy: Path, kind: str) -> None:
    there = policy if kind == "file" else policy.with_name("theirs")
    there.write_text(OTHERS)
    there.chmod(0o750)
    if kind == "link":
        policy.symlink_to("theirs")
    deny(policy)
    deny(policy)  # a second time, as after a crash: theirs is not taken for ours, nor ours for it
    assert says(policy, "mariadb", "stop") == 101
    asked = subprocess.run([policy, "apache2", "stop"], check=False, capture_output=True, text=True)
    assert (asked.returncode, asked.stdout) == (101, "asked: apache2 stop\n")
    allow(policy)
    assert policy.read_text() == OTHERS and policy.is_symlink() == (kind == "link")
    assert policy.stat().st_mode & 0o777 == 0o750
    assert names(policy) == sorted({"policy-rc.d", there.name})


def test_its_time_is_over_and_it_has_no_effect(policy: Path) -> None:
    deny(policy, seconds=-1)
    assert says(policy, "mariadb", "stop") == LEFT_TO_DEBIAN
    deny(policy, operation="another")  # nor does it hinder the next one
    assert says(policy, "mariadb", "stop") == 101


def test_another_operations_policy_is_left_in_place(policy: Path) -> None:
    deny(policy, operation="one")
    with pytest.raises(StepFailed, match="operation one"):
        deny(policy, operation="two")
    assert "operation one\n" in policy.read_text()


def test_what_somebody_put_there_meanwhile_stays(policy: Path) -> None:
    policy.write_text(OTHERS)
    deny(policy)
    policy.write_text("#!/bin/sh\nexit 104\n")
    allow(policy)
    assert policy.read_text() == "#!/bin/sh\nexit 104\n"
    assert names(policy) == ["policy-rc.d"]


def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="cannot be put in place"):
        deny(tmp_path / "nowhere" / "policy-rc.d")
