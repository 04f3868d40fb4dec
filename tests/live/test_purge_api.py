"""The purge API as its clients use it: every selector, hardness and way to wait; receipts; two CDNs' calls, by Cloudflare's own
client and as Fastly's sends them; who may what; and the Redis that is behind a password or a Sentinel, or far ahead."""
import urllib.parse

import CloudFlare

from harness import *

TAGGED = {"Cache-Control": "max-age=600, stale-if-error=600", "Surrogate-Key": "t product:1 a/b"}
ZONE = "023e105f4ecef8ad9ca31a8372d0c353"


class Versions:
    """An origin that says how often it was asked for a path."""

    def __init__(self):
        self.origin, self.numbers = Origin(), {}
        self.origin.on("*", self.answer)

    def answer(self, request):
        n = self.numbers[request.path] = self.numbers.get(request.path, 0) + 1
        return Reply(b"%d" % n, headers=TAGGED)


def alone(**more):
    source = Versions()
    return source, Node(origins=[source.origin.url], **more)


class Watched:
    """Tells whether a call purged what is stored under a path, and nothing under another."""

    def __init__(self, node, path="/p", other="/q"):
        self.node, self.path, self.other = node, path, other

    def __enter__(self):
        self.before = [self.hit(p) for p in (self.path, self.other) if p]
        return self

    def hit(self, path):
        self.node.get(path)
        r = self.node.get(path)
        assert r.x_cache == "HIT", r
        return r.body

    def __exit__(self, kind, *_):
        if kind is None:
            assert self.node.get(self.path).body != self.before[0], "it is still there"
            if self.other:
                assert self.node.get(self.other).body == self.before[1], "too much was purged"


def test_every_selector_hard_and_soft_with_every_wait():
    source, node = alone()
    for selector in ({"urls": ["http://test.example/s/p"]}, {"files": ["https://TEST.example/s/p"]}, {"tags": ["t"]},
                     {"prefixes": ["test.example/s/"]}, {"hosts": ["test.example"]}, {"everything": True}, {"purge_everything": True},
                     {"tags": ["nobody"], "urls": ["http://test.example/s/p"]}):
        for soft in (False, True):
            for wait in (None, "none", "local", "fleet"):
                what = (selector, soft, wait)
                node.get("/s/p")
                assert node.get("/s/p").x_cache == "HIT", what
                ask = dict(selector, **({"soft": True} if soft else {}), **({"wait": wait, "timeout": "2s"} if wait else {}))
                r = node.admin("/v1/purge", "POST", ask)
                answer = r.json
                assert r.status == (200 if wait in ("local", "fleet") else 202), (what, r)
                assert answer["durable"] == "journal" and re.fullmatch(r"journal:edge-1:\d+", answer["id"]) and answer["sequence"] > 0, answer
                if r.status == 200:
                    assert [n["node"] for n in answer["nodes"]] == ["edge-1"] and answer["nodes"][0]["applied_ms"] >= 0, answer
                else:
                    assert "nodes" not in answer, answer
                receipt = node.admin(f"/v1/purge/{answer['id']}")
                assert receipt.status == 200 and receipt.json["id"] == answer["id"] and receipt.json["missing"] == [], receipt
                assert abs(receipt.json["accepted_at"] - time.time() * 1000) < 60_000 and receipt.json["nodes"][0]["node"] == "edge-1", receipt
                if soft and not wait:  # the origin fails: shown, and marked, while what was purged hard is gone
                    source.origin.stop()
                    assert node.get("/s/p").x_cache == "STALE", what
                    source.origin.start()
                    eventually("validated or fetched", lambda: node.get("/s/p").x_cache == "HIT")
                elif soft:
                    assert node.get("/s/p").x_cache not in ("HIT", "STALE"), what
                else:
                    assert node.get("/s/p").x_cache == "MISS", what


