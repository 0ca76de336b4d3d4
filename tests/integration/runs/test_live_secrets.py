"""Credentials from the SDK's own chain, renewed ones included, are in nothing that is stored."""

from __future__ import annotations

import json
import logging
import threading
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from dynamodb_wrapper.aws.client import client_for, close_clients
from dynamodb_wrapper.config import DynamoDBConfig
from dynamodb_wrapper.exceptions import ValidationError
from dynamodb_wrapper.models import PipelineConfig, PipelineRunLog
from dynamodb_wrapper.models.run import StageInfo
from dynamodb_wrapper.runs import RunOptions, RunTracker
from tests.integration.runs.test_secrets import Secrets, Shown, told_everything, watched
from tests.support.runs import with_pipelines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ROLE = "arn:aws:iam::123456789012:role/pipelines"
STS = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
<AssumedRoleUser><Arn>{role}</Arn><AssumedRoleId>AROA:job</AssumedRoleId></AssumedRoleUser>
<Credentials><AccessKeyId>{key_id}</AccessKeyId><SecretAccessKey>{key}</SecretAccessKey>
<SessionToken>{token}</SessionToken><Expiration>{until}</Expiration></Credentials>
</AssumeRoleResult></AssumeRoleResponse>"""


class Issuer:
    """Hands out credentials as the agent of a container and as STS do.

    Attributes:
        issued: All that were handed out.
        lasting: How long they last; below ten minutes the SDK renews them for every request.
    """

    def __init__(self) -> None:
        self.issued: list[Secrets] = []
        self.lasting = timedelta(hours=6)
        issuer = self

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                new, until = issuer.new()
                self._answer(
                    json.dumps(
                        {
                            "AccessKeyId": new.key_id,
                            "SecretAccessKey": new.key,
                            "Token": new.token,
                            "Expiration": until,
                        }
                    )
                )

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                new, until = issuer.new()
                self._answer(
                    STS.format(
                        role=ROLE, key_id=new.key_id, key=new.key, token=new.token, until=until
                    )
                )

            def _answer(self, text: str) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def new(self) -> tuple[Secrets, str]:
        self.issued.append(Secrets())
        until = datetime.now(timezone.utc) + self.lasting
        return self.issued[-1], until.strftime("%Y-%m-%dT%H:%M:%SZ")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    issuer = Issuer()
    yield issuer
    issuer.close()


@pytest.fixture
def bare(
    local_config: DynamoDBConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[DynamoDBConfig]:
    """A config without credentials, in a process that has none either; the tables exist."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with_pipelines(
        local_config,
        PipelineConfig(pipeline_id="p"),
        PipelineConfig(pipeline_id="q", max_concurrent_runs=None),
    )
    yield DynamoDBConfig(
        region_name="us-east-1",
        endpoint_url=local_config.endpoint_url,
        table_prefix=local_config.table_prefix,
        spool_directory=str(tmp_path / "spool"),
    )
    close_clients()


Source = tuple[DynamoDBConfig, list[Secrets]]


def of_environment(config: DynamoDBConfig, issuer: Issuer, patch: Any, path: Path) -> Source:
    new, _ = issuer.new()
    patch.setenv("AWS_ACCESS_KEY_ID", new.key_id)
    patch.setenv("AWS_SECRET_ACCESS_KEY", new.key)
    patch.setenv("AWS_SESSION_TOKEN", new.token)
    return config, issuer.issued


def of_profile(config: DynamoDBConfig, issuer: Issuer, patch: Any, path: Path) -> Source:
    new, _ = issuer.new()
    (path / "AWS_SHARED_CREDENTIALS_FILE").write_text(
        f"[job]\naws_access_key_id={new.key_id}\naws_secret_access_key={new.key}\n"
        f"aws_session_token={new.token}\n"
    )
    return config.model_copy(update={"profile_name": "job"}), issuer.issued


def of_container(config: DynamoDBConfig, issuer: Issuer, patch: Any, path: Path) -> Source:
    patch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{issuer.url}/credentials")
    return config, issuer.issued


def of_role(config: DynamoDBConfig, issuer: Issuer, patch: Any, path: Path) -> Source:
    patch.setenv("AWS_ENDPOINT_URL_STS", issuer.url)
    found, issued = of_profile(config, issuer, patch, path)
    return found.model_copy(update={"role_arn": ROLE}), issued


SOURCES = [of_environment, of_profile, of_container, of_role]


