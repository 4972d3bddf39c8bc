"""What every engine promises, over all of them: recorded replies, a real HTTP server, and a real small model."""

import functools
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from evolve.engine import Sampling
from evolve.engine.apart import EngineApart
from evolve.engine.scripted import ScriptedEngine
from evolve.engine.server import ServerEngine, ServerSettings
from evolve.errors import ConfigError, EngineError
from evolve.types import Completion, Message, Request
from tests.engine.chat_server import ChatServer, chat

SAMPLING = Sampling(temperature=1.0, top_p=1.0, max_tokens=24)
#: Latency of the server's reply number k: the replies end one after the other.
SPACING_S = 0.05


@pytest.fixture(scope="module")
def scripted(tmp_path_factory):
    """Recorded replies."""
    file = tmp_path_factory.mktemp("scripted") / "replies.jsonl"
    file.write_text("".join(json.dumps({"text": f"reply {k}"}) + "\n" for k in range(7)), encoding="utf-8")
    return ScriptedEngine(file, latency_s=0.05)


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    """Recorded replies, in a process of their own."""
    file = tmp_path_factory.mktemp("apart") / "replies.jsonl"
    file.write_text("".join(json.dumps({"text": f"reply {k}"}) + "\n" for k in range(7)), encoding="utf-8")
    engine = EngineApart(functools.partial(ScriptedEngine, file, latency_s=0.05))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def server():
    """A server on this machine whose replies end one after the other."""
    chat_server = ChatServer(lambda number: chat(f"reply {number}", delay_s=SPACING_S * (1 + number % 8)))
    settings = ServerSettings(url=chat_server.url, model="m", in_flight=32, timeout_s=30.0, retries=0)
    engine = ServerEngine(settings, SAMPLING)
    yield engine
    engine.close()
    chat_server.close()


@pytest.fixture(scope="module")
def vllm(model_cache):
    """SmolLM2-135M in this process, with log-probabilities."""
    pytest.importorskip("vllm")
    from evolve.engine.vllm import VllmEngine
    from evolve.engine.vllm_start import VllmSettings
    from evolve.models import resolve_model

    model = resolve_model("smollm2-135m-instruct", cache=model_cache, notify=lambda _: None)
    settings = VllmSettings(
        max_model_len=512,
        max_num_seqs=16,
        gpu_memory_utilization=0.5,
        kv_cache_gib=1,
        compile=False,
        logprobs=True,
        seed=0,
    )
    engine = VllmEngine(model, SAMPLING, settings)
    yield engine
    engine.close()


MODEL = (pytest.mark.model, pytest.mark.filterwarnings("ignore"))  # vLLM's imports warn of their own deprecations


@pytest.fixture(params=["scripted", "apart", "server", pytest.param("vllm", marks=MODEL)])
def engine(request):
    """Each engine in turn, the same one for all tests of this file."""
    return request.getfixturevalue(request.param)


def ask(group: int, *samples: int) -> Request:
    """Return a request for these samples of a group of 4."""
    messages = (Message(role="user", content=f"Write a Python function that adds {group} to its argument."),)
    return Request(group=group, messages=messages, samples=samples, first=4 * group)


def keys(completions: list[Completion]) -> list[tuple[int, int]]:
    """Return which completions these are, in order."""
    return sorted((completion.group, completion.sample) for completion in completions)


def test_every_wanted_completion_comes_exactly_once(engine):
    """3 groups of 4."""
    completions = list(engine.stream([ask(group, 0, 1, 2, 3) for group in range(3)]))

    assert keys(completions) == [(group, sample) for group in range(3) for sample in range(4)]
    for completion in completions:
        assert completion.text
        assert completion.tokens > 0
        assert completion.prompt_tokens > 0
        assert completion.seconds > 0


def test_samples_that_are_not_wanted_do_not_come(engine):
    """A resumed step lacks samples 1 and 3 of group 2, and sample 0 of group 5; of group 6 it lacks none."""
    completions = list(engine.stream([ask(2, 1, 3), ask(5, 0), ask(6)]))

    assert keys(completions) == [(2, 1), (2, 3), (5, 0)]


def test_nothing_wanted_is_nothing_given(engine):
    """Neither for no request nor for a request without samples."""
    assert list(engine.stream([])) == []
    assert list(engine.stream([ask(0)])) == []


def test_two_streams_one_after_the_other(engine):
    """The second may ask for the same samples again."""
    assert keys(list(engine.stream([ask(0, 0, 1)]))) == [(0, 0), (0, 1)]
    assert keys(list(engine.stream([ask(0, 1, 2)]))) == [(0, 1), (0, 2)]


def test_closing_a_stream_early_leaves_the_engine_usable(engine):
    """Nothing of the abandoned stream turns up in the next; there was more of it than is decoded at once."""
    stream = engine.stream([ask(group, 0, 1, 2, 3) for group in range(24)])
    next(stream)
    stream.close()

    assert keys(list(engine.stream([ask(7, 2)]))) == [(7, 2)]


def test_a_stream_that_is_never_begun_costs_nothing(engine):
    """Its requests are not sent, and closing it is no error."""
    stream = engine.stream([ask(0, 0)])
    stream.close()

    assert keys(list(engine.stream([ask(1, 0)]))) == [(1, 0)]


