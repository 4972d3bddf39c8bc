"""An engine over any OpenAI-compatible server: many requests in flight, one for each completion.

One request for each sample, not one for each group (`n`), because a group would arrive only when its slowest sample has
ended; servers that cache prefixes compute the shared prompt once all the same. Sampling is not seeded: servers that
batch do not repeat a seeded completion anyhow, and vLLM samples slower with a seed for each request.

OpenAI's reasoning models refuse `max_tokens`, which most other servers know alone, and ask for `max_completion_tokens`;
some refuse `top_p`, even 1. What one request was told so, the later ones keep to.
"""

import asyncio
import email.utils
import queue
import random
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field

import httpx

from evolve.engine import Sampling, estimated_prompt_tokens, estimated_tokens
from evolve.errors import ConfigError, EngineError
from evolve.types import Completion, FinishReason, Request

#: Answers that may be better the next time: time-out, conflict, too early, too many requests. So are all from 500 on.
_TRY_AGAIN = frozenset({408, 409, 425, 429})
#: What the user can do about an answer that stays the same.
_CURES = {
    400: "correct the option that the server names",
    401: "give a valid key in the file that engine.key_file names",
    403: "give a key that may use this model in the file that engine.key_file names",
    404: "engine.url ends in /v1 for most servers, and `model` is one that the server serves",
}
#: Longest pause between two tries where the server names none, in seconds.
_LONGEST_PAUSE_S = 30.0
#: How long a server may take to say which models it has, in seconds.
_REACH_S = 10.0
#: How much of a server's own message is repeated, in characters.
_MESSAGE_CHARACTERS = 300
#: No reply and no prompt has so many; databases hold all numbers below.
_TOO_MANY_TOKENS = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Which server, and how hard to try.

    Attributes:
        url: Base URL, up to and including `/v1`.
        model: The model's name on the server.
        api_key: Sent as bearer token; None sends none.
        in_flight: Requests at once.
        timeout_s: Longest wait for one answer, and the longest wait that the server may ask for.
        retries: Further tries of a request after a connection error, a time-out, or an answer of 408, 409, 425, 429, or
            500 and above.
        backoff_s: Pause before the second try; doubles with each further one, times a random factor of 0.5 to 1.5.
    """

    url: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    in_flight: int
    timeout_s: float
    retries: int
    backoff_s: float = 0.5

    def __post_init__(self) -> None:
        try:
            url = httpx.URL(self.url)
        except httpx.InvalidURL as error:
            raise ConfigError(f"engine.url={self.url} is no URL ({error}); write http://HOST:PORT/v1") from error
        if url.scheme not in ("http", "https") or not url.host:
            raise ConfigError(f"engine.url={self.url} is no URL of a server; write http://HOST:PORT/v1")
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.isprintable() and self.api_key):
            raise ConfigError("the API key holds other than printable ASCII; see the file that engine.key_file names")
        if self.in_flight < 1:
            raise ConfigError(f"engine.in_flight must be at least 1, got {self.in_flight}")
        if self.timeout_s <= 0:
            raise ConfigError(f"engine.timeout_s must be positive, got {self.timeout_s}")
        if self.retries < 0:
            raise ConfigError(f"engine.retries must be 0 or more, got {self.retries}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trouble:
    """A try that failed but may succeed later; `pause_s` is how long the server asks to wait, if it says."""

    what: str
    pause_s: float | None = None


def reach(settings: ServerSettings) -> str:
    """Ask a server for its models, which costs no token, and return in words that it is there.

    Some servers have no such list; that they answer is enough.

    Raises:
        EngineError: It cannot be reached within 10 s, or it refuses the key.
    """
    address = settings.url.rstrip("/") + "/models"
    try:
        response = httpx.get(address, headers=_headers(settings), timeout=_REACH_S)
    except httpx.RequestError as error:
        why = _one_line(str(error)) or type(error).__name__
        raise EngineError(
            f"{address} cannot be reached ({why}); see that the server runs, or correct engine.url"
        ) from error
    status = response.status_code
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise EngineError(f"{address} answered {status}: {_message(response)}; {_CURES[status]}")
    return f"the server answers at {address} (it says {status}); no completion was tried"


def _headers(settings: ServerSettings) -> dict[str, str]:
    return {} if settings.api_key is None else {"Authorization": f"Bearer {settings.api_key}"}


class ServerEngine:
    """Sends each wanted completion as one chat request, `in_flight` at once, and yields the answers as they come.

    Tokens are the server's own count, or estimated where it gives none (`evolve.engine.CHARACTERS_PER_TOKEN`).

    Args:
        settings: Which server.
        sampling: Sent with every request.
        jitter: Varies the pauses between tries, so that requests that failed together do not return together.
        clock: Seconds from any start.
    """

    def __init__(
        self,
        settings: ServerSettings,
        sampling: Sampling,
        *,
        jitter: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._endpoint = settings.url.rstrip("/") + "/chat/completions"
        self._jitter = jitter or random.Random()
        self._clock = clock
        self._options: dict[str, object] = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
        }
        self._slots = asyncio.Semaphore(settings.in_flight)
        self._client = httpx.AsyncClient(
            headers=_headers(settings),
            limits=httpx.Limits(max_connections=settings.in_flight, max_keepalive_connections=settings.in_flight),
            timeout=None,  # `_answer` limits the whole request instead of each read
        )
        self._serving: set[Future[None]] = set()  # one for each open stream
        self._loop = asyncio.new_event_loop()
        # A daemon, so that a run that dies does not wait for its requests.
        self._thread = threading.Thread(target=self._loop.run_forever, name="server-engine", daemon=True)
        self._thread.start()

    def stream(self, requests: Sequence[Request]) -> Generator[Completion, None, None]:
        """Yield every wanted completion once, each as soon as its answer is there.

        Raises:
            EngineError: The server refuses a request, or does not answer in spite of all tries; the message repeats the
                server's own. Requests still in flight are abandoned.
        """
        if not self._thread.is_alive():
            raise EngineError("the engine is closed; start another")
        arrived: queue.SimpleQueue[Completion | Future[None]] = queue.SimpleQueue()
        serving = asyncio.run_coroutine_threadsafe(self._serve(requests, arrived.put), self._loop)
        self._serving.add(serving)
        serving.add_done_callback(arrived.put)
        try:
            while not isinstance(item := arrived.get(), Future):
                yield item
            item.result()
        except CancelledError as error:
            if serving in self._serving:  # else it was given up
                raise EngineError("the engine was closed while it was answering") from error
        finally:
            self._serving.discard(serving)
            serving.cancel()

    def give_up(self) -> None:
        """Hang up on what is in flight, and let every open stream end."""
        for serving in self._serving.copy():
            self._serving.discard(serving)
            serving.cancel()

    def close(self) -> None:
        """Abandon what is in flight and end the background thread."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._hang_up(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    async def _hang_up(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()

    async def _serve(self, requests: Sequence[Request], deliver: Callable[[Completion], None]) -> None:
        tasks = [
            asyncio.create_task(self._complete(request, sample)) for request in requests for sample in request.samples
        ]
        try:
            for answered in asyncio.as_completed(tasks):
                deliver(await answered)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _complete(self, request: Request, sample: int) -> Completion:
        body: dict[str, object] = {
            "model": self._settings.model,
            "messages": [{"role": message.role, "content": message.content} for message in request.messages],
        }
        async with self._slots:
            started = self._clock()
            text, finish_reason, tokens, prompt_tokens = _parsed(await self._insist(body), self._endpoint)
            return Completion(
                group=request.group,
                sample=sample,
                text=text,
                tokens=estimated_tokens(text) if tokens is None else tokens,
                prompt_tokens=estimated_prompt_tokens(request.messages) if prompt_tokens is None else prompt_tokens,
                finish_reason=finish_reason,
                seconds=self._clock() - started,
            )

    async def _insist(self, body: dict[str, object]) -> httpx.Response:
        """Return the first good answer; the slot stays taken meanwhile, which relieves a server in trouble."""
        pause_s = self._settings.backoff_s
        tries_left = self._settings.retries
        while not isinstance(answer := await self._answer(body), httpx.Response):
            if tries_left == 0:
                raise EngineError(
                    f"{self._endpoint} {answer.what}, at the last of {self._settings.retries + 1} tries; "
                    "see that the server runs, or correct engine.url, then resume the run"
                )
            tries_left -= 1
            if answer.pause_s is None:
                await asyncio.sleep(pause_s * self._jitter.uniform(0.5, 1.5))
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            elif answer.pause_s <= self._settings.timeout_s:
                # A little later than asked for, each request at its own time.
                await asyncio.sleep(answer.pause_s + self._settings.backoff_s * self._jitter.random())
            else:
                raise EngineError(
                    f"{self._endpoint} {answer.what}, and asks to wait {answer.pause_s:g} s: "
                    "resume the run later, or raise engine.timeout_s"
                )
        return answer

    async def _answer(self, body: dict[str, object]) -> httpx.Response | _Trouble:
        """Try once, or once more for each option that the server wants otherwise.

        Raises:
            EngineError: The server refuses, and will refuse again.
        """
        options = dict(self._options)
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                response = await self._client.post(self._endpoint, json=body | options)
        except TimeoutError:
            return _Trouble(what=f"gave no answer within engine.timeout_s={self._settings.timeout_s:g}")
        except httpx.RequestError as error:
            return _Trouble(what=f"cannot be reached ({_one_line(str(error)) or type(error).__name__})")
        status = response.status_code
        if status == httpx.codes.OK:
            return response
        if status == httpx.codes.BAD_REQUEST and self._adapt(options, _message(response)):
            return await self._answer(body)
        what = f"answered {status}: {_message(response)}"
        if status in _TRY_AGAIN or status >= httpx.codes.INTERNAL_SERVER_ERROR:
            return _Trouble(what=what, pause_s=_retry_after_s(response))
        cure = _CURES.get(status, "correct the server's settings, or use another")
        raise EngineError(f"{self._endpoint} {what}; {cure}")

    def _adapt(self, refused: Mapping[str, object], message: str) -> bool:
        """Return whether the options of all further requests differ from the refused ones, after what the server said.

        Several requests may be told the same at once: the options change with the first of them.
        """
        if "max_tokens" in refused and "max_completion_tokens" in message:
            self._options.pop("max_tokens", None)
            self._options["max_completion_tokens"] = refused["max_tokens"]
        elif refused.get("top_p") == 1 and "'top_p' is not supported" in message:
            self._options.pop("top_p", None)
        return self._options != refused


