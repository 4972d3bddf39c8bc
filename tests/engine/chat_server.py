"""A real HTTP server on this machine that speaks the chat completions protocol, with delays and failures on demand."""

import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the server says to one request, `delay_s` after it came; `None` as status hangs up without a word."""

    status: int | None = 200
    body: object = None
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0


def chat(text: str, *, delay_s: float = 0.0, finish_reason: str = "stop", usage: object = None) -> Answer:
    """Return a good answer."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}
    return Answer(body={"choices": [choice], "usage": usage}, delay_s=delay_s)


class ChatServer:
    """Answers request number k (from 0) with `plan(k)`, and remembers what it was asked."""

    def __init__(self, plan: Callable[[int], Answer]) -> None:
        self.plan = plan
        self.bodies: list[dict[str, object]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.abandoned = 0
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024))
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await self._head(reader):
                request_line, *lines = head.decode().split("\r\n")
                headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
                body = json.loads(await reader.readexactly(int(headers.get("content-length", "0"))) or "{}")
                number = len(self.bodies)
                self.paths.append(request_line.split()[1])
                self.headers.append(headers)
                self.bodies.append(body)
                if not await self._answer(self.plan(number), reader, writer):
                    return
        finally:
            writer.close()

    async def _head(self, reader: asyncio.StreamReader) -> bytes:
        try:
            return (await reader.readuntil(b"\r\n\r\n")).removesuffix(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""

    async def _answer(self, answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Return whether the connection stays open."""
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        gone = asyncio.ensure_future(reader.read(1))  # nothing comes before the answer, but the end of the connection
        try:
            hung_up, _ = await asyncio.wait([gone], timeout=answer.delay_s)
        finally:
            self.in_flight -= 1
        if hung_up:
            self.abandoned += 1
            return False
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        if answer.status is None:
            return False
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        head = [f"HTTP/1.1 {answer.status} X", f"content-length: {len(body)}"]
        head += [f"{key}: {value}" for key, value in answer.headers.items()]
        writer.write("\r\n".join([*head, "", ""]).encode() + body)
        await writer.drain()
        return True

    def close(self) -> None:
        """Stop listening and drop every connection."""

        async def stop() -> None:
            self._server.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
