"""Turn: one event, one transaction; what it changed is counted and logged."""

import pytest
import structlog
from structlog.testing import capture_logs

from nsqkit import Context, Settings
from nsqkit.policy.saga_terms import Action, Resume, Status, Stranded, Succeeded
from nsqkit.sql.open_database import OpenDatabase
from nsqkit.sql.saga.turn import Turns
from tests.unit.sql.saga.test_saga import Gateway, Order, PlaceOrder

MEMBERS = {2: PlaceOrder(Gateway())}


async def test_changes_of_status_are_metrics_and_lines_of_the_log(settings: Settings) -> None:
    structlog.reset_defaults()
    async with OpenDatabase.opened("team", settings) as database:
        turns = Turns(database, "shop")
        await turns.begin(MEMBERS, Context(), PlaceOrder.start("o1", Order("o1")))
        with capture_logs() as lines:
            for event in (Stranded("version 1"), Stranded("version 1"), Resume()):
                await turns.apply(MEMBERS, Context(), lambda *_, event=event: (event, None), key="o1")
        counts = {labels: count for family, labels, count in database.figures() if "saga" in family}
    assert counts == {("team", "PlaceOrder", "running"): 2, ("team", "PlaceOrder", "needs_attention"): 1}
    assert [line["event"] for line in lines] == ["saga_needs_attention", "saga_changed"]


async def test_commands_are_rows_of_the_transaction_and_leave_after_it(settings: Settings) -> None:
    async with OpenDatabase.opened("team", settings) as database:
        ctx = Context()
        turned = await Turns(database, "shop").begin(MEMBERS, ctx, PlaceOrder.start("o1", Order("o1")))
        assert [(each.topic, each.is_stored) for each in ctx.outgoing] == [("saga-stock", True)]
    assert turned.instance is not None
    assert turned.instance.owner.startswith("shop@")


async def test_a_command_that_cannot_be_written_changes_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message fails, so that its retries and its dead letter show the defect."""
    async with OpenDatabase.opened("team", settings) as database:
        turns = Turns(database, "shop")
        await turns.begin(MEMBERS, Context(), PlaceOrder.start("o1", Order("o1")))
        monkeypatch.setattr(turns, "_owner", None)  # the column is not nullable
        ctx = Context()
        with pytest.raises(Exception, match=r"NULL|null"):
            await turns.apply(MEMBERS, ctx, lambda *_: (Succeeded(Action("reserve")), Order("o1")), key="o1")
        monkeypatch.undo()
        found = await turns.apply(MEMBERS, ctx, lambda *_: "looked at", key="o1")
    assert ctx.outgoing == ()
    assert found.instance is not None
    assert (found.instance.epoch, found.instance.progress.status) == (1, Status.RUNNING)
