"""One setting: ranges in words, and how values are shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsqkit.errors import SettingsError
from nsqkit.settings.setting import Setting, shown


def _setting(kind: str = "number", **changes: object) -> Setting:
    row: dict[str, object] = {
        "name": "grace_s",
        "kind": kind,
        "default": 20.0,
        "minimum": 0,
        "maximum": 3600,
        "unit": "s",
        "choices": (),
        "secret": False,
        "help": "",
    }
    return Setting(**(row | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        pytest.param(_setting(), "0 to 3600", id="a range"),
        pytest.param(_setting(minimum=0.05, maximum=104857600), "0.05 to 104857600", id="no exponents"),
        pytest.param(_setting(minimum=None), "", id="no range"),
        pytest.param(_setting("text", choices=("a", "b")), "a, b", id="choices"),
    ],
)
def test_range_text(setting: Setting, words: str) -> None:
    assert setting.range_text == words


def test_the_variable_is_the_name_in_capitals() -> None:
    assert _setting().env == "NSQKIT_GRACE_S"


@given(st.one_of(st.floats(), st.integers(), st.text(max_size=10), st.booleans(), st.none()))
def test_a_number_is_in_its_range_or_refused(value: object) -> None:
    try:
        number = _setting().checked(value, "")
    except SettingsError as error:
        assert str(error).startswith("grace_s=")  # noqa: PT017 - most values are refused
        return
    assert isinstance(number, float)
    assert 0 <= number <= 3600


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param(None, "-", id="nothing"),
        pytest.param((), "-", id="an empty list"),
        pytest.param(("a", "b"), "a, b", id="a list"),
        pytest.param(True, "true", id="a boolean as TOML spells it"),
        pytest.param(900.0, "900", id="a whole number of seconds"),
        pytest.param(0.25, "0.25", id="a fraction"),
        pytest.param(10**20, "1" + "0" * 20, id="a long number"),
    ],
)
def test_shown(value: object, text: str) -> None:
    assert shown(value, secret=False) == text


def test_a_secret_is_shown_as_set_or_not_set_only() -> None:
    assert shown(None, secret=True) == "-"
    assert "s3cr3t" not in shown("s3cr3t", secret=True)
