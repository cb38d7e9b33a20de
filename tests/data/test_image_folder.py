import io
import shutil
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from small_cinic10 import SPLITS, files, write_archive, write_folder

from btsee_lib.data import image_files, load_splits, preparation
from btsee_lib.errors import DataError

CLASSES = ("cat", "dog", "ship")
EACH = 6  # images of a class in a split


@pytest.fixture(scope="module")
def split():
    """Pictures in train, valid and test, with a folder a class in each."""
    return {path: content for path, content in files(EACH).items() if path.split("/")[1] in CLASSES}


@pytest.fixture(scope="module")
def unsplit(split):
    """The same pictures in a folder a class."""
    return {path.partition("/")[2]: content for path, content in split.items()}


@pytest.fixture
def load(tmp_path):
    def loaded(path, **options):
        return load_splits("folder", tmp_path / "data", path=path, **options)

    return loaded


@pytest.fixture
def refused(load, tmp_path):
    """Load what cannot be loaded, and return the message."""

    def message_of(path, **options):
        with pytest.raises(DataError) as caught:
            load(path, **options)
        assert "\n" not in str(caught.value)
        assert not list((tmp_path / "data").glob("folder/arrays*"))
        return str(caught.value)

    return message_of


def pixels(content, size=None):
    image = Image.open(io.BytesIO(content))
    image = image if size is None else image.resize((size, size), Image.Resampling.BILINEAR)
    return np.atleast_3d(image).transpose(2, 0, 1)


def paths_of(splits, name):
    """Path below the folder of the split for each image, as label and name tell it."""
    each = getattr(splits, name)
    labels = [splits.classes[label] for label in each.labels.tolist()]
    return [f"{label}/{file.decode()}" for label, file in zip(labels, each.names, strict=True)]


def resized(content, width, height):
    written = io.BytesIO()
    Image.open(io.BytesIO(content)).resize((width, height)).save(written, "PNG")
    return written.getvalue()


@pytest.fixture(scope="module")
def mixed(split):
    """Every third picture is larger than the first."""
    return {
        path: resized(content, 48, 40) if number % 3 == 2 else content
        for number, (path, content) in enumerate(split.items())
    }


def test_pictures_in_train_valid_and_test_stay_there_with_their_labels(load, split, tmp_path):
    splits = load(write_folder(tmp_path / "mine", split))
    assert splits.classes == CLASSES
    for name in SPLITS:
        each, paths = getattr(splits, name), paths_of(splits, name)
        assert each.images.dtype == torch.uint8
        assert sorted(f"{name}/{path}" for path in paths) == sorted(p for p in split if p.startswith(name))
        assert np.array_equal(each.images.numpy(), [pixels(split[f"{name}/{path}"]) for path in paths])
    assert splits.source.startswith("mine (listing ")
    assert "54 images read" in splits.source


@pytest.mark.parametrize("layout", ["split", "unsplit"])
def test_an_archive_and_its_folder_give_the_same_arrays(load, request, tmp_path, layout):
    pictures = request.getfixturevalue(layout)
    of_folder = load(write_folder(tmp_path / "mine", pictures))
    of_archive = load(write_archive(tmp_path / "mine.tar.gz", pictures=pictures))
    assert of_archive.digest == of_folder.digest
    assert of_archive.source.startswith("mine.tar.gz (md5 ")
    assert of_archive.train.names.tolist() == of_folder.train.names.tolist()


def test_pictures_of_several_sizes_are_brought_to_the_size_asked_for(load, mixed, tmp_path):
    splits = load(write_folder(tmp_path / "mine", mixed), image_size=24)
    for name in SPLITS:
        expected = [pixels(mixed[f"{name}/{path}"], 24) for path in paths_of(splits, name)]
        assert np.array_equal(getattr(splits, name).images.numpy(), expected)


def test_pictures_of_several_sizes_are_refused_without_a_size(refused, load, mixed, tmp_path):
    path = write_folder(tmp_path / "mine", mixed)
    message = refused(path)
    named = next(each for each in sorted(mixed) if Image.open(io.BytesIO(mixed[each])).width == 48)
    assert f"{path}: {named} is 48 x 40 pixels, others are 32 x 32: set data.image_size" in message
    assert load(path, image_size=32).train.images.shape == (18, 3, 32, 32)


