"""What an exception of Spark was caused by, from texts as Spark 3.3 to 4.3 write them."""

from __future__ import annotations

from dynamodb_wrapper.runs.causes import Cause, cause_in_spark

UDF = """Job aborted due to stage failure: Task 0 in stage 1.0 failed 1 times, most recent: \
Lost task 0.0 in stage 1.0 (TID 1): org.apache.spark.api.python.PythonException: \
Traceback (most recent call last):
  File "/opt/spark/python/lib/pyspark.zip/pyspark/worker.py", line 686, in main
    process()
  File "/app/jobs/clean.py", line 12, in parse_row
    return parse(value)
  File "/app/jobs/values.py", line 3, in parse
    raise ValueError("no such day: " + value)
ValueError: no such day: 31
(of February)

\tat org.apache.spark.api.python.BasePythonRunner$ReaderIterator.handle(PythonRunner.scala:559)
\tat java.base/java.lang.Thread.run(Thread.java:833)

Driver stacktrace:
"""
MISSING_CLASS = """An error occurred while calling o203.parquet.
: java.lang.RuntimeException: java.lang.ClassNotFoundException: Class org.x.S3AFileSystem not found
\tat org.apache.hadoop.conf.Configuration.getClass(Configuration.java:2724)
"""
MISSING_FILE = """An error occurred while calling o217.collectToPython.
: org.apache.spark.SparkException: [FAILED_READ_FILE] Encountered error while reading file
\tat org.apache.spark.sql.errors.QueryExecutionErrors$.fileNotExistError(x.scala:834)
Caused by: org.apache.spark.SparkException: Job aborted
\t... 1 more
Caused by: java.io.FileNotFoundException: File file:/x/part-0.parquet does not exist
\tat org.apache.hadoop.fs.RawLocalFileSystem.deprecatedGetFileStatus(x.java:917)
\t... 24 more
"""


def of_spark(name: str, module: str) -> Exception:
    kind = type(name, (Exception,), {"__module__": module})
    error = kind()
    assert isinstance(error, Exception)
    return error


JAVA = of_spark("Py4JJavaError", "py4j.protocol")
CAPTURED = of_spark("PythonException", "pyspark.errors.exceptions.captured")


def test_the_exception_of_a_function_on_a_worker_is_the_cause() -> None:
    expected = Cause("ValueError", "no such day: 31\n(of February)", ("parse_row", "parse"))
    assert cause_in_spark(CAPTURED, UDF) == expected
    assert cause_in_spark(JAVA, f"An error occurred while calling o1.collect.\n: x: {UDF}") == (
        expected
    )


def test_the_innermost_exception_of_java_is_the_cause() -> None:
    assert cause_in_spark(JAVA, MISSING_CLASS) == Cause(
        "java.lang.ClassNotFoundException", "Class org.x.S3AFileSystem not found"
    )
    assert cause_in_spark(JAVA, MISSING_FILE) == Cause(
        "java.io.FileNotFoundException", "File file:/x/part-0.parquet does not exist"
    )


def test_what_says_itself_what_is_wrong_stays() -> None:
    analysis = of_spark("AnalysisException", "pyspark.errors.exceptions.captured")
    assert cause_in_spark(analysis, "[UNRESOLVED_COLUMN] no column `nope`") is None
    assert cause_in_spark(ValueError("x"), UDF) is None
    for damaged in ("", "Traceback (most recent call last):", "An error occurred while calling o1"):
        assert cause_in_spark(JAVA, damaged) is None
