"""The fields of events: ids, codes and enumerations, and what every event's data shares."""

from functools import cache
from typing import Annotated, Literal
from zoneinfo import available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
)
from pydantic_core import PydanticCustomError

PageSize = Annotated[int, Field(ge=1, le=500, description="Rows a page.")]
Cursor = Annotated[str, Field(max_length=1_000, description="`next` of the page before.")]
NO_FIRM = "-"  # the key, and the firm, of what belongs to no firm: assistants


def check_printable(text: str) -> str:
    """Return `text` when every character can be shown, else raise `not_printable`."""
    if not text.isprintable():
        raise PydanticCustomError("not_printable", "only characters that can be shown")
    return text


Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,128}$")]
Code = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Ref = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,256}$")]
Source = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]{1,256}$")]
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
Printable = Annotated[
    str, StringConstraints(min_length=1, max_length=256), AfterValidator(check_printable)
]
EventId = Annotated[
    str, StringConstraints(min_length=1, max_length=128), AfterValidator(check_printable)
]
ClockTime = Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
Minutes = Annotated[int, Field(ge=0, le=100_000)]
Attempt = Annotated[int, Field(ge=1, le=10_000)]
Score = Annotated[int, Field(ge=1, le=5)]


@cache
def _zones() -> frozenset[str]:
    """Look once: the list is read from the file system."""
    return frozenset(available_timezones())


def check_zone(name: str) -> str:
    """Return `name` when it is an IANA zone, else raise `unknown_zone`: an offset is no zone."""
    if name not in _zones():
        raise PydanticCustomError("unknown_zone", "not an IANA time zone")
    return name


Zone = Annotated[str, AfterValidator(check_zone)]

TaskType = Literal[
    "document_prep",
    "calendar_deadlines",
    "filing_service",
    "matter_file",
    "client_comms",
    "intake",
    "scheduling",
    "inbox_admin",
]
HoldReason = Literal[
    "waiting_on_firm", "waiting_on_client", "waiting_on_third_party", "waiting_on_agency"
]
Outcome = Literal["accepted", "accepted_with_corrections", "changes_requested", "rejected"]
ReviewerRole = Literal["attorney", "office_manager", "qa"]
ReviewMode = Literal["attorney", "qa_sample", "auto_timeout"]
Severity = Literal["critical", "major", "minor"]
DefectCategory = Literal[
    "missed_deadline",
    "wrong_content",
    "formatting",
    "wrong_file",
    "communication",
    "confidentiality",
    "software_use",
    "other",
]
EscalationCategory = Literal[
    "ambiguity",
    "legal_advice_boundary",
    "signing_or_appearing",
    "client_commitment",
    "deadline_risk",
    "access",
    "other",
]
WorkKind = Literal["work", "rework", "training", "meeting", "idle"]
Role = Literal["legal_assistant", "virtual_legal_assistant", "intake_specialist", "paralegal"]
Phase = Literal["trial", "shadow", "active"]
Coverage = Literal["overlap", "overnight"]
Kind = Literal["task", "escalation", "entry", "firm", "assistant", "placement"]


class Data(BaseModel):
    """What every event's data shares: no unknown field, no float, nothing coerced."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class FirmData(Data):
    """Data of an event that belongs to a firm."""

    firm_id: Id


class PlacementData(FirmData):
    """Data of an event about the work of one placement."""

    placement_id: Id
