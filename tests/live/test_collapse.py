"""One fetch for a key, whoever asks for it meanwhile: RFC 9111 4 lets a cache collapse requests."""
from harness import *

FRESH = {"Cache-Control": "max-age=600"}
CROWD = 1000


def test_a_thousand_misses_are_one_fetch():
    origin = Origin()
    head, tail_gate = threading.Event(), threading.Event()
    first, last = os.urandom(20_000), os.urandom(50_000)
    origin.on("/hot", gate=head, body=[first, tail_gate, last], headers=FRESH)
    node = Node(origins=[origin.url])
    crowd = [Conn(node.port, timeout=60) for _ in range(CROWD)]
    for c in crowd:
        c.request("/hot")
    eventually("all but one wait", lambda: node.metric("brink_collapsed_total") == CROWD - 1, timeout=30)
    assert origin.count("/hot") == 1
    head.set()
    # The first bytes reach every one of them while the origin holds the rest back.
    responses = []
    for c in crowd:
        r = c.head()
        r.body = c.exactly(len(first), r)
        assert r.status == 200 and r.body == first, r
        responses.append(r)
    assert not tail_gate.is_set()
    tail_gate.set()
    for c, r in zip(crowd, responses):
        assert c.exactly(len(last), r) == last
    assert origin.count("/hot") == 1
    assert sum(1 for r in responses if "collapsed" in r.own) == CROWD - 1, responses[-1]
    for c in crowd:
        c.close()
    assert node.get("/hot").x_cache == "HIT"


def test_over_http2_too():
    origin = Origin()
    head = threading.Event()
    body = os.urandom(30_000)
    origin.on("/hot", gate=head, body=body, headers=FRESH)
    node = Node(origins=[origin.url], tls=True)
    connections = [node.h2() for _ in range(5)]
    streams = [(c, [c.send("/hot") for _ in range(40)]) for c in connections]
    eventually("all but one wait", lambda: node.metric("brink_collapsed_total") == 199)
    head.set()
    for c, ids in streams:
        for stream in ids:
            assert c.response(stream).body == body
        c.close()
    assert origin.count("/hot") == 1


def test_the_leader_leaves():
    origin = Origin()
    gate = threading.Event()
    body = os.urandom(100_000)
    origin.on("/hot", body=[body[:1000], gate, body[1000:]], headers=FRESH)
    node = Node(origins=[origin.url])
    leader = node.conn()
    leader.request("/hot")
    leader.head()
    followers = [node.conn() for _ in range(10)]
    for c in followers:
        c.request("/hot")
    eventually("they wait", lambda: node.metric("brink_collapsed_total") == 10)
    leader.reset()
    time.sleep(0.3)
    gate.set()
    for c in followers:
        r = c.response()
        assert r.body == body, r
        c.close()
    assert origin.count("/hot") == 1 and node.get("/hot").x_cache == "HIT"


def test_everybody_leaves_and_the_fetch_still_fills():
    origin = Origin()
    gate = threading.Event()
    origin.on("/hot", body=[b"a" * 1000, gate, b"b" * 1000], headers=FRESH)
    node = Node(origins=[origin.url])
    with node.conn() as c:
        c.request("/hot")
        c.head()
    time.sleep(0.2)
    gate.set()
    eventually("it is stored", lambda: node.get("/hot").x_cache == "HIT")
    assert origin.count("/hot") == 1


def test_an_uncacheable_response_is_nobody_elses():
    origin = Origin()
    head = threading.Event()
    numbers = iter(range(1000))

    def mine(request):
        number = next(numbers)
        head.wait(30)
        return Reply(b"yours alone: %d" % number, headers={"Cache-Control": "private"})

    origin.on("/me", mine)
    node = Node(origins=[origin.url])
    crowd = [Later(node.get, "/me") for _ in range(30)]
    eventually("all but one wait", lambda: node.metric("brink_collapsed_total") == 29)
    assert origin.count("/me") == 1
    head.set()
    bodies = [c.result().body for c in crowd]
    assert len(set(bodies)) == 30 and origin.count("/me") == 30, bodies


def test_after_it_nobody_queues():
    origin, gate = Origin(), threading.Event()
    gate.set()
    origin.on("/me", body=b"x", headers={"Cache-Control": "no-store"}, gate=gate)
    node = Node(origins=[origin.url])
    node.get("/me")
    gate.clear()
    crowd = [Later(node.get, "/me") for _ in range(10)]
    eventually("all of them are at the origin at once", lambda: origin.count("/me") == 11)
    gate.set()
    assert {c.result().body for c in crowd} == {b"x"}


def test_a_failed_fetch_fails_them_all_once():
    origin = Origin()
    head = threading.Event()
    origin.on("/hot", gate=head, raw=b"")
    node = Node(origins=[origin.url], config={"upstream": {"retries": 0}})
    crowd = [Later(node.get, "/hot") for _ in range(50)]
    eventually("all but one wait", lambda: node.metric("brink_collapsed_total") == 49)
    head.set()
    assert {c.result().status for c in crowd} == {502}
    assert origin.count("/hot") < 10, "a failing origin was asked once for every waiter"


def test_a_failing_origin_is_not_asked_by_everybody():
    # It answers, and says that it is failing: with something stale to answer with, and without.
    for status, control in ((503, None), (503, "no-store"), (500, None)):
        for stale in (False, True):
            origin, head = Origin(), threading.Event()
            node = Node(origins=[origin.url])
            if stale:
                origin.on("/hot", body=b"kept", headers={"Cache-Control": "max-age=1, stale-if-error=600"})
                node.get("/hot")
                time.sleep(1.6)
            before = origin.count("/hot")
            origin.on("/hot", gate=head, status=status, body=b"out of order", headers={"Cache-Control": control} if control else {})
            crowd = [Later(node.get, "/hot") for _ in range(100)]
            eventually("the origin is asked", lambda: origin.count("/hot") > before)
            eventually("they wait", lambda: node.metric("brink_collapsed_total") >= 99)
            head.set()
            answers = [c.result() for c in crowd]
            assert {r.status for r in answers} == {200 if stale else status}, answers[0]
            assert {r.body for r in answers} == {b"kept"} or not stale
            assert origin.count("/hot") == before + 1, f"{origin.count('/hot') - before} requests for {status}, {control}, stale: {stale}"
            node.stop()


def test_a_slow_reader_holds_nobody_up():
    origin = Origin()
    gate = threading.Event()
    body = os.urandom(8_000_000)
    origin.on("/big", body=[body[:4_000_000], gate, body[4_000_000:]], headers=FRESH)
    node = Node(origins=[origin.url])
    slow = node.conn()
    slow.request("/big")
    slow.head()  # and then reads nothing
    fast = Later(node.get, "/big")
    time.sleep(0.3)
    gate.set()
    assert fast.result(30).body == body
    # The slow one still gets every byte.
    r = Response(200, [])
    assert slow.exactly(len(body), r) == body
    assert origin.count("/big") == 1


if __name__ == "__main__":
    main()
