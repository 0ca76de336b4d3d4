"""Find a Java that can run DynamoDB Local and Spark. Standard library only."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

REQUIRED_MAJOR = 17
INSTALL = "install Java 17 or later (on Debian and Ubuntu the package openjdk-17-jre-headless)"


def java_command() -> str | None:
    """Return the Java program of ``JAVA_HOME``, else of ``PATH``, else None."""
    home = os.environ.get("JAVA_HOME")
    if home:
        return shutil.which(os.path.join(home, "bin", "java"))
    return shutil.which("java")


def major_version(version_output: str) -> int | None:
    """Return the major version in the output of ``java -version``.

    Java 8 and before call themselves ``1.8``; the major version is then the second number.
    """
    found = re.search(r'version "(\d+)(?:\.(\d+))?', version_output)
    if found is None:
        return None
    first, second = found.groups()
    return int(second) if first == "1" and second else int(first)


def java_problem() -> str | None:
    """Return why Java cannot be used and what to install; None if it can."""
    command = java_command()
    if command is None:
        return f"Java was not found: {INSTALL}."
    try:
        said = subprocess.run([command, "-version"], capture_output=True, text=True, check=False)
    except OSError as error:
        return f"{command} does not run ({error}): {INSTALL}."
    major = major_version(said.stderr + said.stdout)
    if major is None:
        return f"{command} does not tell its version: {INSTALL}."
    if major < REQUIRED_MAJOR:
        return f"{command} is Java {major}: {INSTALL}."
    return None