def test_two_streams_may_be_open_at_once(engine):
    """Another thread reads the second to its end while the first is half read; each gives what it was asked for."""
    first = engine.stream([ask(group, 0, 1, 2, 3) for group in range(2)])
    begun = [next(first)]
    with ThreadPoolExecutor(1) as other:
        second = other.submit(lambda: list(engine.stream([ask(group, 0, 1) for group in range(1, 4)])))
        assert keys(second.result(timeout=120)) == [(group, sample) for group in range(1, 4) for sample in range(2)]

    assert keys(begun + list(first)) == [(group, sample) for group in range(2) for sample in range(4)]


def test_giving_up_a_stream_leaves_the_other_alone(engine):
    """Two ask for the same samples; what the one does not want any more, the other gets."""
    first, second = (engine.stream([ask(0, 0, 1, 2, 3)]) for _ in range(2))
    begun = [next(first)]
    with ThreadPoolExecutor(1) as other:
        whole = other.submit(lambda: list(second))
        first.close()
        assert keys(whole.result(timeout=120)) == [(0, sample) for sample in range(4)]

    assert len(begun) == 1


def test_giving_up_ends_every_open_stream_and_no_later_one(engine):
    """Nothing is owed to who reads them, and who asks next gets all; where no stream is open it does nothing."""
    engine.give_up()
    streams = [engine.stream([ask(group, *range(100)) for group in range(8)]) for _ in range(2)]
    with ThreadPoolExecutor(2) as others:
        for stream in streams:
            next(stream)  # so that each has begun
        began = time.monotonic()
        read = [others.submit(list, stream) for stream in streams]
        engine.give_up()
        assert max(len(reading.result(timeout=30)) for reading in read) < 800

    assert time.monotonic() - began < 30
    assert keys(list(engine.stream([ask(7, 2)]))) == [(7, 2)]


@pytest.fixture(params=["scripted", "apart", "server"])
def slow(request, tmp_path):
    """Engines whose first completion takes a minute."""
    file = tmp_path / "replies.jsonl"
    file.write_text(json.dumps({"text": "reply"}), encoding="utf-8")
    chat_server = ChatServer(lambda _: chat("reply", delay_s=60.0))
    settings = ServerSettings(url=chat_server.url, model="m", in_flight=4, timeout_s=90.0, retries=0)
    scripted = functools.partial(ScriptedEngine, file, latency_s=60.0)
    starts = {
        "scripted": scripted,
        "apart": functools.partial(EngineApart, scripted),
        "server": functools.partial(ServerEngine, settings, SAMPLING),
    }
    engine = starts[request.param]()
    yield engine
    engine.close()
    chat_server.close()


def test_giving_up_waits_for_no_completion(slow):
    """Two threads that have read nothing hear within moments that their streams have ended."""
    with ThreadPoolExecutor(2) as others:
        read = [others.submit(list, slow.stream([ask(group, 0, 1, 2, 3)])) for group in range(2)]
        time.sleep(1.0)
        began = time.monotonic()
        slow.give_up()
        assert [reading.result(timeout=50) for reading in read] == [[], []]

    assert time.monotonic() - began < 10


def test_completions_of_a_server_come_one_by_one(server):
    """8 replies that end 0.05 s apart arrive over at least 0.3 s, not together."""
    arrivals = [time.monotonic() for _ in server.stream([ask(group, 0, 1, 2, 3) for group in range(2)])]

    assert len(arrivals) == 8
    assert arrivals[-1] - arrivals[0] >= 0.3


@pytest.mark.model
@pytest.mark.filterwarnings("ignore")
def test_completions_of_a_model_come_one_by_one(vllm):
    """More samples than are decoded at once: the last come after the first, and not in one go."""
    arrivals = [time.monotonic() for _ in vllm.stream([ask(group, *range(12)) for group in range(3)])]

    assert len(arrivals) == 36
    assert len({round(arrival, 2) for arrival in arrivals}) >= 3


@pytest.mark.model
@pytest.mark.filterwarnings("ignore")
def test_a_model_gives_tokens_and_their_log_probabilities(vllm):
    """One log-probability a token, none positive, and different samples of one prompt."""
    completions = list(vllm.stream([ask(3, *range(4))]))

    for completion in completions:
        assert len(completion.token_ids) == len(completion.logprobs) == completion.tokens <= SAMPLING.max_tokens
        assert all(logprob <= 0 for logprob in completion.logprobs)
    assert len({completion.token_ids for completion in completions}) > 1


@pytest.mark.model
@pytest.mark.filterwarnings("ignore")
def test_a_prompt_that_is_too_long_is_refused_and_the_engine_lives(vllm):
    """The error names the option; the next prompt is answered."""
    long = Request(group=0, messages=(Message(role="user", content="word " * 600),), samples=(0,), first=0)
    with pytest.raises(ConfigError, match=r"do not fit into engine\.max_model_len=512"):
        list(vllm.stream([ask(1, 0), long]))

    assert keys(list(vllm.stream([ask(1, 0)]))) == [(1, 0)]


@pytest.mark.model
@pytest.mark.filterwarnings("ignore")
def test_closing_a_model_ends_what_another_thread_reads(vllm):
    """Its reader hears of it, and so does who asks for more. The last test of the file, for it closes its engine."""
    stream = vllm.stream([ask(0, *range(400))])
    next(stream)
    with ThreadPoolExecutor(1) as other:
        rest = other.submit(lambda: list(stream))
        vllm.close()
        with pytest.raises(EngineError, match="closed while it decoded"):
            rest.result(timeout=60)

    with pytest.raises(EngineError, match="the engine is closed"):
        list(vllm.stream([ask(0, 0)]))
