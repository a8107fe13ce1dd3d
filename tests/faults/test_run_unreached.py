"""A month is begun at what the log holds: while nobody says what that is, finance is told so."""

import asyncio
import signal
import time

import pytest

from services.billing.jobs import LOG_SECONDS
from services.postgres import connect
from tests.billing.conftest import billing

SLACK_SECONDS = 1.5
HEAL_SECONDS = 5.0
PERIOD = {"period": "2026-07"}
__all__ = ["billing"]


@pytest.fixture
def settings(settings, own_kafka):
    """Settings whose broker the test may break."""
    return settings.model_copy(update={"kafka_bootstrap_servers": own_kafka.bootstrap_servers})


async def test_a_month_waits_for_a_broker_that_stands_still_no_longer_than_seconds(
    billing, own_kafka
):
    broker = own_kafka.process()
    broker.suspend()
    try:
        assert await refused_within(billing, LOG_SECONDS + SLACK_SECONDS)
    finally:
        broker.resume()
    await begun_within(billing, HEAL_SECONDS + SLACK_SECONDS)


async def test_a_month_does_not_begin_without_a_broker(billing, own_kafka):
    own_kafka.stop(signal.SIGKILL)
    assert await refused_within(billing, LOG_SECONDS + SLACK_SECONDS)
    own_kafka.start()
    await begun_within(billing, HEAL_SECONDS + SLACK_SECONDS)


async def refused_within(billing, seconds):
    """Say whether a run was refused in time; nothing of it is left."""
    started = time.monotonic()
    told = await billing.call("POST", "/v1/runs", PERIOD, status=503)
    took = time.monotonic() - started
    conn = await connect(billing.settings, "billing", "office")
    runs = await conn.fetchval("select count(*) from run")
    await conn.close()
    assert (told["code"], runs) == ("log_unreached", 0)
    return took < seconds


async def begun_within(billing, seconds):
    """Begin a run as soon as one is taken again."""
    headers = {"Authorization": f"Bearer {billing.finance}", "Idempotency-Key": "again"}
    url, status = billing.server.make_url("/v1/runs"), 503
    async with asyncio.timeout(seconds):
        while status == 503:
            async with billing.session.post(url, json=PERIOD, headers=headers) as answer:
                status = answer.status
    assert status == 202
