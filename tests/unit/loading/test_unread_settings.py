"""Unread settings: a warning names each setting that no module of the team reads, and the closest name."""

import pytest

from nsqkit.loading.unread_settings import unread_settings
from nsqkit.settings.settings import Settings
from tests.unit.loading.team import NOTIFY, Team

READS = """\
def read(settings):
    return settings.app_text("TEAM_url", ""), settings.app_number("TEAM_zones", 1), settings.app["TEAM_key"]


"""


@pytest.mark.parametrize(
    ("name", "warnings"),
    [
        pytest.param("TEAM_url", [], id="a text that is read"),
        pytest.param("TEAM_zones", [], id="a number that is read"),
        pytest.param("TEAM_key", [], id="a key of the mapping"),
        pytest.param(
            "TEAM_ulr",
            ["app.TEAM_ulr (from argument): no module of yours asks for it; did you mean 'TEAM_url'?"],
            id="a misspelt one",
        ),
    ],
)
def test_what_no_module_asks_for_is_told(team: Team, name: str, warnings: list[str]) -> None:
    team.write(READS + NOTIFY)
    team.load()
    settings = Settings(app={name.replace("TEAM", team.name): "1"})
    assert unread_settings(settings) == [each.replace("TEAM", team.name) for each in warnings]


def test_without_any_no_module_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("ast.parse")
    assert unread_settings(Settings()) == []
