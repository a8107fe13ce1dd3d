"""What is wanted of a partition, and what of a delivery is that."""

from collections.abc import Sequence
from itertools import takewhile
from typing import NamedTuple
from uuid import UUID

from aiokafka import ConsumerRecord, TopicPartition

from services.log_applying import Batch


class Placed(NamedTuple):
    """A partition that is being read: the offset wanted next, and the topic's id.

    While `last_digest` stands there, the record before is read once more: all offsets may fit and
    the log have lost its end meanwhile, and be written on.
    """

    next: int
    topic_id: UUID
    last_digest: bytes | None = None

    @property
    def wanted(self) -> int:
        """The offset of what must be delivered first."""
        return self.next if self.last_digest is None else self.next - 1


class Cut(NamedTuple):
    """Of what was delivered: the part to apply, and the hole after it as (wanted, delivered).

    `before` is the record that was applied last, where it was to be read once more.
    """

    batch: Batch | None = None
    gap: tuple[int, int] | None = None
    before: ConsumerRecord | None = None


def cut_of(place: TopicPartition, placed: Placed, records: Sequence[ConsumerRecord]) -> Cut:
    """Cut what was delivered where it is not what was wanted."""
    counted = enumerate(records, placed.wanted)
    whole = [record for _, record in takewhile(lambda r: r[1].offset == r[0], counted)]
    after = placed.wanted + len(whole)
    gap = (after, records[len(whole)].offset) if len(whole) < len(records) else None
    before = whole.pop(0) if whole and placed.last_digest is not None else None
    if not whole:
        return Cut(None, gap, before)
    batch = Batch(place.topic, place.partition, placed.topic_id, placed.next, after, whole)
    return Cut(batch, gap, before)
