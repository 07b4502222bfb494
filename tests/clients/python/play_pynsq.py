"""pynsq's own Reader and Writer, which nsqkit itself does not use."""

import asyncio
from typing import Any

import nsq
from tests.clients.python.play import Play
from tests.waiting import until


async def publish(play: Play, writer: Any) -> None:
    """Publish all, each confirmed by OK."""
    await until(lambda: writer.conns)  # a Writer says nothing when it is connected
    for bodies in play.publish:
        confirmed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def done(_: Any, reply: Any, confirmed: asyncio.Future[Any] = confirmed) -> None:
            confirmed.set_result(reply)

        play.says()
        if play.defer_ms:
            writer.dpub(play.topic, play.defer_ms, bodies[0], callback=done)
        elif len(bodies) > 1:
            writer.mpub(play.topic, bodies, callback=done)
        else:
            writer.pub(play.topic, bodies[0], callback=done)
        reply = await confirmed
        if reply != b"OK":
            raise RuntimeError(f"publishing was answered with {reply!r}")


async def main() -> None:
    """Carry out the plan."""
    play = Play()
    deliveries: asyncio.Queue[Any] = asyncio.Queue()

    def take(message: Any) -> None:
        message.enable_async()
        deliveries.put_nowait(message)

    reader = nsq.Reader(  # type: ignore[attr-defined]  # the stubs have what nsqkit uses
        topic=play.topic,
        channel=play.channel,
        message_handler=take,
        nsqd_tcp_addresses=[play.address],
        max_in_flight=5,
        msg_timeout=play.msg_timeout_ms / 1000,
    )
    writer = nsq.Writer([play.address])  # type: ignore[attr-defined]  # as above
    await publish(play, writer)
    done = False
    while not done:
        message = await deliveries.get()
        done = await play.answer(
            message.body,
            message.attempts,
            finish=message.finish,
            requeue=lambda delay_ms, message=message: message.requeue(backoff=False, time_ms=delay_ms),
            touch=message.touch,
        )
    reader.close()


asyncio.run(main())
