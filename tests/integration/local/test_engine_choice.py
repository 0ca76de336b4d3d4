"""LocalDynamoDB picks an engine, says which and why, or names what to install."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dynamodb_wrapper.exceptions import LocalEngineError
from dynamodb_wrapper.local import LocalDynamoDB
from dynamodb_wrapper.local.engines import DYNOXIDE_VERSION

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.engines import Engine


@pytest.fixture
def empty_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without npm, Maven, Java or anything cached; the folder is its whole PATH."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return programs


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


def test_auto_picks_dynoxide_and_says_why(
    local_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"), LocalDynamoDB() as local:
        assert local.engine == "dynoxide"
    assert "Engine dynoxide: found" in caplog.text


def test_auto_falls_back_to_moto_and_says_why(
    empty_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"), LocalDynamoDB() as local:
        assert local.engine == "moto"
    assert "Falling back to moto. npm, which fetches dynoxide, was not found" in caplog.text


def test_a_dynoxide_on_the_path_comes_first(
    empty_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    script(empty_path / "dynoxide", "echo this is no engine; exit 3")
    with caplog.at_level("INFO"), pytest.raises(LocalEngineError, match="this is no engine"):
        LocalDynamoDB().start()
    assert "found on the PATH" in caplog.text


def test_a_dynoxide_in_the_cache_needs_neither_npm_nor_network(
    empty_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = tmp_path / "cache" / "dynamodb-wrapper"
    cache.mkdir(parents=True)
    script(cache / f"dynoxide-{DYNOXIDE_VERSION}", "echo taken from the cache; exit 3")
    with caplog.at_level("INFO"), pytest.raises(LocalEngineError, match="taken from the cache"):
        LocalDynamoDB().start()
    assert "found in the cache" in caplog.text


def test_an_unknown_engine_is_refused_naming_the_known_ones() -> None:
    with pytest.raises(LocalEngineError, match="'scylla'; there are auto, dynoxide, dynamodb-loc"):
        LocalDynamoDB("scylla").start()


def test_without_npm_dynoxide_names_what_to_install(empty_path: Path) -> None:
    with pytest.raises(LocalEngineError, match="install npm"):
        LocalDynamoDB("dynoxide").start()


def test_a_download_that_is_not_the_pinned_one_is_thrown_away(
    empty_path: Path, tmp_path: Path
) -> None:
    script(empty_path / "npm", "echo forged > dynoxide.tgz")
    with pytest.raises(LocalEngineError, match="not the one this version was tried with"):
        LocalDynamoDB("dynoxide").start()
    assert list((tmp_path / "cache" / "dynamodb-wrapper").iterdir()) == []


def test_a_failing_npm_is_quoted(empty_path: Path) -> None:
    script(empty_path / "npm", "echo the network is down >&2; exit 1")
    with pytest.raises(LocalEngineError, match=r"npm failed:\nthe network is down"):
        LocalDynamoDB("dynoxide").start()


def test_without_java_dynamodb_local_names_what_to_install(empty_path: Path) -> None:
    with pytest.raises(LocalEngineError, match="openjdk-17-jre-headless"):
        LocalDynamoDB("dynamodb-local").start()


def test_with_an_old_java_dynamodb_local_names_what_to_install(empty_path: Path) -> None:
    script(empty_path / "java", "echo 'openjdk version \"11.0.2\" 2019-01-15' >&2")
    with pytest.raises(LocalEngineError, match="is Java 11: install Java 17"):
        LocalDynamoDB("dynamodb-local").start()


def test_without_maven_dynamodb_local_names_what_to_install(empty_path: Path) -> None:
    script(empty_path / "java", "echo 'openjdk version \"17.0.2\" 2022-01-18' >&2")
    with pytest.raises(LocalEngineError, match="install Maven"):
        LocalDynamoDB("dynamodb-local").start()


def test_moto_refuses_a_file_store(tmp_path: Path) -> None:
    with pytest.raises(LocalEngineError, match="no file store"):
        LocalDynamoDB("moto", path=tmp_path).start()


def test_without_moto_the_extra_to_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(LocalEngineError, match=r"pip install 'dynamodb-wrapper\[local\]'"):
        LocalDynamoDB("moto").start()
