"""Failpoints: a comment `# failpoint <name>` in services becomes a call, in our processes alone.

The product pays nothing for it: to every other Python the line is a comment. Here an import hook
compiles the modules that have such lines with a call in their place, line numbers as they were.
"""

import builtins
import mmap
import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Literal, NamedTuple

ROOT = Path(__file__).parent.parent.parent
MARK = re.compile(r"^( *)# failpoint ([a-z]+(?:[._][a-z]+)*)$", re.MULTILINE)
CALL = "__failpoint__"
COUNT_BYTES = 4

Action = Literal["kill", "stop", "raise"]


class Deed(NamedTuple):
    """What a process does to itself when it comes by a failpoint for the n-th time, from 1 on.

    `after` names another failpoint: what was before the first time there is not counted.
    """

    failpoint: str
    hit: int
    action: Action
    after: str = ""


@cache
def places() -> tuple[tuple[str, str], ...]:
    """List all failpoints of the product as (name, file:line)."""
    return tuple(
        (found[2], f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, found.start()) + 1}")
        for path in sorted((ROOT / "services").rglob("*.py"))
        for text in [path.read_text(encoding="utf-8")]
        for found in MARK.finditer(text)
    )


def arm(source: str) -> str:
    """Put a call in the place of each mark, on the same line."""
    return MARK.sub(rf'\1{CALL}("\2")', source)


class _Loader(SourceFileLoader):
    """Compiles from the source, whatever lies in the cache, and leaves nothing there."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return compile(arm(self.get_data(path).decode()), path, "exec", dont_inherit=True)


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith("services."):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


def install() -> None:
    """Have every module of services that is imported from now on call its failpoints."""
    already = [name for name in sys.modules if name.startswith("services.")]
    assert not already, f"imported too early to be armed: {already}"
    setattr(builtins, CALL, hit)
    sys.meta_path.insert(0, _Finder())


class Counts:
    """How often a process came by each failpoint: in a file, so that it outlives a kill."""

    def __init__(self, path: Path) -> None:
        self._names = sorted(name for name, _ in places())
        self._place = {name: number for number, name in enumerate(self._names)}
        with path.open("a+b") as file:
            file.truncate(COUNT_BYTES * len(self._names))
            self._map = mmap.mmap(file.fileno(), 0)
        self._numbers = memoryview(self._map).cast("I")

    def add(self, name: str) -> int:
        """Count one more, and say how many that makes."""
        place = self._place[name]
        self._numbers[place] += 1
        return self._numbers[place]

    def read(self) -> Mapping[str, int]:
        """Give the counts by name."""
        return dict(zip(self._names, self._numbers, strict=True))


class _Armed:
    """This process's counts, and what it has still to do."""

    def __init__(self, counts: Counts, deeds: Sequence[Deed]) -> None:
        self._counts = counts
        self._waiting = {deed: deed.hit for deed in deeds}

    def hit(self, name: str) -> None:
        self._counts.add(name)
        for deed, hits in list(self._waiting.items()):
            if deed.failpoint != name or (deed.after and not self._counts.read()[deed.after]):
                continue
            self._waiting[deed] = hits - 1
            if hits == 1:
                del self._waiting[deed]
                _act(deed)


_armed: list[_Armed] = []


def begin(counts: Path, deeds: Sequence[Deed]) -> None:
    """Count from now on in this process, and do what is planned."""
    _armed[:] = [_Armed(Counts(counts), deeds)]


def hit(name: str) -> None:
    """Come by a failpoint."""
    for armed in _armed:
        armed.hit(name)


def _act(deed: Deed) -> None:
    if deed.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif deed.action == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    else:
        raise ConnectionResetError(f"the connection broke at {deed.failpoint}")


def compiled(module: str) -> Any:
    """Return a module's code as an armed process has it."""
    spec = _Finder().find_spec(module, [str(ROOT / Path(*module.split(".")[:-1]))])
    assert spec is not None
    assert isinstance(spec.loader, _Loader)
    return spec.loader.get_code(module)
