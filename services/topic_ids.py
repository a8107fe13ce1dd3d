"""The ids of topics: a topic deleted and made again keeps its name and offsets, but not its id."""

from collections.abc import Mapping
from io import BytesIO
from typing import ClassVar, Final, NamedTuple
from uuid import UUID

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import TopicAuthorizationFailedError
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

_DENIED: Final = TopicAuthorizationFailedError.errno


class _Uuid(AbstractType[UUID]):
    """Sixteen bytes; the client library has no such type."""

    @classmethod
    def encode(cls, value: UUID) -> bytes:
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> UUID:
        return UUID(bytes=data.read(16))


class _MetadataResponse(Response):
    API_KEY = 3
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", CompactString("utf-8")),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _MetadataRequest12(RequestStruct):
    API_KEY = 3
    API_VERSION = 12
    FLEXIBLE_VERSION: ClassVar[bool] = True
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(
                ("topic_id", _Uuid), ("topic", CompactString("utf-8")), ("tags", TaggedFields)
            ),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _MetadataRequest(Request[_MetadataRequest12]):
    API_KEY = 3

    def __init__(self, topics: list[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[_MetadataRequest12]) -> _MetadataRequest12:
        nowhere = UUID(int=0)
        topics: list[tuple[UUID, str, dict[int, bytes]]] = [
            (nowhere, topic, {}) for topic in self._topics
        ]
        return request_struct_class(topics, False, False, {})


class TopicsSeen(NamedTuple):
    """What a broker lets us see of topics; one that does not exist is in neither."""

    ids: Mapping[str, UUID]
    denied: frozenset[str]
    partitions: Mapping[str, int]  # how many each has


async def see_topics(client: AIOKafkaClient, topics: list[str]) -> TopicsSeen:
    """Ask a broker for the ids of topics, and how many partitions each has."""
    response = await client.send(client.get_random_node(), _MetadataRequest(topics))
    # Of a topic: error, name, id, whether it is the broker's own, partitions, and what else.
    there = [(found[1], found[2], found[4]) for found in response.topics if found[0] == 0]
    return TopicsSeen(
        {topic: topic_id for topic, topic_id, _ in there},
        frozenset(found[1] for found in response.topics if found[0] == _DENIED),
        {topic: len(partitions) for topic, _, partitions in there},
    )
