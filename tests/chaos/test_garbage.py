"""The garbage nsqlookupd says that it knows nothing, unless it is told to answer garbage."""

import asyncio
from contextlib import closing

from tests.chaos.garbage import GarbageLookupd
from tests.chaos.orders import FLEETING, ORDERS


async def ask(server: GarbageLookupd, topic: str) -> bytes:
    host, _, port = server.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 22)
    writer.write(f"GET /lookup?topic={topic} HTTP/1.1\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer


async def test_each_sort_of_garbage_comes_in_turn_and_never_for_the_topic_that_is_deleted() -> None:
    with closing(GarbageLookupd(["127.0.0.1:4150"])) as server:
        await server.start()
        calm = await ask(server, ORDERS)
        assert calm.endswith(b'"topics": []}')
        server.is_garbled = True
        answers = [await ask(server, ORDERS) for _ in range(7)]
        assert len(set(answers)) == 7
        assert calm not in answers
        assert max(map(len, answers)) < 1 << 21
        assert answers[0].endswith(b"[" * 100_000)
        assert answers[2].count(b'"tcp_port": 4150') == 2, "an nsqd that registers twice"
        assert await ask(server, FLEETING) == calm
