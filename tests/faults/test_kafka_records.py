"""A record that the broker refuses costs its senders an answer, and nobody else anything."""

import time

import pytest
from aiokafka.admin import NewTopic

from services.kafka import RECORD_BYTES_MAX, admin_client, ensure_topics, log_ends
from services.producer import OutcomeUnknown, Producer, Record, RecordTooLarge

DEADLINE_SECONDS = 2.0
SLACK_SECONDS = 1.0


async def test_a_record_too_large_for_us_is_refused_before_it_is_sent(settings):
    await ensure_topics(settings)
    topic = settings.topic("time-events")
    async with Producer(settings) as producer:
        await producer.wait_connected()
        with pytest.raises(RecordTooLarge):
            await producer.produce(topic, [Record(b"k", b"x" * RECORD_BYTES_MAX, [])], 5)
        assert await producer.produce(topic, [Record(b"k", b"small", [])], 5) == [(topic, 0, 0, 1)]


async def test_a_record_that_only_the_broker_refuses_is_answered_in_time_and_others_go_on(settings):
    """An idempotent producer would be wedged by it for good: ours is none."""
    quick = settings.model_copy(update={"produce_deadline_seconds": DEADLINE_SECONDS})
    topic = settings.topic("narrow")
    async with admin_client(settings) as admin:
        await admin.create_topics(
            [NewTopic(topic, 1, 1, topic_configs={"max.message.bytes": "4000"})]
        )
    async with Producer(quick) as producer:
        await producer.wait_connected()
        for number in range(3):
            started = time.monotonic()
            with pytest.raises(OutcomeUnknown):
                await producer.produce(topic, [Record(b"k", b"x" * 5000, [])], DEADLINE_SECONDS)
            assert time.monotonic() - started < DEADLINE_SECONDS + SLACK_SECONDS
            small = [Record(b"k", b"small", [])]
            assert await producer.produce(topic, small, DEADLINE_SECONDS) == [(topic, 0, number, 1)]
    assert await log_ends(settings, [topic]) == {(topic, 0): 3}
