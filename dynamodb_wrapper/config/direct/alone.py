"""Whether requests may be sent before there is a boto3 client.

They may where the client would add nothing: all of its settings are known without it, and nobody
can take part in them. Who changes botocore has imported it, or waits for its import; who changes
http.client, socket or ssl has replaced something in them. Whatever is not known here is a reason to
make the client at once.
"""

from __future__ import annotations

import builtins
import http.client
import os
import re
import socket
import ssl
import sys
import types
from abc import ABCMeta
from importlib.machinery import FileFinder, PathFinder, SourceFileLoader
from operator import is_
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dynamodb_wrapper.config.settings import DynamoDBConfig

_REGION = re.compile(r"(af|ap|ca|eu|il|me|mx|sa|us)-[a-z]+-\d")  # of AWS's commercial partition
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_URL = re.compile(rf"https?://({_LABEL}\.)*{_LABEL}(:\d{{1,5}})?/?")
_KEY, _TOKEN = re.compile(r"[A-Za-z0-9_]+"), re.compile(r"[!-~]*")

# What they say is in the config, which wins, or is for the runtime of a function of Lambda.
_KNOWN_VARIABLES = frozenset(
    "AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_REGION AWS_DEFAULT_REGION "
    "AWS_MAX_ATTEMPTS AWS_EC2_METADATA_DISABLED AWS_EXECUTION_ENV AWS_XRAY_DAEMON_ADDRESS "
    "AWS_XRAY_CONTEXT_MISSING AWS_LAMBDA_FUNCTION_NAME AWS_LAMBDA_FUNCTION_VERSION "
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE AWS_LAMBDA_INITIALIZATION_TYPE AWS_LAMBDA_LOG_FORMAT "
    "AWS_LAMBDA_LOG_GROUP_NAME AWS_LAMBDA_LOG_LEVEL AWS_LAMBDA_LOG_STREAM_NAME "
    "AWS_LAMBDA_RUNTIME_API".split()
)
_OF_ENDPOINTS = frozenset({"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_DYNAMODB"})
_OF_TLS = frozenset({"REQUESTS_CA_BUNDLE", "SSLKEYLOGFILE"})

_MODULES = ("botocore", "urllib3")
_IMPORTERS = frozenset(
    "_distutils_hack _frozen_importlib _frozen_importlib_external _virtualenv six zipimport".split()
)
"""Modules of what finds modules: Python's own, and those that only find what they have made."""

_CLASSES = (
    http.client.HTTPConnection,
    http.client.HTTPSConnection,
    http.client.HTTPResponse,
    socket.socket,
    ssl.SSLContext,
    ssl.SSLSocket,
)
"""Classes of which nothing may have been replaced."""

_PLACES: tuple[tuple[Any, str], ...] = tuple(
    (cls, name)
    for owner, names in (
        (builtins, "__import__"),
        (PathFinder, "find_spec"),
        (FileFinder, "find_spec"),
        (SourceFileLoader, "exec_module get_code"),
        (http.client, "HTTPConnection HTTPSConnection HTTPResponse"),
        (socket, "create_connection socket"),
        (ssl, "SSLContext SSLSocket"),
    )
    for name in names.split()
    for cls in getattr(owner, "__mro__", (owner,))
)
_FILES = frozenset({http.client.__file__, socket.__file__, ssl.__file__})
_SLOTS = (types.BuiltinFunctionType, types.GetSetDescriptorType, types.MemberDescriptorType)


class Keys(NamedTuple):
    """The keys of a config, in the clear.

    Attributes:
        access_key: Its id.
        secret_key: What is signed with.
        token: Goes with temporary keys; empty without one.
    """

    access_key: str
    secret_key: str
    token: str

    def __repr__(self) -> str:
        return "Keys(…)"


def keys_of(config: DynamoDBConfig) -> Keys:
    """Return the keys of a config; empty texts where there are none."""
    given = (config.aws_access_key_id, config.aws_secret_access_key, config.aws_session_token)
    return Keys(*("" if secret is None else secret.get_secret_value() for secret in given))


