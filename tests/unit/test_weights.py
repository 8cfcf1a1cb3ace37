"""common/model/weights.py against a server on this machine that resumes, fails, lies and breaks off."""
import hashlib
import http.server
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from common import cli
from common.model import weights

CONTENT = b"PK\x03\x04" + bytes(range(256)) * 4000  # about 1 MB
MD5, SHA256 = hashlib.md5(CONTENT).hexdigest(), hashlib.sha256(CONTENT).hexdigest()
ROOT = Path(__file__).parents[2]


class Server(http.server.ThreadingHTTPServer):
    """Serves `content` at /net.pth. breaks: byte counts after which the next answers break off."""

    content, etag, modified, ranges, status, length, headers = CONTENT, '"1"', None, True, 200, True, {}
    slow, shift = False, 0

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked, self.breaks = [], []
        self.url = f"http://127.0.0.1:{self.server_port}/net.pth"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def handle_error(self, *_):
        pass  # clients that hang up are part of the tests


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        s, wanted = self.server, re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        s.asked.append(self.headers.get("Range"))
        if self.path != "/net.pth":
            return self.send_error(404)
        if s.status != 200:
            return self.send_error(s.status)
        start = int(wanted[1]) if wanted and s.ranges and self.headers.get("If-Range") in (s.etag, s.modified) else 0
        start += s.shift if start else 0
        body = s.content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(s.content) - 1}/{len(s.content)}")
        if s.length:
            self.send_header("Content-Length", str(len(body)))
        for name, value in {"ETag": s.etag, "Last-Modified": s.modified, **s.headers}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        body = body[:s.breaks.pop(0)] if s.breaks else body
        for i in range(0, len(body), 1 << 16):
            self.wfile.write(body[i:i + (1 << 16)])
            time.sleep(0.1 if s.slow else 0)
        self.close_connection = True


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(weights, "PAUSE", 0.01)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def get(tmp_path):
    """Run the command for an entry of published.json; returns the bytes of the checkpoint."""
    def get(*urls, **entry):
        cli.write_json(tmp_path / "published.json", {"weights": {
            "file": "net.pth", "urls": urls, "page": "https://page.example", "md5": None, "sha256": None, "size": None,
            **entry}})
        weights.main(["--published", str(tmp_path / "published.json"), "--dest", str(tmp_path / "weights")])
        return (tmp_path / "weights" / "net.pth").read_bytes()
    return get


def left(tmp_path):
    """Names in the folder, the lock aside."""
    return sorted(p.name for p in (tmp_path / "weights").iterdir() if p.name != ".net.pth.lock")


def half(tmp_path, server, **meta):
    """What an interrupted run leaves."""
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "net.pth.part").write_bytes(CONTENT[:500_000])
    (tmp_path / "weights" / "net.pth.part.json").write_text(json.dumps({
        "url": server.url, "modified": server.modified, "etag": server.etag, "size": len(CONTENT), **meta}))


@pytest.mark.parametrize("entry", [{}, {"md5": MD5}, {"sha256": SHA256.upper(), "size": len(CONTENT)}])
def test_fetches_checks_and_records(server, get, tmp_path, capsys, entry):
    assert get(server.url, **entry) == CONTENT
    assert left(tmp_path) == ["net.pth", "net.pth.sha256"]
    assert subprocess.run(["sha256sum", "-c", "net.pth.sha256"], cwd=tmp_path / "weights").returncode == 0
    assert f"net.pth, sha256 {SHA256}" in capsys.readouterr().out
    assert get(server.url, **entry) == CONTENT
    assert "is there already" in capsys.readouterr().out and server.asked == [None]


@pytest.mark.parametrize("etag, modified", [('"1"', None), (None, "Wed, 21 Oct 2015 07:28:00 GMT")])
def test_resumes_what_is_left_of_an_earlier_run(server, get, tmp_path, etag, modified):
    server.etag, server.modified = etag, modified
    meta = {"etag": etag} if etag else {}
    half(tmp_path, server)
    (tmp_path / "weights" / "net.pth.part.json").write_text(json.dumps(
        {"url": server.url, "modified": modified, "size": len(CONTENT), **meta}))
    assert get(server.url) == CONTENT and server.asked == ["bytes=500000-"]


def test_resumes_within_a_run(server, get):
    server.breaks = [300_000, 300_000]
    assert get(server.url, md5=MD5) == CONTENT and server.asked == [None, "bytes=300000-", "bytes=600000-"]


def test_killed_and_run_again(server, get, tmp_path):
    server.slow = True
    cli.write_json(tmp_path / "p.json", {"weights": {"file": "net.pth", "urls": [server.url]}})
    child = subprocess.Popen([sys.executable, "-m", "common.model.weights", "--published", str(tmp_path / "p.json"),
                              "--dest", str(tmp_path / "weights")], cwd=ROOT, stderr=subprocess.DEVNULL)
    part = tmp_path / "weights" / "net.pth.part"
    for _ in range(1000):
        if part.exists() and part.stat().st_size:
            break
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert not (tmp_path / "weights" / "net.pth").exists() and 0 < part.stat().st_size < len(CONTENT)
    server.slow, size = False, part.stat().st_size
    assert get(server.url) == CONTENT and server.asked == [None, f"bytes={size}-"]


@pytest.mark.parametrize("change", [{"etag": '"2"'}, {"ranges": False}, {"etag": None}])
def test_starts_over_when_the_bytes_may_not_fit(server, get, tmp_path, change):
    half(tmp_path, server)
    (tmp_path / "weights" / "net.pth.part").write_bytes(b"x" * 500_000)  # must not survive
    for name, value in change.items():
        setattr(server, name, value)
    assert get(server.url) == CONTENT and server.asked == ["bytes=500000-"]


