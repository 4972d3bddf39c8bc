"""An engine over any OpenAI-compatible server: many requests in flight, one for each completion.

One request for each sample, not one for each group (`n`), because a group would arrive only when its slowest sample has
ended; servers that cache prefixes compute the shared prompt once all the same. Sampling is not seeded: servers that
batch do not repeat a seeded completion anyhow, and vLLM samples slower with a seed for each request.

OpenAI's reasoning models refuse `max_tokens`, which most other servers know alone, and ask for `max_completion_tokens`;
some refuse `top_p`, even 1. What one request was told so, the later ones keep to.

A prompt that a server refuses, while it answers others, is an empty completion: the run would otherwise end at that
prompt, and each time that it is resumed.
"""

import asyncio
import math
import queue
import random
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field

import httpx

from evolve.engine import Sampling, estimated_prompt_tokens, estimated_tokens
from evolve.engine.answers import Reply, message, one_line, reply_of, retry_after_s
from evolve.errors import ConfigError, EngineError
from evolve.types import Completion, FinishReason, Request

_PATH = "/chat/completions"
#: Answers that may be better the next time: time-out, conflict, too early. So are all from 500 on.
_TRY_AGAIN = frozenset({408, 409, 425})
#: Answers that may concern one prompt alone: it is too long, or a filter does not like it.
_REFUSALS = frozenset({400, 413, 422})
#: So many in a row concern more than a prompt; a step may have as many requests with a few prompts.
_MOST_REFUSALS = 500
#: What OpenAI says, also with 429, when waiting does not help.
_NO_CREDIT = "insufficient_quota"
#: What the user can do about an answer that stays the same.
_CURES = {
    400: "correct the option that the server names",
    401: "give a valid key in the file that engine.key_file names",
    403: "give a key that may use this model in the file that engine.key_file names",
    429: "add credit to the account, then resume the run",
    404: "engine.url ends in /v1 for most servers, and `model` is one that the server serves",
}
#: Longest pause between two tries where the server names none, in seconds.
_LONGEST_PAUSE_S = 30.0
#: How long a server may take to say which models it has, in seconds.
_REACH_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Which server, and how hard to try.

    Attributes:
        url: Base URL, up to and including `/v1`.
        model: The model's name on the server.
        api_key: Sent as bearer token; None sends none.
        in_flight: Requests at once.
        timeout_s: Longest wait for one answer, and the longest wait that the server may ask for.
        retries: Further tries of a request after a connection error, a time-out, an answer of 408, 409, 425, or 500 and
            above, or a 200 without a chat completion. One of 429, too many requests, counts as a try only where the
            server has not answered any request for `timeout_s`.
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
    """A try that failed but may succeed later.

    Attributes:
        what: Happened.
        pause_s: How long the server asks to wait, if it says.
        cure: What the user can do if it goes on.
        is_limit: Whether nothing is wrong, but that too much is asked for.
    """

    what: str
    pause_s: float | None = None
    cure: str = "see that the server runs, or correct engine.url, then resume the run"
    is_limit: bool = False


