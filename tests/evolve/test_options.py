"""From words to configurations."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolve.config import Config, FrozenConfig, GrpoConfig, ScriptedConfig, ServerConfig, VllmConfig
from evolve.errors import ConfigError
from evolve.options import dump_config, load_config, parse_options

SCRIPTED = ["problem=circle_packing", "engine=scripted", "engine.file=replies.jsonl"]


def test_the_shortest_command_gives_the_defaults():
    """A problem is all that must be named."""
    config = parse_options(["problem=circle_packing"])

    assert config.problem.name == "circle_packing"
    assert config.engine == VllmConfig()
    assert config.learner == FrozenConfig()


def test_a_variant_brings_its_own_options():
    """engine=scripted has a file and a latency, and no memory settings of vLLM."""
    assert parse_options([*SCRIPTED, "engine.latency_s=0.5"]).engine == ScriptedConfig(
        file=str(Path("replies.jsonl").absolute()), latency_s=0.5
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "problem=NAME"),
        (["problem=nonsense"], "circle_packing, circle_packing_32"),
        (["problem=openevolve"], "problem=openevolve needs problem.path=DIR: the folder of a task"),
        (["problem=circle_packing", "engine=gpt"], "vllm, server, scripted"),
        (["problem=circle_packing", "selection=best"], "map_elites, puct, top_k, best_of_n, random"),
        (["problem=circle_packing", "learner=sft"], "frozen"),
        (["problem=circle_packing", "rolout.parents=2"], "did you mean rollout.parents?"),
        (["problem=circle_packing", "engine.latency_s=1"], "engine.latency_s is no option of this run: it belongs to"),
        (["problem=circle_packing", "engine.keyfile=k"], "did you mean engine.key_file?"),
        (
            ["problem=circle_packing", "engine=server", "engine.api_key=k"],
            "options of engine=server are url, key_file, in_flight, timeout_s, retries",
        ),
        (["problem=circle_packing", "engine.api_key=k"], "options of engine are max_model_len, "),
        (
            ["problem=circle_packing", "budget.hours=1"],
            "options of budget are steps, minutes, completions, tokens, score",
        ),
        (["problem=circle_packing", "server.url=http://h/v1"], "did you mean database.url or engine.url?"),
        (["problem=circle_packing", "steps=3"], "did you mean budget.steps?"),
        (["problem=circle_packing", "modle=x"], "did you mean model?"),
        (["problem=circle_packing", "selektion=puct"], "did you mean selection?"),
        (["problem=circle_packing", "api_key=k"], "evolve/config lists all options"),
        (["problem=circle_packing", "engine.kind=server"], "say engine=server"),
        (["problem=circle_packing", "budget.minutes=nan"], "budget.minutes=nan is no finite number"),
        (["problem=circle_packing", "budget.score=inf"], "budget.score=inf is no finite number"),
        (["problem=circle_packing", "reward.failed=nan"], "reward.failed=nan is no finite number"),
        (["problem=circle_packing", "problem.wall_s=inf"], "problem.wall_s=inf is no finite number"),
        (["problem=circle_packing", "problem.packages=[a.b]"], "as programs import it"),
        (["problem=circle_packing", "problem.packages=sklearn"], "is no list: say problem.packages=[sklearn]"),
        (["problem=circle_packing", "selection.measures=score"], "is no list: say selection.measures=[score]"),
        (
            ["problem=circle_packing", "learner=grpo", "learner.report_to=wandb"],
            "is no list: say learner.report_to=[wandb]",
        ),
        (["problem=circle_packing", "run.seed=99999999999999999999"], "too large"),
        (["problem=circle_packing", "sampling.top_p=0"], "at most 1"),
        (["problem=circle_packing", "engine.max_num_seqs=0"], "at least 1"),
        (["problem=circle_packing", "engine.gpu_memory_utilization=90"], "at most 1"),
        (["problem=circle_packing", "engine=server", "engine.retries=-1"], "at least 0"),
        (["problem=circle_packing", "engine=server", "engine.timeout_s=0"], "above 0"),
        (["problem=circle_packing", "engine=scripted"], "engine.file is missing"),
        (["problem=circle_packing", "engine=server"], "engine=server needs model=NAME"),
        (["problem=circle_packing", "engine=server", "model="], "engine=server needs model=NAME"),
        (["problem=circle_packing", "rollout.parents=two"], "rollout.parents=two"),
        (["problem=circle_packing", "rollout.parents=2", "rollout.parents=2.5"], "rollout.parents=2.5: "),
        (["problem=circle_packing", "rollout.parents=0"], "at least 1"),
        (["problem=circle_packing", "budget.steps=-1"], "at least 0"),
        (["problem=circle_packing", "sandbox.require=strong"], "full, lite, lite-minus, none"),
        (["problem=circle_packing", "reward.mode=best"], "problem, raw, shaped, improvement, better"),
        (["problem=circle_packing", "selection.exploration=0.9"], "at most 1"),
        (["problem=circle_packing", "selection.measures=[]"], "at least one measure"),
        (["problem=circle_packing", "selection.measures=[score,score]"], "none of them twice"),
        (["problem=circle_packing", "selection.bins=0"], "at least 1"),
        (["problem=circle_packing", "selection.population=0"], "at least 1"),
        (["problem=circle_packing", "selection.failures=1.5"], "from 0 to 1"),
        (["problem=circle_packing", "selection.migration_share=-0.1"], "from 0 to 1"),
        (["problem=circle_packing", "selection.migration_interval=-1"], "at least 0"),
        (["problem=circle_packing", "selection.weighting=rank"], "uniform, score"),
        (["problem=circle_packing", "selection.inspirations=nearest"], "archive, best, neighbours, diverse"),
        (["problem=circle_packing", "selection=puct", "selection.buffer=0"], "at least 1"),
        (["problem=circle_packing", "selection=puct", "selection.children=0"], "at least 1"),
        (["problem=circle_packing", "selection=puct", "selection.exploration=-1"], "at least 0"),
        (["problem=circle_packing", "selection=puct", "selection.islands=4"], "is no option of this run"),
        (["problem=circle_packing", "selection=top_k", "selection.k=0"], "at least 1"),
        (["problem=circle_packing", "--help"], "no option"),
        (["problem=circle_packing", "+new.key=1"], "no option"),
        (["nonsense"], "no option"),
    ],
)
def test_bad_words_get_one_line_that_names_the_cure(words, message):
    """Unknown, unused, ill-typed and out-of-range options are refused before anything happens."""
    with pytest.raises(ConfigError) as caught:
        parse_options(words)

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_problem_of_ones_own_may_have_any_name():
    """problem.path makes any name good, and gives one where there is none."""
    assert parse_options(["problem=mine", "problem.path=/some/where"]).problem.name == "mine"
    assert parse_options(["problem.path=/some/where"]).problem.name == "where"


def test_a_run_can_be_resumed_from_another_folder(tmp_path, monkeypatch):
    """Paths are stored as absolute ones; a hub id that looks like a path is left alone."""
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    config = parse_options(["problem.path=mine", "engine=scripted", "engine.file=replies.jsonl", "model=model"])

    assert config.problem.path == str(tmp_path / "mine")
    assert config.model == str(tmp_path / "model")
    assert config.engine == ScriptedConfig(file=str(tmp_path / "replies.jsonl"))
    assert parse_options(["problem=circle_packing", "model=owner/name"]).model == "owner/name"


@pytest.mark.parametrize(
    ("url", "stored"),
    [
        ("sqlite:///x.db", "sqlite:///{folder}/x.db"),
        ("sqlite+pysqlite:///d/x.db?timeout=3", "sqlite+pysqlite:///{folder}/d/x.db?timeout=3"),
        ("sqlite:///~/x.db", "sqlite:///{home}/x.db"),
        ("sqlite:////tmp/x~1.db", "sqlite:////tmp/x~1.db"),
        ("sqlite:////tmp/a%20b.db", "sqlite:////tmp/a%20b.db"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("sqlite:///file:x.db?uri=true", "sqlite:///file:x.db?uri=true"),
        ("postgresql://me:secret@host/name", "postgresql://me:secret@host/name"),
        ("postgresql://host:port/name", "postgresql://host:port/name"),
        ("nonsense", "nonsense"),
    ],
)
def test_a_database_in_a_file_is_found_from_another_folder(url, stored, tmp_path, monkeypatch):
    """Its path is stored as an absolute one; what is no such URL is left for the database to judge."""
    monkeypatch.chdir(tmp_path)
    config = parse_options(["problem=circle_packing", f"database.url={url}"])

    assert config.database.url == stored.format(folder=tmp_path, home=Path.home())
    assert load_config(dump_config(config), [f"database.url={url}"]) == config


def test_paths_and_urls_need_no_quoting():
    """Spaces, commas and equal signs in a value reach the option as they are."""
    path = "/a folder/with,commas=and signs/it's.gguf"

    assert parse_options(["problem=circle_packing", f"model={path}"]).model == path
    assert parse_options(["problem=circle_packing", "database.url=sqlite:///x.db?mode=ro"]).database.url


def test_letters_of_any_alphabet_and_backslashes_need_no_quoting_either():
    """What Hydra's grammar does not take by itself reaches the option as it was typed."""
    for values in (("модель", "~/mycache", "d/josé"), ("x~1", "5\u0665", r"d/b\s"), ("b\\", r"b\'s", r"é\\'s\\")):
        words = zip(("model", "model_cache", "run.dir"), values, strict=True)
        config = parse_options(["problem=circle_packing", *map("=".join, words)])
        assert (config.model, config.model_cache, config.run.dir) == values


