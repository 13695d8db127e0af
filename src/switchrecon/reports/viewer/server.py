"""The viewer on this machine: a web server that listens on 127.0.0.1 alone and gives planes one by one.

Who asks has to know a token that nobody can guess. Nothing is written, and files are named by their place in a list.
"""

import hmac
import http.server
import json
import logging
import re
import secrets
import sys
import threading
from collections import OrderedDict
from collections.abc import Sequence
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from switchrecon.errors import SwitchreconError
from switchrecon.reports.page import render
from switchrecon.reports.viewer.page import part_of
from switchrecon.reports.viewer.planes import BITS
from switchrecon.reports.viewer.sources import Source
from switchrecon.reports.viewer.stacks import Stack

logger = logging.getLogger(__name__)

KEPT: Final = 2  # stacks in memory
SECONDS: Final = 20  # that a connection may wait
_STACK: Final = re.compile(r"/stack/(\d{1,6})")
_PLANE: Final = re.compile(r"/plane/(\d{1,6})/(\d{1,4})/([a-z-]{1,16})/(\d{1,6})")


class Viewer(http.server.ThreadingHTTPServer):
    """Serves the page, the headers of stacks and their planes, from when it is made until :meth:`server_close`.

    Parameters
    ----------
    sources
        What is shown.
    port
        0: a free one.
    """

    daemon_threads = True

    def __init__(self, sources: Sequence[Source], port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.sources = list(sources)
        self.token = secrets.token_urlsafe(32)
        manifest = {"remote": True, "embedded": False, "stacks": [{"name": source.name} for source in sources]}
        self.part = part_of(manifest)
        self.page = render("viewer.html.j2", {"viewer": self.part, "remote": True, "title": "switchrecon view"})
        self._lock = threading.Lock()
        self._stacks: OrderedDict[int, Stack] = OrderedDict()

    @property
    def address(self) -> str:
        """What to open in a browser; it holds the token."""
        return f"http://127.0.0.1:{self.server_port}/?token={self.token}"

    @property
    def hosts(self) -> tuple[str, str]:
        """The only values of the ``Host`` header that are answered: another site's name may lead to this address."""
        return f"127.0.0.1:{self.server_port}", f"localhost:{self.server_port}"

    @property
    def cookie(self) -> str:
        """Its name; browsers send one cookie to all ports."""
        return f"switchrecon-{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A page that was closed while it loaded is no error."""
        error = sys.exc_info()[1]
        if not isinstance(error, (ConnectionError, TimeoutError)):
            logger.warning("a request of the page failed (%s: %s)", type(error).__name__, error)

    def stack(self, number: int) -> Stack:
        """Return a stack, read when it is first asked for."""
        with self._lock:
            if number not in self._stacks:
                self._stacks[number] = self.sources[number].open()
            self._stacks.move_to_end(number)
            while len(self._stacks) > KEPT:
                self._stacks.popitem(last=False)
            return self._stacks[number]


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Viewer
    timeout = SECONDS
    server_version, sys_version = "switchrecon", ""

    def do_GET(self) -> None:
        if self.headers.get_all("Host") not in [[host] for host in self.server.hosts]:
            self._refuse(HTTPStatus.FORBIDDEN, "this address is not served")
            return
        place = urlsplit(self.path)
        given = parse_qs(place.query).get("token", [""])[-1]
        if place.path == "/" and given:
            if self._is_token(given):
                cookie = f"{self.server.cookie}={self.server.token}; Path=/; HttpOnly; SameSite=Strict"
                self._send(HTTPStatus.OK, self.server.page.encode(), "text/html; charset=utf-8", cookie)
            else:
                self._refuse(HTTPStatus.FORBIDDEN, "the token in the address is wrong; copy it from the terminal")
        elif not self._is_known():
            self._refuse(HTTPStatus.FORBIDDEN, "open the address that the terminal shows")
        elif place.path == "/":
            self._send(HTTPStatus.OK, self.server.page.encode(), "text/html; charset=utf-8")
        else:
            self._answer(place.path)

    def _answer(self, path: str) -> None:
        try:
            if found := _STACK.fullmatch(path):
                header: dict[str, Any] = self.server.stack(int(found[1])).header()
                self._send(HTTPStatus.OK, json.dumps(header, allow_nan=False).encode(), "application/json")
            elif (found := _PLANE.fullmatch(path)) and found[3] in BITS:
                stack = self.server.stack(int(found[1]))
                plane = stack.encoded(int(found[2]), found[3], int(found[4]))
                self._send(HTTPStatus.OK, plane, "application/octet-stream")
            else:
                self._refuse(HTTPStatus.NOT_FOUND, "nothing is there")
        except (LookupError, ValueError):
            self._refuse(HTTPStatus.NOT_FOUND, "nothing is there")
        except ConnectionError:
            raise
        except (SwitchreconError, OSError, MemoryError) as error:
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, str(error) or type(error).__name__)

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(), self.server.token.encode())

    def _is_known(self) -> bool:
        try:
            found = SimpleCookie(self.headers.get("Cookie", "")).get(self.server.cookie)
        except CookieError:
            return False
        from_elsewhere = self.headers.get("Sec-Fetch-Site", "same-origin") in ("cross-site", "same-site")
        return found is not None and self._is_token(found.value) and not from_elsewhere

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        self._send(status, reason.encode(), "text/plain; charset=utf-8")

    def _send(self, status: HTTPStatus, content: bytes, kind: str, cookie: str = "") -> None:
        part = self.server.part
        policy = (
            f"default-src 'none'; script-src '{part.script_hash}'; style-src '{part.style_hash}'; connect-src 'self'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Security-Policy", policy)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        if cookie:
            self.send_header("Set-Cookie", cookie)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        pass  # a line for each plane, some with the token in it