#: What comes of a prompt that is refused.
_NOTHING = Reply(text="", finish_reason=FinishReason.STOP, tokens=0, prompt_tokens=None)


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
        why = one_line(str(error)) or type(error).__name__
        raise EngineError(
            f"{address} cannot be reached ({why}); see that the server runs, or correct engine.url"
        ) from error
    status = response.status_code
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise EngineError(f"{address} answered {status}: {message(response)}; {_CURES[status]}")
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
        self._endpoint = settings.url.rstrip("/") + _PATH
        self._jitter = jitter or random.Random()
        self._clock = clock
        self._options: dict[str, object] = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
        }
        self._answered_at = -math.inf  # when a good answer came
        self._refusals = 0  # since then
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
        held: list[Completion] = []  # refusals come faster than good answers, which say that they are no one's fault
        why = ""
        try:
            for answered in asyncio.as_completed(tasks):
                completion, refused = await answered
                held.append(completion)
                why = refused or why
                if self._has_answered:
                    for each in held:
                        deliver(each)
                    held = []
            if held and not self._has_answered:
                raise EngineError(why)
            for each in held:
                deliver(each)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _complete(self, request: Request, sample: int) -> tuple[Completion, str]:
        """Return a completion, and why its prompt was refused, if it was: the completion is empty then."""
        body: dict[str, object] = {
            "model": self._settings.model,
            "messages": [{"role": message.role, "content": message.content} for message in request.messages],
        }
        async with self._slots:
            started = self._clock()
            answer = await self._insist(body)
            refused = answer if isinstance(answer, str) else ""
            self._count_refusal(refused)
            reply = _NOTHING if isinstance(answer, str) else answer
            text, tokens, prompt_tokens = reply.text, reply.tokens, reply.prompt_tokens
            completion = Completion(
                group=request.group,
                sample=sample,
                text=text,
                tokens=estimated_tokens(text) if tokens is None else tokens,
                prompt_tokens=estimated_prompt_tokens(request.messages) if prompt_tokens is None else prompt_tokens,
                finish_reason=reply.finish_reason,
                seconds=self._clock() - started,
            )
            return completion, refused

    @property
    def _has_answered(self) -> bool:
        return self._answered_at > -math.inf

    def _count_refusal(self, refused: str) -> None:
        """Remember that a prompt was refused or, where nothing was, that the server is well.

        Raises:
            EngineError: Too many were refused in a row.
        """
        if not refused:
            self._answered_at, self._refusals = self._clock(), 0
            return
        self._refusals += 1
        if self._refusals >= _MOST_REFUSALS:
            raise EngineError(f"{refused} (so it was with {self._refusals} requests in a row)")

    async def _insist(self, body: dict[str, object]) -> Reply | str:
        """Return the first good answer, or why the server refuses this prompt.

        The slot stays taken meanwhile, which relieves a server in trouble.
        """
        began, own_s, tries_left = self._clock(), self._settings.backoff_s, self._settings.retries
        while isinstance(answer := await self._answer(body), _Trouble):
            pause_s = own_s * self._jitter.uniform(0.5, 1.5)
            if answer.pause_s is not None:
                if answer.pause_s > self._settings.timeout_s:
                    raise EngineError(
                        f"{self._endpoint} {answer.what}, and asks to wait {answer.pause_s:g} s: "
                        "resume the run later, or raise engine.timeout_s"
                    )
                # A little later than asked for, each request at its own time.
                pause_s = max(pause_s, answer.pause_s + self._settings.backoff_s * self._jitter.random())
            # Where too much is asked for, each request has its turn as long as the server answers any.
            waited_s = self._clock() - max(began, self._answered_at)
            if not answer.is_limit or waited_s + pause_s >= self._settings.timeout_s:
                if tries_left == 0:
                    raise EngineError(
                        f"{self._endpoint} {answer.what}, at the last of {self._settings.retries + 1} tries; "
                        f"{answer.cure}"
                    )
                tries_left -= 1
            await asyncio.sleep(pause_s)
            own_s = min(2 * own_s, _LONGEST_PAUSE_S)
        return answer

    async def _answer(self, body: dict[str, object]) -> Reply | _Trouble | str:
        """Try once, or once more for each option that the server wants otherwise; a text says why a prompt is refused.

        Raises:
            EngineError: The server refuses, and will refuse every prompt.
        """
        options = dict(self._options)
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                response = await self._client.post(self._endpoint, json=body | options)
        except TimeoutError:
            return _Trouble(what=f"gave no answer within engine.timeout_s={self._settings.timeout_s:g}")
        except httpx.RequestError as error:
            return _Trouble(what=f"cannot be reached ({one_line(str(error)) or type(error).__name__})")
        status = response.status_code
        if status == httpx.codes.OK:
            return reply_of(response) or _Trouble(
                what=f"answered 200 with something else than a chat completion: {message(response)}",
                cure="engine.url ends in /v1 for most servers",
            )
        if status == httpx.codes.BAD_REQUEST and self._adapt(options, message(response)):
            return await self._answer(body)
        what = f"answered {status}: {message(response)}"
        if status == httpx.codes.TOO_MANY_REQUESTS and _NO_CREDIT not in response.text:
            cure = f"resume the run with engine.in_flight= less than {self._settings.in_flight}"
            return _Trouble(what=what, pause_s=retry_after_s(response), cure=cure, is_limit=True)
        if status in _TRY_AGAIN or status >= httpx.codes.INTERNAL_SERVER_ERROR:
            return _Trouble(what=what, pause_s=retry_after_s(response))
        cure = _CURES.get(status, "correct the server's settings, or use another")
        if response.next_request is not None:  # a redirect
            cure = f"it redirects to {response.next_request.url}: correct engine.url"
        if status in _REFUSALS:
            return f"{self._endpoint} {what}; {cure}"
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
