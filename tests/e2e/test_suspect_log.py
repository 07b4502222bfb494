"""A suspect's log: a message that ends its process is named by the last line of that process."""

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.e2e.conftest import NO_ADMIN, ROOT
from tests.integration.conftest import Server, quick_nsqd
from tests.waiting import PATIENCE_S

__all__ = ["quick_nsqd"]

KILLER = """
import os
from dataclasses import dataclass
from nsqkit import Context, Handler, RetryPolicy, event

@event("poison.made", version=1, topic="poison")
@dataclass
class Made:
    n: int

class Die(Handler[Made], channel="die", retry=RetryPolicy(max_attempts=1)):
    async def handle(self, event: Made, ctx: Context) -> None:
        os._exit(9)
"""


@pytest.mark.nsqd
def test_the_last_line_of_a_process_names_the_message_that_ended_it(
    quick_nsqd: Server, tmp_path: Path
) -> None:
    (tmp_path / "killer.py").write_text(KILLER)
    known = {name: value for name, value in os.environ.items() if not name.startswith("NSQKIT_")}
    address = f"http://{quick_nsqd.http_address}/pub?topic=poison"
    urllib.request.urlopen(address, b'{"n": 1}', timeout=PATIENCE_S).close()
    for attempts in (1, 2, 3):
        ended = subprocess.run(
            [sys.executable, "-m", "nsqkit", "run", "killer", "--nsqd", quick_nsqd.tcp_address, *NO_ADMIN],
            cwd=tmp_path,
            env={**known, "PYTHONPATH": str(ROOT), "NSQKIT_MSG_TIMEOUT_S": "1"},
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert ended.returncode == 9, ended.stderr.decode()
        last = json.loads(ended.stderr.splitlines()[-1])
        assert (last["event"] == "suspect_started") == (attempts > 1)
        if attempts > 1:
            assert (last["attempts"], last["handler"], len(last["message_id"])) == (attempts, "Die", 16)
