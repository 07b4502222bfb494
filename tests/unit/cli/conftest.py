"""The program, run inside the test's process, away from the repository's own files."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from nsqkit.cli import main


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


Nsqkit = Callable[..., Result]


@pytest.fixture
def nsqkit(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nsqkit:
    """Run a command with these arguments and return its exit code and output."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("NSQKIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("nsqkit.telemetry.logs.configure_logs", lambda *_: None)

    def run(*arguments: str) -> Result:
        code = main(arguments)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module with a handler of MessagePack; its topic and its channel have the module's name."""
    monkeypatch.syspath_prepend(tmp_path)
    name = f"packed_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(
        "from dataclasses import dataclass\n"
        "from nsqkit import Context, Handler, MsgpackCodec, event\n"
        f"@event('{name}.made', version=1, topic='{name}', codec=MsgpackCodec())\n"
        "@dataclass\n"
        "class Made:\n"
        "    order: str\n"
        "    mail: str\n"
        f"class Pack(Handler[Made], channel='{name}'):\n"
        "    async def handle(self, event: Made, ctx: Context) -> None: ...\n",
        encoding="utf-8",
    )
    return name


@pytest.fixture
def handlers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module with two handlers, importable from the working directory."""
    monkeypatch.syspath_prepend(tmp_path)
    name = f"shop_{abs(hash(tmp_path))}"  # events are registered for the life of the process
    (tmp_path / f"{name}.py").write_text(
        "from dataclasses import dataclass\n"
        "from nsqkit import Context, Handler, event\n"
        f"@event('{name}.made', version=1, topic='{name}')\n"
        "@dataclass\n"
        "class Made:\n"
        "    number: int\n"
        "class Reserve(Handler[Made], channel='inventory', timeout_s=20, max_in_flight=7):\n"
        "    async def handle(self, event: Made, ctx: Context) -> None: ...\n"
        "class Notify(Handler[Made], channel='notify'):\n"
        "    def handle(self, event: Made, ctx: Context) -> None: ...\n",
        encoding="utf-8",
    )
    return name
