"""What passes between who reads the log and who applies it."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple, Protocol
from uuid import UUID

from aiokafka import ConsumerRecord

NO_TOPIC: Final = UUID(int=0)


class Fenced(Exception):
    """Another owner has moved this partition on: what was read must not be applied."""


class Discontinuity(Exception):
    """The log is not the one we read before, or records are missing; the partition stops."""


class Batch(NamedTuple):
    """Contiguous records of one partition; `next` is the offset after the last."""

    topic: str
    partition: int
    topic_id: UUID
    first: int
    next: int
    records: Sequence[ConsumerRecord]

    @property
    def last_digest(self) -> bytes:
        """Tell the last record from any other that may come to lie in its place."""
        return digest_of(self.records[-1])


class LogState(NamedTuple):
    """What the broker says of a partition: its topic's id and where its log begins and ends."""

    topic_id: UUID
    begin: int
    end: int


class Progress(NamedTuple):
    """How far a partition was applied: the next offset, and the digest of the record before it."""

    next: int
    last_digest: bytes | None


class Applier(Protocol):
    """Where batches go; both raise one of `STORE_ERRORS` while the database is away."""

    async def place(self, topic: str, partition: int, state: LogState) -> Progress:
        """Return where to read on. Raises `Discontinuity`."""

    async def apply(self, batches: Sequence[Batch]) -> None:
        """Apply batches of one topic with their offsets, all or none. Raises `Fenced`."""

    async def offsets(self) -> Mapping[tuple[str, int], int]:
        """Return the offset to read on from, by topic and partition, of all that are known."""


def digest_of(record: ConsumerRecord) -> bytes:
    """Tell a record from any other by what its sender gave it."""
    digest = blake2b(digest_size=16)
    parts = [str(record.timestamp).encode(), record.key, record.value]
    for name, value in record.headers:
        parts += [name.encode(), value]
    for part in parts:
        digest.update(f"{-1 if part is None else len(part)}:".encode())
        digest.update(part or b"")
    return digest.digest()
