"""What a model makes of moves: `python -m benchmarks.moves OUT PARENT.py ... [samples=N] [moves=FILE] [key=value ...]`.

Each move of `problem=` (circle packing unless it is named) is asked of each parent, and each parent without a move, N
times each (32), with no inspirations: the prompts, the parsing, the sandbox and the verifier are those of `evolve run`,
with its options, `model=` among them. A parent is a program's file; `seed` is the problem's seed program. With
`moves=FILE`, a YAML list of texts, those are asked instead, so that wordings can be compared before they are a
problem's. All completions are decoded first and judged afterwards, so that neither disturbs the other.

Printed and written to OUT/moves.json, a row for each parent and move: the parent's score; the shares of replies that
are valid, that score other than the parent, that are better than it, and better by more than a hundredth of the
problem's `|best - worst|`; the best score; tokens of a reply; how they ended. OUT/replies.jsonl holds every reply with
its program and what came of it.
"""

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from evolve import compose
from evolve.config import Config
from evolve.engine.build import build_engine
from evolve.options import parse_options
from evolve.parse import Child, check_source, parse_reply
from evolve.types import Completion, Message, Problem, Program, Request

#: Replies to each prompt unless `samples=` says otherwise.
SAMPLES = 32


def parent_of(name: str, number: int, problem: Problem, workshop: compose.Workshop) -> Program:
    """Return a program that children are asked of, with its score."""
    source = problem.seed_source if name == "seed" else Path(name).read_text(encoding="utf-8")
    checked = check_source(source, problem.entry_point, problem.limits.source_chars)
    if not isinstance(checked, Child):
        raise SystemExit(f"{name} is no program of {problem.name}: {checked.reason}")
    evaluation = workshop.evaluator.evaluate(source, seed=0)
    if evaluation.score is None:
        raise SystemExit(f"{name} is {evaluation.outcome}: {evaluation.feedback}")
    return Program(
        id=number,
        parent_id=None,
        step=0,
        source=source,
        identity=checked.identity,
        outcome=evaluation.outcome,
        score=evaluation.score,
    )


def messages_of(
    config: Config, problem: Problem, model: Path | None, parent: Program, move: str | None
) -> tuple[Message, ...]:
    """Return the prompt that asks a move of a parent, or none."""
    return compose.build_prompter(config, problem, model).messages(parent, [], None, move)


def judged(completion: Completion, parent: Program, workshop: compose.Workshop) -> dict[str, Any]:
    """Return what a completion came to."""
    problem = workshop.problem
    parsed = parse_reply(
        completion.text,
        parent=parent.source,
        entry_point=problem.entry_point,
        source_chars=problem.limits.source_chars,
    )
    row: dict[str, Any] = {"tokens": completion.tokens, "reply": completion.text}
    if not isinstance(parsed, Child):
        return row | {"outcome": str(parsed.outcome), "score": None, "feedback": parsed.reason}
    evaluation = workshop.evaluator.evaluate(parsed.source, seed=0)
    return row | {
        "outcome": str(evaluation.outcome),
        "score": evaluation.score,
        "feedback": evaluation.feedback,
        "wall_s": evaluation.wall_s,
        "source": parsed.source,
    }


def summary(problem: Problem, parent: Program, replies: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the figures of one parent and move."""
    assert parent.score is not None
    rank = problem.direction.rank
    scores = [reply["score"] for reply in replies if reply["score"] is not None]
    gains = [rank(score) - rank(parent.score) for score in scores]
    much = abs(problem.shape.best - problem.shape.worst) / 100
    return {
        "replies": len(replies),
        "parent_score": parent.score,
        "valid": len(scores) / len(replies),
        "changed": sum(gain != 0 for gain in gains) / len(replies),
        "better": sum(gain > 0 for gain in gains) / len(replies),
        "much_better": sum(gain > much for gain in gains) / len(replies),
        "best": max(scores, key=rank, default=None),
        "tokens": sum(reply["tokens"] for reply in replies) / len(replies),
        "outcomes": dict(Counter(reply["outcome"] for reply in replies)),
    }


def main() -> None:
    """Decode, judge, print and write."""
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    out = Path(sys.argv[1])
    names = [word for word in sys.argv[2:] if "=" not in word]
    words = dict(word.split("=", 1) for word in sys.argv[2:] if "=" in word)
    samples, file = int(words.pop("samples", SAMPLES)), words.pop("moves", None)
    config = parse_options([f"{key}={value}" for key, value in ({"problem": "circle_packing"} | words).items()])
    problem = compose.problem_of(config)
    moves = problem.moves if file is None else tuple(yaml.safe_load(Path(file).read_text(encoding="utf-8")))
    out.mkdir(parents=True, exist_ok=True)
    with compose.workshop_of(config, problem) as workshop:
        model = compose.resolve_policy(config, print)
        parents = [parent_of(name, number, problem, workshop) for number, name in enumerate(names)]
        asked = [(name, parent, move) for name, parent in zip(names, parents, strict=True) for move in (None, *moves)]
        requests = [
            Request(
                group=group,
                messages=messages_of(config, problem, model, parent, move),
                samples=tuple(range(samples)),
                first=group * samples,
            )
            for group, (_, parent, move) in enumerate(asked)
        ]
        engine = build_engine(config, model)
        completions = list(engine.stream(requests))
        engine.close()
        with ThreadPoolExecutor(workshop.workers) as pool:
            rows = list(pool.map(lambda each: judged(each, asked[each.group][1], workshop), completions))
    figures = []
    with (out / "replies.jsonl").open("w", encoding="utf-8") as stream:
        for group, (name, parent, move) in enumerate(asked):
            replies = [row for row, each in zip(rows, completions, strict=True) if each.group == group]
            figures.append({"parent": name, "move": move, **summary(problem, parent, replies)})
            stream.writelines(json.dumps({"parent": name, "move": move, **reply}) + "\n" for reply in replies)
            row = figures[-1]
            shares = "  ".join(
                f"{word} {100 * row[key]:5.1f} %"
                for word, key in (
                    ("valid", "valid"),
                    ("changed", "changed"),
                    ("better", "better"),
                    ("much", "much_better"),
                )
            )
            print(
                f"{Path(name).stem[:16]:16} {row['parent_score']:8.4f}  {shares}  {row['best']}  {(move or '-')[:60]}"
            )
    (out / "moves.json").write_text(json.dumps({"model": config.model, "rows": figures}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
