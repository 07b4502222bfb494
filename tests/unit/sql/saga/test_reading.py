"""Reading: the page sees all instances, and neither waits for handlers nor lets them wait."""

from dataclasses import replace

import pytest
import sqlalchemy as sa

from nsqkit import Settings
from nsqkit.errors import SchemaError
from nsqkit.handler.sagas import Moment
from nsqkit.policy.saga_terms import Progress, Status
from nsqkit.sql.saga import reading, store
from nsqkit.sql.saga.reading import MOST_INSTANCES, DatabaseReader, UnreadableDatabaseError
from nsqkit.sql.saga.store import Instance
from tests.unit.sql.saga.test_declaration import PackBoxes
from tests.unit.sql.saga.test_store import NEW

READER = DatabaseReader("team")
STEP = PackBoxes.spec.steps[0].name


def box(
    key: str, progress: Progress, changed_at: float = 1.0, version: int = PackBoxes.spec.version
) -> Instance:
    return replace(
        NEW,
        saga="PackBoxes",
        key=key,
        version=version,
        correlation_id=f"PackBoxes/{key}",
        progress=progress,
        changed_at=changed_at,
    )


def add(engine: sa.Engine, *instances: Instance) -> None:
    with engine.begin() as connection:
        for each in instances:
            assert store.add(connection, each)


def test_instances_that_need_attention_come_first_then_open_ones_that_changed_last(
    settings: Settings, outside: sa.Engine
) -> None:
    running, needs = Progress(due_s=9.0, attempts=2), Progress(Status.NEEDS_ATTENTION, reason="lost")
    add(
        outside,
        box("old", running, 1.0),
        box("new", running, 3.0),
        box("stuck", replace(needs, before=Status.COMPENSATING), 2.0),
        box("done", Progress(Status.COMPLETED), 4.0),
        replace(box("foreign", running), saga="Another"),
    )
    found = READER.overview([PackBoxes], settings)
    assert [each.key for each in found.instances] == ["stuck", "new", "old"]
    assert found.counts == {
        "PackBoxes": {"running": 2, "compensating": 0, "completed": 1, "compensated": 0, "needs_attention": 1}
    }
    stuck, new, _ = found.instances
    assert (stuck.step, stuck.status, stuck.reason) == (f"{STEP}/undo", "needs_attention", "lost")
    assert (new.step, new.attempts, new.due_at) == (STEP, 2, 9.0)


def test_what_is_read_is_bounded(
    settings: Settings, outside: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MOST_COUNTED", 3)
    add(outside, *(box(f"b{number}", Progress()) for number in range(MOST_INSTANCES + 1)))
    found = READER.overview([PackBoxes], settings)
    assert (found.counts["PackBoxes"]["running"], found.most) == (3, 3)
    assert len(found.instances) == MOST_INSTANCES


@pytest.mark.parametrize(
    ("progress", "version", "step"),
    [
        pytest.param(Progress(), PackBoxes.spec.version, STEP, id="an action"),
        pytest.param(
            Progress(Status.COMPENSATING), PackBoxes.spec.version, f"{STEP}/undo", id="a compensation"
        ),
        pytest.param(Progress(position=4), 99, "step 5", id="a version that is not here"),
        pytest.param(Progress(Status.COMPLETED, position=9), PackBoxes.spec.version, "", id="it is over"),
    ],
)
def test_a_timeline_says_where_an_instance_is(
    progress: Progress, version: int, step: str, settings: Settings, outside: sa.Engine
) -> None:
    notes = (Moment(1.0, "begun"), Moment(2.0, "done"))
    add(outside, replace(box("b1", progress, version=version), notes=notes))
    found = READER.timeline([PackBoxes], "PackBoxes", "b1", settings)
    assert found is not None
    assert found.instance.step == step
    assert found.moments == [(1.0, "begun"), (2.0, "done")]
    assert found.correlation_id == "PackBoxes/b1"
    assert READER.timeline([PackBoxes], "PackBoxes", "b2", settings) is None
    assert READER.timeline([PackBoxes], "Another", "b1", settings) is None


def test_a_writer_is_not_waited_for(settings: Settings, outside: sa.Engine) -> None:
    add(outside, box("b1", Progress()))
    with outside.begin() as connection:
        store.find(connection, "PackBoxes", key="b1")
        connection.exec_driver_sql("UPDATE nsqkit_saga SET owner = 'busy'")
        assert len(READER.overview([PackBoxes], settings).instances) == 1
        assert READER.timeline([PackBoxes], "PackBoxes", "b1", settings) is not None


def test_a_database_without_the_tables_is_an_error(url: str) -> None:
    with pytest.raises(SchemaError, match="nsqkit db upgrade team"):
        READER.overview([PackBoxes], Settings(app={"team_url": url}))


def test_a_database_that_is_away_is_one_line() -> None:
    settings = Settings(app={"team_url": "postgresql://shop:s3cret@127.0.0.1:1/team"})
    with pytest.raises(UnreadableDatabaseError) as raised:
        READER.overview([PackBoxes], settings)
    line = str(raised.value)
    assert line.startswith("database team cannot be read: OperationalError: ")
    assert "\n" not in line
    assert "s3cret" not in line


def test_sagas_of_one_database_have_equal_readers() -> None:
    assert PackBoxes.saga_reader == DatabaseReader(PackBoxes.spec.database.name)
