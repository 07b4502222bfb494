"""`nsqkit dead`: what is printed, what is asked, and what is refused."""

import asyncio
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from nsqkit.cli.ending import on_second_signal
from nsqkit.dead_letters.collect import CollectionReport
from nsqkit.dead_letters.filters import Filters
from nsqkit.dead_letters.store import FOLDER, Store
from nsqkit.devbroker import DevBroker
from nsqkit.policy.names import dead_topic, retry_topic
from nsqkit.settings.settings import Settings
from tests.unit.dead_letters.letters import BODY, letter
from tests.unit.reading import take, topics_of

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Nsqkit

STORE = f"{FOLDER}/dead-letters.sqlite"
ALL = Filters()
RETRY = "orders.payments.retry"
UNKNOWN = (
    *("reason", "detail", "error_type", "stack", "handler", "published_at"),
    *("message_id", "event_type", "nsqkit_version"),
)
ESCAPE = "\x1b[2J"


@pytest.fixture
def store(nsqkit: "Nsqkit", tmp_path: Path, threaded_broker: DevBroker) -> Path:
    """The store of the working directory, with three dead letters of the broker."""
    path = tmp_path / STORE
    with Store(path, make=True) as store:
        store.add(
            [
                letter(1, nsqd=threaded_broker.tcp_address, dead_at="2026-01-01T00:01:00.000000Z"),
                letter(
                    2,
                    nsqd=threaded_broker.tcp_address,
                    dead_at="2026-01-01T00:02:00.000000Z",
                    handler="NotifyCustomer",
                    channel="notify",
                    dead_topic="orders.notify.dead",
                    error_type="ValueError",
                    body=b'{"mail": "bob@example.org", "text": "caf\\u00e9"}',
                ),
                letter(
                    3,
                    nsqd=threaded_broker.tcp_address,
                    dead_at="2026-01-01T00:03:00.000000Z",
                    is_record=False,
                    **dict.fromkeys(
                        ("reason", "detail", "error_type", "stack", "handler", "published_at"), ""
                    ),
                    **dict.fromkeys(("message_id", "event_type", "nsqkit_version"), ""),
                    attempts=0,
                    event_id=None,
                    traceparent=None,
                    body=f"two\nlines {ESCAPE}".encode(),
                ),
            ]
        )
    return path


def replays(path: Path) -> dict[int, int]:
    with Store(path) as store:
        return {each.id: each.replays for each in store.find(ALL)}


