"""The model that a run trained, as a Hugging Face folder: `evolve export run=DIR to=FOLDER`.

The folder holds the merged model, or with `form=adapter` the adapter alone, with tokenizer, generation configuration
and a model card. `evolve run model=FOLDER problem=ANOTHER` begins a new search with it.
"""

import json
import re
import shutil
import tempfile
from pathlib import Path

from rich.console import Console

from database.store import RunStore
from evolve.compose import open_run, problem_of, resolve_policy
from evolve.config import Config, GrpoConfig
from evolve.config.learner import DEFAULT_RATES
from evolve.errors import ConfigError
from evolve.models import KNOWN_MODELS
from evolve.standing import bests

_CARD = """---
base_model: {base}
license: {licence}
library_name: {library}
pipeline_tag: text-generation
tags: [evolutionary-search, test-time-training, grpo]
---

# {base}, trained on {problem}

This model was trained by thetaevolve (method: [arXiv:2511.23473](https://arxiv.org/abs/2511.23473)) while it searched
for programs that solve one problem: *{title}*. On other tasks it may be worse than its base.

| | |
|---|---|
| base model | {base} |
| licence | {licence}, the base model's |
| problem | {problem}: {title} ({unit}, {direction}) |
| steps | {steps} of {parents} x {samples} completions at most; the weights learned from step {learned} and earlier |
| training, as the run began | {method}, advantage {advantage}, loss {loss}, learning rate {rate} |
| seed program's score | {seed_score!r} |
| best score of the search | {best!r} |
| reward in the first and in the last update | {first_reward} / {last_reward} |
| valid programs in the first and in the last update | {first_valid} / {last_valid} |
"""


def export_model(run: Path, target: Path, form: str, console: Console) -> None:
    """Write the newest checkpoint of a run to the folder `target`, which appears when it is complete.

    Args:
        run: The run's folder.
        target: A folder that does not exist, or is empty.
        form: "merged", or "adapter".
        console: Is told what takes time.

    Raises:
        ConfigError: The run trained nothing, `form` does not fit, or the target is taken.
    """
    from rl.checkpoint import checkpoints

    with open_run(run) as (config, store):
        found = checkpoints(run / "learner")
        if not found:
            raise ConfigError(
                f"{run} holds no trained model, which learner=grpo makes; for a file of attempts, to= must end in "
                ".jsonl or .parquet"
            )
        checkpoint, mark = found[-1]
        if form not in ("merged", "adapter"):
            raise ConfigError(f"form={form} is unknown: it must be merged or adapter")
        if form == "adapter" and mark.method != "lora":
            raise ConfigError(f"{run} trained all weights, so there is no adapter: leave form=adapter out")
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise ConfigError(f"to={target} exists and is not empty: name another folder")
        base = resolve_policy(config, lambda text: console.print(text, style="dim"))
        if base is None:
            raise ConfigError(f"{run} used no model of its own machine")
        card = model_card(config, store, licence=licence_of(base, config.model), learned=mark.step, form=form)
        from rl.export import export_weights

        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
        try:
            export_weights(checkpoint, mark, base, partial, merged=form == "merged")
            if form == "adapter":
                _name_base(partial / "adapter_config.json", public_name(config.model))
            (partial / "README.md").write_text(card, encoding="utf-8")
            partial.chmod(0o755)
            partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    console.print(f"{form} model after step {mark.step} in {target}", highlight=False, markup=False)


def model_card(config: Config, store: RunStore, *, licence: str, learned: int, form: str) -> str:
    """Return the card's text; options that were given to a resume are stored nowhere, and are not on it.

    Args:
        config: Of the run.
        store: For the scores, and for the figures of the updates.
        licence: The base model's.
        learned: The search's newest step that the weights have learned from.
        form: "merged" or "adapter".
    """
    learner, problem = config.learner, problem_of(config)
    if not isinstance(learner, GrpoConfig):
        raise ConfigError("the run's configuration names no learner that trains")
    reports, trainings = store.reports(), store.trainings()
    rate = learner.learning_rate or DEFAULT_RATES[learner.method]

    def figure(name: str, index: int) -> str:
        # A step that the end of the minutes left empty has neither rewards nor programs.
        values = [training.values[name] for training in trainings if name in training.values]
        return f"{values[index]:.4g}" if values else "unknown"

    return _CARD.format(
        base=public_name(config.model),
        licence=licence,
        library="transformers" if form == "merged" else "peft",
        problem=problem.name,
        title=problem.title,
        unit=problem.unit,
        direction=f"{problem.direction} is better",
        steps=sum(report.attempts > 0 for report in reports[1:]),  # a merge makes a step without any
        parents=config.rollout.parents,
        samples=config.rollout.samples,
        learned=learned,
        method=learner.method if learner.method == "full" else f"LoRA of rank {learner.lora_rank}",
        advantage=learner.advantage,
        loss=learner.loss,
        rate=rate,
        seed_score=reports[0].best,
        best=bests(store, problem.direction)[0].score(problem.direction),
        first_reward=figure("reward", 0),
        last_reward=figure("reward", -1),
        first_valid=figure("valid", 0),
        last_valid=figure("valid", -1),
    )


def public_name(name: str) -> str:
    """Return a model's name as others know it: its hub id, or the name of its folder."""
    known = KNOWN_MODELS.get(name.lower())
    if known is not None:
        return known.hub_id
    path = Path(name).expanduser()
    return path.name if path.exists() else name


def licence_of(base: Path, name: str) -> str:
    """Return the base model's licence in the hub's words, from its card; `other` where nothing says it."""
    card = base / "README.md"
    if card.is_file():
        found = re.search(r"^license:\s*(\S+)", card.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
        if found:
            return found[1]
    known = {key: model for model_name, model in KNOWN_MODELS.items() for key in (model_name, model.hub_id.lower())}
    return known[name.lower()].licence if name.lower() in known else "other"


def _name_base(config: Path, name: str) -> None:
    """Write the base model's public name into an adapter's configuration; its path is good on this machine alone."""
    values = json.loads(config.read_text(encoding="utf-8"))
    values["base_model_name_or_path"] = name
    config.write_text(json.dumps(values, indent=2), encoding="utf-8")
