"""From the words of a command line to a checked `Config`. The only module that knows Hydra."""

import difflib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import TypeVar, get_origin

import yaml
from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf, flag_override
from omegaconf.errors import OmegaConfBaseException
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from evolve.config import Config, ServerConfig
from evolve.errors import ConfigError
from evolve.option_types import VARIANTS, is_text, listed_texts, option_types, stored_texts
from evolve.words import path_of
from problems import openevolve, problem_names

_Typed = TypeVar("_Typed")


def _schema(config_class: type) -> DictConfig:
    """Return a schema node that YAML and overrides may fill, although its class is frozen."""
    node = OmegaConf.structured(config_class)
    if not isinstance(node, DictConfig):
        raise TypeError(f"{config_class.__name__} is no configuration class")
    _unfreeze(node)
    return node


def _unfreeze(node: DictConfig) -> None:
    # OmegaConf marks nodes of frozen dataclasses read-only; `to_object` builds frozen objects all the same.
    OmegaConf.set_readonly(node, False)
    for key in node:
        if not OmegaConf.is_missing(node, key) and isinstance(node[key], DictConfig):
            _unfreeze(node[key])


def _register() -> None:
    store = ConfigStore.instance()
    store.store(name="run_schema", node=_schema(Config))
    for group, variants in VARIANTS.items():
        for name, config_class in variants.items():
            store.store(group=group, name=f"{name}_schema", node=_schema(config_class))


def parse_options(words: Sequence[str]) -> Config:
    """Return the configuration that the words of `evolve run` ask for.

    What an option takes as a text is the text that was typed, but for `null`; all else is as Hydra reads it.

    Args:
        words: Like `problem=circle_packing budget.steps=3`.

    Raises:
        ConfigError: A word is no `key=value`, names an unknown or unused option, or its value cannot be used.
    """
    for word in words:
        if "=" not in word or word.startswith(("-", "+", "~", "hydra")):
            raise ConfigError(f"{word!r} is no option: options look like budget.steps=10")
    _refuse_kinds(words)
    _check_variants(words)
    _register()
    try:
        with initialize_config_module(config_module="configs", version_base="1.3"):
            overrides = [_quoted(_absolute(word)) for word in _name_external(words)]
            node = compose(config_name="run", overrides=overrides)
        config = _checked(_to_config(node))
        # The default is a model for this machine, whose name means nothing to a server.
        if isinstance(config.engine, ServerConfig) and not dict(word.split("=", 1) for word in words).get("model"):
            raise ConfigError("engine=server needs model=NAME, the name of a model that the server serves")
        return config
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_one_line(error, words)) from error
    finally:
        GlobalHydra.instance().clear()


def _refuse_kinds(words: Sequence[str]) -> None:
    """Refuse to name a variant by its `kind`, which would leave it with the options of another."""
    for word in words:
        group, _, rest = word.partition(".")
        if group in VARIANTS and rest.startswith("kind="):
            raise ConfigError(f"{word} is no option: say {group}={rest.removeprefix('kind=')}, in a new run")


def _checked(config: Config) -> Config:
    """Return the configuration if its numbers are numbers: NaN passes every test that looks for what is too small."""
    for name, value in leaves(asdict(config)):
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{name}={value} is no finite number: give one, or leave the option out")
    return config


