"""What comes in with a request, read within limits and checked against models."""

import asyncio
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, get_origin

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from pydantic import BaseModel, TypeAdapter, ValidationError

from schemas.strict_json import Unreadable, parse, pointer_of
from services.web.deadlines import Limits, sending
from services.web.problems import Fault, Problem
from services.web.room import Place

_FAULTS_MAX: Final = 100
_FAULTS_LISTED: Final = 10_000  # to make a list of more takes seconds and a gigabyte
_MUCH_WRONG: Final = "more is wrong than can be told: send a smaller part to see what"
INLINE_BYTES: Final = 65_536
ASIDE_BYTES: Final = 8 * INLINE_BYTES
_CLOSE: Final = {"Connection": "close"}
_CODES: Final = {"missing": "missing_field", "extra_forbidden": "unknown_field"}


def check_media(request: web.Request, accepted: Sequence[str]) -> None:
    """Raise Problem 415 unless the body is of an accepted type, in UTF-8, plain or gzip."""
    charset = request.charset
    if request.content_type not in accepted or (charset or "utf-8").lower() != "utf-8":
        raise Problem(
            415,
            "media_type",
            "A body of this type is not taken here",
            detail=f"Send {' or '.join(accepted)}",
            headers={"Accept-Post": ", ".join(accepted)},
        )
    if _encoding(request) not in {"identity", "gzip"}:
        raise Problem(
            415,
            "content_encoding",
            "A body comes as it is, or in one layer of gzip",
            headers={"Accept-Encoding": "gzip, identity"},
        )


async def read_body(request: web.Request, limits: Limits, place: Place) -> bytes:
    """Read a whole body within its deadline and size, one layer of gzip taken off.

    Raises Problem: 408 too slow, 413 too large before or after decompression, 400 broken, 503 when
    other bodies fill the room.
    """
    if (request.content_length or 0) > limits.body_bytes:
        raise _too_large()
    try:
        if place.coming:
            with sending(request):
                async with asyncio.timeout(limits.body_seconds):
                    raw = await _collect(request, limits, place)
            place.come()
        else:
            raw = await _collect(request, limits, place)
    except TimeoutError:
        raise Problem(
            408, "body_deadline", "The body did not come in time", headers=_CLOSE
        ) from None
    except (web.RequestPayloadError, HttpProcessingError):
        raise Problem(
            400, "body_broken", "The body ended or was framed wrongly", headers=_CLOSE
        ) from None
    if _encoding(request) != "gzip":
        return raw
    return await _gunzip(raw, limits.body_bytes, place)


async def _collect(request: web.Request, limits: Limits, place: Place) -> bytes:
    """Collect a body; what is in hand counts from its arrival, not from what was announced."""
    pieces: list[bytes] = []
    size = 0
    while piece := await request.content.readany():
        size += len(piece)
        if size > limits.body_bytes:
            raise _too_large()
        place.hold(len(piece))
        pieces.append(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _too_large() -> Problem:
    # What is left of the body is not read: the connection cannot serve another request.
    return Problem(413, "body_too_large", "The body is larger than we take", headers=_CLOSE)


def _encoding(request: web.Request) -> str:
    return ",".join(request.headers.getall("Content-Encoding", ["identity"])).strip().lower()


async def _gunzip(raw: bytes, limit: int, place: Place) -> bytes:
    """Take off one layer, a piece after the other: a bomb is found out before it is large.

    What does not come with the first piece is unpacked in a thread, beside the loop.
    """
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
    pieces: list[bytes] = []
    size, rest = 0, raw
    while not inflater.eof:
        try:
            if pieces:
                piece = await asyncio.to_thread(inflater.decompress, rest, ASIDE_BYTES)
            else:
                piece = inflater.decompress(rest, INLINE_BYTES)
        except zlib.error:
            raise Problem(400, "bad_gzip", "The body is no gzip") from None
        rest = inflater.unconsumed_tail
        if not piece and not inflater.eof:
            break  # it was cut short
        size += len(piece)
        if size > limit:
            raise _too_large()
        place.hold(len(piece))
        pieces.append(piece)
    if not inflater.eof or inflater.unused_data:
        raise Problem(400, "bad_gzip", "The body is not one whole gzip member")
    return b"".join(pieces)


def read_json(raw: bytes, model: Any) -> Any:
    """Read a JSON body into a model. Raises Problem 400 for no strict JSON, 422 for what is wrong.

    `model` is a pydantic model, or any type that pydantic validates.
    """
    try:
        parse(raw)
    except Unreadable as error:
        refusal = error.refusal
        raise Problem(
            400,
            "bad_json",
            "The body is not JSON as every reader understands it alike",
            errors=[Fault(refusal.pointer, refusal.code, refusal.detail)],
        ) from None
    try:
        return adapter(model).validate_json(raw)
    except ValidationError as error:
        raise _invalid("invalid_body", "The body is not what this call takes", error) from None


def read_query(request: web.Request, model: type[BaseModel]) -> BaseModel:
    """Read the query into its model. Raises Problem 422; unknown and repeated names are wrong."""
    values: dict[str, Any] = {}
    faults = []
    lists = _list_names(model)
    for name in request.query:
        found = request.query.getall(name)
        if name in values:
            continue
        values[name] = found if name in lists else found[0]
        if len(found) > 1 and name not in lists:
            faults.append(Fault(pointer_of(("query", name)), "repeated", "given more than once"))
    faults += _unprintable("query", {name: request.query.getall(name) for name in values})
    if faults:
        raise Problem(422, "invalid_query", "The query is not what this call takes", errors=faults)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _invalid(
            "invalid_query", "The query is not what this call takes", error, "query"
        ) from None


def read_path(request: web.Request, model: type[BaseModel]) -> BaseModel:
    """Read the address's variables into their model. Raises Problem 422."""
    try:
        return model.model_validate_strings(dict(request.match_info))
    except ValidationError as error:
        raise _invalid(
            "invalid_path", "The address is not one that this call has", error, "path"
        ) from None


@cache
def adapter(model: Any) -> TypeAdapter[Any]:
    """Give the validator of a model, made once."""
    return TypeAdapter(model)


@cache
def _list_names(model: type[BaseModel]) -> frozenset[str]:
    return frozenset(
        info.alias or name
        for name, info in model.model_fields.items()
        if get_origin(info.annotation) in (list, tuple, set, frozenset)
    )


def _unprintable(place: str, values: Mapping[str, Sequence[str]]) -> list[Fault]:
    """Find control characters and broken UTF-8, which no id, date or number of ours holds."""
    return [
        Fault(f"/{place}", "not_printable", "only characters that can be shown")
        for name, texts in values.items()
        # What is no UTF-8 comes as U+FFFD.
        if not all(text.isprintable() and "\ufffd" not in text for text in (name, *texts))
    ]


def _invalid(code: str, title: str, error: ValidationError, *place: str) -> Problem:
    if error.error_count() > _FAULTS_LISTED:
        return Problem(422, code, title, errors=[Fault("", "too_many_faults", _MUCH_WRONG)])
    faults = [
        Fault(
            pointer_of((*place, *found["loc"])),
            _CODES.get(found["type"], found["type"]),
            found["msg"],
        )
        for found in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    return Problem(422, code, title, errors=faults[:_FAULTS_MAX])
