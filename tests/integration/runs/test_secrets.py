"""Secrets of the process in all inputs of a run, and in nothing that is stored, logged or shown."""

from __future__ import annotations

import base64
import gzip
import importlib.util
import logging
import os
import pickle
import secrets
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from dynamodb_wrapper.aws.client import client_for
from dynamodb_wrapper.config import DynamoDBConfig
from dynamodb_wrapper.exceptions import DynamoDBWrapperError, RunFinishError, ValidationError
from dynamodb_wrapper.models import DataQualityResult, PipelineConfig
from dynamodb_wrapper.runs import RunOptions, RunTracker
from dynamodb_wrapper.spark import SparkDynamoDBIntegration
from tests.support import faults
from tests.support.runs import beat, run_table_items, with_pipelines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dynamodb_wrapper.runs import Run, RunEvent

OUTAGE = RunOptions(finish_seconds=0.2)
NEVER_SHOWN = 12  # characters of a secret in a row


class Secrets:
    """Secrets made for this test, and texts that hold them all.

    Attributes:
        key: Secret access key of the process.
        token: Session token of the process.
        password: Known by the word before it only.
        key_id: Known by its form only.
    """

    def __init__(self) -> None:
        self.key = base64.b64encode(os.urandom(30)).decode()
        self.token = base64.b64encode(os.urandom(300)).decode()
        self.password = secrets.token_urlsafe(24)
        self.key_id = "AKIA" + base64.b32encode(os.urandom(10)).decode()

    def text(self, marker: str) -> str:
        """Return a text with every secret, and a word that is none to find it by."""
        return (
            f"{marker}: {self.key} {self.token} password={self.password} {self.key_id} "
            f"https://user:{self.password}@host/path"
        )

    def found_in(self, text: str) -> list[str]:
        """Return which secrets a text shows, if only in part."""
        known = vars(self).items()
        return [name for name, value in known if any(part in text for part in _parts(value))]


def _parts(value: str) -> set[str]:
    return {value[i : i + NEVER_SHOWN] for i in range(len(value) - NEVER_SHOWN + 1)}


@pytest.fixture
def hidden() -> Secrets:
    return Secrets()


@pytest.fixture
def config(local_config: DynamoDBConfig, hidden: Secrets, tmp_path: Path) -> DynamoDBConfig:
    """A config with the secrets, from the environment as a job has it, and an engine that
    takes any key.
    """
    environment = {
        "AWS_REGION": local_config.region_name,
        "DYNAMODB_ENDPOINT_URL": local_config.endpoint_url,
        "DYNAMODB_TABLE_PREFIX": local_config.table_prefix,
        "DYNAMODB_SPOOL_DIRECTORY": str(tmp_path / "spool"),
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": hidden.key,
        "AWS_SESSION_TOKEN": hidden.token,
    }
    config = DynamoDBConfig.from_env({name: str(value) for name, value in environment.items()})
    return with_pipelines(
        config,
        PipelineConfig(pipeline_id="p"),
        PipelineConfig(pipeline_id="unlimited", max_concurrent_runs=None),
    )


class Shown:
    """Everything another person can see of what was done in its block.

    Attributes:
        places: Texts by the place they were found at.
    """

    def __init__(self, config: DynamoDBConfig) -> None:
        self._config = config
        self.places: dict[str, str] = {}

    def log(self, record: logging.LogRecord) -> None:
        text = logging.Formatter("%(message)s").format(record)
        self._add(f"log of {record.name}", f"{text}\n{record.args!r}")

    def objects(self, *objects: object) -> None:
        """Look at objects as they are printed."""
        for shown in objects:
            self._add(f"repr of {type(shown).__name__}", f"{shown!r} {shown}")

    def pickles(self, *objects: object) -> None:
        """Look at objects as they are sent to executors."""
        for sent in objects:
            self._add(f"pickle of {type(sent).__name__}", pickle.dumps(sent).decode("latin-1"))

    def stored(self) -> None:
        """Look at every item, compressed ones as well, and at every file of the spool."""
        for key, item in run_table_items(self._config).items():
            self._add(f"item {key}", repr(item))
            if "data" in item:
                self._add(f"chunk {key}", gzip.decompress(bytes(item["data"])).decode())
        for path in self._config.spool_path().glob("*"):
            self._add(f"spool {path.name}", path.read_bytes().decode("latin-1"))

    def _add(self, place: str, text: str) -> None:
        self.places[place] = self.places.get(place, "") + text

    def leaks(self, hidden: Secrets) -> dict[str, list[str]]:
        """Return what secrets are found where."""
        found = {place: hidden.found_in(text) for place, text in self.places.items()}
        return {place: names for place, names in found.items() if names}

    def has(self, marker: str, kind: str) -> bool:
        """Return whether a given text is found at a kind of place: it is not just gone."""
        return any(marker in text for place, text in self.places.items() if place.startswith(kind))


