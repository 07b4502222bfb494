"""Tracks: what is kept of one handler's counts, second by second."""

import math

import pytest

from nsqkit.monitor.track import Track, bound_of, highest_bucket
from nsqkit.policy.requeue_level import Share
from nsqkit.telemetry.metrics import Metrics


def test_counts_become_shares_of_windows() -> None:
    meter = Metrics().for_handler("orders", "payments", "Charge")
    meter.received(100)  # before the monitor began
    track = Track(meter.counts())
    for second in range(1, 4):
        meter.received(10)
        meter.requeued("error")
        meter.requeued("timeout")
        meter.requeued("shutdown")
        meter.requeued("scheduled")  # nsqd does not know of it
        track.put(second, meter.counts())
    assert track.share(3, 1) == Share(2, 10)
    assert track.share(3, 60) == Share(6, 30)
    assert track.shares(3)[-1] == Share(6, 30)
    assert sum(track.requeued.last(3, 60)) == 9


def test_a_skipped_second_has_nothing() -> None:
    meter = Metrics().for_handler("orders", "payments", "Charge")
    track = Track(meter.counts())
    meter.received(10)
    track.put(1, meter.counts())
    track.skip(2)
    assert track.share(2, 1) == Share(0, 0)


def test_the_age_is_a_bound_of_the_oldest_delivery() -> None:
    meter = Metrics().for_handler("orders", "payments", "Charge")
    track = Track(meter.counts())
    assert track.oldest_s(0, 10) is None
    for age_s in (0.2, 7.0, 0.3):
        meter.age(age_s)
    track.put(1, meter.counts())
    track.skip(2)
    assert track.oldest_s(2, 10) == 10.0
    assert track.oldest_s(2, 1) is None
    meter.age(1e9)
    track.put(3, meter.counts())
    assert track.oldest_s(3, 1) == math.inf


@pytest.mark.parametrize(
    ("old", "new", "bucket"),
    [
        pytest.param((1, 2), (1, 2), 0, id="nothing new"),
        pytest.param((1, 2, 0), (2, 2, 0), 1, id="the lowest"),
        pytest.param((1, 2, 0), (5, 3, 0), 2, id="the highest that has grown"),
    ],
)
def test_highest_bucket(old: tuple[int, ...], new: tuple[int, ...], bucket: int) -> None:
    assert highest_bucket(old, new) == bucket


@pytest.mark.parametrize(("bucket", "bound"), [(0, None), (1, 0.5), (2, 1.0), (3, math.inf)])
def test_bound(bucket: int, bound: float | None) -> None:
    assert bound_of(bucket, (0.5, 1.0)) == bound
