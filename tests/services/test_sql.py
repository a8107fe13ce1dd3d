"""Named statements in plain files."""

from pathlib import Path

import pytest

from services.sql import QueriesError, queries

TWO = """-- All that the tests ask.

-- name: load_tasks
-- Read the tasks of a firm.
select task_id  -- the id alone
from task
-- those that are open
where firm_id = $1;

-- name: save_task
-- Keep a task.
insert into task values ($1);
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "queries.sql"
    path.write_text(text)
    return path


def test_statements_are_found_by_name_without_their_comment_lines(tmp_path):
    found = queries(write(tmp_path, TWO))
    assert dict(found) == {
        "load_tasks": ("select task_id  -- the id alone\nfrom task\nwhere firm_id = $1"),
        "save_task": "insert into task values ($1)",
    }
    assert found.save_task == found["save_task"]


def test_a_statement_that_is_not_there_says_so(tmp_path):
    with pytest.raises(AttributeError, match=r"queries.sql has no statement named 'load_task'"):
        _ = queries(write(tmp_path, TWO)).load_task


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("-- name: a\n-- Why.\nselect 1;\n-- name: a\n-- Why.\nselect 2;", "a stands there twice"),
        ("-- name: a\nselect 1;", "a needs a line that says why"),
        ("-- name: a\n-- Why.\n", "a has no SQL"),
        ("-- name: loadTasks\n-- Why.\nselect 1;", "no name in lower case"),
        ("select 1;\n-- name: a\n-- Why.\nselect 1;", "SQL before the first name"),
    ],
)
def test_a_file_that_breaks_the_form_is_refused(tmp_path, text, words):
    with pytest.raises(QueriesError, match=words):
        queries(write(tmp_path, text))
