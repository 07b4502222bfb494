"""Sums of nsqd's figures, by handler and by nsqd."""

from nsqkit.monitor.nsqd import Nsqd

CHARGE, NOTIFY = ("orders", "payments", "Charge"), ("orders", "notify", "Notify")


def test_figures_are_summed_by_handler_and_by_nsqd() -> None:
    nsqd = Nsqd()
    for figure in (
        ("nsqkit_channel_depth", (*CHARGE, "a:4150"), 7),
        ("nsqkit_channel_depth", (*CHARGE, "b:4150"), 5),
        ("nsqkit_channel_depth", (*NOTIFY, "a:4150"), 1),
        ("nsqkit_channel_deferred", (*CHARGE, "a:4150"), 2),
        ("nsqkit_connection_state", (*CHARGE, "a:4150", "subscribed"), 1),
        ("nsqkit_connection_state", (*CHARGE, "a:4150", "connecting"), 0),
        ("nsqkit_process_open_fds", (), 9),
    ):
        nsqd.add(figure)
    assert nsqd.of_handler(CHARGE) == {"depth": 12, "deferred": 2}
    assert nsqd.of_handler(NOTIFY) == {"depth": 1, "deferred": None}
    assert nsqd.of_handler(("orders", "other", "Other")) == {"depth": None, "deferred": None}
    assert nsqd.rows == [
        {"address": "a:4150", "states": {"subscribed": 1}, "depth": 8, "deferred": 2},
        {"address": "b:4150", "states": {}, "depth": 5},
    ]
