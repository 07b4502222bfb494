"""The main job: `nsqkit run handlers.orders` over the real orders, on both engines."""

import json
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.conftest import ANY_PORTS, NO_ADMIN, SAMPLE, Program, Start, get
from tests.integration.conftest import Server, StartNsqd
from tests.ports import free_port

HANDLERS = {
    "ReserveStock": "inventory",
    "ChargePayment": "payments",
    "NotifyCustomer": "notify",
    "SalesTotals": "totals",
}
ORDERS = 2000
DEAD = {"ReserveStock": 92, "ChargePayment": 93, "NotifyCustomer": 92, "SalesTotals": 92}
"""A line of quantity 0 in 92 of the orders; one of the 5 that cost nothing has none of these."""
FEED = ("--feed", f"orders={SAMPLE}")


def ends(program: Program) -> dict[str, tuple[int, int]]:
    """Return success and dead-letter counts by handler, as the table says."""
    return {name: (int(row["success"]), int(row["dead_lettered"])) for name, row in program.rows.items()}


EXPECTED = {name: (ORDERS - dead, dead) for name, dead in DEAD.items()}


def channels(http_address: str) -> dict[str, dict[str, Any]]:
    _, body = get(http_address, "/stats?format=json&topic=orders")
    return {
        each["channel_name"]: each for topic in json.loads(body)["topics"] or () for each in topic["channels"]
    }


def samples(admin: str, name: str) -> dict[tuple[str, str], int]:
    """Return one metric by channel and by its own label."""
    _, body = get(admin, "/metrics")
    own = {"topic", "channel", "handler"}
    return {
        (
            sample.labels["channel"],
            next((sample.labels[each] for each in sample.labels.keys() - own), ""),
        ): int(sample.value)
        for family in text_string_to_metric_families(body)
        for sample in family.samples
        if sample.name == name
    }


class TestUntilIdle:
    """`--exit-when-idle` ends it when every order is handled."""

    def test_on_the_embedded_broker_every_order_is_accounted_for(self, start: Start) -> None:
        program = start("run", "handlers.orders", "--dev", *FEED, "--exit-when-idle", *ANY_PORTS, *NO_ADMIN)
        assert program.wait() == 0, program.err
        assert ends(program) == EXPECTED
        for row in program.rows.values():
            assert int(row["received"]) == ORDERS + int(row["requeued"])
        assert int(program.rows["ChargePayment"]["requeued"]) > 0, "the gateway fails now and then"
        assert program.rows["ReserveStock"]["rate"] == "0.0%"
        (confirmed,) = program.said("feed_confirmed")
        assert (confirmed["published"], confirmed["refused"]) == (ORDERS, 0)
        assert {line["level"] for line in program.log} == {"info", "warning"}
        assert program.said("worker_stopped")[0]["left_behind"] == 0
        assert program.said("dead_letters_collected")[0]["stored"] == sum(DEAD.values())

    @pytest.mark.nsqd
    @pytest.mark.parametrize("event_loop", ["asyncio", "uvloop"])
    def test_on_a_real_nsqd_through_nsqlookupd_the_counts_are_the_same(
        self, start: Start, nsqlookupd: Server, nsqd: Server, event_loop: str
    ) -> None:
        program = start(
            "run",
            "handlers.orders",
            "--lookupd",
            nsqlookupd.http_address,
            *FEED,
            "--exit-when-idle",
            *NO_ADMIN,
            "--set",
            f"event_loop={event_loop}",
        )
        assert program.wait() == 0, program.err
        assert ends(program) == EXPECTED
        for handler, row in program.rows.items():
            channel = channels(nsqd.http_address)[HANDLERS[handler]]
            assert channel["message_count"] == ORDERS
            assert channel["requeue_count"] == int(row["requeued"])
            assert channel["timeout_count"] == 0
            assert (channel["depth"], channel["in_flight_count"], channel["deferred_count"]) == (0, 0, 0)
        _, body = get(nsqd.http_address, "/stats?format=json")
        dead = {
            topic["topic_name"]: topic["message_count"]
            for topic in json.loads(body)["topics"]
            if topic["topic_name"].endswith(".dead")
        }
        assert dead == {f"orders.{HANDLERS[name]}.dead": count for name, count in DEAD.items()}

    def test_what_cannot_be_decoded_is_a_dead_letter_and_no_failure_of_the_run(
        self, start: Start, tmp_path: Path
    ) -> None:
        path = tmp_path / "odd.jsonl"
        first = SAMPLE.read_text().splitlines()[0]
        path.write_text(f'{first}\n{{"order_id": 7}}\n{{"unlike": "an order"}}\n')
        program = start(
            "run", "handlers.orders:SalesTotals", "--dev", "--feed", f"orders={path}", "--exit-when-idle",
            *ANY_PORTS, *NO_ADMIN,
        )  # fmt: skip
        assert program.wait() == 0, program.err
        assert ends(program) == {"SalesTotals": (1, 2)}
        details = [line["detail"] for line in program.said("message_settled")]
        assert len(details) == 2
        assert all("topic orders: order.created.v1 at $" in detail for detail in details)

    def test_a_malformed_line_is_named_by_its_number_the_rest_goes_on_and_the_code_is_1(
        self, start: Start, tmp_path: Path
    ) -> None:
        lines = SAMPLE.read_text().splitlines()[:10]
        path = tmp_path / "broken.jsonl"
        path.write_text("\n".join([*lines[:4], '{"half": ', *lines[4:], "[]"]))
        program = start(
            "run", "handlers.orders:SalesTotals", "--dev", "--feed", f"orders={path}", "--exit-when-idle",
            *ANY_PORTS, *NO_ADMIN,
        )  # fmt: skip
        assert program.wait() == 1
        assert [line["line"] for line in program.said("feed_line_refused")] == [5, 12]
        success, dead = ends(program)["SalesTotals"]
        assert success + dead == 10
        assert "Traceback" not in program.err

    def test_a_message_over_nsqds_limit_is_named_and_the_rest_goes_on(
        self, start: Start, tmp_path: Path
    ) -> None:
        lines = SAMPLE.read_text().splitlines()[:2]
        path = tmp_path / "large.jsonl"
        path.write_text("\n".join([lines[0], json.dumps({"large": "x" * 1_100_000}), lines[1]]))
        program = start(
            "run", "handlers.orders:SalesTotals", "--dev", "--feed", f"orders={path}", "--exit-when-idle",
            *ANY_PORTS, *NO_ADMIN,
        )  # fmt: skip
        assert program.wait() == 1
        (refused,) = program.said("feed_line_refused")
        assert refused["line"] == 2
        assert "1048576" in refused["reason"]
        assert sum(ends(program)["SalesTotals"]) == 2


