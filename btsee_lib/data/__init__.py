"""A data set, by its name in a table of data sets, becomes three splits of mapped arrays."""

from btsee_lib.data.sets import load_splits
from btsee_lib.data.splits import ImageSet, Splits

__all__ = ["ImageSet", "Splits", "load_splits"]
