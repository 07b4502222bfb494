"""Bearer tokens: one header, one scheme, one token."""

import pytest

from nsqkit.policy.bearer import bearer_token, token_problem


@pytest.mark.parametrize(
    ("authorization", "token"),
    [
        pytest.param(["Bearer s3cret"], "s3cret", id="as clients send it"),
        pytest.param(["bEARER s3cret"], "s3cret", id="the scheme has no case"),
        pytest.param(["Bearer   s3cret"], "s3cret", id="several spaces"),
        pytest.param(["Bearer aGk-._~+/=="], "aGk-._~+/==", id="every character that a token may have"),
        pytest.param([], None, id="no header"),
        pytest.param([""], None, id="an empty header"),
        pytest.param(["Bearer"], None, id="no token"),
        pytest.param(["Bearer "], None, id="an empty token"),
        pytest.param(["s3cret"], None, id="no scheme"),
        pytest.param(["Bearers3cret"], None, id="no space"),
        pytest.param(["Bearer\ts3cret"], None, id="a tab"),
        pytest.param(["Basic s3cret"], None, id="another scheme"),
        pytest.param(["Bearer s3cret "], None, id="something after it"),
        pytest.param(["Bearer s3cret\n"], None, id="a line end after it"),
        pytest.param(["Bearer s3cret", "Bearer s3cret"], None, id="two headers"),
        pytest.param(["Bearer other,Bearer s3cret"], None, id="two headers that a proxy has joined"),
        pytest.param(["Bearer s3cr\xe9t"], None, id="a letter beyond ASCII"),
        pytest.param(["Bearer =s3cret"], None, id="= at the start"),
    ],
)
def test_the_token_of_a_request(authorization: list[str], token: str | None) -> None:
    assert bearer_token(authorization) == token


@pytest.mark.parametrize("token", ["s3cret", "0", "aGk-._~+/=="])
def test_a_token_that_can_be_sent(token: str) -> None:
    assert token_problem(token) == ""
    assert bearer_token([f"Bearer {token}"]) == token


@pytest.mark.parametrize("token", ["", "two words", "s3cr\xe9t", "s3cret\n", '"s3cret"', "a,b", "=a"])
def test_a_token_that_cannot_be_sent_is_refused_and_not_shown(token: str) -> None:
    problem = token_problem(token)
    assert problem.startswith("only letters of ASCII")
    assert not token or token not in problem
