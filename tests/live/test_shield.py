"""Two tiers: edges send their misses to a shield, which collapses, caches and goes to the origin."""
from harness import *

FRESH = {"Cache-Control": "max-age=600"}


def pop(edges=1, **more):
    """(origin, shield, edges…) without Redis."""
    origin = Origin()
    shield = Node(origins=[origin.url], name="shield-1", tier=True, **more)
    return [origin, shield] + [Node(origins=[origin.url], name=f"edge-{n + 1}", shield=[shield], **more) for n in range(edges)]


def test_a_miss_travels_through_the_shield():
    origin, shield, one, two = pop(edges=2)
    origin.on("/a", body=b"hello", headers=dict(FRESH, **{"Surrogate-Key": "k"}))
    r = one.get("/a")
    assert r.status == 200 and r.body == b"hello" and r.x_cache == "MISS", r
    assert [m["name"] for m in r.cache_status] == ["shield-1", "edge-1"], r
    assert r.cache_status[0]["fwd"] == "uri-miss" and r.own["fwd"] == "uri-miss" and r.own["fwd-status"] == 200 and r.own["stored"], r
    assert "surrogate-key" not in r
    got = origin.last("/a")
    assert got["host"] == "test.example" and got["x-forwarded-for"] == "127.0.0.1, 127.0.0.1", got  # client, edge
    assert re.search(r"edge-1.*shield-1", got["via"]) and got["cdn-loop"] == "brink" and got["x-request-id"], got
    assert all("secret" not in v and "tier" not in k.lower() for k, v in got.headers), got
    # The other edge finds it at the shield.
    r = two.get("/a")
    assert r.body == b"hello" and r.cache_status[0]["hit"] is True and r.cache_status[0]["name"] == "shield-1", r
    assert r.own["name"] == "edge-2" and r.own["fwd"] == "uri-miss", r
    assert origin.count("/a") == 1
    r = two.get("/a")
    assert r.x_cache == "HIT" and r.own["hit"] is True, r
    assert two.metric("brink_hits_total", tier="memory") >= 1


def test_what_an_edge_takes_a_shield_takes_too():
    """Whatever it adds on the way: who is refused is refused by the node that the client asked."""
    origin, shield, edge = pop()
    origin.on("/many", body=b"hello", headers=FRESH)
    for fields, status in ((83, 200), (84, 431)):  # beside Host
        r = edge.get("/many", headers={f"X-{n}": "1" for n in range(fields)})
        assert r.status == status, (fields, r)
    r = edge.get("/long", headers={"X-Long": "x" * 65_000})
    assert r.status == 404 and origin.last("/long")["x-long"] == "x" * 65_000, r
    assert edge.get("/long", headers={"X-Long": "x" * 65_537}).status == 431


def test_a_crowd_at_two_edges_is_one_fetch():
    origin, shield, one, two = pop(edges=2)
    gate = threading.Event()
    body = os.urandom(200_000)
    origin.on("/hot", body=[body[:1000], gate, body[1000:]], headers=FRESH)
    crowd = [Later(node.get, "/hot") for node in (one, two) for _ in range(50)]
    eventually("the origin is asked", lambda: origin.count("/hot"))
    time.sleep(0.5)
    gate.set()
    assert all(c.result().body == body for c in crowd)
    assert origin.count("/hot") == 1


def test_first_bytes_pass_both_tiers():
    origin, shield, edge = pop()
    gate = threading.Event()
    origin.on("/slow", body=[b"f" * 5000, gate, b"l" * 5000], headers=FRESH)
    with edge.conn() as c:
        c.request("/slow")
        r = c.head()
        assert c.exactly(5000, r) == b"f" * 5000
        gate.set()
        assert c.exactly(5000, r) == b"l" * 5000


