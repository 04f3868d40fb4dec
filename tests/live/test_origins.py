"""Several origins: shares and backups, who is left out and who finds out, places and queues, budgets for retries."""
from harness import *

FRESH = {"Cache-Control": "max-age=600"}


def upstream(node, origin):
    return next(u for u in node.status()["upstreams"] if u["name"] == origin.url)


def answering(word):
    origin = Origin()
    origin.on("*", lambda r: Reply(word, headers={"Cache-Control": "no-store"}))
    return origin


def test_weights_and_backup():
    heavy, light, spare = answering(b"heavy"), answering(b"light"), answering(b"spare")
    node = Node(origins=[{"url": heavy.url, "weight": 3}, light.url, {"url": spare.url, "backup": True}])
    bodies = [node.get(f"/{i}").body for i in range(200)]
    assert 110 < bodies.count(b"heavy") < 190 and b"spare" not in bodies, bodies.count(b"heavy")
    heavy.stop()
    light.stop()
    for i in range(20):
        r = node.get(f"/spare{i}")
        if i > 6:
            assert r.body == b"spare", r
    s = upstream(node, heavy)
    assert s["healthy"] is False and s["circuit"] in ("open", "half-open") and "in a row" in s["why"], s
    assert node.metric("brink_upstream_healthy", upstream=heavy.url) == 0
    assert node.metric("brink_upstream_ejections_total", upstream=heavy.url) >= 1
    heavy.start()
    eventually("the first group is back", lambda: node.get("/back").body == b"heavy", timeout=20, step=0.2)


def test_one_that_says_it_is_failing_is_seen_by_nobody():
    bad, good = Origin(), answering(b"good")
    for status in (502, 503, 504):
        bad.on("*", status=status, body=b"out of order")
        node = Node(origins=[bad.url, good.url], workers=1)
        together(8, lambda _: [node.get(f"/{i}") for i in range(5)])
        answers = [node.get(f"/{i}") for i in range(40)]
        assert {r.status for r in answers} == {200}, [r.status for r in answers]
        assert upstream(node, bad)["why"] and node.metric("brink_upstream_retries_total", upstream=bad.url) >= 5
        # What may have been acted on isn't repeated.
        assert {node.get("/p", method="POST", body=b"x").status for _ in range(30)} <= {200, status}
        node.stop()


def test_what_hangs_hurts_only_who_asks_for_it():
    """Four URLs that are never answered, over two tiers: 504 after one attempt each, and no server is left out."""
    origin, over = Origin(), threading.Event()
    for i in range(4):
        origin.on(f"/hang{i}", lambda r: over.wait(60) and Reply(b"late"))
    origin.on("*", lambda r: Reply(b"quick", headers={"Cache-Control": "no-store"}))
    patience = {"upstream": {"first_byte_timeout": "3s"}}
    shield = Node(origins=[origin.url], name="shield-1", tier=True, config=patience)
    edge = Node(origins=[origin.url], name="edge-1", shield=[shield], config=patience)
    done = threading.Event()

    def work(i):
        if i < 4:
            return edge.get(f"/hang{i}")
        answers = []
        while not done.wait(0.05):
            answers.append(edge.get("/quick"))
        return answers

    threading.Timer(4, done.set).start()
    results = together(5, work)
    over.set()
    assert [r.status for r in results[:4]] == [504] * 4, results[:4]
    assert [origin.count(f"/hang{i}") for i in range(4)] == [1] * 4
    assert len(results[4]) > 3 and all(r.body == b"quick" for r in results[4])
    for node in (shield, edge):
        assert all(u["healthy"] for u in node.status()["upstreams"]), (node.name, node.status()["upstreams"])


def test_probes_find_out_before_visitors_do():
    one, two = answering(b"one"), answering(b"two")
    sick = threading.Event()
    one.on("/healthz", lambda r: Reply(b"", status=500 if sick.is_set() else 200))
    two.on("/healthz", lambda r: Reply(b"ok"))
    node = Node(origins=[one.url, two.url], site={"probe": {"path": "/healthz", "interval": "100ms", "host": "probe.example"}})
    eventually("it is asked", lambda: one.count("/healthz") > 1 and two.count("/healthz") > 1)
    assert one.last("/healthz")["host"] == "probe.example" and one.connections <= 2
    sick.set()
    eventually("it is out", lambda: not upstream(node, one)["healthy"])
    assert upstream(node, one)["why"] == "probes failed"
    assert {node.get(f"/{i}").body for i in range(20)} == {b"two"}
    sick.clear()
    eventually("it is back", lambda: upstream(node, one)["healthy"])
    assert upstream(node, one)["circuit"] == "slow-start"
    eventually("it gets requests again", lambda: node.get("/again").body == b"one")
    assert node.metric("brink_upstream_probes_total", upstream=one.url, outcome="failed") >= 3


