"""A message that ends its process, among healthy ones."""

import pytest

from tests.chaos.conftest import Chaos

pytestmark = [pytest.mark.slow, pytest.mark.nsqd]


def test_a_poison_message_alone_is_given_up_as_crash_suspect(chaos: Chaos) -> None:
    """Its handler takes 100 at a time; the audit knows which reason each dead letter must have."""
    found = chaos("poison")
    assert found["problems"] == []
    poison, healthy = found["kinds"]["poison"], found["kinds"]["quick"]
    assert (poison["confirmed"], poison["dead_lettered"], poison["succeeded"]) == (1, 1, 0)
    assert (healthy["confirmed"], healthy["succeeded"], healthy["dead_lettered"]) == (200, 200, 0)
    assert found["crashes"] > 2, "beyond max_attempts it was tried alone"
