"""The command line: parse, call one function, print.

Owns click and what is printed. Knows nothing of how anything is done: what a command calls, Python can call too. A
module a command; begin with `program`, and with `options` for what several commands share.
"""

from flowstore.cli.program import main

__all__ = ["main"]
