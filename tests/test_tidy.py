"""The shape of the code, by its syntax trees: who imports whom, sizes, docstrings, and words."""

from __future__ import annotations

import ast
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src/slackwater"
FILES = sorted(SOURCE.rglob("*.py"))
IDS = [str(f.relative_to(SOURCE)) for f in FILES]
LINES_OF_A_FILE, LINES_OF_A_FUNCTION = 500, 70

# part -> the parts that it may import, besides itself
BELOW_OPERATIONS = {"plan", "rules", "outside", "facts", "config", "errors", "clock"}
ON_TOP = BELOW_OPERATIONS | {"operations", "lab"}
MAY_IMPORT = {
    "errors": set(),
    "clock": set(),
    "facts": {"errors"},
    "rules": {"facts", "errors"},
    "plan": {"errors", "clock"},
    "outside": {"facts", "errors", "clock"},
    # facts for the forms of addresses, outside for where passwords are read
    "config": {"facts", "outside", "errors"},
    "operations": BELOW_OPERATIONS,
    "lab": ON_TOP,
    "service": ON_TOP,
    "gateway": ON_TOP,
    "cli": ON_TOP | {"service", "gateway"},
    "__main__": {"cli"},
}
# `python -m slackwater.lab.load` is a command of its own.
MAY_IMPORT_TOO = {"lab/load.py": {"cli"}}
# Parts that decide: facts in, a decision out. No file, no socket, no clock, no chance.
PURE = {"facts", "rules"}
PURE_MODULES = {
    "__future__", "collections", "csv", "dataclasses", "difflib", "enum", "functools", "itertools",
    "ipaddress", "math", "operator", "re", "slackwater", "typing",
}  # fmt: skip
IMPURE_CALLS = {"open", "print", "input", "exec", "eval"}
# Who may start programs and open sockets.
TOUCHING = {"outside", "lab", "gateway", "service"}
SOCKETS = {"socket", "subprocess", "asyncmy", "pymysql", "asyncssh", "select", "selectors"}
TOUCHING_TOO = {
    "plan/faults.py": "runs a shell command before a step, in a lab only",
    "plan/journal.py": "asks for this machine's name",
    "cli/demo.py": "runs the load and the switchovers as a person would",
}
VERSIONS_COMPARED_IN = {
    "outside/mysql/dialect.py", "outside/mysql/setup_dialect.py", "facts/flavour.py",
}
# Whose versions are not those of database servers, or are of a lab's own programs.
OTHER_VERSIONS = {"outside/haproxy/capable.py", "lab/options.py", "lab/accounts.py"}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def name(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def part(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Dotted names of what a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name(path)}: relative import"
            base = node.module or ""
            found |= {f"{base}.{a.name}" for a in node.names} if base == "slackwater" else {base}
    return found


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_imports_point_one_way(path):
    own = part(path)
    if own == "__init__":
        assert not any(i.startswith("slackwater") for i in imports(path))
        return
    assert own in MAY_IMPORT, f"{own} is new: say in this test what it may import"
    used = {i.split(".")[1] for i in imports(path) if i.startswith("slackwater.")}
    wrong = used - MAY_IMPORT[own] - MAY_IMPORT_TOO.get(name(path), set())
    wrong -= {own, "__version__"}
    assert not wrong, f"{name(path)} imports {', '.join(sorted(wrong))}"


@pytest.mark.parametrize("path", [f for f in FILES if part(f) in PURE], ids=name)
def test_what_decides_touches_nothing(path):
    roots = {i.split(".")[0] for i in imports(path)}
    assert roots <= PURE_MODULES, f"{name(path)} imports {roots - PURE_MODULES}"
    for node in ast.walk(tree(path)):
        assert not isinstance(node, ast.AsyncFunctionDef | ast.Await)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in IMPURE_CALLS, f"{name(path)}:{node.lineno}"


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_only_the_outside_touches_the_world(path):
    if part(path) in TOUCHING or name(path) in TOUCHING_TOO:
        return
    used = {i.split(".")[0] for i in imports(path)} & SOCKETS
    assert not used, f"{name(path)} imports {', '.join(sorted(used))}"


def test_the_exceptions_are_still_needed():
    for each in TOUCHING_TOO:
        assert {i.split(".")[0] for i in imports(SOURCE / each)} & SOCKETS, each


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_versions_are_compared_in_one_place(path):
    if name(path) in VERSIONS_COMPARED_IN | OTHER_VERSIONS:
        return
    for node in ast.walk(tree(path)):
        where = f"{name(path)}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Compare):
            for side in (node.left, *node.comparators):
                words = {n.attr for n in ast.walk(side) if isinstance(n, ast.Attribute)}
                assert "version" not in words, f"{where} compares versions"
        if isinstance(node, ast.Attribute):
            assert node.attr not in ("min_mysql", "min_mariadb"), f"{where} asks for a version"


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_sizes(path):
    lines = len(path.read_text().splitlines())
    assert lines <= LINES_OF_A_FILE, f"{name(path)} has {lines} lines"
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= LINES_OF_A_FUNCTION, f"{name(path)}: {node.name} has {length} lines"


def undocumented(path: Path) -> list[str]:
    """Public classes and functions without a docstring (a method may be explained by its class)."""
    module = tree(path)
    missing = [] if ast.get_docstring(module) or not module.body else ["the module"]
    for node in module.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if not node.name.startswith("_") and not ast.get_docstring(node):
            missing.append(node.name)
    return missing


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_public_things_have_docstrings(path):
    assert undocumented(path) == []


def test_functions_say_what_they_take_and_give():
    """mypy --strict says so too; here it holds without it."""
    for path in FILES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.returns is not None, f"{name(path)}:{node.lineno} {node.name}"


# Words that must be in no file of the repository. Written in pieces, so as not to find themselves.
BANNED = {
    "a path of one machine": re.compile("/" + r"work/|/home/\w+/|/opt/(pypi|wheels)"),
    "the call that kills HAProxy 2.6": re.compile("set maxconn " + "frontend"),
    "the host of a package registry": re.compile(
        r"\b(pypi\.org|pythonhosted\.org|registry\.npmjs|npmjs\.(com|org)|deb\.debian\.org"
        r"|archive\.ubuntu\.com|nodesource)".replace(r"\.", "[.]")
    ),
}
MAY_SAY = {
    "the call that kills HAProxy 2.6": {"docs", "src/slackwater/outside/haproxy/haproxy.py"},
}


@cache
def tracked() -> list[Path]:
    said = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                          cwd=ROOT, capture_output=True, check=False, timeout=30)
    if said.returncode:
        pytest.skip("not a git repository")
    return [ROOT / f for f in said.stdout.decode().split("\0") if f and (ROOT / f).is_file()]