def test_age_adds_up():
    origin, shield, one, two = pop(edges=2)
    origin.on("/a", body=b"x", headers={"Cache-Control": "max-age=600", "Age": "100"})
    one.get("/a")
    time.sleep(2.1)
    r = two.get("/a")
    assert 102 <= r.age <= 110, r
    time.sleep(1.1)
    r = two.get("/a")
    assert r.x_cache == "HIT" and 103 <= r.age <= 112 and r.own["ttl"] <= 497, r


def test_the_shield_is_down():
    origin, shield, edge = pop()
    origin.on("/a", body=b"a", headers=FRESH)
    origin.on("/b", body=b"b", headers=FRESH)
    edge.get("/a")
    shield.stop()
    r = edge.get("/b")
    assert r.status == 200 and r.body == b"b" and len(r.cache_status) == 1, r
    assert [edge.get("/b").x_cache, edge.get("/a").x_cache] == ["HIT", "HIT"]
    shield.start()
    origin.on("*", lambda r: Reply(b"later", headers=FRESH))
    numbers = iter(range(10_000))
    eventually("the shield is asked again", lambda: len(edge.get(f"/again{next(numbers)}").cache_status) == 2, timeout=60, step=0.3)


def test_the_shield_hangs():
    origin, shield, edge = pop()
    origin.on("/b", body=b"b", headers=FRESH)
    edge.config["upstream"] = {"first_byte_timeout": "1s", "connect_timeout": "1s"}
    edge.write()
    edge.restart()
    shield.process.pause()
    began = time.monotonic()
    r = edge.get("/b")
    assert r.status == 200 and r.body == b"b", r
    assert time.monotonic() - began < 15
    shield.process.resume()


def test_an_origin_that_hangs_is_not_taken_for_a_shield_that_does():
    silent, well, gate = Origin(), Origin(), threading.Event()
    silent.on("*", gate=gate)
    well.on("*", body=b"ok", headers=FRESH)
    sites = [{"hosts": ["silent.example"], "origins": [silent.url]}, {"hosts": ["well.example"], "origins": [well.url]}]
    more = {"config": {"upstream": {"first_byte_timeout": "4s"}}, "sites": sites, "workers": 1}
    shield = Node(name="shield-1", tier=True, **more)
    edge = Node(name="edge-1", shield=[shield], **more)
    answers = together(6, lambda i: edge.get(f"/{i}", host="silent.example", timeout=60))
    assert {r.status for r in answers} <= {503, 504} and all(len(r.cache_status) == 2 for r in answers), answers[0]
    assert silent.count() == 6, "asked again, though nobody would wait for the answer"
    state = next(u for u in edge.status()["upstreams"] if u["name"] == f"http://127.0.0.1:{shield.port}")
    assert state["healthy"] and state["circuit"] == "closed", state
    assert [m["name"] for m in edge.get("/a", host="well.example").cache_status] == ["shield-1", "edge-1"]
    gate.set()


def test_a_shield_that_is_cut_off_cuts_its_edges_off():
    """What it says of an origin that it can't reach is no answer of the origin: an edge may send what it has, as if it were cut off itself."""
    origin, shield, edge = pop()
    for path, control in {"/plain": "max-age=1", "/must": "max-age=1, must-revalidate"}.items():
        origin.on(path, body=path.encode(), headers={"Cache-Control": control}, etag='"e"')
        assert edge.get(path).status == 200
        shield.purge(urls=["http://test.example" + path])
    time.sleep(2.1)
    origin.on("/plain", body=b"broken", status=503, headers={"Brink-Tier-Unreached": "1"})
    r = edge.get("/plain")
    assert r.status == 503 and r.body == b"broken" and "brink-tier-unreached" not in r, r
    origin.stop()
    with edge.h2(tls=False) as h2:
        for ask in (edge.get, h2.get):
            r = ask("/plain")
            assert (r.status, r.body, r.x_cache) == (200, b"/plain", "STALE") and r.own["detail"] == "disconnected", r
            assert r.own["fwd"] == "stale" and r.own["fwd-status"] in (502, 503, 504) and "brink-tier-unreached" not in r, r
            r = ask("/must")
            assert r.status in (502, 503, 504) and "brink-tier-unreached" not in r, r
            assert [m["name"] for m in r.cache_status] == ["shield-1", "edge-1"], r
    r = shield.get("/plain")
    assert r.status in (502, 503, 504) and "brink-tier-unreached" not in r, r


