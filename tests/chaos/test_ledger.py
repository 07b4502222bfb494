from pathlib import Path

from tests.chaos.ledger import Ledger, Reader


def test_what_was_written_is_read_word_by_word(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "a.ledger")
    ledger.write("started 1-quick 1", "succeeded 1-quick")
    ledger.sync()
    assert list(Reader(tmp_path / "a.ledger").lines()) == [
        ["started", "1-quick", "1"],
        ["succeeded", "1-quick"],
    ]
    ledger.close()


def test_a_line_that_a_kill_has_torn_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.ledger").write_bytes(b"succeeded 1-quick\nsucceeded 2-qu")
    assert list(Reader(tmp_path / "a.ledger").lines()) == [["succeeded", "1-quick"]]


def test_a_reader_reads_on_where_it_was(tmp_path: Path) -> None:
    reader, path = Reader(tmp_path / "a.ledger"), tmp_path / "a.ledger"
    assert list(reader.lines()) == [], "nobody has written yet"
    path.write_bytes(b"1\n2")
    assert list(reader.lines()) == [["1"]]
    path.write_bytes(b"1\n2\n3\n")
    assert list(reader.lines()) == [["2"], ["3"]]


def test_a_file_is_written_on_by_the_next_process(tmp_path: Path) -> None:
    for line in ("1", "2"):
        ledger = Ledger(tmp_path / "a.ledger")
        ledger.write(line)
        ledger.close()
    assert (tmp_path / "a.ledger").read_text() == "1\n2\n"
