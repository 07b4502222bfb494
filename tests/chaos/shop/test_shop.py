"""The order system under kill -9: no order is lost, and all books agree, whatever is killed."""

from pathlib import Path

import pytest

from tests.chaos.shop import report
from tests.chaos.shop.run import KILLED, Plan, run_on

ORDERS = 40
PEACEFUL = Plan(36, rounds=0, rate=0.0, wait_s=240.0, has_points=False, failure_ratio=0.4)
PLAN = Plan(ORDERS, rounds=1, rate=4.0, wait_s=240.0, has_points=False)

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "is_embedded",
    [
        pytest.param(True, id="embedded"),
        pytest.param(False, id="real", marks=[pytest.mark.nsqd, pytest.mark.postgresql]),
    ],
)
async def test_every_order_is_confirmed_or_cancelled_and_the_books_agree_although_every_process_is_killed(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_embedded: bool
) -> None:
    if not is_embedded:
        monkeypatch.setenv("NSQKIT_NSQD_BIN", str(request.getfixturevalue("nsq_programs")))
    found = await run_on(PLAN, tmp_path, is_embedded=is_embedded)
    assert list(found.problems) == []
    assert len(found.books.orders) == ORDERS
    assert set(found.ends) == set(KILLED), "each was killed, and started again"
    assert report.text(found).endswith("the books agree")


@pytest.mark.nsqd
@pytest.mark.postgresql
async def test_the_monitors_the_databases_and_nsqd_count_the_same_while_the_gateway_fails(
    nsq_programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NSQKIT_NSQD_BIN", str(nsq_programs))
    found = await run_on(PEACEFUL, tmp_path, is_embedded=False)
    assert list(found.problems) == []
    assert found.counts is not None
    here, at_nsqd = found.counts.requeues
    assert here == at_nsqd > 0, "the gateway fails"
