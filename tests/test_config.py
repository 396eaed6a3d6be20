"""slackwater.toml: each error names the file, the key, the value, and what to write instead."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater import config
from slackwater.errors import ConfigError

SECRET = "s3cr3t-hunter2"
GOOD = """
[servers.a]
address = "10.0.0.1:3306"
[servers.b]
address = "10.0.0.2:3306"
socket = "/run/mysqld/mysqld.sock"
[accounts.slackwater]
password_file = "{password}"
[balancers.lb1]
runtime = "unix:/run/haproxy/admin.sock"
frontend = "10.0.0.9:3306"
pin = "tcp:10.0.0.9:9998"
holds_map = "/etc/haproxy/holds.map"
config_file = "/etc/haproxy/shop.cfg"
[pairs.shop]
servers = ["a", "b"]
balancers = ["lb1"]
[limits]
hold = 5
"""


@pytest.fixture
def password(tmp_path):
    """A password file with the right mode."""
    path = tmp_path / "password"
    path.write_text(SECRET + "\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def load(tmp_path, password):
    """Load GOOD with replacements: (what, instead), ..., and lines appended."""

    def load(*changes: tuple[str, str], more: str = "") -> config.Config:
        text = GOOD.format(password=password)
        for what, instead in changes:
            assert what in text
            text = text.replace(what, instead)
        path = tmp_path / "slackwater.toml"
        path.write_text(text + more)
        path.chmod(0o640)
        return config.load(path)

    return load


def fault(load, *changes, more=""):
    """The text of the error, without the file's name, which must be on each line."""
    with pytest.raises(ConfigError) as caught:
        load(*changes, more=more)
    lines = str(caught.value).splitlines()
    assert all(" " not in line.partition("slackwater.toml: ")[0] for line in lines)
    assert all("slackwater.toml: " in line for line in lines)
    assert SECRET not in str(caught.value) + caught.value.hint
    assert caught.value.exit_code == 78
    return "\n".join(line.partition("slackwater.toml: ")[2] for line in lines)


def test_good(load, tmp_path):
    settings = load()
    assert settings.path == tmp_path / "slackwater.toml"
    assert settings.pair(None)[0] == "shop" and settings.pair("shop")[1].servers == ("a", "b")
    assert settings.limits.hold == 5.0 and settings.limits.grace == 1.0
    assert settings.password() == SECRET
    assert SECRET not in repr(settings)


