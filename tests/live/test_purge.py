"""Purging, by every way in, on one node and on two tiers, with Redis, without it, and while it is away.

The promise: after a node has applied a purge, no response to a request received after that carries a body whose fetch
began before it."""
from harness import *

TAGGED = {"Cache-Control": "max-age=600", "Surrogate-Key": "product:123 products", "Cache-Tag": "news,sports"}


class Counting:
    """An origin whose answers to every path count up, so that a stored one is told from a new one."""

    def __init__(self, headers=TAGGED, **reply):
        self.origin = Origin()
        self.numbers = {}
        self.headers, self.reply = headers, reply
        self.origin.on("*", self.answer)

    def answer(self, request):
        n = self.numbers[request.path] = self.numbers.get(request.path, 0) + 1
        return Reply(b"%d" % n, headers=self.headers, **self.reply)


def alone(**more):
    source = Counting()
    return source.origin, Node(origins=[source.origin.url], **more)


def tiers(redis, headers=TAGGED, **more):
    source = Counting(headers)
    shield = Node(origins=[source.origin.url], name="shield-1", tier=True, redis=redis, **more)
    edge = Node(origins=[source.origin.url], name="edge-1", shield=[shield], redis=redis, **more)
    redis.calm(shield, edge)
    return source.origin, shield, edge


def body(node, path="/p", **more):
    r = node.get(path, **more)
    assert r.status == 200, r
    return r.body


def filled(node, *paths):
    for path in paths:
        assert body(node, path) == b"1" and node.get(path).x_cache == "HIT", path


# ---- the API ----

def test_by_url():
    origin, node = alone()
    filled(node, "/p", "/q")
    answer = node.purge(urls=["http://test.example/p"])
    assert answer["durable"] == "journal" and answer["id"].startswith("journal:edge-1:") and isinstance(answer["sequence"], int), answer
    assert body(node, "/p") == b"2" and body(node, "/q") == b"1"
    # Both schemes, all variants, the key's own normal form.
    node.purge(files=["https://TEST.example:443/x/../q"])
    assert body(node, "/q") == b"2"


def test_by_tag():
    origin, node = alone()
    filled(node, "/p", "/q")
    node.purge(tags=["product:12", "product:1234", "PRODUCT:123"])
    assert body(node, "/p") == b"1", "tags compare byte by byte"
    for n, tag in enumerate(("product:123", "products", "news", "sports")):
        r = node.admin("/v1/purge", "POST", {"tags": [tag]})
        assert r.status == 202, r
        assert body(node, "/p") == b"%d" % (n + 2), tag
    assert body(node, "/q") == b"2"


def test_by_prefix_host_and_everything():
    origin, node = alone()
    filled(node, "/blog/a", "/blog/b?x=1", "/shop")
    node.purge(prefixes=["test.example/blog/"])
    assert [body(node, p) for p in ("/blog/a", "/blog/b?x=1", "/shop")] == [b"2", b"2", b"1"]
    node.purge(hosts=["other.example"])
    assert body(node, "/shop") == b"1"
    node.purge(hosts=["test.example"])
    assert body(node, "/shop") == b"2"
    node.purge(everything=True)
    assert [body(node, p) for p in ("/blog/a", "/shop")] == [b"3", b"3"]


def test_soft():
    source = Counting({"Cache-Control": "max-age=600, stale-if-error=600", "Surrogate-Key": "t"}, etag='"e"')
    node = Node(origins=[source.origin.url])
    filled(node, "/p")
    node.purge(tags=["t"], soft=True)
    source.origin.stop()
    r = node.get("/p")
    assert r.x_cache == "STALE" and r.body == b"1", r
    source.origin.start()
    r = eventually("validated", lambda: (lambda r: r if r.x_cache == "REVALIDATED" else None)(node.get("/p")))
    assert r.body == b"1" and node.get("/p").x_cache == "HIT"
    # Hard: no validator goes up, for a 304 would revive it, and nothing of it is served when the origin fails.
    node.purge(tags=["t"])
    source.origin.stop()
    assert node.get("/p").status in (502, 504)
    source.origin.start()
    eventually("fetched anew", lambda: node.get("/p").body not in (b"", b"1"))
    assert "if-none-match" not in source.origin.last("/p")


