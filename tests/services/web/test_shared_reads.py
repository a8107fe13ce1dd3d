"""Shared reads: one statement for many askers, and none is told what was read before it asked."""

import asyncio

import pytest

from services.web.shared_reads import SharedRead


class Table:
    """A table whose reads take as long as the test says."""

    def __init__(self):
        self.rows = {"a": 1, "b": 2}
        self.reads: list[set[str]] = []
        self.doors: list[asyncio.Event] = []
        self.fault: Exception | None = None

    async def read(self, keys):
        self.reads.append(set(keys))
        found = {key: self.rows[key] for key in keys if key in self.rows}
        door = asyncio.Event()
        self.doors.append(door)
        await door.wait()
        if self.fault is not None:
            raise self.fault
        return found

    async def opened(self, number):
        while len(self.doors) <= number:  # noqa: ASYNC110 (a turn of the loop is awaited)
            await asyncio.sleep(0)
        self.doors[number].set()


async def test_whoever_asks_while_a_read_is_under_way_shares_the_next():
    table = Table()
    shared = SharedRead(table.read, patience_seconds=30)
    first = asyncio.create_task(shared.find(["a"]))
    while not table.reads:  # noqa: ASYNC110 (a turn of the loop is awaited)
        await asyncio.sleep(0)
    others = [asyncio.create_task(shared.find(keys)) for keys in (["a"], ["b"], ["a", "c"])]
    await asyncio.sleep(0)
    table.rows["a"] = 9  # after the first read, before the second
    await table.opened(0)
    await table.opened(1)
    assert await first == {"a": 1}
    assert [await other for other in others] == [{"a": 9}, {"b": 2}, {"a": 9}]
    assert table.reads == [{"a"}, {"a", "b", "c"}]
    assert await shared.find([]) == {}


async def test_a_slow_read_does_not_hold_up_the_next():
    table = Table()
    shared = SharedRead(table.read, patience_seconds=0.01)
    slow = asyncio.create_task(shared.find(["a"]))
    while not table.reads:  # noqa: ASYNC110 (a turn of the loop is awaited)
        await asyncio.sleep(0)
    quick = asyncio.create_task(shared.find(["b"]))
    async with asyncio.timeout(5):
        await table.opened(1)
        assert await quick == {"b": 2}
    assert not slow.done()
    await table.opened(0)
    assert await slow == {"a": 1}


async def test_a_read_that_fails_fails_for_all_and_the_next_is_a_new_one():
    table = Table()
    shared = SharedRead(table.read)
    table.fault = OSError("away")
    both = [asyncio.create_task(shared.find([key])) for key in "ab"]
    await table.opened(0)
    for one in both:
        with pytest.raises(OSError, match="away"):
            await one
    table.fault = None
    again = asyncio.create_task(shared.find(["a"]))
    await table.opened(1)
    assert await again == {"a": 1}


async def test_whoever_gives_up_leaves_the_read_to_the_others():
    table = Table()
    shared = SharedRead(table.read)
    gone, stays = (asyncio.create_task(shared.find(["a"])) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    await table.opened(0)
    assert await stays == {"a": 1}
    assert table.reads == [{"a"}]
