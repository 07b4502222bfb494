"""Store: what it has taken is there, once; what it cannot do is told in one line."""

import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from nsqkit import SettingsError
from nsqkit.dead_letters.filters import Condition, Filters
from nsqkit.dead_letters.store import FOLDER, Group, Store
from nsqkit.errors import DeadLetterStoreError
from nsqkit.policy.names import dead_topic
from tests.unit.dead_letters.letters import letter

ALL = Filters()
AT = "2026-01-02T00:00:00.000000Z"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "dead.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store(path, make=True) as store:
        yield store


def minute(number: int) -> str:
    return f"2026-01-01T00:{number:02d}:00.000000Z"


class TestKept:
    def test_a_dead_letter_comes_back_as_it_was(self, store: Store) -> None:
        first, second = letter(1, body=bytes(range(256))), letter(2, is_record=False, event_id=None)
        assert store.add([first, second]) == 2
        found = list(store.find(ALL, newest_first=False))
        assert [each.letter for each in found] == [first, second]
        assert [(each.id, each.replays, each.replayed_at) for each in found] == [(1, 0, None), (2, 0, None)]

    def test_the_same_delivered_again_is_stored_once(self, store: Store) -> None:
        assert store.add([letter(1)]) == 1
        assert store.add([letter(1), letter(2), letter(2)]) == 1
        assert store.count(ALL) == 2

    @pytest.mark.parametrize(
        "changes",
        [
            pytest.param({"dead_topic": "orders.notify.dead"}, id="another topic"),
            pytest.param({"nsqd": "b:4150"}, id="another nsqd"),
            pytest.param({"dead_timestamp_ns": 7}, id="another time"),
        ],
    )
    def test_the_same_id_elsewhere_is_another_one(self, store: Store, changes: dict[str, object]) -> None:
        """Nsqd's ids are unique neither across topics nor across nsqd."""
        assert store.add([letter(1), letter(1, **changes)]) == 2

    def test_it_is_there_after_the_file_is_opened_again(self, path: Path) -> None:
        with Store(path, make=True) as store:
            store.add([letter()])
        with Store(path) as store:
            assert store.count(ALL) == 1

    def test_each_commit_is_on_the_disk_before_it_returns(self, store: Store) -> None:
        assert store._connection.execute("PRAGMA synchronous").fetchone() == (2,)

    def test_who_reads_does_not_hold_up_who_writes(self, path: Path, store: Store) -> None:
        store.add([letter(1), letter(2)])
        with Store(path) as other:
            reading = other.find(ALL)
            next(reading)
            assert store.add([letter(3)]) == 1
            assert len(list(reading)) == 1

    def test_several_threads_may_use_it_one_after_the_other(self, store: Store) -> None:
        thread = threading.Thread(target=store.add, args=([letter()],))
        thread.start()
        thread.join()
        assert store.count(ALL) == 1

    def test_a_number_is_never_given_again(self, store: Store) -> None:
        """Whoever noted one must not replay another by it."""
        store.add([letter(1), letter(2)])
        assert store.remove([2]) == 1
        store.add([letter(3)])
        assert store.ids(ALL) == [1, 3]


