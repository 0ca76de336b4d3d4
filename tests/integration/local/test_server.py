"""LocalDynamoDB starts an engine, answers, keeps to itself and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper.aws.client import client_for
from dynamodb_wrapper.config import DynamoDBConfig
from dynamodb_wrapper.exceptions import LocalEngineError
from dynamodb_wrapper.local import LocalDynamoDB
from dynamodb_wrapper.local.process import is_taken

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.engines import Engine

GIVE_UP_SECONDS = 30
TABLE: dict[str, Any] = {
    "TableName": "things",
    "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
    "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
    "BillingMode": "PAY_PER_REQUEST",
}


@pytest.fixture(autouse=True)
def _engine_can_be_had(local_engine: Engine) -> None:
    """Most tests here start their own dynoxide."""


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + GIVE_UP_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.05)


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def store(local: LocalDynamoDB, name: str) -> None:
    client_for(local.config).put_item(TableName="things", Item={"id": {"S": name}})


def stored(local: LocalDynamoDB) -> set[str]:
    items = client_for(local.config).scan(TableName="things")["Items"]
    return {item["id"]["S"] for item in items}


def parent_of(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[1])


def descendants(pid: int) -> set[int]:
    """Children, their children and so on."""
    everyone = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    children = {child for child in everyone if parent_of(child) == pid}
    return children.union(*(descendants(child) for child in children))


def start_python(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    )


def first_number(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


def test_every_engine_answers_and_is_gone_after_stop(engine: Engine) -> None:
    with LocalDynamoDB(engine.name) as local:
        assert local.engine == engine.name
        assert client_for(local.config).list_tables()["TableNames"] == []
        pid = local.pid
    assert not runs(pid)


def test_the_config_needs_no_environment_and_points_to_the_engine() -> None:
    with LocalDynamoDB() as local:
        assert local.config == DynamoDBConfig.for_local_development(local.endpoint_url)
        assert local.endpoint_url.startswith("http://127.0.0.1:")


def test_the_wanted_port_is_used() -> None:
    with LocalDynamoDB() as first:
        address = first.endpoint_url
    with LocalDynamoDB(port=int(address.rpartition(":")[2])) as second:
        assert second.endpoint_url == address


def test_a_taken_port_is_refused_and_its_owner_unharmed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(LocalEngineError, match=f"Port {port} is taken"):
            LocalDynamoDB(port=port).start()
        assert is_taken(port)


def test_engines_started_at_the_same_time_are_strangers() -> None:
    count = 8
    engines = [LocalDynamoDB() for _ in range(count)]
    barrier = threading.Barrier(count)

    def start(local: LocalDynamoDB) -> None:
        barrier.wait()
        local.start()
        client_for(local.config).create_table(**TABLE)

    threads = [threading.Thread(target=start, args=(local,)) for local in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # The threads that started the engines have ended; the engines must not have.
    assert [client_for(local.config).list_tables()["TableNames"] for local in engines] == [
        ["things"]
    ] * count
    assert len({local.endpoint_url for local in engines}) == count
    for local in engines:
        local.stop()


def test_stop_ends_its_own_engine_only() -> None:
    with LocalDynamoDB() as other:
        LocalDynamoDB().start().stop()
        assert other.is_running
        assert client_for(other.config).list_tables()["TableNames"] == []


def test_start_and_stop_may_be_repeated() -> None:
    local = LocalDynamoDB()
    assert local.start().start().is_running
    local.stop()
    local.stop()
    assert not local.is_running
    assert local.start().is_running
    local.stop()


def test_memory_is_empty_after_a_restart() -> None:
    local = LocalDynamoDB()
    with local:
        client_for(local.config).create_table(**TABLE)
    with local:
        assert client_for(local.config).list_tables()["TableNames"] == []


@pytest.mark.parametrize("name", ["dynoxide", "dynamodb-local"])
def test_a_file_store_survives_a_restart(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    require_engine(request, name)
    path = tmp_path / "data" / "store"
    with LocalDynamoDB(name, path=path) as local:
        client_for(local.config).create_table(**TABLE)
        store(local, "kept")
    with LocalDynamoDB(name, path=path) as local:
        assert stored(local) == {"kept"}


def require_engine(request: pytest.FixtureRequest, name: str) -> None:
    request.getfixturevalue("_running_engine")(name)


def test_a_folder_holds_the_file_store_too(tmp_path: Path) -> None:
    with LocalDynamoDB("dynoxide", path=tmp_path) as local:
        client_for(local.config).create_table(**TABLE)
    assert (tmp_path / "dynoxide.db").is_file()


def test_every_acknowledged_write_survives_a_hard_kill(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    names = {f"item-{number}" for number in range(200)}
    local = LocalDynamoDB("dynoxide", path=path).start()
    client_for(local.config).create_table(**TABLE)
    for name in names:
        store(local, name)
    os.kill(local.pid, signal.SIGKILL)
    wait_until(lambda: not local.is_running)
    with local:
        assert stored(local) == names


def test_the_engine_ends_with_the_interpreter() -> None:
    owner = start_python("""
        from dynamodb_wrapper.local import LocalDynamoDB
        local = LocalDynamoDB("dynoxide").start()
        print(local.pid)
    """)
    pid = first_number(owner)
    assert owner.wait(GIVE_UP_SECONDS) == 0
    assert not runs(pid)


def test_the_engine_ends_with_an_owner_killed_hard() -> None:
    owner = start_python("""
        import signal
        from dynamodb_wrapper.local import LocalDynamoDB
        local = LocalDynamoDB("dynoxide").start()
        print(local.pid, flush=True)
        signal.pause()
    """)
    pid = first_number(owner)
    assert runs(pid)
    owner.kill()
    owner.wait()
    wait_until(lambda: not runs(pid))


def test_the_engine_ends_with_a_supervisor_killed_hard() -> None:
    local = LocalDynamoDB("dynoxide").start()
    pid = local.pid
    supervisor = parent_of(pid)
    assert supervisor is not None
    os.kill(supervisor, signal.SIGKILL)
    wait_until(lambda: not runs(pid))
    local.stop()


def test_a_forked_child_leaves_the_engine_of_its_parent_alone() -> None:
    owner = start_python("""
        import os, sys
        from dynamodb_wrapper.local import LocalDynamoDB
        with LocalDynamoDB("dynoxide") as local:
            child = os.fork()
            if child == 0:
                local.stop()
                sys.exit()
            os.waitpid(child, 0)
            print(int(local.is_running), flush=True)
    """)
    assert first_number(owner) == 1
    assert owner.wait(GIVE_UP_SECONDS) == 0


def test_an_engine_that_ends_at_once_tells_its_last_words(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_text("this is no database " * 100, encoding="utf-8")
    with pytest.raises(
        LocalEngineError, match=r"dynoxide: The engine ended at once:\n.*not a valid SQLite"
    ):
        LocalDynamoDB("dynoxide", path=path).start()


def test_nothing_is_told_about_an_engine_that_does_not_run() -> None:
    with pytest.raises(LocalEngineError, match="with block or call start"):
        LocalDynamoDB().endpoint_url  # noqa: B018


@pytest.fixture
def command() -> Iterator[subprocess.Popen[str]]:
    """``python -m dynamodb_wrapper.local`` on a free port."""
    run = [sys.executable, "-m", "dynamodb_wrapper.local", "--engine", "dynoxide", "--port", "0"]
    with subprocess.Popen(run, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def printed_settings(process: subprocess.Popen[str]) -> dict[str, str]:
    assert process.stdout is not None
    assert process.stdout.readline().startswith("# dynoxide listens on http://127.0.0.1:")
    exports = [process.stdout.readline().split()[1] for _ in range(4)]
    return dict(export.split("=", 1) for export in exports)


def test_the_command_prints_settings_that_reach_the_engine(command: subprocess.Popen[str]) -> None:
    config = DynamoDBConfig.from_env(printed_settings(command))
    assert client_for(config).list_tables()["TableNames"] == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_ends_on_a_signal_and_leaves_no_child(
    command: subprocess.Popen[str], number: signal.Signals
) -> None:
    printed_settings(command)
    started = descendants(command.pid)
    assert len(started) == 2  # the engine and its supervisor
    command.send_signal(number)
    assert command.wait(GIVE_UP_SECONDS) == 0
    assert not any(runs(pid) for pid in started)


def test_the_command_tells_a_known_error_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        run = [sys.executable, "-m", "dynamodb_wrapper.local", "--engine", "dynoxide"]
        done = subprocess.run([*run, "--port", port], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"error: Port {port} is taken by another program" in done.stderr
    assert "Traceback" not in done.stderr


def test_importing_the_package_loads_no_boto3() -> None:
    code = "import sys, dynamodb_wrapper.local; print(int('boto3' in sys.modules))"
    assert first_number(start_python(code)) == 0
