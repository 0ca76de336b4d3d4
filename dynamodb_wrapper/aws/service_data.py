"""Load botocore's service descriptions faster.

Reading them is most of what the first client of a process costs: botocore reads JSON with the
standard library, and looks through the folders of all services to learn whether one is there.
"""

from __future__ import annotations

import gzip
import os
from typing import TYPE_CHECKING, Any, Callable

import orjson
from botocore.exceptions import DataNotFoundError
from botocore.loaders import JSONFileLoader, Loader

if TYPE_CHECKING:
    from collections.abc import Iterator

_OPEN: dict[str, Callable[..., Any]] = {".json": open, ".json.gz": gzip.open}


def fast_loader(loader: Loader) -> Loader:
    """Return a fast loader with the search paths of another one."""
    paths = list(loader.search_paths)
    return _Loader(paths, file_loader=_Files(), include_default_search_paths=False)


class _Files(JSONFileLoader):
    def load_file(self, file_path: str) -> Any:
        for ending, opened in _OPEN.items():
            if os.path.isfile(file_path + ending):
                with opened(file_path + ending, "rb") as file:
                    return orjson.loads(file.read())
        return None


class _Loader(Loader):
    def list_available_services(self, type_name: str) -> Any:
        return _Services(self, type_name)

    def listed(self, type_name: str) -> list[str]:
        found: list[str] = super().list_available_services(type_name)
        return found


class _Services:
    """The services of which there is data of a type; all folders are read only for the names."""

    def __init__(self, loader: _Loader, type_name: str) -> None:
        self._loader, self._type_name = loader, type_name

    def __contains__(self, name: str) -> bool:
        try:
            return bool(self._loader.list_api_versions(name, self._type_name))
        except DataNotFoundError:
            return False

    def __iter__(self) -> Iterator[str]:
        return iter(self._loader.listed(self._type_name))