def test_authentication():
    origin, node = alone(config={"admin": {"tokens": [
        {"name": "live", "sha256": sha256(TOKEN), "allow": ["purge", "read"]},
        {"name": "reader", "sha256": sha256("reads"), "allow": ["read"]},
        {"name": "scoped", "sha256": sha256("scoped"), "allow": ["purge"], "sites": ["www.example.com"]}]}})
    filled(node, "/p")
    ask = {"tags": ["products"]}

    def problem(r, status):
        assert r.status == status and r["content-type"].startswith("application/problem+json"), r
        assert r.json["status"] == status and r.json["title"], r

    problem(node.admin("/v1/purge", "POST", ask, token=None), 401)
    problem(node.admin("/v1/purge", "POST", ask, token="wrong"), 401)
    problem(node.admin("/v1/purge", "POST", ask, token="reads"), 403)
    problem(node.admin("/v1/purge", "POST", {"urls": ["http://test.example/p"]}, token="scoped"), 403)
    assert body(node) == b"1"
    # Limited to a site: its tags act there alone.
    assert node.admin("/v1/purge", "POST", ask, token="scoped").status == 202
    assert body(node) == b"1"
    assert node.admin("/v1/purge", "POST", ask, token=None, headers={"Fastly-Key": TOKEN}).status == 202
    assert body(node) == b"2"
    assert node.admin("/v1/status", token="wrong").status == 401


def test_wrong_requests():
    origin, node = alone()
    filled(node, "/p")
    long = "t" * 1025
    for ask, status in (("{", 400), ("[]", 400), ('{"tags": "products"}', 400), ('{"tgas": ["products"]}', 400), ('{"tags": [1]}', 400),
                        ('{"soft": true}', 422), ('{"tags": []}', 422), ('{"tags": [""]}', 422), (json.dumps({"tags": [long]}), 422),
                        ('{"urls": ["/p"]}', 422), ('{"urls": ["ftp://test.example/p"]}', 422),
                        ('{"tags": ["products"], "wait": "for me"}', 400), ('{"tags": ["products"]} x', 400),
                        (json.dumps({"tags": [str(n) for n in range(10_001)]}), 413), ('{"tags": ["' + "x" * (1 << 20) + '"]}', 413)):
        r = node.admin("/v1/purge", "POST", ask)
        accepted = (400, 422) if status in (400, 422) else (status,)
        assert r.status in accepted, (ask[:100], r)
        assert r["content-type"].startswith("application/problem+json") and r.json["status"] == r.status and r.json["title"], r
    assert node.admin("/v1/purge", "POST", b"tags=a", headers={"Content-Type": "application/x-www-form-urlencoded"}).status == 415
    assert node.admin("/v1/purge").status == 405 and node.admin("/v1/nothing").status == 404
    assert node.admin("/v1/purge/1-1").status == 404
    assert body(node) == b"1"


def test_purge_method_on_a_listener():
    origin, node = alone()
    filled(node, "/p", "/q")
    key = {"Authorization": f"Bearer {TOKEN}"}
    assert node.get("/p", method="PURGE").status == 401 and body(node, "/p") == b"1"
    r = node.get("/p", method="PURGE", headers=key)
    assert r.status == 200 and r.json["status"] == "ok" and r.json["id"], r
    assert body(node, "/p") == b"2" and body(node, "/q") == b"1"
    assert node.get("/", method="PURGE", headers=dict(key, **{"Surrogate-Key": "products"})).status == 200
    assert body(node, "/q") == b"2"
    assert origin.count(method="PURGE") == 0


def test_vary_variants_go_together():
    origin = Origin()
    numbers = iter(range(1, 100))
    origin.on("/v", lambda r: Reply(b"%d" % next(numbers), headers={"Cache-Control": "max-age=600", "Vary": "Accept-Language"}))
    node = Node(origins=[origin.url])
    first = [body(node, "/v", headers={"Accept-Language": x}) for x in ("de", "fr")]
    node.purge(urls=["http://test.example/v"])
    second = [body(node, "/v", headers={"Accept-Language": x}) for x in ("de", "fr")]
    assert first == [b"1", b"2"] and second == [b"3", b"4"], (first, second)


