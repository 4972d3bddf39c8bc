"""When a session begins no step any more."""

from evolve.budget import Budget, booked


def budget_of(*, minutes: float | None) -> Budget:
    """Return the budget of a session whose booking ends after fifty seconds."""
    return Budget(steps=None, minutes=minutes, completions=None, tokens=None, score=None, booked_s=50)


def test_a_session_ends_with_its_booking():
    """From then on no step begins, whether the run has a limit or not."""
    assert [booked(budget_of(minutes=1), seconds) is None for seconds in (49, 50, 59)] == [True, False, False]
    assert booked(budget_of(minutes=None), 61) is not None


def test_the_empty_step_of_a_run_whose_time_is_used_up_is_left_to_no_other_session():
    """That one would go on with the run, whose last update does not count for it."""
    assert booked(budget_of(minutes=1), 60) is None
