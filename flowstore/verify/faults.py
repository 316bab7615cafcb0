"""What can be wrong with a store. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from flowstore.names import printable_name

FaultKind = Literal["damaged", "missing", "swapped", "foreign", "leftover", "index", "source"]
Remedy = Literal["", "remove", "rewrite", "index", "extract"]


@dataclass(frozen=True)
class Fault:
    """Something wrong with a store.

    Parameters
    ----------
    kind : {"damaged", "missing", "swapped", "foreign", "leftover", "index", "source"}
        What it is: bytes that are not those written; a file that is not there; a whole file of another place; a file
        that is none of a store's; what a killed run left; an index that is not that of the tree; flow that is not that
        of its source.
    path : str
        Of the file or folder, below the root; empty for the root.
    text : str
        What was found, in one line.
    class_name, name : str
        Original names of the video that it concerns; empty for none.
    flows : tuple of int or None
        The flows ``[start, stop)`` that are lost by it; None where it is none, or the whole video.
    remedy : {"", "remove", "rewrite", "index", "extract"}
        What mends it: nothing here, removing the path, writing the document anew, writing the index anew, extracting
        the video again.
    """

    kind: FaultKind
    path: str
    text: str
    class_name: str = ""
    name: str = ""
    flows: tuple[int, int] | None = None
    remedy: Remedy = ""

    @property
    def key(self) -> str:
        """``class/name`` of the video, or the path, in one line for people."""
        return printable_name(f"{self.class_name}/{self.name}" if self.name else self.path or "the root")

    def __str__(self) -> str:
        flows = "" if self.flows is None else f", flows [{self.flows[0]}, {self.flows[1]})"
        return f"{self.kind}: {self.key}{flows}: {printable_name(self.text)}"

    def to_json(self) -> dict[str, Any]:
        """Return the fault as plain JSON values."""
        return {
            "kind": self.kind,
            "class": self.class_name or None,
            "video": self.name or None,
            "flows": None if self.flows is None else list(self.flows),
            "path": self.path,
            "what": self.text,
        }