def test_fleet_waits_and_receipts():
    redis = Redis()
    source = Versions()
    nodes = [Node(origins=[source.origin.url], name=n, redis=redis) for n in ("edge-1", "edge-2")]
    redis.calm(*nodes)
    one, two = nodes
    answer = one.purge_everywhere(tags=["t"])
    assert answer["durable"] == "redis" and sorted(n["node"] for n in answer["nodes"]) == ["edge-1", "edge-2"], answer
    # Anyone who knows the ID may ask any node that has the entry.
    eventually("a receipt of another node", lambda: two.admin(f"/v1/purge/{answer['id']}").status == 200)
    # A node that is alive and doesn't apply it: in force here, and said so.
    two.process.pause()
    try:
        r = one.admin("/v1/purge", "POST", {"tags": ["x"], "wait": "fleet", "timeout": "500ms"})
        assert r.status == 504 and r.json["missing"] == ["edge-2"] and [n["node"] for n in r.json["nodes"]] == ["edge-1"], r
    finally:
        two.process.resume()
    late = eventually("it applies it when it is back",
                      lambda: (lambda j: j if not j["missing"] else None)(one.admin(f"/v1/purge/{r.json['id']}").json))
    assert sorted(n["node"] for n in late["nodes"]) == ["edge-1", "edge-2"], late
    # One that is gone is known, and not waited for once its receipt has run out.
    two.stop()
    redis.cli("DEL", "brink:purge:node:edge-2")
    answer = one.purge_everywhere(tags=["y"])
    assert answer["absent"] == ["edge-2"] and [n["node"] for n in answer["nodes"]] == ["edge-1"], answer
    # An ID of the journal leads to the stream's once Redis is back.
    redis.stop()
    eventually("noticed", lambda: one.status()["purge"]["redis"] == "disconnected", timeout=20)
    r = one.admin("/v1/purge", "POST", {"tags": ["z"], "wait": "fleet", "timeout": "500ms"})
    assert r.status == 504 and r.json["durable"] == "journal" and r.json["pending"], r
    done = subprocess.run([program("brinkctl"), "purge", "--receipt", r.json["id"], "--admin", f"http://127.0.0.1:{one.admin_port}"],
                          env=dict(os.environ, **ENVIRONMENT, BRINK_TOKEN=TOKEN), stdout=subprocess.PIPE)
    assert done.returncode == 4 and b"waits for Redis" in done.stdout, done
    assert one.purge(tags=["z"], wait="local")["durable"] == "journal"
    redis.start()
    receipt = eventually("it has an ID of the stream", lambda: (lambda j: j if j["durable"] == "redis" else None)(
        one.admin(f"/v1/purge/{r.json['id']}").json), timeout=20)
    assert re.fullmatch(r"\d+-\d+", receipt["id"]), receipt


def test_cloudflare_s_client():
    source, node = alone()
    client = CloudFlare.CloudFlare(token=TOKEN, base_url=f"http://127.0.0.1:{node.admin_port}/client/v4")
    purge = client.zones.purge_cache
    for body, alone_gone in (({"files": ["http://test.example/p"]}, True), ({"prefixes": ["test.example/p"]}, True),
                             ({"files": [{"url": "http://test.example/p", "headers": {"CF-Device-Type": "mobile"}}]}, True),
                             ({"tags": ["t"]}, False), ({"hosts": ["test.example"]}, False), ({"purge_everything": True}, False)):
        with Watched(node, other="/q" if alone_gone else None):
            assert purge.post(ZONE, data=body)["id"], body
    for send in (purge.post, purge.delete):  # older clients
        node.get("/p")
        assert node.get("/p").x_cache == "HIT"
        send(ZONE, data={"purge_everything": True})
        assert node.get("/p").x_cache == "MISS"
    legacy = CloudFlare.CloudFlare(email="me@test.example", key=TOKEN, base_url=f"http://127.0.0.1:{node.admin_port}/client/v4")
    assert legacy.zones.purge_cache.post(ZONE, data={"tags": ["t"]})["id"]
    wrong = CloudFlare.CloudFlare(token="wrong", base_url=f"http://127.0.0.1:{node.admin_port}/client/v4")
    for attempt, words in ((lambda: wrong.zones.purge_cache.post(ZONE, data={"tags": ["t"]}), "token"),
                           (lambda: purge.post(ZONE, data={"tags": []}), "selector"), (lambda: purge.post(ZONE, data={"tgas": ["t"]}), "tgas")):
        try:
            attempt()
        except CloudFlare.exceptions.CloudFlareAPIError as refusal:
            assert int(refusal) >= 1000 and words in str(refusal), refusal
        else:
            raise AssertionError("it should have been refused")


