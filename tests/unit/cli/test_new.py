"""`nsqkit new`: what is printed, and what comes of it."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Nsqkit

NEW = ("new", "handlers/returns.py", "--topic", "returns", "--channel", "refund")


def test_the_files_are_named_with_what_to_do_next(nsqkit: "Nsqkit", tmp_path: Path) -> None:
    result = nsqkit(*NEW)
    assert result.code == 0
    assert result.out.splitlines() == [
        "wrote handlers/__init__.py",
        "wrote handlers/returns.py",
        "wrote tests/handlers/test_returns.py",
        "try: python -m pytest tests/handlers/test_returns.py",
        "     nsqkit run handlers.returns --dev --reload",
    ]
    assert (
        'class Refund(Handler[ReturnCreated], channel="refund")'
        in (tmp_path / "handlers" / "returns.py").read_text()
    )


def test_event_and_test_can_be_told(nsqkit: "Nsqkit", tmp_path: Path) -> None:
    assert nsqkit(*NEW, "--event", "parcel.sent-back", "--test", "checks/test_it.py").code == 0
    assert "ParcelSentBack(" in (tmp_path / "checks" / "test_it.py").read_text()


def test_nothing_is_overwritten(nsqkit: "Nsqkit") -> None:
    nsqkit(*NEW)
    result = nsqkit(*NEW)
    assert (result.code, result.out) == (2, "")
    assert "handlers/returns.py exists" in result.err


def test_topic_and_channel_are_needed(nsqkit: "Nsqkit") -> None:
    assert nsqkit(*NEW[:2]).code == 2
