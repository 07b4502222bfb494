"""`nsqkit config` and `nsqkit version`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nsqkit import __version__
from nsqkit.settings.settings import TABLE

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Nsqkit

REFERENCE = Path(__file__).parents[3] / "docs" / "settings.md"


def test_every_setting_is_shown_with_its_value_and_origin(
    nsqkit: "Nsqkit", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NSQKIT_THREADS", "3")
    monkeypatch.setenv("NSQKIT_AUTH_SECRET", "hunter2")
    result = nsqkit("config", "--set", "grace_s=1.5", "--app", "api_token=hunter2")
    assert result.code == 0
    lines = {line.split()[0]: line.split()[1:] for line in result.out.splitlines() if line.strip()}
    assert lines.keys() >= {setting.name for setting in TABLE}
    assert lines["threads"] == ["3", "env", "NSQKIT_THREADS"]
    assert lines["grace_s"] == ["1.5", "flag"]
    assert lines["admin_port"] == ["9464", "default"]
    assert lines["app.api_token"] == ["********", "flag"]
    assert "hunter2" not in result.out


def test_config_as_json(nsqkit: "Nsqkit") -> None:
    rows = {row["name"]: row for row in json.loads(nsqkit("config", "--json").out)}
    assert rows["grace_s"].items() >= {"value": "20", "source": "default", "unit": "s"}.items()


def test_a_wrong_setting_is_wrong_use(nsqkit: "Nsqkit", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NSQKIT_THREADS", "0")
    result = nsqkit("config")
    assert (result.code, result.out) == (2, "")
    assert result.err == "error: threads='0' is not in 1..256 (from env NSQKIT_THREADS)\n"


def test_the_reference_in_docs_is_what_the_program_prints(nsqkit: "Nsqkit") -> None:
    """Run `nsqkit config --markdown > docs/settings.md` when this fails."""
    assert REFERENCE.read_text(encoding="utf-8") == nsqkit("config", "--markdown").out


@pytest.mark.parametrize("arguments", [["version"], ["--version"]])
def test_version(nsqkit: "Nsqkit", arguments: list[str]) -> None:
    result = nsqkit(*arguments)
    assert (result.code, result.out) == (0, f"nsqkit {__version__}\n")
