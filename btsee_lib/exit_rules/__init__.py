"""When a sample may leave: one object a rule, one table of them."""

from btsee_lib.calibration import CPM, ExitRule
from btsee_lib.exit_rules.entropy import Entropy
from btsee_lib.exit_rules.margins import LowerBound, MultiplicativeMargin, SmoothedPrecision

# Those that promise a precision a class.
PROMISING: dict[str, ExitRule] = {
    "CPM": CPM,
    "CPM, margin as a factor": MultiplicativeMargin(),
    "CPM, smoothed precision": SmoothedPrecision(),
    "CPM, lower bound": LowerBound(),
}
EXIT_RULES: dict[str, ExitRule] = {**PROMISING, "confidence": ExitRule(), "entropy": Entropy()}

__all__ = ["CPM", "EXIT_RULES", "PROMISING", "ExitRule"]