ADDRESS = 'address = "10.0.0.1:3306"'
FAULTS = [
    # an unknown key, with a suggestion
    ("socket =", "sockt =", "servers.b.sockt: unknown key; did you mean 'socket'?"),
    ("[limits]", "[limit]", "limit: unknown key; did you mean 'limits'?"),
    ("hold = 5", "held = 5", "limits.held: unknown key; did you mean 'hold'?"),
    ("hold = 5", "zzz = 5", "limits.zzz: unknown key; known: hold, grace, lag, oldest_transaction"),
    ("[limits]", 'path = "/x"\n[limits]', "pairs.shop.path: unknown key"),
    ("[accounts.slackwater]", "[accounts.slackwatr]",
     "accounts.slackwatr: unknown key; did you mean 'slackwater'?"),
    ("password_file =", "password =",
     "accounts.slackwater.password: unknown key; did you mean 'password_"),
    # a missing key, with what to write
    (ADDRESS, "", 'servers.a.address: this key is missing; write address = "10.0.0.5:3306"'),
    ('pin = "tcp:10.0.0.9:9998"', "",
     'balancers.lb1.pin: this key is missing; write pin = "unix:/run/haproxy/pin.sock"'),
    ('balancers = ["lb1"]', "", 'pairs.shop.balancers: this key is missing; write balancers ='),
    # values
    (ADDRESS, 'address = "db1"', "servers.a.address = 'db1': write HOST:PORT, for example"),
    (ADDRESS, 'address = "db1:0"', "servers.a.address = 'db1:0': write HOST:PORT"),
    (ADDRESS, 'address = "fe80::1:3306"', "write HOST:PORT, for example 10.0.0.5:3306 or ["),
    (ADDRESS, 'address = "db 1:3306"', "servers.a.address = 'db 1:3306': write HOST:PORT"),
    (ADDRESS, 'address = "db1:²"', "servers.a.address = 'db1:²': write HOST:PORT"),
    (ADDRESS, "address = 3306", "servers.a.address = 3306: write a text, in quotes"),
    ("unix:/run/haproxy/admin.sock", "/run/haproxy/admin.sock",
     "write unix:/path/to/socket or tcp:HOST:PORT"),
    ("tcp:10.0.0.9:9998", "tcp:9998", "balancers.lb1.pin = 'tcp:9998': write HOST:PORT"),
    ("/etc/haproxy/holds.map", "holds.map",
     "balancers.lb1.holds_map = 'holds.map': write an absolute path"),
    ("hold = 5", "hold = 0", "limits.hold = 0: write a number above 0"),
    ("hold = 5", "hold = 60", "limits.hold = 60: write 8 or less"),
    ("hold = 5", "hold = true", "limits.hold = True: write a number, without quotes"),
    ("hold = 5", 'hold = "5"', "limits.hold = '5': write a number, without quotes"),
    ("hold = 5", "lag = inf", "limits.lag = inf: write a number, such as"),
    ("hold = 5", "lag = nan", "limits.lag = nan: write a number, such as"),
    ("hold = 5", "hold = 0.5", "grace (1) must be shorter than hold (0.5) by 0.5 s"),
    ("[limits]\nhold = 5", "limits = 5", "pairs.shop.limits"),
    ('servers = ["a", "b"]', 'servers = "a"', "pairs.shop.servers = 'a': write a list, such as"),
    ('servers = ["a", "b"]', 'servers = ["a"]', "pairs.shop.servers = ['a']: write at least 2"),
    ("[servers.b]", '[servers."b c"]', "servers.b c = 'b c': use letters, digits, _ and -"),
    ("[servers.b]", "[servers.hold]", "not the name `hold`"),
    ("[servers.b]", '[servers."é"]', "use letters, digits, _ and -"),
    ("[accounts.slackwater]", '[accounts.slackwater]\nuser = ""',
     "accounts.slackwater.user = '': write the name of an account"),
    ("[limits]", '[accounts.admin]\nuser = " "\n[limits]',
     "accounts.admin.user = ' ': write the name of an account"),
    ("[limits]", '[accounts.replication]\nuser = ""\npassword_file = "/etc/repl"\n[limits]',
     "accounts.replication.user = '': write the name of an account"),
    # names that nobody has, or that are used twice
    ('["a", "b"]', '["a", "c"]', "pairs.shop.servers names 'c', but there is no [servers.c]"),
    ('["lb1"]', '["lb2"]', "there is no [balancers.lb2]; did you mean 'lb1'?"),
    ('["a", "b"]', '["a", "a"]', "names 'a', which pairs.shop.servers names already"),
    ('["lb1"]', '["lb1"]\nreplicas = ["b"]', "pairs.shop.replicas names 'b', which pairs.shop.ser"),
    ("10.0.0.2:3306", "10.0.0.1:3306",
     "servers.b.address = '10.0.0.1:3306' is the address of a too"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "instead", "said"), FAULTS, ids=[f[1][:30] for f in FAULTS])
def test_fault(what, instead, said, load):
    assert said in fault(load, (what, instead))


def test_every_fault_is_told_at_once(load):
    said = fault(load, (ADDRESS, 'addres = "x"'), ("hold = 5", "hold = -1"), ("tcp:", "udp:"))
    assert len(said.splitlines()) == 4
    said = fault(load, ('["a", "b"]', '["x", "y"]'), ('["lb1"]', '["z"]'))
    assert len(said.splitlines()) == 3


@pytest.mark.parametrize("line", [
    f'password = "{SECRET}"', f'passwd = "{SECRET}"', f'password_env = "{SECRET}"',
    f'password_file = ["{SECRET}"]', f'option_file = "{SECRET}"',
])  # fmt: skip
def test_a_password_in_the_wrong_place_is_not_printed(line, load, password):
    said = fault(load, (f'password_file = "{password}"', line))
    if line.startswith(("password =", "passwd =")):  # nor is it sent where it would be again
        assert "did you mean 'password_file'? It names a file" in said


def test_a_password_in_place_of_the_table_is_not_printed(load, password):
    table = f'[accounts.slackwater]\npassword_file = "{password}"'
    said = fault(load, (table, f'[accounts]\nslackwater = "{SECRET}"'))
    assert "accounts.slackwater: this is a table" in said


