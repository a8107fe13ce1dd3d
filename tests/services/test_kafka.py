"""Topics on a real broker: made as we say, refused when they are otherwise."""

import pytest
from aiokafka.admin import NewTopic

from services.kafka import TopicRefused, admin_client, ensure_topics, log_ends, ready, topic_ids


async def test_topics_are_made_once_verified_and_ready(settings):
    await ensure_topics(settings)
    await ensure_topics(settings)
    await ready(settings)
    ends = await log_ends(settings, [settings.topic("time-events"), settings.topic("ready")])
    assert ends == {(settings.topic("time-events"), 0): 0, (settings.topic("ready"), 0): 1}


async def test_a_topic_with_another_retention_is_refused_by_name(settings):
    async with admin_client(settings) as admin:
        await admin.create_topics(
            [NewTopic(settings.topic("time-events"), 1, 1, topic_configs={"retention.ms": "1000"})]
        )
    with pytest.raises(TopicRefused, match=r"time-events exists .*retention.ms is 1000, not -1"):
        await ensure_topics(settings)


async def test_a_topic_with_another_number_of_partitions_is_refused(settings):
    await ensure_topics(settings)
    with pytest.raises(TopicRefused, match="partitions is 1, not 2"):
        await ensure_topics(settings.model_copy(update={"topic_partitions": 2}))


async def test_a_topic_made_again_has_another_id(settings):
    await ensure_topics(settings)
    name = settings.topic("directory")
    before = await topic_ids(settings, [name, "no-such-topic"])
    async with admin_client(settings) as admin:
        await admin.delete_topics([name])
    await ensure_topics(settings)
    after = await topic_ids(settings, [name])
    assert set(before) == {name}
    assert before != after
