"""The program `nsqkit`: parses, calls, prints; what it calls is imported only when a command runs."""

from nsqkit.cli.app import main

__all__ = ["main"]
