"""Describe: a row tells what takes effect of a handler, with delays and policies spelled out."""

import pytest

from nsqkit.handler.spec import HandlerSpec
from nsqkit.loading.describe import HandlerRow, table
from nsqkit.settings.settings import Settings
from tests.unit.loading.team import NOTIFY, Team, at


def _spec(team: Team, keywords: str = "", *, plain: bool = False) -> HandlerSpec:
    text = NOTIFY.replace("async def", "def") if plain else NOTIFY
    team.write(text.replace('"notify"', f'"notify", {keywords}' if keywords else '"notify"'))
    (spec,) = team.load()
    return spec


@pytest.mark.parametrize(
    ("keywords", "plain", "threads", "most", "slots", "kind"),
    [
        pytest.param("", False, 8, 100, 100, "async", id="a coroutine is bounded by max_in_flight"),
        pytest.param("", True, 8, 100, 8, "threads:8", id="as many run as the setting's threads"),
        pytest.param("threads=3", True, 8, 100, 3, "threads:3", id="or its own"),
        pytest.param("max_in_flight=2", True, 8, 2, 2, "threads:8", id="but never more than max_in_flight"),
        pytest.param("run_on_loop=True", True, 8, 100, 100, "loop", id="on the loop there are no threads"),
        pytest.param(
            "rate_limit=RateLimit(0.1, burst=2)", False, 8, 5, 5, "async", id="half a minute's rate at most"
        ),
        pytest.param("rate_limit=RateLimit(0.01)", False, 8, 1, 1, "async", id="but one in any case"),
        pytest.param(
            "rate_limit=RateLimit(50)", False, 8, 100, 100, "async", id="a fast rate bounds nothing"
        ),
        pytest.param("rate_limit=RateLimit(1)", True, 8, 31, 8, "threads:8", id="in threads as well"),
    ],
)
def test_what_bounds_what_is_in_flight_and_what_runs(
    team: Team, keywords: str, *, plain: bool, threads: int, most: int, slots: int, kind: str
) -> None:
    spec = _spec(team, keywords, plain=plain)
    settings = Settings(threads=threads)
    assert (spec.most_in_flight, spec.slots(threads)) == (most, slots)
    (row,) = table([spec], settings)
    assert (row.max_in_flight, row.kind) == (most, kind)


def test_a_row_tells_what_takes_effect(team: Team) -> None:
    file = team.write(NOTIFY)
    (row,) = table(team.load())
    location = at(file, "class Notify").replace("TEAM", team.name)
    assert row == HandlerRow(
        handler="Notify",
        topic=team.name,
        channel="notify",
        events=(f"{team.name}.created.v1",),
        kind="async",
        retry="1s, 2s, 4s, 8s, 16s, 32s, 1m4s, then dead letter",
        timeout_s=30.0,
        max_in_flight=100,
        on_unknown="requeue",
        dead_letters=f"{team.name}.notify.dead",
        location=location,
    )


@pytest.mark.parametrize(
    ("keywords", "expected"),
    [
        pytest.param("retry=RetryPolicy(1)", "dead letter at once", id="a single attempt"),
        pytest.param(
            "retry=RetryPolicy(1), dead_letters=False", "discard at once", id="without dead letters"
        ),
        pytest.param(
            "retry=RetryPolicy(7, Exponential(300, 2, 900))",
            "5m, 10m, 15m × 4, then dead letter",
            id="equal delays are counted",
        ),
        pytest.param(
            "retry=RetryPolicy(60000, Exponential(900, 1))",
            "15m × 59999, then dead letter",
            id="however many there are",
        ),
        pytest.param(
            "retry=RetryPolicy(5, Exponential(0.5, 1.1)), dead_letters=False",
            "0.5s, 0.55s, 0.605s, 0.666s, then discard",
            id="fractions of a second",
        ),
        pytest.param(
            "retry=RetryPolicy(4, Exponential(59.9999, 1.5))",
            "1m, 1m30s, 2m15s, then dead letter",
            id="minutes and seconds",
        ),
        pytest.param(
            "retry=RetryPolicy(2, Exponential(1e-6))", "0s, then dead letter", id="hardly any delay"
        ),
        pytest.param(
            "retry=RetryPolicy(2, on={KeyError: DeadLetter('unknown sku'), OSError: Pause(60)})",
            "1s, then dead letter; KeyError: DeadLetter(detail='unknown sku'); OSError: Pause(for_s=60)",
            id="rules",
        ),
    ],
)
def test_a_retry_policy_is_spelled_out_as_delays(team: Team, keywords: str, expected: str) -> None:
    (row,) = table([_spec(team, keywords)])
    assert row.retry == expected