@settings(max_examples=25)
@given(st.text(st.sampled_from("aZ019_e./:@%~+-*?|# ,='\"\\()[]{}&!;éю５")).filter(lambda text: text != "???"))
def test_any_text_reaches_its_option(text):
    """In a new run, in one that is resumed, and from the folder of either; whatever it looks like."""
    word = f"run.dir={text}"
    config = parse_options(["problem=circle_packing", word])

    assert config.run.dir == text
    assert load_config(dump_config(config)) == config
    assert load_config(dump_config(parse_options(["problem=circle_packing"])), [word]) == config


@pytest.mark.parametrize(
    "text",
    ["2026_12_01", "2026-12-01", "1.50", "1e3", "0123", "1:30", "true", "Yes", "~", "", "nan", "a: b", "'x'", "[x]"],
)
def test_a_text_that_looks_like_something_else_stays_what_it_is(text):
    """A number, a date, a switch, nothing, a mapping, a quoted text, a list."""
    words = [f"{name}={text}" for name in ("model_cache", "sandbox.cpus", "run.dir")]
    for config in (
        parse_options(["problem=circle_packing", *words]),
        load_config(dump_config(parse_options(["problem=circle_packing"])), words),
    ):
        assert (config.model_cache, config.sandbox.cpus, config.run.dir) == (text, text, text)
        assert load_config(dump_config(config)) == config


