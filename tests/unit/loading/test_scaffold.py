"""Scaffold: what is written passes the linters and its own test, and nothing is overwritten."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nsqkit import SettingsError
from nsqkit.loading.scaffold import Scaffold

ROOT = Path(__file__).parents[3]
TOOLS = Path(sys.executable).parent


def scaffold(root: Path, module: str = "handlers/returns.py", **options: str) -> Scaffold:
    names = {"topic": "returns", "channel": "refund", **options}
    test = names.pop("test", None)
    return Scaffold(
        root, Path(module), names["topic"], names["channel"], names.get("event"), Path(test) if test else None
    )


def run(folder: Path, *command: str) -> None:
    known = {name: value for name, value in os.environ.items() if not name.startswith(("NSQKIT_", "PYTEST_"))}
    done = subprocess.run(
        command,
        cwd=folder,
        env={**known, "PYTHONDONTWRITEBYTECODE": "1", "MYPYPATH": f"{folder}:{ROOT}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}"


@pytest.fixture(params=["a team's own folder", "a clone of nsqkit"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where nsqkit is somebody else's package, and where it is a neighbour: ruff sorts imports by that."""
    if request.param == "a clone of nsqkit":
        (tmp_path / "nsqkit").symlink_to(ROOT / "nsqkit")
        (tmp_path / "tests" / "unit").mkdir(parents=True)
    return tmp_path


@pytest.mark.slow
def test_it_passes_the_linters_and_its_own_test_at_once(folder: Path) -> None:
    made = [
        scaffold(folder),
        scaffold(folder, "handlers/gas.py", topic="gas.used-up", channel="2-meters", event="gas.used_up"),
        scaffold(folder, "handlers/eu/sms_senders.py", topic="SMS", channel="send.all#ephemeral"),
        scaffold(folder, "single.py", topic="Handler", channel="Context", event="handler"),
        scaffold(folder, "handlers/none.py", topic="none", channel="none-created"),
    ]
    written = [str(path) for each in made for path in each.write()]
    config = str(ROOT / "pyproject.toml")
    run(folder, str(TOOLS / "ruff"), "check", "--no-cache", "--config", config, *written)
    run(folder, str(TOOLS / "ruff"), "format", "--no-cache", "--check", "--config", config, *written)
    mypy = ("--config-file", str(ROOT / "setup.cfg"), "--cache-dir", str(folder / ".mypy_cache"))
    run(folder, sys.executable, "-m", "mypy", *mypy, *written)
    tests = [str(each.test_file) for each in made]
    run(
        folder,
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--import-mode=importlib",
        *tests,
    )
    run(folder, sys.executable, "-m", "nsqkit", "check", *(each.dotted for each in made))


class TestPlaces:
    """Where the files go."""

    @pytest.mark.parametrize(
        ("folders", "test"),
        [
            pytest.param([], "tests/handlers/test_returns.py", id="tests"),
            pytest.param(["tests"], "tests/handlers/test_returns.py", id="tests that are there"),
            pytest.param(["tests/unit"], "tests/unit/handlers/test_returns.py", id="unit tests"),
        ],
    )
    def test_the_test_mirrors_the_module(self, tmp_path: Path, folders: list[str], test: str) -> None:
        for each in folders:
            (tmp_path / each).mkdir(parents=True)
        assert scaffold(tmp_path).test_file == Path(test)

    def test_or_goes_where_it_is_told(self, tmp_path: Path) -> None:
        made = scaffold(tmp_path, test="checks/returns_test.py").write()
        assert made[-1] == Path("checks/returns_test.py")
        assert (tmp_path / made[-1]).exists()

    def test_a_path_from_the_root_of_all_is_the_same_module(self, tmp_path: Path) -> None:
        made = scaffold(tmp_path, str(tmp_path / "handlers" / "returns.py"))
        assert made.dotted == "handlers.returns"
        assert made.test_file == Path("tests/handlers/test_returns.py")

    def test_a_folder_that_is_made_is_a_package_and_one_that_is_there_stays_as_it_is(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "handlers").mkdir()
        scaffold(tmp_path, "handlers/eu/returns.py").write()
        assert not (tmp_path / "handlers" / "__init__.py").exists()
        assert (tmp_path / "handlers" / "eu" / "__init__.py").exists()
        assert not (tmp_path / "tests" / "handlers" / "eu" / "__init__.py").exists()


