"""The program `nsqkit`, which dies at the points of its role: ``mortal FOLDER ROLE ARGUMENT…``."""

import sys
from pathlib import Path

from nsqkit.cli import main
from tests.chaos.effects.points import patch

if __name__ == "__main__":
    name, folder, role, *arguments = sys.argv
    patch(Path(folder), role)
    sys.argv = [name, *arguments]
    sys.exit(main())
