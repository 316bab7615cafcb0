"""Is a store whole, and does it agree with its source: `verify`; mending what is not.

Owns the check of one video (`task`) and of the tree around it (`tree_checks`), the kinds of fault (`faults`), and
`repair`. Begin with `faults`.
"""

from flowstore.verify.report import VerifyReport
from flowstore.verify.run import verify

__all__ = ["VerifyReport", "verify"]
