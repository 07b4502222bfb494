import pytest

from nsqkit.devbroker.routes import ApiError, Request, Route, Routes


def answer(_request: Request) -> str:
    return "here"


ROUTES = Routes(
    [
        Route("GET", "/ping", answer, 1),
        Route("GET", "/config/:option", answer, 1),
        Route("PUT", "/config/:option", answer, 2),
    ]
)


@pytest.mark.parametrize(
    ("method", "path", "max_bytes", "option"),
    [("GET", "/ping", 1, ""), ("GET", "/config/a", 1, "a"), ("PUT", "/config/A b", 2, "A b")],
)
def test_a_route_is_found_by_method_and_path(method: str, path: str, max_bytes: int, option: str) -> None:
    route, found = ROUTES.find(method, path)
    assert (route.max_bytes, found) == (max_bytes, option)


@pytest.mark.parametrize(
    ("method", "path", "status", "allowed"),
    [
        pytest.param("GET", "/nope", 404, (), id="no such path"),
        pytest.param("GET", "", 404, (), id="no path at all"),
        pytest.param("GET", "/config/", 404, (), id="no option"),
        pytest.param("GET", "/config/a/b", 404, (), id="an option within one"),
        pytest.param("PUT", "/ping", 405, ("GET", "OPTIONS"), id="another method"),
        pytest.param("POST", "/config/a", 405, ("GET", "OPTIONS", "PUT"), id="neither of two"),
    ],
)
def test_what_is_not_there_is_refused(method: str, path: str, status: int, allowed: tuple[str, ...]) -> None:
    with pytest.raises(ApiError) as caught:
        ROUTES.find(method, path)
    assert (caught.value.status, caught.value.allowed) == (status, allowed)


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/ping/", "/ping"),
        ("//PING", "/ping"),
        ("/Config/Some/", "/config/some"),
        ("/ping", None),
        ("/pong/", None),
        ("/", None),
        ("", None),
    ],
)
def test_cases_and_slashes_too_many_are_tidied(path: str, meant: str | None) -> None:
    assert ROUTES.meant("GET", path) == meant


def test_the_first_of_two_arguments_counts() -> None:
    assert Request("a=1&b=&a=2").arguments == {"a": "1", "b": ""}


@pytest.mark.parametrize("query", ["a=%zz", "a=1;b=2", "%"])
def test_a_query_that_cannot_be_read_is_refused_when_it_is_asked_for(query: str) -> None:
    request = Request(query)
    with pytest.raises(ApiError, match="INVALID_REQUEST"):
        request.argument("a")
