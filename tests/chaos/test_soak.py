"""The short form of `scripts/chaos soak`: faults come and go, and all is as before without a restart."""

import pytest

from tests.chaos import checkup
from tests.chaos.audit import audit
from tests.chaos.conftest import Soak

pytestmark = [pytest.mark.slow, pytest.mark.nsqd]


def test_faults_that_come_and_go_leave_nothing_behind(soak: Soak) -> None:
    """Two minutes of faults, each sort at least once; the heap of a worker may still fill up meanwhile."""
    code, out = soak.wait()
    assert code == 0, out
    found = audit(soak.folder / "soak")
    assert found.problems == ()
    assert found.total.confirmed == found.total.succeeded + found.total.dead_lettered >= 2000
    record = checkup.load(soak.folder / "soak")
    assert record is not None
    assert len(record.workers) == 2
