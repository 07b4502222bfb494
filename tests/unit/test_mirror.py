"""The tests of the policies mirror them: what a rule is proved by is found beside its name."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
POLICIES = sorted(path.stem for path in (ROOT / "nsqkit" / "policy").glob("*.py") if path.stem != "__init__")
TESTS = sorted(path.stem for path in (ROOT / "tests" / "unit" / "policy").glob("test_*.py"))


@pytest.mark.parametrize("module", POLICIES)
def test_every_policy_has_its_tests(module: str) -> None:
    assert f"test_{module}" in TESTS, f"write tests/unit/policy/test_{module}.py"


@pytest.mark.parametrize("test", TESTS)
def test_every_file_of_policy_tests_has_its_policy(test: str) -> None:
    assert test.removeprefix("test_") in POLICIES, f"nsqkit/policy has no {test.removeprefix('test_')}.py"