@pytest.fixture(params=SOURCES, ids=lambda source: source.__name__)
def source(
    request: pytest.FixtureRequest,
    bare: DynamoDBConfig,
    issuer: Issuer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Source:
    found: Source = request.param(bare, issuer, monkeypatch, tmp_path)
    return found


@pytest.fixture
def debugging() -> Iterator[None]:
    """Let the SDK log all it does."""
    loggers = [logging.getLogger(name) for name in ("botocore", "urllib3")]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    yield
    for logger in loggers:
        logger.setLevel(logging.NOTSET)


def leaks(shown: Shown, issued: list[Secrets]) -> list[Any]:
    assert issued
    return [found for one in issued if (found := shown.leaks(one))]


@pytest.mark.usefixtures("debugging")
@pytest.mark.parametrize(
    ("transport", "lasting"),
    [("direct", timedelta(hours=6)), ("boto3", timedelta(minutes=5))],
    ids=["direct", "boto3 and renewed"],
)
def test_credentials_of_the_process_are_not_stored(
    source: Source, issuer: Issuer, transport: str, lasting: timedelta
) -> None:
    config, issued = source
    issuer.lasting = lasting
    config = config.model_copy(update={"transport": transport})
    tracker, logged = RunTracker(config), []
    options = RunOptions(capture_logs="DEBUG", finish_seconds=5)
    with watched(config) as shown:
        with suppress(OSError), tracker.run("q", options=options) as run:
            for number in range(2):
                run.log_metric(f"metric {number}", 1)
                logged.append(issued[-1])
                for one in logged:  # one that was renewed is still valid
                    logging.getLogger("job").warning("a line with %s, %s", one.key, one.token)
            told_everything(run, logged[0])
            raise OSError(logged[0].text("the-message"))
    assert leaks(shown, issued) == []
    assert shown.has("the-message", "item")
    assert shown.has("a line with ***, ***", "chunk")


def test_what_is_given_to_a_run_is_refused_or_stored_without_them(
    source: Source, issuer: Issuer
) -> None:
    config, issued = source
    tracker = RunTracker(config)
    with watched(config) as shown:
        assert tracker.holder("p") is None
        hidden = issued[-1]
        text = f"the-text {hidden.key} and {hidden.token}"
        with tracker.run("p", parameters={"a": text, text: 1}, tags={"t": hidden.key}) as run:
            for refused in (
                lambda: run.advance_watermark("w", text),
                lambda: run.advance_watermark("w", {"deep": [text]}),
                lambda: run.advance_watermark("w", text.encode()),
                lambda: run.advance_watermark(text, 1),
                lambda: tracker.reset_watermark("p", "w", text),
                lambda: tracker.start("q", run_key=hidden.token.replace("/", "-")),
            ):
                with pytest.raises(ValidationError):
                    refused()
            tracker.runs.update(run.run_id, set={"notes": text, "tags": {hidden.key: hidden.key}})
            tracker.runs.update(run.run_id, set={("tags", "x"): hidden.key})
            tracker.cancel(run.run_id, by=text)
            run.skip(text)
        tracker.runs.create_run_log(
            PipelineRunLog(
                run_id="foreign",
                pipeline_id="q",
                status="running",
                notes=text,
                status_detail=text,
                tags={"t": hidden.key},
                inputs=[text],
                metrics={text: 1},
            )
        )
        tracker.runs.add_stage_info("foreign", text, StageInfo(error=text))
        tracker.runs.update_run_status("foreign", "failed", reason=hidden.key, detail=text)
    assert leaks(shown, issued) == []
    assert tracker.runs.get_or_raise("foreign").notes == "the-text *** and ***"
    assert tracker.runs.get_or_raise(run.run_id).notes == "the-text *** and ***"


@pytest.mark.parametrize("kind", [of_container, of_role], ids=lambda kind: kind.__name__)
def test_looking_for_them_requests_nothing(
    bare: DynamoDBConfig,
    issuer: Issuer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    kind: Callable[..., Source],
) -> None:
    config, issued = kind(bare, issuer, monkeypatch, tmp_path)
    given = len(issued)
    tracker = RunTracker(config)
    with tracker.run("p"):
        pass
    asked = len(issued)
    assert 1 <= asked - given <= 2  # one client with patience and one without
    with tracker.run("p") as run:
        run.log_metric("m", "text")
        logging.getLogger("job").warning("a line")
    assert len(issued) == asked


def test_the_credentials_of_a_client_that_was_passed_in_are_known(
    bare: DynamoDBConfig, local_config: DynamoDBConfig, issuer: Issuer, tmp_path: Path
) -> None:
    config, issued = of_profile(bare, issuer, None, tmp_path)
    client = client_for(config.model_copy(update={"actor": "another"}))
    close_clients()
    tracker = RunTracker(local_config, client=client)
    with watched(local_config) as shown, tracker.run("p") as run:
        run.log_metric("login", issued[0].key)
        logging.getLogger("job").warning("with %s", issued[0].token)
    assert leaks(shown, issued) == []
    assert tracker.runs.get_log_lines(run.run_id)[0].endswith("with ***")
