"""The dead letters of a store are named by their orders, readable or not."""

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.chaos.letters import read


def test_orders_are_found_in_bodies_of_any_sort(tmp_path: Path) -> None:
    path = tmp_path / "dead.sqlite"
    with closing(sqlite3.connect(path)) as store, store:
        store.execute("CREATE TABLE letters (id INTEGER PRIMARY KEY, body BLOB, reason TEXT)")
        letters = [
            (b'{"id": "0000001-hopeless"}', "exhausted"),
            (b"\xff\x00 0000002-garbled", "undecodable"),
            (b"another", "expired"),
        ]
        store.executemany("INSERT INTO letters (body, reason) VALUES (?, ?)", letters)
    assert list(read(path)) == [
        "0000001-hopeless exhausted",
        "0000002-garbled undecodable",
        "unknown-order expired",
    ]