def test_places_and_a_queue():
    origin = Origin()
    gate = threading.Event()
    most, now, lock = [0], [0], threading.Lock()

    def slow(request):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        gate.wait(20)
        with lock:
            now[0] -= 1
        return Reply(b"done", headers={"Cache-Control": "no-store"})

    origin.on("*", slow)
    node = Node(origins=[origin.url], config={"upstream": {"max_in_flight": 3, "max_queue": 4, "queue_timeout": "10s"}})
    # Uncacheable requests: nothing collapses.
    crowd = [Later(node.get, f"/{i}", method="POST", body=b"x") for i in range(10)]
    eventually("three are there, four wait", lambda: now[0] == 3 and upstream(node, origin)["waiting"] == 4)
    eventually("the rest is turned away", lambda: sum(c.done for c in crowd) == 3)
    gate.set()
    answers = [c.result() for c in crowd]
    assert sorted(r.status for r in answers) == [200] * 7 + [503] * 3
    turned = next(r for r in answers if r.status == 503)
    assert turned["retry-after"] == "1" and turned.own["detail"] == "connection_limit_reached", turned
    assert most[0] == 3 and node.metric("brink_shed_total") == 3


def test_who_waits_too_long_is_told():
    origin = Origin()
    gate = threading.Event()
    origin.on("*", gate=gate)
    node = Node(origins=[origin.url], config={"upstream": {"max_in_flight": 1, "queue_timeout": "300ms"}})
    first = Later(node.get, "/1")
    eventually("the origin is asked", lambda: origin.count())
    began = time.monotonic()
    r = node.get("/2")
    assert r.status == 503 and 0.25 < time.monotonic() - began < 5, r
    with node.conn() as c:  # a client that leaves while it waits
        c.request("/3")
        time.sleep(0.1)
    gate.set()
    assert first.result().status == 200
    eventually("the place is free again", lambda: node.get("/4").status == 200)
    eventually("nothing is left", lambda: upstream(node, origin)["in_flight"] == 0)


def test_the_last_is_tried_by_one_at_a_time():
    origin = Origin()
    hole = threading.Event()
    busy, most, lock = [0], [0], threading.Lock()

    def silent(request):
        with lock:
            busy[0] += 1
            most[0] = max(most[0], busy[0])
        hole.wait(20)
        with lock:
            busy[0] -= 1
        return Reply(b"late")

    origin.on("*", silent)
    node = Node(origins=[origin.url], config={"upstream": {"first_byte_timeout": "300ms", "retries": 0}})
    for i in range(3):
        assert node.get(f"/{i}").status == 504
    assert not upstream(node, origin)["healthy"]
    most[0], busy[0] = 0, 0
    before = origin.count()
    crowd = [Later(node.get, f"/crowd{i}") for i in range(30)]
    statuses = [c.result().status for c in crowd]
    assert set(statuses) <= {503, 504} and 503 in statuses, statuses
    assert origin.count() - before < 10, f"{origin.count() - before} requests to an origin that is down"
    hole.set()
    origin.on("*", body=b"well")
    eventually("it is back at once", lambda: node.get("/well").status == 200, timeout=5)


def test_an_origin_that_is_down_is_seldom_asked_for_what_may_be_served_stale():
    origin = Origin()
    for i in range(5):
        origin.on(f"/{i}", body=b"kept", headers={"Cache-Control": "max-age=1, stale-if-error=600"})
    node = Node(origins=[origin.url], config={"upstream": {"retries": 0}})
    for i in range(5):
        node.get(f"/{i}")
    time.sleep(1.1)
    origin.on("*", raw=b"", close=True)
    for i in range(5):
        origin.on(f"/{i}", raw=b"")
    before, errors, began = origin.count(), 0, time.monotonic()
    for n in range(400):
        r = node.get(f"/{n % 5}")
        errors += r.status != 200 or r.body != b"kept" or r.x_cache != "STALE"
    assert errors == 0
    took = time.monotonic() - began
    assert origin.count() - before < 12 + took, f"asked {origin.count() - before} times in {took:.1f} s"
    for i in range(5):
        origin.on(f"/{i}", body=b"new", headers=FRESH)
    eventually("it is back", lambda: all(node.get(f"/{i}").body == b"new" for i in range(5)), timeout=20, step=0.1)


def test_retries_end_with_the_budget():
    origins = [Origin() for _ in range(2)]
    for o in origins:
        o.on("*", raw=b"")
    node = Node(origins=[o.url for o in origins], config={"upstream": {"retries": 3, "retry_budget": 10}})
    for i in range(300):
        assert node.get(f"/{i}").status in (502, 503)
    tried = sum(o.count() for o in origins)
    assert tried <= 300 + 100 + 30, tried
    assert node.metric("brink_upstream_retries_denied_total") > 0


def test_the_slow_one_of_three():
    quick, other, slow = answering(b"quick"), answering(b"other"), Origin()
    slow.on("*", body=b"slow", delay=0.2, headers={"Cache-Control": "no-store"})
    node = Node(origins=[quick.url, other.url, slow.url])
    eventually("it is taken out", lambda: (together(40, lambda i: node.get(f"/{i}")), not upstream(node, slow)["healthy"])[1], timeout=30)
    assert "longer" in upstream(node, slow)["why"]
    assert all(node.get(f"/then{i}").body != b"slow" for i in range(5))


if __name__ == "__main__":
    main()
