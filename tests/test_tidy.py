"""The house rules that a program can hold: imports, what a pure room may touch, sizes, words."""

import ast
import importlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HOUSES = ("ingest", "metrics", "billing")
SHELL_ROOMS = {
    "__main__", "__init__", "app", "api", "consumer", "jobs", "store", "cli", "gather", "issuing"
}  # fmt: skip
DOORS = {
    "aiohttp",
    "aiokafka",
    "asyncio",
    "asyncpg",
    "os",
    "random",
    "secrets",
    "socket",
    "structlog",
    "subprocess",
    "time",
}
FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 500


def tracked(*patterns: str) -> list[Path]:
    """List the files that git knows, or would add."""
    found = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / name for name in found.stdout.splitlines() if (ROOT / name).exists()]


def product() -> list[Path]:
    return [
        p
        for p in tracked("*.py")
        if p.relative_to(ROOT).parts[0] in {"schemas", "services", "tracker"}
    ]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path) -> Iterator[str]:
    """List what a module imports, by whole paths: `from a import b` is both `a` and `a.b`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            here = path.relative_to(ROOT).parts[: -node.level] if node.level else ()
            module = ".".join([*here, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def pure_rooms() -> list[Path]:
    """Everything in schemas, and every room of a house that is not of the shell."""
    rooms = []
    for path in product():
        parts = path.relative_to(ROOT).parts
        if parts[0] == "schemas" or (
            len(parts) > 2
            and parts[1] in HOUSES
            and "migrations" not in parts
            and not {path.stem, path.parent.name} & SHELL_ROOMS
        ):
            rooms.append(path)
    return rooms


@pytest.mark.parametrize("path", pure_rooms(), ids=name_of)
def test_a_pure_room_has_no_door(path):
    opened = {name.split(".")[0] for name in imports(path)} & DOORS
    if path.name == "generate.py":
        opened -= {"os"}
    waits = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.AsyncFunctionDef | ast.Await)
    ]
    assert (opened, waits) == (set(), [])


@pytest.mark.parametrize("path", pure_rooms(), ids=name_of)
def test_a_pure_room_imports_no_other_kind_of_room(path):
    """Of the corridor it may know how tables look; of its house all but the shell."""
    home = path.relative_to(ROOT).parts[1]
    others = {
        module
        for module in imports(path)
        if (words := module.split("."))[0] == "services" and len(words) > 1
        if words[1] not in {home, "tables"} or (words[1] == home and {*words[2:3]} & SHELL_ROOMS)
    }
    assert others == set()


@pytest.mark.parametrize("path", pure_rooms(), ids=name_of)
def test_a_pure_room_never_asks_the_clock(path):
    assert re.findall(r"\b(datetime\.now|date\.today|utcnow|uuid4)\(", path.read_text()) == []


def test_no_house_imports_another_and_the_corridor_imports_none():
    crossings = []
    for path in product():
        parts = path.relative_to(ROOT).parts
        home = parts[1] if len(parts) > 2 and parts[0] == "services" else None
        for module in imports(path):
            words = module.split(".")
            if words[0] != "services" or len(words) < 2 or words[1] not in (*HOUSES, "demo", "cli"):
                continue
            if words[1] != home and name_of(path) != "services/cli.py":
                crossings.append(f"{name_of(path)} imports {module}")
    assert crossings == []


def test_schemas_takes_only_pydantic_from_outside():
    allowed = {"pydantic", "pydantic_core", "schemas"}
    import sys

    strangers = {
        f"{name_of(path)}: {module}"
        for path in product()
        if path.relative_to(ROOT).parts[0] == "schemas"
        for module in imports(path)
        if module.split(".")[0] not in allowed | sys.stdlib_module_names
    }
    assert strangers == set()


def test_every_module_opens_with_a_sentence():
    silent = [
        name_of(path)
        for path in product()
        if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


def test_functions_and_modules_stay_small():
    large = []
    for path in product():
        text = path.read_text()
        if text.count("\n") > MODULE_LINES_MAX:
            large.append(f"{name_of(path)}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    large.append(f"{name_of(path)}:{node.lineno} {node.name}: {lines} lines")
    assert large == []


def test_money_is_never_a_float():
    paths = [ROOT / "schemas/money.py", *(ROOT / "services/billing").rglob("*.py")]
    floats = [
        f"{name_of(path)}:{number}"
        for path in paths
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"(?<![\w.])(float|round)\(", line)
    ]
    assert floats == []


def test_sql_lives_in_sql_files_and_stores():
    """A statement elsewhere would escape the check that prepares every query."""
    pattern = re.compile(
        r"""["']{1,3}\s*(select|insert into|update|delete from)\s(?!1"|=)""", re.IGNORECASE
    )  # `select 1` asks whether somebody is there
    strays = [
        name_of(path)
        for path in product()
        if path.stem != "store" and "migrations" not in path.parts
        if pattern.search(path.read_text())
    ]
    assert strays == []


def test_every_statement_that_is_asked_for_is_there():
    """A name is looked up when it is used, which may be on a path that is seldom taken."""
    asked = 0
    for path in product():
        if path.name == "__main__.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
                continue
            if node.value.id in {"SQL", "_SQL"}:
                module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
                statements = getattr(importlib.import_module(module), node.value.id)
                assert node.attr in statements, f"{path}: {node.attr}"
                asked += 1
    assert asked > 100


def test_no_unfinished_marks_and_no_silenced_rule_without_a_reason():
    marks = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
    silenced = re.compile(r"# (type: ignore|no" r"qa)(\[[\w, -]+\]|: *[A-Z0-9, ]+)? *$")
    found = [
        f"{name_of(path)}:{number}"
        for path in tracked("*.py", "*.sql", "*.md", "Makefile", "*.toml")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if marks.search(line) or silenced.search(line)
    ]
    assert found == []


def test_locks_name_no_address():
    locks = tracked("requirements/*", "*.lock*", "*.toml", "Makefile", ".ci/*")
    assert [name_of(p) for p in locks if re.search(r"https?://|index-url", p.read_text())] == []