def test_pictures_have_one_channel_if_all_are_grey(load, split, tmp_path):
    grey = {path: content for path, content in files(EACH, mode="L").items() if path in split}
    splits = load(write_folder(tmp_path / "grey", grey))
    expected = [pixels(grey[f"train/{path}"]) for path in paths_of(splits, "train")]
    assert splits.train.images.shape == (18, 1, 32, 32)
    assert np.array_equal(splits.train.images.numpy(), expected)
    one_coloured = grey | dict(list(split.items())[:1])
    splits = load(write_folder(tmp_path / "coloured", one_coloured))
    assert splits.train.images.shape == (18, 3, 32, 32)
    assert "53 converted from grey-scale" in splits.source


def test_another_picture_in_the_folder_makes_the_arrays_anew_and_nothing_else_does(load, split, tmp_path):
    path = write_folder(tmp_path / "mine", split)
    load(path)
    (arrays,) = (tmp_path / "data" / "folder").iterdir()
    made = arrays.stat().st_mtime_ns
    load(path)
    assert arrays.stat().st_mtime_ns == made
    write_folder(path, {"train/cat/more.png": next(iter(split.values()))})
    assert b"more.png" in load(path).train.names
    assert list((tmp_path / "data" / "folder").iterdir()) == [arrays]


def test_two_experiments_on_other_pictures_or_sizes_do_not_disturb_each_other(load, split, tmp_path):
    few = {path: content for path, content in split.items() if "/cat/" in path or "/dog/" in path}
    mine, yours = write_folder(tmp_path / "a" / "mine", split), write_folder(tmp_path / "b" / "mine", few)
    asked = [(mine, {}), (yours, {}), (mine, {"seed": 1}), (mine, {"image_size": 16})]
    first = [load(path, **options) for path, options in asked]
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "data" / "folder").iterdir()}
    assert len(made) == 4
    assert [load(path, **options).digest for path, options in asked] == [each.digest for each in first]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "data" / "folder").iterdir()} == made


def test_no_path_is_refused_with_the_remedy(refused):
    message = refused(None)
    assert message.startswith("data.path is not set")
    assert "params.yaml" in message


def test_a_path_where_nothing_is_is_refused(refused, tmp_path):
    assert f"{tmp_path / 'nowhere'} does not exist: correct data.path" in refused(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("fashion-mnist", "image_size", 32),
        ("cifar-100", "image_size", 32),
        ("fashion-mnist", "path", Path("x")),
    ],
)
def test_what_has_no_meaning_for_a_data_set_is_refused(tmp_path, name, option, value):
    message = f"data.{option} has no meaning for the data set '{name}': set it to null"
    with pytest.raises(DataError, match=message):
        load_splits(name, tmp_path / "data", **{option: value})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["val", "validation", "Validation"])
def test_a_folder_for_validation_is_valid_whatever_it_is_called(load, split, tmp_path, name):
    renamed = {path.replace("valid/", f"{name}/"): content for path, content in split.items()}
    expected = load(write_folder(tmp_path / "mine", split)).digest
    assert load(write_folder(tmp_path / "other", renamed)).digest == expected


def test_two_folders_for_one_split_are_refused_since_one_may_be_a_copy(refused, split, tmp_path):
    more = split | {f"old/{path}": content for path, content in split.items() if path.startswith("valid/cat")}
    message = refused(write_folder(tmp_path / "mine", more))
    assert "pictures of valid stand in class folders in 'old/valid' and in 'valid': put all" in message


def test_links_within_and_a_zip_give_the_arrays_of_plain_files(load, split, unsplit, tmp_path):
    expected = load(write_folder(tmp_path / "plain", split)).digest
    linked = write_folder(tmp_path / "linked", {path: c for path, c in split.items() if "/dog/" not in path})
    write_folder(linked / ".pool", {path: c for path, c in split.items() if "/dog/" in path})
    for name in SPLITS:
        (linked / name / "dog").symlink_to(f"../.pool/{name}/dog")
    assert load(linked).digest == expected
    assert load(Path(shutil.make_archive(tmp_path / "packed", "zip", tmp_path / "plain"))).digest == expected
    with tarfile.open(tmp_path / "packed.tar", "w") as archive:
        archive.add(linked, "mine")
    assert load(tmp_path / "packed.tar").digest == expected


