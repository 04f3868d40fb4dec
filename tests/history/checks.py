"""What must hold in a recorded history. No I/O here: lists of what was observed go in, sentences about what was wrong come out.

All times are of one monotonic clock. A purge *requires* of each object that it covers the version that the object had at
the origin before the purge was sent; that is what every fetch begun after it gets, so anything older is from before."""
from collections import defaultdict, namedtuple

# One answer with a body or validator of the origin's. stale: it says so itself.
Read = namedtuple("Read", "began ended node path version stale shown")
# A fault, from its beginning until what it touched was seen to be well again. touches: names of nodes.
Fault = namedtuple("Fault", "kind began ended touches")


class Purge:
    """needs: {path: version}. acknowledged: when the answer came that it will take effect (None: never).
    applied: [(node, time)]: from that time on the node is known to have it."""

    def __init__(self, number, way, what, soft, needs, sent):
        self.number, self.way, self.what, self.soft, self.needs, self.sent = number, way, what, soft, needs, sent
        self.acknowledged = None
        self.applied = []
        self.by = self.id = None     # the answering node; the ID in the stream
        self.excused = None          # why no effect can be demanded

    def __str__(self):
        return (f"purge {self.number} ({self.way}, {'soft' if self.soft else 'hard'}, {self.what}, by {self.by or 'nobody'}, "
                f"ID {self.id}, sent {self.sent:.4f}, acknowledged {self.acknowledged and f'{self.acknowledged:.4f}'})")


class Demand:
    """What a node owes for a path, over time: the highest version required so far, and by which purge."""

    def __init__(self, owed):
        self.steps = sorted(owed, key=lambda o: o[0])
        self.at, self.version, self.purge = 0, -1, None

    def until(self, time):
        """Takes in what was owed before that time (which only grows from call to call)."""
        while self.at < len(self.steps) and self.steps[self.at][0] < time:
            _, version, purge = self.steps[self.at]
            if version > self.version:
                self.version, self.purge = version, purge
            self.at += 1
        return self


def overdue(reads, owed, what):
    """reads against owed = {(node, path): ([(from when, version, purge)] hard, […] soft)}."""
    wrong = []
    by_place = defaultdict(list)
    for r in reads:
        by_place[r.node, r.path].append(r)
    for place, list_of_reads in by_place.items():
        if place not in owed:
            continue
        hard, soft = Demand(owed[place][0]), Demand(owed[place][1])
        for r in sorted(list_of_reads, key=lambda r: r.began):
            h, s = hard.until(r.began), soft.until(r.began)
            if r.version < h.version:
                wrong.append((r, h.purge, f"{what}: {r.node} served version {r.version} of {r.path} ({r.shown}) to a request of "
                              f"{r.began:.4f}; at least {h.version} was due by {h.purge}"))
            elif r.version < s.version and not r.stale:
                wrong.append((r, s.purge, f"{what}: {r.node} served version {r.version} of {r.path} not marked stale ({r.shown}) to a "
                              f"request of {r.began:.4f}; at least {s.version} was due by {s.purge}"))
    return wrong


def _owe(owed, node, purge, since):
    for path, version in purge.needs.items():
        owed.setdefault((node, path), ([], []))[1 if purge.soft else 0].append((since, version, purge))


def applied(reads, purges):
    """Once a node is known to have applied a purge, nothing older is served to a request begun later; also after a kill."""
    owed = {}
    for p in purges:
        for node, since in p.applied:
            _owe(owed, node, p, since)
    return overdue(reads, owed, "after it was applied")


def in_time(reads, purges, faults, nodes, bound):
    """What was acknowledged is in force `bound` later on every node, where no fault was near."""
    owed = {}
    for p in purges:
        if p.acknowledged is None or p.excused:
            continue
        since = p.acknowledged + bound
        near = [f for f in faults if f.began < since and f.ended > p.sent - 1]
        for node in nodes:
            if not any(node in f.touches or p.by in f.touches or "redis" in f.touches for f in near):
                _owe(owed, node, p, since)
    return overdue(reads, owed, f"{bound} s after it was acknowledged")


def finally_everywhere(reads, purges, nodes):
    """After all faults have healed, everything acknowledged is in force everywhere."""
    owed = {}
    for p in purges:
        if p.acknowledged is not None and not p.excused:
            for node in nodes:
                _owe(owed, node, p, 0.0)
    return overdue(reads, owed, "after everything healed")


def excuse_lost_entries(purges, losses, kills):
    """An entry of somebody's own XADD is durable only in Redis. When Redis loses it, the nodes enter it again if one that is
    still alive had read it; else nobody can know of it.

    losses: [(from when entries were lost, when it happened, when it was over)]; kills: [(node, time)]."""
    for p in purges:
        if p.way != "xadd" or p.acknowledged is None:
            continue
        for since, began, ended in losses:
            if p.acknowledged < since or p.sent > ended:
                continue
            witnesses = [(n, t) for n, t in p.applied if t < began]
            if not any(all(k != n or not t - 2 < at < ended + 5 for k, at in kills) for n, t in witnesses):
                p.excused = "Redis lost it before a node that lived on was seen to have it"
