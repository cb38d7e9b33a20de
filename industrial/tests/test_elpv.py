"""The logic on a small stand-in for the package of images."""

import importlib

import numpy as np
import pytest
import torch
from PIL import Image

from btsee_lib.data import load_splits
from btsee_lib.data.duplicates import duplicates
from btsee_lib.errors import DataError
from solar_cells import elpv

SIZES = (12, 12, 8, 12, 10, 12, 9, 12)
PROBABILITIES = (0.0, 1 / 3, 2 / 3, 1.0)


@pytest.fixture(scope="module")
def pictures(repository):
    """300 x 300 pictures, each another one: real images of clothes, enlarged."""
    images = load_splits("fashion-mnist", repository / "data", limit=100).train.images[:, 0].numpy()
    return [Image.fromarray(image).resize((300, 300)) for image in images[: sum(SIZES)]]


@pytest.fixture
def package(tmp_path, monkeypatch, pictures):
    """A package of the same layout, found before the real one."""
    folder = tmp_path / "elpv_dataset"
    (folder / "data" / "images").mkdir(parents=True)
    (folder / "__init__.py").touch()
    lines = []
    for number, picture in enumerate(pictures):
        name = f"images/cell{number + 1:04d}.png"
        picture.save(folder / "data" / name)
        lines.append(f"{name}  {PROBABILITIES[number % 4]}  {'mono' if number < 44 else 'poly'}\n")
    (folder / "data" / "labels.csv").write_text("".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    return folder


@pytest.fixture
def cells(package):
    return elpv.read_cells(SIZES)


def test_cells_are_averaged_over_areas_and_keep_their_order(cells, pictures):
    assert cells.images.shape == (sum(SIZES), 1, 64, 64)
    assert cells.images.dtype == torch.uint8
    whole = np.array([np.asarray(picture).mean() for picture in pictures])
    assert np.abs(cells.images.float().mean((1, 2, 3)).numpy() - whole).max() < 0.5
    assert np.bincount(cells.module).tolist() == list(SIZES)
    assert (np.diff(cells.module) >= 0).all()


def test_a_cell_is_defective_above_one_half_and_doubtful_in_between(cells):
    assert cells.labels[:4].tolist() == [0, 0, 1, 1]
    assert cells.doubtful[:4].tolist() == [False, True, True, False]


def test_every_fold_is_a_test_split_once_and_no_module_is_on_two_sides(cells):
    fold = elpv.folds_of(cells, folds=3, seed=0)
    tested = []
    for number in range(3):
        where = elpv.positions_of(fold, number)
        modules = [set(cells.module[positions]) for positions in where.values()]
        assert sum(map(len, modules)) == len(set.union(*modules)) == len(SIZES)
        assert sorted(np.concatenate(list(where.values()))) == list(range(sum(SIZES)))
        tested += where["test"].tolist()
    assert sorted(tested) == list(range(sum(SIZES)))


def test_an_exact_copy_ties_its_module_to_the_other_so_that_no_split_divides_them(cells):
    cells.images[SIZES[0] + SIZES[1]] = cells.images[0]  # a cell of module 2 is one of module 0
    groups = elpv.groups_of(cells)
    assert len(set(groups)) == len(SIZES) - 1
    assert len(set(groups[np.isin(cells.module, (0, 2))])) == 1
    for seed in range(5):
        fold = elpv.folds_of(cells, folds=3, seed=seed)
        splits = elpv.split_fold(cells, fold, 0)
        side = np.repeat([0, 1, 2], [len(splits.train), len(splits.valid), len(splits.test)])
        pairs = duplicates(splits.train, splits.valid, splits.test)
        assert len(pairs) == 1
        assert all(side[a] == side[b] for a, b in pairs)


def test_a_split_holds_the_images_and_labels_of_its_positions(cells):
    fold = elpv.folds_of(cells, folds=3, seed=1)
    splits, where = elpv.split_fold(cells, fold, 1, limit=10), elpv.positions_of(fold, 1, limit=10)
    for name, positions in where.items():
        assert len(positions) == 10
        assert torch.equal(getattr(splits, name).images, cells.images[positions])
        assert getattr(splits, name).labels.tolist() == cells.labels[positions].tolist()
    assert splits.mean[0] == pytest.approx(float(splits.train.images.double().mean()) / 255)


def test_the_seed_decides_how_modules_are_dealt(cells):
    dealt = [elpv.folds_of(cells, 3, seed).tolist() for seed in (0, 0, 1)]
    assert dealt[0] == dealt[1] != dealt[2]


def test_a_missing_package_is_named_with_the_remedy(monkeypatch):
    monkeypatch.setattr(elpv, "PACKAGE", "elpv_dataset_that_is_not_there")
    with pytest.raises(DataError, match=r"is not installed: run 'pip install -r requirements-industrial\.txt'"):
        load_splits("elpv")


def test_another_number_of_cells_is_refused(package):
    with pytest.raises(DataError, match="holds 87 cells, 2624 are expected"):
        elpv.load()


def test_a_damaged_package_is_refused_by_file(package):
    (package / "data" / "images" / "cell0003.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"cell0003\.png.*pip install"):
        elpv.read_cells(SIZES)


@pytest.fixture(scope="module")
def real_cells():
    return elpv.read_cells()