@pytest.mark.parametrize("meta", [{"size": len(CONTENT) + 1}, {"modified": "Wed, 21 Oct 2015 07:28:00 GMT"}])
def test_starts_over_when_the_server_ignores_that_its_file_changed(server, get, tmp_path, meta):
    half(tmp_path, server, **meta)
    (tmp_path / "weights" / "net.pth.part").write_bytes(b"x" * 500_000)
    assert get(server.url) == CONTENT and server.asked == ["bytes=500000-", None]


def test_weak_etag_does_not_vouch_for_bytes(server, get):
    server.etag, server.breaks = 'W/"1"', [300_000]
    assert get(server.url) == CONTENT and server.asked == [None, None]


def test_answer_from_another_place_is_not_joined(server, get, tmp_path):
    half(tmp_path, server)
    server.shift = 10
    assert get(server.url) == CONTENT and server.asked == ["bytes=500000-", None]


def test_no_resume_from_another_address(server, get, tmp_path):
    half(tmp_path, server, url="http://other.example/net.pth")
    assert get(server.url) == CONTENT and server.asked == [None]


def test_spoilt_part_is_fetched_anew(server, get, tmp_path):
    half(tmp_path, server)
    (tmp_path / "weights" / "net.pth.part").write_bytes(b"x" * 500_000)
    assert get(server.url, md5=MD5) == CONTENT and server.asked == ["bytes=500000-", None]


def test_killed_between_the_last_byte_and_the_name(server, get, tmp_path):
    half(tmp_path, server)
    (tmp_path / "weights" / "net.pth.part").write_bytes(CONTENT)
    assert get(server.url) == CONTENT and server.asked == [] and left(tmp_path) == ["net.pth", "net.pth.sha256"]


def test_mirrors_in_turn(server, get):
    missing = server.url.replace("net.pth", "gone.pth")
    assert get("ftp://x.example/net.pth", missing, server.url) == CONTENT and server.asked == [None, None]


def test_busy_server_is_asked_again(server, get):
    server.status = 503
    with pytest.raises(cli.Failure, match="HTTP 503"):
        get(server.url)
    assert len(server.asked) == weights.ATTEMPTS


@pytest.mark.parametrize("change, entry, said", [
    ({"status": 404}, {}, "HTTP 404"),
    ({}, {"md5": "0" * 32}, f"what it sent has md5 {MD5}, not 000"),
    ({}, {"sha256": "0" * 64}, f"what it sent has sha256 {SHA256}, not 000"),
    ({}, {"size": 5}, f"has {len(CONTENT)} bytes, not the published 5"),
    ({"content": b"\n<!DOCTYPE html><html>sign in</html>"}, {}, "is a web page"),
    ({"content": b"", "length": False}, {}, "is empty"),
    ({"status": 302, "headers": {"Location": "file:///etc/passwd"}}, {}, "HTTP 302"),
])
def test_refused_at_once_with_the_way_by_hand(server, get, tmp_path, change, entry, said):
    for name, value in change.items():
        setattr(server, name, value)
    with pytest.raises(cli.Failure, match=re.escape(said)) as e:
        get(server.url, **entry)
    assert f"by hand from https://page.example and put it at {tmp_path / 'weights' / 'net.pth'}" in str(e.value)
    assert len(server.asked) == 1 and "net.pth" not in left(tmp_path)


def test_offline(get, server):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{s.getsockname()[1]}/net.pth"
    with pytest.raises(cli.Failure, match=r"could not fetch net\.pth \(http.*refused\) — get it by hand"):
        get(closed)


def test_no_direct_address(get):
    with pytest.raises(cli.Failure, match=r"could not fetch net\.pth \(it has no direct address\) — .*page\.example"):
        get()


def test_file_address(get, tmp_path):
    (tmp_path / "share.pth").write_bytes(CONTENT)
    assert get((tmp_path / "share.pth").as_uri(), md5=MD5) == CONTENT
    (tmp_path / "weights" / "net.pth").unlink()
    with pytest.raises(cli.Failure, match="could not fetch"):
        get((tmp_path / "nothing.pth").as_uri())


def test_a_file_that_is_there(get, tmp_path):
    """Put there by hand: checked against what is published; and noticed when it changes afterwards."""
    (tmp_path / "weights").mkdir()
    target = tmp_path / "weights" / "net.pth"
    target.write_bytes(CONTENT)
    with pytest.raises(cli.Failure, match=f"{target} has md5 {MD5}, not 0.* — delete it"):
        get(md5="0" * 32)
    assert get() == CONTENT and left(tmp_path) == ["net.pth", "net.pth.sha256"]
    target.write_bytes(CONTENT[:-1])
    with pytest.raises(cli.Failure, match=f"{target} has sha256 .*, not {SHA256}"):
        get()
    target.write_bytes(b"<html>")
    with pytest.raises(cli.Failure, match="web page"):
        get()


@pytest.mark.parametrize("name", ["../net.pth", "/net.pth", "", None, ".net.pth", "a b.pth"])
def test_names_that_are_no_plain_file(get, tmp_path, name):
    with pytest.raises(cli.Failure, match="plain file name"):
        get(file=name)
    assert not (tmp_path / "weights").exists()


def test_no_published_json(tmp_path):
    with pytest.raises(cli.Failure, match="published.json does not exist"):
        weights.main(["--published", str(tmp_path / "published.json")])
