"""When a sample may leave: one object a rule, one table of them."""

from btsee_lib.calibration import CPM, ExitRule
from btsee_lib.exit_rules.entropy import Entropy

EXIT_RULES: dict[str, ExitRule] = {"CPM": CPM, "confidence": ExitRule(), "entropy": Entropy()}

__all__ = ["CPM", "EXIT_RULES", "ExitRule"]