def _parsed(response: httpx.Response, endpoint: str) -> tuple[str, FinishReason, int | None, int | None]:
    """Return text, finish reason, and the numbers of generated and of prompt tokens where the server counts them."""
    try:
        answer = response.json()
        choice = answer["choices"][0]
        text = _text(choice["message"]["content"])
        usage = answer.get("usage")
        cut = choice.get("finish_reason") == "length"
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise EngineError(
            f"{endpoint} answered 200 with something else than a chat completion: {_message(response)}; "
            "engine.url ends in /v1 for most servers"
        ) from error
    counts = usage if isinstance(usage, dict) else {}
    tokens, prompt_tokens = _count(counts.get("completion_tokens")), _count(counts.get("prompt_tokens"))
    return text, FinishReason.LENGTH if cut else FinishReason.STOP, tokens, prompt_tokens


def _text(content: object) -> str:
    """Return a reply's text, which some servers give in parts; one that is all thinking or all refusal has none.

    Raises:
        TypeError: It is neither text nor parts.
        LookupError: A part does not say what it is, or lacks its text.
    """
    if content is None:
        return ""
    if isinstance(content, list):
        return "".join(part["text"] for part in content if part["type"] == "text")
    if isinstance(content, str):
        return content
    raise TypeError(f"a reply cannot be of type {type(content).__name__}")


