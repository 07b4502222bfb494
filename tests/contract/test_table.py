"""The page of the contract is of this suite, and of a run in which all passed."""

import inspect
from pathlib import Path

from nsqkit.testing.contract import LimitsContract, NsqContract
from tests.contract.table import ENGINES, rule

PAGE = Path(__file__).parents[2] / "docs" / "contract.md"


def test_docs_contract_has_every_rule_and_no_other_and_all_passed() -> None:
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")][1:]
    told = {cells[0].split(" (")[0] for cells in (line.strip("| ").split(" | ") for line in lines)}
    suites = (NsqContract, LimitsContract)
    rules = {name for suite in suites for name, _ in inspect.getmembers(suite, inspect.isfunction)}
    assert told == {rule(name) for name in rules if name.startswith("test_")}
    assert all(line.count("| passed ") + line.count("| – ") == len(ENGINES) for line in lines)
    assert all(line.count("| passed ") >= len(ENGINES) - 1 for line in lines)
