"""The engine over an OpenAI-compatible server, against a real server on this machine."""

import contextlib
import time

import pytest

from evolve.engine import Sampling
from evolve.engine.build import build_engine
from evolve.engine.server import ServerEngine, ServerSettings, reach
from evolve.errors import ConfigError, EngineError
from evolve.options import parse_options
from evolve.types import FinishReason
from tests.engine.server_engine import ask, open_engine


def settings_of(url):
    """Return the settings of a server that wants a key."""
    return ServerSettings(url=url, model="m", api_key="secret", in_flight=1, timeout_s=1.0, retries=0)


def test_as_many_requests_are_in_flight_as_configured(say):
    """192 completions of 0.3 s each: 64 at once and never more, each yielded once."""
    server = say.serve(lambda number: say.chat(f"reply {number}", delay_s=0.3))
    with open_engine(server.url, in_flight=64) as engine:
        completions = list(engine.stream([ask(16, group) for group in range(12)]))

    assert sorted((c.group, c.sample) for c in completions) == [(g, s) for g in range(12) for s in range(16)]
    assert server.most_in_flight == 64


def test_a_completion_is_yielded_before_slower_ones_end(say):
    """The first of the group ends after 0.1 s, when the server still works on the others, for 3 s."""
    server = say.serve(lambda number: say.chat(str(number), delay_s=0.1 if number == 2 else 3.0))
    with open_engine(server.url) as engine:
        stream = engine.stream([ask(4)])
        assert next(stream).text == "2"
        assert server.in_flight >= 3
        assert len(list(stream)) == 3


def test_the_request_holds_what_was_configured(say):
    """Model, messages, sampling and key go out as given, one completion a request."""
    server = say.serve(lambda _: say.chat("x"))
    with open_engine(server.url + "/", api_key="secret") as engine:
        list(engine.stream([ask()]))

    assert server.paths == ["/v1/chat/completions"]
    assert server.headers[0]["authorization"] == "Bearer secret"
    assert server.bodies == [
        {
            "model": "m",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Improve this."}],
            "temperature": 0.7,
            "top_p": 0.9,
            "max_tokens": 64,
        }
    ]


def test_the_server_s_count_of_tokens_is_taken(say):
    """Tokens, prompt tokens and the reason of the end are the server's."""
    usage = {"prompt_tokens": 11, "completion_tokens": 5}
    server = say.serve(lambda _: say.chat("abc", finish_reason="length", usage=usage))
    with open_engine(server.url) as engine:
        (completion,) = engine.stream([ask()])

    assert (completion.tokens, completion.prompt_tokens) == (5, 11)
    assert completion.finish_reason is FinishReason.LENGTH


def test_tokens_are_estimated_where_the_server_counts_none(say):
    """Four characters a token, rounded up: 9 characters are 3; the messages have 9 and 13 characters, 3 + 4."""
    server = say.serve(lambda _: say.chat("123456789"))
    with open_engine(server.url) as engine:
        (completion,) = engine.stream([ask()])

    assert (completion.tokens, completion.prompt_tokens) == (3, 7)


def test_a_reply_without_content_is_an_empty_text(say):
    """A reply that is all thinking has the content null; the loop counts it as empty."""
    server = say.serve(lambda _: say.chat(None))
    with open_engine(server.url) as engine:
        assert next(engine.stream([ask()])).text == ""


def test_a_reply_in_parts_is_the_text_of_its_parts(say):
    """Some servers answer with a list of parts: those that hold thinking are no reply; without a part it is empty."""
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "text", "text": "```python\n"},
        {"type": "text", "text": "x = 1\n```"},
    ]
    server = say.serve(lambda number: say.chat(parts if number == 0 else []))
    with open_engine(server.url) as engine:
        assert next(engine.stream([ask()])).text == "```python\nx = 1\n```"
        assert next(engine.stream([ask()])).text == ""


@pytest.mark.parametrize(
    "usage",
    [
        *({"completion_tokens": odd, "prompt_tokens": odd} for odd in ("5", -5, 10**30, 2**53, True, 5.0, [5], None)),
        {},
        "none",
        [5],
    ],
)
def test_a_count_that_is_none_is_estimated(say, usage):
    """A text, a fraction, a flag, less than nothing, or more than a database holds is no count of tokens."""
    server = say.serve(lambda _: say.chat("123456789", usage=usage))
    with open_engine(server.url) as engine:
        (completion,) = engine.stream([ask()])

    assert (completion.tokens, completion.prompt_tokens) == (3, 7)


def refusal_of(body):
    """Return how OpenAI refuses a reasoning model's request, or None where it takes it."""
    cure = {"max_tokens": " Use 'max_completion_tokens' instead.", "top_p": ""}
    name = next((name for name in cure if name in body), None)
    if name is None:
        return None
    message = f"Unsupported parameter: '{name}' is not supported with this model.{cure[name]}"
    return {"error": {"message": message, "param": name, "code": "unsupported_parameter"}}


