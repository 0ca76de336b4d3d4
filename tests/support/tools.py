"""Tools that intercept requests, each as a program: switch it on, send requests, print what it saw.

``python -m tests.support.tools NAME before|after URL PREFIX`` switches the tool on before or after
the client is made, sends one request of each of `OPERATIONS`, and writes a list of the requests the
tool recorded: by operation where it knows operations, else by the HTTP method.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Callable

from dynamodb_wrapper.aws.client import client_for
from dynamodb_wrapper.config import DynamoDBConfig
from dynamodb_wrapper.repositories import BaseDynamoRepository
from tests.support.transports import ORDERS, Order

Orders = BaseDynamoRepository[Order]
Seen = Callable[[], list[str]]
ORDER = Order(customer_id="c", order_id="o")
OPERATIONS: dict[str, Callable[[Orders], object]] = {
    "PutItem": lambda orders: orders.put(ORDER),
    "GetItem": lambda orders: orders.get(("c", "o")),
    "Query": lambda orders: list(orders.query("c")),
    "BatchWriteItem": lambda orders: orders.put_many([ORDER]),
    "BatchGetItem": lambda orders: orders.get_many([("c", "o")]),
}
ANSWERS: dict[str, dict[str, Any]] = {
    "PutItem": {},
    "GetItem": {"Item": {"customer_id": {"S": "c"}, "order_id": {"S": "o"}}},
    "Query": {"Items": [], "Count": 0},
    "BatchWriteItem": {"UnprocessedItems": {}},
    "BatchGetItem": {"Responses": {}, "UnprocessedKeys": {}},
}
_open = ExitStack()


def opentelemetry(instrumentor: Any, attribute: str) -> Seen:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor.instrument(tracer_provider=provider)
    return lambda: [span.attributes[attribute] for span in exporter.get_finished_spans()]


def opentelemetry_botocore(_: DynamoDBConfig) -> Seen:
    from opentelemetry.instrumentation.botocore import BotocoreInstrumentor

    return opentelemetry(BotocoreInstrumentor(), "rpc.method")


def opentelemetry_urllib3(_: DynamoDBConfig) -> Seen:
    from opentelemetry.instrumentation.urllib3 import URLLib3Instrumentor

    return opentelemetry(URLLib3Instrumentor(), "http.method")


def xray(_: DynamoDBConfig) -> Seen:
    from aws_xray_sdk.core import patch, xray_recorder

    xray_recorder.configure(sampling=False, service="test")
    segment = xray_recorder.begin_segment("test")
    patch(["botocore"])
    return lambda: [part.aws["operation"] for part in segment.subsegments]


def datadog(integration: str, tag: str) -> Seen:
    from ddtrace.trace import TraceFilter, tracer

    found: list[str] = []

    class Collect(TraceFilter):  # type: ignore[misc]
        def process_trace(self, trace: Any) -> None:
            found.extend(str(span.get_tag(tag)) for span in trace if span.get_tag(tag))

    tracer.configure(trace_processors=[Collect()])
    import ddtrace

    ddtrace.patch(**{integration: True})
    return lambda: found


def newrelic(_: DynamoDBConfig) -> Seen:
    import newrelic.agent
    from newrelic.core.config import global_settings
    from newrelic.core.stats_engine import StatsEngine

    found: list[Any] = []
    StatsEngine.record_transaction = lambda _, transaction: found.append(transaction)
    newrelic.agent.initialize()
    global_settings().developer_mode = True
    application = newrelic.agent.register_application(timeout=10)
    task = newrelic.agent.BackgroundTask(application, "test")
    _open.enter_context(task)

    def seen() -> list[str]:
        _open.close()
        nodes = found[0].root.children
        return [str(node.agent_attributes["aws.operation"]) for node in nodes]

    return seen


def elastic(_: DynamoDBConfig) -> Seen:
    import elasticapm

    found: list[dict[str, Any]] = []

    class Client(elasticapm.Client):  # type: ignore[misc]
        def queue(self, event_type: str, data: dict[str, Any], flush: bool = False) -> None:
            found.append({event_type: data})

    client = Client(service_name="test", metrics_interval="0s", central_config=False)
    elasticapm.instrument()
    client.begin_transaction("test")

    def seen() -> list[str]:
        client.end_transaction("test")
        spans = [event["span"] for event in found if "span" in event]
        return [span["name"].split()[1] for span in spans if span["subtype"] == "dynamodb"]

    return seen


def sentry(_: DynamoDBConfig) -> Seen:
    import sentry_sdk

    found: list[Any] = []
    sentry_sdk.init(
        dsn="http://key@127.0.0.1:9/1",
        traces_sample_rate=1.0,
        before_send_transaction=lambda event, _: found.append(event),
    )
    transaction = _open.enter_context(sentry_sdk.start_transaction(name="test"))
    assert transaction is not None

    def seen() -> list[str]:
        _open.close()
        (event,) = found
        spans = [span["description"] for span in event["spans"]]
        return [text.partition(" ")[0] for text in spans if text.startswith("POST")]

    return seen


def vcrpy(config: DynamoDBConfig) -> Seen:
    import vcr

    folder = Path(_open.enter_context(tempfile.TemporaryDirectory()))
    recorder = vcr.VCR(record_mode="all")
    cassette = _open.enter_context(recorder.use_cassette(str(folder / "cassette.yaml")))
    return lambda: [_operation(request.headers) for request in cassette.requests]


def moto(config: DynamoDBConfig) -> Seen:
    folder = _open.enter_context(tempfile.TemporaryDirectory())
    os.environ["MOTO_RECORDER_FILEPATH"] = str(Path(folder) / "recording")
    from moto import mock_aws
    from moto.moto_api import recorder

    _open.enter_context(mock_aws())
    BaseDynamoRepository(config, ORDERS).create_table()
    recorder.start_recording()

    def seen() -> list[str]:
        lines = recorder.download_recording().splitlines()
        return [_operation(json.loads(line)["headers"]) for line in lines]

    return seen


def stubber(config: DynamoDBConfig) -> Seen:
    from botocore.stub import Stubber

    client = client_for(config)
    stub, found = Stubber(client), []
    for operation, answer in ANSWERS.items():
        stub.add_response(_method(operation), answer)
    stub.activate()
    client.meta.events.register(
        "after-call.dynamodb", lambda model, **_: found.append(str(model.name))
    )

    def seen() -> list[str]:
        stub.assert_no_pending_responses()
        return found

    return seen


def gevent(_: DynamoDBConfig) -> Seen:
    from gevent import monkey

    monkey.patch_all()
    from gevent.socket import socket

    found: list[str] = []
    real = socket.sendall

    def sendall(connection: Any, data: Any, *arguments: Any) -> Any:
        found.extend(re.findall(r"(?i)x-amz-target: \w+\.(\w+)", bytes(data).decode("latin-1")))
        return real(connection, data, *arguments)

    socket.sendall = sendall
    return lambda: found


TOOLS: dict[str, Callable[[DynamoDBConfig], Seen]] = {
    "opentelemetry-botocore": opentelemetry_botocore,
    "opentelemetry-urllib3": opentelemetry_urllib3,
    "aws-xray-sdk": xray,
    "ddtrace-botocore": lambda _: datadog("botocore", "aws.operation"),
    "ddtrace-urllib3": lambda _: datadog("urllib3", "http.method"),
    "ddtrace-httplib": lambda _: datadog("httplib", "http.method"),
    "newrelic": newrelic,
    "elastic-apm": elastic,
    "sentry-sdk": sentry,
    "vcrpy": vcrpy,
    "moto": moto,
    "stubber": stubber,
    "gevent": gevent,
}


def _operation(headers: Any) -> str:
    """Return the operation that a request names in its headers."""
    named = {str(name).lower(): value for name, value in headers.items()}
    target = named["x-amz-target"]
    if isinstance(target, list):
        (target,) = target
    text = target.decode() if isinstance(target, bytes) else str(target)
    return text.rpartition(".")[2]


def _method(operation: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in operation).lstrip("_")


def main(name: str, when: str, url: str, prefix: str) -> None:
    config = DynamoDBConfig.for_local_development(url, table_prefix=prefix, transport="direct")
    if name == "moto":  # which mocks the endpoint of AWS only
        config = config.model_copy(update={"endpoint_url": None})
    make = partial(BaseDynamoRepository, config, ORDERS)
    if when == "before":
        seen = TOOLS[name](config)
        orders = make()
    else:
        orders = make()
        if name != "moto":
            orders.get(("c", "o"))
        seen = TOOLS[name](config)
    for use in OPERATIONS.values():
        use(orders)
    sys.stdout.write(json.dumps(seen()))


if __name__ == "__main__":
    main(*sys.argv[1:])