def test_during_a_fill():
    origin, node = alone()
    gate = threading.Event()
    old = [b"o" * 1000, gate, b"ld" * 1000]
    origin.on("/slow", lambda r: Reply(old, headers=TAGGED) if origin.count("/slow") == 1 else Reply(b"new", headers=TAGGED))
    with node.conn() as early:
        early.request("/slow")
        early.head()
        node.purge(tags=["product:123"])
        # A request after the purge never joins the older fetch…
        late = node.get("/slow")
        assert late.body == b"new", late
        gate.set()
        # …which may finish for who was there, and is never used again.
        assert early.exactly(3000, Response(200, [])) == b"o" * 1000 + b"ld" * 1000
    assert body(node, "/slow") == b"new"
    # The other way round: nobody asked meanwhile, and the old fill must not become a hit.
    gate.clear()
    origin.on("/slow2", lambda r: Reply(old, headers=TAGGED) if origin.count("/slow2") == 1 else Reply(b"new", headers=TAGGED))
    with node.conn() as early:
        early.request("/slow2")
        early.head()
        node.purge(tags=["product:123"])
        gate.set()
        early.exactly(3000, Response(200, []))
    time.sleep(0.2)
    assert body(node, "/slow2") == b"new"


def test_journal_alone_survives_kill():
    origin, node = alone(disk=True)
    filled(node, "/p", "/q")
    node.restart()  # what was fresh in memory is on disk now
    assert node.get("/q").own.get("detail") == "disk", "the test needs it on disk"
    answer = node.purge(tags=["product:123"])
    receipt = node.admin(f"/v1/purge/{answer['id']}")
    assert receipt.status == 200 and receipt.json["nodes"][0]["node"] == "edge-1" and not receipt.json.get("missing"), receipt
    node.kill()
    node.start()
    assert [body(node, p) for p in ("/p", "/q")] == [b"2", b"2"], "a purge was forgotten over kill -9"
    assert node.admin(f"/v1/purge/{answer['id']}").status == 200
    assert node.purge(tags=["x"])["sequence"] > answer["sequence"]


def test_wait_without_redis():
    origin, node = alone()
    for wait in ("local", "fleet"):
        r = node.admin("/v1/purge", "POST", {"tags": ["a"], "wait": wait})
        assert r.status == 200 and [n["node"] for n in r.json["nodes"]] == ["edge-1"], r
        assert r.json["nodes"][0]["applied_ms"] >= 0


# ---- Redis ----

def test_publish():
    redis = Redis()
    origin, shield, edge = tiers(redis)
    filled(edge, "/p", "/other")
    assert redis.publish("product:123") == 2
    eventually("purged on edge and shield", lambda: body(edge) == b"2")
    # It is in the stream, once: who was away finds it there.
    eventually("recorded", lambda: any("product:123" in fields.get("purge", "") for _, fields in redis.client.xrange("brink:purge")))
    time.sleep(1.5)
    assert sum("product:123" in f.get("purge", "") for _, f in redis.client.xrange("brink:purge")) == 1
    assert body(edge) == b"2", "the stream's entry purged a second time"
    redis.publish("http://test.example/other")
    eventually("by URL", lambda: body(edge, "/other") != b"1")
    redis.publish('{"tags": ["product:123"], "soft": false}')
    eventually("by JSON", lambda: body(edge) == b"3")
    redis.publish("product:123")
    eventually("the same message again is another purge", lambda: body(edge) == b"4")


def test_publish_is_heard_by_all_and_garbage_is_survived():
    redis = Redis()
    origin = Counting().origin
    node = Node(origins=[origin.url], redis=redis)
    redis.calm(node)
    filled(node, "/p")
    for junk in ("{", '{"tags": 1}', "http://", "x" * 5000, "{" * 100_000, "\x01\x02", " "):
        redis.publish(junk)
    for junk in ("{", "[]", '{"tags": "a"}', "", "null", "product:123"):
        redis.xadd(junk)
    redis.cli("XADD", "brink:purge", "*", "other", "field")
    redis.xadd({"tags": ["products"]})
    eventually("still listening", lambda: body(node) != b"1")
    assert node.process.alive


