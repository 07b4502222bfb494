"""JSON line: the fixed names come first, in an order that does not change."""

import json

from nsqkit.telemetry.json_line import FIRST, json_line


def test_the_fixed_names_come_first_in_their_order() -> None:
    fields = {"order": 7, **{name: name for name in reversed(FIRST)}}
    assert list(json.loads(json_line(fields))) == [*FIRST, "order"]


def test_a_field_that_is_missing_is_left_out() -> None:
    assert json_line({"event": "worker_ready", "level": "info"}) == '{"level":"info","event":"worker_ready"}'


def test_the_line_is_printable() -> None:
    line = json_line({"event": "x\x9b31m"})
    assert line.isprintable()
    assert json.loads(line) == {"event": "x\x9b31m"}