class TestUntilSignal:
    """Without `--exit-when-idle` it runs until SIGTERM, and then drains."""

    def test_metrics_and_the_brokers_own_statistics_agree_and_sigterm_ends_it_clean(
        self, start: Start
    ) -> None:
        admin = f"127.0.0.1:{free_port()}"
        program = start(
            "run", "handlers.orders", "--dev", *FEED, *ANY_PORTS, "--admin-port", admin.rpartition(":")[2]
        )
        program.until(lambda: program.said("feed_confirmed"))
        broker = re.search(r"http (127\.0\.0\.1:\d+)", program.err)
        assert broker is not None

        def is_done() -> bool:
            held = ("depth", "in_flight_count", "deferred_count")
            found = channels(broker[1])
            return len(found) == 4 and not any(each[name] for each in found.values() for name in held)

        program.until(is_done)
        assert get(admin, "/readyz") == (200, "ready\n")
        processed = samples(admin, "nsqkit_messages_processed_total")
        received = samples(admin, "nsqkit_messages_received_total")
        for name, channel in channels(broker[1]).items():
            mine = {outcome: count for (each, outcome), count in processed.items() if each == name}
            assert received[name, ""] == sum(mine.values())
            finished = mine["success"] + mine["dead_letter"] + mine["discard"] + mine["duplicate"]
            assert channel["message_count"] == finished == ORDERS
            assert channel["requeue_count"] == mine["requeue"]
            assert channel["timeout_count"] == mine["lease_lost"] == 0
        assert program.terminate() == 0
        assert ends(program) == EXPECTED
        assert program.said("worker_stopped")[0]["left_behind"] == 0

    def test_sigterm_before_anything_came_ends_it_clean(self, start: Start) -> None:
        program = start("run", "handlers.orders", "--dev", *ANY_PORTS, *NO_ADMIN)
        program.until(lambda: program.said("worker_ready") or program.said("nsqd_connected"))
        assert program.terminate() == 0

    @pytest.mark.nsqd
    def test_sigterm_in_the_middle_of_the_work_loses_nothing(
        self, start: Start, nsqlookupd: Server, nsqd: Server
    ) -> None:
        """What the first worker has not finished is there for the second; together they do all of it."""
        settings = ("--lookupd", nsqlookupd.http_address, *NO_ADMIN, "--app", "payment_failure_ratio=0")
        first = start("run", "handlers.orders:ChargePayment", *settings, *FEED)
        first.until(lambda: first.said("message_settled"))
        assert first.terminate() in {0, 1}, "1 if the feed was not through"
        published = channels(nsqd.http_address)["payments"]["message_count"]
        done = sum(ends(first)["ChargePayment"])
        state = channels(nsqd.http_address)["payments"]
        assert (state["in_flight_count"], state["timeout_count"]) == (0, 0)
        assert done + state["depth"] + state["deferred_count"] == published
        second = start("run", "handlers.orders:ChargePayment", *settings, "--exit-when-idle")
        assert second.wait() == 0
        assert done + sum(ends(second)["ChargePayment"]) == published


