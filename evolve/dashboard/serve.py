"""The command `evolve serve`: the dashboard on this machine's own address."""

import gc
import secrets
import socket
from collections.abc import Sequence
from contextlib import ExitStack, closing

from rich.console import Console

from evolve.dashboard.catalog import Catalog
from evolve.errors import ConfigError
from evolve.words import named_words, path_of

#: Nobody but this machine's users can reach it; from elsewhere ssh forwards the port.
_HOST = "127.0.0.1"
_PORT = 8765
_LONGEST_PORT = 65535


def serve(words: Sequence[str], console: Console) -> int:
    """`evolve serve`: show runs in a browser until Ctrl-C."""
    named, _ = named_words(words, optional=("run", "runs", "port", "token"))
    if "run" in named and "runs" in named:
        raise ConfigError("run= and runs= exclude each other: name one run, or a folder of runs")
    port = _port(named.get("port", str(_PORT)))
    token = _token(named.get("token"))
    try:
        import uvicorn

        from evolve.dashboard.app import build_app
    except ImportError as error:
        raise ConfigError(
            f"the dashboard needs the package {error.name!r}: pip install 'thetaevolve[dashboard]'"
        ) from error
    run = path_of("run", named["run"]) if "run" in named else None
    runs = None if run is not None else path_of("runs", named.get("runs", "runs"))
    with ExitStack() as stack:
        catalog = stack.enter_context(Catalog(runs=runs, only=[] if run is None else [run]))
        if run is not None:
            catalog.opened(run)
        listener = stack.enter_context(closing(_listen(port)))
        address = f"http://{_HOST}:{listener.getsockname()[1]}/"
        secret = "" if token is None else f"?token={token}"
        console.print(f"dashboard: {address}{secret}", highlight=False, markup=False, soft_wrap=True)
        config = uvicorn.Config(
            build_app(catalog, token), log_level="warning", access_log=False, timeout_graceful_shutdown=1
        )
        gc.freeze()  # what was imported stays: garbage collections need not look at it again
        try:
            uvicorn.Server(config).run(sockets=[listener])
        except KeyboardInterrupt:
            console.print("stopped", highlight=False)
    return 0


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > _LONGEST_PORT:
        raise ConfigError(f"port={text} is no port: it must be a number up to {_LONGEST_PORT}, 0 for any free one")
    return int(text)


def _token(text: str | None) -> str | None:
    """Return the token that requests must know: a new one, the one given, or None for `token=none`."""
    if text is None:
        return secrets.token_urlsafe(18)
    if text == "none":
        return None
    if len(text) < 8 or not text.isascii() or not text.replace("-", "").replace("_", "").isalnum():
        raise ConfigError("token= must be 8 or more letters, digits, - or _; leave it out for a random one")
    return text


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((_HOST, port))
        listener.listen()  # whoever reads the address may use it at once
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"port {port} cannot be used ({error.strerror}): name another with port=N, or port=0 for any free one"
        ) from error
    return listener
