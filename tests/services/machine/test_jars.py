"""Jars: the lock is whole, and nothing but what it names is ever used."""

import fcntl
import os
import shutil
import socket
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from setuptools import find_namespace_packages

from services.machine import jars
from services.machine.jars import LOCK, Jar, JarsUnavailable, ensure_jars, missing_jars, read_lock

ROOT = Path(__file__).parent.parent.parent.parent


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "turnsheet" / "jars"


def test_every_part_of_kafka_has_the_version_of_its_root():
    roots = tomllib.loads(LOCK.read_text())["roots"]
    versions = {
        jar.coordinate.split(":")[2]
        for jar in read_lock()
        if jar.coordinate.startswith("org.apache.kafka:")
    }
    assert [root for root in roots if "kafka" in root] == ["org.apache.kafka:kafka_2.13:4.3.1"]
    assert versions == {"4.3.1"}
    assert [jar for jar in read_lock() if "log4j-slf4j" in jar.coordinate] == []
    assert {len(jar.sha256) for jar in read_lock()} == {64}


def test_what_is_read_at_run_time_is_installed_with_its_package():
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packages = find_namespace_packages(str(ROOT), include=told["packages"]["find"]["include"])
    folders = [ROOT / package.replace(".", "/") for package in packages]
    installed = {
        path for pattern in told["package-data"]["*"] for f in folders for path in f.glob(pattern)
    }
    assert {LOCK, *ROOT.glob("services/**/*.sql"), *ROOT.glob("schemas/**/*.json")} <= installed


def test_what_was_cut_off_or_changed_is_missing(cache, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    whole = jars.cache_folder()
    cache.mkdir(parents=True)
    for jar in read_lock():
        shutil.copyfile(whole / jar.filename, cache / jar.filename)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parent.parent))
    assert missing_jars() == []
    first, second, *_ = read_lock()
    with (cache / first.filename).open("r+b") as file:
        file.truncate(100)
    (cache / second.filename).unlink()
    assert missing_jars() == [first, second]


def test_two_at_once_use_one_cache_and_the_second_fetches_nothing():
    fetched: list[int] = []
    with ThreadPoolExecutor(2) as pool:
        found = [pool.submit(ensure_jars, lambda done, _: fetched.append(done)) for _ in range(2)]
        assert found[0].result() == found[1].result()
    assert fetched == []


def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "turnsheet").write_text("a file where a folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(JarsUnavailable, match="set XDG_CACHE_HOME to a folder that is"):
        ensure_jars()


def test_a_registry_that_does_not_answer_is_one_sentence(cache, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")  # nobody listens there
    with pytest.raises(JarsUnavailable, match="come once from the Maven registry: connect to it"):
        ensure_jars()
    assert list(cache.glob("*.jar")) == []
    assert list(cache.glob(".fetch-*")) == []


class Enough(Exception):
    pass


@pytest.fixture
def silent_registry(monkeypatch):
    """A registry that takes every call and answers none."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.getsockname()[1]}")
        yield


@pytest.mark.timeout(20)  # a fetch itself gives up after 30 s
@pytest.mark.usefixtures("silent_registry")
def test_whoever_has_enough_does_not_wait_for_a_fetch(cache):
    told: list[object] = []

    def checkpoint():
        if told:
            raise Enough

    with pytest.raises(Enough):
        ensure_jars(lambda *counts: told.append(counts), checkpoint)
    assert told == [(0, len(read_lock()))]


def test_another_that_fetches_is_told_and_left_when_asked_to_stop(cache, monkeypatch):
    monkeypatch.setattr(jars, "PATIENCE_SECONDS", 0)
    told: list[object] = []

    def checkpoint():
        if told:
            raise Enough

    cache.mkdir(parents=True)
    with (cache / ".lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        with pytest.raises(Enough):
            ensure_jars(None, checkpoint, told.append)
    assert told == ["waiting for another process, which fetches Kafka's jars"]


def test_what_a_fetch_that_was_cut_off_has_left_is_removed(cache, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")  # nobody listens there
    (cache / ".fetch-left").mkdir(parents=True)
    with pytest.raises(JarsUnavailable):
        ensure_jars()
    assert list(cache.glob(".fetch-*")) == []


def test_a_first_test_run_fetches_jars_or_says_so_in_one_sentence(cache):
    """The terminal of a run that has just begun is not there yet: it once ended every first run."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/schemas/test_money.py"],
        cwd=ROOT,
        env=os.environ | {"HTTPS_PROXY": "http://127.0.0.1:1"},  # nobody listens there
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert f"Kafka's jars: 0 of {len(read_lock())}" in done.stdout
    assert "come once from the Maven registry: connect to it" in done.stdout
    assert "INTERNALERROR" not in done.stdout + done.stderr
    assert done.returncode == 1
    assert list(cache.glob("*.jar")) == []


def test_a_jar_is_named_by_its_coordinate():
    jar = Jar("org.apache.kafka:kafka_2.13:4.3.1", "0" * 64)
    assert jar.filename == "kafka_2.13-4.3.1.jar"
