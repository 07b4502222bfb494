"""Place: places sample baskets through REST or Kafka, and waits until each is confirmed or cancelled."""

import argparse
import asyncio
import itertools
import json
import logging
import os
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
from aio_pika.exceptions import AMQPException

from examples.orders.inventory.shelves import BASKETS
from examples.orders.partner import Partner, UnconfirmedError

MOST_CALLS: Final = 16
"""Most calls at a time."""
_ATTEMPTS: Final = 20
_LOOK_S: Final = 0.2


class Customers:
    """Customers who place orders, and look after them.

    Args:
        http: A client with the address of the API.
        rate: Orders per second; 0 for as many as possible.
    """

    def __init__(self, http: httpx.AsyncClient, rate: float = 0.0) -> None:
        self._http = http
        self._rate = rate
        self._calls = asyncio.Semaphore(MOST_CALLS)
        self.placed: list[str] = []
        self.results: Counter[str] = Counter()

    async def place(self, baskets: Iterator[dict[str, Any]], count: int) -> None:
        """Place orders at the rate.

        Args:
            baskets: The bodies of the requests, *count* or more.
            count: How many; 1 or more.
        """
        started_s = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            for number, basket in enumerate(itertools.islice(baskets, count)):
                if self._rate:
                    due_s = started_s + number / self._rate
                    await asyncio.sleep(due_s - asyncio.get_running_loop().time())
                await self._calls.acquire()
                group.create_task(self._place(basket))

    async def wait_final(self, wait_s: float) -> int:
        """Wait until every order is final, and return how many are not.

        Args:
            wait_s: Longest wait, seconds.
        """
        waiting = set(self.placed)
        try:
            async with asyncio.timeout(wait_s):
                while waiting:
                    finals = await asyncio.gather(*map(self._final, waiting))
                    self.results.update(filter(None, finals))
                    waiting = {each for each, final in zip(waiting, finals, strict=True) if not final}
                    await asyncio.sleep(_LOOK_S if waiting else 0)
        except TimeoutError:
            pass
        return len(waiting)

    async def _place(self, basket: dict[str, Any]) -> None:
        headers = {"Idempotency-Key": str(uuid.uuid4())}  # so that a retry places no second order
        try:
            answer = await self._http.post("/orders", json=basket, headers=headers)
            for _ in range(_ATTEMPTS):
                if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                    break
                await asyncio.sleep(float(answer.headers["Retry-After"]))
                answer = await self._http.post("/orders", json=basket, headers=headers)
        finally:
            self._calls.release()
        answer.raise_for_status()
        self.placed.append(answer.json()["order_id"])

    async def _final(self, order_id: str) -> str:
        async with self._calls:
            answer = await self._http.get(f"/orders/{order_id}")
        if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            return ""
        status: str = answer.raise_for_status().json()["status"]
        return "" if status == "pending" else status


def baskets(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the sample baskets as bodies of requests, again and again, without those that the API refuses."""
    with file.open() as lines:
        found = [json.loads(line)["data"] for line in lines]
    valid = [each for each in found if all(line["quantity"] for line in each["lines"])]
    fields = ("product", "quantity", "amount_cents")
    for each in itertools.cycle(valid):
        yield {
            "customer_id": each["customer_id"],
            "email": f"customer-{each['customer_id']}@example.org",
            "lines": [{field: line[field] for field in fields} for line in each["lines"]],
        }


async def run(url: str, count: int, *, rate: float, wait_s: float) -> int:
    """Place orders, print what happened to them, and return how many are open.

    Args:
        url: Address of the API.
        count: How many; 1 or more.
        rate: Orders per second; 0 for as many as possible.
        wait_s: Seconds until the last order must be final.
    """
    async with httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as http:
        customers = Customers(http, rate)
        await customers.place(baskets(BASKETS), count)
        still_open = await customers.wait_final(wait_s)
    print(_summary(count, customers.results, still_open))
    return still_open


async def run_partner(kafka: str, amqp: str, count: int, *, rate: float, wait_s: float) -> int:
    """Place orders through Kafka, print what the partner's queue says of them, and return how many are open.

    Args:
        kafka: ``host:port`` of Kafka.
        amqp: ``host:port`` of RabbitMQ.
        count: How many; 1 or more.
        rate: Orders per second; 0 for as many as possible.
        wait_s: Seconds until the last notification must be there.

    Raises:
        UnconfirmedError: If Kafka is away.
        AMQPException: If RabbitMQ is away.
    """
    async with Partner.connected(kafka, amqp) as partner:
        await partner.order(baskets(BASKETS), count, rate=rate)
        await partner.wait_final(wait_s)
    summary = _summary(count, Counter(partner.results.values()), partner.still_open)
    print(f"{summary}; {partner.notifications} notifications in the partner's queue")
    return partner.still_open


def _summary(count: int, found: Counter[str], still_open: int) -> str:
    finals = f"{found['confirmed']} confirmed, {found['cancelled']} cancelled"
    return f"{count} placed, {finals}, {still_open} open"


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser("place-orders", description="Place sample orders at the order system.")
    parser.add_argument("count", type=int, metavar="N")
    parser.add_argument(
        "--rate", type=float, default=0.0, help="orders per second; by default as many as possible"
    )
    parser.add_argument(
        "--wait", type=float, default=60.0, metavar="SECONDS", help="until the last one is final"
    )
    parser.add_argument("--url", default="http://127.0.0.1:8000/api/v1", help="address of the API")
    parser.add_argument(
        "--kafka",
        action="store_true",
        help="through the Kafka of order-system --bridges, and wait for the notifications in RabbitMQ; their "
        "ports are 9092 and 5672, or those of the variables KAFKA_PORT and AMQP_PORT",
    )
    given = parser.parse_args()
    limits = {"rate": given.rate, "wait_s": given.wait}
    try:
        if given.kafka:
            kafka, amqp = os.environ.get("KAFKA_PORT", "9092"), os.environ.get("AMQP_PORT", "5672")
            placing = run_partner(f"127.0.0.1:{kafka}", f"127.0.0.1:{amqp}", given.count, **limits)
        else:
            placing = run(given.url, given.count, **limits)
        return 1 if asyncio.run(placing) else 0
    except* httpx.HTTPError as errors:
        print(f"place-orders: {errors.exceptions[0]!r}; is {given.url} the running system?", file=sys.stderr)
    except* (UnconfirmedError, AMQPException, OSError) as errors:
        print(f"place-orders: {errors.exceptions[0]}; does order-system run with --bridges?", file=sys.stderr)
    return 1


if __name__ == "__main__":
    logging.disable()  # main prints one line for an error, and its libraries need not log it, too
    sys.exit(main())
