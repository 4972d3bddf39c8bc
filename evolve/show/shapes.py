"""What `evolve show ... format=json` prints, one type a view.

The shapes are stable: a later version may add keys, and takes none away. Ids are those of the database: 0 is the seed
program, -1, -2, ... were merged in. Seconds are of the run's active time. `null` stands for "there is none", and for a
number that is not finite.
"""

from typing import TypedDict


class ProgramView(TypedDict):
    """One program; `confirmed` is None for one that was not checked, False for one in quarantine."""

    program: int
    step: int
    parent: int | None
    score: float | None
    confirmed: bool | None


class RunView(TypedDict):
    """view=summary.

    `steps` counts the finished ones, `merged` the programs of other runs, `quarantined` the programs that looked like
    the best and were not confirmed. `best_programs` are best first; `best_against_time` holds [seconds, completions
    made by then, score] for the end of each step in which the best rose, by the score that counts.
    """

    run: int
    problem: str
    model: str
    folder: str
    seed: int
    steps: int
    completions: int
    merged: int
    active_s: float
    outcomes: dict[str, int]
    quarantined: int
    best_programs: list[ProgramView]
    best_against_time: list[list[float]]


class StepOfLineage(TypedDict):
    """A program of a lineage; `better_by` is its gain over its parent, `diff` a unified diff from the parent."""

    program: int
    step: int
    parent: int | None
    outcome: str
    score: float | None
    better_by: float | None
    diff: str


class LineageView(TypedDict):
    """view=lineage: the programs from the seed, or a merged program, down to this one."""

    program: int
    lineage: list[StepOfLineage]


class OutcomeView(TypedDict):
    """How many completions ended in one way; `share` is of all completions."""

    outcome: str
    count: int
    share: float


class MoveView(TypedDict):
    """view=moves is a list of these: what came of the prompts that showed one of the problem's ideas, best first.

    `move` is None for the prompts that showed none, or one that the problem no longer has. `valid` and `improved` are
    shares of the completions: programs of their own that are valid, and those that are better than their parent;
    `best` is the best score that counts.
    """

    move: str | None
    completions: int
    valid: float
    improved: float
    best: float | None


class AvoidedView(TypedDict):
    """Evaluations that the identity check saved.

    `unchanged` and `duplicate` completions repeat a program that was known; `shared` ones are the same program as
    another of their step, and share its evaluation. `share` is of all completions that hold a program.
    """

    unchanged: int
    duplicate: int
    shared: int
    total: int
    share: float


class OutcomesView(TypedDict):
    """view=outcomes, the most frequent outcome first; `evaluated` counts the distinct programs that were run."""

    completions: int
    outcomes: list[OutcomeView]
    evaluated: int
    avoided: AvoidedView


class IslandView(TypedDict):
    """view=islands is a list of these.

    `born` counts the programs that are at home on the island, the seed and merged ones included, `migrants` those that
    came from another; `elites` the cells of its archive that are held; `newest` is the last step that added a program.
    """

    island: int
    programs: int
    born: int
    migrants: int
    elites: int
    newest: int
    best: int | None
    score: float | None


class CellView(TypedDict):
    """view=archive is a list of these: the cells of each island's newest grid with their holders, best first."""

    island: int
    grid: int
    cell: list[int]
    program: int
    score: float | None
    length: int
    measures: dict[str, float]
    step: int


class ConfirmationView(TypedDict):
    """view=confirmations is a list of these, in the order of checking; `scores` are those of the unseen seeds."""

    program: int
    confirmed: bool
    origin: str
    reason: str
    score: float | None
    scores: list[float | None]


class TrainingView(TypedDict):
    """view=trainings is a list of these, by step."""

    step: int
    values: dict[str, float]


class StepView(TypedDict):
    """view=steps is a list of these; `evolve.types.StepReport` says what they mean."""

    step: int
    attempts: int
    outcomes: dict[str, int]
    best: float
    improved: int
    tokens: int
    prompt_tokens: int
    generate_s: float
    tail_s: float
    database_s: float
    stragglers: int
    finished_s: float


class RunRow(TypedDict):
    """`evolve show` is a list of these, by folder; `error` says why a run cannot be read, its other values are None."""

    folder: str
    problem: str | None
    model: str | None
    steps: int | None
    completions: int | None
    best: float | None
    error: str | None


class MessageView(TypedDict):
    """One message of a prompt."""

    role: str
    content: str


class EvaluationView(TypedDict):
    """One run of a program; `construction` is what the verifier accepts."""

    seed: int
    outcome: str
    score: float | None
    exact: str | None
    measures: dict[str, float]
    wall_s: float
    cpu_s: float
    peak_memory_mib: float
    peak_processes: int
    construction: object


class AttemptView(TypedDict):
    """program=ID: an attempt and the program it made.

    `lineage` goes from the seed program, or a merged one, down to this program, and is empty for an attempt that made
    none; so are `source` and `diff`, the unified diff from the parent.
    """

    program: int
    step: int
    outcome: str
    score: float | None
    reward: float | None
    known_as: int | None
    feedback: str
    parent: int | None
    inspirations: list[int]
    island: int
    lineage: list[ProgramView]
    source: str | None
    diff: str
    prompt: list[MessageView]
    reply: str
    tokens: int
    evaluations: list[EvaluationView]
    confirmation: ConfirmationView | None
