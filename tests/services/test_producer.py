"""Group commit on a real broker: confirmed records are in the log, in order, where it says."""

import asyncio

import pytest
from structlog.testing import capture_logs

from services.kafka import RECORD_BYTES_MAX, ensure_topics
from services.producer import OutcomeUnknown, Overloaded, Producer, Record, RecordTooLarge, Span
from tests.log import records


async def produce_when_connected(producer, topic, records):
    await producer.wait_connected()
    return await producer.produce(topic, records, 5)


async def test_records_lie_where_the_answer_says_with_key_value_and_headers(settings):
    await ensure_topics(settings)
    topic = settings.topic("time-events")
    sent = [Record(b"firm-1", f"value {n}".encode(), [("n", str(n).encode())]) for n in range(50)]
    async with Producer(settings) as producer:
        spans = await produce_when_connected(producer, topic, sent)
    found = await records(settings, ["time-events"])
    assert spans == [Span(topic, 0, 0, 50)]
    assert [(r.key, r.value, [tuple(h) for h in r.headers]) for r in found] == [
        (r.key, r.value, list(r.headers)) for r in sent
    ]


async def test_many_senders_share_batches_and_each_keeps_its_order(settings):
    await ensure_topics(settings)
    topic = settings.topic("time-events")
    async with Producer(settings) as producer:
        await produce_when_connected(producer, topic, [])
        groups = await asyncio.gather(
            *(
                producer.produce(topic, [Record(b"k", b"x" * 500, []) for _ in range(100)], 10)
                for _ in range(30)
            )
        )
    offsets = [[span.offset + n for span in spans for n in range(span.size)] for spans in groups]
    assert sorted(offset for group in offsets for offset in group) == list(range(3000))
    assert all(group == sorted(group) for group in offsets)


@pytest.mark.parametrize(("spare", "fits"), [(1, True), (0, True), (-1, False)])
async def test_a_record_has_a_limit(settings, spare, fits):
    await ensure_topics(settings)
    topic = settings.topic("time-events")
    value = b"x" * (RECORD_BYTES_MAX - 1024 - 64 - 1 - spare)
    async with Producer(settings) as producer:
        if fits:
            assert await produce_when_connected(producer, topic, [Record(b"k", value, [])])
        else:
            with pytest.raises(RecordTooLarge):
                await produce_when_connected(producer, topic, [Record(b"k", value, [])])


async def test_a_full_queue_refuses_before_anything_is_sent(settings):
    await ensure_topics(settings)
    topic = settings.topic("time-events")
    async with Producer(settings) as producer:
        await produce_when_connected(producer, topic, [])
        with pytest.raises(Overloaded):
            await producer.produce(topic, [Record(b"k", b"x" * 1_000_000, [])] * 34, 10)
        assert await producer.produce(topic, [Record(b"k", b"y", [])], 10) == [Span(topic, 0, 0, 1)]


async def test_one_call_puts_records_on_several_topics_or_on_none(settings):
    await ensure_topics(settings)
    one, other = settings.topic("time-events"), settings.topic("task-events")
    small, large = Record(b"k", b"y", []), Record(b"k", b"x" * 1_000_000, [])
    async with Producer(settings) as producer:
        await producer.wait_connected()
        with pytest.raises(Overloaded):
            await producer.produce_all({one: [small], other: [large] * 34}, 10)
        with pytest.raises(RecordTooLarge):
            await producer.produce_all({one: [small], other: [Record(b"k", b"x" * 2**21, [])]}, 10)
        spans = await producer.produce_all({one: [small, small], other: [small]}, 10)
    assert sorted(spans) == [Span(other, 0, 0, 1), Span(one, 0, 0, 2)]


async def test_without_a_broker_the_outcome_is_unknown_and_stopping_is_quick(settings):
    away = settings.model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:1"})
    async with asyncio.timeout(10), Producer(away) as producer:
        with pytest.raises(OutcomeUnknown):
            await producer.produce("time-events", [Record(b"k", b"v", [])], 0.2)


async def test_a_client_that_is_dead_is_replaced_once_however_late_its_batches_fail(settings):
    await ensure_topics(settings)
    one, other = settings.topic("time-events"), settings.topic("task-events")
    some = [Record(b"k", b"y", [])]
    quick = settings.model_copy(update={"produce_deadline_seconds": 1.0})
    with capture_logs() as logs:
        async with Producer(quick) as producer:
            for topic in (one, other):
                await produce_when_connected(producer, topic, some)
            client = producer._kafka
            assert client is not None
            client._sender.sender_task.cancel()
            with pytest.raises(OutcomeUnknown):
                await producer.produce(one, some, 0.5)  # this batch fails half a second later
            with pytest.raises(OutcomeUnknown):
                await producer.produce(other, some, 5)  # and this one when there is a fresh client
            spans = await produce_when_connected(producer, one, some)
    assert spans == [Span(one, 0, 1, 1)]
    assert [line["event"] for line in logs].count("producer_replaced") == 1