def test_cloudflare_s_answers():
    source, node = alone()
    path = f"/client/v4/zones/{ZONE}/purge_cache"
    r = node.admin(path, "POST", {"tags": ["t"]})
    assert r.status == 200 and r.json["success"] is True and r.json["errors"] == [] and r.json["messages"] == [] and r.json["result"]["id"], r
    for ask, token, status in (({"tags": ["t"]}, "wrong", 401), ({}, TOKEN, 400), ("{", TOKEN, 400)):
        r = node.admin(path, "POST", ask, token=token)
        j = r.json
        assert r.status == status and j["success"] is False and j["result"] is None and isinstance(j["errors"][0]["code"], int), r


def test_what_fastly_s_clients_send():
    """As go-fastly, which its command line is made of, sends it, and what it decodes the answers into."""
    source, node = alone()
    key = {"Fastly-Key": TOKEN, "Accept": "application/json", "User-Agent": "FastlyGo/9 (+github.com/fastly/go-fastly; go1.22)"}

    def call(path, headers=(), body=None, status=200):
        r = node.admin(path, "POST", body, token=None, headers=dict(key, **dict(headers)))
        assert r.status == status and r["content-type"].startswith("application/json"), r
        return r.json

    for path in ("/purge/http://test.example/p?x=1", "/purge/https:/test.example/p?x=1", "/purge/test.example/p?x=1"):
        with Watched(node, "/p?x=1"):
            answer = call(path)
            assert answer["status"] == "ok" and answer["id"], answer
    for tag in ("t", "product:1", "a/b"):
        node.get("/p")
        assert node.get("/p").x_cache == "HIT"
        assert call("/service/SU1Z0isxPaozGVKXdv0eY/purge/" + urllib.parse.quote(tag, safe=""))["status"] == "ok"
        assert node.get("/p").x_cache == "MISS", tag
    answer = call("/service/SU1Z0isxPaozGVKXdv0eY/purge", {"Surrogate-Key": "t nobody"})
    assert set(answer) == {"t", "nobody"} and all(isinstance(v, str) for v in answer.values()), answer
    assert node.get("/p").x_cache == "MISS"
    answer = call("/service/SU1Z0isxPaozGVKXdv0eY/purge", body={"surrogate_keys": ["t", "x"]})
    assert set(answer) == {"t", "x"} and node.get("/p").x_cache == "MISS"
    call("/service/SU1Z0isxPaozGVKXdv0eY/purge/t", {"Fastly-Soft-Purge": "1"})
    source.origin.stop()
    assert node.get("/p").x_cache == "STALE"
    source.origin.start()
    eventually("fetched", lambda: node.get("/p").x_cache == "HIT")
    call("/purge/test.example/p", {"Fastly-Soft-Purge": "1"})
    source.origin.stop()
    assert node.get("/p").x_cache == "STALE"
    source.origin.start()
    eventually("fetched", lambda: node.get("/p").x_cache == "HIT")
    assert call("/service/SU1Z0isxPaozGVKXdv0eY/purge_all")["status"] == "ok" and node.get("/p").x_cache == "MISS"
    for path, headers, status in (("/service/x/purge_all", {"Fastly-Key": "wrong"}, 401), ("/service/x/purge", {}, 400), ("/purge/ftp://h/x", {}, 422)):
        refusal = call(path, headers, status=status)
        assert refusal["msg"] and refusal["detail"], refusal