@pytest.mark.parametrize("more", ['password_env = "PW"', 'option_file = "~/.my.cnf"'])
def test_two_sources_of_a_password(more, load):
    said = fault(load, ("[balancers.lb1]", more + "\n[balancers.lb1]"))
    assert "accounts.slackwater: give exactly one of password_file, password_env" in said


def test_not_toml(load):
    assert "not TOML: " in fault(load, more='x = "')


def test_a_file_that_everybody_may_write(load, tmp_path):
    load()
    (tmp_path / "slackwater.toml").chmod(0o646)
    with pytest.raises(ConfigError, match="everybody may write it") as caught:
        config.load(tmp_path / "slackwater.toml")
    assert caught.value.hint.startswith("chmod o-w ")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="cannot read it: No such file"):
        config.load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot read it: Is a directory"):
        config.load(tmp_path)


def test_where_the_file_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config, "DEFAULT_FILES", (Path("one.toml"), Path("two.toml")))
    with pytest.raises(ConfigError, match=r"there is no one\.toml or two\.toml") as caught:
        config.find(None)
    assert "--config" in caught.value.hint
    (tmp_path / "two.toml").touch()
    assert config.find(None).name == "two.toml"
    assert config.find(tmp_path / "mine").name == "mine"


def test_which_pair(load):
    more = """
[servers.c]
address = "10.0.0.3:3306"
[servers.d]
address = "10.0.0.4:3306"
[balancers.lb2]
runtime = "tcp:10.0.0.9:9999"
frontend = "10.0.0.9:3307"
pin = "tcp:10.0.0.9:9997"
holds_map = "/etc/haproxy/h2.map"
config_file = "/etc/haproxy/s2.cfg"
[pairs.blog]
servers = ["c", "d"]
balancers = ["lb2"]
"""
    with pytest.raises(ConfigError, match="name one with --pair"):
        load(more=more).pair(None)
    with pytest.raises(ConfigError, match="no pair 'blogg'; did you mean 'blog'"):
        load(more=more).pair("blogg")
    said = fault(load, more=more.replace('["c", "d"]', '["b", "d"]'))
    assert said == "pairs.blog.servers names 'b', which pairs.shop.servers names already"


def test_no_pair(load):
    settings = load(('[pairs.shop]\nservers = ["a", "b"]\nbalancers = ["lb1"]', ""))
    with pytest.raises(ConfigError, match="there is no pair in it") as caught:
        settings.pair(None)
    assert "[pairs.NAME]" in caught.value.hint


def test_one_of_several_sources(load):
    pair, more = ('[pairs.shop]\nservers = ["a", "b"]\nbalancers = ["lb1"]', ""), (
        '[servers.c]\naddress = "10.0.0.3:3306"\n[servers.d]\naddress = "10.0.0.4:3306"\n'
        '[sources.blog]\nserver = "a"\nreplicas = ["b"]\n'
        '[sources.mail]\nserver = "c"\nreplicas = ["d"]\n')
    settings = load(pair, more=more)
    for asked in (settings.group, settings.looked_at):
        assert asked("mail").heads == ("c",)
        with pytest.raises(ConfigError, match="more than one; name one with --pair") as caught:
            asked(None)
        assert caught.value.hint == "in the file: blog, mail"
        with pytest.raises(ConfigError, match="no pair or source 'blogg'; did you mean 'blog'"):
            asked("blogg")
        with pytest.raises(ConfigError, match="no pair or source ''"):
            asked("")


# Where the password comes from.


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_password_file_that_others_may_read(mode, load, password):
    password.chmod(mode)
    with pytest.raises(ConfigError, match=f"may be read by others \\(mode {mode:04o}\\)") as caught:
        load().password()
    assert caught.value.hint == f"chmod 600 {password}"
    assert SECRET not in str(caught.value)


def test_a_password_file_that_is_not_there(load, password):
    password.unlink()
    with pytest.raises(ConfigError, match="cannot read the password file"):
        load().password()


