"""Books: what is lost, what is a duplicate, and which fault explains it."""

from pathlib import Path

import pytest

from tests.chaos.bridge.books import (
    ARRIVED,
    BRIDGE,
    FAULTS,
    IN,
    KAFKA,
    OUT,
    RABBITMQ,
    Arrival,
    Fault,
    Finding,
    duplicates,
    read,
)
from tests.chaos.ledger import CONFIRMED

LATE_S = 5.0


def finding(folder: Path, *, confirmed: str, arrived: str, faults: str = "", code: int = 0) -> Finding:
    """Return what the books say of ledgers, whose lines are separated by ``;``."""
    for name, lines in ((CONFIRMED, confirmed), (ARRIVED, arrived), (FAULTS, faults)):
        (folder / name).write_text("".join(f"{line.strip()}\n" for line in lines.split(";") if line))
    return read(folder, 3, late_s=LATE_S, took_s=60.0, codes=[0, code])


def test_a_confirmed_order_that_has_not_arrived_is_lost(tmp_path: Path) -> None:
    found = finding(tmp_path, confirmed="order-0; order-1", arrived="order-1 a 1; order-2 b 2")
    assert (found.confirmed, found.arrived) == (2, 2), "order-2 was written, and its confirmation was lost"
    assert list(found.problems) == ["lost: order-0"]


def test_an_order_that_nobody_has_written_is_strange(tmp_path: Path) -> None:
    found = finding(tmp_path, confirmed="order-0", arrived="order-0 a 1; order-3 b 2")
    assert list(found.problems) == ["never written: order-3"]


def test_an_exit_code_is_a_problem(tmp_path: Path) -> None:
    found = finding(tmp_path, confirmed="order-0", arrived="order-0 a 1", code=1)
    assert list(found.problems) == ["after SIGTERM: exit codes 0, 1"]


def test_an_order_is_doubled_on_the_way_in_if_it_was_handled_twice_and_else_on_the_way_out() -> None:
    first, again, other = Arrival("o", "a", 1.0), Arrival("o", "a", 2.0), Arrival("o", "b", 3.0)
    assert list(duplicates([first, Arrival("p", "c", 1.5), again, other])) == [(again, OUT), (other, IN)]


@pytest.mark.parametrize(
    ("kind", "notice", "at_s", "is_explained"),
    [
        pytest.param(BRIDGE, "a", 10.0, True, id="at the beginning of the fault"),
        pytest.param(BRIDGE, "a", 25.0, True, id="at the end of the message timeout after it"),
        pytest.param(BRIDGE, "a", 9.9, False, id="before the fault"),
        pytest.param(BRIDGE, "a", 25.1, False, id="too long after it"),
        pytest.param(BRIDGE, "b", 15.0, True, id="a killed bridge doubles on both ways"),
        pytest.param(KAFKA, "b", 15.0, True, id="Kafka on the way in"),
        pytest.param(KAFKA, "a", 15.0, False, id="Kafka never on the way out"),
        pytest.param(RABBITMQ, "a", 15.0, True, id="RabbitMQ on the way out"),
        pytest.param(RABBITMQ, "b", 15.0, False, id="RabbitMQ never on the way in"),
    ],
)
def test_a_fault_explains_a_duplicate_within_its_window_where_it_can_make_one(
    tmp_path: Path, kind: str, notice: str, at_s: float, *, is_explained: bool
) -> None:
    arrived = f"order-0 a 1; order-0 {notice} {at_s}"
    found = finding(tmp_path, confirmed="order-0", arrived=arrived, faults=f"{kind} 10 20")
    assert found.duplicates == ({kind: 1} if is_explained else {})
    assert [*found.problems] == [f"unexplained duplicate: {each}" for each in found.unexplained]
    assert len(found.unexplained) == (not is_explained)


def test_windows_that_overlap_count_once(tmp_path: Path) -> None:
    faults = f"{BRIDGE} 10 20; {KAFKA} 22 30; {RABBITMQ} 50 51"
    found = finding(tmp_path, confirmed="", arrived="", faults=faults)
    assert found.covered_s == pytest.approx(25.0 + 6.0)
    assert found.faults[1] == Fault(KAFKA, 22.0, 30.0)
