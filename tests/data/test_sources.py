import io
import os
import re
import subprocess
import tarfile
import zipfile

import pytest
from small_cinic10 import write_folder

from btsee_lib.data import sources
from btsee_lib.data.image_files import find_pictures
from btsee_lib.data.image_store import identity_of
from btsee_lib.data.sources import IN_HIDDEN, LEADS_OUT, NO_FILE, contents_of
from btsee_lib.errors import DataError


def found(source):
    return {name: content for name, content, why in contents_of(source, lambda *_: "") if why != IN_HIDDEN}


def refused(source):
    with pytest.raises(DataError) as caught:
        list(contents_of(source, lambda *_: ""))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def as_tar(folder, names=("",)):
    """Pack a folder, links as links: what has several names becomes a hard link of the first."""
    target = folder.with_name(f"{folder.name}.tar")
    with tarfile.open(target, "w") as archive:
        for name in names:
            archive.add(folder / name, name or ".")
    return target


def as_zip(folder):
    target = folder.with_name(f"{folder.name}.zip")
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_symlink():
                member = zipfile.ZipInfo(name)
                member.external_attr = 0o120777 << 16
                archive.writestr(member, str(path.readlink()))
            else:
                archive.write(path, name)
    return target


FORMS = {"folder": lambda folder: folder, "tar": as_tar, "zip": as_zip}


@pytest.fixture(params=FORMS)
def form(request):
    return FORMS[request.param]


@pytest.fixture
def linked(tmp_path):
    """Links of all kinds that stay within."""
    folder = write_folder(tmp_path / "mine", {"test/cat/1.png": b"1", "pool/dogs/2.png": b"2"})
    (folder / "valid").symlink_to("test")
    (folder / "test/dog").symlink_to("../pool/dogs")
    (folder / "test/cat/same.png").hardlink_to(folder / "test/cat/1.png")
    (folder / "test/cat/also.png").symlink_to("1.png")
    (folder / "test/cat/round").symlink_to("..")
    return folder


def test_links_count_as_what_they_lead_to_in_a_folder_and_in_archives(linked, form):
    expected = {"pool/dogs/2.png": b"2"}
    for split in ("test", "valid"):
        expected |= {f"{split}/cat/{name}.png": b"1" for name in ("1", "same", "also")}
        expected[f"{split}/dog/2.png"] = b"2"
    assert found(form(linked)) == expected


def mutual(folder, number):
    """Folders with links to one another: each has as many names as there are ways through the others."""
    for one in range(number):
        for other in {*range(number)} - {one}:
            (folder / f"{one}/to{other}").symlink_to(f"../{other}")


def chain(folder, number):
    for one in range(number - 1):
        for name in ("left", "right"):
            (folder / f"{one}/{name}").symlink_to(f"../{one + 1}")


def ten_classes_of_one(folder, number):
    for other in range(10):
        (folder / f"class{other}").symlink_to("0")


@pytest.mark.parametrize("links", [mutual, chain, ten_classes_of_one])
def test_links_through_which_a_folder_gets_ever_more_names_are_refused(tmp_path, form, links):
    folder = write_folder(tmp_path / "mine", {f"{number}/1.png": b"1" for number in range(12)})
    links(folder, 12)
    assert "links give the folder" in refused(form(folder))
    with pytest.raises(DataError, match="more than 3 names, and its pictures would count as often"):
        identity_of(folder)


def test_hard_links_of_a_tar_are_not_left_out_and_neither_is_what_links_lead_on_to(tmp_path):
    names = {f"cat/{number}.png": b"1" for number in range(6)}
    folder = write_folder(tmp_path / "mine", {"cat/0.png": b"1"})
    for name in list(names)[1:]:
        (folder / name).hardlink_to(folder / "cat/0.png")
    with tarfile.open(as_tar(folder)) as archive:
        assert sum(member.islnk() for member in archive) == 5
    assert found(as_tar(folder)) == names


@pytest.mark.parametrize("name", ["dog", "dog.v2"])
@pytest.mark.parametrize("target", ["../outside", "/etc", "nowhere"])
def test_a_link_that_leads_out_in_the_place_of_a_folder_is_refused_by_name(tmp_path, form, target, name):
    write_folder(tmp_path / "outside", {"1.png": b"secret"})
    folder = write_folder(tmp_path / "mine", {"train/cat/1.png": b"1"})
    (folder / "train" / name).symlink_to(f"../{target}" if target == "../outside" else target)
    with pytest.raises(DataError, match=f"train/{name}/? is a link that leads out of it or nowhere"):
        list(find_pictures(form(folder)))


def test_an_encrypted_zip_is_to_be_unpacked_and_not_fetched_again(tmp_path):
    packed = bytearray(as_zip(write_folder(tmp_path / "mine", {"cat/1.png": b"1"})).read_bytes())
    for start, flags in ((rb"PK\x03\x04", 6), (rb"PK\x01\x02", 8)):  # of files, and in the table of contents
        for header in re.finditer(start, bytes(packed)):
            packed[header.start() + flags] |= 1  # encrypted
    (tmp_path / "secret.zip").write_bytes(packed)
    message = refused(tmp_path / "secret.zip")
    assert "encrypted" in message
    assert "unpack it" in message
    assert "fetch it again" not in message


