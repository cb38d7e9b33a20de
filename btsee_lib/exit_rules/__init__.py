"""When a sample may leave: one object a rule, one table of them."""

from btsee_lib.calibration import CPM, ExitRule
from btsee_lib.exit_rules.margins import LowerBound, LowerBoundOfAll, MultiplicativeMargin, SmoothedPrecision
from btsee_lib.exit_rules.whole_answer import Confidence, DifferenceOfTwoLargest, Entropy

# Those that promise a precision: a class, or with one threshold for what leaves on the whole.
PROMISING: dict[str, ExitRule] = {
    "CPM": CPM,
    "CPM, margin as a factor": MultiplicativeMargin(),
    "CPM, smoothed precision": SmoothedPrecision(),
    "CPM, lower bound": LowerBound(),
    "one threshold, lower bound": LowerBoundOfAll(),
}
EXIT_RULES: dict[str, ExitRule] = {
    **PROMISING,
    "confidence": Confidence(),
    "difference of two": DifferenceOfTwoLargest(),
    "entropy": Entropy(),
}
