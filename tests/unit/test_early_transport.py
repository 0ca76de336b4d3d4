"""What is known without botocore is what botocore knows."""

from __future__ import annotations

import ssl
import sys
from pathlib import Path
from typing import Any

import botocore
import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from botocore.httpsession import get_cert_path

from dynamodb_wrapper.config import DynamoDBConfig
from dynamodb_wrapper.config.direct.alone import Keys, keys_of, setting_for_the_client
from dynamodb_wrapper.config.direct.early import authorities, endpoint_of, secured_by
from dynamodb_wrapper.config.direct.settings import Settings


def test_the_authorities_are_those_botocore_trusts() -> None:
    assert authorities() == get_cert_path(True)


def test_without_certifi_they_are_botocores_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "certifi", None)
    assert authorities() == str(Path(botocore.__file__).parent / "cacert.pem")


def test_authorities_that_are_not_there_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    certifi: Any = pytest.importorskip("certifi")
    monkeypatch.setattr(certifi, "where", lambda: "/nowhere/ca.pem")
    with pytest.raises(OSError, match="nowhere"):
        authorities()


def test_connections_are_secured_as_the_clients() -> None:
    settings = Settings(1, 1, 1, False, {}, authorities())
    theirs, ours = settings.road_to("https://host/").tls, secured_by(authorities())
    assert theirs is not None
    for name in ("options", "verify_mode", "verify_flags", "check_hostname", "protocol"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.cert_store_stats() == theirs.cert_store_stats()
    assert getattr(ours, "post_handshake_auth", None) == getattr(
        theirs, "post_handshake_auth", None
    )
    assert ours.minimum_version == theirs.minimum_version
    assert ours.verify_mode == ssl.CERT_REQUIRED


# ---- endpoints and keys --------------------------------------------------------------------------

SDK = botocore.session.Session()
PARTITIONS = {name: SDK.get_available_regions("dynamodb", name) for name in ("aws", "aws-cn")}
REGIONS = [region for region in PARTITIONS["aws"] if "fips" not in region and region != "local"]


def config_of(region: str, **given: Any) -> DynamoDBConfig:
    keys = {"aws_access_key_id": "AKIAKEY", "aws_secret_access_key": "secret"}
    return DynamoDBConfig(region_name=region, **{**keys, **given})


@pytest.mark.parametrize("region", REGIONS)
def test_a_region_has_the_endpoint_botocore_finds(region: str) -> None:
    asked: list[str] = []

    def note(request: Any, **_: Any) -> AWSResponse:
        asked.append(request.url)
        return AWSResponse(request.url, 200, {}, _Nothing())

    session = botocore.session.Session()
    session.set_credentials("k", "s")
    client = session.create_client("dynamodb", region_name=region)
    client.meta.events.register_first("before-send.dynamodb", note)
    client.get_item(TableName="orders", Key={"order_id": {"S": "o"}})
    assert asked == [f"{endpoint_of(config_of(region))}/"]


class _Nothing:
    def stream(self, **_: Any) -> list[bytes]:
        return [b"{}"]


def test_every_region_of_other_partitions_is_left_to_the_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    others = [
        region
        for partition in SDK.get_available_partitions()
        for region in SDK.get_available_regions("dynamodb", partition)
        if partition != "aws"
    ]
    assert len(others) > 3
    told = {setting_for_the_client(config_of(region), {}) for region in others}
    assert told == {"region_name"}
    assert {setting_for_the_client(config_of(region), {}) for region in REGIONS} == {None}


def test_keys_are_not_shown() -> None:
    keys = keys_of(config_of("eu-west-1", aws_session_token="token"))
    assert keys == Keys("AKIAKEY", "secret", "token")
    assert "secret" not in repr(keys)
    assert "token" not in repr(keys)
