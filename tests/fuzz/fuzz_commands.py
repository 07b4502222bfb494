#!/usr/bin/env python
"""Coverage-guided fuzzing of the command parsers with atheris; see README.md beside it.

PYTHONPATH=. tests/fuzz/fuzz_commands.py new tests/fuzz/corpus -max_len=4096 -max_total_time=150
"""

import sys

import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]  # only there to fuzz

with atheris.instrument_imports(include=["nsqkit"]):
    from tests.fuzz.target import one_input


def main() -> None:
    """Run until something fails, or as long as the arguments say."""
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
