"""What looks like a new best is checked before it is shown as one."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from attempts import attempt, new_run
from support import TRIVIAL, raw_rewarder

from database import open_database
from evolve.confirm import Check, Confirmer, origin_of, unseen_seeds
from evolve.evaluate import Evaluator
from evolve.recall import is_recall, spells_out
from evolve.standing import bests, in_quarantine
from evolve.types import Direction, Draw, Evaluation, Origin, Outcome, Record, Verdict
from evolve.verifier import VerifierError
from problems import load_problem
from sandbox import Tier, open_sandbox

PROBLEM = load_problem("trivial", TRIVIAL)
SEED, UNSEEN = 10, 12345
REWARDER = raw_rewarder(PROBLEM)


class Heard:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.confirmations = []

    def attempted(self, attempt):
        """Nothing."""

    def confirmed(self, attempt, confirmation):
        """Keep it."""
        self.confirmations.append((attempt.id, confirmation.confirmed))

    def stepped(self, report):
        """Nothing."""


@pytest.fixture(scope="module")
def evaluator():
    """A real sandbox and two verifiers."""
    with open_sandbox(require=Tier.NONE) as sandbox, Evaluator(PROBLEM, sandbox, workers=2) as running:
        yield running


@pytest.fixture
def store(tmp_path: Path):
    """A run in a real database, whose seed program has score 1."""
    with open_database(f"sqlite:///{tmp_path / 'evolve.db'}") as database:
        yield new_run(database, str(tmp_path))


@pytest.fixture
def check(evaluator, store):
    """Evaluate programs as a run does, twice, and confirm them; return the confirmer and what was heard."""
    made = []

    def settle(bodies: dict[int, str], *, best: float = 1.0, begin: bool = False):
        heard = Heard()
        confirmer = Confirmer(
            PROBLEM, evaluator, store, heard, Check(seed=SEED, unseen=UNSEEN, best=best, rewarder=REWARDER)
        )
        made.append(confirmer)
        attempts = [child(number, body, evaluator) for number, body in bodies.items()]
        for one in attempts:
            store.insert_attempt(one)
            if begin:
                confirmer.begin(one)
        confirmer.settle(attempts)
        return confirmer, heard

    yield settle
    for confirmer in made:
        confirmer.close()


def child(number: int, body: str, evaluator):
    """Return the attempt that a loop stores of a program that is run twice."""
    source = f"import random\ndef answer():\n    return {body}\n"
    runs = tuple(evaluator.evaluate(source, seed=seed) for seed in (SEED, SEED + 1))
    assert all(run.outcome is Outcome.VALID for run in runs)
    score = min(run.score for run in runs)
    return attempt(
        number, outcome=Outcome.VALID, identity=body, source=source, evaluations=runs, score=score, reward=score
    )


#: Wrong in every run but those with the seeds that each program is run with.
ONE_SEED = f"900 if random.random() in {{random.Random(s).random() for s in ({SEED}, {SEED + 1})}} else -1"
LUCKY = f"[5, 900][random.random() in {{random.Random(s).random() for s in ({SEED}, {SEED + 1})}}]"
#: Seconds, but for the seeds that each program is run with.
SLOW_UNSEEN = f"{{}} * (random.random() not in {{{{random.Random(s).random() for s in ({SEED}, {SEED + 1})}}}})"


def test_what_is_reproducible_is_confirmed(check, store):
    """Two runs with seeds that no other program sees agree, so the program is the best, found from scratch."""
    confirmer, heard = check({4: "7"})

    (confirmation,) = store.confirmations()
    assert (confirmation.program_id, confirmation.confirmed, confirmation.reason) == (4, True, "")
    assert confirmation.origin is Origin.SCRATCH
    assert [run.seed for run in confirmation.evaluations] == list(unseen_seeds(SEED, 4)) == [18, 19]
    assert [run.score for run in confirmation.evaluations] == [7.0, 7.0]
    assert confirmer.best == 7.0
    assert heard.confirmations == [(4, True)]
    assert [standing.attempt.id for standing in bests(store, Direction.MAX)] == [4, 0]


def test_a_program_that_only_works_with_the_seeds_of_the_run_is_in_quarantine(check, store):
    """It is no best, the reason names the unseen seed and what the verifier said, and its score is not lost."""
    confirmer, heard = check({4: ONE_SEED})

    (standing,) = in_quarantine(store)
    assert standing.confirmation.reason.startswith("with the unseen seed 18 it ended as invalid: not an int")
    assert standing.construction(Direction.MAX).score == 900.0
    assert confirmer.best == 1.0
    assert confirmer.in_quarantine(4)
    assert heard.confirmations == [(4, False)]
    assert [one.attempt.id for one in bests(store, Direction.MAX)] == [0]


def test_a_best_that_takes_a_little_longer_with_other_seeds_is_confirmed(store):
    """It kept to the limit of 2 s with the run's own seeds, and may take 3 s with unseen ones; no more than that."""
    problem = replace(PROBLEM, limits=replace(PROBLEM.limits, wall_s=2.0))
    bodies = {4: f"[__import__('time').sleep({SLOW_UNSEEN.format(2.2)}), 7][1]"}
    bodies[5] = f"[__import__('time').sleep({SLOW_UNSEEN.format(60)}), 8][1]"
    with open_sandbox(require=Tier.NONE) as sandbox, Evaluator(problem, sandbox, workers=2) as evaluator:
        confirmer = Confirmer(
            problem, evaluator, store, Heard(), Check(seed=SEED, unseen=UNSEEN, best=1.0, rewarder=REWARDER)
        )
        attempts = [child(number, body, evaluator) for number, body in bodies.items()]
        for one in attempts:
            store.insert_attempt(one)
        confirmer.settle(attempts)
        confirmer.close()

    found = {confirmation.program_id: confirmation.reason for confirmation in store.confirmations()}
    assert found == {4: "", 5: "with the unseen seed 20 it ended as timed out: wall time limit of 3 s"}
    assert confirmer.best == 7.0


