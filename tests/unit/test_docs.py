"""The documents are true: these tests write their files, run their commands, and compare the outputs.

A fenced block with ``title="…"`` is a file. A ``console`` block is a shell session: lines that begin with
``$`` are typed, the lines below are what the terminal shows. ``…`` stands for anything in a line, a line of
``…`` for any lines; times of day and numbers with a fraction are compared as any such. Other blocks are only
read.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nsqkit.policy.verdict import DeadLetterReason, OutcomeLabel, RequeueReason
from nsqkit.telemetry.metrics import Metrics
from tests import postgres
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
DOCUMENTS = (
    "README.md",
    "docs/batches.md",
    "docs/bridge.md",
    "docs/dead-letters.md",
    "docs/development.md",
    "docs/coming-from-pynsq.md",
    "docs/event-versioning.md",
    "docs/extensions.md",
    "docs/inbox.md",
    "docs/outbox.md",
    "docs/inside-your-application.md",
    "docs/sagas.md",
    "docs/scheduling.md",
    "docs/messages-from-other-systems.md",
    "docs/operating.md",
    "docs/tutorial.md",
    "docs/testing.md",
    "docs/resilience.md",
    "docs/traces.md",
)
DEFAULT_PORTS = ("4150", "4151", "9464", "8000", "8001", "8002")

_FENCE = re.compile(
    r'^```(?P<kind>\w*)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)^```$', re.MULTILINE | re.DOTALL
)
_MARK = "@@ next command @@"
_VOLATILE = (
    (re.compile(r"\d\d:\d\d:\d\d"), "TIME"),
    (re.compile(r"(?<=%)( +[\d,]+)(?: +[\d.,]+){3}$", re.MULTILINE), r"\1 P50 P95 P99"),
    (re.compile(r"\b\d+\.\d+\b(?!%)"), "NUMBER"),
    (re.compile(r"(?<=message_id=)[0-9a-f]{16}"), "ID"),
    (re.compile(r"[ \t]+"), " "),
    (re.compile(r"─+"), "─"),
)
_METRIC = re.compile(r"\bnsqkit_\w+")
_LINK = re.compile(r"\]\((?P<target>[^)#:]+)(?:#[^)]*)?\)")
_ANCHOR = re.compile(r"\]\((?P<target>[^)#:]*)#(?P<anchor>[^)]+)\)")
_HEADING = re.compile(r"^#+ (?P<text>.*)$", re.MULTILINE)

# A reader's terminal shows console lines. What goes elsewhere does so on the page as here.
_REDIRECTED = re.compile(r"2>|&>|\|&")

# curl may be missing. Like the real one, this asks again only if it is told to.
_CURL = """#!{python}
import sys, time, urllib.request
for _ in range(600 if "--retry" in sys.argv else 1):
    try:
        sys.stdout.write(urllib.request.urlopen("http://" + sys.argv[-1], timeout=60).read().decode())
        break
    except OSError:
        time.sleep(0.1)  # until curl would ask again
else:
    sys.exit("no answer")
