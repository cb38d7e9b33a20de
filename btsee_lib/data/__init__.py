"""A data set, by its name in a table of data sets, becomes three splits of mapped arrays.

A module is imported when a name of it is first used, so that what prepares pictures needs no torch.
"""

from importlib import import_module

MODULES = {"load_splits": "sets", "ImageSet": "splits", "Splits": "splits"}
__all__ = list(MODULES)


def __getattr__(name: str) -> object:
    if name not in MODULES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{MODULES[name]}"), name)
