"""`nsqkit pause` and `nsqkit resume`: what is asked for, what is printed, and with which code it ends."""

from typing import TYPE_CHECKING, Any

import pytest

from nsqkit.ops.pause import ChannelReport

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Nsqkit

Calls = list[tuple[Any, ...]]


@pytest.fixture
def told() -> list[ChannelReport]:
    """What nsqd answer; the test may replace it."""
    return [ChannelReport(("a:4151", "b:4151"), (), ())]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, told: list[ChannelReport]) -> Calls:
    calls: Calls = []

    def send_to_nsqd(command: str, topic: str, channel: str, settings: Any) -> ChannelReport:
        calls.append((command, topic, channel, settings.nsqd, settings.lookupd, settings.nsqd_http))
        return told[0]

    def send_to_worker(
        command: str, handler: str, worker: str, for_s: float | None, *, token: str
    ) -> dict[str, Any]:
        calls.append((command, handler, worker, for_s, *filter(None, [token])))
        return {"state": "kill_switch_open", "held": 3}

    monkeypatch.setattr("nsqkit.ops.pause.send_to_nsqd", send_to_nsqd)
    monkeypatch.setattr("nsqkit.ops.pause.send_to_worker", send_to_worker)
    return calls


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_every_nsqd_that_was_told_is_a_line(nsqkit: "Nsqkit", calls: Calls, command: str) -> None:
    options = ("--nsqd", "a:4150", "--lookupd", "l:4161", "--nsqd-http", "a:4151")
    result = nsqkit(command, "orders", "stock", *options)
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        f"{command}d orders/stock on nsqd a:4151",
        f"{command}d orders/stock on nsqd b:4151",
    ]
    assert calls == [(command, "orders", "stock", ("a:4150",), ("l:4161",), ("a:4151",))]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(
            ChannelReport(("a:1",), ("b:1",), ()),
            (0, ["paused orders/stock on nsqd a:1"], []),
            id="one without the channel is no problem",
        ),
        pytest.param(
            ChannelReport((), ("a:1", "b:1"), ()),
            (1, [], ["error: there is no channel orders/stock on nsqd a:1, b:1"]),
            id="a channel that nobody has is one",
        ),
        pytest.param(
            ChannelReport(("a:1",), (), ("nsqd b:1: gone",)),
            (1, ["paused orders/stock on nsqd a:1"], ["error: nsqd b:1: gone"]),
            id="one that does not answer is one, and the others are told",
        ),
    ],
)
def test_what_was_not_told_fails_the_command(
    nsqkit: "Nsqkit",
    calls: Calls,
    told: list[ChannelReport],
    answer: ChannelReport,
    expected: tuple[Any, ...],
) -> None:
    told[0] = answer
    result = nsqkit("pause", "orders", "stock", "--nsqd", "a:1")
    assert (result.code, result.out.splitlines(), result.err.splitlines()) == expected


@pytest.mark.parametrize(
    ("arguments", "call"),
    [
        pytest.param(
            ["pause", "--handler", "Reserve", "--worker", "h:9464", "--for", "90"],
            ("pause", "Reserve", "h:9464", 90.0),
            id="pause for some time",
        ),
        pytest.param(
            ["resume", "--handler", "Reserve", "--worker", "h:9464"],
            ("resume", "Reserve", "h:9464", None),
            id="resume",
        ),
        pytest.param(
            ["pause", "--handler", "Reserve", "--set", "admin_port=9999"],
            ("pause", "Reserve", "127.0.0.1:9999", None),
            id="the worker that the settings name",
        ),
        pytest.param(
            ["pause", "--handler", "Reserve", "--set", "admin_port=9999", "--set", "admin_host=::1"],
            ("pause", "Reserve", "[::1]:9999", None),
            id="by IPv6",
        ),
    ],
)
def test_one_handler_of_one_worker(
    nsqkit: "Nsqkit", calls: Calls, arguments: list[str], call: tuple[Any, ...]
) -> None:
    result = nsqkit(*arguments)
    assert result.code == 0
    assert result.out == f"{arguments[0]}d Reserve on worker {call[2]}: kill switch open, holds 3\n"
    assert calls == [call]


def test_the_token_comes_from_the_settings(
    nsqkit: "Nsqkit", calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NSQKIT_ADMIN_TOKEN", "s3cret")
    result = nsqkit("pause", "--handler", "Reserve", "--worker", "h:9464")
    assert result.code == 0
    assert "s3cret" not in result.out + result.err
    assert calls == [("pause", "Reserve", "h:9464", None, "s3cret")]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["pause"], "give TOPIC CHANNEL, or --handler NAME", id="nothing"),
        pytest.param(["resume", "orders"], "give TOPIC CHANNEL, or --handler NAME", id="no channel"),
        pytest.param(["pause", "orders", "stock", "--handler", "A"], "not both", id="both"),
        pytest.param(["pause", "orders", "stock", "--for", "5"], "go with --handler", id="nsqd has no clock"),
        pytest.param(
            ["resume", "orders", "stock", "--worker", "a:1"],
            "go with --handler",
            id="a worker has no channel",
        ),
    ],
)
def test_wrong_use(nsqkit: "Nsqkit", calls: Calls, arguments: list[str], said: str) -> None:
    result = nsqkit(*arguments)
    assert (result.code, result.out) == (2, "")
    assert said in result.err
    assert calls == []
