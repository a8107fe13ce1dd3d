"""Reading the log: partitions are placed from our table, and a discontinuity stops one of them."""

import asyncio
import time
from dataclasses import replace

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import RecordsToDelete

from services import log_holds, log_reader
from services.folding import load_offsets
from services.kafka import admin_client, ensure_topics, log_ends
from services.kafka_clients import access, stop_consumer
from services.log_health import Health
from services.log_reader import wait_or_stop
from tests.log import DIRECTORY, entry, put, record
from tests.tally import TALLY, consuming, save, until


async def consume_once(settings, tally_house):
    async with consuming(settings):
        await tally_house.settle()


async def alarm_of(health):
    await until(lambda: health.alarms)
    (reason,) = set(health.alarms.values())
    assert health.problem(health.read_at or 0) == reason
    return reason


async def test_a_topic_made_again_stops_its_partition_and_nothing_is_skipped(settings, tally_house):
    """The stored offset lies inside the new log: without the topic's id a record would be lost."""
    topic = settings.topic("time-events")
    await put(settings, [entry("a", 30)])
    await consume_once(settings, tally_house)
    async with admin_client(settings) as admin:
        await admin.delete_topics([topic])
    await ensure_topics(settings)
    await put(settings, [entry("b", 1), entry("c", 1), *DIRECTORY])
    health = Health()
    async with consuming(settings, health=health):
        assert await alarm_of(health) == "the topic was deleted and made again"
        await until_applied(tally_house, settings.topic("directory"), 2)
    assert await tally_house.rows() == {"a": (1, "PH")}


async def test_a_topic_made_again_under_a_running_consumer_is_found(
    settings, tally_house, monkeypatch
):
    monkeypatch.setattr(log_reader, "IDENTITY_SECONDS", 0.1)
    monkeypatch.setattr(log_reader, "WATCH_SECONDS", 0.1)
    monkeypatch.setattr(log_reader, "METADATA_MILLISECONDS", 500)
    await put(settings, [entry("a", 30)])
    health = Health()
    async with consuming(settings, health=health):
        await tally_house.settle()
        async with admin_client(settings) as admin:
            await admin.delete_topics([settings.topic("time-events")])
        await until(lambda: "the topic does not exist" in health.alarms.values())
        await ensure_topics(settings)
        await put(settings, [entry("b", 1), entry("c", 1)])
        await until(lambda: set(health.alarms.values()) == {"the topic was deleted and made again"})
    assert await tally_house.rows() == {"a": (1, None)}


async def test_a_log_that_lost_records_we_have_not_read_stops_its_partition(settings, tally_house):
    await put(settings, [entry("a", 30)])
    await consume_once(settings, tally_house)
    await put(settings, [entry("b", 1), entry("c", 1), entry("d", 1)])
    async with admin_client(settings) as admin:
        place = TopicPartition(settings.topic("time-events"), 0)
        await admin.delete_records({place: RecordsToDelete(before_offset=3)})
    health = Health()
    async with consuming(settings, health=health):
        assert await alarm_of(health) == "next is 1, the log holds 3 to 4"
    assert await tally_house.rows() == {"a": (1, None)}


async def test_a_hole_between_records_stops_the_partition_and_what_lies_before_is_applied(
    settings, tally_house
):
    """A transaction's marker takes an offset that no reader sees, as compaction would."""
    topic = settings.topic("time-events")
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers, transactional_id=topic
    )
    await producer.start()
    first = record(entry("a", 30))
    async with producer.transaction():
        await producer.send_and_wait(
            topic, first.value, key=first.key, headers=list(first.headers), partition=0
        )
    await producer.stop()
    # The marker is written after the commit was answered; the next record must come after it.
    async with asyncio.timeout(30):
        while await log_ends(settings, [topic]) != {(topic, 0): 2}:  # noqa: ASYNC110 (the broker)
            await asyncio.sleep(0.02)
    await put(settings, [entry("b", 1)])
    health = Health()
    async with consuming(settings, health=health):
        assert await alarm_of(health) == "offset 1 is wanted, 2 is delivered"
    assert await tally_house.rows() == {"a": (1, None)}