def test_the_texts_of_a_list_stay_what_they_are_too():
    """Their quotes are taken off, for a text may hold a comma; a switch or a number is a text among them."""
    learning, word = ["problem=circle_packing", "learner=grpo"], "learner.report_to=[1.50, true,0123,'a, b',null]"
    stored = dump_config(parse_options(learning))
    for config in (parse_options([*learning, word]), load_config(stored, [word])):
        assert config.learner == GrpoConfig(report_to=["1.50", "true", "0123", "a, b", "null"])
        assert load_config(dump_config(config)) == config
    for config in (parse_options([*learning, "learner.report_to=[]"]), load_config(stored, ["learner.report_to=[]"])):
        assert config.learner == GrpoConfig(report_to=[])


def test_a_stored_text_is_what_stands_in_the_file():
    """Also where somebody wrote it there without quotes; null is none."""
    text = dump_config(parse_options(["problem=circle_packing", "learner=grpo", "model=m", "sandbox.cpus=3"]))
    for old, new in (("model: m\n", "model: 3.10\n"), ("cpus: '3'", "cpus: null"), ("- tensorboard", "- on\n  - 1e3")):
        assert old in text
        text = text.replace(old, new)
    config = load_config(text)

    assert (config.model, config.sandbox.cpus) == ("3.10", None)
    assert config.learner == GrpoConfig(report_to=["on", "1e3"])


@pytest.mark.parametrize("name", ["run.dir", "sandbox.cpus", "database.url"])
def test_null_stands_for_none_where_there_may_be_none(name):
    """In a new run and in one that is resumed; an option that must have a text refuses it in both."""
    problem, word = "problem=circle_packing", f"{name}=null"
    config = parse_options([problem])

    assert parse_options([problem, word]) == config
    assert load_config(dump_config(config), [word]) == config
    with pytest.raises(ConfigError, match="model=null"):
        parse_options([problem, "model=null"])
    with pytest.raises(ConfigError, match="model=null"):
        load_config(dump_config(config), ["model=null"])


def test_a_relative_path_in_a_folder_with_any_letters_is_made_absolute(tmp_path, monkeypatch):
    """The folder's name was not typed, and needs no quoting all the same."""
    folder = tmp_path / "josé"
    folder.mkdir()
    monkeypatch.chdir(folder)

    assert parse_options(["problem.path=mine"]).problem.path == str(folder / "mine")


