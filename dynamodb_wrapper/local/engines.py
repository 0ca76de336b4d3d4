"""Local engines: which one runs, its command, and its download to the cache directory.

Everything is built in a temporary folder of the cache and renamed into place, so that processes
which do it at the same time, or are killed in the middle, leave nothing half-made.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import platformdirs

from dynamodb_wrapper.exceptions.errors import LocalEngineError
from dynamodb_wrapper.local.java import java_command, java_problem
from dynamodb_wrapper.local.process import HOST
from dynamodb_wrapper.loggers import SafeLogger

if TYPE_CHECKING:
    from collections.abc import Sequence

logger = SafeLogger(__name__)
ENGINES = ("auto", "dynoxide", "dynamodb-local", "moto")
_SERVER_RUNNER = "software.amazon.dynamodb.services.local.main.ServerRunner"
_MOTO_SERVER = "dynamodb_wrapper.local.moto_server"
_MOTO_MODULES = ("moto", "flask", "flask_cors")
DYNOXIDE_VERSION = "1.2.1"
DYNOXIDE_PACKAGE = "@dynoxide/linux-x64"
DYNOXIDE_SHA512 = (
    "sBHqlxJ9ANkLluFkYRfd5r8Y0ApFew4FhOrlhgRAgD4XzEoFOukEo1nuBTQ1+jTtofqwn4NWQ2k0Tn5mNTjgUg=="
)
_DYNOXIDE_MEMBER = "package/dynoxide"
DYNAMODB_LOCAL_VERSION = "3.3.1"
# The SDK version DynamoDB Local 3.3.1 names was not published in all its parts; this one was.
_AWS_SDK_VERSION = "2.54.15"
_DEPENDENCY_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1"
_POM = f"""<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId>
  <artifactId>engine</artifactId>
  <version>1</version>
  <dependencyManagement>
    <dependencies>
      <dependency>
        <groupId>software.amazon.awssdk</groupId>
        <artifactId>bom</artifactId>
        <version>{_AWS_SDK_VERSION}</version>
        <type>pom</type>
        <scope>import</scope>
      </dependency>
    </dependencies>
  </dependencyManagement>
  <dependencies>
    <dependency>
      <groupId>software.amazon.dynamodb</groupId>
      <artifactId>DynamoDBLocal</artifactId>
      <version>{DYNAMODB_LOCAL_VERSION}</version>
    </dependency>
  </dependencies>
