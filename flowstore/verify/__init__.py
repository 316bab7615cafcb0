"""Is a store whole, and does it agree with its source: `verify`; mending what is not.

Owns the check of one video (`task`) and of the tree around it (`tree_checks`), the kinds of fault (`faults`), and
`repair`. Knows nothing of how flow is computed: what is to be compared with its source or made again is
`flowstore.pipeline`'s to extract. Begin with `faults`.
"""

from flowstore.verify.report import VerifyReport
from flowstore.verify.run import verify

__all__ = ["VerifyReport", "verify"]
