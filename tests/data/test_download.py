import contextlib
import errno
import hashlib
import shutil
import time
from pathlib import Path

import pytest
from loopback import altered, breaks_off, honest, not_found, redirects_to_nonsense, serving

from btsee_lib.data import download
from btsee_lib.data.download import fetch, reason_of
from btsee_lib.errors import DataError

CONTENT = bytes(range(256)) * 4000
MD5 = hashlib.md5(CONTENT).hexdigest()


def too_long(request, content):
    request.send_response(200)
    request.end_headers()
    request.wfile.write(content + b"more")


def a_page(request, content):
    honest(request, b"<html>The repository has moved</html>")


def claims_compression(request, content):
    honest(request, content, Content_Encoding="gzip")


def nonsensical_length(request, content):
    honest(request, content, "many")


def never_satisfied(request, content):
    request.send_error(416)


def lies_about_ranges(request, content):
    request.send_response(206)
    request.send_header("Content-Range", f"bytes 5-{len(content)}/{len(content)}")
    request.send_header("Content-Length", str(len(content) - 5))
    request.end_headers()
    request.wfile.write(content[5:])


def no_http(request, content):
    request.wfile.write(b"nonsense\r\n\r\n")


@pytest.fixture
def serve(monkeypatch):
    with serving(CONTENT, monkeypatch) as start:
        yield start


@pytest.fixture
def target(tmp_path):
    return tmp_path / "data" / "archive.tar.gz"


def fetched(target, *servers):
    fetch([server.address for server in servers], target, len(CONTENT), MD5)
    assert target.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == [target]


def refused(target, *servers):
    with pytest.raises(DataError) as caught:
        fetch([server.address for server in servers], target, len(CONTENT), MD5)
    assert "\n" not in str(caught.value)
    assert list(target.parent.iterdir()) == []
    return str(caught.value)


def test_the_first_mirror_that_serves_is_taken(target, serve):
    gone, good, other = serve(not_found), serve(honest), serve(honest)
    fetched(target, gone, good, other)
    assert [server.asked for server in (gone, good, other)] == [1, 1, 0]
    assert target.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("manner", "reason"),
    [
        (altered, "MD5 hash of downloaded file (archive.tar.gz) does not match the known hash"),
        (too_long, "MD5 hash"),
        (a_page, "MD5 hash"),
        (breaks_off, "512000"),
        (redirects_to_nonsense, "Invalid IPv6 URL"),
        (never_satisfied, "416 Client Error"),
        (lies_about_ranges, "MD5 hash"),
        (not_found, "404 Client Error: Not Found"),
        (no_http, "nonsense"),
    ],
)
def test_a_mirror_that_misbehaves_is_named_with_its_reason_and_the_next_serves(target, serve, manner, reason):
    bad = serve(manner)
    message = refused(target, bad)
    assert message.startswith(f"archive.tar.gz could not be downloaded: {bad.address} (")
    assert reason in message
    fetched(target, bad, serve(honest))


@pytest.mark.parametrize("manner", [claims_compression, nonsensical_length])
def test_bytes_are_taken_as_they_are_sent_whatever_the_header_claims(target, serve, manner):
    fetched(target, serve(manner))


def drips(request, content):
    """Promise all and send a byte now and then, for ever."""
    with contextlib.suppress(OSError):
        honest(request, b"", len(content))
        for number in range(len(content)):
            request.wfile.write(content[number : number + 1])
            time.sleep(0.05)


def test_a_mirror_that_sends_hardly_anything_is_given_up_and_the_next_serves(target, serve, monkeypatch):
    monkeypatch.setattr(download, "PACE_SECONDS", 0.3)
    assert "it sends no more than" in refused(target, serve(drips))
    fetched(target, serve(drips), serve(honest))


