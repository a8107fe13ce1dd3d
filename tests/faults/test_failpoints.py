"""Failpoints: each has one name, costs the product nothing, and moves no line of it."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.failpoints import ROOT, Counts, arm, compiled, places

AREAS = {"approval", "directory", "fold", "ingest", "issue", "poll", "producer", "reader",
         "refold", "run", "settlement"}  # fmt: skip


def armed(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program in which services call their failpoints."""
    head = "from pathlib import Path; import sys; from tests.faults import failpoints as f\n"
    return subprocess.run(
        [sys.executable, "-c", head + program, *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_each_failpoint_has_a_name_of_its_own():
    names = Counter(name for name, _ in places())
    assert [name for name, count in names.items() if count > 1] == []
    assert {name.split(".")[0] for name in names} == AREAS


def test_every_line_that_speaks_of_failpoints_is_one():
    """A mark with a slip in it would never be armed, and nobody would miss it."""
    spoken = {
        f"{path.relative_to(ROOT)}:{number}"
        for path in (ROOT / "services").rglob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search("failpoint", line, re.IGNORECASE)
    }
    assert spoken == {place for _, place in places()}


def test_arming_keeps_every_line_where_it_was():
    for _, place in places():
        path = ROOT / place.partition(":")[0]
        source = path.read_text()
        lines, after = source.splitlines(), arm(source).splitlines()
        assert len(lines) == len(after)
        changed = [n for n, (old, new) in enumerate(zip(lines, after, strict=True)) if old != new]
        assert len(changed) == source.count("# failpoint ")


def test_only_armed_processes_know_of_failpoints():
    """The product's own code names no call, and an armed module does not leak into the cache."""
    names = {"__failpoint__"}
    for module in ("services.folding", "services.producer"):
        path = ROOT / f"{module.replace('.', '/')}.py"
        plain = compile(path.read_text(), str(path), "exec")
        assert names & used(plain) == set()
        assert names & used(compiled(module)) == names
    done = armed("f.install(); import services.folding; print(services.folding.__cached__)")
    assert done.returncode == 0, done.stderr
    asked = "import services.folding as f; print('__failpoint__' in f.apply.__code__.co_names)"
    plain_run = subprocess.run(
        [sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert plain_run.stdout.strip() == "False"


def used(code) -> set[str]:
    inner = (const for const in code.co_consts if hasattr(const, "co_names"))
    return set(code.co_names).union(*map(used, inner))


@pytest.mark.parametrize(("action", "code"), [("kill", -9), ("raise", 1)])
def test_a_process_does_what_was_planned_at_the_hit_that_was_named(tmp_path: Path, action, code):
    counts = tmp_path / "counts"
    done = armed(
        f"f.begin(Path(sys.argv[1]), [f.Deed('run.saved', 3, {action!r})])\n"
        "for _ in range(5): f.hit('run.saved'); f.hit('poll.begun')",
        str(counts),
    )
    assert done.returncode == code
    assert ("ConnectionResetError" in done.stderr) is (action == "raise")
    found = {name: count for name, count in Counts(counts).read().items() if count}
    assert found == {"run.saved": 3, "poll.begun": 2}
