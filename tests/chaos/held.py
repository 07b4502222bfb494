"""Held: how many messages each handler of each worker has in flight, by the worker's own word."""

import asyncio
import json
from pathlib import Path

from nsqkit.nsq.http import fetch
from tests.chaos.ledger import HELD, Ledger
from tests.chaos.workers import Workers
from tests.waiting import PATIENCE_S

_SAMPLE_S = 0.03


async def write_held(workers: Workers, folder: Path) -> None:
    """Write lines ``STATE MESSAGES HANDLER WORKER`` again and again, until cancelled."""
    ledger = Ledger(folder / HELD)
    try:
        while True:
            for name, address in workers.addresses.items():
                answer = json.loads(await fetch(address, "/handlers", timeout_s=PATIENCE_S))
                ledger.write(
                    *(f"{each['state']} {each['held']} {each['name']} {name}" for each in answer["handlers"])
                )
            await asyncio.sleep(_SAMPLE_S)  # the interval of the samples
    finally:
        ledger.close()
