"""asyncnsq's Reader and Writer, of 1.2.1 on Python 3.11 and of 2.0.1 on newer ones."""

import asyncio

import asyncnsq

from tests.clients.python.play import Play


async def main() -> None:
    """Carry out the plan. What the broker's own message timeout is, is not asked for: 1.2.1 cannot."""
    play = Play()
    host, port = play.host_and_port
    reader = await asyncnsq.create_reader(nsqd_tcp_addresses=[play.address], max_in_flight=5)
    await reader.subscribe(play.topic, play.channel)
    writer = await asyncnsq.create_writer(host=host, port=port)
    for bodies in play.publish:
        play.says()
        if play.defer_ms:
            reply = await writer.dpub(play.topic, play.defer_ms, bodies[0])
        elif len(bodies) > 1:
            reply = await writer.mpub(play.topic, *bodies)
        else:
            reply = await writer.pub(play.topic, bodies[0])
        if reply != b"OK":
            raise RuntimeError(f"publishing was answered with {reply!r}")
    async for message in reader.messages():
        if await play.answer(
            message.body, message.attempts, finish=message.fin, requeue=message.req, touch=message.touch
        ):
            break
    writer.close()
    reader.close()


asyncio.run(main())