@pytest.mark.parametrize("read", [refused, lambda folder: identity_of(folder)])
def test_folders_nested_too_deeply_end_in_a_sentence(tmp_path, monkeypatch, read):
    folder = write_folder(tmp_path / "mine", {"cat/1.png": b"1"})

    def too_deep(_):
        raise RecursionError("maximum recursion depth exceeded")

    monkeypatch.setattr(sources.os, "scandir", too_deep)
    if read is refused:
        assert "nested so deeply" in refused(folder)
    else:
        with pytest.raises(DataError, match="mine cannot be read"):
            read(folder)


def test_a_picture_that_is_a_link_out_is_told_and_never_read(tmp_path, form):
    write_folder(tmp_path, {"outside.png": b"secret"})
    folder = write_folder(tmp_path / "mine", {"cat/1.png": b"1"})
    (folder / "cat/2.png").symlink_to("../../outside.png")
    (folder / "cat/endless.png").symlink_to("/dev/zero")
    told = list(contents_of(form(folder), lambda *_: ""))
    assert sorted(told) == [
        ("cat/1.png", b"1", ""),
        ("cat/2.png", None, LEADS_OUT),
        ("cat/endless.png", None, LEADS_OUT),
    ]


@pytest.mark.parametrize("form", [FORMS["folder"], FORMS["tar"]])
def test_only_regular_files_are_opened(tmp_path, form):
    folder = write_folder(tmp_path / "mine", {"cat/1.png": b"1"})
    os.mkfifo(folder / "cat/a.png")
    assert ("cat/a.png", None, NO_FILE) in list(contents_of(form(folder), lambda *_: ""))
    assert identity_of(folder).startswith("listing ")


def test_what_is_not_wanted_is_not_read(tmp_path, form):
    folder = write_folder(tmp_path / "mine", {"cat/1.png": b"1", "cat/2.png": b"22"})
    told = contents_of(form(folder), lambda name, size: f"{size} bytes" if size > 1 else "")
    assert sorted(told) == [("cat/1.png", b"1", ""), ("cat/2.png", None, "2 bytes")]


def test_folders_of_the_system_are_not_looked_into(tmp_path, form):
    system = (".ipynb_checkpoints", "@eaDir", ".Trash", "__MACOSX", "$RECYCLE.BIN")
    content = {f"{place}{name}/1.png": b"x" for name in system for place in ("", "cat/")}
    folder = write_folder(tmp_path / "mine", content | {"cat/1.png": b"1"})
    assert found(form(folder)) == {"cat/1.png": b"1"}
    (folder / ".venv").symlink_to("/usr")
    assert found(folder) == {"cat/1.png": b"1"}


def test_of_a_hidden_folder_what_would_be_read_is_told_and_does_not_change_the_contents(tmp_path, form):
    folder = write_folder(tmp_path / "mine", {"cat/1.png": b"1"})
    before = identity_of(folder)
    names = (".fox/1.png", "cat/@eaDir/2.png", "__pycache__/caf\udce9.png", ".fox/notes.txt")
    write_folder(folder, dict.fromkeys(names if form is not as_zip else (*names[:2], names[3]), b"x"))
    told = list(contents_of(form(folder), lambda name, _: "notes" if "notes" in name else ""))
    assert sorted(told) == [
        (".fox/1.png", None, IN_HIDDEN),
        ("cat/1.png", b"1", ""),
        ("cat/@eaDir/2.png", None, IN_HIDDEN),
    ]
    assert identity_of(folder) == before


def test_a_hidden_folder_that_may_not_be_listed_ends_nothing(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "mine", {"cat/1.png": b"1", "lost+found/1.png": b"1"})
    scandir = os.scandir

    def forbidden(place):
        if str(place).endswith("lost+found"):
            raise PermissionError(13, "Permission denied", place)
        return scandir(place)

    monkeypatch.setattr(os, "scandir", forbidden)
    assert list(contents_of(folder, lambda *_: "")) == [("cat/1.png", b"1", "")]


@pytest.mark.parametrize("form", [FORMS["folder"], FORMS["tar"]])
def test_a_name_that_is_no_text_ends_nothing_where_it_is_not_read(tmp_path, form):
    folder = write_folder(tmp_path / "mine", {"cat/1.png": b"1", "cat/Icon\r": b"", "Icon\r": b""})
    assert [each.content for each in find_pictures(form(folder))].count(b"1") == 1


@pytest.mark.parametrize("name", [b"cat/caf\xe9.png", b"caf\xe9/1.png", b"cat/two\nlines.png"])
@pytest.mark.parametrize("pack", [False, True])
def test_a_name_that_is_no_text_is_refused_with_the_remedy(tmp_path, name, pack):
    folder = write_folder(tmp_path / "mine", {os.fsdecode(name): b"1"})
    message = refused(as_tar(folder) if pack else folder)
    assert message.encode()
    assert "is not UTF-8 or has a line break: rename it" in message
    assert identity_of(folder).startswith("listing ")


