"""The nouns of the system: frozen values.

Standard library only. A score is in its problem's own unit; `Direction` says which way is better.
"""

from evolve.types.problem import (
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
    Evaluation,
    Failure,
    Member,
    Membership,
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
    Request,
    RunRecord,
    StepReport,
)

__all__ = [
    "REPLY_FAILURES",
    "Attempt",
    "Completion",
    "Direction",
    "Draw",
    "Evaluation",
    "Failure",
    "FinishReason",
    "Group",
    "Member",
    "Membership",
    "Message",
    "Outcome",
    "Problem",
    "ProblemKind",
    "ProblemLimits",
    "Program",
    "Record",
    "Request",
    "RewardShape",
    "RunRecord",
    "StepReport",
    "Verdict",
]
