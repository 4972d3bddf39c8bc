"""What the tests of the engines share."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.engine.chat_server import Answer, ChatServer, chat


@dataclass(frozen=True)
class Say:
    """What a test needs to write a plan."""

    serve: Callable[[Callable[[int], Answer]], ChatServer]
    chat: Callable[..., Answer] = chat
    Answer: type[Answer] = Answer


@pytest.fixture
def say() -> Iterator[Say]:
    """Starts servers, and stops them after the test."""
    servers: list[ChatServer] = []

    def serve(plan: Callable[[int], Answer]) -> ChatServer:
        servers.append(ChatServer(plan))
        return servers[-1]

    yield Say(serve=serve)
    for server in servers:
        server.close()
