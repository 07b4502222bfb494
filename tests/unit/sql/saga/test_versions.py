"""Versions: an instance ends with the steps it began with, or a person is told; a deploy strands none."""

from dataclasses import dataclass, replace
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from nsqkit import Context, Handler, Settings, event
from nsqkit.policy.saga_terms import Progress, Status
from nsqkit.sql import Database
from nsqkit.sql.saga import Call, CallContext, Saga, Send, Step, store
from nsqkit.sql.saga.events import SagaCall
from nsqkit.testing import Harness
from tests.unit.sql.apart import apart
from tests.unit.sql.saga.test_store import NEW

team = Database("team")


@event("lens.ground", version=1, topic="saga-lenses-ground")
class LensGround(msgspec.Struct, frozen=True):
    lens_id: str


@event("lens.polish", version=1, topic="saga-lenses")
class PolishLens(msgspec.Struct, frozen=True):
    lens_id: str


@event("lens.grind", version=1, topic="saga-lenses")
class GrindLens(msgspec.Struct, frozen=True):
    lens_id: str


class Lens(msgspec.Struct, frozen=True):
    lens_id: str
    is_ground: bool = False


def grind(_self: Any, lens: Lens) -> GrindLens:
    return GrindLens(lens.lens_id)


def ground(_self: Any, lens: Lens, _event: LensGround) -> Lens:
    return msgspec.structs.replace(lens, is_ground=True)


def polish(_self: Any, lens: Lens) -> PolishLens:
    return PolishLens(lens.lens_id)


async def measure(_self: Any, lens: Lens, call: CallContext) -> None:
    pass


class MakeLensV1(Saga[Lens], name="MakeLens", version=1, on=team):
    steps = (Step("grind", Send(grind, replies=(ground,))), Step("polish", Send(polish)))


class MakeLens(Saga[Lens], version=2, on=team, older=[MakeLensV1]):
    steps = (Step("measure", Call(measure)), Step("polish", Send(polish)))


@dataclass(frozen=True)
class Case:
    """A state with a default, which a later version of its class may change."""

    case_id: str
    colour: str = "black"


def cut(_self: Any, case: Case) -> GrindLens:
    return GrindLens(case.case_id)


class MakeCase(Saga[Case], version=1, on=team):
    steps = (Step("cut", Send(cut)),)


class Workshop(Handler[PolishLens | GrindLens], channel="workshop"):
    async def handle(self, event: PolishLens | GrindLens, ctx: Context) -> None:
        if isinstance(event, GrindLens):
            ctx.publish(LensGround(event.lens_id))


@apart
def statuses(outside: sa.Engine) -> dict[str, tuple[int, str]]:
    with outside.connect() as connection:
        return {each.key: (each.version, each.progress.status) for each in store.listed(connection)}


async def test_an_instance_of_an_older_version_ends_with_its_own_steps(
    settings: Settings, outside: sa.Engine
) -> None:
    async with Harness([MakeLens, Workshop], settings=settings) as h:
        await h.publish(MakeLensV1.start("old", Lens("old")))
        await h.publish(MakeLens.start("new", Lens("new")))
        await h.settle()
        h.handled(GrindLens("old")).once()
        h.handled(PolishLens).times(2)
    assert statuses(outside) == {"old": (1, Status.COMPLETED), "new": (2, Status.COMPLETED)}


async def test_a_reply_that_the_version_of_an_instance_does_not_know_is_discarded(
    settings: Settings, outside: sa.Engine
) -> None:
    ctx = Context(event_id="x", correlation_id="MakeLens/new")
    ctx.publish(LensGround("new"))
    async with Harness([MakeLens, Workshop], settings=settings) as h:
        await h.publish(MakeLens.start("new", Lens("new")))
        await h.settle()
        await h.publish_raw("saga-lenses-ground", ctx.outgoing[0].body)
        await h.settle()
        assert [each.detail for each in h.discarded()] == ["unknown reply"]


@apart
def leave_newer(outside: sa.Engine) -> None:
    """Leave an instance of a version that this process does not know."""
    newer = Progress(Status.RUNNING, 0, 1, due_s=1e12)
    with outside.begin() as connection:
        lens = replace(NEW, saga="MakeLens", key="l1", correlation_id="MakeLens/l1")
        store.add(connection, replace(lens, version=3, progress=newer))


@pytest.mark.parametrize(
    "message", [LensGround("l1"), SagaCall("l1", "measure", is_undo=False, attempt=1)], ids=["reply", "call"]
)
async def test_what_belongs_to_a_newer_version_waits_for_its_workers(
    message: Any, settings: Settings, outside: sa.Engine
) -> None:
    leave_newer(outside)
    ctx = Context(event_id="x", correlation_id="MakeLens/l1")
    topic = MakeLens.spec.topic if isinstance(message, SagaCall) else None
    ctx.publish(message, topic=topic)
    async with Harness([MakeLens, Workshop], settings=settings) as h:
        await h.publish_raw(ctx.outgoing[0].topic, ctx.outgoing[0].body)
        await h.settle()
        h.requeued().once()
    assert statuses(outside) == {"l1": (3, Status.RUNNING)}


async def test_a_call_that_no_step_has_is_discarded(settings: Settings) -> None:
    ctx = Context()
    ctx.publish(SagaCall("new", "engrave", is_undo=False, attempt=1), topic=MakeLens.spec.topic)
    async with Harness([MakeLens, Workshop], settings=settings) as h:
        await h.publish(MakeLens.start("new", Lens("new")))
        await h.settle()
        await h.publish_raw(MakeLens.spec.topic, ctx.outgoing[0].body)
        await h.settle()
        assert [each.detail for each in h.discarded()] == ["unknown call"]


async def test_a_state_is_stored_with_its_defaults(settings: Settings, outside: sa.Engine) -> None:
    """An instance keeps what it began with, also if it was decoded from JSON that had no such fields."""
    body = b"""{"specversion": "1.0", "id": "1", "source": "shop", "type": "MakeCase.start.v1",
        "data": {"key": "c1", "correlation_id": "c1", "state": {"case_id": "c1"}}}"""
    async with Harness([MakeCase], settings=settings) as h:
        await h.publish_raw(MakeCase.spec.topic, body)
        await h.settle()

    with outside.connect() as connection:
        (found,) = apart(store.listed)(connection)
    assert msgspec.json.decode(found.state) == {"case_id": "c1", "colour": "black"}


def test_a_state_is_of_its_class() -> None:
    with pytest.raises(TypeError, match="got 'ground' as its state; return Lens, Refused or None"):
        MakeLens.spec.write_state("ground")
