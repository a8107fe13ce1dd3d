"""A broker with users and rights: the least suffices, a denial is told, a grant heals."""

import asyncio
import json
import time

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError
from pydantic import SecretStr
from structlog.testing import capture_logs

from schemas.events import TOPICS
from services.folding import load_offsets
from services.ingest.api import PRODUCER
from services.kafka import (
    READY_TOPIC,
    KafkaUnreached,
    TopicRefused,
    ensure_topics,
    log_ends,
    topic_ids,
)
from services.kafka_clients import access, find_obstacle, stop_consumer
from services.log_health import Health
from services.machine.children import SERVICES, probe
from services.machine.doctor import examine, report
from services.machine.installation import running
from services.producer import OutcomeUnknown, Producer
from tests import tally
from tests.faults.acls import (
    CREATE,
    GROUP,
    READ,
    TOPIC,
    WRITE,
    Acl,
    grant,
    of_ingest,
    of_reader,
    revoke,
)
from tests.faults.cluster import PASSWORDS, new_guarded, run
from tests.ingest.conftest import running as running_door
from tests.log import DIRECTORY, entry, put, record

DEADLINE_SECONDS = 2.0
SLACK_SECONDS = 1.0
CHECK_USER = "check TURNSHEET_KAFKA_SASL_USERNAME and TURNSHEET_KAFKA_SASL_PASSWORD"


@pytest.fixture(scope="module")
def guarded(server_folder):
    """A broker with users and rights, for the tests of this module."""
    broker = new_guarded(server_folder)
    with run(broker.kafka, server_folder):
        yield broker


@pytest.fixture
async def users(settings, guarded):
    """Settings by user, the topics made and the least granted."""
    quick = settings.model_copy(update={"produce_deadline_seconds": DEADLINE_SECONDS})
    found = {user: guarded.settings(quick, user) for user in PASSWORDS}
    await ensure_topics(found["admin"])
    await grant(found["admin"], *of_ingest(settings), *of_reader(settings, "metrics", "metrics"))
    return found


async def test_each_does_its_part_with_the_least_that_it_may(users):
    async with tally.tally_house(users["metrics"]) as house, tally.consuming(users["metrics"]):
        await put(users["ingest"], DIRECTORY, "admin:a")
        await put(users["ingest"], [entry("a", 30)])
        await house.settle()
        assert await house.rows() == {"a": (1, "PH")}
    names = [users["metrics"].topic(name) for name in TOPICS]
    assert set(await topic_ids(users["metrics"], names)) == set(names)


async def test_a_house_may_not_write_and_ingest_may_not_read_what_others_read(users):
    topic = users["admin"].topic("time-events")
    started = time.monotonic()
    async with Producer(users["metrics"]) as producer:
        await producer.wait_connected()
        with pytest.raises(OutcomeUnknown):
            await producer.produce(topic, [record(entry("a", 1))], DEADLINE_SECONDS)
    assert time.monotonic() - started < DEADLINE_SECONDS + SLACK_SECONDS
    assert await log_ends(users["admin"], [topic]) == {(topic, 0): 0}
    with pytest.raises(TopicAuthorizationFailedError):
        await read(users["ingest"], topic, None)
    with pytest.raises(GroupAuthorizationFailedError):
        await read(users["metrics"], topic, users["admin"].topic("billing"))


async def read(settings, topic, group):
    """Read a topic from its beginning, as a member of a group or as nobody's."""
    consumer = AIOKafkaConsumer(
        group_id=group, enable_auto_commit=False, auto_offset_reset="earliest", **access(settings)
    )
    try:
        await consumer.start()
        if group is None:
            consumer.assign([TopicPartition(topic, 0)])
        else:
            consumer.subscribe([topic])
        async with asyncio.timeout(10):
            return await consumer.getmany(timeout_ms=2_000)
    finally:
        await stop_consumer(consumer)