@contextmanager
def watched(config: DynamoDBConfig) -> Iterator[Shown]:
    """See what the block stores and what the library logs of it, at every level."""
    shown = Shown(config)

    class Watching(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            shown.log(record)

    handler, library = Watching(), logging.getLogger("dynamodb_wrapper")
    level = library.level
    library.addHandler(handler)
    library.setLevel(logging.DEBUG)
    try:
        yield shown
    finally:
        library.removeHandler(handler)
        library.setLevel(level)
        shown.stored()


def told_everything(run: Run, hidden: Secrets) -> None:
    """Give a run secrets in every argument that takes a text."""
    run.log_metric("login", hidden.text("the-metric"))
    run.log_quality("check", DataQualityResult(passed=False, message=hidden.text("the-check")))
    run.log_inputs(hidden.text("the-input"))
    logging.getLogger("a.job").error("%s", hidden.text("the-line"))
    with suppress(OSError), run.stage("load"):
        raise OSError(hidden.text("the-stage"))


def given(hidden: Secrets) -> dict[str, Any]:
    """What a run is started with."""
    parameters = {
        "url": hidden.text("the-parameter"),
        "nested": [{"deep": hidden.text("the-nested-parameter")}],
        "password": hidden.password,
    }
    return {"parameters": parameters, "tags": {"team": f"the-tag {hidden.key}"}}


def test_names_and_keys_are_stored_without_the_secrets_of_the_process(
    config: DynamoDBConfig, hidden: Secrets
) -> None:
    def name(marker: str) -> str:
        return f"{marker} {hidden.key} {hidden.token}"

    kind = type(name("TheClass"), (ValueError,), {})
    tracker, nested = RunTracker(config), {name("the-nested-key"): [{name("the-deep-key"): 1}]}
    told = {"parameters": {name("the-key"): nested}, "tags": {f"the-tag {hidden.key}": "x"}}
    for outage in (False, True):
        with watched(config) as shown:
            with suppress(kind), ExitStack() as afterwards:
                with tracker.run("unlimited", options=OUTAGE, **told) as run:  # type: ignore[arg-type]
                    if outage:
                        afterwards.enter_context(faults.outage(config))
                    run.log_metric(name("the-metric"), 1)
                    run.log_quality(name("the-check"), True)
                    run.log_output(name("the-output"), rows=1)
                    with run.stage(name("the-stage")) as stage:
                        stage.log_metric(name("the-stage-metric"), 1)
                        raise kind
            shown.stored()
        assert shown.leaks(hidden) == {}
        place = "spool" if outage else "item"
        for marker in ("the-key", "the-nested-key", "the-deep-key", "the-tag", "TheClass"):
            assert shown.has(marker, place), marker
        for marker in ("the-metric", "the-check", "the-output", "the-stage", "the-stage-metric"):
            assert shown.has(marker, place), marker
    with watched(config) as shown:
        assert [one.stored for one in tracker.replay_outcomes()] == [True]
    assert shown.has("the-stage-metric", "item")
    assert shown.leaks(hidden) == {}


def test_what_items_are_found_by_is_refused_with_a_secret_of_the_process(
    config: DynamoDBConfig, hidden: Secrets
) -> None:
    tracker = RunTracker(config)
    secret = hidden.key.replace("+", "-")  # as it is, a run key could have it by its characters
    known = config.model_copy(update={"aws_secret_access_key": SecretStr(secret)})
    errors: list[BaseException] = []
    with watched(config) as shown:
        with tracker.run("p") as run:
            for call in (
                lambda: RunTracker(known).start("unlimited", run_key=f"for-{secret}"),
                lambda: tracker.start("unlimited", external_id=f"job {hidden.key}"),
                lambda: run.advance_watermark(hidden.token, 1),
                lambda: run.watermark(f"of {hidden.key}"),
                lambda: tracker.reset_watermark("p", hidden.key, 1),
            ):
                with pytest.raises(ValidationError, match="holds a secret") as refused:
                    call()
                errors.append(refused.value)
        shown.objects(*errors)
        shown.pickles(*errors)
    assert shown.leaks(hidden) == {}
    assert secret not in "".join(shown.places.values())


def chained(hidden: Secrets) -> Exception:
    """An exception that came of another, each with a text of secrets."""
    try:
        try:
            raise KeyError(hidden.text("the-context"))
        except KeyError as error:
            raise OSError(hidden.text("the-cause")) from error
    except OSError as error:
        failure = ValueError(hidden.text("the-message") + "\nand so on" * 1000)
        failure.__cause__ = error
        return failure


def test_a_failed_run_shows_no_secret_it_was_given(config: DynamoDBConfig, hidden: Secrets) -> None:
    tracker, error = RunTracker(config), chained(hidden)
    with watched(config) as shown:
        with pytest.raises(ValueError, match="the-message"):
            with tracker.run("p", **given(hidden)) as run:
                told_everything(run, hidden)
                shown.stored()
                raise error
        shown.objects(config, tracker, run, run.record, run.internals, run.internals.options)
    assert shown.leaks(hidden) == {}
    for marker in ("the-metric", "the-check", "the-input", "the-stage", "the-message"):
        assert shown.has(marker, "item"), marker
    for marker in ("the-parameter", "the-nested-parameter", "the-tag"):
        assert shown.has(marker, "item"), marker
    assert shown.has("the-cause", "chunk")
    assert shown.has("the-context", "chunk")
    assert shown.has("the-line", "chunk")


def test_an_end_in_an_outage_shows_no_secret_in_the_spool_and_after_the_replay(
    config: DynamoDBConfig, hidden: Secrets
) -> None:
    tracker, error = RunTracker(config), chained(hidden)
    with watched(config) as shown:
        with pytest.raises(ValueError, match="the-message") as caught, ExitStack() as afterwards:
            with tracker.run("p", options=OUTAGE, **given(hidden)) as run:
                afterwards.enter_context(faults.outage(config))
                told_everything(run, hidden)
                raise error
        shown.objects(*caught.value.__notes__)
        shown.stored()
        assert shown.has("the-line", "spool")
        shown.objects(*tracker.replay_outcomes())
    assert shown.leaks(hidden) == {}
    for marker in ("the-metric", "the-check", "the-input", "the-stage", "the-message"):
        assert shown.has(marker, "spool"), marker
        assert shown.has(marker, "item"), marker
    assert shown.has("the-line", "chunk")


def test_the_lines_of_the_sdk_are_stored_without_the_session_token(
    config: DynamoDBConfig, hidden: Secrets
) -> None:
    sdk = logging.getLogger("botocore")
    sdk.setLevel(logging.DEBUG)
    try:
        with watched(config) as shown:
            with RunTracker(config).run("p", options=RunOptions(capture_logs="DEBUG")) as run:
                run.log_metric("rows", 7)
    finally:
        sdk.setLevel(logging.NOTSET)
    assert shown.has("x-amz-security-token", "chunk")
    assert shown.leaks(hidden) == {}


def test_what_people_say_of_a_run_is_stored_without_secrets(
    config: DynamoDBConfig, hidden: Secrets
) -> None:
    tracker = RunTracker(config)
    with watched(config) as shown:
        with tracker.run("unlimited") as run:
            tracker.cancel(run.run_id, by=hidden.text("the-caller"))
            beat(run)
            with pytest.raises(DynamoDBWrapperError) as cancelled:
                run.raise_if_cancelled()
            run.skip(hidden.text("the-skip"))
        with suppress(RunFinishError), tracker.run("p") as released:
            tracker.release("p", reason=hidden.text("the-release"))
        assert released.run_id != run.run_id
        shown.objects(cancelled.value)
        shown.pickles(cancelled.value)
    assert shown.leaks(hidden) == {}
    for marker in ("the-caller", "the-skip", "the-release"):
        assert shown.has(marker, "item"), marker


def test_a_hook_that_fails_while_a_body_fails_shows_no_secret_of_either(
    config: DynamoDBConfig, hidden: Secrets
) -> None:
    """What the hook raises has the body's exception as its context."""

    def fails(event: RunEvent) -> None:
        raise RuntimeError(hidden.text(f"the-hook on {event.kind}"))

    with watched(config) as shown, suppress(ValueError):
        with RunTracker(config, hooks=[fails]).run("p"):
            raise chained(hidden)
    assert shown.has("the-hook on failed", "log")
    assert shown.leaks(hidden) == {}


def test_a_source_line_of_the_stack_shows_no_secret(
    config: DynamoDBConfig, hidden: Secrets, tmp_path: Path
) -> None:
    source = tmp_path / "job_with_a_secret.py"
    source.write_text(f'def work():\n    raise OSError("the-source" or "{hidden.key}")\n')
    spec = importlib.util.spec_from_file_location("job_with_a_secret", source)
    assert spec is not None
    assert spec.loader is not None
    job = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(job)
    with watched(config) as shown, suppress(OSError), RunTracker(config).run("p"):
        job.work()
    assert shown.has('raise OSError("the-source" or', "item")
    assert shown.leaks(hidden) == {}


@pytest.mark.parametrize("count", [1, 40, 400, 4000])
def test_a_secret_is_not_cut_in_two_where_a_long_text_is_cut(
    config: DynamoDBConfig, hidden: Secrets, count: int
) -> None:
    error = ValueError(f"{hidden.key} {hidden.token}\n" * count)
    with watched(config) as shown, suppress(ValueError):
        with RunTracker(config).run("p", parameters={"text": str(error)}) as run:
            run.log_metric("text", str(error))
            logging.getLogger("a.job").error("%s", error)
            raise error
    assert shown.has("ValueError", "item")
    assert shown.leaks(hidden) == {}


def test_errors_show_no_secret_printed_or_pickled(config: DynamoDBConfig, hidden: Secrets) -> None:
    tracker = RunTracker(config)
    errors: list[DynamoDBWrapperError] = []
    bad: list[Any] = [
        lambda: tracker.run("p", parameters={"x": hidden.key}, tags={"t": hidden.key_id}),
        lambda: tracker.run("nowhere", parameters={"x": hidden.key}),
    ]
    for make in bad:
        with pytest.raises(DynamoDBWrapperError) as refused, make():
            pass
        errors.append(refused.value)
    with tracker.run("p") as run:
        for record in (
            lambda: run.log_metric("x", [hidden.key]),  # type: ignore[arg-type]
            lambda: run.log_output("x", rows=hidden.key),  # type: ignore[arg-type]
            lambda: run.log_quality("x", True, failed_rows=hidden.key),
            lambda: run.stage("s").log_metric("x", [hidden.key]),  # type: ignore[arg-type]
        ):
            with pytest.raises(DynamoDBWrapperError) as refused:
                record()
            errors.append(refused.value)
    with faults.outage(config):
        with pytest.raises(DynamoDBWrapperError) as refused, tracker.run("p"):
            pass
        errors.append(refused.value)
    shown = Shown(config)
    shown.objects(*errors, *[error.__cause__ for error in errors])
    shown.pickles(*errors)
    assert shown.leaks(hidden) == {}


def test_what_is_sent_to_executors_carries_no_secret(
    config: DynamoDBConfig, hidden: Secrets
) -> None:
    integration = SparkDynamoDBIntegration(config)
    shown = Shown(config)
    shown.objects(config, integration, integration.tracker, config.impatient())
    shown.pickles(config, integration, config.impatient())
    assert shown.has("local", "repr of DynamoDBConfig") or shown.places
    assert shown.leaks(hidden) == {}
    assert pickle.loads(pickle.dumps(integration)).config.table_prefix == config.table_prefix


def test_a_client_that_was_passed_in_changes_nothing(
    config: DynamoDBConfig, hidden: Secrets
) -> None:
    tracker = RunTracker(config, client=client_for(config))
    with watched(config) as shown, suppress(ValueError):
        with tracker.run("p", **given(hidden)) as run:
            told_everything(run, hidden)
            raise chained(hidden)
    assert shown.has("the-message", "item")
    assert shown.leaks(hidden) == {}
