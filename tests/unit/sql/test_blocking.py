"""Blocking: nsqkit.sql never blocks the event loop while it waits for a database."""

import pytest
import sqlalchemy as sa
from blockbuster import BlockingError

from nsqkit import Settings
from nsqkit.handler.outgoing import Outgoing
from nsqkit.sql import outbox


async def test_a_call_that_blocks_the_event_loop_fails_every_test(
    settings: Settings, outside: sa.Engine
) -> None:
    with pytest.raises(BlockingError), outside.begin() as connection:
        outbox.store(connection, [Outgoing("a", b"x")], now_s=1.0, lease_s=0.0)
