"""Writes the JSON Schema of our events, and says when the committed one has drifted."""

import difflib
import json
import sys
from pathlib import Path
from typing import Any

from pydantic.json_schema import models_json_schema

from schemas.envelope import Envelope
from schemas.events import TYPES

FILES = Path(__file__).parent / "json"
REF = "#/$defs/{model}"


def event_schema() -> dict[str, Any]:
    """Describe every event: the envelope once, and one `oneOf` branch a type that binds its data.

    The schema says what a schema can; the rest (duplicate keys, depth, sizes, years) is the
    reader's, in `envelope.py`.
    """
    datas = {row.data for row in TYPES.values()}
    ordered = sorted(datas, key=lambda model: model.__name__)
    _, definitions = models_json_schema(
        [(model, "validation") for model in ordered], ref_template=REF
    )
    envelope = Envelope.model_json_schema(ref_template=REF)
    envelope["properties"]["type"] = {"enum": list(TYPES)}
    envelope["properties"]["data"] = {"type": "object"}
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:turnsheet:event:v1",
        "title": "turnsheet event",
        "description": "CloudEvents 1.0 in our profile. Made by `python -m schemas.generate`.",
        "type": "object",
        "required": envelope["required"],
        "properties": envelope["properties"],
        "propertyNames": {"pattern": "^[a-z0-9]{1,64}$"},
        "additionalProperties": {"type": ["string", "boolean", "integer", "null"]},
        "oneOf": [_branch(name, row.data.__name__) for name, row in TYPES.items()],
        "$defs": dict(sorted(definitions["$defs"].items())),
    }
    return {key: _without_noise(value) for key, value in schema.items()}


def _branch(name: str, model: str) -> dict[str, Any]:
    return {"properties": {"type": {"const": name}, "data": {"$ref": REF.format(model=model)}}}


def _without_noise(schema: Any) -> Any:
    """Leave out titles made from names, and defaults that say nothing."""
    if isinstance(schema, list):
        return [_without_noise(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _without_noise(value)
        for key, value in schema.items()
        if (key, value) != ("default", None) and not (key == "title" and isinstance(value, str))
    }


def files() -> dict[str, str]:
    """Return each generated file's text by its name."""
    return {"event.json": json.dumps(event_schema(), indent=2) + "\n"}


def drift(folder: Path) -> list[str]:
    """Return the lines by which the files of a folder differ from what would be written now."""
    lines: list[str] = []
    for name, text in files().items():
        path = folder / name
        there = path.read_text(encoding="utf-8") if path.exists() else ""
        lines += difflib.unified_diff(
            there.splitlines(),
            text.splitlines(),
            f"committed/{name}",
            f"generated/{name}",
            n=2,
            lineterm="",
        )
    lines += [
        f"{path.name} is not generated any more"
        for path in sorted(folder.glob("*.json"))
        if path.name not in files()
    ]
    return lines


def main(arguments: list[str], folder: Path = FILES) -> int:
    """Write the files, or with `--check` return 1 and print the difference when they drifted."""
    if arguments == ["--check"]:
        lines = drift(folder)
        if lines:
            sys.stdout.write("\n".join([*lines[:60], ""]))
            sys.stdout.write(
                "the committed schemas have drifted: run `make format` and commit them\n"
            )
        return 1 if lines else 0
    if arguments:
        sys.stderr.write("usage: python -m schemas.generate [--check]\n")
        return 2
    folder.mkdir(exist_ok=True)
    for name, text in files().items():
        (folder / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
