"""The Pydantic models of the tables, used with boto3 and with this library."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Optional, Union

from pydantic import BaseModel


class FlatOrder(BaseModel):
    """Ten attributes, about 300 bytes."""

    customer_id: str
    order_id: str
    placed_at: datetime
    status: str
    email: str
    city: str
    quantity: int
    total: Decimal
    paid: bool
    note: str


class Address(BaseModel):
    street: str
    city: str
    postcode: str
    country: str


class Line(BaseModel):
    sku: str
    name: str
    quantity: int
    price: Decimal
    discount: Optional[Decimal] = None
    gift: bool
    colours: list[str]


class NestedOrder(BaseModel):
    """A list of maps, a map and a model, about 1.3 kilobytes."""

    customer_id: str
    order_id: str
    placed_at: datetime
    address: Address
    lines: list[Line]
    labels: dict[str, str]


Order = Union[FlatOrder, NestedOrder]
MODELS: dict[str, type[Order]] = {"flat": FlatOrder, "nested": NestedOrder}


def exact(value: Any) -> Any:
    """Return the value as JSON that keeps all types, and the fields that were set in models."""
    if isinstance(value, BaseModel):
        fields = {name: exact(inner) for name, inner in value.__dict__.items()}
        return [type(value).__name__, sorted(value.model_fields_set), fields]
    if isinstance(value, dict):
        return {name: exact(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [exact(inner) for inner in value]
    if isinstance(value, datetime):
        return ["datetime", value.isoformat()]
    return [type(value).__name__, str(value)]
