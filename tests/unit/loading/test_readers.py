"""Readers: what is not JSON is read by the codec of the handler or of the event, if modules are set."""

import gzip
import json
from typing import Any

import msgspec
import pytest

from nsqkit.errors import EncodeError
from nsqkit.events.body import Body
from nsqkit.loading.readers import Readers
from nsqkit.settings.settings import Settings
from tests.unit.loading.team import NOTIFY, Team

PACKED = """\
from nsqkit import BytesCodec, GzipCodec, MsgpackCodec


@event("TEAM.packed", version=1, topic="TEAM_packed", codec=MsgpackCodec(), envelope=True)
@dataclass
class Packed:
    order_id: str


@event("TEAM.photo", version=1, topic="TEAM_photo", codec=BytesCodec())
@dataclass
class Photo:
    data: bytes


@event("TEAM.made", version=1, topic="TEAM_made", codec=MsgpackCodec())
@dataclass
class Made:
    order_id: str


class Unpack(Handler[Packed], channel="unpack"):
    async def handle(self, event: Packed, ctx: Context) -> None: ...


class Develop(Handler[Photo], channel="develop"):
    async def handle(self, event: Photo, ctx: Context) -> None: ...


class Zipped(Handler[Created], channel="zipped", codec=GzipCodec(MsgpackCodec())):
    async def handle(self, event: Created, ctx: Context) -> None: ...


"""
MSGPACK = msgspec.msgpack.encode({"order_id": "o-1"})
ZIPPED = gzip.compress(MSGPACK)
PROBLEMS: list[str] = []


@pytest.fixture
def readers(team: Team) -> Readers:
    team.write(PACKED + NOTIFY)
    PROBLEMS.clear()
    return Readers(Settings(modules=(team.name,)), PROBLEMS.append)


def _enveloped(team: Team, **content: Any) -> bytes:
    whole = {"specversion": "1.0", "type": f"{team.name}.packed.v1", "source": "s", "id": "1", **content}
    return json.dumps(whole).encode()


def test_a_bare_body_is_read_by_the_codec_of_its_event(team: Team, readers: Readers) -> None:
    expected = Body("json", {"order_id": "o-1"})
    assert readers.body(MSGPACK, f"{team.name}_packed") == expected
    assert readers.body(MSGPACK, f"{team.name}_packed.unpack.retry") == expected
    assert PROBLEMS == []


def test_the_data_of_an_envelope_is_read_too(team: Team, readers: Readers) -> None:
    body = _enveloped(team, data_base64="gahvcmRlcl9pZKNvLTE=")
    found = readers.body(body, f"{team.name}_packed")
    assert found.content == {"order_id": "o-1"}
    assert found.attribute("id") == "1"


def test_the_handlers_codec_wins_where_its_channel_is_known(team: Team, readers: Readers) -> None:
    assert readers.body(ZIPPED, team.name, "zipped").value == {"order_id": "o-1"}
    assert readers.body(ZIPPED, team.name, "notify").kind == "binary"


def test_an_event_without_a_handler_is_read_by_its_own_codec(team: Team, readers: Readers) -> None:
    assert readers.body(MSGPACK, f"{team.name}_made").value == {"order_id": "o-1"}


@pytest.mark.parametrize(
    ("body", "topic", "kind"),
    [
        pytest.param(b'{"a":1}', "TEAM_packed", "json", id="JSON"),
        pytest.param(b"text", "TEAM_packed", "text", id="a text"),
        pytest.param(b"\xff\xd8", "TEAM_photo", "binary", id="plain bytes"),
        pytest.param(b"\xff\xd8", "TEAM_packed", "binary", id="no event of the topic"),
        pytest.param(MSGPACK, "other", "binary", id="another topic"),
    ],
)
def test_any_other_body_is_shown_as_it_is(
    team: Team, readers: Readers, body: bytes, topic: str, kind: str
) -> None:
    assert readers.body(body, topic.replace("TEAM", team.name)) == Body.read(body)
    assert readers.body(body, topic.replace("TEAM", team.name)).kind == kind


def test_modules_that_cannot_be_loaded_are_told_once_and_not_used(team: Team) -> None:
    readers = Readers(Settings(modules=("no_such_module",)), PROBLEMS.append)
    PROBLEMS.clear()
    assert [readers.body(b"\xff", "a").kind for _ in range(2)] == ["binary", "binary"]
    (problem,) = PROBLEMS
    assert problem.startswith("no_such_module: there is no module")


def test_without_modules_nothing_is_loaded() -> None:
    assert Readers(Settings(), PROBLEMS.append).body(b"\xff", "a").kind == "binary"


def test_a_draft_is_packed_as_the_body_was(team: Team, readers: Readers) -> None:
    draft = readers.draft(ZIPPED, team.name, "zipped")
    assert draft is not None
    assert draft.text == b'{"order_id":"o-1"}'
    packed = draft.packed(b'{"order_id":"o-2"}')
    assert msgspec.msgpack.decode(gzip.decompress(packed)) == {"order_id": "o-2"}
    with pytest.raises(EncodeError, match=rf"the edited text is no {team.name}.created.v1: .*order_id"):
        draft.packed(b"{}")


def test_a_draft_of_compressed_json_needs_no_modules() -> None:
    draft = Readers(Settings(), PROBLEMS.append).draft(gzip.compress(b'{"a": 1.10}'), "a")
    assert draft is not None
    assert draft.text == b'{"a": 1.10}'
    assert gzip.decompress(draft.packed(b"[]")) == b"[]"


@pytest.mark.parametrize("body", [b'{"a":1}', b"text", b"\xff\xd8"])
def test_what_people_can_edit_or_no_codec_reads_has_no_draft(
    team: Team, readers: Readers, body: bytes
) -> None:
    assert readers.draft(body, f"{team.name}_packed") is None