def test_without_fallback():
    origin = Origin()
    shield = Node(origins=[origin.url], name="shield-1", tier=True)
    edge = Node(origins=[origin.url], shield=[shield], config={"shield": {"fallback": "none"}})
    origin.on("/a", body=b"a", headers={"Cache-Control": "max-age=1, stale-if-error=600"})
    edge.get("/a")
    shield.stop()
    time.sleep(1.6)
    assert edge.get("/a").x_cache == "STALE"
    r = edge.get("/b")
    assert r.status in (502, 503, 504) and origin.count("/b") == 0, r


def test_two_shields_share_the_keys():
    origin = Origin()
    origin.on("*", lambda r: Reply(r.path.encode(), headers=FRESH))
    shields = [Node(origins=[origin.url], name=f"shield-{n}", tier=True) for n in (1, 2)]
    edges = [Node(origins=[origin.url], name=f"edge-{n}", shield=shields) for n in (1, 2)]
    owners = [{n: edge.get(f"/{n}").cache_status[0]["name"] for n in range(40)} for edge in edges]
    assert owners[0] == owners[1] and set(owners[0].values()) == {"shield-1", "shield-2"}, owners
    assert origin.count() == 40
    shields[0].stop()
    for n in range(40, 80):
        assert edges[0].get(f"/{n}").status == 200


def test_a_stale_copy_is_marked():
    origin, shield, one, two = pop(edges=2)
    fail = {"on": False}
    origin.on("/s", lambda r: Reply(b"broken", status=503) if fail["on"] else
              Reply(b"good", headers={"Cache-Control": "max-age=1, stale-if-error=600"}))
    one.get("/s")
    time.sleep(1.6)
    fail["on"] = True
    for edge in (one, two, two):  # the last one again: the stale copy must not have become fresh at the edge
        r = edge.get("/s")
        assert r.status == 200 and r.body == b"good" and r.x_cache == "STALE", r
        assert r.own.get("ttl", -1) < 0, r
        assert r.age >= 1, r
    fail["on"] = False
    eventually("fresh again", lambda: two.get("/s").x_cache in ("MISS", "REVALIDATED", "HIT"))


def test_only_the_tier_is_the_tier():
    origin, shield, edge = pop()
    origin.on("/a", body=b"a", headers=dict(FRESH, **{"Surrogate-Key": "k", "CDN-Cache-Control": "max-age=500"}))
    # A plain client at the shield is a client: it does not get what is for caches alone.
    r = shield.get("/a")
    assert "surrogate-key" not in r and "cdn-cache-control" not in r, r
    # Nor does one that says brink's name in CDN-Loop get in.
    assert shield.get("/b", headers={"CDN-Loop": "brink"}).status == 508
    # An edge with another secret is not the tier: the shield refuses it or treats it as a client; a response is right either way.
    stranger = Node(origins=[origin.url], name="edge-9", shield=[shield], secret="another secret of that length\n")
    r = stranger.get("/a")
    assert r.status == 200 and r.body == b"a" and "surrogate-key" not in r, r


def test_forwarded_chain():
    origin, shield, edge = pop()
    origin.on("/f", body=b"x")
    edge.get("/f", headers={"X-Forwarded-For": "6.6.6.6"})
    got = origin.last("/f")
    assert "6.6.6.6" not in got["x-forwarded-for"] and got["x-forwarded-for"].startswith("127.0.0.1"), got


def test_posts_pass_both_tiers():
    origin, shield, edge = pop()
    origin.on("/p", lambda r: Reply(r.method.encode() + r.body))
    assert edge.get("/p", method="POST", body=b"abc").body == b"POSTabc" and origin.count("/p") == 1


if __name__ == "__main__":
    main()
