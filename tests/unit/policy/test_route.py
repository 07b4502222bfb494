"""The reasons of a route are labels of metrics, so their texts are part of the interface."""

from nsqkit.policy.route import PauseReason, RefusalReason


def test_the_reasons_are_known_by_their_texts() -> None:
    assert [*map(str, PauseReason)] == ["operator", "depth", "blocked"]
    assert [*map(str, RefusalReason)] == ["tombstone", "empty", "unreadable", "too_large"]