def leaves(tree: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield each option of a tree of mappings with its dotted name."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _check_variants(words: Sequence[str]) -> None:
    """Refuse an unknown problem, engine or selection in words that name the cure."""
    chosen = dict(word.split("=", 1) for word in words)
    for group, variants in VARIANTS.items():
        if group in chosen and chosen[group] not in variants:
            raise ConfigError(f"{group}={chosen[group]} is unknown: it must be one of {', '.join(variants)}")
    if "problem.path" in chosen:
        return
    names = ", ".join(problem_names())
    if "problem" not in chosen:
        raise ConfigError(f"no problem is named: add problem=NAME (one of {names}), or problem.path=DIR for your own")
    if chosen["problem"] == openevolve.NAME:
        raise ConfigError(f"problem={openevolve.NAME} needs problem.path=DIR: the folder of a task")
    if chosen["problem"] not in problem_names():
        raise ConfigError(
            f"problem={chosen['problem']} is unknown: it must be one of {names}; your own needs problem.path=DIR"
        )


def _name_external(words: Sequence[str]) -> list[str]:
    """Return the words with a problem of one's own turned into the variant `external`, its name beside it."""
    if not any(word.startswith("problem.path=") for word in words):
        return list(words)
    path = next(word for word in words if word.startswith("problem.path=")).split("=", 1)[1]
    name = next((word.split("=", 1)[1] for word in words if word.startswith("problem=")), Path(path).name)
    others = [word for word in words if not word.startswith("problem=")]
    return ["problem=external", f"problem.name={name}", *others]


def load_config(text: str, words: Sequence[str] = ()) -> Config:
    """Return a stored configuration, with some of its options changed.

    Args:
        text: YAML, as `dump_config` wrote it.
        words: Options to change, like `budget.steps=20`.

    Raises:
        ConfigError: The text is no configuration of this version, or a word names no option of it.
    """
    _refuse_kinds(words)
    merged = _stored(text)
    try:
        for word in words:
            key, _, value = _absolute(word).partition("=")
            group, _, name = key.rpartition(".")
            options = OmegaConf.select(merged, group) if group else merged
            if not isinstance(options, DictConfig) or name not in options:
                kinds = {of: str(OmegaConf.select(merged, f"{of}.kind")) for of in VARIANTS}
                raise ConfigError(_unknown_option(key, kinds))
            if isinstance(OmegaConf.select(merged, key), DictConfig):
                raise ConfigError(f"{word} cannot change when a run is resumed: start a new run instead")
            OmegaConf.update(merged, key, _read(key, value))
        config = _to_config(merged)
    except OmegaConfBaseException as error:
        raise ConfigError(_one_line(error, words)) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{word[:80]} is no value of an option: {' '.join(str(error).split())}") from error
    return _checked(config) if words else config


def _read(key: str, value: str) -> object:
    """Return what a word means for an option of a stored configuration: a text as it is, all else as YAML reads it."""
    if is_text(key, value):
        return value
    texts = listed_texts(key, value)
    return yaml.safe_load(value) if texts is None else texts


def _stored(text: str) -> DictConfig:
    """Return the configuration that a run's folder holds, its variants filled in.

    Raises:
        ConfigError: It is damaged, or of another version.
    """
    cure = "the run was made by another version, or its run.yaml is damaged: use that version, or start a new run"
    try:
        if not isinstance(yaml.safe_load(text), dict):
            raise ConfigError(f"the stored configuration is no mapping; {cure}")
        stored = OmegaConf.create(text)
        for name, value in stored_texts(text).items():
            OmegaConf.update(stored, name, value)
        node = _schema(Config)
        for group, variants in VARIANTS.items():
            kind = OmegaConf.select(stored, f"{group}.kind")
            if kind not in variants:
                raise ConfigError(f"the stored configuration has no {group} that this version knows; {cure}")
            with flag_override(node, "struct", False):
                node[group] = _schema(variants[kind])
        merged = OmegaConf.merge(node, stored)
    except (OmegaConfBaseException, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"the stored configuration cannot be read ({_first_line(error)}); {cure}") from error
    if not isinstance(merged, DictConfig):
        raise TypeError("a mapping merged into a mapping is one")
    return merged


def typed(content: object, config_class: type[_Typed], place: str = "") -> _Typed:
    """Return what a YAML file holds as an object of a configuration class.

    Args:
        content: Of the file, or of one of its keys.
        config_class: What it should be.
        place: The key that holds the content, for messages; empty for the whole file.

    Raises:
        ConfigError: It is no mapping, has a key that the class lacks, or a value of another type.
    """
    _check_shape(content, config_class, place)
    try:
        found = OmegaConf.to_object(OmegaConf.merge(_schema(config_class), content))
    except OmegaConfBaseException as error:
        raise ConfigError(f"{_inside(place, error.full_key)}: {_first_line(error)}") from error
    if not isinstance(found, config_class):
        raise TypeError(f"{config_class.__name__} is no configuration class")
    return found


def _check_shape(content: object, config_class: type, place: str) -> None:
    """Refuse unknown keys, and what is no mapping or list where one belongs: OmegaConf's words for it name classes."""
    if not isinstance(content, dict):
        raise ConfigError(f"{place or 'the file'} must be a mapping of keys")
    types = {entry.name: entry.type for entry in fields(config_class)}
    for key, value in content.items():
        if key not in types:
            raise ConfigError(f"{_inside(place, key)} is no key: it must be one of {', '.join(types)}")
        wanted = types[key]
        if isinstance(wanted, type) and is_dataclass(wanted):
            _check_shape(value, wanted, _inside(place, key))
        elif get_origin(wanted) is dict and not isinstance(value, dict):
            raise ConfigError(f"{_inside(place, key)} must be a mapping of keys")
        elif get_origin(wanted) is list and not isinstance(value, list):
            raise ConfigError(f"{_inside(place, key)} must be a list, like [{'' if value is None else repr(value)}]")


def _inside(place: str, key: object) -> str:
    """Return the dotted name of a key."""
    return f"{place}.{key}" if place else str(key)


def dump_config(config: Config) -> str:
    """Return the configuration as YAML text."""
    return OmegaConf.to_yaml(OmegaConf.structured(config))


def _to_config(node: DictConfig | ListConfig) -> Config:
    for key in sorted(OmegaConf.missing_keys(node)):
        raise ConfigError(f"{key} is missing: add {key}=...")
    config = OmegaConf.to_object(node)
    if not isinstance(config, Config):
        raise ConfigError("the configuration is incomplete")
    return config


def option_names(config_class: type = Config, prefix: str = "") -> list[str]:
    """Return the dotted names of all options of a configuration class."""
    return list(option_types(config_class, prefix))


#: Values that Hydra's grammar takes as they are, where the option is no text; lists and mappings are left to it too.
_PLAIN = re.compile(r"[\w./:@%+-]*|[\[{\"'].*", re.ASCII)
#: Options that name a file or a folder.
_PATHS = ("problem.path", "engine.file", "engine.key_file")


def _absolute(word: str) -> str:
    """Return the word with a path in it made absolute, so that a run can be resumed from another folder."""
    key, _, value = word.partition("=")
    if not _is_place(key, value):
        return word
    return f"{key}={_absolute_url(value) if key == 'database.url' else path_of(key, value).absolute()}"


def _is_place(key: str, value: str) -> bool:
    """Return whether a value says where something is."""
    if value in ("", "null"):
        return False
    return key in (*_PATHS, "database.url") or (key == "model" and path_of(key, value).exists())


def _absolute_url(text: str) -> str:
    """Return the URL of a database, the path of SQLite's file in it absolute; what is wrong is left to the database."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        return text
    file = url.database or ":memory:"
    if url.get_backend_name() != "sqlite" or file == ":memory:" or file.startswith(("file:", "/")):
        return text
    return url.set(database=str(path_of("database.url", file).absolute())).render_as_string(hide_password=False)


def _quoted(word: str) -> str:
    """Return the word with texts, and what else Hydra's grammar would not take as it is, in quotes."""
    key, _, value = word.partition("=")
    if (texts := listed_texts(key, value)) is not None:
        return f"{key}=[{','.join(map(_in_quotes, texts))}]"
    return f"{key}={_in_quotes(value)}" if is_text(key, value) or not _PLAIN.fullmatch(value) else word


def _in_quotes(text: str) -> str:
    escaped = re.sub(r"(\\*)(?='|\Z)", r"\1\1", text)  # backslashes stand for themselves but before a quote
    return "'" + escaped.replace("'", "\\'") + "'"


def _one_line(error: Exception, words: Sequence[str]) -> str:
    """Return what is wrong with the words, in one line."""
    causes: list[BaseException] = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    for cause in causes:
        # An error of ours that was raised while the object was built arrives wrapped.
        if isinstance(cause, ConfigError):
            return str(cause)
    unknown = re.search(r"Could not override '([\w.]+)'", str(error))
    if unknown:
        return _unknown_option(unknown[1], dict(word.split("=", 1) for word in words))
    line = _first_line(causes[-1])
    # Of several words for one option the last one is what counts.
    culprits = [word for word in reversed(words) if word.partition("=")[0] in str(error)]
    culprit = max(culprits, key=lambda word: len(word.partition("=")[0]), default=None)
    if culprit is None:
        return line
    key, _, value = culprit.partition("=")
    if "is not a ListConfig" in line:
        return f"{culprit} is no list: say {key}=[{value}]"
    return f"{culprit}: {line}"


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "").strip() or type(error).__name__


