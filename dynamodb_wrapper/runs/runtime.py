"""Where this process runs."""

from __future__ import annotations

import getpass
import os
import platform
import socket
from importlib import metadata

from dynamodb_wrapper.models import RuntimeInfo


def describe_runtime() -> RuntimeInfo:
    """Return where this process runs."""
    return RuntimeInfo(
        host=socket.gethostname(),
        pid=os.getpid(),
        user=_user(),
        python_version=platform.python_version(),
        library_version=_library_version(),
    )


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container may know no user
        return None


def _library_version() -> str | None:
    try:
        return metadata.version("dynamodb-wrapper")
    except metadata.PackageNotFoundError:
        return None
