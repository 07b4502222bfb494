"""Look: the errors of one handler in several workers as one list, bounded as that of one worker."""

from nsqkit.monitor.failures import MOST_EXAMPLES, MOST_GROUPS
from nsqkit.monitor.look import Json, RecentErrors, joined_errors, joined_recent


def _error(place: str, count: int, *times: int) -> Json:
    examples = [{"at": at, "message_id": f"{at}"} for at in times]
    return {
        "type": "GatewayError",
        "place": place,
        "count": count,
        "count_m1": count,
        "first": min(times),
        "last": max(times),
        "examples": examples,
    }


def test_recent_errors_of_one_type_and_line_are_added_up() -> None:
    one = [RecentErrors("GatewayError", "orders.py:78", 1, 5), RecentErrors("KeyError", "", 2, 2)]
    other = [RecentErrors("KeyError", "", 3, 4), RecentErrors("KeyError", "orders.py:3", 1, 1)]
    assert joined_recent([one, other]) == [
        RecentErrors("KeyError", "", 5, 6),
        RecentErrors("GatewayError", "orders.py:78", 1, 5),
        RecentErrors("KeyError", "orders.py:3", 1, 1),
    ]


def test_errors_keep_the_newest_examples_with_the_number_of_their_worker() -> None:
    one, other = [_error("a:1", 5, 30, 20, 10), _error("b:1", 9, 5)], [_error("a:1", 7, 25, 9)]
    (first, second) = joined_errors([(1, one), (2, other)])
    assert (first["place"], first["count"], first["first"], first["last"]) == ("a:1", 12, 9, 30)
    assert [(each["at"], each["worker"]) for each in first["examples"]] == [(30, 1), (25, 2), (20, 1)]
    assert second["place"] == "b:1"


def test_both_are_bounded() -> None:
    workers = 5
    recent = [
        [RecentErrors("E", f"{worker}:{line}", 1, 1) for line in range(20)] for worker in range(workers)
    ]
    errors = [(worker, [_error(f"{line}:1", 1, worker) for line in range(30)]) for worker in range(workers)]
    assert len(joined_recent(recent)) == MOST_GROUPS
    assert len(joined := joined_errors(errors)) == MOST_GROUPS
    assert {len(each["examples"]) for each in joined} == {MOST_EXAMPLES}