def drips_headers(request, content):
    """Send the headers a byte now and then, for ever."""
    with contextlib.suppress(OSError):
        request.send_response(200)
        request.flush_headers()
        while True:
            request.wfile.write(b"x")
            time.sleep(0.05)


def test_a_mirror_whose_headers_never_end_is_given_up_and_the_next_serves(target, serve, monkeypatch):
    monkeypatch.setattr(download, "PACE_SECONDS", 0.3)
    start = time.monotonic()
    assert "it has not answered in 0.3 seconds" in refused(target, serve(drips_headers))
    fetched(target, serve(drips_headers), serve(honest))
    assert time.monotonic() - start < 5


def test_without_a_network_each_mirror_is_named_with_what_to_do(target, serve):
    servers = serve(honest), serve(honest)
    for server in servers:
        server.close()
    message = refused(target, *servers)
    for server in servers:
        assert f"{server.address} ([Errno 111] Connection refused)" in message
    for remedy in ("Connect to a network and run again", f"put the file into {target.parent}", "data.path"):
        assert remedy in message


def test_an_empty_list_of_mirrors_is_named(target):
    assert "data.mirrors is empty" in refused(target)


def test_a_file_that_is_there_is_verified_and_not_downloaded(target, serve):
    target.parent.mkdir()
    target.write_bytes(CONTENT)
    server = serve(honest)
    fetched(target, server)
    assert hashlib.md5(target.read_bytes()).hexdigest() == MD5
    for damaged in (CONTENT[:-1], b"?" + CONTENT[1:]):
        target.write_bytes(damaged)
        with pytest.raises(DataError, match=rf"{target} is damaged .*delete it and run again"):
            fetch([server.address], target, len(CONTENT), MD5)
    assert server.asked == 0


def test_a_folder_in_the_place_of_the_file_is_named_before_anything_is_asked_for(target, serve):
    target.mkdir(parents=True)
    server = serve(honest)
    with pytest.raises(DataError, match=rf"{target} is no file, and one is to be written there: move it away"):
        fetch([server.address], target, len(CONTENT), MD5)
    assert server.asked == 0


def test_a_small_disk_is_found_before_anything_is_asked_for(target, serve, monkeypatch):
    server = serve(honest)
    usage = shutil.disk_usage(target.parent.parent)._replace(free=1_100_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DataError, match=r"has 1 MB of disk space left, 2 MB are needed") as caught:
        fetch([server.address], target, len(CONTENT), MD5, more_space=500_000)
    assert str(target.parent) in str(caught.value)
    assert server.asked == 0
    fetch([server.address], target, len(CONTENT), MD5, more_space=70_000)


def interrupt(monkeypatch, problem):
    """Let a download stop after some bytes."""

    def stopped(bar, mirror, path, _):
        Path(path).write_bytes(CONTENT[:100])
        raise problem

    monkeypatch.setattr(download, "_stream", stopped)


def test_a_full_disk_is_named_with_its_remedy(target, serve, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt(patch, OSError(errno.ENOSPC, "no space left on device"))
        message = refused(target, serve(honest))
    assert f"{target} could not be written, the disk is full: free some space" in message


def test_an_interrupted_or_killed_download_leaves_no_final_name(target, serve, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt(patch, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            fetch([serve(honest).address], target, len(CONTENT), MD5)
    assert list(target.parent.iterdir()) == []
    left_by_a_killed_run = target.with_name(f".{target.name}.partial")
    left_by_a_killed_run.mkdir()
    (left_by_a_killed_run / "tmp123").write_bytes(CONTENT[:100])
    fetched(target, serve(honest))


def test_the_reason_is_the_first_sentence_of_what_is_at_the_bottom():
    try:
        try:
            raise OSError("network is unreachable. Try again.\nmore than one line")
        except OSError as bottom:
            raise RuntimeError("many words around it") from bottom
    except RuntimeError as problem:
        assert reason_of(problem) == "network is unreachable"
    assert reason_of(OSError()) == "OSError"
