"""Preparer: an event becomes an envelope for its topic, or is refused before it is sent."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from nsqkit import Context, EncodeError, JsonCodec, Publish, event
from nsqkit.handler.outgoing import Outgoing, Preparer
from tests.unit.publishing.sent import Homeless, Sent


@event("publisher.bare", version=1, topic="sent-bare", codec=JsonCodec())
@dataclass(frozen=True)
class Bare:
    n: int = 0


def preparer(source: str, max_msg_bytes: int) -> Any:
    return Preparer(source=source, max_msg_bytes=max_msg_bytes).event


def caused(**extensions: object) -> bytes:
    envelope = {"specversion": "1.0", "type": "sent.v1", "source": "shop", "id": "e-1", "data": {}}
    return json.dumps(envelope | extensions).encode()


class TestPreparer:
    """What is made of an event before it is sent."""

    def test_an_event_becomes_an_envelope_for_its_topic(self) -> None:
        before = datetime.now(UTC)
        ready = preparer("shop", 10_000)(Sent(1), None, 0.0)
        assert (ready.topic, ready.defer_s) == ("sent", 0.0)
        envelope = json.loads(ready.body)
        assert re.fullmatch(r"[0-9a-f-]{36}", envelope.pop("id"))
        assert before <= datetime.fromisoformat(envelope.pop("time")) <= datetime.now(UTC)
        assert envelope == {
            "specversion": "1.0",
            "type": "publisher.sent.v2",
            "source": "shop",
            "datacontenttype": "application/json",
            "data": {"n": 1},
        }

    def test_each_event_has_an_id_of_its_own(self) -> None:
        prepare = preparer("shop", 10_000)
        assert (
            json.loads(prepare(Sent(1), None, 0.0).body)["id"]
            != json.loads(prepare(Sent(1), None, 0.0).body)["id"]
        )

    @pytest.mark.parametrize(
        ("ctx", "expected"),
        [
            pytest.param(
                Context(event_id="e-1", correlation_id="c-1"),
                {"correlationid": "c-1", "causationid": "e-1"},
                id="it belongs to the flow of its cause",
            ),
            pytest.param(
                Context(event_id="e-1"),
                {"correlationid": "e-1", "causationid": "e-1"},
                id="its cause begins the flow",
            ),
            pytest.param(
                Context(event_id="e-1", body=caused(requestid="r-1")),
                {"correlationid": "e-1", "causationid": "e-1", "requestid": "r-1"},
                id="it belongs to the request of its cause",
            ),
            pytest.param(
                Context(event_id="e-1", body=caused(requestid=5)),
                {"correlationid": "e-1", "causationid": "e-1"},
                id="an id of a request is text",
            ),
            pytest.param(Context(), {}, id="a bare body has no id"),
            pytest.param(None, {}, id="no handler publishes it"),
        ],
    )
    def test_a_follow_up_event_names_its_cause_and_its_flow(
        self, ctx: Context | None, expected: dict[str, str]
    ) -> None:
        ready = Preparer(source="shop", max_msg_bytes=10_000).event(Sent(1), None, 0.0, ctx)
        assert ready is not None
        written = json.loads(ready.body)
        ids = {"correlationid", "causationid", "requestid"}
        assert {name: written[name] for name in written if name in ids} == expected

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ({"partition_key": "é/1", "sequence": "007"}, {"partitionkey": "é/1", "sequence": "007"}),
            ({"sequence": "007"}, {"sequence": "007"}),
            ({}, {}),
        ],
    )
    def test_partition_key_and_sequence_are_attributes_as_they_are_given(
        self, given: dict[str, str], expected: dict[str, str]
    ) -> None:
        ctx = Context()
        ctx.publish(Sent(1), **given)  # type: ignore[arg-type]
        written = json.loads(ctx.outgoing[0].body)
        assert {name: written[name] for name in written if name in {"partitionkey", "sequence"}} == expected

    @pytest.mark.parametrize("wrong", ["", 7])
    def test_a_sequence_that_is_no_text_or_empty_is_refused(self, wrong: Any) -> None:
        with pytest.raises(EncodeError, match=f"sequence={wrong!r} .* give a text that is not empty"):
            Context().publish(Sent(1), sequence=wrong)

    def test_a_partition_key_needs_an_envelope(self) -> None:
        with pytest.raises(EncodeError, match="has no envelope for partitionkey"):
            Context().publish(Bare(1), partition_key="o1")

    def test_what_an_extension_gives_comes_before_the_cause(self) -> None:
        def give(publish: Publish) -> None:
            assert publish.attributes == {"correlationid": "e-1", "causationid": "e-1"}
            publish.attributes["correlationid"] = "c-9"

        prepare = Preparer(source="shop", max_msg_bytes=10_000, hooks=[give])
        ready = prepare.event(Sent(1), None, 0.0, Context(event_id="e-1"))
        assert ready is not None
        written = json.loads(ready.body)
        assert (written["correlationid"], written["causationid"]) == ("c-9", "e-1")

    def test_an_extension_sees_the_type_and_the_id_that_the_event_will_have(self) -> None:
        seen: list[Publish] = []
        ready = Preparer(source="shop", max_msg_bytes=10_000, hooks=[seen.append], nsqd="a:4150").event(
            Sent(1), None, 0.0
        )
        assert ready is not None
        ((publish,),) = [seen]
        assert publish.stamp is not None
        assert publish.stamp.event_id == json.loads(ready.body)["id"]
        assert (publish.event_type, publish.nsqd) == ("publisher.sent.v2", "a:4150")

    def test_a_topic_that_is_given_comes_before_the_events_own(self) -> None:
        assert preparer("shop", 10_000)(Sent(1), "elsewhere", 0.0).topic == "elsewhere"

    @pytest.mark.parametrize(
        ("call", "said"),
        [
            pytest.param((Homeless(1), None, 0.0), "has no topic", id="no topic at all"),
            pytest.param((Sent(1), "a b", 0.0), "topic name 'a b'", id="an invalid topic"),
            pytest.param((Sent(1), None, -1.0), "defer_s=-1.0", id="a negative delay"),
            pytest.param((Sent(1), None, float("nan")), "defer_s=nan", id="a delay that is no number"),
            pytest.param((Sent(1), None, float("inf")), "defer_s=inf", id="an endless delay"),
            pytest.param(("text", None, 0.0), "cannot publish", id="not an event"),
            pytest.param((Sent(object()), None, 0.0), "JSON", id="a value that JSON cannot hold"),  # type: ignore[arg-type]
            pytest.param((Sent("x" * 1000), None, 0.0), "nsqd takes 500", id="over nsqd's limit"),  # type: ignore[arg-type]
        ],
    )
    def test_what_cannot_be_published_is_refused_before_it_is_sent(
        self, call: tuple[Any, str | None, float], said: str
    ) -> None:
        with pytest.raises(EncodeError, match=re.escape(said)):
            preparer("shop", 500)(*call)

    def test_an_event_without_a_topic_can_be_given_one(self) -> None:
        prepared = preparer("shop", 10_000)(Homeless(1), "anywhere", 1.5)
        assert isinstance(prepared, Outgoing)
        assert (prepared.topic, prepared.defer_s) == ("anywhere", 1.5)
