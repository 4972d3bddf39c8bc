"""The nouns of the system: frozen values.

Standard library only. A score is in its problem's own unit; `Direction` says which way is better.
"""

from evolve.types.problem import (
    Bound,
    Direction,
    Problem,
    ProblemKind,
    ProblemLimits,
    Record,
    RewardShape,
    Verdict,
)
from evolve.types.program import (
    REPLY_FAILURES,
    ArchiveCell,
    Confirmation,
    Evaluation,
    Failure,
    Member,
    Membership,
    Origin,
    Outcome,
    Program,
)
from evolve.types.rollout import (
    Attempt,
    Completion,
    Draw,
    FinishReason,
    Group,
    Message,
    PromptTally,
    Request,
    RunRecord,
    StepReport,
    StepsTally,
    Training,
)

__all__ = [
    "REPLY_FAILURES",
    "ArchiveCell",
    "Attempt",
    "Bound",
    "Completion",
    "Confirmation",
    "Direction",
    "Draw",
    "Evaluation",
    "Failure",
    "FinishReason",
    "Group",
    "Member",
    "Membership",
    "Message",
    "Origin",
    "Outcome",
    "Problem",
    "ProblemKind",
    "ProblemLimits",
    "Program",
    "PromptTally",
    "Record",
    "Request",
    "RewardShape",
    "RunRecord",
    "StepReport",
    "StepsTally",
    "Training",
    "Verdict",
]
