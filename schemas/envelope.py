"""The envelope: CloudEvents 1.0 in our profile, from bytes to a checked event, or a refusal."""

import re
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from hashlib import sha256
from typing import Annotated, Any, Literal, Union

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    create_model,
)
from pydantic_core import ErrorDetails, from_json

from schemas.canonical import canonical_hash, plain_canonical_json
from schemas.events import TYPES, entity_of
from schemas.facts import Fact, Position
from schemas.fields import Data, EventId, Printable, Source
from schemas.instants import Instant
from schemas.strict_json import INTEGER_MAX, Refusal, Unreadable, parse, pointer_of

__all__ = [
    "Envelope",
    "Refusal",
    "Unreadable",
    "content_hash",
    "read_event",
    "read_events_at_once",
    "read_fact",
]

EVENT_BYTES_MAX = 64 * 1024
BRACKETS_MAX = 1_000  # those inside texts are counted too; to read 20,000 takes a quick door's time
CONTENT = ("type", "time", "subject", "sequence", "data")
CODES = {
    "event_too_large": f"an event has at most {EVENT_BYTES_MAX} bytes",
    "too_many_values": f"an event has at most {BRACKETS_MAX} objects and lists",
    "not_an_object": "an event is a JSON object",
    "unknown_type": "not a type of event that we know",
    "missing_field": "this field is required",
    "extension_name": "an extension's name is lower-case letters and digits",
    "unknown_field": "no such field: the log is for ever, so nothing unforeseen goes on it",
}
_CODE_OF_ERROR = {
    "missing": "missing_field",
    "extra_forbidden": "unknown_field",
    "datetime_from_date_parsing": "time_format",
    "datetime_parsing": "time_format",
    "date_from_datetime_parsing": "date_format",
    "date_parsing": "date_format",
}
_OWN_CODES = {
    "absence_order",
    "date_format",
    "entry_shape",
    "entry_too_long",
    "not_printable",
    "retraction_target",
    "time_format",
    "time_offset",
    "unknown_country",
    "unknown_zone",
    "year_range",
}
_EXTENSION_NAME = re.compile(r"[a-z0-9]{1,64}")
_BLANKS = b" \t\r\n"


class Envelope(BaseModel):
    """An event in its envelope. Extensions that we do not know are kept in `model_extra`."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    __pydantic_extra__: dict[str, str | bool | int | None] = Field(init=False)

    specversion: Literal["1.0"]
    id: EventId
    source: Source
    type: str
    time: Instant
    subject: Printable | None = None
    datacontenttype: Literal["application/json"] | None = "application/json"
    sequence: Annotated[int, Field(ge=-INTEGER_MAX, le=INTEGER_MAX)] | None = None
    recordedtime: Instant | None = None
    partitionkey: Printable | None = None
    traceparent: Printable | None = None
    data: Data


@cache
def envelope_model(type_name: str) -> type[Envelope]:
    """Return the model of one type's events; KeyError for a type that we do not know."""
    data = TYPES[type_name].data
    return create_model(
        f"{data.__name__}Event",
        __base__=Envelope,
        type=(Literal[type_name], ...),  # type: ignore[arg-type]  # (made at run time)
        data=(data, ...),
    )


def read_event(raw: bytes) -> Envelope:
    """Read one event in structured mode. Raises Unreadable with the first thing that is wrong."""
    return _read_at_once(raw) or _read(raw)[0]


def content_hash(raw: bytes) -> bytes:
    """Return the sha256 of what an event says: two records of one identity may differ elsewhere.

    It is made from the sender's own JSON: type, time, subject, sequence and data, in canonical
    form, absent ones left out. Raises Unreadable when the bytes are no JSON object.
    """
    return _hash_content(_parse(raw))


def read_fact(raw: bytes, *, received_at: datetime, principal: str, position: Position) -> Fact:
    """Read one record of the log. Raises Unreadable for what the door would have refused."""
    event = _read_at_once(raw)
    if event is None or not raw.isascii():
        event, content = _read(raw)
        content_digest = _hash_content(content)
    else:
        content_digest = sha256(plain_canonical_json(_content(from_json(raw)))).digest()
    return Fact(
        entity=entity_of(event.type, event.data),
        source=event.source,
        id=event.id,
        type=event.type,
        time=event.time,
        sequence=event.sequence,
        received_at=received_at,
        principal=principal,
        content_hash=content_digest,
        data=event.data,
        position=position,
    )


