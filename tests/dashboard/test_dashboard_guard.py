"""Who may ask for what: token, host, methods, paths, and what each answer carries."""

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from dashboard_runs import TOKEN

from database.dashboard import open_for_reading
from evolve.dashboard.app import build_app
from evolve.dashboard.catalog import Catalog
from evolve.errors import StoreError

BEARER = {"authorization": f"Bearer {TOKEN}"}

Ask = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def ask(runs: Path):
    """Send a request to the application, without a server."""
    with Catalog(runs=runs) as catalog:

        def send(path: str, method: str = "GET", *, token: str | None = TOKEN, **options) -> httpx.Response:
            async def once() -> httpx.Response:
                transport = httpx.ASGITransport(app=build_app(catalog, token))
                async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8765") as client:
                    return await client.request(method, path, **options)

            return asyncio.run(once())

        yield send


def paths(key: Callable[[str], str]) -> list[str]:
    """Return an address of every kind."""
    run = f"/runs/{key('first')}"
    return [
        "/",
        "/compare",
        "/static/dashboard.css",
        run,
        f"{run}/tree",
        f"{run}/programs/0",
        f"{run}/programs/0/picture",
        f"{run}/programs/1/raw/reply",
        "/events",
        f"{run}/events",
    ]


def test_nothing_is_shown_without_the_token(ask: Ask, key):
    """Every address is refused without the token, with a wrong one, and with one that begins like it."""
    for path in paths(key):
        assert ask(path).status_code == 401, path
        for wrong in ("x", TOKEN[:-1], TOKEN + "x", "é"):
            assert ask(path, params={"token": wrong}).status_code == 401
            assert ask(path, headers={"authorization": f"Bearer {wrong}".encode()}).status_code == 401


def test_the_token_in_the_address_becomes_a_cookie_of_this_site_alone(ask: Ask):
    """The token leaves the address at once; the cookie opens the pages, no script reads it, no other site sends it."""
    entered = ask("/compare", params={"token": TOKEN})
    cookie = entered.headers["set-cookie"]
    name, _, value = cookie.split(";")[0].partition("=")

    assert (entered.status_code, entered.headers["location"]) == (303, "/compare")
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert TOKEN not in cookie
    assert ask("/", headers={"cookie": f"{name}={value}"}).status_code == 200
    assert ask("/", headers={"cookie": f"{name}={value[:-1]}"}).status_code == 401
    assert ask("/", headers=BEARER).status_code == 200


def test_entering_never_leads_to_another_site(ask: Ask):
    """An address that begins with two slashes names another server; the way in stays on this one."""
    assert ask("http://127.0.0.1:8765//evil.example/", params={"token": TOKEN}).headers["location"] == "/evil.example/"


def test_without_a_token_everybody_on_this_machine_may_look(ask: Ask):
    """`token=none` asks for nothing."""
    assert ask("/", token=None).status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost", "localhost:9000", "[::1]:8765"])
def test_local_names_are_answered(host, ask: Ask):
    """Under the machine's own names, at any port: ssh may forward another."""
    assert ask("/compare", headers={**BEARER, "host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "", "localhost.:1"])
def test_foreign_names_are_refused(host, ask: Ask):
    """A page of another site whose name points here (DNS rebinding) reads nothing, even with the token."""
    assert ask("/", headers={**BEARER, "host": host}).status_code == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_no_address_can_be_written_to(method, ask: Ask, key, runs: Path):
    """All methods but GET and HEAD are refused everywhere, and leave the database as it was."""
    database = runs / "first" / "evolve.db"
    before = hashlib.sha256(database.read_bytes()).digest()

    for path in paths(key):
        assert ask(path, method, headers=BEARER).status_code == 405, path
    assert hashlib.sha256(database.read_bytes()).digest() == before


def test_the_database_itself_refuses_to_be_written(runs: Path):
    """The dashboard's connections cannot change a row, whatever is asked of them."""
    with open_for_reading(f"sqlite:///{runs / 'first' / 'evolve.db'}") as database:
        views = database.views(1)
        report = views.reports()[-1]

        with pytest.raises(StoreError, match="readonly"):
            database.create_run(problem="p", model="m", folder="/f", seed=1, config="", started_at=0.0)
        with pytest.raises(StoreError):
            views.finish_step(report, ())


@pytest.mark.parametrize("path", ["/", "/nowhere", "/static/dashboard.js", "/static/nowhere", "/runs/abc", "/%00"])
def test_every_answer_forbids_foreign_code(path, ask: Ask):
    """Pages, errors, files and refusals alike carry the policy."""
    for answer in (ask(path, headers=BEARER), ask(path), ask(path, headers={"host": "evil.example"})):
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-frame-options"] == "DENY"


def test_no_page_holds_code_or_style_of_its_own(ask: Ask, key):
    """What the policy forbids is not tried: no inline script, no handler, no style attribute."""
    for path in paths(key)[:6]:
        text = ask(path, headers=BEARER).text
        assert " onclick" not in text
        assert " style=" not in text
        assert "<style" not in text
        assert text.count("<script") == text.count('<script type="module" src="/static/dashboard.js">')


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e/app.py",
        "/static//etc/passwd",
        "/runs/..%2f..%2fetc",
        "/runs/first",
        "/runs/KEY/programs/99999",
        "/runs/KEY/programs/9999999999999999999999",
        "/runs/KEY/programs/one",
        "/runs/KEY/programs/0/raw/..%2f..%2frun.yaml",
        "/runs/KEY/programs/0/raw/construction",
        "/runs/KEY/programs/2/picture",
        "/runs/KEY/tree?root=4",
        "/runs/KEY/tree?root=x",
        "/compare?run=nobody",
        "/compare?against=hours",
        "/docs",
        "/openapi.json",
    ],
)
def test_what_is_not_there_is_not_found(path, ask: Ask, key):
    """A run is named by its key and a program by its number; no path leads to a file, and nothing breaks."""
    answer = ask(path.replace("KEY", key("first")), headers=BEARER)

    assert answer.status_code == 404
    assert "root:" not in answer.text
    assert "import" not in answer.text
