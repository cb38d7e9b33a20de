"""The cells of the package that ``make industrial`` installs; nothing is tested where it is not installed."""

import importlib.util

import numpy as np
import pytest

from btsee_lib.data import load_splits
from btsee_lib.data.duplicates import duplicates
from solar_cells import elpv

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec(elpv.PACKAGE) is None, reason="needs the images of requirements-industrial.txt"
)


@pytest.fixture(scope="module")
def real_cells():
    return elpv.read_cells()


def test_the_real_cells_are_those_that_were_published(real_cells):
    assert len(real_cells.labels) == 2624
    assert sorted(set(real_cells.probability.round(3))) == [0, 0.333, 0.667, 1]
    assert (real_cells.type == "mono").sum() == 1074
    assert real_cells.labels.sum() == 821


def test_recovered_modules_are_of_one_type_and_as_many_as_published(real_cells):
    types = [set(real_cells.type[real_cells.module == m]) for m in range(44)]
    assert types.count({"mono"}) == 18
    assert types.count({"poly"}) == 26


def test_the_rim_of_a_recovered_module_is_darker_than_where_another_cut_would_be(real_cells):
    """In the run of 530 cells, ten a row: the outer edges of first and last rows, against all other rows."""
    start = int(np.flatnonzero(real_cells.module == 29)[0])
    rows = real_cells.images[start - 120 : start - 120 + 470, 0].float().unflatten(0, (-1, 10))
    top = rows[:, :, 0].mean(-1).median(1).values
    first = (np.diff(real_cells.module[start - 120 : start - 120 + 470 : 10], prepend=-1) != 0).nonzero()[0]
    assert first.tolist() == [0, 6, 12, 17, 23, 29, 35, 41]
    others = np.setdiff1d(np.arange(12, 35), first)  # where the rims are plain to see
    assert top[[12, 17, 23, 29]].max() < top[others].median()


def test_no_real_cell_is_a_copy_of_another_and_no_module_is_on_two_sides(real_cells):
    for number in range(elpv.FOLDS):
        where = elpv.positions_of(elpv.folds_of(real_cells), number)
        modules = [set(real_cells.module[positions]) for positions in where.values()]
        assert sum(map(len, modules)) == 44
    splits = load_splits("elpv")
    assert duplicates(splits.train, splits.valid, splits.test) == []
    assert 350 < len(splits.test) < 700
    assert 0.2 < splits.test.labels.double().mean() < 0.45
