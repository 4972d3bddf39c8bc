"""The gate: how many are inside at once."""

import threading

from evolve.gate import Gate


class Visitor:
    """A thread that enters the gate, says so, and stays until it is told to leave."""

    def __init__(self, gate: Gate) -> None:
        self.inside, self.leave = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._visit, args=(gate,))
        self.thread.start()

    def _visit(self, gate: Gate) -> None:
        with gate.admitted():
            self.inside.set()
            assert self.leave.wait(10)

    def go(self) -> None:
        self.leave.set()
        self.thread.join(10)


def test_no_more_than_the_width_are_inside():
    """The third of three waits until one of the two inside has left."""
    gate = Gate(2)
    first, second = Visitor(gate), Visitor(gate)
    assert first.inside.wait(10)
    assert second.inside.wait(10)

    third = Visitor(gate)

    assert not third.inside.wait(0.1)
    first.go()
    assert third.inside.wait(10)
    second.go()
    third.go()


def test_a_narrowed_gate_lets_those_inside_finish_and_admits_none_before():
    """Two are inside when the gate narrows to one: the next enters only when both have left; afterwards it is wide."""
    gate = Gate(2)
    first, second = Visitor(gate), Visitor(gate)
    assert first.inside.wait(10)
    assert second.inside.wait(10)
    with gate.narrowed(1):
        third = Visitor(gate)
        first.go()
        assert not third.inside.wait(0.1)
        second.go()
        assert third.inside.wait(10)
        fourth = Visitor(gate)
        assert not fourth.inside.wait(0.1)
    assert fourth.inside.wait(10)
    third.go()
    fourth.go()


def test_narrowing_to_more_than_the_width_changes_nothing():
    """A width of one stays a width of one."""
    gate = Gate(1)
    with gate.narrowed(5):
        first = Visitor(gate)
        assert first.inside.wait(10)
        second = Visitor(gate)
        assert not second.inside.wait(0.1)
        first.go()
        assert second.inside.wait(10)
        second.go()