def test_a_password_from_the_environment(load, password, monkeypatch):
    settings = load((f'password_file = "{password}"', 'password_env = "SLACKWATER_TEST_PW"'))
    with pytest.raises(ConfigError, match="the environment has no SLACKWATER_TEST_PW"):
        settings.password()
    monkeypatch.setenv("SLACKWATER_TEST_PW", SECRET)
    assert settings.password() == SECRET


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"[client]\npassword={SECRET}\n", SECRET),
        (f'[client]\nuser=x\npassword = "{SECRET}"\n', SECRET),
        (f"[client]\npassword=no\n[slackwater]\npassword={SECRET}\n", SECRET),
        (f"!includedir /etc/x\n[mysqld]\nskip-networking\n[client]\npassword={SECRET}\n", SECRET),
        (f"[client]\n  user = x\n  password = {SECRET}\n", SECRET),
        (f'[client]\npassword = "{SECRET}#1 "  # "note"\n', SECRET + "#1 "),
        (f"[client] # note\npassword = {SECRET} # note\n", SECRET),
        (f"[client]\npassword={SECRET};'\\s\\q\\\\\n", SECRET + ";' \\q\\"),
        (f"[client]\npassword='{SECRET}\"'\n", SECRET + '"'),
        (f'[client]\npassword="{SECRET}\\""\n', SECRET + '"'),
        (f"[client]\npassword=no\n[mysql]\npassword=no\n[client]\npassword={SECRET}\n", SECRET),
        (f"[client\npassword={SECRET}\n", None),
        ("[client]\nuser=x\n", None),
        (f"password={SECRET}\n", None),
    ],
)
def test_a_password_from_an_option_file(text, found, load, password):
    """As my_print_defaults of MySQL and MariaDB reads it."""
    password.write_text(text)
    settings = load(("password_file", "option_file"))
    if found:
        assert settings.password() == found
        return
    with pytest.raises(ConfigError) as caught:
        settings.password()
    assert SECRET not in str(caught.value)
    assert str(password) in str(caught.value)


def test_home_is_expanded(load, password, monkeypatch):
    monkeypatch.setenv("HOME", str(password.parent))
    assert load((str(password), "~/password")).password() == SECRET


def test_an_authority_that_cannot_be_used(load, password, tmp_path):
    """Told at once, by its key, and not as a login that fails."""
    table = "[accounts.slackwater]"
    named = f"accounts.slackwater.ca = '{tmp_path}/ca.pem': "
    given = (table, f'{table}\nca = "{tmp_path}/ca.pem"')
    assert fault(load, given).startswith(named + "cannot read it: No such file")
    (tmp_path / "ca.pem").write_text("junk")
    assert fault(load, given).startswith(named + "there is no certificate of an authority")


def test_a_home_of_nobody(load, password):
    said = fault(load, (str(password), "~nosuchuser/password"))
    assert "accounts.slackwater.password_file: there is no user ~nosuchuser here" in said


def test_state_directory(load, monkeypatch, tmp_path):
    assert str(load(more='[state]\ndirectory = "/x/y"').state_directory) == "/x/y"
    settings = load()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert str(settings.state_directory) == "/var/lib/slackwater"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert settings.state_directory == tmp_path / "slackwater"


@given(st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda values: st.lists(values, max_size=3)
    | st.dictionaries(st.sampled_from(["a", "b", "servers", "pairs", "limits", "hold", "slackwater",
                                       "accounts", "address", "balancers"]), values, max_size=4),
    max_leaves=12,
))
def test_any_value_gives_lines_of_words(value):
    """Whatever stands in the file, an error is text with the file's name, never a traceback."""
    data = value if isinstance(value, dict) else {"servers": value}
    try:
        config.Config.model_validate(data)
    except pydantic.ValidationError as error:
        for each in error.errors():
            assert config._fault(Path("x.toml"), each).startswith("x.toml: ")


def test_the_example_in_the_reference_is_valid(password, tmp_path):
    page = Path(__file__).parents[1] / "docs/reference/configuration.md"
    example = page.read_text().partition("```toml\n")[2].partition("```")[0]
    config.Config.model_validate(tomllib.loads(example))
    keys = {
        f"{table.__name__}.{key}": key for table in (
            config.ServerTable, config.AccountTable, config.BalancerTable, config.PairTable,
            config.LimitsTable, config.StateTable)
        for key in table.model_fields
    }  # fmt: skip
    for where, key in keys.items():
        assert f".{key}`" in page.read_text(), f"{where} is not in {page.name}"
