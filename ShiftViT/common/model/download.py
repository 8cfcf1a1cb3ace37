"""One file over https; an interrupted download goes on where it ended."""
import errno
import hashlib
import http.client
import time
import urllib.error
import urllib.parse
import urllib.request

from common import cli

ATTEMPTS, PAUSE, TIMEOUT = 4, 1.0, 30  # of an address; seconds, doubling; seconds without a byte
LATER = {408, 425, 429, 500, 502, 503, 504}  # what a server says that may be asked again


class Refused(Exception):
    """An address that will not give the file, however often it is asked."""


class OnlyHttps(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https only."""

    def redirect_request(self, request, fp, code, msg, headers, newurl):
        require_https(newurl)
        return super().redirect_request(request, fp, code, msg, headers, newurl)


def require_https(url):
    """Refused for an address that is not encrypted; this machine itself may be asked by http."""
    parts = urllib.parse.urlsplit(url)
    local = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost")
    if parts.scheme != "https" and not local:
        raise Refused(f"{url} is not https")


def fetch(url, target):
    """Download `url` into a hidden file beside `target`, again where that may help; its path.

    Refused when the address does not give a whole file.
    """
    for attempt in range(ATTEMPTS):
        time.sleep(PAUSE * 2 ** attempt / 2 if attempt else 0)
        try:
            return once(url, target)
        except urllib.error.HTTPError as e:
            reason = f"HTTP {e.code} {e.reason}"
            if e.code not in LATER:
                break
        except (http.client.HTTPException, OSError) as e:
            if getattr(e, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
                e.filename = str(target)
            if getattr(e, "filename", None):  # not the network: disk, rights, or no such folder
                raise
            reason = getattr(e, "reason", None) or str(e) or type(e).__name__
    raise Refused(reason)


def once(url, target):
    """Fetch what an earlier attempt has not got of `url`; the path of the hidden file.

    The file is named by address, size and what the server calls this version, so that bytes of two
    versions are never joined.
    """
    with ask(url) as answer:
        size = int(answer.headers.get("Content-Length") or 0)
        version = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or "W/"
        mark = hashlib.sha256(f"{url} {version} {size}".encode()).hexdigest()[:12]
        part = target.with_name(f".{target.name}.{mark}.part")
        have = part.stat().st_size if part.exists() else 0
        if version.startswith("W/") or have > size:  # W/: other bytes may be called the same
            have = 0
        if not have:
            save(answer, part, "wb", size)
    if 0 < have < size:
        with ask(url, {"Range": f"bytes={have}-", "If-Range": version}) as answer:
            rest = f"bytes {have}-{size - 1}/{size}"
            if answer.status == 206 and answer.headers.get("Content-Range") != rest:
                part.unlink()
                raise http.client.HTTPException("it sent another range than was asked for")
            save(answer, part, "ab" if answer.status == 206 else "wb", size)
    if size and part.stat().st_size != size:
        raise http.client.HTTPException(f"it ended after {part.stat().st_size} of {size} bytes")
    return part


def ask(url, headers=()):
    """Open `url`, over https however it is redirected."""
    require_https(url)
    request = urllib.request.Request(url, headers=dict(headers))
    return urllib.request.build_opener(OnlyHttps).open(request, timeout=TIMEOUT)


def save(answer, part, mode, size):
    """Write an answer to the file `part`; `mode` is wb or ab, `size` that of the whole file."""
    with open(part, mode) as f:
        left = max(size - f.tell(), 0)
        blocks = iter(lambda: answer.read(1_000_000), b"")
        for block in cli.progress(blocks, part.name[1:], -(-left // 1_000_000) or None, "MB"):
            f.write(block)
