"""common/model/weights.py against a server on this machine that resumes, fails, lies and stops."""
import errno
import hashlib
import http.server
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import ROOT

from common import cli, provenance
from common.model import download, weights

CONTENT = b"PK\x03\x04" + bytes(range(256)) * 16000  # about 4 MB
MD5, SHA256 = hashlib.md5(CONTENT).hexdigest(), hashlib.sha256(CONTENT).hexdigest()
TARGET = Path("weights/net.pth")


class Server(http.server.ThreadingHTTPServer):
    """Serves `content` at /net.pth. breaks: byte counts after which the next answers break off."""

    content, etag, modified, ranges, status, length = CONTENT, '"1"', None, True, 200, True
    location, slow, shift, then, hub = None, False, 0, {}, None

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked, self.breaks = [], []
        self.url = f"http://127.0.0.1:{self.server_port}/net.pth"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def handle_error(self, *_):
        pass  # clients that hang up are part of the tests


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        s = self.server
        s.asked.append(self.headers.get("Range"))
        if s.hub and self.path.startswith("/timm/net.in1k/resolve/"):
            self.send_response(200)
            for name, value in {**s.hub, "Content-Length": str(len(s.content))}.items():
                self.send_header(name, value)
            self.end_headers()
            return self.command == "GET" and self.wfile.write(s.content)
        if self.path != "/net.pth":
            return self.send_error(404)
        if s.location:
            self.send_response(302)
            self.send_header("Location", s.location)
            return self.end_headers()
        if s.status != 200:
            return self.send_error(s.status)
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        valid = self.headers.get("If-Range") in (s.etag, s.modified, None)
        start = int(wanted[1]) + s.shift if wanted and s.ranges and valid else 0
        body = s.content[start:]
        self.send_response(206 if start else 200)
        if start:
            total = len(s.content)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        if s.length:
            self.send_header("Content-Length", str(len(body)))
        for name, value in {"ETag": s.etag, "Last-Modified": s.modified}.items():
            if value:
                self.send_header(name, value)
        vars(s).update(s.then)  # the file is another one from now on
        self.end_headers()
        body = body[:s.breaks.pop(0)] if s.breaks else body
        for i in range(0, len(body), 1 << 18):
            self.wfile.write(body[i:i + (1 << 18)])
            time.sleep(0.1 if s.slow else 0)
        self.close_connection = True

    do_HEAD = do_GET  # the hub is asked so first


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def get(tmp_path, monkeypatch):
    """Run the command for an entry of published.json; returns the bytes of the checkpoint."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["weights.py"])
    monkeypatch.setattr(download, "PAUSE", 0.01)

    def get(*urls, **entry):
        publish(*urls, **entry)
        weights.main()
        return TARGET.read_bytes()
    return get


def publish(*urls, **entry):
    entry = {"file": "net.pth", "urls": urls, "page": "https://page.example", "md5": None,
             "sha256": None, "size": None, **entry}
    cli.write_json("published.json", {"model": "Net", "weights": entry})


def part():
    """The file that an interrupted run left."""
    found, = Path("weights").glob(".net.pth.*.part")
    return found


def interrupted(server, get):
    """Leave what an interrupted run got: 1,500,000 bytes."""
    server.breaks = [1_500_000] + [0] * 2 * download.ATTEMPTS
    with pytest.raises(cli.Failure, match="could not fetch"):
        get(server.url)
    server.breaks = []
    assert part().read_bytes() == CONTENT[:1_500_000]
    server.asked.clear()


@pytest.mark.parametrize("entry", [{}, {"md5": MD5},
                                   {"sha256": SHA256.upper(), "size": len(CONTENT)}])
def test_fetches_checks_and_records(server, get, capsys, entry):
    assert get(server.url, **entry) == CONTENT
    assert sorted(p.name for p in Path("weights").iterdir()) == ["net.pth", "net.pth.json"]
    assert provenance.read(TARGET)["made"]["sha256"] == SHA256
    assert f"wrote {TARGET}" in capsys.readouterr().out
    assert get(server.url, **entry) == CONTENT
    assert "is there already" in capsys.readouterr().out and server.asked == [None]


# ---- resuming ----

@pytest.mark.parametrize("etag, modified", [('"1"', None),
                                            (None, "Wed, 21 Oct 2015 07:28:00 GMT")])
def test_resumes_what_an_earlier_run_left(server, get, etag, modified):
    server.etag, server.modified = etag, modified
    interrupted(server, get)
    assert get(server.url) == CONTENT and server.asked == [None, "bytes=1500000-"]
    assert sorted(p.name for p in Path("weights").iterdir()) == ["net.pth", "net.pth.json"]


def test_killed_and_run_again(server, get, tmp_path):
    server.slow = True
    publish(server.url)
    child = subprocess.Popen([sys.executable, "-m", "common.model.weights"], cwd=tmp_path,
                             env={**os.environ, "PYTHONPATH": str(ROOT)},
                             stderr=subprocess.DEVNULL)
    for _ in range(1000):
        if any(p.stat().st_size for p in Path("weights").glob(".net.pth.*.part")):
            break
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    size = part().stat().st_size
    assert not TARGET.exists() and 0 < size < len(CONTENT)
    server.slow = False
    assert get(server.url) == CONTENT and server.asked == [None, None, f"bytes={size}-"]


@pytest.mark.parametrize("change", [
    {"etag": '"2"'}, {"etag": 'W/"1"'}, {"etag": None}, {"content": CONTENT + b"more"},
    {"ranges": False}, {"shift": 10}, {"shift": -10}])
def test_starts_again_when_the_bytes_may_not_fit(server, get, change):
    """Another version, one without a name, another size; no ranges, or not the one asked for."""
    interrupted(server, get)
    part().write_bytes(b"x" * 1_500_000)  # must not survive
    for name, value in change.items():
        setattr(server, name, value)
    assert get(server.url) == server.content


def test_a_server_without_ranges_is_asked_once(server, get):
    interrupted(server, get)
    server.ranges = False
    assert get(server.url) == CONTENT and server.asked == [None, "bytes=1500000-"]


def test_a_weak_name_does_not_vouch_for_bytes(server, get):
    server.etag = 'W/"1"'
    server.breaks = [1_500_000] * download.ATTEMPTS
    with pytest.raises(cli.Failure):
        get(server.url)
    part().write_bytes(b"x" * 1_500_000)
    assert get(server.url) == CONTENT and set(server.asked) == {None}


def test_a_file_that_changes_between_two_requests(server, get):
    """Bytes of the new one, of the same size, are not joined to those of the old one."""
    interrupted(server, get)
    server.then = {"content": CONTENT[::-1], "etag": '"2"'}
    assert get(server.url) == CONTENT[::-1]


def test_what_is_spoilt_on_this_side_is_refused(server, get):
    interrupted(server, get)
    part().write_bytes(b"x" * 1_500_000)
    with pytest.raises(cli.Failure, match=f"what it sent has md5 .*, not {MD5}"):
        get(server.url, md5=MD5)
    assert not TARGET.exists() and get(server.url, md5=MD5) == CONTENT


def test_a_full_disk_is_not_the_networks_fault(server, get, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download, "save", full)
    with pytest.raises(OSError, match="No space left on device: 'weights/net.pth'"):
        get(server.url)
    assert len(server.asked) == 1


# ---- addresses ----

@pytest.mark.parametrize("url", [
    "http://weights.example/net.pth", "ftp://weights.example/net.pth", "file:///etc/passwd",
    "http://127.0.0.1.example/net.pth", "HTTP://weights.example/net.pth", "/net.pth",
    "http://127.0.0.1@weights.example/net.pth"])
def test_only_encrypted_addresses(get, url):
    with pytest.raises(cli.Failure, match=f"{re.escape(url)} is not https.*by hand"):
        get(url)
    assert not TARGET.exists()


@pytest.mark.parametrize("to", ["http://weights.example/net.pth", "file:///etc/passwd",
                                "ftp://weights.example/net.pth"])
def test_also_after_a_redirect(server, get, to):
    server.location = to
    with pytest.raises(cli.Failure, match=f"{to}.? is not (https|allowed)"):
        get(server.url)
    assert not TARGET.exists() and len(server.asked) == 1


def test_addresses_in_turn(server, get):
    missing = server.url.replace("net.pth", "gone.pth")
    assert get("http://x.example/net.pth", missing, server.url) == CONTENT
    assert server.asked == [None, None]


def test_a_busy_server_is_asked_again(server, get):
    server.status = 503
    with pytest.raises(cli.Failure, match="HTTP 503"):
        get(server.url)
    assert len(server.asked) == download.ATTEMPTS


@pytest.mark.parametrize("change, entry, said", [
    ({"status": 404}, {}, "HTTP 404"),
    ({}, {"md5": "0" * 32}, f"what it sent has md5 {MD5}, not 000"),
    ({}, {"sha256": "0" * 64}, f"what it sent has sha256 {SHA256}, not 000"),
    ({}, {"size": 5}, f"has {len(CONTENT)} bytes, not the published 5"),
    ({"content": b"\n<!DOCTYPE html><html>sign in</html>"}, {}, "is a web page"),
    ({"content": b"", "length": False}, {}, "is empty")])
def test_refused_at_once_with_the_way_by_hand(server, get, change, entry, said):
    for name, value in change.items():
        setattr(server, name, value)
    with pytest.raises(cli.Failure, match=re.escape(said)) as e:
        get(server.url, **entry)
    assert f"by hand from https://page.example and put it at {TARGET}" in str(e.value)
    assert len(server.asked) == 1 and list(Path("weights").iterdir()) == []


# ---- second sources ----

def second(url, **entry):
    return [{"file": "other.pth", "urls": [url], "note": "not the published weights", **entry}]


def test_a_second_source_has_its_own_name_and_says_what_it_is(server, get, capsys):
    with pytest.raises(FileNotFoundError):  # the published one is not there
        get(second=second(server.url, sha256=SHA256[:8]))
    said = capsys.readouterr().out
    assert "note: not the published weights" in said
    assert said.endswith("in place of net.pth: say WEIGHTS=weights/other.pth\n")
    assert provenance.read("weights/other.pth")["note"] == "not the published weights"
    with pytest.raises(FileNotFoundError):
        get(second=second("https://unused.example"))
    assert "not checked (nobody publishes a hash" in capsys.readouterr().out


def test_a_second_source_of_another_hash(server, get):
    with pytest.raises(cli.Failure, match=f"what it sent has sha256 {SHA256}, not 00000000"):
        get(second=second(server.url, sha256="00000000"))
    assert list(Path("weights").iterdir()) == []


@pytest.mark.parametrize("etag, message", [
    (SHA256, "sha256 as the hub says"), ("0" * 64, f"what it sent has sha256 {SHA256}, not 0000")])
def test_the_hub(server, tmp_path, etag, message):
    """Its own library fetches; HF_ENDPOINT names a mirror."""
    server.hub = {"X-Repo-Commit": "1" * 40, "X-Linked-Etag": f'"{etag}"'}
    publish(second=[{"file": "net.safetensors", "hub": "timm/net.in1k", "sha256": None}])
    shutil.move("published.json", tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "common.model.weights", "--published", tmp_path / "published.json",
         "--dest", tmp_path / "weights"], cwd=ROOT, text=True, capture_output=True,
        env={**os.environ, "HF_ENDPOINT": server.url.rpartition("/")[0], "HF_HUB_DISABLE_XET": "1"})
    text = done.stdout + done.stderr
    assert message in text and "Traceback" not in text, text
    there = tmp_path / "weights/net.safetensors"
    assert there.exists() == (etag == SHA256) and done.returncode == (etag != SHA256)
    assert not list(tmp_path.glob("weights/.*"))


def test_offline(get):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{s.getsockname()[1]}/net.pth"
    with pytest.raises(cli.Failure, match=r"could not fetch net\.pth \(http.*refused\) — get it"):
        get(closed)


def test_no_direct_address(get):
    with pytest.raises(cli.Failure, match=r"net\.pth \(it has no direct address\) — .*page\.ex"):
        get()


# ---- a file that is there ----

def test_a_file_that_is_there(get, server):
    """Put there by hand, it is checked against what is published; never replaced."""
    TARGET.parent.mkdir()
    TARGET.write_bytes(CONTENT)
    with pytest.raises(cli.Failure, match=f"{TARGET} has md5 {MD5}, not 0.* — delete it"):
        get(md5="0" * 32)
    assert get(server.url) == CONTENT and server.asked == []
    TARGET.write_bytes(b"<html>")
    with pytest.raises(cli.Failure, match="web page"):
        get()


def test_a_fetched_file_that_changed_since(server, get):
    assert get(server.url) == CONTENT
    TARGET.write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(cli.Failure, match=f"{TARGET} is not the one that .* — delete it"):
        get(server.url)
    TARGET.unlink()
    assert get(server.url) == CONTENT


@pytest.mark.parametrize("name", ["../net.pth", "/net.pth", "", None, ".net.pth", "a b.pth"])
def test_names_that_are_no_plain_file(get, name):
    with pytest.raises(cli.Failure, match="plain file name"):
        get(file=name)
    assert not Path("weights").exists()


def test_all_published_addresses_are_encrypted():
    for file in ROOT.glob("*/published.json"):
        entry = json.loads(file.read_text())["weights"]
        urls = sum([e.get("urls", []) for e in [entry, *entry.get("second", [])]], [])
        assert entry["urls"] and all(url.startswith("https://") for url in urls), file
