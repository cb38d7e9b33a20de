import errno
import hashlib
import shutil

import pytest
from loopback import altered, answer, breaks_off_after, honest, not_found, serving

from btsee_lib.data import download
from btsee_lib.data.download import fetch
from btsee_lib.data.splits import DataError

CONTENT = bytes(range(256)) * 4000
MD5 = hashlib.md5(CONTENT).hexdigest()


def breaks_off_once(request, start):
    """Break off the first time, and answer every request for a range with the whole file."""
    answer(request, 200, CONTENT if start else CONTENT[:300_000], length=len(CONTENT))


def never_gets_far(request, start):
    answer(request, 200, CONTENT[:300_000], length=len(CONTENT))


def wrong_range(request, start):
    """Answer a request for a range with another part of the same length."""
    if start:
        other = f"bytes 7-{len(CONTENT) - start + 6}/{len(CONTENT)}"
        answer(request, 206, CONTENT[7 : len(CONTENT) - start + 7], other)
    else:
        honest(request, 0)


def lies_about_the_range(request, start):
    """Tell the right range and send other bytes."""
    tell = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
    answer(request, 206, b"?" * (len(CONTENT) - start), tell) if start else honest(request, 0)


def too_long(request, start):
    request.send_response(200)
    request.end_headers()
    request.wfile.write(CONTENT + b"more")


def a_page(request, start):
    answer(request, 200, b"<html>The repository has moved</html>")


@pytest.fixture
def serve(monkeypatch):
    with serving(CONTENT, monkeypatch) as start:
        yield start


@pytest.fixture
def target(tmp_path):
    return tmp_path / "data" / "archive.tar.gz"


def partial_of(target, content=None):
    path = target.with_name(f"{target.name}.partial")
    if content is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return path


def fetched(target, *servers):
    mirror = fetch([server.address for server in servers], target, len(CONTENT), MD5)
    assert target.read_bytes() == CONTENT
    assert not partial_of(target).exists()
    return mirror


def refused(target, *servers, **changes):
    wanted = {"size": len(CONTENT), "md5": MD5} | changes
    with pytest.raises(DataError) as caught:
        fetch([server.address for server in servers], target, **wanted)
    assert "\n" not in str(caught.value)
    assert not target.exists()
    return str(caught.value)


def test_the_first_mirror_that_serves_is_taken_and_named(target, serve):
    gone, good, other = serve(not_found), serve(honest), serve(honest)
    assert fetched(target, gone, good, other) == good.address
    assert other.asked == []


def test_a_broken_connection_is_resumed_where_it_broke(target, serve):
    server = serve(breaks_off_after(400_000))
    fetched(target, server)
    assert server.asked == ["", "bytes=400000-", "bytes=800000-"]


def test_what_an_earlier_run_fetched_is_not_fetched_again(target, serve):
    partial_of(target, CONTENT[:999_999])
    server = serve(honest)
    fetched(target, server)
    assert server.asked == ["bytes=999999-"]


def test_a_complete_but_not_yet_renamed_file_needs_no_server(target, serve):
    partial_of(target, CONTENT)
    server = serve(not_found)
    fetched(target, server)
    assert server.asked == []


@pytest.mark.parametrize("manners", [breaks_off_once, wrong_range, lies_about_the_range])
def test_a_server_that_does_not_resume_honestly_serves_all_again(target, serve, manners):
    partial_of(target, CONTENT[:500_000])
    fetched(target, serve(manners))


@pytest.mark.parametrize("rest", [b"x" * 5000, b"x" * (len(CONTENT) - 1), b"x" * (len(CONTENT) + 9)])
def test_a_partial_file_of_other_content_does_not_spoil_the_download(target, serve, rest):
    partial_of(target, rest)
    fetched(target, serve(honest))


@pytest.mark.parametrize(
    ("manners", "reason"),
    [
        (altered, "serves other bytes: the md5 is wrong"),
        (too_long, "serves more than"),
        (a_page, "serves a file of 37 bytes, not 1,024,000"),
        (not_found, "404 Not Found"),
        (never_gets_far, "the connection broke"),
    ],
)
def test_a_bad_mirror_is_given_up_with_its_reason_and_the_next_one_tried(target, serve, manners, reason):
    bad = serve(manners)
    message = refused(target, bad)
    assert f"{bad.address} ({reason}" in message
    assert "run again" in message
    good = serve(honest)
    assert fetched(target, bad, good) == good.address


def test_without_a_network_each_mirror_is_named_with_what_to_do(target, serve):
    server = serve(honest)
    server.close()
    message = refused(target, server)
    assert f"{server.address} (no connection)" in message
    assert "Connect to a network" in message
    assert str(target.parent) in message


def test_an_empty_list_of_mirrors_is_named(target):
    assert "data.mirrors is empty" in refused(target)


def test_a_file_that_is_there_is_verified_and_not_downloaded(target, serve):
    partial_of(target, CONTENT).rename(target)
    server = serve(honest)
    assert fetch([server.address], target, len(CONTENT), MD5) == "a file in the data folder"
    for damaged, reason in ((CONTENT[:-1], "1,023,999 bytes, not"), (b"?" + CONTENT[1:], "is damaged")):
        target.write_bytes(damaged)
        with pytest.raises(DataError, match=rf"{target}.*{reason}.*delete it and run again"):
            fetch([server.address], target, len(CONTENT), MD5)
    assert server.asked == []


def test_a_small_disk_is_found_before_anything_is_asked_for(target, serve, monkeypatch):
    server = serve(honest)
    partial_of(target, CONTENT[:24_000])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1_100_000))
    with pytest.raises(DataError, match=r"has 1 MB of disk space left, 2 MB are needed") as caught:
        fetch([server.address], target, len(CONTENT), MD5, more_space=500_000)
    assert str(target.parent) in str(caught.value)
    assert server.asked == []
    fetch([server.address], target, len(CONTENT), MD5, more_space=100_000)


class Usage:
    def __init__(self, free):
        self.free = free


def test_a_full_disk_is_named_and_what_was_fetched_is_kept_for_the_next_run(target, serve, monkeypatch):
    server = serve(honest)

    def full(response, partial, start, size):
        partial.write_bytes(CONTENT[:100])
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(download, "_write", full)
        message = refused(target, server)
    assert "the disk is full" in message
    assert str(partial_of(target)) in message
    fetched(target, server)
    assert server.asked == ["", "bytes=100-"]


def test_an_interrupted_download_leaves_no_final_name(target, serve, monkeypatch):
    server = serve(honest)

    def interrupted(response, partial, start, size):
        partial.write_bytes(CONTENT[:100])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(download, "_write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fetch([server.address], target, len(CONTENT), MD5)
    assert not target.exists()
    fetched(target, server)