@pytest.mark.parametrize(
    ("keywords", "expected"),
    [
        pytest.param(
            "kill_switch=KillSwitch()",
            "at 50% failed of 20 or more in 1m, for 30s to 15m, then 1 trial",
            id="the standard one",
        ),
        pytest.param(
            "kill_switch=KillSwitch(0.075, 5, 90, 10, 10, 3, (OSError, KeyError), (TimeoutError,))",
            "at 7.5% failed of 5 or more in 1m30s, for 10s to 10s, then 3 trials; only OSError, KeyError; "
            "not TimeoutError",
            id="one of its own",
        ),
        pytest.param(
            "kill_switch=KillSwitch(include=())",
            "at 50% failed of 20 or more in 1m, for 30s to 15m, then 1 trial; only none",
            id="one that blames nothing",
        ),
    ],
)
def test_a_kill_switch_is_spelled_out(team: Team, keywords: str, expected: str) -> None:
    (row,) = table([_spec(team, keywords)])
    assert (row.kill_switch, row.rate_limit) == (expected, None)


@pytest.mark.parametrize(
    ("keywords", "expected"),
    [
        pytest.param("rate_limit=RateLimit(0.5)", "0.5 messages/s", id="one at a time"),
        pytest.param("rate_limit=RateLimit(100, burst=20)", "100 messages/s, bursts of 20", id="a burst"),
    ],
)
def test_a_rate_limit_is_spelled_out(team: Team, keywords: str, expected: str) -> None:
    (row,) = table([_spec(team, keywords)])
    assert (row.rate_limit, row.kill_switch) == (expected, None)


def test_a_handler_on_the_loop_has_no_timeout(team: Team) -> None:
    (row,) = table([_spec(team, 'run_on_loop=True, on_unknown="discard", dead_letters=False', plain=True)])
    assert (row.timeout_s, row.on_unknown, row.dead_letters) == (None, "discard", None)


@pytest.mark.parametrize(
    ("keywords", "expected", "kind"),
    [
        pytest.param("", 100, "batch:100/1s", id="by default"),
        pytest.param("max_messages=500, max_wait_s=0.5", 500, "batch:500/0.5s", id="as declared"),
        pytest.param("max_in_flight=300, threads=2", 300, "batch:100/1s", id="a thread runs a whole batch"),
    ],
)
def test_of_a_batch_handler_threads_do_not_bound_what_is_in_flight(
    team: Team, keywords: str, expected: int, kind: str
) -> None:
    team.write(
        "from nsqkit import BatchHandler\n\n\n"
        f"class Totals(BatchHandler[Created], channel='totals', {keywords}):\n"
        "    def handle(self, batch: object) -> None: ...\n"
    )
    (row,) = table(team.load(), Settings(threads=4))
    assert (row.max_in_flight, row.kind) == (expected, kind)


def test_extensions_and_resources_of_a_message_are_named(team: Team) -> None:
    ours = """\
from nsqkit import Extension

class Tracing(Extension):
    pass

async def audit(event, ctx, call_next):
    return await call_next(event, ctx)

@resource(per="message")
def session() -> Iterator[int]:
    yield 1

"""
    keywords = '"notify", middleware=[Tracing(), Tracing, audit], uses=[session]'
    team.write(ours + NOTIFY.replace('"notify"', keywords))
    (row,) = table(team.load())
    assert row.middleware == ("Tracing", "Tracing", "audit")
    assert row.uses == ("session",)