def test_api_through_the_stream():
    redis = Redis()
    origin, shield, edge = tiers(redis)
    filled(edge, "/p")
    answer = edge.purge(tags=["product:123"])
    assert body(edge) == b"2", "in force on the answering node by then, and no older copy from the shield"
    if answer["durable"] != "redis":  # it took longer than an answer waits for it
        answer = eventually("it is in the stream", lambda: (lambda j: j if j["durable"] == "redis" else None)(edge.admin(f"/v1/purge/{answer['id']}").json))
    assert re.fullmatch(r"[0-9]+-[0-9]+", answer["id"]), answer
    entry = redis.client.xrange("brink:purge")[-1]
    assert entry[0] == answer["id"] and json.loads(entry[1]["purge"])["tags"] == ["product:123"] and entry[1]["by"].startswith("edge-1/"), entry
    answer = edge.purge_everywhere(tags=["products"])
    assert {n["node"] for n in answer["nodes"]} == {"edge-1", "shield-1"}, answer
    assert body(edge) == b"3"
    receipt = shield.admin(f"/v1/purge/{answer['id']}")
    assert receipt.status == 200 and {n["node"] for n in receipt.json["nodes"]} == {"edge-1", "shield-1"}, receipt
    fields = redis.client.hgetall("brink:purge:node:edge-1")
    assert fields["applied"] and fields["version"] and abs(int(fields["at"]) / 1000 - time.time()) < 60, fields
    assert 0 < redis.client.ttl("brink:purge:node:edge-1") <= 15 and redis.client.smembers("brink:purge:nodes") == {"edge-1", "shield-1"}


def test_edge_never_takes_a_purged_copy_from_the_shield():
    # Many purges, each followed at once by a request to the edge: the classic bug of tiered caches.
    redis = Redis()
    origin, shield, edge = tiers(redis)
    body(edge)
    for n in range(40):
        edge.purge(tags=["product:123"])
        assert body(edge) == b"%d" % (n + 2), n


def test_xadd_by_anyone():
    redis = Redis()
    origin, shield, edge = tiers(redis)
    filled(edge, "/p")
    redis.xadd({"tags": ["product:123"]})
    eventually("purged", lambda: body(edge) == b"2")


def test_a_node_that_was_away_catches_up():
    redis = Redis()
    source = Counting()
    node = Node(origins=[source.origin.url], redis=redis, disk=True)
    other = Node(origins=[source.origin.url], name="edge-2", redis=redis)
    redis.calm(node, other)
    filled(node, "/p", "/q")
    node.restart()
    assert node.get("/p").own.get("detail") == "disk" and node.get("/q").x_cache == "HIT"
    node.stop()
    redis.xadd({"urls": ["http://test.example/p"]})
    node.start()
    assert body(node, "/p") == b"2" and body(node, "/q") == b"1", "ready means caught up"
    node.kill()
    redis.xadd({"tags": ["product:123"]})
    node.start()
    assert body(node, "/p") != b"2" and body(node, "/q") != b"1"
    assert node.status()["purge"]["gaps"] == 0


def test_the_recorder_of_a_fleet_restarts():
    """Faster than the others look, with a message meanwhile, also without a word: no gap, and nobody misses it."""
    redis = Redis()
    source = Counting()
    node = Node(origins=[source.origin.url], redis=redis, disk=True)
    other = Node(origins=[source.origin.url], name="edge-2", redis=redis)
    redis.calm(node, other)
    filled(node, "/p", "/q")
    filled(other, "/r")
    before = other.status()["purge"]["gaps"]
    assert node.status()["purge"]["recorder"] and not other.status()["purge"]["recorder"]
    node.stop()
    redis.publish("http://test.example/p")
    node.start()
    assert body(node, "/p") != b"1" and body(node, "/q") in (b"1", b"2"), "ready means that what was said meanwhile is known"
    assert body(other, "/r") == b"3" or other.get("/r").x_cache == "HIT"
    for end in (other.kill, node.stop, other.kill):
        end()
        redis.publish("nothing")
        (other if end == other.kill else node).start()
    assert [node.status()["purge"]["gaps"], other.status()["purge"]["gaps"]] == [0, 0] and before <= 1
    assert sum("gap" in e for e in redis.cli("XRANGE", "brink:purge", "-", "+").split("\n")) == 1, "of the first start"


