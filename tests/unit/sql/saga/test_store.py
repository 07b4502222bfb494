"""Store: a row has one writer at a time, and an instance is woken by one relay."""

from dataclasses import replace

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from nsqkit import Settings
from nsqkit.handler.sagas import Moment
from nsqkit.policy.saga_terms import Progress, Status
from nsqkit.sql.saga import store
from nsqkit.sql.saga.store import MOST_NOTES, Instance, with_notes
from nsqkit.sql.saga.waking import AGAIN_S, wake

NEW = Instance(
    saga="Pack",
    key="b1",
    version=1,
    correlation_id="Pack/b1",
    topic="saga.Pack",
    epoch=0,
    owner="here",
    state="{}",
    progress=Progress(Status.COMPENSATING, 2, 3, 100.0, is_waiting=True, reason="lost"),
    notes=(Moment(1.0, "begun"),),
    started_at=1.0,
    changed_at=2.0,
)


def test_an_instance_is_read_as_it_was_written(settings: Settings, outside: sa.Engine) -> None:
    with outside.begin() as connection:
        assert store.add(connection, NEW)
        assert store.find(connection, "Pack", key="b1") == NEW
        assert store.find(connection, "Pack", correlation_id="Pack/b1") == NEW
        assert store.find(connection, "Another", key="b1") is None


def test_a_key_is_added_once_and_a_correlation_id_belongs_to_one_instance(
    settings: Settings, outside: sa.Engine
) -> None:
    with outside.begin() as connection:
        assert [store.add(connection, NEW), store.add(connection, NEW)] == [True, False]
    with pytest.raises(IntegrityError), outside.begin() as connection:
        store.add(connection, replace(NEW, key="b2"))


def test_a_writer_that_knows_an_older_epoch_changes_nothing(settings: Settings, outside: sa.Engine) -> None:
    with outside.begin() as connection:
        store.add(connection, NEW)
        assert store.save(connection, NEW, replace(NEW, owner="first"))
        assert not store.save(connection, NEW, replace(NEW, owner="second"))
        found = store.find(connection, "Pack", key="b1")
    assert found == replace(NEW, owner="first", epoch=1)


def test_an_instance_is_woken_when_its_time_has_come_and_again_if_it_does_not_change(
    settings: Settings, outside: sa.Engine
) -> None:
    with outside.begin() as connection:
        store.add(connection, NEW)
        store.add(connection, replace(NEW, key="b2", correlation_id="x", progress=Progress(Status.COMPLETED)))
        woken = [wake(connection, now_s=now_s, most=10) for now_s in (99.0, 100.0, 101.0, 100.0 + AGAIN_S)]
        assert woken == [0, 1, 0, 1]
        topics = connection.exec_driver_sql("SELECT topic FROM nsqkit_outbox").scalars().all()
    assert topics == ["saga.Pack", "saga.Pack"]


def test_a_timeline_keeps_its_first_and_last_lines() -> None:
    notes = [Moment(float(number), "x") for number in range(MOST_NOTES)]
    found = with_notes(notes, [Moment(1000.0, "last")])
    assert len(found) == MOST_NOTES
    assert (found[0], found[-1].text) == (notes[0], "last")
