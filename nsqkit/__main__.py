"""`python -m nsqkit` is `nsqkit`, for where the program itself is not on the path."""

import sys

from nsqkit.cli import main

if __name__ == "__main__":
    sys.exit(main())
