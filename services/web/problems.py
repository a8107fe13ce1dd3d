"""Problems: what every refused request answers, in the form of RFC 9457."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

MEDIA_TYPE = "application/problem+json"


class Fault(NamedTuple):
    """One thing wrong with a request: a JSON pointer to it, a stable code, words without values.

    In a body the pointer begins at its root; elsewhere with /query, /path or /header.
    """

    pointer: str
    code: str
    detail: str


class Problem(Exception):
    """A refusal with its HTTP status; raised by any handler, answered as problem+json.

    `code` is stable and becomes the type `urn:turnsheet:problem:<code>`; `members` are further
    members of the document, `headers` go with the answer.
    """

    def __init__(
        self,
        status: int,
        code: str,
        title: str,
        *,
        detail: str | None = None,
        errors: Sequence[Fault | Mapping[str, Any]] = (),
        members: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.errors = tuple(errors)
        self.members = dict(members or {})
        self.headers = dict(headers or {})

    def document(self) -> dict[str, Any]:
        """Write the problem as the object that goes over the wire."""
        found: dict[str, Any] = {
            "type": f"urn:turnsheet:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "code": self.code,
        }
        if self.detail is not None:
            found["detail"] = self.detail
        if self.errors:
            found["errors"] = [
                error._asdict() if isinstance(error, Fault) else dict(error)
                for error in self.errors
            ]
        return found | self.members


class FaultDocument(BaseModel):
    """One thing wrong with a request."""

    model_config = ConfigDict(extra="allow")

    pointer: str = ""
    code: str
    detail: str = ""


class ProblemDocument(BaseModel):
    """A refused request (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="urn:turnsheet:problem:<code>")
    title: str
    status: int
    code: str
    detail: str | None = None
    errors: list[FaultDocument] = Field(default_factory=list)


def unauthorized() -> Problem:
    """Answer for a request without a token that holds: the same words whatever is wrong with it."""
    return Problem(
        401,
        "unauthorized",
        "This call needs a valid bearer token",
        headers={"WWW-Authenticate": 'Bearer realm="turnsheet"'},
    )


def not_found() -> Problem:
    """Answer for what is not there, and, byte for byte the same, for what is another firm's."""
    return Problem(404, "not_found", "There is nothing here under this address")


def unavailable(code: str, title: str, *, retry_after_seconds: int = 2) -> Problem:
    """Answer when a part that we need is away: the same call may come again."""
    return Problem(503, code, title, headers={"Retry-After": str(retry_after_seconds)})


def outcome_unknown() -> Problem:
    """Answer when a part of what was asked for may be done, and nobody knows."""
    return unavailable("outcome_unknown", "What became of this is not known: send the same again")
