import concurrent.futures
import hashlib
import http.server
import threading

import pytest

from textcls.data.download import download
from textcls.runtime.errors import InputError

CONTENT = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT, with ranges unless told otherwise; can break off after some bytes."""

    ranges, break_after, length, begin, requests = True, None, None, 0, []

    def do_GET(self):
        wanted = self.headers.get("Range")
        type(self).requests.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.ranges else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", self.length or str(len(CONTENT) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start + self.begin}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.end_headers()
        self.wfile.write(CONTENT[start:][: self.break_after])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    Server.ranges, Server.break_after, Server.length, Server.begin, Server.requests = True, None, None, 0, []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/x"
    server.shutdown()
    server.server_close()


def get(url, target, sha256=SHA256, most=1 << 20):
    return download(url, target, most, sha256, "the corpus", "--data-dir", quiet=True)


def test_whole(server, tmp_path):
    assert get(server, tmp_path / "deep" / "x").read_bytes() == CONTENT
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["x"]


@pytest.mark.parametrize("ranges", [True, False])
def test_goes_on_after_a_broken_transfer(server, tmp_path, ranges):
    Server.break_after, Server.ranges = 100_000, ranges
    with pytest.raises(InputError, match="stopped at 100000 of 512000 bytes"):
        get(server, tmp_path / "x")
    assert not (tmp_path / "x").exists()
    Server.break_after = None
    assert get(server, tmp_path / "x").read_bytes() == CONTENT
    assert Server.requests == [None, "bytes=100000-"]


def test_a_whole_part_that_was_not_renamed(server, tmp_path):
    (tmp_path / "x.part").write_bytes(CONTENT)
    assert get(server, tmp_path / "x").read_bytes() == CONTENT


def test_wrong_content_is_refused_and_deleted(server, tmp_path):
    with pytest.raises(InputError, match=f"sha256 is {SHA256}, expected 0000"):
        get(server, tmp_path / "x", "0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_offline_says_where_to_put_the_file(tmp_path):
    with pytest.raises(InputError) as error:
        get("http://127.0.0.1:9/x", tmp_path / "20news.tar.gz")
    for part in (
        "the corpus could not be fetched from http://127.0.0.1:9/x",
        f"put 20news.tar.gz into {tmp_path}",
        "--data-dir",
    ):
        assert part in str(error.value)


@pytest.mark.parametrize("length", [None, str(2**60), "x", "-1"])
def test_no_more_is_read_than_there_may_be(server, tmp_path, length):
    """What is said to be too large is not begun with; what says nothing of its size is cut off."""
    Server.length = length
    with pytest.raises(InputError, match="bytes or more, expected at most 100,000"):
        get(server, tmp_path / "x", most=100_000)
    assert (tmp_path / "x.part").stat().st_size == 0


def test_a_server_that_goes_on_elsewhere_is_begun_with_anew(server, tmp_path):
    (tmp_path / "x.part").write_bytes(CONTENT[:1000])
    Server.begin = 7
    with pytest.raises(InputError, match="sha256 is"):  # it sends what comes after byte 1000 all the same
        get(server, tmp_path / "x")
    Server.begin = 0
    assert get(server, tmp_path / "x").read_bytes() == CONTENT


def test_two_at_once_share_no_file(server, tmp_path):
    """The second waits for the first, and finds what it has made."""
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for path in pool.map(get, [server] * 4, [tmp_path / "x"] * 4):
            assert path.read_bytes() == CONTENT
    assert Server.requests == [None] and [path.name for path in tmp_path.iterdir()] == ["x"]


def test_without_locks_each_has_a_file_of_its_own(server, tmp_path, monkeypatch):
    monkeypatch.setattr("textcls.data.download.locked", lambda file, what: False)
    (tmp_path / "x.part").write_bytes(b"of another process")
    assert get(server, tmp_path / "x").read_bytes() == CONTENT
    assert Server.requests == [None] and [path.name for path in tmp_path.iterdir()] == ["x"]


def test_no_link_is_followed(server, tmp_path):
    (tmp_path / "other").write_bytes(b"other")
    (tmp_path / "x.part").symlink_to(tmp_path / "other")
    with pytest.raises(OSError):
        get(server, tmp_path / "x")
    assert (tmp_path / "other").read_bytes() == b"other"
