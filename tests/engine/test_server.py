"""The engine over an OpenAI-compatible server, against a real server on this machine."""

import contextlib
import random
import time

import pytest

from evolve.engine import Sampling
from evolve.engine.build import build_engine
from evolve.engine.server import ServerEngine, ServerSettings, reach
from evolve.errors import ConfigError, EngineError
from evolve.options import parse_options
from evolve.types import FinishReason, Message, Request

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


def settings_of(url):
    """Return the settings of a server that wants a key."""
    return ServerSettings(url=url, model="m", api_key="secret", in_flight=1, timeout_s=1.0, retries=0)


def ask(samples=1, group=0):
    """Return a request for so many samples."""
    messages = (Message(role="system", content="Be brief."), Message(role="user", content="Improve this."))
    return Request(group=group, messages=messages, samples=tuple(range(samples)), first=0)


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


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503])
def test_a_passing_failure_is_tried_again(say, status):
    """Two failures, then the answer."""
    server = say.serve(lambda number: say.Answer(status=status) if number < 2 else say.chat("there"))
    with open_engine(server.url) as engine:
        assert [c.text for c in engine.stream([ask()])] == ["there"]
    assert len(server.bodies) == 3


def test_a_broken_connection_is_tried_again(say):
    """The server hangs up once without a word."""
    server = say.serve(lambda number: say.Answer(status=None) if number == 0 else say.chat("there"))
    with open_engine(server.url) as engine:
        assert [c.text for c in engine.stream([ask()])] == ["there"]


def test_a_request_that_times_out_is_tried_again(say):
    """The first answer would take 30 s; the limit is 0.3 s."""
    server = say.serve(lambda number: say.chat("there", delay_s=30.0 if number == 0 else 0.0))
    with open_engine(server.url, timeout_s=0.3) as engine:
        assert [c.text for c in engine.stream([ask()])] == ["there"]


@pytest.mark.parametrize(
    "headers",
    [
        {"retry-after": "1"},
        {"retry-after": "Fri, 01 Jan 2021 00:00:11 GMT", "date": "Fri, 01 Jan 2021 00:00:10 GMT"},
    ],
)
def test_the_pause_that_a_server_asks_for_is_kept(say, headers):
    """A second, as a number and as a date by the server's own clock, where the own pause would be 0.02 s."""
    server = say.serve(lambda number: say.Answer(status=429, headers=headers) if number == 0 else say.chat("there"))
    with open_engine(server.url) as engine:
        start = time.monotonic()
        assert [c.text for c in engine.stream([ask()])] == ["there"]
        assert 1.0 <= time.monotonic() - start < 20.0


def test_a_pause_beyond_the_time_out_ends_the_run(say):
    """An hour's pause is not slept through in silence."""
    server = say.serve(lambda _: say.Answer(status=429, headers={"retry-after": "3600"}, body={"error": "quota"}))
    with open_engine(server.url) as engine, pytest.raises(EngineError, match=r"429: quota, and asks to wait 3600 s"):
        list(engine.stream([ask()]))
    assert len(server.bodies) == 1


def test_retries_end(say):
    """One try and two retries; the error repeats the server's words."""
    server = say.serve(lambda _: say.Answer(status=503, body={"error": {"message": "warming\nup"}}))
    with (
        open_engine(server.url, retries=2) as engine,
        pytest.raises(EngineError, match=r"answered 503: warming up, at the last of 3 tries"),
    ):
        list(engine.stream([ask()]))
    assert len(server.bodies) == 3


def test_a_server_that_is_not_there_is_an_engine_error():
    """Nobody listens on port 9 of this machine."""
    with (
        open_engine("http://127.0.0.1:9/v1", retries=1) as engine,
        pytest.raises(EngineError, match="cannot be reached"),
    ):
        list(engine.stream([ask()]))


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (400, {"error": {"message": "max_tokens is\nnot supported"}}, r"answered 400: max_tokens is not supported; "),
        (401, {"error": {"message": "bad key"}}, r"answered 401: bad key; give a valid key in the file .*key_file"),
        (403, {"detail": "not yours"}, r"answered 403: not yours; .*key_file"),
        (404, {"message": "no model m"}, r"answered 404: no model m; engine.url ends in /v1"),
        (422, {"detail": [{"msg": "top_p"}]}, r"answered 422: .*top_p"),
        (307, b"<html>moved</html>", r"answered 307: <html>moved"),
        (200, b"<html>hello</html>", r"something else than a chat completion: <html>hello"),
        (200, {"choices": []}, r"something else than a chat completion"),
        (200, {"choices": [{"message": "hi"}]}, r"something else than a chat completion"),
        *(
            (200, {"choices": [{"message": {"content": odd}}]}, r"something else than a chat completion")
            for odd in (5, True, {"text": "hi"}, ["hi"], [{"text": "hi"}], [{"type": "text", "text": 5}])
        ),
        (200, b"[" * 100_000, r"something else than a chat completion: \[\["),
        (400, b"[" * 100_000, r"answered 400: \[\["),
    ],
)
def test_a_lasting_refusal_is_not_tried_again(say, status, body, words):
    """One request, one line with the server's own words."""
    server = say.serve(lambda _: say.Answer(status=status, body=body))
    with open_engine(server.url) as engine, pytest.raises(EngineError, match=words) as caught:
        list(engine.stream([ask()]))
    assert len(server.bodies) == 1
    assert "\n" not in str(caught.value)


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


def test_what_came_before_a_refusal_is_good(say):
    """The first answer is yielded although the second request is refused, and the third is abandoned."""
    plans = [
        say.chat("good"),
        say.Answer(status=400, body={"error": "bad"}, delay_s=0.5),
        say.chat("late", delay_s=30.0),
    ]
    server = say.serve(lambda number: plans[number])
    with open_engine(server.url) as engine:
        stream = engine.stream([ask(3)])
        assert next(stream).text == "good"
        start = time.monotonic()
        with pytest.raises(EngineError, match="400: bad"):
            next(stream)
        assert time.monotonic() - start < 20.0
    assert server.abandoned == 1


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


def test_pauses_differ_between_requests_that_fail_together(say):
    """Jitter: 16 requests that failed at the same moment come back spread over the pause's range."""
    came = []

    def plan(number):
        came.append(time.monotonic())
        return say.Answer(status=503, delay_s=0.5) if number < 16 else say.chat("x")

    server = say.serve(plan)
    with open_engine(server.url, backoff_s=1.0) as engine:
        assert len(list(engine.stream([ask(16)]))) == 16
    # Factors 0.5 to 1.5 of a second: 16 draws span at least a third of it but in one of 10^5 cases.
    assert max(came[16:]) - min(came[16:]) > 0.3


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