def test_who_may_what():
    tokens = [{"name": "live", "sha256": sha256(TOKEN), "allow": ["purge", "read"]},
              {"name": "shop", "sha256": sha256("shop"), "allow": ["purge"], "sites": ["shop.example", "*.shop.example"]},
              {"name": "eyes", "sha256": sha256("eyes"), "allow": ["read"]}]
    source, node = alone(config={"admin": {"tokens": tokens}})
    hosts = ("shop.example", "www.shop.example", "test.example")

    def hit(host):
        node.get("/p", host=host)
        return node.get("/p", host=host).x_cache == "HIT"

    def gone():
        return {h for h in hosts if node.get("/p", host=h).x_cache == "MISS"}

    for ask, status, purged in (({"tags": ["t"]}, 202, set(hosts[:2])), ({"everything": True}, 202, set(hosts[:2])),
                                ({"hosts": ["www.shop.example"]}, 202, {"www.shop.example"}), ({"hosts": ["test.example"]}, 403, set()),
                                ({"urls": ["http://shop.example/p"]}, 202, {"shop.example"}), ({"urls": ["http://test.example/p"]}, 403, set()),
                                ({"urls": ["http://shop.example/p", "http://test.example/p"]}, 403, set()),
                                ({"prefixes": ["shop.example/"]}, 202, {"shop.example"}), ({"prefixes": ["shop.example"]}, 403, set()),
                                ({"prefixes": ["test.example/"]}, 403, set())):
        assert all(hit(h) for h in hosts)
        r = node.admin("/v1/purge", "POST", ask, token="shop")
        assert r.status == status and gone() == purged, (ask, r)
    assert all(hit(h) for h in hosts)
    # The other ways in are limited in the same way.
    assert node.admin("/service/x/purge_all", "POST", token=None, headers={"Fastly-Key": "shop"}).status == 200 and gone() == set(hosts[:2])
    assert all(hit(h) for h in hosts)
    assert node.admin(f"/client/v4/zones/{ZONE}/purge_cache", "POST", {"purge_everything": True}, token="shop").status == 200
    assert gone() == set(hosts[:2])
    assert node.get("/p", method="PURGE", host="test.example", headers={"Authorization": "Bearer shop"}).status == 403
    assert node.admin("/v1/purge", "POST", {"tags": ["t"]}, token="eyes").status == 403
    assert node.admin("/v1/status", token="shop").status == 403 and node.admin("/v1/status", token="eyes").status == 200
    # Each one is in the log with the token's name and what it named; what was refused isn't.
    audit = [line for line in node.log.split("\n") if "audit: purge by token" in line]
    assert sum("token shop" in line for line in audit) == 7 and not any("token eyes" in line for line in audit), audit
    assert any('{"urls":["http://shop.example/p"]}' in line for line in audit), audit


def test_a_token_purges_only_so_often():
    source, node = alone()
    body = os.path.join(node.folder, "body")
    with open(body, "w") as out:
        out.write('{"tags":["x"]}')
    said = subprocess.run(["h2load", "--h1", "-n", "9000", "-c", "8", "-m", "1", "-d", body, "-H", f"authorization: Bearer {TOKEN}",
                           "-H", "content-type: application/json", f"http://127.0.0.1:{node.admin_port}/v1/purge"],
                          stdout=subprocess.PIPE, timeout=100).stdout.decode()
    done, took = re.search(r"(\d+) 2xx, \d+ 3xx, (\d+) 4xx", said), re.search(r"finished in ([\d.]+)(m?s)", said)
    seconds = float(took[1]) / (1000 if took[2] == "ms" else 1)
    assert int(done[1]) + int(done[2]) == 9000 and 5000 <= int(done[1]) <= 5000 + 1000 * (seconds + 1), said
    if int(done[2]) == 0:
        raise Skip("too slow to be too fast here")
    assert node.metric("brink_purge_refused_total", reason="rate") == int(done[2])


# ---- Redis ----

def test_redis_with_a_password():
    redis = Redis()
    redis.cli("ACL", "SETUSER", "purger", "on", ">own", "allkeys", "allchannels", "+@all")
    redis.cli("CONFIG", "SET", "requirepass", "s3cret word")
    source = Versions()
    word = urllib.parse.quote("s3cret word")
    good = [Node(origins=[source.origin.url], name=name, config={"purge": {"redis": redis.url.replace("redis://", f"redis://{who}@")}})
            for name, who in (("edge-1", ":" + word), ("edge-2", "purger:own"))]
    eventually("both have a receipt", lambda: len(good[0].purge_everywhere(tags=["t"])["nodes"]) == 2)
    bad = Node(origins=[source.origin.url], name="edge-3", ready=False,
               config={"purge": {"redis": redis.url.replace("redis://", "redis://:wrong@"), "start_without_redis": "1h"}})
    assert bad.admin("/readyz", token=None).status == 503
    eventually("it says why", lambda: "WRONGPASS" in bad.log)
    assert "wrong@" not in bad.log and "s3cret" not in good[0].log, "no password in a log"


