"""The output of a process arrives whole in its log, also if it was not read for a while."""

from pathlib import Path

from tests.chaos.output import Output
from tests.waiting import until_blocking


def test_what_was_not_read_for_a_while_arrives_in_order(tmp_path: Path) -> None:
    output, log = Output(), tmp_path / "log"
    with output.writer(log) as pipe:
        pipe.write(b"first ")
        pipe.flush()
        until_blocking(lambda: log.exists() and log.read_bytes() == b"first ")
        output.is_read.clear()
        pipe.write(b"second ")
        pipe.flush()
        output.is_read.set()
        pipe.write(b"third")
    assert until_blocking(log.read_bytes, lambda found: found == b"first second third")