class TestUnreachable:
    """An nsqd that is not there yet is waited for."""

    @pytest.fixture(params=["broker", pytest.param("nsqd", marks=pytest.mark.nsqd)])
    def late(
        self, request: pytest.FixtureRequest, start: Start
    ) -> Iterator[tuple[str, Callable[[], object]]]:
        """The address of an nsqd, and a function that starts it."""
        if request.param == "nsqd":
            start_nsqd: StartNsqd = request.getfixturevalue("start_nsqd")
            server = start_nsqd()
            server.stop()
            yield server.tcp_address, server.start
        else:
            tcp, http = free_port(), free_port()
            yield (
                f"127.0.0.1:{tcp}",
                lambda: start("broker", "--tcp-port", str(tcp), "--http-port", str(http)),
            )

    def test_it_keeps_trying_says_so_and_is_ready_once_nsqd_is_there(
        self, start: Start, late: tuple[str, Callable[[], object]]
    ) -> None:
        address, begin = late
        admin = f"127.0.0.1:{free_port()}"
        program = start("run", "handlers.orders", "--nsqd", address, "--admin-port", admin.rpartition(":")[2])
        program.until(lambda: program.said("nsqd_unreachable"))
        status, problems = get(admin, "/readyz")
        assert status == 503
        assert address in problems
        assert get(admin, "/healthz")[0] == 200
        begin()
        program.until(lambda: get(admin, "/readyz")[0] == 200)
        assert program.terminate() == 0
        told = program.said("nsqd_unreachable")
        assert len(told) <= len(HANDLERS), "a line per change, not per attempt"
        assert "Traceback" not in program.err

    def test_so_it_is_with_nsqlookupd_also_before_a_feed(self, start: Start) -> None:
        nobody = f"127.0.0.1:{free_port()}"
        program = start("run", "handlers.orders", "--lookupd", nobody, *FEED, *NO_ADMIN)
        program.until(lambda: program.said("nsqlookupd_failed") and program.said("feed_waits"))
        assert program.terminate() == 1, "the feed was not published"
        assert nobody in program.said("feed_waits")[0]["error"]
        assert "Traceback" not in program.err


TEAM = """
from dataclasses import dataclass
from nsqkit import Context, Exponential, Handler, RetryPolicy, event

@event("e2e.{name}", version=1{topic})
@dataclass
class Happened:
    n: int

class Work(Handler[Happened], {keywords}):
    async def handle(self, event: Happened, ctx: Context) -> None: ...
"""
DEV = ("--dev", *ANY_PORTS, *NO_ADMIN)