@settings(max_examples=15)
@given(st.integers(1, 99), st.floats(0.1, 2.0), st.sampled_from(["map_elites", "best_of_n", "random"]))
def test_a_stored_configuration_is_read_back_the_same(parents, temperature, selection):
    """What the run's folder keeps is the whole configuration."""
    words = [f"rollout.parents={parents}", f"sampling.temperature={temperature}", f"selection={selection}"]
    config = parse_options([*SCRIPTED, *words])

    assert load_config(dump_config(config)) == config


def test_a_stored_configuration_can_be_changed_but_not_with_unknown_options():
    """Resume may raise a budget; a typing error is refused as in run."""
    text = dump_config(parse_options([*SCRIPTED, "budget.steps=3"]))

    assert load_config(text, ["budget.steps=9", "budget.minutes=2.5"]).budget.steps == 9
    assert load_config(text, ["budget.steps=null"]).budget.steps is None
    for word in ("budget.step=9", "budgets.steps=9", "nonsense=1", "budget.steps=many", "budget.steps=-2"):
        with pytest.raises(ConfigError):
            load_config(text, [word])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("learner:\n  kind: frozen\n", "learner: frozen\n", "has no learner that this version knows"),
        ("  bins: 16\n", "  grid: 16\n", "Key 'grid' not in"),
        ("problem:\n", "problem: [\n", "cannot be read (while parsing"),
        pytest.param("problem:\n", f"problem: {'[' * 5000}\n", "cannot be read (maximum recursion depth", id="deep"),
    ],
)
def test_a_configuration_of_another_version_is_told_apart_from_a_wrong_word(old, new, message):
    """One line says what does not fit and that another version made the run."""
    text = dump_config(parse_options(SCRIPTED))
    assert old in text

    for damaged in (text.replace(old, new), "", "3", "[1]", "\x00"):
        with pytest.raises(ConfigError) as caught:
            load_config(damaged)
        assert "another version" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert len(damaged) < 4 or message in str(caught.value)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("budget.steps=[", "is no value of an option"),
        pytest.param(f"budget.steps={'[' * 5000}", "is no value of an option: maximum recursion depth", id="deep"),
        ("budget.minutes=.nan", "no finite number"),
        ("engine=server", "cannot change"),
        ("learner.kind=grpo", "say learner=grpo"),
        ("engine.url=http://h/v1", "belongs to engine=server"),
        ("engine.api_key=k", "options of engine=scripted are file, latency_s"),
        ("problem.packages=sklearn", "is no list: say problem.packages=[sklearn]"),
    ],
)
def test_a_resume_refuses_what_it_cannot_take(word, message):
    """One line each."""
    with pytest.raises(ConfigError) as caught:
        load_config(dump_config(parse_options(SCRIPTED)), [word])

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_path_is_read_alike_when_a_run_begins_and_when_it_is_resumed(tmp_path, monkeypatch):
    """Relative, in the home folder, or with what YAML would take for a mapping; `null` stands for none in both."""
    monkeypatch.chdir(tmp_path)
    server = ["problem=circle_packing", "engine=server", "model=m"]
    text = dump_config(parse_options([*server, "engine.key_file=old"]))

    for value in ("key", "~/key", "a: b", "'key'", "null"):
        word = f"engine.key_file={value}"
        assert load_config(text, [word]) == parse_options([*server, word])
    assert load_config(text, ["engine.key_file=~/key"]).engine == ServerConfig(key_file=str(Path.home() / "key"))
    assert load_config(text, ["engine.key_file=null"]).engine == ServerConfig(key_file=None)


@pytest.mark.parametrize(
    "word", ["model=~no-such-user/m", "problem.path=~no-such-user/p", "database.url=sqlite:///~no-such-user/x.db"]
)
def test_the_home_of_an_unknown_user_is_refused(word):
    """One line that names the word."""
    with pytest.raises(ConfigError, match="there is no user no-such-user"):
        parse_options(["problem=circle_packing", word])


def test_a_word_that_hydra_cannot_read_is_the_one_that_is_blamed():
    """Not another one whose name is a part of its name."""
    with pytest.raises(ConfigError, match=r"^problem\.wall_s="):
        parse_options(["problem=circle_packing", "problem.wall_s=[é]"])


def test_a_configuration_is_frozen():
    """Nothing can change an option once the run has begun."""
    config = parse_options(SCRIPTED)

    with pytest.raises(AttributeError):
        config.model = "other"  # type: ignore[misc]
    assert isinstance(config, Config)
