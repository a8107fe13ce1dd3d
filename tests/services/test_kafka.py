"""Topics on a real broker: made as we say, refused when they are otherwise."""

import pytest
from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from services.kafka import (
    READY_TOPIC,
    TopicRefused,
    admin_client,
    ensure_topics,
    log_ends,
    ready,
    topic_ids,
    topic_settings,
)


async def test_topics_are_made_once_verified_and_ready(settings):
    await ensure_topics(settings)
    await ensure_topics(settings)
    await ready(settings)
    ends = await log_ends(settings, [settings.topic("time-events"), settings.topic("ready")])
    assert ends == {(settings.topic("time-events"), 0): 0, (settings.topic("ready"), 0): 1}


@pytest.mark.parametrize(
    ("index_bytes", "segment_bytes"),
    [
        (4_096, "1392640"),  # 340 entries of 4 KiB
        (65_536, "22364160"),
        (3_145_739, "1073737728"),
        (3_145_740, "1073741824"),  # as large as Kafka makes one
        (6_291_467, "1073741824"),
        (6_291_468, None),  # as large as any broker can make one
        (10_485_760, None),
    ],
)
def test_a_segment_is_as_small_as_its_indexes_have_room_for(settings, index_bytes, segment_bytes):
    kept = topic_settings(settings.model_copy(update={"topic_index_bytes": index_bytes}))
    assert kept.get("segment.bytes") == segment_bytes
    assert kept.get("index.interval.bytes") == (segment_bytes and "4096")


@pytest.mark.parametrize(
    ("name", "safer", "as_made", "worse"),
    [
        ("segment.bytes", "22364159", "22364160", "22364161"),
        ("index.interval.bytes", "4097", "4096", "4095"),
    ],
)
async def test_a_segment_may_be_smaller_and_have_fewer_entries_but_not_the_other_way(
    settings, name, safer, as_made, worse
):
    one, other = (
        settings.model_copy(update={"topic_prefix": prefix, "topic_index_bytes": 65_536})
        for prefix in (settings.topic_prefix, "other." + settings.topic_prefix)
    )
    kept = topic_settings(one)
    assert kept[name] == as_made
    async with admin_client(settings) as admin:
        await admin.create_topics(
            [
                NewTopic(place.topic("time-events"), 1, 1, topic_configs=kept | {name: value})
                for place, value in ((one, safer), (other, worse))
            ]
        )
    await ensure_topics(one)
    with pytest.raises(TopicRefused, match=f"{name} is {worse}, not {as_made}"):
        await ensure_topics(other)


async def test_a_topic_with_another_retention_is_refused_by_name(settings):
    async with admin_client(settings) as admin:
        await admin.create_topics(
            [NewTopic(settings.topic("time-events"), 1, 1, topic_configs={"retention.ms": "1000"})]
        )
    with pytest.raises(TopicRefused, match=r"time-events exists .*retention.ms is 1000, not -1"):
        await ensure_topics(settings)


async def test_what_a_probe_leaves_is_kept_for_an_hour_and_longer_where_it_always_was(settings):
    """Probes come for ever; an installation that kept them all goes on."""
    one, other = (
        settings,
        settings.model_copy(update={"topic_prefix": "old." + settings.topic_prefix}),
    )
    await ensure_topics(one)
    async with admin_client(settings) as admin:
        kept = topic_settings(settings)
        await admin.create_topics([NewTopic(other.topic(READY_TOPIC), 1, 1, topic_configs=kept)])
        names = [place.topic(READY_TOPIC) for place in (one, other)]
        await ensure_topics(other)
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        [answer] = await admin.describe_configs(resources)
    found = {row[3]: {entry[0]: entry[1] for entry in row[4]} for row in answer.resources}
    assert [found[name]["retention.ms"] for name in names] == ["3600000", "-1"]
    assert int(found[names[0]]["segment.ms"]) <= 3_600_000


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