class TestBadInput:
    """Each mistake is one clear line that names what to change, and no traceback."""

    def fails(self, program: Program, said: str, code: int = 2) -> None:
        assert program.wait() == code, program.err
        assert program.out == ""
        (line,) = [line for line in program.err.splitlines() if not line.startswith(("{", "see: "))]
        assert line.startswith("error: ")
        assert re.search(said, line), line
        assert "Traceback" not in program.err

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            pytest.param(
                ("run", "handlers.order", *DEV),
                r"no module 'handlers\.order'; did you mean 'handlers\.orders'\?",
                id="an unknown module",
            ),
            pytest.param(
                ("run", "handlers/orders.py", *DEV),
                r"did you mean 'handlers\.orders'\?",
                id="a file, not a module",
            ),
            pytest.param(
                ("run", "handlers.orders:SalesTotal", *DEV),
                r"did you mean 'SalesTotals'\?",
                id="an unknown class",
            ),
            pytest.param(("run", "handlers.orders"), r"--dev .*--nsqd .*--lookupd", id="no NSQ at all"),
            pytest.param(
                ("run", "handlers.orders", "--dev", "--nsqd", "h:4150"), r"leave out --nsqd", id="two at once"
            ),
            pytest.param(
                ("run", "handlers.orders", "--nsqd", "localhost"),
                r"address 'localhost': give host:port",
                id="no port",
            ),
            pytest.param(
                ("run", "handlers.orders", *DEV, "--feed", "orders"),
                r"give it as TOPIC=FILE",
                id="a feed without file",
            ),
            pytest.param(
                ("run", "handlers.orders", *DEV, "--feed", "orders=missing.jsonl"),
                r"missing\.jsonl: cannot be read: No such file",
                id="a feed that is not there",
            ),
            pytest.param(
                ("run", "handlers.orders", *DEV, "--feed", f"a b={SAMPLE}"),
                r"topic name 'a b'",
                id="a bad topic to feed",
            ),
            pytest.param(
                ("run", "handlers.orders", *DEV, "--set", "thread=4"),
                r"no setting 'thread'; did you mean 'threads'\?",
                id="an unknown setting",
            ),
            pytest.param(
                ("run", "handlers.orders", *DEV, "--set", "threads=many"),
                r"threads='many' is not a whole number",
                id="a setting of another kind",
            ),
            pytest.param(
                ("run", "handlers.orders", *DEV, "--app", "payment_failure_ratio=2"),
                r"app\.payment_failure_ratio='2' is not in 0\.\.1",
                id="a setting of the team out of range",
            ),
            pytest.param(
                ("run", "handlers.orders", "--exit-when-idel"), r"--exit-when-idle", id="an unknown flag"
            ),
            pytest.param(
                ("publish", "a b", "{}", "--nsqd", "h:1"), r"topic name 'a b'", id="a bad topic to publish"
            ),
        ],
    )
    def test_a_command(self, start: Start, arguments: tuple[str, ...], said: str) -> None:
        self.fails(start(*arguments), said)

    @pytest.mark.parametrize(
        ("topic", "keywords", "said"),
        [
            pytest.param(
                "", 'channel="work"', r'has no topic; add topic="…"', id="a handler without a topic"
            ),
            pytest.param(', topic="a b"', 'channel="work"', r"topic name 'a b'", id="a bad topic name"),
            pytest.param(', topic="t"', 'channel="a b"', r"channel name 'a b'", id="a bad channel name"),
            pytest.param(
                ', topic="t"', "", r'has no channel; add channel="…"', id="a handler without a channel"
            ),
            pytest.param(
                ', topic="t"',
                'channel="work", retry=RetryPolicy(max_attempts="8")',
                r"max_attempts='8'\): give a whole number",
                id="a wrong type in a policy",
            ),
            pytest.param(
                ', topic="t"', 'channel="work", retry=8', r"retry=8 is not a policy", id="no policy at all"
            ),
            pytest.param(
                ', topic="t"',
                'channel="work", max_inflight=8',
                r"'max_inflight'; did you mean 'max_in_flight'\?",
                id="a misspelt keyword",
            ),
            pytest.param(
                ', topic="t"',
                'channel="work", retry=RetryPolicy(backoff=Exponential(base_s=1000, max_s=1800))',
                r"more than the setting max_requeue_delay_s=900",
                id="delays longer than the setting",
            ),
        ],
    )
    def test_a_handler(self, start: Start, tmp_path: Path, topic: str, keywords: str, said: str) -> None:
        module = tmp_path / "e2e_team.py"
        module.write_text(TEAM.format(name="happened", topic=topic, keywords=keywords))
        program = start("run", "e2e_team", *DEV)
        self.fails(program, said)
        assert f"{module}:" in program.err

    @pytest.fixture(autouse=True)
    def _importable(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    @pytest.mark.parametrize(
        ("flags", "said"),
        [
            pytest.param(
                ("--dev", "--set", "dev_tcp_port={port}", "--set", "dev_http_port=0", *NO_ADMIN),
                r"dev_tcp_port|tcp-port",
                id="of the broker",
            ),
            pytest.param(
                ("--dev", *ANY_PORTS, "--admin-port", "{port}"), r"--admin-port", id="of the metrics"
            ),
        ],
    )
    def test_a_port_in_use(self, start: Start, flags: tuple[str, ...], said: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            program = start("run", "handlers.orders", *(flag.format(port=port) for flag in flags))
            self.fails(program, said)
            assert f"{port}" in program.err
            assert "in use" in program.err

    def test_an_nsqd_that_cannot_be_reached_by_a_publish(self, start: Start) -> None:
        address = f"127.0.0.1:{free_port()}"
        self.fails(start("publish", "orders", "{}", "--nsqd", address), re.escape(address), code=1)

    def test_a_message_over_the_limit(self, start: Start, tmp_path: Path) -> None:
        tcp, http = free_port(), free_port()
        broker = start("broker", "--tcp-port", str(tcp), "--http-port", str(http))
        broker.until(lambda: get(f"127.0.0.1:{http}", "/ping")[0] == 200)
        path = tmp_path / "large.jsonl"
        path.write_text(json.dumps({"large": "x" * 2_000_000}))
        program = start("publish", "orders", "--file", str(path), "--nsqd", f"127.0.0.1:{tcp}")
        assert program.wait() == 1
        assert "Traceback" not in program.err
        assert "1048576" in program.out + program.err
        assert broker.terminate() == 0