def sentinel(redis, quorum=1):
    """A Sentinel that watches this one as "main"."""
    folder, port = temp_dir("brink-sentinel-"), free_port()
    path = os.path.join(folder, "sentinel.conf")
    with open(path, "w") as out:
        out.write(f"port {port}\nbind 127.0.0.1\ndir {folder}\nsentinel monitor main 127.0.0.1 {redis.port} {quorum}\n"
                  "sentinel down-after-milliseconds main 300\nsentinel failover-timeout main 1000\n")
    Process("redis", ["redis-server", path, "--sentinel"], folder)
    ask = lambda *words: subprocess.run(["redis-cli", "-p", str(port), *words], stdout=subprocess.PIPE, timeout=20).stdout.decode()
    eventually("Sentinel knows the master", lambda: str(redis.port) in ask("SENTINEL", "get-master-addr-by-name", "main"))
    return port, ask


def replicated():
    """(master, replica, port of a Sentinel that watches both, function to ask that one)."""
    master = Redis()
    replica = Redis(options=["--replicaof", "127.0.0.1", str(master.port)])
    eventually("replicated", lambda: "master_link_status:up" in replica.cli("INFO", "replication"), timeout=30)
    port, ask = sentinel(master)
    eventually("Sentinel knows the replica", lambda: str(replica.port) in ask("SENTINEL", "replicas", "main"), timeout=30)
    return master, replica, port, ask


