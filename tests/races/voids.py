"""An entry taken back, as a tracker says it."""

import json

from tests.log import entry


def voided(entry_id: str, revision: int) -> bytes:
    """Write the void of an entry under a revision."""
    body = json.loads(entry(entry_id, 1, event_id=f"v-{entry_id}-{revision}"))
    body["type"] = "turnsheet.time.voided.v1"
    body["data"] = {k: body["data"][k] for k in ("firm_id", "placement_id", "entry_id")}
    body["data"] |= {"revision": revision, "reason": "mistake"}
    return json.dumps(body).encode()
