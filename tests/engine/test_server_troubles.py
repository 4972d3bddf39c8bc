"""What the engine over a server makes of answers that are no reply, against a real server on this machine."""

import time

import pytest

from evolve.errors import EngineError
from evolve.types import Message, Request
from tests.engine.server_engine import ask, open_engine


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
        (429, {"error": {"message": "pay", "code": "insufficient_quota"}}, r"answered 429: pay; add credit"),
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


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>hello</html>", r"<html>hello"),
        (b'{"choices": [{"mess', r'{"choices": \[{"mess'),
        (b"[" * 100_000, r"\[\["),
        ({"error": {"message": "Provider returned error", "code": 502}}, "Provider returned error"),
        ({"choices": []}, ""),
        ({"choices": [{"message": "hi"}]}, ""),
        *(
            ({"choices": [{"message": {"content": odd}}]}, "")
            for odd in (5, True, {"text": "hi"}, ["hi"], [{"text": "hi"}], [{"type": "text", "text": 5}])
        ),
    ],
)
def test_an_answer_that_is_no_completion_is_tried_again(say, body, words):
    """Once it is followed by a good one; where it is not, the line says what was answered and how often."""
    server = say.serve(lambda number: say.chat("there") if number == 1 else say.Answer(body=body))
    whole = (
        rf"answered 200 with something else than a chat completion: .*{words}.*, at the last of 2 tries; engine\.url"
    )
    with open_engine(server.url, retries=1) as engine:
        assert [c.text for c in engine.stream([ask()])] == ["there"]
        with pytest.raises(EngineError, match=whole):
            list(engine.stream([ask()]))
    assert len(server.bodies) == 4


def test_a_redirect_says_where_to(say):
    """As a whole address, also where the server names a part of it."""
    server = say.serve(lambda _: say.Answer(status=307, headers={"location": "/api/v1/chat/completions"}))
    where = server.url.removesuffix("/v1") + "/api/v1/chat/completions"
    with (
        open_engine(server.url) as engine,
        pytest.raises(EngineError, match=f"it redirects to {where}: correct engine"),
    ):
        list(engine.stream([ask()]))


@pytest.mark.parametrize("headers", [{}, {"retry-after": "0"}])
def test_a_rate_limit_is_waited_for(say, headers):
    """Of 40 requests that come together the server answers one in 20 ms; none has more tries than the first allows."""
    answered = []

    def plan(_):
        if answered and time.monotonic() - answered[-1] < 0.02:
            return say.Answer(status=429, headers=headers)
        answered.append(time.monotonic())
        return say.chat("there")

    server = say.serve(plan)
    with open_engine(server.url, retries=0) as engine:
        assert len(list(engine.stream([ask(40)]))) == 40
    assert len(server.bodies) > 80


def test_a_rate_limit_without_an_end_is_an_error_that_names_the_cure(say):
    """When the server has answered nobody for the time-out."""
    server = say.serve(lambda _: say.Answer(status=429, body={"error": "slow down"}))
    words = r"429: slow down, at the last of 1 tries; resume the run with engine\.in_flight= less than 64"
    with open_engine(server.url, retries=0, timeout_s=1.0) as engine, pytest.raises(EngineError, match=words):
        list(engine.stream([ask()]))
    assert len(server.bodies) > 2


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_prompt_that_is_refused_by_a_server_that_answers_others_is_an_empty_completion(say, status):
    """It comes at once, and the good ones later; the next stream need not wait for one."""

    def plan(number):
        refused = server.bodies[number]["messages"][1]["content"] == "bad"
        return say.Answer(status=status, body={"error": "filtered"}) if refused else say.chat("there", delay_s=0.5)

    server = say.serve(plan)
    bad = Request(group=1, messages=(Message(role="system", content=""), Message(role="user", content="bad")),
                  samples=(0, 1), first=2)  # fmt: skip
    with open_engine(server.url) as engine:
        completions = list(engine.stream([ask(2), bad]))
        again = list(engine.stream([bad]))

    assert sorted((c.group, c.sample, c.text) for c in completions) == [
        *((0, sample, "there") for sample in (0, 1)),
        *((1, sample, "") for sample in (0, 1)),
    ]
    assert [(c.text, c.tokens) for c in again] == [("", 0)] * 2
    assert len(server.bodies) == 6


def test_a_server_that_refuses_everything_ends_the_run(say):
    """It has answered once, and so many refusals in a row are no prompt's fault."""
    server = say.serve(lambda number: say.Answer(status=400, body={"error": "no"}) if number else say.chat("there"))
    with open_engine(server.url) as engine:
        list(engine.stream([ask()]))
        with pytest.raises(
            EngineError, match=r"400: no; correct the option .* \(so it was with 500 requests in a row\)"
        ):
            list(engine.stream([ask(1000)]))


def test_what_came_before_a_refusal_is_good(say):
    """The first answer is yielded although the second request is refused for its key, and the third is abandoned."""
    plans = [
        say.chat("good"),
        say.Answer(status=401, body={"error": "bad"}, delay_s=0.5),
        say.chat("late", delay_s=30.0),
    ]
    server = say.serve(lambda number: plans[number])
    with open_engine(server.url) as engine:
        stream = engine.stream([ask(3)])
        assert next(stream).text == "good"
        start = time.monotonic()
        with pytest.raises(EngineError, match="401: bad"):
            next(stream)
        assert time.monotonic() - start < 20.0
    assert server.abandoned == 1


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
