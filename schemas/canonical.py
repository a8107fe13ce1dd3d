"""Canonical JSON (RFC 8785) of values without floats: equal values give equal bytes."""

import json
from hashlib import sha256
from typing import Any

_PLAIN = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), allow_nan=False, sort_keys=True
)


def canonical_json(value: Any) -> bytes:
    """Write a value of None, booleans, integers, strings, lists and dicts in its one form.

    Raises TypeError for anything else: floats have no place in our events and documents.
    """
    return json.dumps(
        _ordered(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False
    ).encode()


def plain_canonical_json(value: Any) -> bytes:
    """Write a value whose keys are ASCII texts: then code points sort as the RFC wants it.

    Quicker, and for whoever knows that no float is in it: nothing is looked at here.
    """
    return _PLAIN.encode(value).encode()


def canonical_hash(value: Any) -> bytes:
    """Return the sha256 of a value's canonical JSON."""
    return sha256(canonical_json(value)).digest()


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        # Without these, and they are rare, code points sort as code units do.
        keys = sorted(value) if "".join(value).isascii() else sorted(value, key=_utf16)
        return {key: _ordered(value[key]) for key in keys}
    if isinstance(value, list | tuple):
        return [_ordered(item) for item in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    raise TypeError(f"{type(value).__name__} has no canonical form here")


def _utf16(key: str) -> bytes:
    """The RFC sorts keys by UTF-16 code units, which differs from the order of code points."""
    return key.encode("utf-16-be")
