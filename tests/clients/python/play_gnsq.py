"""gnsq's Consumer and Producer, on gevent."""

from typing import Any

import gevent
import gevent.event
import gnsq

from tests.clients.python.play import Play

play = Play()
done = gevent.event.Event()


def answer(message: Any) -> None:
    """React to a delivery."""
    match play.sees(message.body, message.attempts):
        case ["requeue", delay_ms]:
            play.says()
            message.requeue(time_ms=delay_ms, backoff=False)
            return
        case ["keep"]:
            return
        case ["touch", every_ms, times]:
            for _ in range(times):
                gevent.sleep(every_ms / 1000)  # the handler's work between two TOUCH
                message.touch()
            gevent.sleep(every_ms / 1000)  # the rest of its work
    message.finish()
    if play.finishes():
        done.set()


def take(_: gnsq.Consumer, message: Any) -> None:
    """Answer in a greenlet of its own, so that the connection goes on reading."""
    message.enable_async()
    gevent.spawn(answer, message)


# It has no way to ask for a message timeout: the broker's own holds.
consumer = gnsq.Consumer(play.topic, play.channel, play.address, message_handler=take, max_in_flight=5)
consumer.start(block=False)
producer = gnsq.Producer(play.address)
producer.start()
for bodies in play.publish:
    play.says()
    if play.defer_ms:
        producer.publish(play.topic, bodies[0], defer=play.defer_ms)
    elif len(bodies) > 1:
        producer.multipublish(play.topic, bodies)
    else:
        producer.publish(play.topic, bodies[0])
done.wait()
producer.close()
consumer.close()