def test_luck_is_no_best(check, store):
    """A program that beats the best only with the run's own seeds is in quarantine with the score it really has."""
    confirmer, _ = check({4: LUCKY}, best=6.0)

    assert store.confirmations()[0].reason == "with unseen seeds it reaches 5.0, no better than 6.0 before it"
    assert confirmer.best == 6.0


def test_the_worst_of_all_runs_counts(check, store):
    """Where unseen seeds give less but still beat the best, that is the score."""
    confirmer, _ = check({4: LUCKY}, best=2.0)

    assert confirmer.best == 5.0
    assert store.program(4).score == 5.0
    assert bests(store, Direction.MAX)[0].score(Direction.MAX) == 5.0
    assert bests(store, Direction.MAX)[0].construction(Direction.MAX).score == 900.0


def test_what_is_better_than_the_luckiest_really_is_becomes_the_best(check, store):
    """The lucky one counts as 5 and not as 900, and of those behind it the first that beats 5 counts; the rest wait."""
    confirmer, heard = check({4: LUCKY, 5: "41", 6: "6", 7: "4"})

    assert heard.confirmations == [(4, True), (5, True)]
    assert confirmer.best == 41.0
    assert [one.attempt.id for one in bests(store, Direction.MAX)] == [5, 4, 0]


class Counting:
    """An evaluator that counts the runs that were begun."""

    def __init__(self, evaluator: Evaluator) -> None:
        self.begun = 0
        self.verify = evaluator.verify
        self._evaluate = evaluator.evaluate

    def evaluate(self, source: str, **settings: object) -> Evaluation:
        """Run the program."""
        self.begun += 1
        return self._evaluate(source, **settings)


def test_the_newest_candidate_does_not_wait_for_those_that_it_beats(evaluator, store):
    """Of eight that each took the lead, the last is confirmed, and of the others' runs most were never begun."""
    counting = Counting(evaluator)
    confirmer = Confirmer(
        PROBLEM, counting, store, Heard(), Check(seed=SEED, unseen=UNSEEN, best=1.0, rewarder=REWARDER)
    )
    bodies = {number: f"{number} if __import__('time').sleep(0.5) is None else 0" for number in range(2, 10)}
    attempts = [child(number, body, evaluator) for number, body in bodies.items()]
    for one in attempts:
        store.insert_attempt(one)
        confirmer.begin(one)
    confirmer.settle(attempts)
    confirmer.settle(attempts)  # what was given up is not confirmed, and not waited for
    confirmer.close()

    assert confirmer.best == 9.0
    assert [confirmation.program_id for confirmation in store.confirmations()] == [9]
    assert counting.begun <= 8  # of 16


def test_the_next_best_takes_the_place_of_what_failed(check, store):
    """Candidates are checked best first until one is confirmed; those behind it cost nothing."""
    confirmer, heard = check({4: "7", 5: ONE_SEED, 6: "8", 7: "6"})

    assert heard.confirmations == [(5, False), (6, True)]
    assert confirmer.best == 8.0


def test_a_twin_of_what_failed_is_not_run_again(check, store):
    """Two samples that are one program share the finding."""
    check({4: ONE_SEED, 5: ONE_SEED})

    four, five = store.confirmations()
    assert (four.program_id, five.program_id) == (4, 5)
    assert four.evaluations == five.evaluations


