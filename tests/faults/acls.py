"""Who may do what on a broker with an authorizer: granted and revoked as its administrator."""

from typing import NamedTuple

from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest

from schemas.events import TOPICS
from services.kafka import READY_TOPIC, admin_client
from services.settings import Settings

TOPIC, GROUP = 2, 3
READ, WRITE, CREATE = 3, 4, 5
_LITERAL, _ALLOW = 3, 3


class Acl(NamedTuple):
    """A user may do one thing to one topic or group (full names)."""

    user: str
    operation: int
    kind: int
    name: str


def of_ingest(settings: Settings, user: str = "ingest") -> list[Acl]:
    """The least that ingest needs: it writes its topics, and reads its copy of the directory."""
    topics = [settings.topic(name) for name in (*TOPICS, READY_TOPIC)]
    return [
        *(Acl(user, WRITE, TOPIC, name) for name in topics),
        Acl(user, READ, TOPIC, settings.topic("directory")),
        Acl(user, READ, GROUP, settings.topic("ingest")),
    ]


def of_reader(settings: Settings, user: str, house: str) -> list[Acl]:
    """The least that a house needs: it reads the log, as its group."""
    return [
        *(Acl(user, READ, TOPIC, settings.topic(name)) for name in TOPICS),
        Acl(user, READ, GROUP, settings.topic(house)),
    ]


async def grant(admin: Settings, *acls: Acl) -> None:
    """Let users do things."""
    async with admin_client(admin) as client:
        for user, operation, kind, name in acls:
            request = CreateAclsRequest(
                kind, name, _LITERAL, f"User:{user}", "*", operation, _ALLOW
            )
            answer = await client._send_request(request)
            assert [code for code, _ in answer.creation_responses] == [0]


async def revoke(admin: Settings, *acls: Acl) -> None:
    """Let users no longer do things that they may do now."""
    async with admin_client(admin) as client:
        for user, operation, kind, name in acls:
            request = DeleteAclsRequest(
                kind, name, _LITERAL, f"User:{user}", "*", operation, _ALLOW
            )
            answer = await client._send_request(request)
            ((code, _, removed),) = answer.filter_responses
            assert (code, len(removed)) == (0, 1)
