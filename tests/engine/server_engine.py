"""An engine over a server, and what the tests ask of it."""

import contextlib
import random

from evolve.engine import Sampling
from evolve.engine.server import ServerEngine, ServerSettings
from evolve.types import Message, Request

SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_tokens=64)


def open_engine(url, *, in_flight=64, retries=3, timeout_s=20.0, api_key=None, backoff_s=0.02):
    """Return an engine that is closed at the end of the `with`."""
    settings = ServerSettings(
        url=url,
        model="m",
        api_key=api_key,
        in_flight=in_flight,
        timeout_s=timeout_s,
        retries=retries,
        backoff_s=backoff_s,
    )
    return contextlib.closing(ServerEngine(settings, SAMPLING, jitter=random.Random(0)))


def ask(samples=1, group=0):
    """Return a request for so many samples."""
    messages = (Message(role="system", content="Be brief."), Message(role="user", content="Improve this."))
    return Request(group=group, messages=messages, samples=tuple(range(samples)), first=0)
