"""Strict JSON: what any two readers understand alike, or a refusal with its place."""

import json
import re
from collections.abc import Iterator
from itertools import takewhile
from typing import Any, NamedTuple, NoReturn

DEPTH_MAX = 16
INTEGER_MAX = 2**53

CODES = {
    "not_utf8": "the bytes are not UTF-8",
    "bad_json": "not a JSON text",
    "nul": "a NUL character",
    "too_deep": f"nested deeper than {DEPTH_MAX} levels",
    "duplicate_key": "a key that its object holds twice",
    "not_finite": "NaN and Infinity are not JSON",
    "float_not_allowed": "a number with a fraction or an exponent: all our numbers are integers",
    "number_range": "an integer beyond 2 to the 53rd, which not every reader holds exactly",
    "lone_surrogate": "half of a surrogate pair, which is no character",
}


class Refusal(NamedTuple):
    """Why something was not taken: a stable code, a JSON pointer, and words without its values."""

    code: str
    pointer: str
    detail: str


class Unreadable(ValueError):
    """Bytes that are no event of ours; `refusal` says why."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"{refusal.code} at {refusal.pointer or 'the whole'}")
        self.refusal = refusal


class _Oddity(NamedTuple):
    """Stands in a parsed text where a value was refused, until the walk tells its place."""

    code: str
    key: str | None = None


class _OddityMet(Exception):
    """The quick parse met something to refuse."""


def _odd(_: object) -> NoReturn:
    raise _OddityMet


def _is_exact(text: str) -> bool:
    return len(text) <= 17 and abs(int(text)) <= INTEGER_MAX


def _quick_integer(text: str) -> int:
    return int(text) if _is_exact(text) else _odd(text)


def _quick_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    return members if len(members) == len(pairs) else _odd(pairs)


def _slow_integer(text: str) -> int | _Oddity:
    return int(text) if _is_exact(text) else _Oddity("number_range")


def _slow_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for key, value in pairs:
        members[key] = _Oddity("duplicate_key", key) if key in members else value
    return members


_QUICK = json.JSONDecoder(
    object_pairs_hook=_quick_object, parse_int=_quick_integer, parse_float=_odd, parse_constant=_odd
)
_SLOW = json.JSONDecoder(
    object_pairs_hook=_slow_object,
    parse_int=_slow_integer,
    parse_float=lambda _: _Oddity("float_not_allowed"),
    parse_constant=lambda _: _Oddity("not_finite"),
)
# A string that nothing closes goes to the end: looked at from each of its quotes anew, a text made
# of them would take the square of its length, inside one call that nobody can interrupt.
_TOKENS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
_NAME = re.compile(r"[!-?A-~]{0,70}")  # a word of ASCII; with a blank or an @ it says more
_SURROGATE = re.compile("[\ud800-\udfff]")


def refuse(code: str, pointer: str = "") -> Unreadable:
    """Make the refusal of a code of this module's table."""
    return Unreadable(Refusal(code, pointer, CODES[code]))


def pointer_of(steps: tuple[str | int, ...]) -> str:
    """Write the steps into a document as a JSON pointer (RFC 6901).

    It ends before a key that is no name of a field: words in a key go into no answer.
    """
    plain = takewhile(lambda step: isinstance(step, int) or _NAME.fullmatch(step), steps)
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in plain)


def parse(raw: bytes) -> Any:
    """Read one JSON text; raise Unreadable with the first thing that another reader might doubt.

    What comes out holds only None, booleans, integers within ±2^53, strings, lists and dicts.
    """
    if b"\x00" in raw:
        raise refuse("nul")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise refuse("not_utf8") from None
    if raw.count(b"{") + raw.count(b"[") > DEPTH_MAX and _depth(text) > DEPTH_MAX:
        raise refuse("too_deep")
    try:
        value = _QUICK.decode(text)
    except json.JSONDecodeError:
        raise refuse("bad_json") from None
    except _OddityMet:
        return _refuse_first(_slow_decode(text))
    if b"\\u" in raw:
        return _refuse_first(value)
    return value


def _slow_decode(text: str) -> Any:
    try:
        return _SLOW.decode(text)
    except json.JSONDecodeError:  # what is odd in an unfinished text is no matter
        raise refuse("bad_json") from None


def _depth(text: str) -> int:
    """Count the nesting of a text without recursion, even of one that is no JSON."""
    depth = deepest = 0
    for token in _TOKENS.finditer(text):
        mark = token[0]
        if mark in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif mark in "]}":
            depth -= 1
    return deepest


def _refuse_first(value: Any) -> Any:
    """Return `value` when a walk finds nothing to refuse in it, else raise with the first place."""
    for code, steps in _oddities(value, ()):
        raise refuse(code, pointer_of(steps))
    return value


def _oddities(value: Any, steps: tuple[str | int, ...]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    if isinstance(value, _Oddity):
        yield value.code, steps
    elif isinstance(value, str):
        if code := _text_code(value):
            yield code, steps
    elif isinstance(value, dict):
        for key, member in value.items():
            if code := _text_code(key):
                yield code, steps  # the object's place: the key itself cannot be written
            else:
                yield from _oddities(member, (*steps, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _oddities(item, (*steps, index))


def _text_code(text: str) -> str | None:
    if "\x00" in text:
        return "nul"
    return "lone_surrogate" if _SURROGATE.search(text) else None
