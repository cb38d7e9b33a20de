import pytest
import yaml
from small_cinic10 import files, write_archive, write_folder

from btsee_lib.data import load_splits
from btsee_lib.errors import DataError
from btsee_lib.pipeline.inputs import note_input


@pytest.fixture
def identity(workspace, repository):
    """Tell what data a name and a path, which counts from the repository's root, are."""

    def told(name="folder", path="pictures"):
        parameters = yaml.safe_load((repository / "params.yaml").read_text())
        parameters["data"] |= {"name": name, "path": path}
        (workspace / "params.yaml").write_text(yaml.safe_dump(parameters))
        note_input()
        (line,) = (workspace / "artifacts" / "input.txt").read_text().splitlines()
        assert line.startswith(name)
        return line

    return told


def test_another_identity_is_told_once_a_picture_is_deleted_added_altered_or_put_into_another_class(
    identity, workspace
):
    folder = write_folder(workspace / "pictures", files(images_a_class=1))
    picture = folder / "train/cat" / next(path.name for path in (folder / "train/cat").iterdir())
    content, known = picture.read_bytes(), [identity()]
    picture.rename(folder / "train/dog" / picture.name)
    known.append(identity())
    (folder / "train/dog" / picture.name).unlink()
    known.append(identity())
    (folder / "train/dog/new.png").write_bytes(content)
    known.append(identity())
    (folder / "train/dog/new.png").write_bytes(content + b"!")
    known.append(identity())
    assert len(set(known)) == len(known)


def test_reading_pictures_leaves_their_identity_as_it_is(identity, workspace):
    folder = write_folder(workspace / "pictures", files(images_a_class=1))
    before = identity()
    load_splits("folder", workspace / "data", path=folder)
    assert identity() == before
    assert identity(path=str(folder)) == before


def test_an_archive_is_identified_by_its_content_alone(identity, workspace):
    archive = write_archive(workspace / "first.tar.gz", pictures={"cat/1.png": b"1"})
    before = identity(path="first.tar.gz")
    archive.rename(workspace / "second.tar.gz")
    assert identity(path="second.tar.gz") == before
    (workspace / "second.tar.gz").write_bytes(b"other")
    assert identity(path="second.tar.gz") != before


def test_what_is_published_is_identified_by_its_name(identity):
    assert identity("fashion-mnist", None) == "fashion-mnist"


def test_a_path_where_nothing_is_has_no_identity(identity, workspace):
    with pytest.raises(DataError, match=rf"{workspace / 'pictures'} does not exist: correct data\.path"):
        identity()