def test_a_name_twice_in_an_archive_counts_once_and_the_later_one_stays(load, split, tmp_path):
    first, other = list(split)[:2]
    with tarfile.open(tmp_path / "twice.tar", "w") as archive:
        for path, content in [(first, split[other]), *split.items()]:
            member = tarfile.TarInfo(path)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    splits = load(tmp_path / "twice.tar")
    assert splits.digest == load(write_folder(tmp_path / "mine", split)).digest
    assert "1 other files passed over" in splits.source


@pytest.mark.parametrize(
    ("suffix", "reason"),
    [
        (".png", "damaged, or not what its name says"),
        (".jfif", "damaged, or not what its name says"),
        (".heic", "of a kind that is not read"),
        (".jpg_large", "of a kind that is not read"),
        ("", "of a kind that is not read"),
    ],
)
@pytest.mark.parametrize("layout", ["split", "unsplit"])
def test_a_class_of_which_nothing_can_be_read_stops_the_reading(
    refused, request, tmp_path, suffix, reason, layout
):
    pictures = request.getfixturevalue(layout)
    spoilt = {
        f"{path.removesuffix('.png')}{suffix}" if "ship" in path else path: b"?" if "ship" in path else content
        for path, content in pictures.items()
    }
    message = refused(write_folder(tmp_path / "mine", spoilt))
    number = EACH if layout == "split" else 3 * EACH
    assert f"the class 'ship' has no picture that can be read, {number} left out ({reason})" in message


@pytest.mark.parametrize("place", ["split", "unsplit"])
def test_an_empty_folder_of_a_class_stops_the_reading(refused, request, tmp_path, place):
    folder = write_folder(tmp_path / "mine", request.getfixturevalue(place))
    (folder / ("train/owl" if place == "split" else "owl")).mkdir()
    assert "the class 'owl' has no picture that can be read, 1 left out (an empty folder)" in refused(folder)


@pytest.mark.parametrize("start", [".", "._"])
@pytest.mark.parametrize("layout", ["split", "unsplit"])
def test_a_class_of_dotted_names_stops_the_reading(refused, request, tmp_path, start, layout):
    pictures = request.getfixturevalue(layout)
    dotted = {
        (f"{path.rpartition('/')[0]}/{start}{path.rpartition('/')[2]}" if "ship" in path else path): content
        for path, content in pictures.items()
    }
    message = refused(write_folder(tmp_path / "mine", dotted))
    assert "the class 'ship' has no picture that can be read" in message
    assert "(hidden by the dot before its name)" in message


def test_other_endings_of_jpeg_and_png_are_read(load, split, tmp_path):
    expected = load(write_folder(tmp_path / "mine", split)).train.images
    renamed = {path.replace(".png", ".apng"): content for path, content in split.items()}
    assert torch.equal(load(write_folder(tmp_path / "other", renamed)).train.images, expected)


def test_large_pictures_are_decoded_one_at_a_time_and_small_ones_beside_them(monkeypatch, tmp_path, split):
    monkeypatch.setattr(preparation, "LARGE", 32 * 32)
    content = next(iter(split.values()))
    large, small = (
        image_files.Picture("", "cat", "1.png", each) for each in (resized(content, 33, 32), content)
    )
    with ThreadPoolExecutor() as pool, preparation.ONE_LARGE:
        waiting = pool.submit(image_files.decode, tmp_path, None, large)
        assert pool.submit(image_files.decode, tmp_path, None, small).result(timeout=5)[0].shape == (3, 32, 32)
        assert not waiting.done()
    assert waiting.result()[0].shape == (3, 32, 33)


