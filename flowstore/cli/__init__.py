"""The command line: parse, call one function, print.

Owns click and what is printed. A module a command; begin with `program`.
"""

from flowstore.cli.program import main

__all__ = ["main"]