@pytest.mark.parametrize("name", [".", "./", "/", "/.png", "//", ""])
def test_members_without_a_name_do_no_harm(tmp_path, name):
    with tarfile.open(tmp_path / "odd.tar", "w") as archive:
        for each in (name, "cat/1.png"):
            member = tarfile.TarInfo(each)
            member.size = 1
            archive.addfile(member, io.BytesIO(b"1"))
    assert found(tmp_path / "odd.tar")["cat/1.png"] == b"1"


def test_a_zip_of_windows_is_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        archive.writestr("cat\\1.png", b"1")
        archive.writestr("cat/2.png", b"2", zipfile.ZIP_LZMA)
    assert found(tmp_path / "mine.zip") == {"cat/1.png": b"1", "cat/2.png": b"2"}


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_a_damaged_zip_is_refused_by_name(tmp_path, keep):
    folder = write_folder(tmp_path / "mine", {"cat/1.png": os.urandom(2000)})
    whole = as_zip(folder).read_bytes()
    (tmp_path / "mine.zip").write_bytes(whole[: max(4, int(keep * len(whole)))])
    assert "mine.zip is truncated or not a tar or zip archive" in refused(tmp_path / "mine.zip")
    (tmp_path / "mine.zip").write_bytes(whole.replace(whole[500:510], bytes(10), 1))
    assert "Bad CRC-32" in refused(tmp_path / "mine.zip")


@pytest.mark.parametrize(("start", "kind"), sources.OTHER_KINDS.items())
def test_other_archives_are_named_and_their_owner_is_not_told_to_delete_them(tmp_path, start, kind):
    (tmp_path / "mine").write_bytes(start + bytes(100))
    message = refused(tmp_path / "mine")
    assert f"mine is a {kind} archive, which is not read: unpack it" in message
    assert "delete" not in message


def test_a_disk_that_cannot_be_read_is_told_in_a_sentence(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "mine", {"cat/1.png": b"1"})

    def forbidden(_):
        raise PermissionError(13, "Permission denied", "cat")

    monkeypatch.setattr(os, "scandir", forbidden)
    assert "mine cannot be read ([Errno 13] Permission denied: 'cat')" in refused(folder)
    with pytest.raises(DataError, match="cannot be read"):
        identity_of(folder)


@pytest.fixture
def plain(tmp_path):
    """A tar without compression and what is in it: files of less than a block, of more, and an empty one."""
    files = {f"cat/{number}.png": bytes([number + 1]) * size for number, size in enumerate((100, 700, 0, 512))}
    return as_tar(write_folder(tmp_path / "mine", files)), files


def headers(path):
    with tarfile.open(path) as archive:
        return [member.offset for member in archive]


def test_a_damaged_byte_of_a_header_is_told_or_changes_nothing(plain):
    path, files = plain
    whole = path.read_bytes()
    for place in range(headers(path)[1], headers(path)[1] + 512):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            assert found(path) == files
        except DataError as problem:
            assert "mine.tar is truncated or not a tar or zip archive" in str(problem)


def test_a_header_of_zeros_is_not_taken_for_the_end(plain):
    path, _ = plain
    whole = path.read_bytes()
    for start in headers(path):
        path.write_bytes(whole[:start] + bytes(512) + whole[start + 512 :])
        assert "it does not end in two blocks of zeros" in refused(path)


@pytest.mark.parametrize("more", [0, 1, 511])
def test_a_tar_that_is_cut_anywhere_is_told(plain, more):
    path, files = plain
    whole = path.read_bytes()
    end = -(-len(whole.rstrip(b"\0")) // 512) * 512  # of the last member
    for length in range(more, len(whole), 512):
        path.write_bytes(whole[:length])
        if length < end + 1024:
            assert "truncated" in refused(path)
        else:
            assert found(path) == files


@pytest.mark.parametrize("form", ["gnu", "ustar", "pax", "v7", "oldgnu"])
@pytest.mark.parametrize("options", [[], ["-z"], ["-J"], ["-b", "1"]])
def test_whole_archives_of_the_systems_tar_are_read(tmp_path, form, options):
    files = {"cat/1.png": b"1" * 513, f"{'long' * 20}/2.png": b""}
    write_folder(tmp_path / "mine", files)
    made = [*options, f"--format={form}", "-cf", tmp_path / "mine.tar", "-C", tmp_path / "mine", "."]
    subprocess.run(["tar", *made], check=True)
    assert found(tmp_path / "mine.tar") == files


@pytest.mark.parametrize("kind", [b"x", b"g", b"X", b"L", b"K"])
def test_a_header_that_would_fill_the_memory_is_refused_before_it_is_read(tmp_path, kind):
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, 700_000_000
    first = tarfile.TarInfo("y").tobuf()
    (tmp_path / "mine.tar").write_bytes(first + header.tobuf(tarfile.GNU_FORMAT))  # and nothing behind it
    assert "a header of 700,000,000 bytes" in refused(tmp_path / "mine.tar")
