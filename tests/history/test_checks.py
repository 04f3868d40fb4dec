"""The checks themselves: each finds what it is there for, and nothing else."""
from checks import *
from harness import *


def read(at, version, node="edge-1", path="/a", stale=False):
    return Read(at, at + 0.1, node, path, version, stale, "HIT")


def purge(version, soft=False, applied=(), acknowledged=1.0, sent=0.9, path="/a", way="api"):
    p = Purge(1, way, "tags", soft, {path: version}, sent)
    p.acknowledged, p.applied, p.by = acknowledged, list(applied), "edge-1"
    return p


def test_an_older_version_after_it_was_applied():
    p = purge(5, applied=[("edge-1", 1.0)])
    assert not applied([read(0.99, 4), read(1.01, 5), read(1.01, 4, node="edge-2"), read(1.01, 4, path="/b")], [p])
    assert len(applied([read(1.01, 4)], [p])) == 1
    assert len(applied([read(1.01, 4, stale=True)], [p])) == 1, "a stale mark doesn't excuse what was purged hard"
    assert len(applied([read(3.0, 6), read(2.0, 4)], [p])) == 1, "in whatever order they were noted"


def test_soft_allows_what_is_marked():
    p = purge(5, soft=True, applied=[("edge-1", 1.0)])
    assert not applied([read(1.01, 4, stale=True), read(1.01, 5)], [p])
    assert len(applied([read(1.01, 4)], [p])) == 1


def test_the_highest_demand_counts():
    first, second = purge(7, applied=[("edge-1", 1.0)]), purge(5, applied=[("edge-1", 2.0)])
    assert len(applied([read(3.0, 6)], [first, second])) == 1
    soft = purge(9, soft=True, applied=[("edge-1", 2.0)])
    assert not applied([read(3.0, 8, stale=True)], [first, soft])
    assert len(applied([read(3.0, 6, stale=True)], [first, soft])) == 1


def test_in_time_unless_a_fault_was_near():
    p = purge(5)
    nodes = ["edge-1", "edge-2"]
    late = [read(4.1, 4, node="edge-2")]
    assert len(in_time(late, [p], [], nodes, 3)) == 1
    assert not in_time([read(3.9, 4, node="edge-2")], [p], [], nodes, 3)
    assert len(in_time(late, [p], [Fault("kill", 5, 6, {"edge-2"}), Fault("cut", 2, 3, {"shield-1"})], nodes, 3)) == 1
    for fault in (Fault("kill", 2, 3, {"edge-2"}), Fault("kill", 0.5, 1.5, {"edge-1"}), Fault("stop", 3.5, 9, {"redis"})):
        assert not in_time(late, [p], [fault], nodes, 3), fault
    p.acknowledged = None
    assert not in_time(late, [p], [], nodes, 3)


def test_finally():
    p = purge(5)
    assert len(finally_everywhere([read(99, 4, node="edge-2")], [p], ["edge-1", "edge-2"])) == 1
    p.excused = "lost"
    assert not finally_everywhere([read(99, 4, node="edge-2")], [p], ["edge-1", "edge-2"])


def test_excuses():
    loss = [(1.5, 3.0, 4.0)]
    for witnesses, kills, sent, excused in (
            ([], [], 2.0, True), ([("edge-1", 2.5)], [], 2.0, False), ([("edge-1", 3.5)], [], 2.0, True),
            ([("edge-1", 2.5)], [("edge-1", 2.9)], 2.0, True), ([("edge-1", 2.5)], [("edge-2", 2.9)], 2.0, False),
            ([], [], 1.0, False), ([], [], 4.5, False)):
        p = purge(5, way="xadd", applied=witnesses, sent=sent, acknowledged=sent + 0.1)
        excuse_lost_entries([p], loss, kills)
        assert bool(p.excused) == excused, (witnesses, kills, sent)
    p = purge(5, way="api", sent=2.0, acknowledged=2.1)
    excuse_lost_entries([p], loss, [])
    assert not p.excused, "a node answers for what it has acknowledged"


if __name__ == "__main__":
    main()
