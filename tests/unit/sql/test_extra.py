"""The extra: without it, the rest of nsqkit works, and nsqkit.sql says what to install."""

import subprocess
import sys

from tests.waiting import PATIENCE_S

_MISSING = """
import sys
sys.modules["sqlalchemy"] = None  # as if it were not installed
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _MISSING + code]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def test_nsqkit_sql_names_the_extra() -> None:
    result = run("import nsqkit.sql")
    assert result.stderr.splitlines()[-1].endswith("nsqkit.sql needs SQLAlchemy: pip install 'nsqkit[sql]'")


def test_worker_and_commands_load_without_it() -> None:
    code = "from nsqkit import Worker, Publisher; from nsqkit.cli import main; main(['db', '--help'])"
    assert run(code).stderr == ""