def test_a_twin_of_what_failed_is_not_run_again_after_a_kill(check, store):
    """The finding is in the database: a second check of the same program would be a lottery."""
    check({4: ONE_SEED})
    check({4: ONE_SEED, 5: ONE_SEED})

    four, five = store.confirmations()
    assert four.evaluations == five.evaluations


def test_a_twin_of_a_new_best_shares_its_score(check, store):
    """It is no news, and takes nothing away from the best."""
    confirmer, heard = check({4: LUCKY, 5: LUCKY})

    four, five = store.confirmations()
    assert four.evaluations == five.evaluations
    assert heard.confirmations == [(4, True)]
    assert confirmer.best == 5.0
    assert [(one.id, one.score) for one in store.best_programs(9, Direction.MAX)] == [(4, 5.0), (5, 5.0), (0, 1.0)]


def test_what_was_checked_is_paid_by_what_counts(check, store):
    """What fails, like an invalid program; a confirmed one for its worst run; their twins, too; the rest as before."""
    failed, confirmed = {4: ONE_SEED, 5: ONE_SEED}, {6: LUCKY, 7: LUCKY}
    check({**failed, **confirmed, 8: "3"})

    paid = {one.id: one.reward for one in store.attempts_of(1)}
    assert paid == {4: -0.1, 5: -0.1, 6: 5.0, 7: 5.0, 8: 3.0}


def test_what_is_handed_on_is_paid_like_what_is_stored(evaluator, store):
    """A learner may read either; and after a kill between two checks the step goes through its attempts once more."""
    attempts = [child(number, body, evaluator) for number, body in {4: ONE_SEED, 6: LUCKY, 8: "3"}.items()]
    store.insert_attempts(attempts)
    for stored in (attempts, store.attempts_of(1)):
        check = Check(seed=SEED, unseen=UNSEEN, best=1.0, rewarder=REWARDER)
        confirmer = Confirmer(PROBLEM, evaluator, store, Heard(), check)
        settled = confirmer.settle(stored)
        confirmer.close()

        assert [(one.id, one.score, one.reward) for one in settled] == [(4, None, -0.1), (6, 5.0, 5.0), (8, 3.0, 3.0)]


def test_a_repetition_of_what_failed_is_none_of_a_valid_program(check, store):
    """Where repetitions are not punished they are paid like what they repeat."""
    confirmer, _ = check({4: ONE_SEED, 5: "7"})
    known = [confirmer.as_it_counts(store.program(number)) for number in (4, 5)]

    assert [(one.outcome, one.score) for one in known] == [(Outcome.INVALID, None), (Outcome.VALID, 7.0)]


def test_the_best_is_never_lowered_by_what_was_confirmed_before(check, store):
    """A resumed step goes through its attempts once more, the lucky one first."""
    check({4: LUCKY, 5: "41"})
    lucky = replace(store.attempt(4), score=900.0)  # as a run of an earlier version has it
    confirmer, _ = check({}, best=41.0)
    confirmer.settle([lucky])

    assert confirmer.best == 41.0


class FailsOnce:
    """An evaluator whose first fresh verifier cannot be started."""

    def __init__(self, evaluator: Evaluator) -> None:
        self.evaluate = evaluator.evaluate
        self._verify = evaluator.verify
        self._failed = False

    def verify(self, construction: str) -> Verdict:
        """Fail, then verify."""
        if not self._failed:
            self._failed = True
            raise VerifierError("there is no memory for a verifier")
        return self._verify(construction)


def test_a_verifier_that_fails_once_is_no_fault_of_the_program(evaluator, store):
    """The construction is verified by another one."""
    confirmer = Confirmer(
        PROBLEM, FailsOnce(evaluator), store, Heard(), Check(seed=SEED, unseen=UNSEEN, best=1.0, rewarder=REWARDER)
    )
    one = child(4, "7", evaluator)
    store.insert_attempt(one)
    confirmer.settle([one])
    confirmer.close()

    assert confirmer.best == 7.0


def test_a_checked_program_of_another_run_counts_as_its_check_found(check, store):
    """It is one of those that the search began with, and listed once."""
    check({4: LUCKY})
    taken = attempt(
        -1, outcome=Outcome.VALID, identity="taken", source="", evaluations=store.attempt(4).evaluations, score=900.0
    )
    store.insert_attempt(replace(taken, step=0, draw=Draw(island=0, parent_id=-1)))
    store.insert_confirmation(replace(store.confirmations()[0], program_id=-1), score=5.0)

    found = [(one.attempt.id, one.score(Direction.MAX)) for one in bests(store, Direction.MAX)]
    assert sorted(found) == [(-1, 5.0), (0, 1.0), (4, 5.0)]


