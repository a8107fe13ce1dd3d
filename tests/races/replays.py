"""A run decided again as of its own cut, and what that gives when nothing differs."""

from typing import Any

from tests.billing.conftest import Billing


async def replayed(billing: Billing, run: Any) -> dict[str, tuple[str, list[str]]]:
    """Replay a run a firm at a time: by firm `same` or `differs`, and the parts that differ."""
    found, after = [], ""
    while after is not None:
        path = f"/v1/runs/{run['run_id']}/replay?limit=1" + (after and f"&after={after}")
        page = await billing.call("GET", path)
        found += page["firms"]
        after = page["next"]
    assert [f["firm_id"] for f in found] == [f["firm_id"] for f in run["firms"]]
    return {f["firm_id"]: (f["state"], f["differences"]) for f in found}


def same(*firms: str) -> dict[str, tuple[str, list[str]]]:
    """Write what a replay without a difference gives."""
    return {firm_id: ("same", []) for firm_id in firms}
