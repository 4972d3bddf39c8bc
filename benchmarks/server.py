"""Completions/s from a server that answers after a second: `python -m benchmarks.server`.

A real HTTP server on the loopback interface sleeps for a second on each request, however many come at once; the
engine keeps 64 in flight. The most that can be reached is 64 completions/s.
"""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from evolve.engine import Sampling
from evolve.engine.server import ServerEngine, ServerSettings
from evolve.types import Message, Request

LATENCY_S = 1.0
IN_FLIGHT = 64
COMPLETIONS = 512
BODY = json.dumps(
    {
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "def f(): pass"}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 900, "completion_tokens": 5},
    }
).encode()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every request of a connection after the latency."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
            )
            await reader.readexactly(length)
            await asyncio.sleep(LATENCY_S)
            lines = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(BODY)}\r\n\r\n"
            writer.write(lines.encode() + BODY)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


@contextmanager
def slow_server() -> Iterator[str]:
    """Serve on the loopback interface and yield the URL."""
    loop = asyncio.new_event_loop()
    # The event loop alone holds its tasks weakly: one that is collected leaves its request without an answer.
    connections: set[asyncio.Task[None]] = set()

    async def serve() -> asyncio.Server:
        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connections.add(loop.create_task(_answer(reader, writer)))

        return await asyncio.start_server(connected, "127.0.0.1", 0, backlog=1024)

    async def stop() -> None:
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    server = loop.run_until_complete(serve())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    asyncio.run_coroutine_threadsafe(stop(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def main() -> None:
    """Print the rate."""
    with slow_server() as url:
        settings = ServerSettings(url=url, model="slow", api_key=None, in_flight=IN_FLIGHT, timeout_s=60.0, retries=2)
        engine = ServerEngine(settings, Sampling(temperature=1.0, top_p=1.0, max_tokens=64))
        samples = 8
        requests = [
            Request(
                group=group,
                messages=(Message(role="user", content="Write a program."),),
                samples=tuple(range(samples)),
                first=group * samples,
            )
            for group in range(COMPLETIONS // samples)
        ]
        started = time.perf_counter()
        made = sum(1 for _ in engine.stream(requests))
        seconds = time.perf_counter() - started
        engine.close()
    print(f"a server that answers after {LATENCY_S:g} s, {IN_FLIGHT} in flight: {made} completions in {seconds:.2f} s,")
    print(f"{made / seconds:.1f} completions/s; at most {IN_FLIGHT / LATENCY_S:.0f} can be had")


if __name__ == "__main__":
    main()
