"""IdleWatch: a run ends when three looks in a row find nothing queued, deferred, in flight or held."""

from typing import Any

import pytest
import structlog

from nsqkit import Settings
from nsqkit.process.idle import IdleWatch, Workload
from tests.unit.nsq.fake_http import FakeHttp

NOBODY = "127.0.0.1:1"
SUBSCRIPTIONS = (("ran", "work"), ("ran.work.retry", "work"))


class Looks:
    """Workloads, one for each look; afterwards nothing is held."""

    def __init__(self, *workloads: Workload | None) -> None:
        self._workloads = list(workloads)
        self.count = 0

    async def __call__(self) -> Workload | None:
        self.count += 1
        return self._workloads.pop(0) if self._workloads else Workload(0)


def watch(workload: Looks | None = None, **settings: Any) -> IdleWatch:
    told = Settings(connect_timeout_s=1.0, **settings)
    return IdleWatch(told, lambda: SUBSCRIPTIONS, workload or Looks())


def topic(name: str, depth: int = 0, **channels: tuple[int, int, int]) -> dict[str, Any]:
    names = ("depth", "in_flight_count", "deferred_count")
    return {
        "topic_name": name,
        "depth": depth,
        "channels": [
            {"channel_name": channel, **dict(zip(names, counts, strict=True))}
            for channel, counts in channels.items()
        ],
    }


@pytest.mark.parametrize(
    ("topics", "expected"),
    [
        pytest.param(None, True, id="no topics at all"),
        pytest.param([topic("ran", work=(0, 0, 0))], True, id="an empty channel"),
        pytest.param([topic("ran", work=(1, 0, 0))], False, id="a message is queued"),
        pytest.param([topic("ran", work=(0, 1, 0))], False, id="a message is in flight"),
        pytest.param([topic("ran", work=(0, 0, 1))], False, id="a message is deferred"),
        pytest.param([topic("ran.work.retry", work=(1, 0, 0))], False, id="a replayed message is queued"),
        pytest.param([topic("ran", 1, work=(0, 0, 0))], False, id="a message has not reached its channels"),
        pytest.param([topic("ran", work=(0, 0, 0), other=(9, 9, 9))], True, id="others work there"),
        pytest.param([topic("else", 9, work=(9, 9, 9))], True, id="others work elsewhere"),
    ],
)
async def test_what_nsqd_says(topics: list[dict[str, Any]] | None, expected: bool) -> None:  # noqa: FBT001
    async with FakeHttp((200, {"topics": topics})) as http:
        idle = watch(nsqd=(NOBODY,), nsqd_http=(http.address,))
        assert await idle.is_empty() is expected


@pytest.mark.parametrize("held", [0, 2])
@pytest.mark.parametrize(
    ("next_s", "shown"), [(None, None), (29.6, 30)], ids=["no requeue is known", "one is due in 30 s"]
)
async def test_a_long_wait_is_explained(held: int, next_s: float | None, shown: int | None) -> None:
    topics = [topic("ran", 1, work=(2, 3, 9), other=(7, 7, 7)), topic("ran.work.retry", work=(4, 0, 1))]
    answer = (200, {"topics": topics})
    async with FakeHttp(answer) as http, FakeHttp(answer) as other:
        idle = watch(Looks(Workload(held, next_s)), nsqd=(NOBODY,), nsqd_http=(http.address, other.address))
        with structlog.testing.capture_logs() as log:
            await idle.report()
    (line,) = log
    assert (line["event"], line["held"]) == ("waiting_until_idle", held)
    assert (line["queued"], line["in_flight"], line["deferred"]) == (14, 6, 20)
    assert line["next_requeue_s"] == shown


async def test_an_unknown_figure_is_not_reported() -> None:
    with structlog.testing.capture_logs() as log:
        await watch(Looks(None), lookupd=(NOBODY,)).report()
    (line,) = log
    names = ("held", "queued", "in_flight", "deferred", "next_requeue_s")
    assert [line[name] for name in names] == [None] * 5


@pytest.mark.parametrize(
    "workload",
    [
        pytest.param(Workload(1), id="a message is in flight"),
        pytest.param(None, id="a worker does not answer"),
    ],
)
async def test_a_worker_that_is_not_idle_is_enough(workload: Workload | None) -> None:
    assert not await watch(Looks(workload), nsqd=(NOBODY,), nsqd_http=(NOBODY,)).is_empty()


async def test_while_no_nsqlookupd_answers_nothing_is_known() -> None:
    assert not await watch(lookupd=(NOBODY,)).is_empty()


async def test_one_busy_look_restarts_the_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Statistics are not atomic: a circulating message can be missed by a look or two."""
    monkeypatch.setattr("nsqkit.nsq.idle.INTERVAL_S", 0.0)
    looks = Looks(*map(Workload, (1, 0, 0, 1, 0, 0, 0)))
    async with FakeHttp((200, {"topics": None})) as http:
        assert await watch(looks, nsqd=(NOBODY,), nsqd_http=(http.address,)).wait()
    assert looks.count == 7


async def test_a_blocked_handler_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its messages stay in nsqd until a person acts."""
    monkeypatch.setattr("nsqkit.nsq.idle.INTERVAL_S", 0.0)
    looks = Looks(Workload(1, is_blocked=True))
    assert not await watch(looks, nsqd=(NOBODY,)).wait()
    assert looks.count == 1
