"""Make the virtual environment of this checkout; do nothing when it is up to date.

Standard library only, Python 3.9 or later. The environment belongs to the interpreter that runs
this file. It is built in a folder beside its place and moved there once everything is installed,
so a failed or interrupted build leaves the old one usable.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import importlib.util
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
STAMP = "dynamodb-wrapper.stamp"
BUILD_PREFIX = ".venv-building-"
OLD_PREFIX = ".venv-replaced-"
DOWNLOAD = "about 600 MB (PySpark alone 456 MB), less what pip has cached; 1.1 GB on disk"


class BootstrapError(Exception):
    """The environment could not be made; the text says what to do."""


def main() -> int:
    """Bring the environment up to date; return the exit code."""
    options = parse_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds, so the build is removed
    try:
        if options.require_java:
            require_java()
        with only_one_at_a_time():
            bring_up_to_date(ROOT / options.venv, options.extras, options.constraints)
    except (BootstrapError, subprocess.CalledProcessError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted; nothing was changed", file=sys.stderr)
        return 130
    return 0


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", default=".venv", help="name of the environment's folder")
    parser.add_argument("--extras", default="dev", help="extras of pyproject.toml to install")
    parser.add_argument("--constraints", type=Path, help="file of versions to hold")
    parser.add_argument("--require-java", action="store_true", help="fail at once without Java")
    return parser.parse_args()


def require_java() -> None:
    """Fail when Spark could not run.

    Raises:
        BootstrapError: There is no Java, or it is too old.
    """
    problem = java_module().java_problem()
    if problem is not None:
        raise BootstrapError(f"Spark needs Java. {problem}")


def java_module() -> ModuleType:
    """Load the package's own check by its path, because its dependencies may not be there yet."""
    path = ROOT / "dynamodb_wrapper" / "local" / "java.py"
    spec = importlib.util.spec_from_file_location("java_check", path)
    assert spec is not None and spec.loader is not None  # noqa: S101, PT018
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def only_one_at_a_time() -> Iterator[None]:
    """Wait until no other process works on this checkout's environments."""
    folder = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def bring_up_to_date(venv: Path, extras: str, constraints: Path | None) -> None:
    """Build and move in the environment unless its stamp says it is what is wanted."""
    wanted = stamp(
        (ROOT / "pyproject.toml").read_text(encoding="utf-8"),
        constraints.read_text(encoding="utf-8") if constraints else "",
        extras,
        str(venv),
    )
    remove_leftovers(venv)
    if is_current(venv, wanted):
        return
    check_installer()
    print(f"Making {venv.name} with Python {platform.python_version()}.")
    print(f"Downloads {DOWNLOAD}. It takes some minutes.", flush=True)
    building = Path(tempfile.mkdtemp(prefix=BUILD_PREFIX, dir=ROOT))
    try:
        create(building)
        install(building, extras, constraints)
        fetch_engine(building)
        relocate(building, venv)
        (building / STAMP).write_text(wanted, encoding="utf-8")
        move_in(building, venv)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    print(f"{venv.name} is ready.", flush=True)


def stamp(pyproject: str, constraints: str, extras: str, place: str) -> str:
    """Name what an environment is made of; an equal stamp means an equal environment.

    Settings of tools come last in pyproject.toml and change nothing that is installed.
    """
    dependencies = pyproject.split("\n[tool.", 1)[0]
    interpreter = f"{platform.python_implementation()} {platform.python_version()}"
    parts = (dependencies, constraints, extras, place, interpreter, platform.machine())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def is_current(venv: Path, wanted: str) -> bool:
    """Whether the environment runs and carries the wanted stamp."""
    try:
        found = (venv / STAMP).read_text(encoding="utf-8")
    except OSError:
        return False
    return found == wanted and (venv / "bin" / "python").exists()


def check_installer() -> None:
    """Fail early where neither uv nor pip can make an environment.

    Raises:
        BootstrapError: It names the package to install.
    """
    if shutil.which("uv") is None and importlib.util.find_spec("ensurepip") is None:
        raise BootstrapError(
            "this Python cannot make virtual environments: install the package python3-venv "
            "(Debian and Ubuntu), or uv"
        )


def remove_leftovers(venv: Path) -> None:
    """Clear up after a build that was killed hard; the lock says that no other one runs."""
    for replaced in ROOT.glob(f"{OLD_PREFIX}*/{venv.name}"):
        if not venv.exists():  # killed between the two renames
            replaced.rename(venv)
    for prefix in (BUILD_PREFIX, OLD_PREFIX):
        for folder in ROOT.glob(f"{prefix}*"):
            shutil.rmtree(folder, ignore_errors=True)


def create(building: Path) -> None:
    """Make an empty environment."""
    prompt = ["--prompt", "dynamodb-wrapper"]
    uv = shutil.which("uv")
    if uv is not None:
        run([uv, "venv", "--quiet", "--python", sys.executable, *prompt, str(building)])
    else:
        run([sys.executable, "-m", "venv", *prompt, str(building)])


def install(building: Path, extras: str, constraints: Path | None) -> None:
    """Install this checkout, editable, with the extras."""
    python = str(building / "bin" / "python")
    wanted = ["--editable", f".[{extras}]"]
    if constraints is not None:
        wanted += ["--constraint", str(constraints)]
    uv = shutil.which("uv")
    if uv is not None:
        run([uv, "pip", "install", "--python", python, *wanted])
    else:
        run([python, "-m", "pip", "install", "--disable-pip-version-check", *wanted])


def fetch_engine(building: Path) -> None:
    """Download the local engine now, so that later runs need no network."""
    python = str(building / "bin" / "python")
    subprocess.run([python, "-m", "dynamodb_wrapper.local", "--fetch"], cwd=ROOT, check=False)


def relocate(building: Path, venv: Path) -> None:
    """Write the final place where the scripts and settings name the place they were built in."""
    old, new = os.fsencode(building), os.fsencode(venv)
    for file in [building / "pyvenv.cfg", *(building / "bin").iterdir()]:
        if file.is_symlink() or not file.is_file():
            continue
        content = file.read_bytes()
        if old in content and b"\0" not in content:
            file.write_bytes(content.replace(old, new))


def move_in(building: Path, venv: Path) -> None:
    """Put the new environment in place of the old one."""
    building.chmod(0o755)
    replaced = Path(tempfile.mkdtemp(prefix=OLD_PREFIX, dir=ROOT)) / venv.name
    had_one = venv.exists()
    if had_one:
        venv.rename(replaced)
    try:
        building.rename(venv)
    except BaseException:
        if had_one:
            replaced.rename(venv)
        raise
    finally:
        shutil.rmtree(replaced.parent, ignore_errors=True)


def run(command: list[str]) -> None:
    """Run a program in the checkout, or raise."""
    subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, check=True)


if __name__ == "__main__":
    sys.exit(main())