async def test_a_partition_goes_on_when_its_alarm_is_mended(settings, tally_house):
    await put(settings, [entry("a", 30)])
    await consume_once(settings, tally_house)
    await tally_house.conn.execute("update consumer_offset set next = next + 5 where next = 1")
    await put(settings, [entry("b", 1)])
    health = Health()
    async with consuming(settings, health=health):
        assert await alarm_of(health) == "next is 6, the log holds 0 to 2"
        await tally_house.conn.execute("update consumer_offset set next = 1 where next = 6")
        await tally_house.settle()
        await until(lambda: health.problem(asyncio.get_running_loop().time()) is None)
    assert await tally_house.rows() == {"a": (1, None), "b": (1, None)}


async def test_members_share_the_partitions_and_apply_each_record_once(settings, tally_house):
    wide = settings.model_copy(
        update={"topic_partitions": 4, "topic_prefix": "w" + settings.topic_prefix}
    )
    await ensure_topics(wide)
    tally_house.settings = wide
    ids = [f"{firm}-{n}" for firm in range(8) for n in range(25)]
    async with consuming(wide):
        async with consuming(wide):
            for part in (ids[:70], ids[70:140]):
                await put(wide, [entry(i, 1, firm_id=f"firm-{i[0]}") for i in part])
            await tally_house.settle()
        await put(wide, [entry(i, 1, firm_id=f"firm-{i[0]}") for i in ids[140:]])
        await tally_house.settle()
    assert await tally_house.rows() == dict.fromkeys(ids, (1, None))
    assert await tally_house.count("fact") == 200
    offsets = await load_offsets(tally_house.conn)
    assert len({partition for (topic, partition), end in offsets.items() if end}) > 1


async def test_a_partition_that_cannot_be_applied_does_not_hold_up_those_applied_with_it(
    settings, tally_house, monkeypatch
):
    for name in ("HOLD_SECONDS", "HOLD_SECONDS_MAX"):
        monkeypatch.setattr(log_holds, name, 60)
    wide = settings.model_copy(
        update={"topic_partitions": 4, "topic_prefix": "s" + settings.topic_prefix}
    )
    await ensure_topics(wide)
    tally_house.settings = wide
    firms = [f"firm-{n}" for n in range(8)]
    await put(wide, [entry(f"a-{firm}", 1, firm_id=firm) for firm in firms])
    await consume_once(wide, tally_house)
    before = await load_offsets(tally_house.conn)
    stuck = await tally_house.conn.fetchrow(
        'select topic, partition, "offset", min(firm_id) over (partition by partition) as firm_id '
        'from fact order by partition desc, "offset" desc limit 1'
    )
    place = stuck["topic"], stuck["partition"]
    await tally_house.conn.execute(  # somebody else's row, where the next record's is to stand
        "insert into fact select firm_id, topic, partition, $1, 'entry', 'x', null, source, "
        "event_id, type, event_time, received_at, stored_at, principal, content_hash, body "
        "from fact where firm_id = $2",
        before[place],
        stuck["firm_id"],
    )
    await put(wide, [entry(f"b-{firm}", 1, firm_id=firm) for firm in firms])
    ends = await log_ends(wide, [place[0]])
    async with consuming(wide), asyncio.timeout(20):
        while (now := await load_offsets(tally_house.conn)) != now | ends | {  # noqa: ASYNC110 (a table)
            place: before[place]
        }:
            await asyncio.sleep(0.02)
    await tally_house.conn.execute("delete from fact where entity_id = 'x'")
    await consume_once(wide, tally_house)
    assert await tally_house.rows() == {f"{n}-{f}": (1, None) for f in firms for n in "ab"}


async def test_kafka_is_told_how_far_we_are_for_its_tools_to_show(
    settings, tally_house, monkeypatch
):
    monkeypatch.setattr(log_reader, "DISPLAY_SECONDS", 0.05)
    await put(settings, [entry("a", 30), entry("b", 30)])
    place = TopicPartition(settings.topic("time-events"), 0)
    watcher = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        group_id=f"{settings.topic_prefix}{TALLY.house}",
        enable_auto_commit=False,
    )
    await watcher.start()
    try:
        async with consuming(settings), asyncio.timeout(20):
            while await watcher.committed(place) != 2:  # noqa: ASYNC110 (the broker's to know)
                await asyncio.sleep(0.05)
    finally:
        await watcher.stop()


@pytest.fixture
def readers(monkeypatch):
    """The readers of a test, one after the other."""
    found = []
    run = log_reader._Reader.run

    async def remembered(self):
        found.append(self)
        await run(self)

    monkeypatch.setattr(log_reader._Reader, "run", remembered)
    return found


