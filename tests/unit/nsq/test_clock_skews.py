"""Clocks of nsqd, measured by the date in their HTTP answers."""

from collections.abc import AsyncIterator
from email.utils import formatdate

import pytest

from nsqkit.nsq.clock_skews import ClockSkews
from tests.unit.nsq.fake_http import FakeHttp
from tests.unit.nsq.recording_log import RecordingLog

NSQD = "127.0.0.1:4150"
NOW_S = 1_700_000_000


class Nsqd(FakeHttp):
    """An nsqd whose clock shows what the test says."""

    def __init__(self) -> None:
        super().__init__(b"")
        self.date(formatdate(NOW_S, usegmt=True))

    def date(self, text: str | None) -> None:
        header = "" if text is None else f"Date: {text}\r\n"
        self._answer = f"HTTP/1.1 200 OK\r\n{header}Content-Length: 2\r\n\r\nOK".encode()


class Skews:
    """What is measured with a clock that is *ahead_s* ahead."""

    def __init__(self) -> None:
        self.ahead_s = 0.0
        self.log = RecordingLog()
        self.shown: dict[str, float | None] = {}
        self.clocks = ClockSkews(
            timeout_s=2.0,
            on_skew=self.shown.__setitem__,
            log=self.log,
            now_ns=lambda: round((NOW_S + 0.5 + self.ahead_s) * 1e9),
        )

    def of(self, address: str) -> int | None:
        return self.clocks.skews_ns[address]


@pytest.fixture
def skews() -> Skews:
    return Skews()


@pytest.fixture
async def nsqd() -> AsyncIterator[Nsqd]:
    async with Nsqd() as made:
        yield made


async def test_a_skew_is_measured_and_logged_until_the_clocks_agree(nsqd: Nsqd, skews: Skews) -> None:
    skews.ahead_s = 600.0
    await skews.clocks.connect(NSQD, nsqd.address, is_needed=False)
    assert skews.of(NSQD) is None
    await skews.clocks.measure(nsqd.address)
    await skews.clocks.measure(nsqd.address)
    assert skews.of(NSQD) == 600_500_000_000
    assert skews.shown == {NSQD: 600.5}
    (line,) = skews.log.of("clock_skew")
    assert (line["nsqd"], line["skew_s"]) == (nsqd.address, 600.5)
    assert "ahead of" in str(line["hint"])
    skews.ahead_s = 0.0
    await skews.clocks.measure(nsqd.address)
    assert skews.of(NSQD) == 0
    assert len(skews.log.of("clocks_agree")) == 1
    skews.ahead_s = -60.0
    await skews.clocks.measure(nsqd.address)
    assert "behind" in str(skews.log.of("clock_skew")[1]["hint"])


async def test_where_it_is_needed_it_is_measured_at_once(nsqd: Nsqd, skews: Skews) -> None:
    await skews.clocks.connect(NSQD, nsqd.address, is_needed=True)
    assert skews.of(NSQD) == 0
    assert skews.log.lines == []


@pytest.mark.parametrize(
    "date",
    [
        pytest.param(None, id="none"),
        pytest.param("yesterday", id="no date"),
        pytest.param("Mon, 01 Jan 999999 00:00:00 GMT", id="a year that cannot be"),
    ],
)
async def test_a_failure_is_logged_once_and_changes_nothing(
    nsqd: Nsqd, skews: Skews, date: str | None
) -> None:
    nsqd.date(date)
    for _ in range(2):
        await skews.clocks.connect(NSQD, nsqd.address, is_needed=True)
    assert skews.of(NSQD) is None
    (line,) = skews.log.of("clock_unknown")
    assert nsqd.address in str(line["error"])
    nsqd.date(formatdate(NOW_S - 600, usegmt=True))
    await skews.clocks.measure(nsqd.address)
    nsqd.date(date)
    await skews.clocks.connect(NSQD, nsqd.address, is_needed=True)
    assert skews.of(NSQD) == 600_500_000_000
    assert len(skews.log.of("clock_unknown")) == 1


async def test_an_http_port_that_is_not_known_is_logged_where_it_is_needed(skews: Skews) -> None:
    await skews.clocks.connect("a:4150", None, is_needed=False)
    await skews.clocks.connect("b:4150", "127.0.0.1:1", is_needed=True)
    await skews.clocks.connect("c:4150", None, is_needed=True)
    assert [line["nsqd"] for line in skews.log.of("clock_unknown")] == ["b:4150", "c:4150"]


async def test_an_nsqd_that_is_gone_is_forgotten(nsqd: Nsqd, skews: Skews) -> None:
    await skews.clocks.connect(NSQD, nsqd.address, is_needed=True)
    skews.clocks.keep([nsqd.address])
    assert skews.of(NSQD) == 0
    skews.clocks.keep([])
    assert skews.of(NSQD) is None
    assert skews.shown == {NSQD: None}