</project>
"""


class Engine(NamedTuple):
    """An engine that can be started.

    Attributes:
        name: One of ``ENGINES`` but ``auto``.
        command: The whole command but the port number, which comes last.
        folder: Working directory the engine needs.
    """

    name: str
    command: tuple[str, ...]
    folder: Path | None = None


def find_engine(name: str, path: Path | None) -> Engine:
    """Return an engine, for ``auto`` the best one available; fetch it where needed.

    Raises:
        LocalEngineError: The engine is not available here; the message names what to install.
    """
    if name == "auto":
        return _best(path)
    if name == "dynoxide":
        return _dynoxide(path)
    if name == "dynamodb-local":
        return _dynamodb_local(path)
    if name == "moto":
        return _moto(path)
    raise LocalEngineError(f"There is no engine {name!r}; there are {', '.join(ENGINES)}.")


def _best(path: Path | None) -> Engine:
    try:
        return _dynoxide(path)
    except LocalEngineError as dynoxide_error:
        logger.info("Falling back to moto. %s", dynoxide_error)
        try:
            return _moto(path)
        except LocalEngineError as moto_error:
            raise LocalEngineError(
                f"No local engine is available.\ndynoxide: {dynoxide_error}\nmoto: {moto_error}"
            ) from dynoxide_error


def _dynoxide(path: Path | None) -> Engine:
    program = _dynoxide_program()
    command = [program, "serve", "--host", HOST]
    if path is not None:
        file = path / "dynoxide.db" if path.is_dir() else path
        file.parent.mkdir(parents=True, exist_ok=True)
        command += ["--db-path", str(file)]
    return Engine("dynoxide", (*command, "--port"))


def _dynoxide_program() -> str:
    on_path = shutil.which("dynoxide")
    if on_path is not None:
        logger.info("Engine dynoxide: found on the PATH, %s.", on_path)
        return on_path
    cached = cached_dynoxide()
    if cached is not None:
        logger.info("Engine dynoxide: found in the cache, %s.", cached)
        return str(cached)
    fetched = fetch_dynoxide()
    logger.info("Engine dynoxide: fetched with npm into %s.", fetched)
    return str(fetched)


def _dynamodb_local(path: Path | None) -> Engine:
    problem = java_problem()
    java = java_command()
    if problem is not None or java is None:
        raise LocalEngineError(f"DynamoDB Local needs Java. {problem}")
    jars = fetch_dynamodb_local()
    logger.info("Engine DynamoDB Local: jars in %s.", jars)
    store = ["-inMemory"]
    if path is not None:
        path.mkdir(parents=True, exist_ok=True)
        store = ["-dbPath", str(path)]
    server = [f"-Djava.library.path={jars}", "-cp", f"{jars}/*", _SERVER_RUNNER]
    command = (java, *server, "-disableTelemetry", "-sharedDb", *store, "-port")
    return Engine("dynamodb-local", command, folder=jars)


def _moto(path: Path | None) -> Engine:
    missing = [name for name in _MOTO_MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise LocalEngineError(
            f"The engine moto needs {', '.join(missing)}: pip install 'dynamodb-wrapper[local]'."
        )
    if path is not None:
        raise LocalEngineError("The engine moto keeps everything in memory; it has no file store.")
    logger.info("Engine moto: its server, run by %s.", sys.executable)
    return Engine("moto", (sys.executable, "-m", _MOTO_SERVER, HOST))


def cache_folder() -> Path:
    """Return the folder that keeps downloaded engines; it exists afterwards."""
    folder = Path(platformdirs.user_cache_dir("dynamodb-wrapper"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def cached_dynoxide() -> Path | None:
    """Return the dynoxide downloaded before, or None."""
    program = cache_folder() / f"dynoxide-{DYNOXIDE_VERSION}"
    return program if program.is_file() else None


def fetch_dynoxide() -> Path:
    """Return a dynoxide from the cache, downloading 3.5 MB with npm where it is not there yet.

    Raises:
        LocalEngineError: The platform is not Linux on x86-64, npm is missing or fails, or the
            download is not the one this version was tried with.
    """
    cached = cached_dynoxide()
    if cached is not None:
        return cached
    if not sys.platform.startswith("linux") or platform.machine() not in {"x86_64", "AMD64"}:
        raise LocalEngineError(
            "dynoxide is fetched on Linux x86-64 only; put a dynoxide of your own on the PATH."
        )
    npm = shutil.which("npm")
    if npm is None:
        raise LocalEngineError(
            "npm, which fetches dynoxide, was not found: install npm (on Debian and Ubuntu the "
            "package npm), or put a dynoxide of your own on the PATH."
        )
    target = cache_folder() / f"dynoxide-{DYNOXIDE_VERSION}"
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="building-") as building:
        folder = Path(building)
        package = f"{DYNOXIDE_PACKAGE}@{DYNOXIDE_VERSION}"
        logger.info("Fetching %s with npm.", package)
        _run([npm, "pack", "--silent", package], folder)
        archive = _only_file(folder)
        _check_digest(archive)
        os.replace(_unpack_program(archive, folder), target)
    return target


def _only_file(folder: Path) -> Path:
    files = list(folder.glob("*.tgz"))
    if len(files) != 1:
        raise LocalEngineError(f"npm pack left {len(files)} archives instead of one.")
    return files[0]


def _check_digest(archive: Path) -> None:
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if digest != DYNOXIDE_SHA512:
        raise LocalEngineError(
            f"The downloaded {archive.name} is not the one this version was tried with "
            f"(sha512 {digest}, wanted {DYNOXIDE_SHA512}); it was deleted."
        )


def _unpack_program(archive: Path, folder: Path) -> Path:
    program = folder / "dynoxide"
    with tarfile.open(archive) as packed:
        member = packed.extractfile(_DYNOXIDE_MEMBER)
        if member is None:
            raise LocalEngineError(f"{archive.name} holds no {_DYNOXIDE_MEMBER}.")
        with member, program.open("wb") as unpacked:
            shutil.copyfileobj(member, unpacked)
    program.chmod(0o755)
    return program


def fetch_dynamodb_local() -> Path:
    """Return the folder of DynamoDB Local's jars and native libraries.

    Maven downloads some 100 MB where the cache holds none yet; 50 MB of them are kept.

    Raises:
        LocalEngineError: Maven is missing or fails.
    """
    digest = hashlib.sha256(_POM.encode()).hexdigest()[:8]
    target = cache_folder() / f"dynamodb-local-{DYNAMODB_LOCAL_VERSION}-{digest}"
    if target.is_dir():
        return target
    maven = shutil.which("mvn")
    if maven is None:
        raise LocalEngineError(
            "Maven, which fetches DynamoDB Local, was not found: install Maven (on Debian and "
            "Ubuntu the package maven)."
        )
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="building-") as building:
        folder = Path(building)
        (folder / "pom.xml").write_text(_POM, encoding="utf-8")
        logger.info("Fetching DynamoDB Local %s with Maven.", DYNAMODB_LOCAL_VERSION)
        goal = f"{_DEPENDENCY_PLUGIN}:copy-dependencies"
        options = ["-DoutputDirectory=jars", "-DincludeScope=runtime"]
        _run([maven, "--batch-mode", "--quiet", "--strict-checksums", goal, *options], folder)
        try:
            os.rename(folder / "jars", target)
        except OSError:
            if not target.is_dir():  # otherwise another process was first, with the same files
                raise
    return target


def _run(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip()[-2000:]
        raise LocalEngineError(f"{Path(command[0]).name} failed:\n{said}")
