"""Inspection of solar cells with early exits: what this domain needs beyond the library.

Importing the package adds the data set ``elpv`` to the library's table.
"""

from btsee_lib.data.sets import DATA_SETS
from solar_cells import elpv

DATA_SETS["elpv"] = lambda _, seed: elpv.load(seed)