def test_a_model_that_wants_other_options_gets_them(say):
    """Each option is refused once in each request under way, no further try is spent on it, and later ones know."""

    def plan(number):
        refusal = refusal_of(server.bodies[number])
        return say.chat("there") if refusal is None else say.Answer(status=400, body=refusal)

    server = say.serve(plan)
    settings = ServerSettings(url=server.url, model="m", in_flight=2, timeout_s=20.0, retries=0)
    with contextlib.closing(ServerEngine(settings, Sampling(temperature=1.0, top_p=1.0, max_tokens=64))) as engine:
        assert [c.text for c in engine.stream([ask(2)])] == ["there"] * 2
        before = len(server.bodies)
        assert [c.text for c in engine.stream([ask(1)])] == ["there"]

    assert 4 <= before <= 6
    assert len(server.bodies) == before + 1
    options = {name: value for name, value in server.bodies[-1].items() if name not in ("model", "messages")}
    assert options == {"temperature": 1.0, "max_completion_tokens": 64}


def test_a_choice_of_the_user_s_is_not_dropped(say):
    """A nucleus of 0.9 cannot be had: the run stops, and the line names the option."""
    server = say.serve(lambda _: say.Answer(status=400, body=refusal_of({"top_p": 0.9})))
    with open_engine(server.url) as engine, pytest.raises(EngineError, match="'top_p' is not supported"):
        list(engine.stream([ask()]))
    assert len(server.bodies) == 1


def test_closing_a_stream_hangs_up_on_what_is_in_flight(say):
    """The server sees all other connections end at once, and the engine answers the next stream."""
    server = say.serve(lambda number: say.chat(str(number), delay_s=30.0 if 0 < number < 8 else 0.0))
    with open_engine(server.url, in_flight=8) as engine:
        stream = engine.stream([ask(8)])
        assert next(stream).text == "0"
        stream.close()
        deadline = time.monotonic() + 20.0
        while server.in_flight and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (server.in_flight, server.abandoned) == (0, 7)
        assert len(list(engine.stream([ask(8)]))) == 8


def test_closing_the_engine_ends_a_stream(say):
    """Who still waits for a completion gets an error, not an endless wait."""
    server = say.serve(lambda number: say.chat(str(number), delay_s=0.0 if number == 0 else 30.0))
    with open_engine(server.url) as engine:
        stream = engine.stream([ask(2)])
        next(stream)
        engine.close()
        with pytest.raises(EngineError, match="closed"):
            next(stream)
        with pytest.raises(EngineError, match="closed"):
            list(engine.stream([ask()]))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": "localhost:8000"}, "engine.url=localhost:8000"),
        ({"url": "http://"}, "engine.url"),
        ({"url": "http://a:port/v1"}, "engine.url"),
        ({"in_flight": 0}, "engine.in_flight"),
        ({"timeout_s": 0.0}, "engine.timeout_s"),
        ({"retries": -1}, "engine.retries"),
        ({"api_key": "a\nb"}, "key_file"),
        ({"api_key": ""}, "key_file"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes, words):
    """Before any request, naming the option."""
    good = {"url": "http://h/v1", "model": "m", "api_key": None, "in_flight": 1, "timeout_s": 1.0, "retries": 0}
    with pytest.raises(ConfigError, match=words):
        ServerSettings(**(good | changes))


def test_a_key_file_that_is_no_text_is_refused(tmp_path):
    """A wrong file is named before any request, and nothing of it is shown."""
    file = tmp_path / "key"
    file.write_bytes(bytes(range(128, 256)))
    words = ["problem=circle_packing", "engine=server", "model=m", f"engine.key_file={file}"]

    with pytest.raises(ConfigError, match=r"key is no text: it must hold the API key alone$"):
        build_engine(parse_options(words), None)


@pytest.mark.parametrize("status", [200, 404])
def test_a_server_is_found_by_asking_for_its_models(status, say):
    """Which costs no token; the key goes along, and a server without such a list is there all the same."""
    server = say.serve(lambda _: say.Answer(status=status, body={"data": []}))

    assert f"{server.url}/models (it says {status}); no completion was tried" in reach(settings_of(server.url + "/"))
    assert server.paths == ["/v1/models"]
    assert server.headers[0]["authorization"] == "Bearer secret"


def test_a_server_that_refuses_the_key_is_told_from_one_that_is_not_there(say):
    """Each with its own cure, at once and without another try."""
    server = say.serve(lambda _: say.Answer(status=401, body={"error": {"message": "no such key"}}))

    with pytest.raises(EngineError, match=r"answered 401: no such key; give a valid key"):
        reach(settings_of(server.url))
    with pytest.raises(EngineError, match=r"http://127\.0\.0\.1:1/v1/models cannot be reached .*correct engine\.url$"):
        reach(settings_of("http://127.0.0.1:1/v1"))


def test_the_key_does_not_show():
    """Neither in a traceback nor in a log."""
    assert "secret" not in repr(settings_of("http://h/v1"))
