"""Billing's health: it is ready while it reads the log, and says why when it does not."""

from uuid import uuid4

import asyncpg
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer

from services.billing.app import build_app, build_ops
from tests.health import health


async def test_the_house_is_ready_until_its_log_is_not_the_one_it_knows(billing):
    await billing.settle()
    await billing.server.close()
    owner = await asyncpg.connect(billing.settings.database_url)
    for topic_id, expected in (
        (None, (200, {})),
        (uuid4(), (503, {"log": "the topic was deleted and made again"})),
    ):
        if topic_id is not None:
            await owner.execute("update billing.consumer_offset set topic_id = $1", topic_id)
        app = build_app(billing.settings)
        async with ClientSession() as http, TestServer(app), TestServer(build_ops(app)) as ops:
            assert await health(http, str(ops.make_url(""))) == expected
    await owner.close()