async def test_a_silent_client_is_replaced_and_nothing_is_lost(
    settings, tally_house, monkeypatch, readers
):
    for name, seconds in {"STALLED_SECONDS": 0.5, "WATCH_SECONDS": 0.1}.items():
        monkeypatch.setattr(log_reader, name, seconds)
    async with consuming(settings):
        await until(lambda: readers and len(readers[0]._placed) == 3)
        fetcher = readers[0].consumer._fetcher
        fetcher._fetch_task.cancel()
        await asyncio.wait({fetcher._fetch_task, *fetcher._pending_tasks})
        await put(settings, [entry("a", 30)])
        await tally_house.settle()
    assert len(readers) == 2
    assert await tally_house.rows() == {"a": (1, None)}


async def test_a_client_that_has_given_its_group_up_is_replaced_and_nothing_is_lost(
    settings, tally_house, readers
):
    """A broker that has just started may name no broker at all: that ends the client's routine."""
    async with consuming(settings):
        await until(lambda: readers and len(readers[0]._placed) == 3)
        consumer = readers[0].consumer
        consumer._client.cluster._brokers = {}
        consumer._coordinator.coordinator_dead()
        await asyncio.wait({consumer._coordinator._coordination_task})
        await put(settings, [entry("a", 30)])
        await tally_house.settle()
    assert len(readers) == 2
    assert await tally_house.rows() == {"a": (1, None)}


async def test_a_client_whose_fetches_have_failed_is_stopped_whole(settings, monkeypatch):
    def fail(_assignment):
        raise LookupError

    topic = settings.topic("time-events")
    await ensure_topics(settings)
    consumer = AIOKafkaConsumer(topic, auto_offset_reset="earliest", **access(settings))
    await consumer.start()
    monkeypatch.setattr(consumer._fetcher, "_get_actions_per_node", fail)
    await asyncio.wait({consumer._fetcher._fetch_task})
    connections = list(consumer._client._conns.values())
    assert any(conn.connected() for conn in connections)
    await stop_consumer(consumer)
    assert not any(conn.connected() for conn in connections)


async def test_stopping_is_quick_also_without_a_broker_and_without_a_database(settings):
    away = settings.model_copy(
        update={
            "kafka_bootstrap_servers": "127.0.0.1:1",
            "database_url": "postgresql://nobody:secret@127.0.0.1:1/nothing",
        }
    )
    health = Health()
    async with asyncio.timeout(5), consuming(away, health=health):
        await asyncio.sleep(0.3)
        assert health.problem(asyncio.get_running_loop().time()) == "the log is not reached"


async def test_a_wait_ends_with_its_event_or_its_time():
    event = asyncio.Event()
    started = asyncio.get_running_loop().time()
    await wait_or_stop(0.05, event)
    assert asyncio.get_running_loop().time() - started >= 0.05
    event.set()
    await wait_or_stop(30, asyncio.Event(), event)


async def until_applied(tally_house, topic, end):
    async with asyncio.timeout(20):
        while (await load_offsets(tally_house.conn)).get((topic, 0), 0) < end:  # noqa: ASYNC110 (a table)
            await asyncio.sleep(0.02)


async def test_a_poll_that_takes_longer_than_a_transaction_may_is_read_again_in_smaller_parts(
    settings, tally_house
):
    """On a machine that is busy otherwise, work takes many times longer, and Postgres hangs up."""

    async def save_slowly(conn, saved):
        time.sleep(0.005 * len(saved))  # noqa: ASYNC251 (nothing else may run: that is the point)
        await save(conn, saved)

    ids = [f"e{n}" for n in range(600)]  # three seconds; a silent transaction lives for two
    await put(settings, [*DIRECTORY, *(entry(i, 1) for i in ids)])
    async with consuming(settings, replace(TALLY, save=save_slowly)):
        await tally_house.settle()
    assert set(await tally_house.rows()) == set(ids)


async def test_an_alarm_does_not_outlive_its_reader_when_another_process_takes_the_partition(
    settings, tally_house, monkeypatch
):
    """A client that went silent is told of no revocation: its alarms are nobody's any more."""
    await put(settings, [entry("a", 30)])
    health = Health()
    health.alarms[TopicPartition(settings.topic("time-events"), 7)] = "what an earlier client saw"
    async with consuming(settings, health=health):
        await tally_house.settle()
        await until(lambda: health.problem(asyncio.get_running_loop().time()) is None)
    assert health.alarms == {}
