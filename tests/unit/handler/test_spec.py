"""Spec: what follows from the class keywords of a handler."""

import dataclasses
from typing import Any

import pytest

from nsqkit.events.types import event
from nsqkit.handler.context import Context
from nsqkit.handler.handler import Handler
from nsqkit.handler.spec import HandlerSpec


@event("test_spec.created", version=1, topic="specified")
@dataclasses.dataclass
class Created:
    pass


def _spec(**keywords: Any) -> HandlerSpec:
    class Notify(Handler[Created], **{"channel": "notify", **keywords}):
        async def handle(self, event: Created, ctx: Context) -> None: ...

    return Notify.spec


@pytest.mark.parametrize(
    ("keywords", "expected"),
    [
        pytest.param({}, True, id="kept by default"),
        pytest.param({"topic": "t#ephemeral"}, False, id="not on an ephemeral topic"),
        pytest.param({"channel": "notify#ephemeral"}, False, id="not on an ephemeral channel"),
        pytest.param({"dead_letters": False}, False, id="not if told so"),
        pytest.param(
            {"topic": "t#ephemeral", "dead_letters": True}, True, id="on an ephemeral topic if told so"
        ),
    ],
)
def test_dead_letters_are_kept_or_discarded(keywords: dict[str, Any], *, expected: bool) -> None:
    assert _spec(**keywords).keeps_dead_letters is expected


def test_replayed_messages_come_only_where_dead_letters_are_kept() -> None:
    assert _spec().topics == ("specified", "specified.notify.retry")
    assert _spec(dead_letters=False).topics == ("specified",)