def _unknown_option(name: str, chosen: Mapping[str, str]) -> str:
    """Return that there is no such option, and which one may be meant.

    Args:
        name: Like `engine.api_key`.
        chosen: The variant of each group for which one is named: what is meant is one of its options.
    """
    variants = {
        option: f"{group}={variant}"
        for group, variants in VARIANTS.items()
        for variant, config_class in variants.items()
        for option in _without_kind(option_names(config_class, f"{group}."))
    }
    if name in variants:
        return f"{name} is no option of this run: it belongs to {variants[name]}"
    known = list(dict.fromkeys([*_without_kind(option_names()), *variants]))
    return f"{name} is no option of this run: {_hint(name, known, chosen)}"


def _hint(name: str, known: Sequence[str], chosen: Mapping[str, str]) -> str:
    """Return which of the known options an unknown one may stand for, in words."""
    groups = sorted({option.partition(".")[0] for option in known if "." in option})
    if "." not in name and (near := difflib.get_close_matches(name, groups, n=1, cutoff=0.75)):
        return f"did you mean {near[0]}?"
    group, _, last = name.rpartition(".")
    place, inside = group, [option for option in known if option.rpartition(".")[0] == group]
    variant = VARIANTS.get(group, {}).get(chosen.get(group, ""))
    if variant is not None:
        place, inside = f"{group}={chosen[group]}", _without_kind(option_names(variant, f"{group}."))
    names = [option.rpartition(".")[2] for option in inside]
    close = difflib.get_close_matches(last, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {group}{'.' if group else ''}{close[0]}?"
    if group and names:
        return f"options of {place} are {', '.join(names)}"
    # No such group: an option of that name in another, else one that hardly differs.
    meant = [option for option in known if option.rpartition(".")[2] == last]
    meant = meant or difflib.get_close_matches(name, known, n=1, cutoff=0.8)
    return f"did you mean {' or '.join(meant)}?" if meant else "evolve/config lists all options"


def _without_kind(names: Sequence[str]) -> list[str]:
    """Return the options but for those that say which variant it is, which the group itself names."""
    return [name for name in names if not name.endswith(".kind")]
