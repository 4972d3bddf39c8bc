"""The routes. All of them read; a run is named by its key, a program by its number."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi import Path as InPath
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, PlainTextResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from evolve.dashboard.arms import Against, arm_charts, compare_runs, group_by_arm, target
from evolve.dashboard.bests import cards, run_best, run_line, totals
from evolve.dashboard.catalog import Catalog
from evolve.dashboard.guard import Guard
from evolve.dashboard.pages import environment
from evolve.dashboard.pictures import LARGE, SMALL, Pictures, can_draw
from evolve.dashboard.program_page import program_page, raw_text
from evolve.dashboard.run_page import LEVELS, run_page
from evolve.dashboard.tree import best_path, score_map, tree_of
from evolve.errors import EvolveError, NotFoundError

#: Attempts in a run's list of the latest, and programs in its list of the best.
_LISTED = 12
#: Seconds between two looks for something new, and between two signs of life on a quiet connection.
_LOOK_S, _ALIVE_S = 1.0, 15.0
#: Every database can hold such a number.
_MOST = 2**53

Program = Annotated[int, InPath(ge=-_MOST, le=_MOST)]
Root = Annotated[int, Query(ge=-_MOST, le=_MOST)]
Number = Annotated[int, Query(ge=0, le=_MOST)]


class Site:
    """What the routes share.

    Args:
        catalog: The runs.
        clock: Seconds since the epoch.
    """

    def __init__(self, catalog: Catalog, clock: Callable[[], float]) -> None:
        self.catalog = catalog
        self.clock = clock
        self.pictures = Pictures()
        pages = environment()
        # Compiled before anybody waits for them.
        self._pages = {name: pages.get_template(name) for name in pages.list_templates(["html"])}

    def page(self, name: str, status: int = 200, **values: object) -> HTMLResponse:
        """Return a page made from a template."""
        return HTMLResponse(self._pages[f"{name}.html"].render(**values), status)


def build_app(catalog: Catalog, token: str | None, *, clock: Callable[[], float] = time.time) -> ASGIApp:
    """Return the dashboard as an ASGI application.

    Args:
        catalog: The runs.
        token: What a request must know; None for nothing.
        clock: Seconds since the epoch.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    site = Site(catalog, clock)
    _add_overviews(app, site)
    _add_run(app, site)
    _add_program(app, site)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))

    @app.exception_handler(NotFoundError)
    def not_found(_: Request, error: Exception) -> Response:
        return site.page("error", 404, title="Not found", text=str(error))

    @app.exception_handler(EvolveError)
    def failed(_: Request, error: Exception) -> Response:
        return site.page("error", 500, title="This cannot be shown", text=str(error))

    @app.exception_handler(RequestValidationError)
    @app.exception_handler(HTTPException)
    def refused(_: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 404
        return site.page("error", status, title="Not found", text="There is no such page.")

    return Guard(app, token)


def _add_overviews(app: FastAPI, site: Site) -> None:
    @app.get("/")
    def bests() -> HTMLResponse:
        runs, unreadable = site.catalog.all()
        lines = [run_line(run) for run in runs]
        completions, valid = totals(lines)
        return site.page(
            "bests", cards=cards(runs), lines=lines, unreadable=unreadable, completions=completions, valid=valid
        )

    @app.get("/events")
    async def events(request: Request) -> StreamingResponse:
        def pulses() -> object:
            return [(run.key, run.views.pulse(), run.is_running()) for run in site.catalog.all()[0]]

        return _stream(request, pulses)

    @app.get("/compare")
    def comparison(run: Sequence[str] = Query(default=()), against: Against = Against.COMPLETIONS) -> HTMLResponse:
        runs = [site.catalog.run(key) for key in dict.fromkeys(run)]
        arms = compare_runs(group_by_arm(runs), against) if runs else []
        every, _ = site.catalog.all()
        aim = target(arms[0].problem, arms) if arms else None
        charts, units = arm_charts(arms), list(Against)
        return site.page(
            "compare", arms=arms, charts=charts, every=every, chosen=set(run), target=aim, against=against, units=units
        )


def _add_run(app: FastAPI, site: Site) -> None:
    @app.get("/runs/{key}")
    def run(key: str) -> HTMLResponse:
        found = site.catalog.run(key)
        leaders = found.views.best_programs(_LISTED, found.problem.direction)
        return site.page(
            "run",
            run=found,
            page=run_page(found, now=site.clock()),
            leaders=leaders,
            recent=found.views.recent(_LISTED),
            confirmations=found.confirmations(),
            levels=LEVELS,
            measures=getattr(found.config.selection, "measures", ()),
            has_picture=can_draw(found.problem),
        )

    @app.get("/runs/{key}/events")
    async def events(request: Request, key: str) -> StreamingResponse:
        found = await run_in_threadpool(site.catalog.run, key)
        return _stream(request, lambda: (found.views.pulse(), found.is_running()))

    @app.get("/runs/{key}/tree")
    def tree(key: str, root: Root = 0, first: Number = 0, start: Number = 0, end: Number = _MOST) -> HTMLResponse:
        found = site.catalog.run(key)
        whole = tree_of(found)
        path = best_path(found)
        last = max(whole.scores, default=0)
        if root not in whole.scores:
            raise NotFoundError(f"the run has no valid program {root}: begin at the seed program, 0")
        view = score_map(whole, path, found.problem.direction, first=start, last=max(min(end, last), start + 1))
        return site.page(
            "tree",
            run=found,
            nodes=whole.fold(root, first=first),
            root=root,
            first=first,
            above=whole.path(root)[:-1],
            # One that was stored since the tree was made is not in it yet.
            path=[(number, whole.scores[number]) for number in path if number in whole.scores],
            map=view,
            last=last,
            total=len(whole.scores),
        )


def _add_program(app: FastAPI, site: Site) -> None:
    @app.get("/runs/{key}/programs/{program}")
    def program(key: str, program: Program) -> HTMLResponse:
        found = site.catalog.run(key)
        return site.page("program", run=found, page=program_page(found, program), best=run_best(found))

    @app.get("/runs/{key}/programs/{program}/raw/{name}")
    def raw(key: str, program: Program, name: str) -> PlainTextResponse:
        text = raw_text(site.catalog.run(key).views.attempt(program), name)
        if text is None:
            raise NotFoundError(f"program {program} has no text {name!r}")
        return PlainTextResponse(text.encode("utf-8", "backslashreplace"))

    @app.get("/runs/{key}/programs/{program}/picture")
    def picture(request: Request, key: str, program: Program, size: str = "small") -> Response:
        found = site.catalog.run(key)
        drawn = site.pictures.png(found, program, size=LARGE if size == "large" else SMALL)
        if drawn is None:
            raise NotFoundError(f"program {program} has no picture")
        # A browser asks whether what it has is still the picture: another run may be made in the place of this one.
        tag = f'"{hashlib.sha256(drawn).hexdigest()}"'
        headers = {"cache-control": "private, no-cache", "etag": tag}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(drawn, media_type="image/png", headers=headers)


def _stream(request: Request, look: Callable[[], Any]) -> StreamingResponse:
    """Return server-sent events: one whenever `look` returns something new; what is new, the page asks for itself."""

    async def changes() -> AsyncIterator[str]:
        seen = await run_in_threadpool(look)
        yield "retry: 3000\n\n"
        quiet_s = 0.0
        while not await request.is_disconnected():
            await asyncio.sleep(_LOOK_S)
            now = await run_in_threadpool(look)
            quiet_s += _LOOK_S
            if now != seen:
                seen, quiet_s = now, 0.0
                yield "data: new\n\n"
            elif quiet_s >= _ALIVE_S:
                quiet_s = 0.0
                yield ": still here\n\n"

    return StreamingResponse(changes(), media_type="text/event-stream")
