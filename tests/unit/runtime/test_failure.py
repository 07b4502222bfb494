"""Failures: the end of their stacks, without secrets."""

from nsqkit.runtime.failure import STACK_LIMIT, stack_of


def _raised(error: Exception) -> Exception:
    try:
        raise error  # noqa: TRY301 - that is all it is for
    except Exception as caught:  # noqa: BLE001 - with its traceback
        return caught


class TestStack:
    def test_no_error_has_no_stack(self) -> None:
        assert stack_of(None) == ""

    def test_an_error_that_was_never_raised_has_none(self) -> None:
        assert stack_of(ValueError("x")) == ""

    def test_it_ends_with_the_error_and_its_line(self) -> None:
        stack = stack_of(_raised(ValueError("this one")))
        assert stack.startswith("Traceback")
        assert "in _raised" in stack
        assert stack.endswith("ValueError: this one\n")

    def test_of_a_long_one_the_end_stays(self) -> None:
        stack = stack_of(_raised(ValueError("x" * 50_000 + " the end")))
        assert len(stack) <= STACK_LIMIT
        assert stack.rstrip().endswith("the end")

    def test_secrets_are_masked(self) -> None:
        assert "hush" not in stack_of(_raised(ValueError("password=hush")))

    def test_what_utf8_cannot_spell_is_escaped(self) -> None:
        stack_of(_raised(ValueError("\udc80"))).encode()
