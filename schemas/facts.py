"""A fact: one record of the log, read once, with its place in the log and who sent it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from schemas.events import EntityKey
from schemas.fields import Data


class Position(NamedTuple):
    """A record's place in the log."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Fact:
    """An event as the log holds it. `received_at` is ingest's stamp; `principal` is `role:id`."""

    entity: EntityKey
    source: str
    id: str
    type: str
    time: datetime
    sequence: int | None
    received_at: datetime
    principal: str
    content_hash: bytes
    data: Data
    position: Position


@dataclass(frozen=True, slots=True)
class Cut:
    """What a run, a scorecard or a replay may see: records before `ends`, events up to `instant`.

    `ends` gives the first offset that is out, by (topic, partition); a partition that it does not
    name lies out of the cut as a whole. `instant` None: no event is too late.
    """

    ends: Mapping[tuple[str, int], int] = field(default_factory=dict)
    instant: datetime | None = None

    def holds(self, position: Position) -> bool:
        """Say whether a record lies inside the cut."""
        return position.offset < self.ends.get((position.topic, position.partition), 0)
