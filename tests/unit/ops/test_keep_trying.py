"""Keep trying: an nsqd that cannot be reached is waited for; one that refuses is not."""

import pytest

from nsqkit import PublishError, SettingsError
from nsqkit.errors import ConnectionLostError
from nsqkit.ops.keep_trying import keep_trying
from tests.unit.runtime.bench import RecordingLog


@pytest.mark.usefixtures("hasty")
async def test_each_wait_is_told() -> None:
    failures: list[Exception] = [
        ConnectionLostError("nsqd:4150", "refused"),
        PublishError("t", "nsqd:4150", "timeout", False),
    ]
    log = RecordingLog()

    async def attempt() -> str:
        if failures:
            raise failures.pop(0)
        return "done"

    assert await keep_trying(attempt, log) == "done"
    assert [name for _, name, _ in log.lines] == ["feed_waits"] * 2
    assert "refused" in log.lines[0][2]["error"]


async def test_other_errors_are_passed_on() -> None:
    async def attempt() -> None:
        raise SettingsError("no nsqd")

    with pytest.raises(SettingsError, match="no nsqd"):
        await keep_trying(attempt, RecordingLog())


async def test_waits_grow_up_to_their_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nsqkit.ops.keep_trying.RETRY_FIRST_S", 0.001)
    monkeypatch.setattr("nsqkit.ops.keep_trying.RETRY_LONGEST_S", 0.004)
    log = RecordingLog()
    left = 5

    async def attempt() -> None:
        nonlocal left
        left -= 1
        if left:
            raise ConnectionLostError("nsqd:4150", "refused")

    await keep_trying(attempt, log)
    assert [fields["retry_in_s"] for _, _, fields in log.lines] == [0.001, 0.002, 0.004, 0.004]
