"""Which names and values are secrets, and how texts lose them."""

from __future__ import annotations

import time

import pytest

from dynamodb_wrapper.redaction import (
    REDACTED,
    find_secrets,
    is_reference,
    is_secret_key,
    presentable,
    redact,
    redact_values,
)

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"
AWS_KEY_ID = "AKIA" + "IOSFODNN7EXAMPLE"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----"

SECRET_KEYS = [
    "password",
    "PASSWORD",
    "db_password",
    "dbPassword",
    "user.password",
    "ssl.key.password",
    "passwd",
    "pwd",
    "passphrase",
    "secret",
    "client_secret",
    "clientSecret",
    "aws_secret_access_key",
    "SecretAccessKey",
    "aws_access_key_id",
    "accessKeyId",
    "token",
    "auth_token",
    "aws-session-token",
    "api_key",
    "apiKey",
    "apikey",
    "X-API-Key",
    "private_key",
    "privateKey",
    "account_key",
    "connection_string",
    "connectionString",
    "sas",
    "fs.azure.sas.fixed",
    "fs.s3a.secret.key",
    "fs.s3a.access.key",
    "fs.azure.account.key.x.blob.core.windows.net",
    "spark.hadoop.fs.s3a.session.token",
    "kafka.sasl.jaas.config",
    "google_credentials",
]
HARMLESS_KEYS = [
    "",
    "user",
    "host",
    "key",
    "primary_key",
    "partition_key",
    "sort_key",
    "secret_name",
    "secret_arn",
    "password_column",
    "token_column",
    "tokens_column",
    "max_tokens",
    "maxTokens",
    "sasl_mechanism",
    "sasl.mechanism",
    "fs.s3a.aws.credentials.provider",
    "keyspace",
    "monkey",
    "passenger",
    "tokenizer",
    "sassafras",
    "secretary",
    "bucket_key_enabled",
    "token_url",
    "password_length",
]
REFERENCES = [
    "secretsmanager:prod/orders",
    "ssm:/prod/orders/password",
    "env:DB_PASSWORD",
    "databricks:scope/key",
    "vault:kv/data/orders#password",
]


@pytest.mark.parametrize("key", SECRET_KEYS)
def test_a_name_that_says_secret_is_one(key: str) -> None:
    assert is_secret_key(key)


@pytest.mark.parametrize("key", HARMLESS_KEYS)
def test_a_name_that_only_resembles_a_secret_is_none(key: str) -> None:
    assert not is_secret_key(key)


@pytest.mark.parametrize("value", REFERENCES)
def test_a_reference_names_a_secret_store(value: str) -> None:
    assert is_reference(value)
    assert list(find_secrets({"password": value})) == []


@pytest.mark.parametrize(
    "value", ["hunter2", "ssm:", "env: X", "http://x", "vault", 5, None, "a ssm:x", "ssm:a b"]
)
def test_anything_else_is_no_reference(value: object) -> None:
    assert not is_reference(value)


@pytest.mark.parametrize(
    "value",
    [
        "jdbc:postgresql://user:hunter2@host/db",
        "https://user:hunter2@host/path?x=1",
        f"id is {AWS_KEY_ID}",
        PEM,
        f"Bearer {JWT}",
    ],
)
def test_a_value_that_looks_like_a_credential_is_found_under_any_name(value: str) -> None:
    ((path, reason),) = find_secrets({"options": [{"url": value}]})
    assert path == "options.0.url"
    assert reason.startswith("it holds")


@pytest.mark.parametrize(
    "value",
    [
        "jdbc:postgresql://host:5432/db",
        "https://host/path?user=me@example.com",
        "s3://bucket/key@2",
        "me@example.com",
        "AKIA",
        "-----BEGIN PUBLIC KEY-----",
        "eyJ",
    ],
)
def test_an_ordinary_value_is_no_credential(value: str) -> None:
    assert list(find_secrets({"url": value})) == []


@pytest.mark.parametrize("value", [None, "", True, False, {}, [], {"arn": "ssm:x"}])
def test_a_secret_name_without_a_literal_is_fine(value: object) -> None:
    assert list(find_secrets({"password": value})) == []