async def test_a_right_to_write_that_is_taken_away_is_answered_for_and_heals(users):
    topic = users["admin"].topic("time-events")
    right = Acl("ingest", WRITE, TOPIC, topic)
    async with Producer(users["ingest"]) as producer:
        await producer.wait_connected()
        await producer.produce(topic, [record(entry("a", 1))], DEADLINE_SECONDS)
        await revoke(users["admin"], right)
        for number in range(3):
            started = time.monotonic()
            with pytest.raises(OutcomeUnknown):
                await producer.produce(topic, [record(entry(f"no-{number}", 1))], DEADLINE_SECONDS)
            assert time.monotonic() - started < DEADLINE_SECONDS + SLACK_SECONDS
        await grant(users["admin"], right)
        (span,) = await producer.produce(topic, [record(entry("b", 1))], DEADLINE_SECONDS)
    assert span == (topic, 0, 1, 1)


async def test_the_door_answers_503_in_time_while_it_may_not_write_and_goes_on_after(users):
    admin = users["admin"]
    right = Acl("ingest", WRITE, TOPIC, admin.topic("time-events"))
    async with running_door(users["ingest"]) as door:
        token = await door.token(firms=("firm-1",), placements=("pl-1",), sources=("tracker/as-1",))
        await door.app[PRODUCER].wait_connected()
        assert (await door.post(token, entry("a", 1))).status == 202
        await revoke(admin, right)
        started = time.monotonic()
        refused = await door.post(token, entry("b", 1))
        assert time.monotonic() - started < DEADLINE_SECONDS + SLACK_SECONDS
        assert (refused.status, refused.body["code"]) == (503, "outcome_unknown")
        await grant(admin, right)
        assert (await door.post(token, entry("b", 1))).status == 202
    assert await log_ends(admin, [right.name]) == {(right.name, 0): 2}


async def test_a_right_to_read_that_is_taken_away_is_an_alarm_and_heals(users, monkeypatch):
    admin, reader = users["admin"], users["metrics"]
    right = Acl("metrics", READ, TOPIC, admin.topic("time-events"))
    await put(users["ingest"], DIRECTORY, "admin:a")
    health = Health()
    async with tally.tally_house(reader) as house:
        house.settings = admin
        async with tally.consuming(reader, health=health):
            await put(users["ingest"], [entry("a", 1)])
            await house.settle()
            await revoke(admin, right)
            # The broker may let a fetch through for a moment after it has said yes.
            await tally.until(lambda: health.alarms)
            await put(users["ingest"], [entry("b", 1)])
            assert "the topic may not be read" in str(health.problem(0))
            await put(users["ingest"], DIRECTORY, "admin:a")  # the others are read all the same
            async with asyncio.timeout(20):
                while (await load_offsets(house.conn))[admin.topic("directory"), 0] < 4:  # noqa: ASYNC110 (a table)
                    await asyncio.sleep(0.02)
            assert await house.rows() == {"a": (1, "PH")}
            await grant(admin, right)
            await house.settle()
            await tally.until(lambda: health.problem(asyncio.get_running_loop().time()) is None)
        assert await house.rows() == {"a": (1, "PH"), "b": (1, "PH")}


async def test_a_group_that_is_not_ours_is_an_alarm_and_heals(users):
    admin, reader = users["admin"], users["metrics"]
    right = Acl("metrics", READ, GROUP, admin.topic("metrics"))
    await put(users["ingest"], [*DIRECTORY, entry("a", 1)], "admin:a")
    await revoke(admin, right)
    health = Health()
    async with tally.tally_house(reader) as house:
        house.settings = admin
        async with tally.consuming(reader, health=health):
            await tally.until(lambda: health.alarms)
            assert "the group may not be joined" in str(health.problem(0))
            await grant(admin, right)
            await house.settle()
            await tally.until(lambda: health.problem(asyncio.get_running_loop().time()) is None)
        assert await house.rows() == {"a": (1, "PH")}


