"""The program `nsqkit`: parses, calls, prints. It imports what a command needs only when the command runs."""

from nsqkit.cli.app import main

__all__ = ["main"]
