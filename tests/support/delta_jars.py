"""Delta's jars for the PySpark that is installed, fetched once with Maven."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from dynamodb_wrapper.local.engines import cache_folder

# Each PySpark the tests were tried with: artifact and version of its Delta, which uses so much of
# Spark's inside that another patch release may not do. For Spark 4.3 no Delta was published yet.
DELTA = {
    "3.5.0": ("delta-spark_2.12", "3.2.0"),
    "4.2.1": ("delta-spark_4.2_2.13", "4.4.0"),
}
_DEPENDENCY_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1"
# PySpark brings everything else that writing and reading a table needs.
_DEPENDENCY = """
    <dependency>
      <groupId>io.delta</groupId>
      <artifactId>{artifact}</artifactId>
      <version>{version}</version>
      <exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>
    </dependency>"""
_POM = """<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId>
  <artifactId>delta</artifactId>
  <version>1</version>
  <dependencies>{dependencies}
  </dependencies>
</project>
"""


class NoDeltaError(Exception):
    """The jars are missing; the message gives the reason."""


def fetch_delta() -> list[Path]:
    """Return the jars from the cache; download some 10 MB if they are missing.

    Raises:
        NoDeltaError: There is no Delta for this PySpark, or Maven is missing or fails.
    """
    installed = importlib.metadata.version("pyspark")
    if installed not in DELTA:
        known = " and ".join(DELTA)
        raise NoDeltaError(f"No Delta is known for PySpark {installed}, only for {known}.")
    artifact, version = DELTA[installed]
    pom = _pom(artifact, version)
    digest = hashlib.sha256(pom.encode()).hexdigest()[:8]
    target = cache_folder() / f"{artifact}-{version}-{digest}"
    if not target.is_dir():
        _copy_jars(pom, target)
    return sorted(target.glob("*.jar"))


def _pom(artifact: str, version: str) -> str:
    artifacts = (artifact, "delta-storage")
    dependencies = [_DEPENDENCY.format(artifact=name, version=version) for name in artifacts]
    return _POM.format(dependencies="".join(dependencies))


def _copy_jars(pom: str, target: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise NoDeltaError("Maven, which fetches Delta's jars, was not found.")
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="building-") as building:
        folder = Path(building)
        (folder / "pom.xml").write_text(pom, encoding="utf-8")
        done = subprocess.run(
            [
                *(maven, "--batch-mode", "--quiet", "--strict-checksums"),
                *(f"{_DEPENDENCY_PLUGIN}:copy-dependencies", "-DoutputDirectory=jars"),
            ],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise NoDeltaError(f"Maven failed: {(done.stdout + done.stderr).strip()[:300]}")
        try:
            os.rename(folder / "jars", target)
        except OSError:
            if not target.is_dir():  # otherwise another process was first, with the same files
                raise