class TestOverwrites:
    """What is there stays as it is, and then nothing else is written."""

    @pytest.mark.parametrize("there", ["handlers/returns.py", "tests/handlers/test_returns.py"])
    def test_a_file_that_is_there_is_refused(self, tmp_path: Path, there: str) -> None:
        path = tmp_path / there
        path.parent.mkdir(parents=True)
        path.write_text("mine")
        with pytest.raises(SettingsError, match=f"{there} exists"):
            scaffold(tmp_path).write()
        assert [each for each in tmp_path.rglob("*.py") if each != path] == []
        assert path.read_text() == "mine"

    def test_a_file_in_the_way_of_a_folder_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "handlers").write_text("mine")
        with pytest.raises(SettingsError, match=r"handlers.*cannot be written"):
            scaffold(tmp_path).write()

    def test_the_test_is_not_written_over_the_module(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match="another file"):
            scaffold(tmp_path, test="handlers/../handlers/returns.py").write()


@pytest.mark.parametrize(
    ("module", "options", "said"),
    [
        pytest.param("handlers/returns.py", {"topic": "a b"}, "topic name 'a b'", id="a bad topic"),
        pytest.param("handlers/returns.py", {"channel": ""}, "channel name is empty", id="no channel"),
        pytest.param("handlers/returns.py", {"event": "a b"}, "event name 'a b'", id="a bad event"),
        pytest.param("handlers/returns", {}, "cannot be imported", id="no Python file"),
        pytest.param("my-handlers/returns.py", {}, "cannot be imported", id="a folder that is no name"),
        pytest.param("handlers/class.py", {}, "cannot be imported", id="a keyword"),
        pytest.param("../returns.py", {}, "is not in the working directory", id="beside the folder"),
        pytest.param(
            "a.py", {"test": "/elsewhere.py"}, "is not in the working directory", id="a test elsewhere"
        ),
    ],
)
def test_wrong_use(tmp_path: Path, module: str, options: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        scaffold(tmp_path, module, **options)


@pytest.mark.parametrize(
    ("module", "options", "words"),
    [
        pytest.param(
            "returns.py", {}, ["return.created", "ReturnCreated", "Refund", "return_id"], id="plural"
        ),
        pytest.param("status.py", {}, ["status.created", "status_id"], id="no plural at all"),
        pytest.param("s.py", {}, ["s.created", "s_id"], id="a letter"),
        pytest.param(
            "web_orders.py", {}, ["web-order.created", "WebOrderCreated", "web_order_id"], id="words"
        ),
        pytest.param(
            "a.py", {"event": "return.sent-back"}, ["ReturnSentBack", "return_sent_back"], id="told"
        ),
        pytest.param(
            "a.py", {"channel": "a-created"}, ["class ACreatedHandler(", "class ACreated:"], id="same"
        ),
        pytest.param("a.py", {"channel": "handler"}, ["class HandlerHandler("], id="a name that is imported"),
        pytest.param("a.py", {"channel": "exception"}, ["class HandlerException("], id="a name of Python's"),
        pytest.param("a.py", {"channel": "tmp#ephemeral"}, ["class Tmp(", '"tmp#ephemeral"'], id="ephemeral"),
    ],
)
def test_names(tmp_path: Path, module: str, options: dict[str, str], words: list[str]) -> None:
    text = scaffold(tmp_path, module, **options).module_text()
    assert [word for word in words if word not in text] == []
