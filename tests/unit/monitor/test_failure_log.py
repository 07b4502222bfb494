"""The failure log: recent errors for the first screen, and all with examples for one handler."""

from tests.unit.monitor.bench import CHARGE, Shop


def test_recent_errors_are_of_one_and_five_minutes() -> None:
    shop = Shop()
    shop.run(60, failed=2)
    shop.run(120)
    shop.run(10, failed=1)
    ((error,),) = shop.failures.recent().values()
    assert list(shop.failures.recent()) == [CHARGE]
    assert (error.error_type, error.m1, error.m5) == ("ConnectionRefusedError", 10, 130)
    assert (error.minute.count, error.five_minutes.count) == (10, 130)
    shop.run(320)
    assert shop.failures.recent() == {}


def test_errors_have_examples_and_times() -> None:
    shop = Shop()
    shop.run(10, failed=2)
    (error,) = shop.failures.errors("Charge")
    assert (error["type"], error["count"]) == ("ConnectionRefusedError", 20)
    assert error["last"] - error["first"] == 9
    first = error["examples"][0]
    assert (first["text"], first["attempts"]) == ("ConnectionRefusedError: no gateway", 1)
    assert "bench.py" in first["stack"]
    assert shop.failures.errors("Notify") == []
