"""A part that is away: whoever needs it is told to come again, and nothing is half begun."""

from aiohttp import ClientSession
from aiohttp.test_utils import TestServer

from services.billing.app import build_app
from services.postgres import connect
from tests.billing.conftest import token


async def test_a_month_run_asked_for_while_kafka_is_away_is_told_to_come_again(settings):
    nowhere = settings.model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:1"})
    server = TestServer(build_app(nowhere))
    await server.start_server()
    bearer = await token(settings, "finance", ("*",))
    headers = {"Authorization": f"Bearer {bearer}", "Idempotency-Key": "once"}
    async with ClientSession() as http:
        url = server.make_url("/v1/runs")
        async with http.post(url, json={"period": "2026-07"}, headers=headers) as answer:
            told = await answer.json()
            assert (answer.status, told["code"]) == (503, "log_unreached")
            assert int(answer.headers["Retry-After"]) > 0
    await server.close()
    conn = await connect(settings, "billing", "writer")
    assert await conn.fetchval("select count(*) from run") == 0
    await conn.close()