def test_the_only_node_missed_what_was_published():
    redis = Redis()
    source = Counting({"Cache-Control": "max-age=600", "Surrogate-Key": "t"}, etag='"e"')
    node = Node(origins=[source.origin.url], redis=redis, disk=True)
    for end in (node.stop, node.kill):
        eventually("a hit", lambda: node.get("/p").x_cache == "HIT")
        time.sleep(0.2)  # until it is on disk, also for kill
        end()
        redis.publish("t")
        before = source.origin.count("/p")
        node.start()
        r = node.get("/p")
        assert r.x_cache != "HIT" and source.origin.count("/p") == before + 1, ("ready, but it may have missed a purge", r)


def test_redis_is_away_for_a_while():
    redis = Redis()
    origin, shield, edge = tiers(redis)
    filled(edge, "/p", "/q")
    redis.stop()
    eventually("noticed", lambda: edge.status()["purge"]["redis"] == "disconnected", timeout=20)
    assert edge.admin("/readyz", token=None).status == 200, "losing Redis leaves a node ready"
    assert edge.get("/p").x_cache == "HIT"
    began = time.monotonic()
    answer = edge.purge(tags=["product:123"])
    assert answer["durable"] == "journal" and time.monotonic() - began < 5 * SLOW, answer
    assert body(edge) == b"2", "in force here, and no older copy from the shield either"
    r = edge.admin("/v1/purge", "POST", {"tags": ["nobody"], "wait": "fleet", "timeout": "500ms"})
    assert r.status == 504 and [n["node"] for n in r.json["nodes"]] == ["edge-1"] and r.json["missing"] == ["shield-1"], r
    redis.start()
    eventually("connected again", lambda: edge.status()["purge"]["redis"] == "connected", timeout=30)
    eventually("it reaches the stream", lambda: any("product:123" in f.get("purge", "") for _, f in redis.client.xrange("brink:purge")), timeout=20)
    receipt = eventually("its ID maps to the stream's", lambda: (lambda r: r.json if "-" in str(r.json.get("id", "")) and not r.json["missing"] else None)(
        edge.admin(f"/v1/purge/{answer['id']}")), timeout=20)
    assert {n["node"] for n in receipt["nodes"]} == {"edge-1", "shield-1"}, receipt
    redis.publish("product:123")
    eventually("and pub/sub is heard again", lambda: body(edge) not in (b"1", b"2"), timeout=10)


def test_redis_hangs():
    redis = Redis()
    source = Counting()
    node = Node(origins=[source.origin.url], redis=redis)
    redis.calm(node)
    filled(node, "/p")
    redis.pause()
    began = time.monotonic()
    answer = node.purge(tags=["product:123"])
    assert time.monotonic() - began < 5 * SLOW and answer["durable"] == "journal", answer
    assert body(node) == b"2"
    redis.resume()
    eventually("it reaches the stream", lambda: any("product:123" in f.get("purge", "") for _, f in redis.client.xrange("brink:purge")), timeout=30)


def test_redis_killed_and_restarted_with_its_data():
    redis = Redis(options=["--appendfsync", "always"])
    origin, shield, edge = tiers(redis)
    filled(edge, "/p", "/q")
    first = edge.purge(urls=["http://test.example/p"])
    redis.kill()
    redis.start()
    eventually("connected again", lambda: edge.status()["purge"]["redis"] == "connected", timeout=30)
    assert body(edge, "/p") == b"2" and body(edge, "/q") == b"1"
    assert edge.purge(urls=["http://test.example/q"])["sequence"] > first["sequence"] and body(edge, "/q") == b"2"
    eventually("the fleet answers again", lambda: edge.admin("/v1/purge", "POST", {"tags": ["x"], "wait": "fleet"}).status == 200, timeout=30)
    assert body(edge, "/q") == b"2"