class TestFound:
    @pytest.fixture(autouse=True)
    def _letters(self, store: Store) -> None:
        store.add(
            [
                letter(1, dead_at=minute(1), error_type="ValueError", detail="ValueError: Bad 50% card"),
                letter(2, dead_at=minute(3), handler="NotifyCustomer", channel="notify"),
                letter(3, dead_at=minute(2), reason="", error_type=""),
            ]
        )
        store.mark_replayed([2], AT)

    def test_the_newest_is_the_first_and_oldest_first_is_the_other_way(self, store: Store) -> None:
        assert [each.id for each in store.find(ALL)] == [2, 3, 1]
        assert [each.id for each in store.find(ALL, newest_first=False)] == store.ids(ALL) == [1, 3, 2]
        assert [each.id for each in store.find(ALL, limit=1)] == [2]
        assert store.ids(ALL, limit=2) == [1, 3]

    @pytest.mark.parametrize(
        ("filters", "expected"),
        [
            pytest.param(Filters((Condition("error_type", "ValueError", True),)), [1], id="whole"),
            pytest.param(Filters((Condition("error_type", "Value", True),)), [], id="whole is not a part"),
            pytest.param(Filters((Condition("detail", "bad 50%", False),)), [1], id="a part, in any case"),
            pytest.param(Filters((Condition("detail", "b_d", False),)), [], id="no wildcards"),
            pytest.param(Filters((Condition("reason", "", True),)), [3], id="not known"),
            pytest.param(
                Filters((Condition("channel", "notify", True), Condition("error_type", "ValueError", True))),
                [],
                id="all must hold",
            ),
            pytest.param(Filters(since=minute(2)), [3, 2], id="since, that moment included"),
            pytest.param(Filters(before=minute(2)), [1], id="before, that moment left out"),
            pytest.param(Filters(ids=(1, 2, 9)), [1, 2], id="by number"),
            pytest.param(Filters(is_fresh=True), [1, 3], id="never replayed"),
            pytest.param(Filters(ids=(2,), is_fresh=True), [], id="everything together"),
        ],
    )
    def test_which_are_meant(self, store: Store, filters: Filters, expected: list[int]) -> None:
        assert store.ids(filters) == expected
        assert store.count(filters) == len(expected)
        assert [each.id for each in store.find(filters, newest_first=False)] == expected

    def test_groups_the_largest_first(self, store: Store) -> None:
        assert store.groups(ALL, "handler") == [
            Group("ChargePayment", 2, 0, minute(2)),
            Group("NotifyCustomer", 1, 1, minute(3)),
        ]
        assert [each.value for each in store.groups(Filters(since=minute(2)), "error")] == [
            "",
            "GatewayError",
        ]


def test_every_replay_is_counted_and_the_last_is_dated(store: Store) -> None:
    store.add([letter(1), letter(2)])
    store.mark_replayed([1], minute(1))
    store.mark_replayed([1], minute(2))
    assert [(each.replays, each.replayed_at) for each in store.find(ALL, newest_first=False)] == [
        (2, minute(2)),
        (0, None),
    ]


def test_a_record_tells_whose_the_others_of_its_topic_are(store: Store) -> None:
    topic = dead_topic("orders", "a.b")
    store.add([letter(1, dead_topic=topic, is_record=False, topic="", channel="")])
    assert store.source_of(topic) == ("", "")
    store.add([letter(2, dead_topic=topic, topic="orders", channel="a.b")])
    assert store.source_of(topic) == ("orders", "a.b")


class TestFile:
    def test_only_its_owner_may_read_it(self, store: Store) -> None:
        assert stat.S_IMODE(store.path.stat().st_mode) == 0o600

    def test_the_usual_folder_is_made_and_is_not_committed_by_git(self, tmp_path: Path) -> None:
        folder = tmp_path / FOLDER
        with Store(folder / "dead.sqlite", make=True):
            assert (folder / ".gitignore").read_text() == "*\n"

    def test_reading_makes_no_file(self, path: Path) -> None:
        with pytest.raises(SettingsError, match=r"no store .*nsqkit dead collect"):
            Store(path)
        assert not path.exists()

    def test_no_other_folder_is_made(self, tmp_path: Path) -> None:
        with pytest.raises(DeadLetterStoreError, match="cannot be created: No such file or directory"):
            Store(tmp_path / "elsewhere" / "dead.sqlite", make=True)

    def test_a_database_of_something_else_is_left_alone(self, path: Path) -> None:
        with closing(sqlite3.connect(path)) as other:
            other.execute("CREATE TABLE letters (x)")
        with pytest.raises(DeadLetterStoreError, match="database of another program"):
            Store(path, make=True)

    def test_a_file_that_is_no_database_is_left_alone(self, path: Path) -> None:
        path.write_text("a diary" * 100)
        with pytest.raises(DeadLetterStoreError, match="not a database"):
            Store(path, make=True)
        assert path.read_text() == "a diary" * 100

    def test_a_file_of_a_newer_nsqkit_is_left_alone(self, path: Path) -> None:
        Store(path, make=True).close()
        with closing(sqlite3.connect(path)) as other:
            other.execute("PRAGMA user_version = 2")
        with pytest.raises(DeadLetterStoreError, match="a newer nsqkit wrote it"):
            Store(path)

    def test_what_cannot_be_stored_is_not_stored_in_part(self, store: Store) -> None:
        store._connection.execute("CREATE TRIGGER full BEFORE INSERT ON letters WHEN new.attempts = 7 "
                                  "BEGIN SELECT raise(ABORT, 'disk full'); END")  # fmt: skip
        with pytest.raises(DeadLetterStoreError, match=r"dead letters in .*: disk full"):
            store.add([letter(1), replace(letter(2), attempts=7)])
        assert store.count(ALL) == 0
