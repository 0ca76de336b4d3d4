"""Where settings come from, what they do to the client, and what never gets out."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import boto3
import pydantic
import pytest

from dynamodb_wrapper.aws.client import client_for
from dynamodb_wrapper.config import DynamoDBConfig
from dynamodb_wrapper.config.settings import VARIABLES
from dynamodb_wrapper.exceptions import ConfigurationError, ConnectionError
from dynamodb_wrapper.repositories import BaseDynamoRepository
from tests.support.client_faults import error_response, refused_with
from tests.support.sample_models import ORDERS, own_client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRETS = {
    "aws_access_key_id": "KEYIDOFATEST",
    "aws_secret_access_key": "hunter2hunter2",
    "aws_session_token": "tokentokentoken",
}
# Every variable: a text that is taken, what becomes of it, and a text that is refused.
TAKEN: dict[str, tuple[str, Any]] = {
    "AWS_REGION": ("eu-west-1", "eu-west-1"),
    "AWS_DEFAULT_REGION": ("eu-west-2", "eu-west-2"),
    "DYNAMODB_ENDPOINT_URL": ("http://localhost:1", "http://localhost:1"),
    "AWS_ENDPOINT_URL_DYNAMODB": ("http://localhost:2", "http://localhost:2"),
    "AWS_ENDPOINT_URL": ("https://host/path", "https://host/path"),
    "DYNAMODB_TABLE_PREFIX": ("team.a-b_c", "team.a-b_c"),
    "DYNAMODB_ENVIRONMENT": ("staging", "staging"),
    "ENVIRONMENT": ("test", "test"),
    "AWS_ACCESS_KEY_ID": ("K", "K"),
    "AWS_SECRET_ACCESS_KEY": ("S", "S"),
    "AWS_SESSION_TOKEN": ("T", "T"),
    "AWS_PROFILE": ("me", "me"),
    "DYNAMODB_ROLE_ARN": ("arn:aws:iam::123456789012:role/r", "arn:aws:iam::123456789012:role/r"),
    "DYNAMODB_MAX_POOL_CONNECTIONS": ("7", 7),
    "AWS_MAX_ATTEMPTS": ("3", 3),
    "DYNAMODB_CONNECT_TIMEOUT_SECONDS": ("1.5", 1.5),
    "DYNAMODB_READ_TIMEOUT_SECONDS": ("2", 2.0),
    "DYNAMODB_OPERATION_TIMEOUT_SECONDS": ("9", 9.0),
    "DYNAMODB_TRANSPORT": ("boto3", "boto3"),
    "DYNAMODB_USER_TIMEZONE": ("Europe/Berlin", "Europe/Berlin"),
    "DYNAMODB_ACTOR": ("me", "me"),
    "DYNAMODB_SPOOL_DIRECTORY": ("/var/spool/runs", "/var/spool/runs"),
}
REFUSED = {
    "AWS_REGION": "Wr0ng value",
    "AWS_DEFAULT_REGION": "Wr0ng value",
    "DYNAMODB_ENDPOINT_URL": "ftp://Wr0ng",
    "AWS_ENDPOINT_URL_DYNAMODB": "http://user:Wr0ng@host",
    "AWS_ENDPOINT_URL": "Wr0ng",
    "DYNAMODB_TABLE_PREFIX": "Wr0ng#",
    "DYNAMODB_ENVIRONMENT": "Wr0ng value",
    "ENVIRONMENT": "Wr0ng value",
    "DYNAMODB_ROLE_ARN": "Wr0ng",
    "DYNAMODB_MAX_POOL_CONNECTIONS": "Wr0ng",
    "AWS_MAX_ATTEMPTS": "Wr0ng",
    "DYNAMODB_CONNECT_TIMEOUT_SECONDS": "Wr0ng",
    "DYNAMODB_READ_TIMEOUT_SECONDS": "Wr0ng",
    "DYNAMODB_OPERATION_TIMEOUT_SECONDS": "Wr0ng",
    "DYNAMODB_TRANSPORT": "Wr0ng",
    "DYNAMODB_USER_TIMEZONE": "Wr0ng",
    "DYNAMODB_ACTOR": "Wr0ng" * 100,
}
COMPANIONS = {
    "AWS_ACCESS_KEY_ID": {"AWS_SECRET_ACCESS_KEY": "S"},
    "AWS_SECRET_ACCESS_KEY": {"AWS_ACCESS_KEY_ID": "K"},
    "AWS_SESSION_TOKEN": {"AWS_ACCESS_KEY_ID": "K", "AWS_SECRET_ACCESS_KEY": "S"},
}


def plain(value: Any) -> Any:
    return value.get_secret_value() if isinstance(value, pydantic.SecretStr) else value


def local(**settings: Any) -> DynamoDBConfig:
    return own_client(DynamoDBConfig.for_local_development("http://127.0.0.1:9"), **settings)


# ---- the environment -----------------------------------------------------------------------------


@pytest.mark.parametrize("variable", VARIABLES, ids=lambda variable: variable.name)
def test_a_variable_sets_its_field(variable: Any) -> None:
    text, expected = TAKEN[variable.name]
    config = DynamoDBConfig.from_env({**COMPANIONS.get(variable.name, {}), variable.name: text})
    assert plain(getattr(config, variable.field)) == expected


@pytest.mark.parametrize("variable", VARIABLES, ids=lambda variable: variable.name)
def test_an_empty_variable_counts_as_not_set(variable: Any) -> None:
    assert DynamoDBConfig.from_env({variable.name: ""}) == DynamoDBConfig()


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_wrong_value_names_the_variable_and_is_not_shown(name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"\b{name}:") as caught:
        DynamoDBConfig.from_env({name: REFUSED[name]})
    assert "Wr0ng" not in str(caught.value)
    assert "Wr0ng" not in str(caught.value.__cause__)


@pytest.mark.parametrize(
    "given",
    [
        {"AWS_ACCESS_KEY_ID": "hunter2"},
        {"AWS_SECRET_ACCESS_KEY": "hunter2"},
        {"AWS_SESSION_TOKEN": "hunter2"},
    ],
    ids=lambda given: next(iter(given)),
)
def test_half_a_key_pair_names_the_variables_and_shows_nothing(given: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="AWS_ACCESS_KEY_ID") as caught:
        DynamoDBConfig.from_env(given)
    assert next(iter(given)) in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_several_wrong_values_are_all_named() -> None:
    with pytest.raises(ConfigurationError, match=r"AWS_REGION.*AWS_MAX_ATTEMPTS"):
        DynamoDBConfig.from_env({"AWS_REGION": "?", "AWS_MAX_ATTEMPTS": "0"})


@pytest.mark.parametrize(
    ("given", "field", "expected"),
    [
        ({"AWS_REGION": "a-1", "AWS_DEFAULT_REGION": "b-1"}, "region_name", "a-1"),
        (
            {"DYNAMODB_ENDPOINT_URL": "http://a", "AWS_ENDPOINT_URL": "http://b"},
            "endpoint_url",
            "http://a",
        ),
        (
            {"AWS_ENDPOINT_URL_DYNAMODB": "http://a", "AWS_ENDPOINT_URL": "http://b"},
            "endpoint_url",
            "http://a",
        ),
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": "b-1"}, "region_name", "b-1"),
        ({"AWS_REGION": " eu-west-1 "}, "region_name", "eu-west-1"),
    ],
)
def test_of_several_variables_the_strongest_that_is_set_wins(
    given: dict[str, str], field: str, expected: str
) -> None:
    assert getattr(DynamoDBConfig.from_env(given), field) == expected


def test_keys_win_over_a_profile() -> None:
    given = {"AWS_PROFILE": "me", "AWS_ACCESS_KEY_ID": "K", "AWS_SECRET_ACCESS_KEY": "S"}
    assert DynamoDBConfig.from_env(given).profile_name is None


def test_only_from_env_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYNAMODB_TABLE_PREFIX", "seen")
    assert DynamoDBConfig().table_prefix is None
    assert DynamoDBConfig.from_env().table_prefix == "seen"


# ---- the object ----------------------------------------------------------------------------------


def test_a_config_is_frozen() -> None:
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        DynamoDBConfig().region_name = "eu-west-1"  # type: ignore[misc]


def test_a_config_refuses_unknown_settings() -> None:
    with pytest.raises(pydantic.ValidationError, match="regin"):
        DynamoDBConfig(regin="eu-west-1")  # type: ignore[call-arg]


def test_equal_configs_are_one_key() -> None:
    configs = [DynamoDBConfig(region_name="eu-west-1", **SECRETS) for _ in range(2)]  # type: ignore[arg-type]
    assert len(set(configs)) == 1


def test_configs_with_different_secrets_differ() -> None:
    other = {**SECRETS, "aws_secret_access_key": "other"}
    assert DynamoDBConfig(**SECRETS) != DynamoDBConfig(**other)  # type: ignore[arg-type]


@pytest.mark.parametrize("show", [repr, str, lambda config: config.model_dump_json()])
def test_no_text_of_a_config_shows_a_secret(show: Any) -> None:
    text = show(DynamoDBConfig(**SECRETS))  # type: ignore[arg-type]
    assert not [secret for secret in SECRETS.values() if secret in text]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_holds_everything_but_the_credentials(protocol: int) -> None:
    config = DynamoDBConfig(region_name="eu-west-1", actor="me", **SECRETS)  # type: ignore[arg-type]
    pickled = pickle.dumps(config, protocol)
    assert not [secret for secret in SECRETS.values() if secret.encode() in pickled]
    assert pickle.loads(pickled) == DynamoDBConfig(region_name="eu-west-1", actor="me")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "orders"),
        ({"environment": "prod"}, "orders"),
        ({"environment": "production"}, "orders"),
        ({"environment": "dev"}, "dev_orders"),
        ({"table_prefix": "team"}, "team_orders"),
        ({"table_prefix": "team", "environment": "dev"}, "team_dev_orders"),
        ({"table_prefix": "team", "environment": "prod"}, "team_orders"),
        ({"default_environment": "test"}, "orders"),
    ],
)
def test_a_table_name_is_made_of_prefix_environment_and_base(
    settings: dict[str, str], expected: str
) -> None:
    assert DynamoDBConfig(**settings).table_name("orders") == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "dev"),
        ({"ENVIRONMENT": "test"}, "test"),
        ({"ENVIRONMENT": "test", "DYNAMODB_ENVIRONMENT": "prod"}, "prod"),
    ],
)
def test_items_get_the_environment_of_the_config(given: dict[str, str], expected: str) -> None:
    assert DynamoDBConfig.from_env(given).item_environment == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://localhost:8000/x", True),
        ("http://[::1]:8000", True),
        ("https://dynamodb.eu-west-1.amazonaws.com", False),
        (None, False),
    ],
)
def test_a_local_endpoint_is_recognised(url: str | None, expected: bool) -> None:
    assert DynamoDBConfig(endpoint_url=url).is_local is expected


def test_who_writes_is_the_configured_actor_else_the_user_of_the_system(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOGNAME", "nightshift")
    assert DynamoDBConfig.from_env({"DYNAMODB_ACTOR": "airflow"}).actor_name() == "airflow"
    assert DynamoDBConfig().actor_name() == "nightshift"


def test_times_are_shown_in_the_time_zone_of_the_user() -> None:
    config = DynamoDBConfig(user_timezone="Europe/Berlin")
    shown = config.to_user_timezone(datetime(2026, 7, 1, 12, tzinfo=timezone.utc))
    assert (shown.hour, shown.utcoffset()) == (14, timedelta(hours=2))


# ---- the client ----------------------------------------------------------------------------------


def test_equal_configs_share_one_client() -> None:
    config = local()
    assert client_for(config) is client_for(config.model_copy())


def test_clients_of_all_configs_share_what_was_read_of_the_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from botocore.loaders import JSONFileLoader

    client_for(local())
    read: list[str] = []
    load_file = JSONFileLoader.load_file

    def note(self: JSONFileLoader, file_path: str) -> Any:
        read.append(file_path)
        return load_file(self, file_path)

    monkeypatch.setattr(JSONFileLoader, "load_file", note)
    client_for(local())
    assert read == []


def test_different_configs_have_clients_of_their_own() -> None:
    assert client_for(local()) is not client_for(local())


def test_threads_that_ask_together_share_one_client() -> None:
    config, barrier = local(), threading.Barrier(8)

    def ask(_: int) -> Any:
        barrier.wait()
        return client_for(config)

    with ThreadPoolExecutor(8) as pool:
        assert len({id(client) for client in pool.map(ask, range(8))}) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_process_gets_a_client_of_its_own() -> None:
    config = local()
    parents = client_for(config)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # the child says whether it was given the parent's client, and nothing else
        os.write(writing, b"same" if client_for(config) is parents else b"own")
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        assert answer.read() == "own"


def test_retries_time_outs_and_pool_size_reach_the_client() -> None:
    config = local(
        max_attempts=3,
        connect_timeout_seconds=1.5,
        read_timeout_seconds=2.5,
        max_pool_connections=7,
        operation_timeout_seconds=9,
    )
    settings = client_for(config).meta.config
    assert settings.retries == {"mode": "standard", "total_max_attempts": 3}
    assert (settings.connect_timeout, settings.read_timeout) == (1.5, 2.5)
    assert settings.max_pool_connections == 7


def test_one_wait_is_never_longer_than_the_operation_may_take() -> None:
    settings = client_for(local(operation_timeout_seconds=0.5)).meta.config
    assert (settings.connect_timeout, settings.read_timeout) == (0.5, 0.5)


def test_a_client_needs_a_region() -> None:
    config = own_client(DynamoDBConfig(endpoint_url="http://127.0.0.1:9"))
    with pytest.raises(ConfigurationError, match="AWS_REGION"):
        client_for(config)


def test_an_injected_client_is_used() -> None:
    client = boto3.client(
        "dynamodb",
        region_name="eu-north-1",
        endpoint_url="http://127.0.0.1:9",
        aws_access_key_id="k",
        aws_secret_access_key="s",
    )
    response = error_response("AccessDeniedException")
    repository = BaseDynamoRepository(local(), ORDERS, client=client)
    with (
        refused_with(client, "GetItem", response) as requests,
        pytest.raises(Exception, match="GetItem"),
    ):
        repository.get(("c", "o"))
    assert len(requests) == 1


def authorization_of(config: DynamoDBConfig) -> dict[str, str]:
    """Return the headers a request of the config is signed with."""
    client = client_for(config)
    with (
        refused_with(client, "ListTables", error_response("AccessDenied")) as requests,
        pytest.raises(client.exceptions.ClientError),
    ):
        client.list_tables()
    return {name: as_text(value) for name, value in requests[0].headers.items()}


def as_text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def test_requests_are_signed_with_the_keys_and_the_session_token() -> None:
    config = DynamoDBConfig.for_local_development(**SECRETS)
    headers = authorization_of(own_client(config))
    assert "Credential=KEYIDOFATEST/" in headers["Authorization"]
    assert headers["X-Amz-Security-Token"] == "tokentokentoken"


@pytest.fixture
def aws_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tmp_path / "config"
    settings.write_text("[profile work]\nregion = eu-south-1\n")
    keys = tmp_path / "credentials"
    keys.write_text("[work]\naws_access_key_id = KEYOFPROFILE\naws_secret_access_key = s\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(settings))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(keys))


@pytest.mark.usefixtures("aws_files")
def test_a_profile_gives_region_and_keys() -> None:
    config = own_client(DynamoDBConfig(profile_name="work", endpoint_url="http://127.0.0.1:9"))
    headers = authorization_of(config)
    assert "Credential=KEYOFPROFILE/" in headers["Authorization"]
    assert "/eu-south-1/dynamodb/" in headers["Authorization"]


@pytest.mark.usefixtures("aws_files")
def test_a_missing_profile_is_named() -> None:
    config = DynamoDBConfig(profile_name="wrok", region_name="eu-west-1")
    with pytest.raises(ConfigurationError, match=r"'wrok'.*AWS_PROFILE"):
        client_for(config)


def test_a_role_is_assumed_and_its_keys_sign_the_requests() -> None:
    from moto import mock_aws

    config = own_client(
        DynamoDBConfig(region_name="us-east-1", **SECRETS),  # type: ignore[arg-type]
        role_arn="arn:aws:iam::123456789012:role/writer",
        endpoint_url="http://127.0.0.1:9",
    )
    with mock_aws():
        headers = authorization_of(config)
    assert "Credential=ASIA" in headers["Authorization"]
    assert headers["X-Amz-Security-Token"] != "tokentokentoken"


@pytest.fixture
def silent_endpoint() -> Iterator[str]:
    """An address that accepts connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(50)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_an_endpoint_that_never_answers_ends_in_a_connection_error(silent_endpoint: str) -> None:
    config = DynamoDBConfig.for_local_development(
        silent_endpoint, operation_timeout_seconds=0.3, max_attempts=20
    )
    repository = BaseDynamoRepository(config, ORDERS)
    with refused_with(client_for(config), "GetItem") as attempts, pytest.raises(ConnectionError):
        repository.get(("c", "o"))
    assert len(attempts) < 20


def test_importing_config_loads_neither_boto3_nor_spark() -> None:
    code = (
        "import sys, dynamodb_wrapper.config;"
        "print([m for m in ('boto3', 'botocore', 'pyspark') if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert answer.stdout.strip() == "[]"


def test_an_environment_is_read_in_any_case() -> None:
    config = DynamoDBConfig.from_env({"DYNAMODB_ENVIRONMENT": "Staging", "ENVIRONMENT": "PROD"})
    assert (config.environment, config.default_environment) == ("staging", "prod")
