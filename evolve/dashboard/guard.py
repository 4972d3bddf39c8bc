"""What every request must bring, and what every answer carries. Pages show what untrusted models wrote."""

import hashlib
import hmac
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Names under which a browser of this machine, or of one that forwards a port, finds the server. Any other comes from a
#: page of someone else whose name was made to point here (DNS rebinding).
HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})
#: Nothing is loaded but our own files, and no text in a page is ever run or styles anything.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """Lets a request through that only reads, comes by a local name, and knows the token.

    The token comes once in the address (`?token=`), which is then kept in a cookie that no script and no other site can
    use, or in a header `Authorization: Bearer`.
    """

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        """Guard an application.

        Args:
            app: The application.
            token: What a request must know; None for nothing.
        """
        self._app = app
        self._token = token
        # The cookie proves the token without being it; browsers share cookies between ports, so the name differs.
        self._proof = "" if token is None else hmac.new(token.encode(), b"evolve dashboard", hashlib.sha256).hexdigest()
        self._cookie = f"evolve_{hashlib.sha256(self._proof.encode()).hexdigest()[:8]}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or refuse one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        refusal = self._refusal(scope)
        await (self._app if refusal is None else refusal)(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        """Return the answer to a request that is not let through."""
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        if (host if host.endswith("]") else host.rpartition(":")[0] or host) not in HOSTS:
            return PlainTextResponse("This server answers to 127.0.0.1 and localhost only.\n", 400)
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("This server only reads.\n", 405, {"allow": "GET, HEAD"})
        if self._token is None or self._is_known(headers):
            return None
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if not hmac.compare_digest(given.encode(), self._token.encode()):
            return PlainTextResponse("Open the address that `evolve serve` printed: it ends in ?token=...\n", 401)
        # One slash: with two the address would be another server's.
        answer = RedirectResponse("/" + quote(scope["path"].lstrip("/")), 303)
        answer.set_cookie(self._cookie, self._proof, httponly=True, samesite="strict", path="/")
        return answer

    def _is_known(self, headers: Headers) -> bool:
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(self._cookie)
        except CookieError:
            cookie = None
        proof = "" if cookie is None else cookie.value
        kind, _, bearer = headers.get("authorization", "").partition(" ")
        by_cookie = hmac.compare_digest(proof.encode(), self._proof.encode())
        token = self._token or ""
        return by_cookie or (kind.lower() == "bearer" and hmac.compare_digest(bearer.encode(), token.encode()))
