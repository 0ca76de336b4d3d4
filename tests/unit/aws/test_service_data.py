"""botocore's descriptions of services are what botocore reads."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import DataNotFoundError, UnknownServiceError
from botocore.loaders import Loader

from dynamodb_wrapper.aws.service_data import fast_loader


@pytest.fixture
def theirs() -> Loader:
    loader: Loader = botocore.session.Session().get_component("data_loader")
    return loader


@pytest.mark.parametrize("name", ["dynamodb", "sts", "sso-oidc"])
@pytest.mark.parametrize("kind", ["service-2", "endpoint-rule-set-1"])
def test_a_service_is_described_as_by_botocore(theirs: Loader, name: str, kind: str) -> None:
    ours = fast_loader(theirs)
    assert in_full(ours.load_service_model(name, kind)) == in_full(
        theirs.load_service_model(name, kind)
    )
    assert ours.determine_latest_version(name, kind) == theirs.determine_latest_version(name, kind)


@pytest.mark.parametrize("name", ["endpoints", "partitions", "sdk-default-configuration", "_retry"])
def test_other_data_is_what_botocore_reads(theirs: Loader, name: str) -> None:
    found, path = fast_loader(theirs).load_data_with_path(name)
    expected, there = theirs.load_data_with_path(name)
    assert in_full(found) == in_full(expected)
    assert path == there
    assert fast_loader(theirs).is_builtin_path(path)


def test_the_same_services_are_there(theirs: Loader) -> None:
    services = fast_loader(theirs).list_available_services("service-2")
    assert sorted(services) == theirs.list_available_services("service-2")
    assert "dynamodb" in services
    assert "dynamo" not in services


def test_an_unknown_service_is_refused_naming_the_known_ones(theirs: Loader) -> None:
    with pytest.raises(UnknownServiceError, match=r"'dynamo'.* dynamodb,"):
        fast_loader(theirs).load_service_model("dynamo", "service-2")
    with pytest.raises(DataNotFoundError):
        fast_loader(theirs).load_data("nothing")


@pytest.mark.parametrize("ending", [".json", ".json.gz"])
def test_a_description_of_the_users_own_is_found(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "models" / "own" / "2026-01-01"
    folder.mkdir(parents=True)
    text = json.dumps({"metadata": {"serviceId": "Ö"}}).encode()
    (folder / f"service-2{ending}").write_bytes(gzip.compress(text) if "gz" in ending else text)
    monkeypatch.setenv("AWS_DATA_PATH", str(tmp_path / "models"))
    ours = fast_loader(botocore.session.Session().get_component("data_loader"))
    assert ours.load_service_model("own", "service-2")["metadata"] == {"serviceId": "Ö"}
    assert "dynamodb" in ours.list_available_services("service-2")


def in_full(value: Any) -> str:
    """Return data as text, its order included."""
    return json.dumps(value)