def test_a_picture_that_memory_does_not_hold_is_not_left_out_as_damaged(refused, split, tmp_path, monkeypatch):
    def too_large(*_):
        raise MemoryError

    monkeypatch.setattr(image_files, "prepare", too_large)
    assert "does not fit into memory: store it smaller" in refused(write_folder(tmp_path / "mine", split))


def test_a_thousand_other_files_before_the_first_picture_are_no_class(load, unsplit, tmp_path):
    others = {f"annotations/{number}.xml": b"<xml>" for number in range(1000)}
    expected = load(write_folder(tmp_path / "mine", unsplit)).digest
    for source in (write_folder(tmp_path / "more", unsplit | others), tmp_path / "more.tar.gz"):
        if not source.exists():
            write_archive(source, pictures=others | unsplit)
        splits = load(source)
        assert splits.digest == expected
        assert "1,000 other files passed over" in splits.source


def test_pictures_of_one_size_that_are_no_squares_are_refused_when_they_are_read(
    refused, load, split, tmp_path
):
    wide = {path: resized(content, 48, 40) for path, content in split.items()}
    path = write_folder(tmp_path / "mine", wide)
    message = refused(path)
    assert f"{path}: {min(wide)} is 48 x 40 pixels, and squares are needed: set data.image_size" in message
    assert load(path, image_size=32).train.images.shape == (18, 3, 32, 32)


def test_a_picture_whose_range_nobody_knows_is_refused_by_name(refused, split, tmp_path):
    content = io.BytesIO()
    Image.fromarray(np.full((32, 32), np.nan, np.float32)).save(content, "TIFF")
    message = refused(write_folder(tmp_path / "mine", split | {"train/cat/depth.tif": content.getvalue()}))
    assert "train/cat/depth.tif has pixels of 32 bits" in message


@pytest.mark.parametrize("names", [("None", "NA", "nan"), ("001", "01", "1")])
def test_names_of_classes_stay_text(load, split, tmp_path, names):
    new = dict(zip(CLASSES, names, strict=True))
    renamed = {
        "/".join((s, new[label], name)): c for (s, label, name), c in ((p.split("/"), split[p]) for p in split)
    }
    assert load(write_folder(tmp_path / "mine", renamed)).classes == tuple(sorted(names))


def test_what_was_read_and_left_out_is_told_by_split_and_class(load, split, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(image_files, "MOST_BYTES", 20_000)
    names = [path for path in split if path.startswith("test/cat")]
    others = {
        names[0]: b"?",
        "test/cat/notes.txt": b"?",
        "train/dog/large.png": bytes(20_001),
        "elsewhere/1.png": split[names[1]],
        "test/ship/.8.png": b"?",
        "train/.owl/1.png": split[names[1]],
        "lost+found/1.png": split[names[1]],
        "lost+found/.2.png": b"?",
        "loose.png": split[names[1]],
    }
    load(write_folder(tmp_path / "mine", split | others))
    (path,) = (tmp_path / "data" / "folder").glob("arrays-*/reading.csv")
    table = pd.read_csv(path, keep_default_na=False)
    assert table[["found", "read", "left_out"]].sum().tolist() == [61, 53, 8]
    rows = table.set_index(["split", "class"])
    assert rows.loc[("test", "cat")].tolist() == [
        7,
        5,
        2,
        "1 damaged, or not what its name says, 1 no picture by its name",
    ]
    assert rows.loc[("train", "dog")].tolist() == [7, 6, 1, "1 over 64 MB"]
    assert rows.loc[("", "elsewhere")].tolist() == [1, 0, 1, "1 beside the folders of the splits"]
    assert rows.loc[("test", "ship")].tolist() == [7, 6, 1, "1 hidden by the dot before its name"]
    assert rows.loc[("train", ".owl")].tolist() == [1, 0, 1, "1 in a hidden folder"]
    assert rows.loc[("", "lost+found")].tolist() == [1, 0, 1, "1 in a hidden folder"]
    assert rows.loc[("", "")].tolist() == [1, 0, 1, "1 outside the class folders"]
    assert rows.loc[("valid", "ship")].tolist() == [6, 6, 0, ""]
    assert "1 beside the folders of the splits" in capfd.readouterr().err
