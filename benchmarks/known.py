"""The sides there are, and where each is found."""

from __future__ import annotations

from dataclasses import dataclass

LIBRARY, BOTO3 = "dynamodb-wrapper", "boto3 + Pydantic"


@dataclass(frozen=True)
class Known:
    """A side.

    Attributes:
        name: What the tables call it.
        module: Of `benchmarks.sides`.
        type_name: The class in it.
        packages: Whose versions are printed.
        required: Whether its absence or failure ends the run.
    """

    name: str
    module: str
    type_name: str
    packages: tuple[str, ...]
    required: bool = False


SIDES = (
    Known(LIBRARY, "by_library", "ByLibrary", ("dynamodb-wrapper",), required=True),
    Known(
        BOTO3,
        "by_boto3",
        "ByBoto3",
        ("boto3", "botocore", "pydantic", "pydantic-core"),
        required=True,
    ),
    Known("pydynox", "by_pydynox", "ByPydynox", ("pydynox",)),
    Known("aiodynamo", "by_aiodynamo", "ByAiodynamo", ("aiodynamo", "aiohttp")),
    Known("PynamoDB", "by_pynamodb", "ByPynamoDB", ("pynamodb",)),
    Known("dyntastic", "by_dyntastic", "ByDyntastic", ("dyntastic",)),
    Known("orjson.loads", "by_orjson", "ByOrjson", ("orjson",)),
)