@pytest.mark.parametrize("value", ["x", 12345, ["x"], {"value": "x"}, b"x"])
def test_a_secret_name_with_a_literal_is_found(value: object) -> None:
    assert [path for path, _ in find_secrets({"a": {"password": value}})] == ["a.password"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("password=hunter2 user=me", "password=*** user=me"),
        ("{'password': 'hunter2', 'n': 1}", "{'password': '***', 'n': 1}"),
        ('{"api_key": "abc"}', '{"api_key": "***"}'),
        ("postgresql://u:hunter2@h/db", "postgresql://u:***@h/db"),
        (f"key {AWS_KEY_ID}.", "key ***."),
        (f"a {PEM} b", "a *** b"),
        (f"token is {JWT}", "token is ***"),
        ("password=ssm:/prod/x", "password=ssm:/prod/x"),
        ("max_tokens=5 sort_key=id", "max_tokens=5 sort_key=id"),
        ("nothing to hide", "nothing to hide"),
    ],
)
def test_a_text_loses_what_looks_like_a_secret(text: str, expected: str) -> None:
    assert redact(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ValueError: password=hunter2", "ValueError: password=***"),
        ("KeyError: 'no password=hunter2 here'", "KeyError: 'no password=*** here'"),
        ("url=jdbc:x;user=me token: abc", "url=jdbc:x;user=me token: ***"),
        ("cause: \"opened with 'pwd=hunter2'\"", "cause: \"opened with 'pwd=***'\""),
        ("outer={inner={secret: hunter2}}", "outer={inner={secret: ***}}"),
    ],
)
def test_what_an_ordinary_name_is_followed_by_is_looked_into(text: str, expected: str) -> None:
    assert redact(text) == expected


@pytest.mark.parametrize("unit", ["a:", "a=b ", "password='", 'pwd="x ', "pwd:pwd:"])
def test_the_time_grows_with_the_length_of_the_text_only(unit: str) -> None:
    def seconds(size: int) -> float:
        begin = time.process_time()
        redact(unit * (size // len(unit)))
        return time.process_time() - begin

    small = min(seconds(20_000) for _ in range(3))
    assert seconds(200_000) < 40 * small + 0.1, "ten times the text; a square would be a hundred"


def test_a_known_secret_is_not_cut_in_two_where_a_text_is_cut() -> None:
    secret = "".join(chr(ord("A") + n % 26) for n in range(100))
    clean = presentable(f"{secret}\n" * 2000, [secret], kept=250)
    assert "ABC" not in clean
    assert "XYZ" not in clean


def test_a_text_loses_known_secret_values_the_longest_first() -> None:
    secrets = ["abcdefgh", "abcdefgh-ijkl"]
    assert redact("abcdefgh-ijkl abcdefgh", secrets) == f"{REDACTED} {REDACTED}"


def test_a_known_secret_too_short_to_be_one_stays() -> None:
    assert redact("a local cat", ["cat", "local"]) == "a local cat"


def test_nested_values_lose_their_secrets_and_keep_their_shape() -> None:
    given = {"password": "x", "ok": [1, {"token": "ssm:a"}, "u://a:b@c"], "n": None}
    expected = {"password": "***", "ok": [1, {"token": "ssm:a"}, "u://a:***@c"], "n": None}
    assert redact_values(given) == expected
    assert given["password"] == "x"


@pytest.mark.parametrize(
    "text",
    [
        "jdbc:sqlserver://db:1433;database=x;password=hunter22",
        "https://account.blob.example/container?sv=2022&sig=hunter22",
        "Endpoint=sb://bus/;AccountKey=hunter22",
    ],
)
def test_a_secret_inside_a_connection_string_is_found_and_taken_out(text: str) -> None:
    assert list(find_secrets({"address": text}))
    assert "hunter22" not in redact(f"cannot open {text}")


def test_a_name_that_ends_with_password_is_secret() -> None:
    assert is_secret_key("PGPASSWORD")