def test_a_gap_is_not_silent():
    redis = Redis()
    source = Counting({"Cache-Control": "max-age=600", "Surrogate-Key": "t"}, etag='"e"')
    node = Node(origins=[source.origin.url], redis=redis, disk=True)
    keeper = Node(origins=[source.origin.url], name="edge-2", redis=redis)  # restarting the only node of a fleet is a gap by itself
    redis.calm(node, keeper)
    filled(node, "/p")
    node.restart()
    assert node.get("/p").x_cache == "HIT"
    node.stop()
    for n in range(5):
        redis.xadd({"tags": [f"x{n}"]})
    redis.cli("XTRIM", "brink:purge", "MAXLEN", "1")
    node.start()
    before = source.origin.count("/p")
    r = node.get("/p")
    assert r.body == b"1" and r.x_cache == "REVALIDATED" and source.origin.count("/p") == before + 1, r
    assert node.status()["purge"]["gaps"] >= 1 and node.metric("brink_purge_gaps_total") >= 1
    # An explicit gap by anyone.
    redis.xadd({"gap": True})
    eventually("validated again", lambda: node.get("/p").x_cache == "REVALIDATED" or source.origin.count("/p") > before + 1)


def test_redis_absent_at_start():
    redis = Redis()
    redis.stop()
    source = Counting()
    began = time.monotonic()
    node = Node(origins=[source.origin.url], redis=redis, ready=False, config={"purge": {"start_without_redis": "3s"}})
    r = node.admin("/readyz", token=None)
    assert r.status == 503 or time.monotonic() - began > 3, r
    assert body(node) == b"1", "it serves until then"
    eventually("it goes on as after a gap", lambda: node.admin("/readyz", token=None).status == 200, timeout=20)
    redis.start()
    eventually("connected", lambda: node.status()["purge"]["redis"] == "connected", timeout=30)
    redis.xadd({"tags": ["products"]})
    body(node)
    n = int(body(node))
    redis.publish("products")
    eventually("purged", lambda: int(body(node)) > n, timeout=10)


def test_a_name_that_is_live_elsewhere():
    redis = Redis()
    source = Counting()
    Node(origins=[source.origin.url], redis=redis)
    twin = Node(origins=[source.origin.url], redis=redis, start=False)
    twin.launch()
    assert twin.process.wait(30) != 0, "two nodes of one name would take each other's receipts"
    assert "edge-1" in twin.log, twin.log


def test_purge_metrics():
    redis = Redis()
    origin, node = alone(redis=redis)
    node.purge(tags=["a"])
    node.purge(urls=["http://test.example/x"])
    redis.xadd({"tags": ["b", "c"]})
    redis.cli("XADD", "brink:purge", "*", "purge", '{"hosts":["h.example"]}', "by", "other/1")
    redis.publish("d")

    def counts():
        return [node.metric("brink_purges_total", kind=k, source=s) for k, s in
                (("tag", "api"), ("url", "api"), ("tag", "stream"), ("host", "node"), ("tag", "channel"))]

    eventually("counted where they came from", lambda: counts() == [1, 1, 2, 1, 1], timeout=20)
    # Two accepted here, two entries of the stream; how long each took until it was in force.
    assert node.metric("brink_purge_effect_seconds_count") == 4, node.metrics()
    assert 0 <= node.metric("brink_purge_effect_seconds_sum") < 20 * SLOW
    for ask, reason in (('{"tags": [1]}', "syntax"), ('{"tags": []}', "syntax")):
        assert node.admin("/v1/purge", "POST", ask).status in (400, 422)
    assert node.admin("/v1/purge", "POST", {"tags": ["x"]}, token="wrong").status == 401
    assert node.metric("brink_purge_refused_total", reason="syntax") == 2 and node.metric("brink_purge_refused_total", reason="token") == 1
    assert node.metric("brink_redis_reconnects_total") == 0 and node.metric("brink_redis_connected") == 1
    redis.kill()
    redis.start()
    eventually("connected again", lambda: node.metric("brink_redis_reconnects_total") >= 1 and node.metric("brink_redis_connected") == 1, timeout=30)
    assert node.metric("brink_ledger_floor_raised_total") == 0 and node.metric("brink_ledger_entries") >= 1


if __name__ == "__main__":
    main()
