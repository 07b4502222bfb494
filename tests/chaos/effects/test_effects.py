"""The short form of `scripts/chaos effects`: every effect happens once, wherever a process dies."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.effects.points import HANDLER, POINTS
from tests.chaos.effects.run import run
from tests.postgres import running

pytestmark = [pytest.mark.slow, pytest.mark.nsqd]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database."""
    if request.param == "sqlite":
        yield _sqlite(tmp_path)
        return
    with running() as server:
        yield server


async def test_every_effect_happens_once_wherever_a_process_is_killed(
    url: str, nsq_programs: Path, tmp_path: Path
) -> None:
    found = await run(url, tmp_path, nsq_programs / "nsqd", POINTS, messages=20, kills=1)
    assert [each.point for each in found if not each.is_right] == [], found
    assert [each.orders for each in found] == [20] * len(POINTS)


async def test_a_handler_without_an_inbox_is_found_out(nsq_programs: Path, tmp_path: Path) -> None:
    points = [each for each in POINTS if each.name == f"{HANDLER}-published"]
    careless = "tests.chaos.effects.careless:Careless"
    (found,) = await run(
        _sqlite(tmp_path), tmp_path, nsq_programs / "nsqd", points, messages=4, kills=1, accept=careless
    )
    assert found.twice
    assert not found.lost


def _sqlite(folder: Path) -> str:
    return f"sqlite:///{folder}/shop.sqlite"
