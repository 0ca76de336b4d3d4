"""The settings of a client that say how an endpoint is reached, as botocore reads them."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from botocore.httpsession import (
    ProxyConfiguration,
    create_urllib3_context,
    ensure_boolean,
    get_cert_path,
)
from botocore.utils import get_environ_proxies

from dynamodb_wrapper.config.direct.pool import Proxy, Road
from dynamodb_wrapper.config.direct.signing import DEFAULT_PORTS
from dynamodb_wrapper.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

_HOST_TO_PROXY = "BOTO_EXPERIMENTAL__ADD_PROXY_HOST_HEADER"


@dataclass(frozen=True)
class Settings:
    """How endpoints are reached.

    Attributes:
        connect_timeout: Seconds.
        read_timeout: Seconds of silence.
        pool_size: Idle connections that are kept.
        keeps_alive: Whether TCP looks after idle connections.
        proxies: Scheme to address.
        authorities: Certificates that are trusted, a file or a directory.
    """

    connect_timeout: float
    read_timeout: float
    pool_size: int
    keeps_alive: bool
    proxies: Mapping[str, str]
    authorities: str

    def road_to(self, url: str) -> Road:
        """Return how the endpoint of a request is reached.

        Raises:
            OSError: The authorities cannot be read.
        """
        parts = urlsplit(url)
        return Road(
            url=url,
            host=str(parts.hostname),
            port=parts.port or DEFAULT_PORTS[parts.scheme],
            tls=_tls(self.authorities) if parts.scheme == "https" else None,
            proxy=_proxy_for(url, self.proxies),
            connect_timeout=self.connect_timeout,
            read_timeout=self.read_timeout,
            keeps_alive=self.keeps_alive,
        )


def settings_of(client: Any, session: Any) -> Settings:
    """Return the settings of a client.

    Args:
        client: The client.
        session: The botocore session it was made with.

    Raises:
        ConfigurationError: One of them is not supported; it is named.
    """
    chosen, url = client.meta.config, client.meta.endpoint_url
    proxies = get_environ_proxies(url)
    _check_proxy(url, proxies)
    return Settings(
        connect_timeout=chosen.connect_timeout,
        read_timeout=chosen.read_timeout,
        pool_size=chosen.max_pool_connections,
        keeps_alive=bool(getattr(chosen, "tcp_keepalive", None)),
        proxies=proxies,
        authorities=_authorities(session),
    )


def _check_proxy(url: str, proxies: Mapping[str, str]) -> None:
    proxy: str | None = ProxyConfiguration(proxies).proxy_url_for(url)
    if proxy is None:
        return
    if proxy.startswith("https:"):
        raise ConfigurationError(
            "HTTPS_PROXY or HTTP_PROXY names a proxy that is itself reached by https."
        )
    if ensure_boolean(os.environ.get(_HOST_TO_PROXY, "")):
        raise ConfigurationError(f"{_HOST_TO_PROXY} is set.")


def _proxy_for(url: str, proxies: Mapping[str, str]) -> Proxy | None:
    configuration = ProxyConfiguration(proxies)
    proxy: str | None = configuration.proxy_url_for(url)
    if proxy is None:
        return None
    parts = urlsplit(proxy)
    headers = configuration.proxy_headers_for(proxy)
    return Proxy(proxy, str(parts.hostname), parts.port or DEFAULT_PORTS["http"], headers)


def _authorities(session: Any) -> str:
    bundle = session.get_config_variable("ca_bundle")
    if bundle is None:
        bundle = os.environ.get("REQUESTS_CA_BUNDLE")
    path = str(get_cert_path(True) if bundle is None else bundle)
    if not os.path.exists(path):
        raise ConfigurationError(
            f"AWS_CA_BUNDLE, REQUESTS_CA_BUNDLE or ca_bundle names {path!r}, which is not there."
        )
    return path


@lru_cache(maxsize=8)
def _tls(authorities: str) -> ssl.SSLContext:
    context: ssl.SSLContext = create_urllib3_context()
    if os.path.isdir(authorities):
        context.load_verify_locations(capath=authorities)
    else:
        context.load_verify_locations(cafile=authorities)
    context.check_hostname = True
    return context
