"""Stranded: a check before a deploy names the open instances whose steps would be gone."""

from dataclasses import replace

import sqlalchemy as sa

from nsqkit import Settings
from nsqkit.handler.group import ungrouped
from nsqkit.policy.saga_terms import Progress, Status
from nsqkit.sql.saga import store
from nsqkit.sql.saga.stranded import stranded
from tests.unit.sql.saga.test_declaration import PackBoxes
from tests.unit.sql.saga.test_store import NEW


def test_open_instances_of_a_version_that_is_not_there_are_named(
    settings: Settings, outside: sa.Engine
) -> None:
    specs = [handler.spec for handler in ungrouped([PackBoxes])]
    with outside.begin() as connection:
        for number, (version, status) in enumerate(
            [(0, Status.RUNNING), (0, Status.COMPENSATING), (0, Status.COMPLETED), (1, Status.RUNNING)]
        ):
            box = replace(NEW, saga="PackBoxes", key=f"b{number}", correlation_id=f"c{number}")
            store.add(connection, replace(box, version=version, progress=Progress(status)))
        store.add(connection, replace(NEW, saga="PackBoxes", key="new", version=3))
    (problem,) = stranded(specs, settings)
    assert "saga PackBoxes: 2 open instances of version 0, whose steps are not here; add the" in problem


def test_handlers_without_a_saga_have_nothing_to_strand(settings: Settings) -> None:
    assert stranded([], settings) == []
