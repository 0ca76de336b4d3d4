"""Texts as programs print them lose their secrets and nothing else."""

from __future__ import annotations

import base64
import json
import time
from urllib.parse import quote

import pytest

from dynamodb_wrapper.redaction import (
    find_secrets,
    is_secret_key,
    plain_value,
    redact,
    redact_known,
)
from tests.unit.redaction.samples import HARMLESS, SECRETS


def test_no_secret_is_left() -> None:
    assert len(SECRETS) >= 230
    assert [text for text, secret in SECRETS if secret not in text] == []
    assert [(text, redact(text)) for text, secret in SECRETS if secret in redact(text)] == []


def test_harmless_texts_stay() -> None:
    assert len(HARMLESS) >= 300
    assert [(text, redact(text)) for text in HARMLESS if redact(text) != text] == []


def test_what_has_lost_its_secrets_stays_as_it_is() -> None:
    assert [text for text, _ in SECRETS if redact(redact(text)) != redact(text)] == []


@pytest.mark.parametrize("before", ["", "x ", "2026-01-01 12:00:00 INFO main: ", "(", "\n"])
def test_it_does_not_depend_on_what_stands_around(before: str) -> None:
    plain = [
        s
        for s in SECRETS
        if not s[0].startswith(("- ", "  ")) and "|\n" not in s[0] and ">\n" not in s[0]
    ]
    found = [before + text for text, secret in plain if secret in redact(f"{before}{text}\n")]
    kept = ("password: correcthorse",) if before == "x " else ()  # prose
    assert [text for text in found if not text.endswith(kept)] == []


SECRET = 'pä"ss/w&rd+1<2'


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        json.dumps({"x": SECRET}),
        json.dumps({"x": json.dumps({"y": SECRET})}),
        repr({"x": SECRET}),
        base64.b64encode(SECRET.encode()).decode(),
        "pä&quot;ss/w&amp;rd+1&lt;2",
        SECRET.encode().hex(),
    ],
)
def test_a_known_secret_goes_however_it_is_encoded(form: str) -> None:
    clean = redact_known(f"a {form} b", [SECRET])
    assert "***" in clean
    assert len(clean) <= len("a {'x': '***'} b") + 20
    assert "rd" not in clean


def test_settings_follow_the_same_rule() -> None:
    refused = {"spark.redis.auth": "hunter2x", "db.pw": "hunter2", "opts": "-Dpassword=hunter2"}
    assert {path for path, _ in find_secrets(refused)} == set(refused)
    taken = {
        "spark.kubernetes.driver.secrets.db": "/etc/secrets",
        "spark.kubernetes.driver.secretKeyRef.X": "name:key",
        "tokenFile": "abc123def",
        "fs.credentials": "keytab",
        "ssl.keySizeBits": "256",
        "secret": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:x",
        "passThrough": "abc123",
        "password": None,
        "auth": "kerberos",
    }
    assert list(find_secrets(taken)) == []


def test_what_is_refused_wrongly_can_be_marked() -> None:
    assert list(find_secrets({"my.token": "plain:abc123def"})) == []
    assert plain_value("plain:abc123def") == "abc123def"
    assert plain_value("abc") == "abc"


@pytest.mark.parametrize("unit", ["password=hunter2 ", "x", "password=[", "--token ", "a.b-"])
def test_a_text_of_a_megabyte_takes_linear_time(unit: str) -> None:
    def seconds(size: int) -> float:
        begin = time.process_time()
        redact(unit * (size // len(unit)))
        return time.process_time() - begin

    small = min(seconds(100_000) for _ in range(3))
    assert seconds(1_000_000) < 40 * small + 0.2, "ten times the text; a square would be a hundred"


def test_a_name_of_a_megabyte_is_judged_by_its_end() -> None:
    begin = time.process_time()
    assert is_secret_key("aB" * 500_000 + "_password")
    assert not is_secret_key("aB" * 500_000)
    assert time.process_time() - begin < 0.5
