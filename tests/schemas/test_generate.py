"""The committed JSON Schema says what the models say."""

import json
from typing import Any

import jsonschema_rs

from schemas.events import TYPES
from schemas.generate import FILES, drift, event_schema, main


def test_the_committed_schema_is_the_one_the_models_give():
    assert drift(FILES) == []


def test_every_type_has_one_branch_that_names_its_data():
    branches = event_schema()["oneOf"]
    named = {b["properties"]["type"]["const"]: b["properties"]["data"]["$ref"] for b in branches}
    assert named == {name: f"#/$defs/{row.data.__name__}" for name, row in TYPES.items()}


def test_an_event_fits_the_schema_and_one_with_a_strange_member_does_not():
    validator = jsonschema_rs.validator_for(event_schema())
    data = {"firm_id": "f-1", "placement_id": "p-1", "task_id": "t-1"}
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": "a-1",
        "source": "tracker/as-1",
        "type": "turnsheet.task.started.v1",
        "time": "2026-07-01T09:00:00+08:00",
        "data": data,
    }
    assert list(validator.iter_errors(event | {"tool": "x", "attempt2": 1})) == []
    strange: tuple[dict[str, Any], ...] = ({"tool": {}}, {"Tool": "x"}, {"data": data | {"x": "1"}})
    for more in strange:
        assert len(list(validator.iter_errors(event | more))) >= 1, more


def test_every_reference_leads_somewhere():
    schema = event_schema()
    text = json.dumps(schema)
    names = {part.split('"')[0] for part in text.split("#/$defs/")[1:]}
    assert names <= set(schema["$defs"])


def test_no_data_model_lets_an_unknown_field_pass():
    schema = event_schema()
    open_models = [
        n for n, m in schema["$defs"].items() if m.get("additionalProperties") is not False
    ]
    assert open_models == []


def test_the_check_tells_drift_apart_from_agreement_and_writing_mends_it(tmp_path, capsys):
    assert main([], tmp_path) == 0
    assert main(["--check"], tmp_path) == 0
    path = tmp_path / "event.json"
    path.write_text(
        path.read_text().replace("turnsheet.time.recorded.v1", "turnsheet.time.noted.v1")
    )
    assert main(["--check"], tmp_path) == 1
    said = capsys.readouterr().out
    assert '-          "const": "turnsheet.time.noted.v1"' in said
    assert '+          "const": "turnsheet.time.recorded.v1"' in said
    assert "run `make format`" in said
    (tmp_path / "old.json").write_text("{}")
    assert main([], tmp_path) == 0
    assert main(["--check"], tmp_path) == 1
    assert "old.json is not generated any more" in capsys.readouterr().out


def test_an_unknown_argument_is_a_wrong_call(tmp_path):
    assert main(["--write"], tmp_path) == 2