def setting_for_the_client(config: DynamoDBConfig, environ: Mapping[str, str]) -> str | None:
    """Return a setting that only a client can follow, None where there is none."""
    keys = keys_of(config)
    if not _KEY.fullmatch(keys.access_key) or not keys.secret_key:
        return "aws_access_key_id"
    if not _TOKEN.fullmatch(keys.token):
        return "aws_session_token"
    if config.profile_name is not None or config.role_arn is not None:
        return "profile_name or role_arn"
    if not _REGION.fullmatch(config.region_name or ""):
        return "region_name"
    if config.endpoint_url is not None and not _is_plain(config.endpoint_url):
        return "endpoint_url"
    if os.path.lexists(os.path.expanduser("~/.aws")):
        return "~/.aws"
    if not sys.platform.startswith("linux"):
        return "the proxies of the system"  # other systems keep them outside the environment
    known = _KNOWN_VARIABLES
    if config.endpoint_url is not None:
        known = known | _OF_ENDPOINTS
        if config.endpoint_url.startswith("http:"):
            known = known | {name for name in _OF_TLS if os.path.exists(environ.get(name, ""))}
    return next((name for name in environ if name not in known and _is_setting(name)), None)


def _is_plain(url: str) -> bool:
    try:
        return _URL.fullmatch(url) is not None and urlsplit(url).port != 0
    except ValueError:  # there is no such port
        return False


def _is_setting(name: str) -> bool:
    upper = name.upper()
    is_proxy = upper.endswith("_PROXY") and upper != "NO_PROXY"
    return is_proxy or upper.startswith(("AWS_", "BOTO")) or name in _OF_TLS


class Surroundings:
    """Who could take part in a request; looked up before each one."""

    def __init__(self) -> None:
        self._seen: list[Any] = []

    def found(self) -> str | None:
        """Return who could take part in the next request, None when nobody can."""
        modules = sys.modules
        if type(modules) is not dict:
            return "sys.modules was replaced"
        for name in _MODULES:
            if name in modules:
                return f"{name} is imported"
        there = _there()
        if len(there) == len(self._seen) and all(map(is_, there, self._seen)):
            return None
        found = _strange()
        if found is None:
            self._seen = there
        return found


def _there() -> list[Any]:
    own = [owner.__dict__.get(name) for owner, name in _PLACES]
    for cls in _CLASSES:
        own += cls.__dict__.values()
    return [*own, *sys.meta_path, *sys.path_hooks]


def _strange() -> str | None:
    for importer in (*sys.meta_path, *sys.path_hooks):
        if not _is_harmless(importer):
            return f"{_name_of(importer)} finds modules"
    of_classes = ((cls, name) for cls in _CLASSES for name in tuple(vars(cls)))
    for owner, name in (*_PLACES, *of_classes):
        if not _is_original(owner.__dict__.get(name), owner):
            return f"{owner.__name__}.{name} was replaced"
    if http.client.HTTPConnection.debuglevel:
        return "http.client.HTTPConnection.debuglevel is set"
    return None


def _name_of(value: Any) -> str:
    kind = value if type(value) is type else type(value)
    return f"{kind.__module__}.{kind.__qualname__}"


def _is_harmless(importer: Any) -> bool:
    kind = type(importer)  # what pretends to be something else says otherwise itself
    if kind is types.FunctionType:
        return _is_frozen(importer)
    home = str(getattr(importer if kind is type else kind, "__module__", None))
    return home in _IMPORTERS or home.startswith("__editable__")


def _is_frozen(function: types.FunctionType) -> bool:
    return function.__code__.co_filename.startswith("<frozen importlib.")


def _is_original(value: Any, owner: Any) -> bool:
    kind = type(value)
    if kind in (classmethod, staticmethod):
        value, kind = value.__func__, type(value.__func__)
    if kind is property:
        parts = (value.fget, value.fset, value.fdel)
        return all(part is None or _is_original(part, owner) for part in parts)
    if kind is types.FunctionType:
        return value.__code__.co_filename in _FILES or _is_frozen(value)
    if kind in (type, ABCMeta):
        module = owner.__name__ if isinstance(owner, types.ModuleType) else owner.__module__
        return bool(getattr(value, "__module__", None) == module)
    return kind in _SLOTS or not callable(value)
