"""ansq's Reader and Writer."""

import asyncio

import ansq

from tests.clients.python.play import Play


async def main() -> None:
    """Carry out the plan."""
    play = Play()
    options = ansq.ConnectionOptions(
        features=ansq.ConnectionFeatures(msg_timeout=play.msg_timeout_ms), auto_reconnect=False
    )
    reader = await ansq.create_reader(
        play.topic, play.channel, nsqd_tcp_addresses=[play.address], connection_options=options
    )
    writer = await ansq.create_writer(nsqd_tcp_addresses=[play.address], connection_options=options)
    for bodies in play.publish:
        play.says()
        if play.defer_ms:
            reply = await writer.dpub(play.topic, bodies[0], play.defer_ms)
        elif len(bodies) > 1:
            reply = await writer.mpub(play.topic, *bodies)
        else:
            reply = await writer.pub(play.topic, bodies[0])
        if not reply.is_ok:
            raise RuntimeError(f"publishing was answered with {reply!r}")
    async for message in reader.messages():
        if await play.answer(
            message.body, message.attempts, finish=message.fin, requeue=message.req, touch=message.touch
        ):
            break
    await writer.close()
    await reader.close()


asyncio.run(main())