def _refuse(code: str, pointer: str = "") -> Unreadable:
    return Unreadable(Refusal(code, pointer, CODES[code]))


def _parse(raw: bytes) -> dict[str, Any]:
    if len(raw) > EVENT_BYTES_MAX:
        raise _refuse("event_too_large")
    if raw.count(b"{") + raw.count(b"[") > BRACKETS_MAX:
        raise _refuse("too_many_values")
    content = parse(raw)
    if not isinstance(content, dict):
        raise _refuse("not_an_object")
    return content


def read_events_at_once(raws: Sequence[bytes]) -> list[Envelope] | None:
    """Read common events with their models alone, or say None: then each has to be read closely.

    The models' parser is quick, but takes what strict JSON refuses. What it lets pass is excluded
    here. Without a backslash no text can hold a quote, a NUL or half a character. A model has no
    float, and bounds its integers and its depth. Each event has two objects; so when there are no
    more braces than these, none stands in a text, and parts that begin and end with one are whole.
    A key's quote is followed by a colon, and as many such places as fields that came out mean that
    none came twice.
    """
    if max(map(len, raws), default=0) > EVENT_BYTES_MAX:
        return None
    parts = [raw.strip(_BLANKS) for raw in raws]
    text = b"[" + b",".join(parts) + b"]"
    braces = 2 * len(parts)
    if b"\\" in text or (text.count(b"{"), text.count(b"}")) != (braces, braces):
        return None
    try:
        events = _events().validate_json(text)
    except ValidationError:
        return None
    if len(events) != len(parts):
        return None
    keys = 0
    for event, part in zip(events, parts, strict=True):
        if event.__pydantic_extra__ or part[:1] + part[-1:] != b"{}":
            return None
        keys += len(event.__pydantic_fields_set__) + len(event.data.__pydantic_fields_set__)
    return events if keys == text.translate(None, _BLANKS).count(b'":') else None


@cache
def _events() -> TypeAdapter[list[Envelope]]:
    """Make the model of events of all types; the first use takes a moment."""
    known = tuple(envelope_model(name) for name in TYPES)
    return TypeAdapter(list[Annotated[Union[known], Field(discriminator="type")]])  # type: ignore[valid-type]  # noqa: UP007 (made at run time)


def _read_at_once(raw: bytes) -> Envelope | None:
    events = read_events_at_once([raw])
    return events[0] if events else None


def _read(raw: bytes) -> tuple[Envelope, dict[str, Any]]:
    content = _parse(raw)
    if "type" not in content:
        raise _refuse("missing_field", "/type")
    name = content["type"]
    if not isinstance(name, str) or name not in TYPES:
        raise _refuse("unknown_type", "/type")
    try:
        event = envelope_model(name).model_validate_json(raw)
    except ValidationError as error:
        raise _first_refusal(error) from None
    for extension in event.model_extra or ():
        if _EXTENSION_NAME.fullmatch(extension) is None:
            raise _refuse("extension_name", pointer_of((extension,)))
    return event, content


def _hash_content(content: dict[str, Any]) -> bytes:
    return canonical_hash(_content(content))


def _content(content: dict[str, Any]) -> dict[str, Any]:
    """Take the fields of the content; CloudEvents reads a null attribute as an absent one."""
    return {k: content[k] for k in CONTENT if content.get(k) is not None}


def _first_refusal(error: ValidationError) -> Unreadable:
    found = error.errors(include_url=False, include_context=False, include_input=False)[0]
    steps = found["loc"]
    if steps and steps[0] not in Envelope.model_fields:
        steps = steps[:1]  # an extension: what follows names the kinds of value it could have
    return Unreadable(Refusal(_code_of(found), pointer_of(steps), _words_of(found)))


def _code_of(found: ErrorDetails) -> str:
    kind = found["type"]
    if kind in _OWN_CODES:
        return kind
    return _CODE_OF_ERROR.get(kind, "invalid_field")


def _words_of(found: ErrorDetails) -> str:
    return CODES.get(_code_of(found), found["msg"])