def answering(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    """Put a terminal there, and what is typed on it."""

    class Terminal:
        def isatty(self) -> bool:
            return True

        def readline(self) -> str:
            return f"{answer}\n"

    monkeypatch.setattr("sys.stdin", Terminal())


class TestLs:
    def test_the_newest_comes_first_with_two_lines_each_on_a_narrow_terminal(
        self, nsqkit: "Nsqkit", store: Path
    ) -> None:
        out = nsqkit("dead", "ls").out
        lines = [line.split() for line in out.splitlines()]
        assert [line[0] for line in lines if line[0].isdigit()] == ["3", "2", "1", "3"]
        assert "orders/notify" in out
        assert max(map(len, out.splitlines())) <= 80
        assert out.splitlines()[-1] == f"3 dead letters in {STORE}"

    def test_where_there_is_no_terminal_each_is_a_line(
        self, nsqkit: "Nsqkit", store: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("COLUMNS")
        lines = nsqkit("dead", "ls").out.splitlines()
        assert len(lines) == 6
        assert lines[-2].split()[:1] + lines[-2].split()[3:] == [
            *("1", "orders/payments", "ChargePayment", "exhausted", "GatewayError"),
            *("6", "order.created.v1", str(len(BODY))),
        ]

    @pytest.mark.parametrize(
        ("arguments", "ids"),
        [
            pytest.param(["--where", "error=ValueError"], [2], id="by error"),
            pytest.param(["--where", "detail~NO ANSWER", "--where", "channel=payments"], [1], id="all hold"),
            pytest.param(["--handler", "NotifyCustomer"], [2], id="by handler"),
            pytest.param(["--since", "2026-01-01T00:02:00Z"], [3, 2], id="since"),
            pytest.param(["--limit", "1"], [3], id="so many"),
            pytest.param([], [3, 2, 1], id="all"),
        ],
    )
    def test_as_json_lines_those_that_are_meant(
        self, nsqkit: "Nsqkit", store: Path, arguments: list[str], ids: list[int]
    ) -> None:
        found = [json.loads(line) for line in nsqkit("dead", "ls", "--json", *arguments).out.splitlines()]
        assert [each["id"] for each in found] == ids

    def test_a_json_line_has_everything_but_the_body(self, nsqkit: "Nsqkit", store: Path) -> None:
        line = json.loads(nsqkit("dead", "ls", "--json", "--handler", "ChargePayment").out)
        assert (line["is_record"], line["size_bytes"], line["replays"], line["replayed_at"]) == (
            *(True, len(BODY)),
            *(0, None),
        )
        assert line["stack"].startswith("Traceback")
        assert "body" not in line

    def test_what_is_left_out_is_said(self, nsqkit: "Nsqkit", store: Path) -> None:
        assert (
            nsqkit("dead", "ls", "--limit", "2")
            .out.splitlines()[-1]
            .endswith("the newest 2 of them shown (--limit)")
        )

    def test_groups(self, nsqkit: "Nsqkit", store: Path) -> None:
        lines = nsqkit("dead", "ls", "--by", "error").out.splitlines()
        assert [line.split()[:2] for line in lines[3:5]] == [["GatewayError", "1"], ["ValueError", "1"]]
        assert lines[-1] == f"3 dead letters in {STORE}"
        groups = [
            json.loads(line) for line in nsqkit("dead", "ls", "--by", "reason", "--json").out.splitlines()
        ]
        assert [(each["value"], each["count"]) for each in groups] == [("exhausted", 2), ("", 1)]

    def test_none_is_a_line_as_well(self, nsqkit: "Nsqkit", store: Path) -> None:
        assert nsqkit("dead", "ls", "--handler", "X").out == f"0 dead letters in {STORE}\n"

    @pytest.mark.parametrize("flag", [["--store", "other.sqlite"], ["--set", "dead_store=other.sqlite"]])
    def test_another_store(self, nsqkit: "Nsqkit", tmp_path: Path, flag: list[str]) -> None:
        with Store(tmp_path / "other.sqlite", make=True) as other:
            other.add([letter()])
        assert nsqkit("dead", "ls", *flag).out.endswith("1 dead letter in other.sqlite\n")


class TestShow:
    def test_everything_with_the_body_laid_out_and_its_secrets_masked(
        self, nsqkit: "Nsqkit", store: Path
    ) -> None:
        out = nsqkit("dead", "show", "2").out
        for text in ("orders/notify", "NotifyCustomer", "GatewayError: no answer", "e-1", "never", "line 7"):
            assert text in out
        assert out.endswith('{\n  "mail": "[redacted]",\n  "text": "café"\n}\n')

    def test_a_body_alone_says_so_and_does_nothing_to_the_terminal(
        self, nsqkit: "Nsqkit", store: Path
    ) -> None:
        out = nsqkit("dead", "show", "3").out
        assert "3, only a body" in out
        assert "handler" not in out
        assert out.endswith("two\nlines \\x1b[2J\n")

    def test_raw_is_the_body_byte_by_byte(self, nsqkit: "Nsqkit", store: Path) -> None:
        result = nsqkit("dead", "show", "3", "--raw")
        assert (result.code, result.out) == (0, f"two\nlines {ESCAPE}")


class TestReplay:
    def test_what_would_go_where_and_nothing_goes(
        self, nsqkit: "Nsqkit", store: Path, threaded_broker: DevBroker
    ) -> None:
        result = nsqkit("dead", "replay", "--dry-run")
        address = threaded_broker.tcp_address
        assert result.out.splitlines() == [
            f"2 dead letters would go to {RETRY} on nsqd {address}",
            f"1 dead letter would go to orders.notify.retry on nsqd {address}",
        ]
        assert topics_of(threaded_broker.http_address) == {}

    def test_one_goes_out_unasked_and_not_a_second_time(
        self, nsqkit: "Nsqkit", store: Path, threaded_broker: DevBroker
    ) -> None:
        assert nsqkit("dead", "replay", "1").out == f"replayed 1 dead letter to {RETRY}\n"
        second = nsqkit("dead", "replay", "1")
        assert (second.code, second.out) == (0, "there is nothing to replay\n")
        assert "1 dead letter left out, replayed before (--again" in second.err
        assert nsqkit("dead", "replay", "1", "--again").code == 0
        assert replays(store) == {1: 2, 2: 0, 3: 0}
        assert asyncio.run(take(threaded_broker.tcp_address, RETRY, 2, "payments")) == [BODY, BODY]

    def test_several_go_out_once_agreed(
        self, nsqkit: "Nsqkit", store: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        answering(monkeypatch, "y")
        result = nsqkit("dead", "replay", "--limit", "2", "--rate", "1000")
        assert result.out == f"replayed 2 dead letters to orders.notify.retry, {RETRY}\n"
        assert replays(store) == {1: 1, 2: 1, 3: 0}

    def test_or_not_at_all(self, nsqkit: "Nsqkit", store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        answering(monkeypatch, "n")
        result = nsqkit("dead", "replay")
        assert (result.code, result.out) == (1, "")
        assert result.err.endswith("nothing was done\n")
        assert set(replays(store).values()) == {0}

    def test_where_nobody_can_be_asked_it_must_be_said_before(self, nsqkit: "Nsqkit", store: Path) -> None:
        result = nsqkit("dead", "replay")
        assert (result.code, set(replays(store).values())) == (2, {0})
        assert "there is no terminal to ask on whether to replay 3 dead letters" in result.err
        assert nsqkit("dead", "replay", "--yes").code == 0
        assert set(replays(store).values()) == {1}

    def test_a_failure_is_one_line_that_says_how_many_went_out(self, nsqkit: "Nsqkit", store: Path) -> None:
        with Store(store) as found:
            found.add([letter(4, nsqd="127.0.0.1:1", dead_at="2026-02-01T00:00:00.000000Z")])
        result = nsqkit("dead", "replay", "--yes", "--rate", "10")
        assert result.code == 1
        assert result.err.startswith("error: stopped with 3 of 4 dead letters replayed: ")
        assert len(result.err.splitlines()) == 1

    @pytest.mark.parametrize(
        ("code", "expected"),
        [
            pytest.param("pass", BODY, id="unchanged"),
            pytest.param("path.write_bytes(b'mended')", b"mended", id="changed"),
        ],
    )
    def test_one_may_be_edited(  # noqa: PLR0917 - fixtures
        self,
        nsqkit: "Nsqkit",
        store: Path,
        threaded_broker: DevBroker,
        monkeypatch: pytest.MonkeyPatch,
        code: str,
        expected: bytes,
    ) -> None:
        editor(monkeypatch, code)
        assert nsqkit("dead", "replay", "1", "--edit").code == 0
        assert asyncio.run(take(threaded_broker.tcp_address, RETRY, 1, "payments")) == [expected]

    def test_what_a_codec_reads_is_shown_edited_and_published_as_json_by_that_codec(
        self,
        nsqkit: "Nsqkit",
        packed: str,
        store: Path,
        threaded_broker: DevBroker,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        body = msgspec.msgpack.encode({"order": "o-1", "mail": "bob@example.org"})
        place = {"topic": packed, "channel": packed, "dead_topic": dead_topic(packed, packed)}
        with Store(store) as found:
            found.add([letter(4, nsqd=threaded_broker.tcp_address, body=body, **place)])
        modules = ("--set", f"modules={packed}")
        shown = nsqkit("dead", "show", "4", *modules).out
        assert shown.endswith('{\n  "order": "o-1",\n  "mail": "[redacted]"\n}\n')
        editor(monkeypatch, "path.write_bytes(path.read_bytes().replace(b'o-1', b'o-2'))")
        assert nsqkit("dead", "replay", "4", "--edit", *modules).code == 0
        retry = retry_topic(packed, packed)
        (sent,) = asyncio.run(take(threaded_broker.tcp_address, retry, 1, packed))
        assert msgspec.msgpack.decode(sent) == {"order": "o-2", "mail": "bob@example.org"}

    def test_an_empty_file_publishes_nothing(
        self, nsqkit: "Nsqkit", store: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        editor(monkeypatch, "path.write_bytes(b'')")
        result = nsqkit("dead", "replay", "1", "--edit")
        assert (result.code, result.err) == (1, "the file was left empty: nothing was published\n")
        assert set(replays(store).values()) == {0}


def editor(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    start = "import pathlib, sys; path = pathlib.Path(sys.argv[1]); "
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", shlex.join([sys.executable, "-c", start + code]))


class TestEmpty:
    def test_those_that_are_meant_are_deleted(self, nsqkit: "Nsqkit", store: Path) -> None:
        told = nsqkit("dead", "empty", "--older-than", "2026-01-01T00:03:00Z", "--dry-run").out
        assert told == f"2 dead letters would be deleted from {STORE}\n"
        assert (
            nsqkit("dead", "empty", "--handler", "X").out == f"0 dead letters would be deleted from {STORE}\n"
        )
        assert len(replays(store)) == 3
        assert nsqkit("dead", "empty", "1", "3", "--yes").out == f"deleted 2 dead letters from {STORE}\n"
        assert set(replays(store)) == {2}

    @pytest.mark.parametrize(("answer", "left"), [("y", 0), ("n", 3)])
    def test_it_asks(
        self, nsqkit: "Nsqkit", store: Path, monkeypatch: pytest.MonkeyPatch, answer: str, left: int
    ) -> None:
        answering(monkeypatch, answer)
        nsqkit("dead", "empty")
        assert len(replays(store)) == left


class TestCollect:
    @pytest.fixture
    def fake(self, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        calls: list[Any] = []

        def collect(settings: Settings, **options: Any) -> CollectionReport:
            calls.append((settings, options))
            return CollectionReport(5, 1, frozenset({"orders.nobody.dead"}))

        monkeypatch.setattr("nsqkit.dead_letters.collect.collect", collect)
        return calls

    def test_it_says_what_it_has_stored_and_what_it_has_not_found(
        self, nsqkit: "Nsqkit", fake: list[Any]
    ) -> None:
        flags = ("--nsqd", "a:1", "--nsqd-http", "a:2", "--lookupd", "b:3", "--store", "s.sqlite")
        result = nsqkit("dead", "collect", "orders/nobody", *flags, "--exit-when-idle")
        assert result.code == 0
        assert result.out == "stored 5 dead letters in s.sqlite; already stored: 1 dead letter\n"
        assert "no nsqd here has the topic orders.nobody.dead" in result.err
        ((settings, options),) = fake
        assert (settings.nsqd, settings.nsqd_http, settings.lookupd) == (("a:1",), ("a:2",), ("b:3",))
        assert options == {
            "topics": {"orders.nobody.dead"},
            "exit_when_idle": True,
            "on_second_signal": on_second_signal,
        }

    def test_all_is_the_same_as_none(self, nsqkit: "Nsqkit", fake: list[Any]) -> None:
        for given in ([], ["all"]):
            assert nsqkit("dead", "collect", *given).code == 0
        assert [options["topics"] for _, options in fake] == [None, None]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["ls", "--where", "x=1"], "dead letters have no 'x'", id="no such field"),
        pytest.param(["ls", "--since", "soon"], "--since 'soon': give an age", id="no time"),
        pytest.param(["empty", "--older-than", "old"], "--older-than 'old': give", id="no age"),
        pytest.param(["show", "9"], f"there is no dead letter 9 in {STORE}", id="no such one to show"),
        pytest.param(["replay", "9", "1"], "there is no dead letter 9 in", id="no such one to replay"),
        pytest.param(["empty", "8", "9"], "there is no dead letter 8, 9 in", id="no such one to delete"),
        pytest.param(["empty"], "there is no terminal to ask on whether to delete 3", id="nobody to ask"),
        pytest.param(["replay", "--rate", "0"], "--rate 0: give messages per second", id="no rate"),
        pytest.param(["replay", "--edit"], "--edit changes one dead letter", id="several to edit"),
        pytest.param(["replay", "1", "--edit", "--dry-run"], "no --dry-run", id="an edit for nothing"),
        pytest.param(["ls", "--store", "x.sqlite"], "there is no store x.sqlite", id="no store"),
        pytest.param(["collect"], "give --nsqd HOST:4150 or --lookupd", id="no nsqd"),
        pytest.param(["collect", "orders"], "'orders': give TOPIC/CHANNEL", id="a topic alone"),
        pytest.param(["show", "0"], "Invalid value for 'ID'", id="no number"),
    ],
)
def test_wrong_use_is_one_line_and_changes_nothing(
    nsqkit: "Nsqkit", store: Path, arguments: list[str], said: str
) -> None:
    result = nsqkit("dead", *arguments)
    assert (result.code, result.out) == (2, "")
    assert said in result.err
    assert replays(store) == {1: 0, 2: 0, 3: 0}