def test_what_does_not_beat_the_best_is_not_checked(check, store):
    """An equal score is no new best."""
    confirmer, heard = check({4: "7"}, best=7.0)

    assert not store.confirmations()
    assert not heard.confirmations
    assert confirmer.best == 7.0


def test_a_confirmation_that_is_stored_is_not_made_again(check, store):
    """After a kill between the check and the step's end the resumed run uses what was found."""
    check({4: "7", 5: ONE_SEED})
    before = store.confirmations()

    confirmer, heard = check({4: "7", 5: ONE_SEED})

    assert confirmer.best == 7.0
    assert confirmer.in_quarantine(5)
    assert store.confirmations() == before
    assert not heard.confirmations


def test_runs_that_were_begun_early_are_used(check, store):
    """Starting the runs while the step goes on changes nothing in what is found."""
    check({4: "7", 5: ONE_SEED}, begin=True)

    assert [(one.program_id, one.confirmed) for one in store.confirmations()] == [(5, False), (4, True)]


def test_a_construction_that_is_judged_differently_later_is_in_quarantine(store, tmp_path):
    """A verifier that gives a fresh process another score is no proof of anything."""
    folder = tmp_path / "moody"
    folder.mkdir()
    for name in ("problem.yaml", "seed.py"):
        (folder / name).write_text((TRIVIAL / name).read_text(), encoding="utf-8")
    (folder / "verify.py").write_text(
        "from evolve.types import Verdict\n\n\n"
        "def verify(construction):\n"
        f"    with open({str(tmp_path / 'calls')!r}, 'a') as calls:\n"  # two runs at once each add theirs
        "        calls.write('.')\n"
        "        calls.flush()\n"
        "        score = 9.0 if calls.tell() <= 4 else 8.0\n"
        "    return Verdict(valid=True, score=score, exact=str(score), construction=construction)\n",
        encoding="utf-8",
    )
    problem = load_problem("trivial", folder)
    with open_sandbox(require=Tier.NONE) as sandbox, Evaluator(problem, sandbox, workers=1) as evaluator:
        confirmer = Confirmer(
            problem, evaluator, store, Heard(), Check(seed=SEED, unseen=UNSEEN, best=1.0, rewarder=REWARDER)
        )
        one = child(4, "7", evaluator)
        store.insert_attempt(one)
        confirmer.settle([one])
        confirmer.close()

    words = "verified again in a fresh process its construction is no longer 9.0 but 8.0, exactly 8.0"
    assert store.confirmations()[0].reason == words


def test_a_run_that_took_in_other_programs_finds_seeded_bests_from_then_on(check, store):
    """They are not said to be found from scratch; what it found before that was."""
    check({4: "7"})
    taken = attempt(-1, outcome=Outcome.VALID, identity="taken", source="", score=2.0)
    store.insert_attempt(replace(taken, step=0, draw=Draw(island=0, parent_id=-1)))
    check({5: "8"})

    assert [one.origin for one in store.confirmations()] == [Origin.SCRATCH, Origin.SEEDED]


HEIGHTS = [((37 * k) % 101) / 101 for k in range(60)]


#: 78 numbers, in three lists of 26 in a program that computes with other units.
CIRCLES = [[k / 97, k / 89, k / 8300] for k in range(1, 27)]


@pytest.mark.parametrize(
    ("source", "construction", "recalled"),
    [
        (f"a = {HEIGHTS}", HEIGHTS, True),
        (f"a = {HEIGHTS[:31]}; b = a + a[::-1]", HEIGHTS, True),
        (f"a = {HEIGHTS[:20]}", HEIGHTS, False),
        ("a = '" + " ".join(map(repr, HEIGHTS)) + "'.split()", HEIGHTS, True),
        ("\n".join(f"a.append([{x!r}])" for x in HEIGHTS), [[x] for x in HEIGHTS], True),
        ("\n".join(f"a.append([-{x!r}])" for x in HEIGHTS), [[-x] for x in HEIGHTS], True),
        (f"a = {[7 * x for x in HEIGHTS]}; scale = 1 / 7", HEIGHTS, True),  # by the length of its list
        ("\n".join(f"{name} = {[8 * circle[k] for circle in CIRCLES]}" for k, name in enumerate("xyr")), CIRCLES, True),
        ("\n".join(f"x{k} = {k + 0.5}" for k in range(45)), CIRCLES, False),  # an honest program has fewer numbers
        ("a = [((37 * k) % 101) / 101 for k in range(60)]", HEIGHTS, False),
        (f"a = {[[k % 3, k % 2] for k in range(40)]}", [[k % 3, k % 2] for k in range(80)], True),
        ("a = [0, 1, 3, 7]", [0, 1, 3, 7], False),
        ("a = " + repr(["+-" * 8 + "+" * k for k in range(12)]), ["+-" * 8 + "+" * k for k in range(12)], True),
        ("x = [0.1, 0.2, 0.3]; y = 1e-9", [[0.5, 0.25, 0.1]] * 26, False),
        (f"a = '{'01' * 420}'; b = '1e999'", HEIGHTS, False),  # digits of no number
    ],
)
def test_a_program_that_spells_out_its_construction_is_recognised(source, construction, recalled):
    """Half of the values as literals, in lists, strings or one by one, or one list half as long; not a computation."""
    assert spells_out(source, construction) is recalled


