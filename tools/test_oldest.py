"""Run the tests on Python 3.9 with the oldest supported dependencies, where there is a 3.9.

Standard library only, Python 3.9 or later.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ".venv-oldest"
CONSTRAINTS = ROOT / "tools" / "oldest.txt"


def main() -> int:
    """Build the environment and run the tests; return the exit code."""
    python = find_python()
    if python is None:
        print("*** NOT TESTED on Python 3.9: no python3.9 was found (PATH, pyenv). ***")
        return 0
    make = [python, str(ROOT / "tools" / "bootstrap.py"), "--venv", VENV, "--extras", "all,test"]
    made = subprocess.run([*make, "--constraints", str(CONSTRAINTS)], cwd=ROOT, check=False)
    if made.returncode != 0:
        return made.returncode
    tests = [str(ROOT / VENV / "bin" / "python"), "-m", "pytest", "tests/unit", "tests/integration"]
    # What takes long or differs by engine is tested with the newest dependencies.
    chosen = ["-m", "not newest_only and not slow", "--engine", "dynoxide", *sys.argv[1:]]
    return subprocess.run([*tests, *chosen], cwd=ROOT, check=False).returncode


def find_python() -> str | None:
    """Return a Python 3.9 that runs: from the PATH, else the newest of pyenv."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = sorted(versions.glob("3.9.*/bin/python3.9"), reverse=True)
    on_path = shutil.which("python3.9")
    for candidate in ([on_path] if on_path else []) + [str(path) for path in candidates]:
        # A version manager leaves a stand-in on the PATH that fails when the version is not chosen.
        tried = subprocess.run([candidate, "-c", ""], capture_output=True, check=False)
        if tried.returncode == 0:
            return candidate
    return None


if __name__ == "__main__":
    sys.exit(main())