async def test_topics_that_may_not_be_made_or_looked_at_are_refused_in_a_sentence(settings, users):
    other = {"topic_prefix": f"o{settings.topic_prefix}"}
    with pytest.raises(TopicRefused, match="could not be made: TopicAuthorizationFailedError"):
        await ensure_topics(users["ingest"].model_copy(update=other))
    await ensure_topics(users["admin"].model_copy(update=other))
    with pytest.raises(TopicRefused, match="time-events may not be described by this user"):
        await log_ends(
            users["ingest"].model_copy(update=other), [f"o{settings.topic('time-events')}"]
        )
    names = [settings.topic(name) for name in (*TOPICS, READY_TOPIC)]
    await grant(users["admin"], *(Acl("ingest", CREATE, TOPIC, name) for name in names))
    with pytest.raises(TopicRefused, match="may not be looked at: TopicAuthorizationFailedError"):
        await ensure_topics(users["ingest"])


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (
            {"kafka_sasl_password": SecretStr("s3cret")},
            f"refuses the user ingest: {CHECK_USER}",
        ),
        (
            {"kafka_sasl_mechanism": "PLAIN"},
            "does not take PLAIN: check TURNSHEET_KAFKA_SASL_MECHANISM",
        ),
        (
            {"kafka_security_protocol": "PLAINTEXT"},
            "does not speak PLAINTEXT: check TURNSHEET_KAFKA_SECURITY_PROTOCOL",
        ),
        (
            {"kafka_security_protocol": "SASL_SSL"},
            "does not speak SASL_SSL: check TURNSHEET_KAFKA_SECURITY_PROTOCOL",
        ),
        (
            {"kafka_bootstrap_servers": "127.0.0.1:1"},
            "does not answer: run `turnsheet up`, or check KAFKA_BOOTSTRAP_SERVERS",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_what_stands_between_us_and_kafka_is_one_sentence(users, wrong, sentence):
    mistaken = users["ingest"].model_copy(update=wrong)
    with pytest.raises(KafkaUnreached) as refused:
        await ensure_topics(mistaken)
    assert str(refused.value) == f"Kafka at {mistaken.kafka_bootstrap_servers} {sentence}"


async def test_a_mistaken_password_is_told_by_whoever_meets_it(users):
    mistaken = users["ingest"].model_copy(update={"kafka_sasl_password": SecretStr("s3cret")})
    with capture_logs() as told:
        async with Producer(mistaken), tally.consuming(mistaken):
            await tally.until(
                lambda: {"producer_unconnected", "reader_failed"} <= {row["event"] for row in told}
            )
    sentence = f"Kafka at {mistaken.kafka_bootstrap_servers} refuses the user ingest: {CHECK_USER}"
    assert {row["why"] for row in told if "why" in row} == {sentence}
    assert "s3cret" not in str(told)


async def test_a_certificate_that_nobody_vouches_for_is_told(guarded, users, settings):
    trusting = guarded.encrypted(settings, "ingest").model_copy(update={"kafka_ca_file": ""})
    with pytest.raises(
        KafkaUnreached, match="certificate that is not trusted: check TURNSHEET_KAF"
    ):
        await ensure_topics(trusting)


@pytest.mark.parametrize("user", ["admin", "nobody"])
def test_asking_what_stands_in_the_way_leaves_no_connection_behind(settings, guarded, user):
    given = guarded.encrypted(settings, "admin").model_copy(update={"kafka_sasl_username": user})
    refused = asyncio.run(find_obstacle(given)).mend == CHECK_USER
    assert refused == (user == "nobody")
    port = int(guarded.encrypted_servers.rpartition(":")[2])
    left = [conn for conn in psutil.Process().net_connections("tcp") if conn.raddr]
    assert [conn for conn in left if conn.raddr.port == port] == []


def test_an_installation_runs_encrypted_and_as_a_user(settings, guarded):
    given = guarded.encrypted(settings, "admin")
    with running(given, lambda _: None, pytest.fail) as installation:
        found = {name: probe(f"{installation.settings.ops_url(name)}/readyz") for name in SERVICES}
        assert found == dict.fromkeys(SERVICES, "ready")
        remembered = {
            "TURNSHEET_HOME": str(settings.home),
            "TURNSHEET_TOPIC_PREFIX": settings.topic_prefix,
        }
        shown, findings = examine(remembered)
        assert [finding for finding in findings if finding.mend] == []
        mistaken = {**remembered, "TURNSHEET_KAFKA_SASL_PASSWORD": "mistaken"}
        _, findings = examine(mistaken)
        assert [finding for finding in findings if finding.mend] == [
            (
                "kafka",
                f"Kafka at {guarded.encrypted_servers} refuses the user admin",
                CHECK_USER,
            )
        ]
        told = json.dumps(report(shown, findings))
        assert "mistaken" not in told
        assert PASSWORDS["admin"] not in told