def test_sentinel_tells_where_redis_is():
    master, replica, port, ask = replicated()
    source = Versions()
    # The first address is that of nobody.
    node = Node(origins=[source.origin.url], config={"purge": {"redis": f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{port}/main/0"}})
    assert node.purge_everywhere(tags=["t"])["durable"] == "redis"
    eventually("replicated", lambda: replica.cli("XLEN", "brink:purge") == master.cli("XLEN", "brink:purge"))
    master.kill()
    eventually("failed over", lambda: str(replica.port) in ask("SENTINEL", "get-master-addr-by-name", "main"), timeout=30)
    eventually("connected to the new one", lambda: node.admin("/v1/purge", "POST", {"tags": ["t"], "wait": "fleet"}).status == 200, timeout=30)
    assert int(replica.cli("XLEN", "brink:purge")) >= 2


def test_a_failover_to_a_replica_that_lagged():
    """What was acknowledged and isn't there any more: a gap on every node, and entered again."""
    master, replica, port, ask = replicated()
    source = Versions()
    where = {"purge": {"redis": f"redis+sentinel://127.0.0.1:{port}/main/0"}}
    nodes = [Node(origins=[source.origin.url], name=n, config=where) for n in ("edge-1", "edge-2")]
    one, two = nodes
    one.purge_everywhere(tags=["kept"])
    eventually("replicated", lambda: replica.cli("XLEN", "brink:purge") == master.cli("XLEN", "brink:purge"))
    for n in nodes:
        n.get("/p")
        assert n.get("/p").x_cache == "HIT"
    gaps = [n.status()["purge"]["gaps"] for n in nodes]
    replica.cli("REPLICAOF", "127.0.0.1", str(free_port()))
    one.purge_everywhere(tags=["lost"])
    length = int(master.cli("XLEN", "brink:purge"))
    master.kill()
    assert int(replica.cli("XLEN", "brink:purge")) < length, "the replica must have lagged"
    eventually("failed over", lambda: str(replica.port) in ask("SENTINEL", "get-master-addr-by-name", "main"), timeout=60)
    eventually("both have seen the gap", lambda: all(n.status()["purge"]["gaps"] > g for n, g in zip(nodes, gaps)), timeout=30)
    for n in nodes:
        assert n.get("/p").x_cache != "HIT", "after a possible loss"
    eventually("it is entered again", lambda: "lost" in replica.cli("XRANGE", "brink:purge", "-", "+"), timeout=30)
    eventually("nothing waits", lambda: all(n.status()["purge"]["undelivered"] == 0 for n in nodes), timeout=30)
    # A node whose connection isn't back yet answers from its journal, and says so.
    fleet = lambda: two.admin("/v1/purge", "POST", {"tags": ["t"], "wait": "fleet", "timeout": "10s"})
    both = lambda r: r.status == 200 and sorted(n["node"] for n in r.json["nodes"]) == ["edge-1", "edge-2"]
    eventually("a purge reaches both again", lambda: both(fleet()), timeout=30)


def test_one_of_two_shields_has_lost_redis():
    """It doesn't hear of purges any more: the edge takes nothing from it that one covers, and goes on taking the rest from both."""
    redis, source = Redis(), Versions()
    for user in ("one", "two"):
        redis.cli("ACL", "SETUSER", user, "on", ">word", "allkeys", "allchannels", "+@all")
    shields = [Node(origins=[source.origin.url], name=f"shield-{u}", tier=True, config={"purge": {"redis": redis.url.replace("redis://", f"redis://{u}:word@")}})
               for u in ("one", "two")]
    edge = Node(origins=[source.origin.url], name="edge-1", redis=redis, shield=shields)
    redis.calm(edge, *shields)
    pages = [f"/{n}" for n in range(24)]
    before = {p: edge.get(p).body for p in pages}
    assert all(s.metric("brink_objects", tier="memory") > 0 for s in shields), "both should own some of them"
    redis.cli("ACL", "SETUSER", "one", "off")
    redis.cli("CLIENT", "KILL", "USER", "one")
    eventually("it has lost Redis", lambda: shields[0].status()["purge"]["redis"] == "disconnected", timeout=20)
    for what in ({"tags": ["t"]}, {"urls": [f"http://test.example{p}" for p in pages]}, {"prefixes": ["test.example/"]}, {"tags": ["t"], "soft": True}):
        edge.purge(**what)
        now = {p: edge.get(p).body for p in pages}
        assert all(now[p] != before[p] for p in pages), (what, before, now)
        before = now
    redis.cli("ACL", "SETUSER", "one", "on")
    eventually("it is back", lambda: shields[0].status()["purge"]["redis"] == "connected", timeout=20)
    assert len(edge.purge_everywhere(tags=["t"])["nodes"]) == 3
    assert all(edge.get(p).body != before[p] for p in pages)


def test_a_redis_that_may_drop_the_stream_is_warned_of():
    source = Versions()
    for policy, warned in (("allkeys-lru", True), ("volatile-lru", False)):
        redis = Redis(options=["--maxmemory", "100mb", "--maxmemory-policy", policy])
        node = Node(origins=[source.origin.url], redis=redis)
        assert node.purge_everywhere(tags=["t"])["durable"] == "redis"
        said = lambda: "maxmemory-policy " + policy in node.log
        assert eventually("it warns", said) if warned else not said(), node.log
        node.stop()


def test_far_behind():
    """100,000 entries behind: read in bounded memory, while the node says that it is not ready."""
    redis = Redis()
    source = Versions()
    node = Node(origins=[source.origin.url], redis=redis, disk=True)
    filled = [node.get("/p").status, node.get("/p").x_cache]
    assert filled == [200, "HIT"]
    node.stop()
    redis.cli("EVAL", "for i=1,100000 do redis.call('XADD',KEYS[1],'*','purge','{\"tags\":[\"n'..i%20000 ..'\"]}') end", "1", "brink:purge")
    redis.xadd({"tags": ["t"]})
    node.launch()
    eventually("it answers", lambda: node.admin("/healthz", token=None).status == 200, timeout=30)
    r = node.admin("/readyz", token=None)
    seen = node.get("/p")
    assert (r.status == 503 and node.get("/p").x_cache != "HIT") or seen.body != b"1", (r, seen)
    eventually("caught up", lambda: node.admin("/readyz", token=None).status == 200, timeout=110)
    assert node.metric("brink_purges_total", kind="tag", source="stream") == 100_001 and node.status()["purge"]["gaps"] <= 1
    assert node.get("/p").body != b"1"
    with open(f"/proc/{node.pid}/status") as f:
        peak = int(re.search(r"VmHWM:\s+(\d+) kB", f.read())[1]) // 1024
    assert peak < (2000 if SLOW > 2 else 200), f"{peak} MiB"


if __name__ == "__main__":
    main()
