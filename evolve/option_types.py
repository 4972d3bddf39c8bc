"""What type each option has, and the values of those that are texts: as they were typed, whatever they look like."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass

import yaml

from evolve.config import (
    BestOfNConfig,
    Config,
    FrozenConfig,
    GrpoConfig,
    MapElitesConfig,
    PuctConfig,
    RandomConfig,
    ScriptedConfig,
    ServerConfig,
    TopKConfig,
    VllmConfig,
)

VARIANTS = {
    "learner": {"frozen": FrozenConfig, "grpo": GrpoConfig},
    "engine": {"vllm": VllmConfig, "server": ServerConfig, "scripted": ScriptedConfig},
    "selection": {
        "map_elites": MapElitesConfig,
        "puct": PuctConfig,
        "top_k": TopKConfig,
        "best_of_n": BestOfNConfig,
        "random": RandomConfig,
    },
}


def option_types(config_class: type, prefix: str = "") -> dict[str, object]:
    """Return the types of all options of a configuration class by their dotted names."""
    types: dict[str, object] = {}
    for entry in fields(config_class):
        if isinstance(entry.type, type) and is_dataclass(entry.type):
            types |= option_types(entry.type, f"{prefix}{entry.name}.")
        else:
            types[f"{prefix}{entry.name}"] = entry.type
    return types


#: Of the options of all variants; where two share a name, they share its type.
_TYPES = option_types(Config) | {
    name: kind
    for group, variants in VARIANTS.items()
    for config_class in variants.values()
    for name, kind in option_types(config_class, f"{group}.").items()
}


def is_text(name: str, value: str) -> bool:
    """Return whether the value of an option is a text, which stands for itself in no grammar; `null` is none."""
    return _TYPES.get(name) in (str, str | None) and value != "null"


def listed_texts(name: str, value: str) -> list[str] | None:
    """Return the elements of a value like `[a,b]` as they were typed.

    None where the option is no list of texts, or the value is no such list: who reads it then says what is wrong.
    """
    if _TYPES.get(name) != list[str]:
        return None
    try:
        return _elements(yaml.compose(value, yaml.SafeLoader))
    except (yaml.YAMLError, RecursionError):
        return None


def stored_texts(text: str) -> dict[str, str | list[str]]:
    """Return the options of a stored configuration that are texts, or lists of texts, as they stand there.

    Raises:
        yaml.YAMLError: It cannot be read.
    """
    found: dict[str, str | list[str]] = {}
    for name, node in _leaves(yaml.compose(text, yaml.SafeLoader), ""):
        if _TYPES.get(name) == list[str] and (elements := _elements(node)) is not None:
            found[name] = elements
        elif isinstance(node, yaml.ScalarNode) and node.tag != "tag:yaml.org,2002:null" and is_text(name, ""):
            found[name] = node.value
    return found


def _elements(node: yaml.Node | None) -> list[str] | None:
    """Return the texts of a list of nothing else, None for all that is none."""
    if not isinstance(node, yaml.SequenceNode) or not all(isinstance(each, yaml.ScalarNode) for each in node.value):
        return None
    return [each.value for each in node.value]


def _leaves(node: yaml.Node | None, prefix: str) -> Iterator[tuple[str, yaml.Node]]:
    """Yield what a tree of mappings holds, by dotted names."""
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        yield f"{prefix}{key.value}", value
        yield from _leaves(value, f"{prefix}{key.value}.")