def _count(said: object) -> int | None:
    """Return a number of tokens that a server gives, None where it is no such number."""
    return said if type(said) is int and 0 <= said < _TOO_MANY_TOKENS else None


def _message(response: httpx.Response) -> str:
    """Return the server's own words, in one line.

    OpenAI and most others say `{"error": {"message": ...}}`; some `{"error": ...}`, `{"message": ...}` or
    `{"detail": ...}`.
    """
    try:
        said = response.json()
    except (ValueError, RecursionError):
        return _one_line(response.text)
    for key in ("error", "message", "detail"):
        if isinstance(said, dict) and said.get(key):
            said = said[key]
    return _one_line(str(said))


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MESSAGE_CHARACTERS else line[:_MESSAGE_CHARACTERS] + "..."


def _retry_after_s(response: httpx.Response) -> float | None:
    """Return how long the server asks to wait, in seconds, or None.

    The header holds seconds, or a date (RFC 9110, 10.2.3), which is compared with the server's own clock.
    """
    asked = response.headers.get("retry-after")
    if asked is None:
        return None
    try:
        return max(0.0, float(asked))
    except ValueError:
        pass
    try:
        until = email.utils.parsedate_to_datetime(asked)
        return max(0.0, (until - email.utils.parsedate_to_datetime(response.headers["date"])).total_seconds())
    except (ValueError, KeyError, TypeError):
        return None
