"""The demo's folder: what is not the demo's own is never touched."""

import pytest

from services.demo.story import MARK, StoryFailed, make_empty, tell
from services.machine.ownership import AlreadyOwned, owned


def held(folder):
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("variable", ["DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS"])
def test_the_demo_writes_into_no_servers_of_others(tmp_path, monkeypatch, variable):
    monkeypatch.setenv(variable, "postgresql://127.0.0.1:1/x" if "URL" in variable else "127.0.0.1")
    with pytest.raises(StoryFailed, match="unset DATABASE_URL"):
        tell(tmp_path / "demo", keep=False)
    assert not (tmp_path / "demo").exists()


def test_a_folder_with_other_data_is_refused_and_left_as_it_is(tmp_path):
    (tmp_path / "ledger.txt").write_text("100")
    with pytest.raises(StoryFailed, match="holds data that is not the demo's"):
        make_empty(tmp_path)
    assert held(tmp_path) == {"ledger.txt"}


def test_a_folder_where_something_runs_is_refused(tmp_path):
    make_empty(tmp_path)
    (tmp_path / "kafka").mkdir()
    with owned(tmp_path), pytest.raises(AlreadyOwned):
        make_empty(tmp_path)
    assert "kafka" in held(tmp_path)


def test_what_a_demo_before_has_left_is_removed(tmp_path):
    home, elsewhere = tmp_path / "demo", tmp_path / "elsewhere"
    make_empty(home)
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    (home / "kafka").mkdir()
    (home / "kafka" / "log").touch()
    (home / "linked").symlink_to(elsewhere)
    (home / "chosen.json").touch()
    make_empty(home)
    assert (held(home) - {"owner.lock"}, held(elsewhere)) == ({MARK}, {"kept"})