def test_a_records_score_with_very_many_literals_is_recall():
    """151 numbers beside a record's score; 150 are not enough, nor is a score that differs in the eighth digit."""
    record = Record(score=2.0, holder="", date="", source="", exactly_valid=True)
    problem = replace(PROBLEM, records=(record,))
    run = Evaluation(outcome=Outcome.VALID, seed=0, score=2.0 + 1e-9, exact="2", construction="2")

    def source(count):
        return "\n".join(f"x{k} = {k + 0.5}" for k in range(count))

    assert is_recall(problem, source(151), run)
    assert not is_recall(problem, source(150), run)
    assert not is_recall(problem, source(151), replace(run, score=2.0 + 1e-8))
    assert origin_of(problem, source(151), run, seeded=False) is Origin.RECALL


def test_what_the_problems_own_seed_spells_out_is_not_recalled():
    """A search that begins with a literal construction has seeded bests, whatever the child keeps of it."""
    problem = replace(PROBLEM, seed_source=f"a = {HEIGHTS}")
    run = Evaluation(outcome=Outcome.VALID, seed=0, score=2.0, exact="2", construction=json.dumps(HEIGHTS))

    assert origin_of(problem, f"a = {HEIGHTS}; b = 1", run, seeded=False) is Origin.SEEDED
    assert origin_of(PROBLEM, f"a = {HEIGHTS}; b = 1", run, seeded=True) is Origin.RECALL


def test_a_fresh_verifier_has_judged_nothing_before(tmp_path):
    """A verifier that counts its judgements begins at 1 again; one that is not asked to be fresh goes on counting."""
    for name in ("problem.yaml", "seed.py"):
        (tmp_path / name).write_text((TRIVIAL / name).read_text(), encoding="utf-8")
    (tmp_path / "verify.py").write_text(
        "from evolve.types import Verdict\n\nCALLS = []\n\n\n"
        "def verify(construction):\n"
        "    CALLS.append(construction)\n"
        "    return Verdict(valid=True, score=float(len(CALLS)), construction=construction)\n",
        encoding="utf-8",
    )
    problem, source = load_problem("trivial", tmp_path), "def answer():\n    return 1\n"
    with open_sandbox(require=Tier.NONE) as sandbox, Evaluator(problem, sandbox, workers=1) as evaluator:
        scores = [evaluator.evaluate(source, seed=0, afresh=afresh).score for afresh in (False, False, True, False)]
        scores.append(evaluator.verify("1").score)

    assert scores == [1.0, 2.0, 1.0, 3.0, 1.0]


def test_a_fresh_verifier_does_not_wait_for_slow_programs(evaluator):
    """A construction is verified while every other verifier judges a program that takes its time."""
    slow = "import time\ndef answer():\n    time.sleep(10)\n    return 1"
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(evaluator.evaluate, slow, seed=0) for _ in range(2)]
        time.sleep(1)
        assert evaluator.verify("41").score == 41.0
        assert not any(run.done() for run in runs)
        assert [run.result().outcome for run in runs] == [Outcome.VALID] * 2


def test_many_confirmations_at_once_do_not_starve_evaluations(evaluator):
    """Fresh verifiers are handed back: eight threads that all ask for one get their verdicts."""
    with ThreadPoolExecutor(8) as pool:
        runs = list(
            pool.map(lambda n: evaluator.evaluate(f"def answer(): return {n}", seed=0, afresh=n % 2 == 0), range(12))
        )

    assert [run.score for run in runs] == [float(n) for n in range(12)]
    assert evaluator.verify("41").score == 41.0
    assert not evaluator.verify('"x"').valid
