"""Steps: a compensation may say why it is made."""

from typing import Any

import pytest

from nsqkit.sql.saga import Send


class Shop:
    def confirm(self, order: str) -> str:
        return f"confirm {order}"

    def cancel(self, order: str, reason: str) -> str:
        return f"cancel {order}: {reason}"


@pytest.mark.parametrize(
    ("command", "reason", "expected"),
    [
        pytest.param(Shop.confirm, "", "confirm o1", id="an action"),
        pytest.param(
            Shop.confirm, "no tea", "confirm o1", id="a compensation that does not ask for the reason"
        ),
        pytest.param(Shop.cancel, "no tea", "cancel o1: no tea", id="one that asks for it"),
        pytest.param(Shop.cancel, "", "cancel o1: ", id="while there is no reason"),
    ],
)
def test_a_command_with_a_third_parameter_gets_the_reason(command: Any, reason: str, expected: str) -> None:
    assert Send(command).event(Shop(), "o1", reason) == expected