"""


@dataclass(frozen=True)
class Command:
    """One line that is typed, and what the document says it shows."""

    line: str
    shown: str

    @property
    def on_terminal(self) -> bool:
        return _REDIRECTED.search(self.line) is None


def commands(text: str) -> list[Command]:
    parts = re.split(r"^\$ ", text, flags=re.MULTILINE)
    assert not parts[0].strip(), f"a console block begins with its command: {text}"
    found = (part.replace("\\\n", "").partition("\n") for part in parts[1:])
    return [Command(line, shown) for line, _, shown in found]


@dataclass
class Project:
    """A folder where a reader follows a document."""

    folder: Path
    programs: Path
    ports: dict[str, str]

    def write(self, title: str, text: str) -> None:
        path = self.folder / title
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._on_free_ports(text))

    def session(self, typed: list[Command]) -> list[str]:
        """Type the commands into one shell, and return what each shows, then the jobs that still run."""
        lines = ["trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT"]
        for each in typed:
            log_format = "export NSQKIT_LOG_FORMAT=console" if each.on_terminal else "unset NSQKIT_LOG_FORMAT"
            lines += [f"echo; echo '{_MARK}'", log_format, self._on_free_ports(each.line)]
        lines += [f"echo; echo '{_MARK}'", "jobs -r"]
        done = subprocess.run(
            ["bash", "-c", "\n".join(lines)],
            cwd=self.folder,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        return [self._on_usual_ports(part) for part in done.stdout.split(f"\n{_MARK}\n")[1:]]

    def _environment(self) -> dict[str, str]:
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("NSQKIT_", "PYTEST_"))
        }
        tcp, http, admin = (self.ports[port] for port in DEFAULT_PORTS[:3])
        return inherited | {
            "PATH": f"{self.programs}:{inherited['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "NO_COLOR": "1",
            "NSQKIT_EVENT_LOOP": "asyncio",
            "NSQKIT_DEV_TCP_PORT": tcp,
            "NSQKIT_DEV_HTTP_PORT": http,
            "NSQKIT_ADMIN_PORT": admin,
        }

    def _on_free_ports(self, text: str) -> str:
        for usual, free in self.ports.items():
            text = re.sub(rf"\b{usual}\b", free, text)
        return text

    def _on_usual_ports(self, text: str) -> str:
        for usual, free in self.ports.items():
            text = re.sub(rf"\b{free}\b", usual, text)
        return text.replace(str(self.folder), ".")


def free_ports() -> list[str]:
    """Return ports for those of DEFAULT_PORTS; HTTP's is the one above TCP's, as nsqkit takes it to be."""
    tcp, http = free_port(), free_port()
    while http != tcp + 1:
        tcp, http = http, free_port()
    return [str(port) for port in (tcp, http, *(free_port() for _ in DEFAULT_PORTS[2:]))]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    folder, programs = tmp_path / "project", tmp_path / "programs"
    for each in (folder / "scripts", programs):
        each.mkdir(parents=True)
    start = "import sys; from nsqkit.cli import main; sys.exit(main())"
    sources = {
        programs / "nsqkit": f"#!/bin/sh\nexec '{sys.executable}' -c '{start}' \"$@\"\n",
        programs / "python": f"#!/bin/sh\nexec '{sys.executable}' \"$@\"\n",
        programs / "curl": _CURL.format(python=sys.executable),
        # As it is, but in the environment that the tests run in.
        folder / "scripts" / "run": (ROOT / "scripts" / "run")
        .read_text()
        .replace("scripts/environment run\n", "")
        .replace(".venv/bin/nsqkit", "nsqkit"),
    }
    for path, source in sources.items():
        path.write_text(source)
        path.chmod(0o755)
    shutil.copytree(ROOT / "handlers", folder / "handlers")  # a document may write beside them
    (folder / "examples").symlink_to(ROOT / "examples")
    return Project(folder, programs, dict(zip(DEFAULT_PORTS, free_ports(), strict=True)))


def masked(text: str) -> str:
    for pattern, stand_in in _VOLATILE:
        text = pattern.sub(stand_in, text)
    return "\n".join(line.strip() for line in text.strip().splitlines())


def is_as_shown(real: str, shown: str) -> bool:
    head, *parts = f"\n{masked(shown)}\n".split("\n…\n")
    pattern = _lines(head)
    for index, part in enumerate(parts, start=1):
        found = rf"(?:.*\n)*?{_lines(part)}"  # the first place where it fits, and never another:
        pattern += found if index == len(parts) else f"(?>{found})"
    return re.fullmatch(pattern, f"{masked(real)}\n" if real.strip() else "") is not None


def _lines(part: str) -> str:
    """Return a pattern for whole lines."""
    lines = (".*".join(map(re.escape, line.split("…"))) for line in part.strip("\n").splitlines())
    return "".join(rf"{line}\n" for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("document", DOCUMENTS)
def test_following_a_document_shows_what_it_says(document: str, project: Project) -> None:
    follow((ROOT / document).read_text(), document, project)


@pytest.mark.slow
@pytest.mark.postgresql
def test_a_session_for_each_message_shows_the_same_on_postgresql(project: Project) -> None:
    document = "docs/inside-your-application.md"
    text, _, _ = (ROOT / document).read_text().partition("## FastAPI")
    assert "sqlite:///shop.sqlite" in text
    with postgres.running() as url:
        follow(text.replace("sqlite:///shop.sqlite", url), document, project)


def follow(text: str, document: str, project: Project) -> None:
    """Write the files in a text, type its commands, and compare what they show."""
    for block in _FENCE.finditer(text):
        if block["title"]:
            project.write(block["title"], block["text"])
        elif block["kind"] == "console":
            typed = commands(block["text"])
            *outputs, running = project.session(typed)
            assert running.strip() == "", f"{document} leaves this running: {running}"
            for command, real in zip(typed, outputs, strict=True):
                assert is_as_shown(real, command.shown), (
                    f"$ {command.line}\n{real}\n-- but {document}:\n{command.shown}"
                )


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_python_block_of_a_document_is_a_file(document: str) -> None:
    """So that it is run, and not only read."""
    blocks = list(_FENCE.finditer((ROOT / document).read_text()))
    assert all(block["title"] for block in blocks if block["kind"] == "python")


def documents() -> Iterator[Path]:
    yield from ROOT.glob("*.md")
    yield from (ROOT / "docs").rglob("*.md")
    yield from (ROOT / "examples").rglob("*.md")


@pytest.mark.parametrize("document", sorted(documents()), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    targets = [link["target"] for link in _LINK.finditer(document.read_text())]
    assert [target for target in targets if not (document.parent / target).exists()] == []


def anchors(document: Path) -> set[str]:
    """Return the anchors of the headings of a document, as forges make them."""
    headings = (found["text"].lower() for found in _HEADING.finditer(document.read_text()))
    return {re.sub(r"[^\w\- ]", "", text).replace(" ", "-") for text in headings}


@pytest.mark.parametrize("document", sorted(documents()), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_into_a_document_lead_to_one_of_its_headings(document: Path) -> None:
    links = [
        (document.parent / link["target"] if link["target"] else document, link["anchor"])
        for link in _ANCHOR.finditer(document.read_text())
    ]
    assert [f"{path.name}#{anchor}" for path, anchor in links if anchor not in anchors(path)] == []


def test_the_page_for_operations_has_every_outcome_and_reason() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    labels = {*OutcomeLabel, *RequeueReason, *DeadLetterReason}
    assert {label for label in labels if f"`{label}`" not in page} == set()


def test_the_page_for_operations_names_metrics_that_there_are() -> None:
    metrics = Metrics()
    metrics.for_handler("parcels", "carrier", "BookCarrier")
    named = set(_METRIC.findall((ROOT / "docs" / "operations.md").read_text()))
    assert named - set(_METRIC.findall(b"".join(metrics.exposition()).decode())) == set()


def test_every_decision_is_in_the_list_of_decisions() -> None:
    folder = ROOT / "docs" / "adr"
    listed = (folder / "README.md").read_text()
    assert [path.name for path in sorted(folder.glob("0*.md")) if f"({path.name})" not in listed] == []


@pytest.mark.parametrize(
    ("real", "shown", "same"),
    [
        pytest.param("a  b\n", "a b\n", True, id="spaces are one space"),
        pytest.param("12:30:01 x=1.25\n", "09:00:59 x=0.5\n", True, id="times and fractions are any"),
        pytest.param("A 4 50.0% 1 0.1 9 12\n", "A 4 50.0% 1 2 3.5 4\n", True, id="quantiles are any"),
        pytest.param("A 4 50.0% 1 0.1 9 12\n", "A 4 40.0% 1 0.1 9 12\n", False, id="the requeue rate counts"),
        pytest.param("3 messages\n", "4 messages\n", False, id="whole numbers count"),
        pytest.param("a then b\n", "a … b\n", True, id="an ellipsis is any part of a line"),
        pytest.param("a\nx\ny\nb\n", "a\n…\nb\n", True, id="a line of an ellipsis is any lines"),
        pytest.param("a\nb\n", "a\n…\nb\n", True, id="a line of an ellipsis may be none"),
        pytest.param("a\nb\n", "a\n", False, id="more than is shown is not as shown"),
        pytest.param("x\na\nx\nb\n", "…\na\n…\nb\n", True, id="as often as it stands there"),
        pytest.param("x\nx\n", "…\nx\n", True, id="the last lines are at the end"),
        pytest.param("a\nb\n", "…\na\n", False, id="and nothing comes after them"),
        pytest.param("a\nb\n", "a\n…\n", True, id="unless an ellipsis says so"),
        pytest.param("a\nb\nc\n", "a\n…\n…\nc\n", True, id="two of them are one"),
        pytest.param("", "", True, id="nothing is nothing"),
        pytest.param("a\n", "", False, id="something is not nothing"),
    ],
)
def test_an_output_is_compared_by_what_does_not_change(real: str, shown: str, same: bool) -> None:  # noqa: FBT001 - a table
    assert is_as_shown(real, shown) is same
