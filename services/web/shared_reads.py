"""Reads that requests share: who asks while one is under way is answered by the next, with others.

No cache: each is answered by a statement that began after it asked, so what a request is told is as
fresh as if it had asked alone, and the database is asked once for many.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterable, Mapping
from typing import Final, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
PATIENCE_SECONDS: Final = 0.05


class SharedRead(Generic[Key, Value]):
    """A read by keys. `read` returns what it found; whatever it raises goes to all who share it.

    One is under way at a time, unless it is slow: after `patience_seconds` the next begins anyway.
    """

    def __init__(
        self,
        read: Callable[[Collection[Key]], Awaitable[Mapping[Key, Value]]],
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._read = read
        self._patience_seconds = patience_seconds
        self._wanted: set[Key] = set()
        self._next: asyncio.Task[Mapping[Key, Value]] | None = None
        self._last: asyncio.Task[Mapping[Key, Value]] | None = None

    async def find(self, keys: Iterable[Key]) -> dict[Key, Value]:
        """Return what there is of these keys, by a read that begins from now on."""
        asked = list(keys)
        if not asked:
            return {}
        self._wanted.update(asked)
        if self._next is None:
            self._next = asyncio.create_task(self._run(self._last))
            self._next.add_done_callback(_seen)
        # Whoever gives up leaves the read to the others.
        found = await asyncio.shield(self._next)
        return {key: found[key] for key in asked if key in found}

    async def _run(self, before: asyncio.Task[Mapping[Key, Value]] | None) -> Mapping[Key, Value]:
        if before is not None and not before.done():
            await asyncio.wait({before}, timeout=self._patience_seconds)
        wanted, self._wanted = self._wanted, set()
        self._last, self._next = self._next, None
        return await self._read(wanted)


def _seen(task: "asyncio.Task[Mapping[Key, Value]]") -> None:
    """Look at a read's end: all who asked may be gone."""
    if not task.cancelled():
        task.exception()