@pytest.mark.parametrize("what", BANNED)
def test_banned_words(what):
    allowed = MAY_SAY.get(what, set())
    found = []
    for path in tracked():
        relative = str(path.relative_to(ROOT))
        if path == Path(__file__) or any(relative.startswith(a) for a in allowed):
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture
        found += [f"{relative}:{number}: {line.strip()[:80]}"
                  for number, line in enumerate(text.splitlines(), 1) if BANNED[what].search(line)]
    assert not found, f"{what}:\n" + "\n".join(found)


def test_no_call_sets_maxconn_on_a_frontend():
    """The calls themselves, in strings of the code; a comment may warn of it."""
    for path in FILES:
        docstrings = {
            id(node.body[0].value) for node in ast.walk(tree(path))
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and node.body and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                banned = "maxconn frontend" in node.value and id(node) not in docstrings
                assert not banned, f"{name(path)}:{node.lineno}"


def test_scripts_can_be_run_and_parse():
    scripts = [f for f in tracked() if f.read_bytes().startswith(b"#!") and f.suffix in ("", ".sh")]
    assert scripts
    for path in scripts:
        assert path.stat().st_mode & 0o100, f"{path.name} cannot be run"
        if b"bash" in path.read_bytes().splitlines()[0]:
            done = subprocess.run(["bash", "-n", path], capture_output=True, text=True, check=False,
                                  timeout=30)
            assert done.returncode == 0, done.stderr


def test_every_target_of_the_makefile_has_a_line_of_help():
    text = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert phony
    helped = set(re.findall(r"^([a-z]+):.*## \S", text, re.MULTILINE))
    assert helped == set(phony[1].split())
    assert helped >= {"help", "setup", "demo", "test", "check", "bench", "sweep", "clean"}
