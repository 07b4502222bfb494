"""The .proto file: its stubs are those that are committed, and version 1 keeps its bytes."""

import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from examples.orders.orders.server import NAME
from examples.orders.orders.v1 import orders_pb2

ROOT = Path(__file__).parents[2]
PROTO = Path("examples/orders/orders/v1/orders.proto")
LINE = orders_pb2.Line(product="tea", quantity=2, amount_cents=500)
GOLDEN = [
    (
        orders_pb2.CreateOrderRequest(idempotency_key="k", customer_id="c", email="e", lines=[LINE]),
        "0a016b1201631a0165220a0a03746561100218f403",
    ),
    (orders_pb2.GetOrderRequest(order_id="o"), "0a016f"),
    (orders_pb2.ListOrdersRequest(limit=3, after="o"), "0803" + "12016f"),
    (
        orders_pb2.Order(
            order_id="o",
            status=orders_pb2.ORDER_STATUS_CANCELLED,
            reason="r",
            customer_id="c",
            lines=[LINE],
            total_cents=500,
            created_at_ms=1,
            trace_id="t",
            email="e",
        ),
        "0a016f10031a01722201632a0a0a03746561100218f40330f40338014201744a0165",
    ),
]


@pytest.mark.parametrize(("message", "wire"), GOLDEN, ids=lambda each: type(each).__name__)
def test_version_1_keeps_its_bytes(message: orders_pb2.Order, wire: str) -> None:
    """A client that was built before a change must understand what is sent after it."""
    assert message.SerializeToString(deterministic=True).hex() == wire
    assert type(message).FromString(bytes.fromhex(wire)) == message


def test_version_1_keeps_its_methods() -> None:
    found = orders_pb2.DESCRIPTOR.services_by_name["OrderService"]
    assert NAME == "shop.orders.v1.OrderService"
    assert {
        (each.name, each.input_type.name, each.output_type.name, each.server_streaming)
        for each in found.methods
    } == {
        ("CreateOrder", "CreateOrderRequest", "Order", False),
        ("GetOrder", "GetOrderRequest", "Order", False),
        ("ListOrders", "ListOrdersRequest", "Order", True),
    }


def test_the_committed_stubs_are_generated_from_the_proto_file(tmp_path: Path) -> None:
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    command = [sys.executable, "-m", "grpc_tools.protoc", "--proto_path=.", *outputs, str(PROTO)]
    subprocess.run(command, cwd=ROOT, check=True)
    made = {path.name: path.read_text() for path in (tmp_path / PROTO.parent).iterdir()}
    assert made == {name: (ROOT / PROTO.parent / name).read_text() for name in made}, (
        "run scripts/order-stubs"
    )
    assert len(made) == 3
    assert grpc.__version__
