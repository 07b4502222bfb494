"""Hangs: whether nsqkit itself no longer serves a subscription. An nsqd that is down is no hang."""

from collections.abc import Collection, Hashable, Mapping
from typing import Final, TypeVar

HUNG_S: Final = 900.0
"""Seconds without a sign of life.

A heartbeat comes every minute at least, and a connection that is silent for two of them ends. An attempt to
connect ends within 10 minutes, even behind a thousand nsqd that are down, with the longest timeouts.
"""

Subscription = TypeVar("Subscription", bound=Hashable)


def silent(signs_s: Mapping[Subscription, float], *, now_s: float) -> dict[Subscription, float]:
    """Return the subscriptions without a sign of life for so long that they may hang, with their last one.

    Args:
        signs_s: When something was last read from the connection of each subscription, or an attempt to
            connect last began or ended.
        now_s: The present time.
    """
    return {each: sign_s for each, sign_s in signs_s.items() if now_s - sign_s >= HUNG_S}


def hung(
    before: Mapping[Subscription, float],
    now: Mapping[Subscription, float],
    answering: Collection[Subscription],
) -> dict[Subscription, float]:
    """Return the subscriptions that hang: silent at two looks in a row, while their nsqd answers.

    After a suspension of the process, all of them are silent at one look.

    Args:
        before: The result of :func:`silent` at the look before.
        now: Its result now.
        answering: The subscriptions whose nsqd has just answered over HTTP.
    """
    return {each: sign_s for each, sign_s in now.items() if before.get(each) == sign_s and each in answering}
