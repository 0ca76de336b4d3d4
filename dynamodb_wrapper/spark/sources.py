"""Find the files a DataFrame reads, to refuse a write that would delete them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from dynamodb_wrapper.loggers import SafeLogger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import DataFrame

logger = SafeLogger(__name__)


def source_inside(frame: DataFrame, location: str) -> str | None:
    """Return a path the DataFrame reads that lies at, inside of or around a location, or None.

    On classic Spark the whole plan is searched: caches, views, subqueries and RDDs made from a
    DataFrame. On Spark Connect only what the server reports: a cache that is filled hides the
    files below it.
    """
    plan = _plan(frame)
    if plan is None:
        target = _parts(location)
        read = frame.inputFiles()
    else:
        target = _parts(_qualified(frame, location))
        read = sorted(_paths_of_plan(plan))
    for path in read:
        source = _parts(path)
        shorter = min(len(source), len(target))
        if source[:shorter] == target[:shorter]:
            return path
    return None


def _plan(frame: DataFrame) -> Any:
    try:
        # The analyzed plan still has the files below a cache; the optimised one has not.
        return frame._jdf.queryExecution().analyzed()
    except Exception:  # noqa: BLE001 - Spark Connect has no JVM; its class differs by version
        return None


def _qualified(frame: DataFrame, location: str) -> str:
    """Return a location as Spark lists it, with the file system and an absolute path."""
    session: Any = frame.sparkSession
    path = session._jvm.org.apache.hadoop.fs.Path(location)
    system = path.getFileSystem(session._jsparkSession.sessionState().newHadoopConf())
    return str(system.makeQualified(path).toString())


def _parts(path: str) -> list[str]:
    """Return the parts of a path to compare: file system, host, then each folder."""
    split = urlsplit(path)
    if split.scheme in ("", "file"):
        # inputFiles() escapes what the location does not; Hadoop's paths escape nothing.
        local = path[len("file:") :] if split.scheme else path
        while local.startswith("//"):
            local = local[1:]
        found = local if os.path.exists(local) else unquote(local)
        return ["file", "", *_folders(os.path.realpath(found))]
    scheme = "s3" if split.scheme in ("s3a", "s3n") else split.scheme
    return [scheme, split.netloc, *_folders(path.split("://", 1)[-1].partition("/")[2])]


def _folders(path: str) -> list[str]:
    return [part for part in path.split("/") if part]


def _paths_of_plan(root: Any) -> set[str]:
    paths: set[str] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        name = node.getClass().getSimpleName()
        if name == "LogicalRelation":
            paths.update(_paths_of_relation(node.relation()))
        elif name == "HiveTableRelation":
            paths.add(str(node.tableMeta().location()))
        elif name in ("LogicalRDD", "ExternalRDD"):
            paths.update(_paths_of_rdd(node.rdd()))
        elif name in ("DataSourceV2Relation", "DataSourceV2ScanRelation"):
            paths.update(_paths_of_v2(node))
        for method in ("children", "subqueries", "innerChildren"):
            waiting.extend(_each(getattr(node, method)()))
    return paths


def _paths_of_relation(relation: Any) -> list[str]:
    if relation.getClass().getSimpleName() != "HadoopFsRelation":
        return []
    return [path.toString() for path in _each(relation.location().rootPaths())]


def _paths_of_v2(node: Any) -> list[str]:
    try:
        return [str(path) for path in _each(node.table().paths())]
    except Exception as error:  # noqa: BLE001 - no table of files
        logger.debug("A source of a DataFrame has no paths: %s", error)
        return []


def _paths_of_rdd(root: Any) -> set[str]:
    """Return the files below an RDD, of a DataFrame that was one and is one again."""
    paths: set[str] = set()
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        rdd = waiting.pop()
        if rdd.id() in seen:
            continue
        seen.add(rdd.id())
        if rdd.getClass().getSimpleName() == "FileScanRDD":
            for partition in _each(rdd.filePartitions()):
                paths.update(str(file.filePath()) for file in partition.files())
        # dependencies() is the checkpoint's alone once an RDD has been saved.
        waiting.extend(dependency.rdd() for dependency in _each(rdd.dependencies()))
    return paths


def _each(sequence: Any) -> Iterator[Any]:
    """Yield the items of a Scala Seq."""
    items = sequence.iterator()
    while items.hasNext():
        yield items.next()
