"""`nsqkit tail`: what is printed of a message, and which."""

import base64
import gzip
import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
import pytest

from nsqkit.nsq.message import Message
from nsqkit.settings.settings import Settings
from tests.unit.nsq.fake_link import FakeLink

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Nsqkit

TIMESTAMP_NS = 1_767_225_600_123_456_789
EVENT = {
    "specversion": "1.0",
    "type": "order.created.v1",
    "source": "shop",
    "id": "e-1",
    "data": {"order": "o-1", "store": 330, "mail": "bob@example.org"},
}
BODIES = (json.dumps(EVENT).encode(), b'{"order": "o-2", "store": 7}', b"no JSON", b"\x00\xff token=abc")


class _Tail:
    """Stands for nsqkit.ops.tail.tail: shows some messages."""

    topic = ""
    settings = Settings()
    shown = 0

    def __call__(self, topic: str, settings: Settings, show: Callable[[Message], bool], **_: object) -> None:
        self.topic, self.settings = topic, settings
        for number, body in enumerate(BODIES):
            link = FakeLink("a:1", topic)
            message = Message(b"%016d" % number, body, TIMESTAMP_NS, 1, 0.0, link)
            self.shown += 1
            if not show(message):
                return


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> _Tail:
    fake = _Tail()
    monkeypatch.setattr("nsqkit.ops.tail.tail", fake)
    return fake


def test_a_line_each_with_time_type_id_and_content(nsqkit: "Nsqkit", fake: _Tail) -> None:
    result = nsqkit("tail", "orders", "--nsqd", "a:1", "--nsqd-http", "a:2", "--lookupd", "b:3")
    assert result.code == 0
    assert [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in result.out.splitlines()] == [
        'order.created.v1 e-1 {"order": "o-1", "store": 330, "mail": "[redacted]"}',
        '- 0000000000000001 {"order": "o-2", "store": 7}',
        'text 0000000000000002 "no JSON"',
        r'binary 0000000000000003 "\u0000\\xff token=[redacted]"',
    ]
    settings = fake.settings
    assert fake.topic == "orders"
    assert (settings.nsqd, settings.nsqd_http, settings.lookupd) == (("a:1",), ("a:2",), ("b:3",))


def test_raw_masks_nothing(nsqkit: "Nsqkit", fake: _Tail) -> None:
    out = nsqkit("tail", "orders", "--raw").out
    assert "bob@example.org" in out
    assert "token=abc" in out


def test_as_json_all_that_is_known(nsqkit: "Nsqkit", fake: _Tail) -> None:
    first, _, third, fourth = map(json.loads, nsqkit("tail", "orders", "--json").out.splitlines())
    assert first == {
        "topic": "orders",
        "nsqd": "a:1",
        "message_id": "0000000000000000",
        "published": "2026-01-01T00:00:00.123456Z",
        "kind": "json",
        "body": {**EVENT, "data": {"order": "o-1", "store": 330, "mail": "[redacted]"}},
    }
    assert (third["kind"], third["body"]) == ("text", "no JSON")
    assert (fourth["kind"], fourth["body"]) == ("binary", "\x00\\xff token=[redacted]")
    assert "base64" not in fourth


def test_as_raw_json_bytes_can_be_had_back(nsqkit: "Nsqkit", fake: _Tail) -> None:
    lines = [json.loads(line) for line in nsqkit("tail", "orders", "--json", "--raw").out.splitlines()]
    assert [("base64" in line) for line in lines] == [False, False, False, True]
    assert base64.b64decode(lines[3]["base64"]) == BODIES[3]


@pytest.mark.parametrize(
    ("where", "printed"),
    [
        pytest.param(["type=order.created.v1"], ["o-1"], id="an attribute"),
        pytest.param(["data.store=330"], ["o-1"], id="a field of an event"),
        pytest.param(["store=7"], ["o-2"], id="a field of a bare event"),
        pytest.param(["data.mail=bob@example.org"], ["o-1"], id="what is masked can be asked for"),
        pytest.param(["data.store=330", "id=e-2"], [], id="all must hold"),
    ],
)
def test_only_what_is_asked_for(nsqkit: "Nsqkit", fake: _Tail, where: list[str], printed: list[str]) -> None:
    result = nsqkit("tail", "orders", *(each for text in where for each in ("--where", text)))
    assert re.findall(r'"order": "(.*?)"', result.out) == printed


def test_a_body_is_read_by_the_codec_of_its_handler(
    nsqkit: "Nsqkit", fake: _Tail, packed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = msgspec.msgpack.encode({"order": "o-1", "mail": "bob@example.org"})
    monkeypatch.setattr(f"{__name__}.BODIES", (body, gzip.compress(b'{"order": "o-2"}')))
    asked = ("--set", f"modules={packed}", "--where", "order=o-1")
    assert nsqkit("tail", packed, *asked).out.endswith('{"order": "o-1", "mail": "[redacted]"}\n')
    assert nsqkit("tail", packed, *asked[:2]).out.endswith('- 0000000000000001 {"order": "o-2"}\n')
    result = nsqkit("tail", "other", "--set", "modules=no_such_module")
    assert result.err.startswith("warning: no_such_module: ")
    assert " binary 0000000000000000 " in result.out


def test_it_ends_after_so_many_that_were_printed(nsqkit: "Nsqkit", fake: _Tail) -> None:
    assert len(nsqkit("tail", "orders", "--count", "2").out.splitlines()) == 2
    assert fake.shown == 2
    assert len(nsqkit("tail", "orders", "--count", "1", "--where", "store=7").out.splitlines()) == 1
    assert fake.shown == 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["--where", "store"], "--where 'store': give it as FIELD=VALUE", id="a half condition"),
        pytest.param(["--count", "0"], "--count", id="nothing to print"),
        pytest.param(["--nsqd", "a"], "give host:port", id="a bad address"),
    ],
)
def test_wrong_use(nsqkit: "Nsqkit", fake: _Tail, arguments: list[str], said: str) -> None:
    result = nsqkit("tail", "orders", *arguments)
    assert (result.code, result.out) == (2, "")
    assert said in result.err
