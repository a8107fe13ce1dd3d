"""The committed JSON Schema says what the models say."""

import json

from schemas.events import TYPES
from schemas.generate import FILES, drift, event_schema, main


def test_the_committed_schema_is_the_one_the_models_give():
    assert drift(FILES) == []


def test_every_type_has_one_branch_that_names_its_data():
    branches = event_schema()["oneOf"]
    named = {b["properties"]["type"]["const"]: b["properties"]["data"]["$ref"] for b in branches}
    assert named == {name: f"#/$defs/{row.data.__name__}" for name, row in TYPES.items()}


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
