"""Who is the tier: the signed field by a second implementation, made from shield/README.md alone; everything that must not be
believed; what edge and shield say of a response together."""
import hashlib
import hmac
import struct

from fault import Fault
from harness import *

SECRET = b"the tier's secret"  # nodes.py writes it with a line end, which doesn't count
FRESH = {"Cache-Control": "max-age=600", "Surrogate-Key": "k"}
HOST = "test.example"


def sign(path, method="GET", scheme="http", host=HOST, secret=SECRET, skew=0.0, node="edge-7", hops=None, more="", nonce=None, value=None):
    if value is None:
        value = f'v=1; node="{node}"; t={int((time.time() + skew) * 1000)}; nonce={nonce or os.urandom(12).hex()}; hops="{hops or node}"{more}'
    parts = (b"brink-tier 1", method.encode(), scheme.encode(), host.encode(), path.encode(), value.encode())
    mac = hmac.new(secret, b"".join(struct.pack("!I", len(p)) + p for p in parts), hashlib.sha256).hexdigest()
    return f"{value}; mac={mac}"


def started():
    origin = Origin()
    origin.on("*", lambda r: Reply(r.path.encode(), headers=FRESH))
    return origin, Node(origins=[origin.url], name="shield-1", tier=True, workers=2)


def refused(r, why, status=403):
    assert r.status == status and r["brink-tier-refused"] == why and "surrogate-key" not in r, (why, r)


def test_the_tier_is_believed():
    origin, shield = started()
    r = shield.get("/a", headers={"brink-tier": sign("/a"), "X-Forwarded-For": "192.0.2.9", "CDN-Loop": "brink", "X-Forwarded-Proto": "http",
                                  "Forwarded": "for=192.0.2.9"})
    assert r.status == 200 and r["surrogate-key"] == "k", r
    got = origin.last("/a")
    assert got["x-forwarded-for"] == "192.0.2.9, 127.0.0.1" and got["cdn-loop"] == "brink", got
    assert "192.0.2.9" in got["forwarded"] and not any(k.lower().startswith("brink-") for k, _ in got.headers), got
    # The scheme that the visitor used is part of what is signed, and of the key.
    r = shield.get("/a", headers={"brink-tier": sign("/a", scheme="https"), "X-Forwarded-Proto": "https"})
    assert r.status == 200 and r.x_cache == "MISS" and origin.last("/a")["x-forwarded-proto"] == "https", r
    assert shield.get("/a", headers={"brink-tier": sign("/a"), "X-Forwarded-Proto": "http"}).x_cache == "HIT"
    # A parameter of the future is signed too, and passed over.
    assert shield.get("/a", headers={"brink-tier": sign("/a", more="; colour=blue")}).status == 200


def test_what_is_not_believed_is_refused():
    origin, shield = started()
    ask = lambda value, path="/a", **more: shield.get(path, headers={"brink-tier": value, "X-Forwarded-Proto": "http"}, **more)
    refused(ask(sign("/a", secret=b"another secret of that length")), "mac")
    for other in ({"path": "/b"}, {"method": "POST", "path": "/a"}, {"host": "else.example", "path": "/a"}, {"scheme": "https", "path": "/a"}):
        refused(ask(sign(**other)), "mac")
    value = sign("/a")
    refused(ask(value[:-1] + ("0" if value[-1] != "0" else "1")), "mac")
    refused(ask(sign("/a").replace("edge-7", "edge-8")), "mac")
    for skew in (-31, -3600, 31, 3600):
        refused(ask(sign("/a", skew=skew)), "clock")
    assert ask(sign("/a", skew=25)).status == 200
    for value in ("", "1", "v=1", sign("/a", hops="edge-7,another"), "v=2; " + sign("/a")[5:], sign("/a", value="v=1"), sign("/a") + "x", "x" * 2000):
        r = ask(value)
        assert r.status == 403 and r["brink-tier-refused"] in ("syntax", "mac"), (value, r)
    before = origin.count()
    value = sign("/once")
    assert ask(value, "/once").status == 200
    for _ in range(8):  # on whatever worker
        refused(ask(value, "/once"), "replay")
    post = sign("/post", method="POST")
    assert ask(post, "/post", method="POST", body=b"a").status == 200
    refused(ask(post, "/post", method="POST", body=b"a"), "replay")
    assert origin.count() == before + 2 and shield.metric("brink_tier_refused_total") >= 24
    # What was sent before this process began is refused, since its memory of nonces is.
    held = sign("/held")
    time.sleep(0.01)
    shield.restart()
    refused(ask(held, "/held"), "replay")


def test_loops_end():
    origin, shield = started()
    for hops in ("shield-1,edge-7", "shield-1", "a,b,c,d,e"):
        r = shield.get("/l", headers={"brink-tier": sign("/l", node=hops.split(",")[-1], hops=hops)})
        refused(r, "loop", 508)
    assert shield.get("/l", headers={"brink-tier": sign("/l", node="d", hops="a,b,c,d")}).status == 200
    # Whoever is not the tier and has been here: refused by CDN-Loop, however it is written.
    before = origin.count()
    for value in ("brink", "other, Brink", 'other; a="b", brink; v=2'):
        assert shield.get("/l2", headers={"CDN-Loop": value}).status == 508, value
    assert origin.count() == before
    # A real one: behind a load balancer the edge's origin is the edge.
    port = free_port()
    round_about = Fault(port)
    loop = Node(origins=[round_about.url], config={"listen": [{"address": f"127.0.0.1:{port}"}]})
    loop.port = port
    r = loop.get("/round")
    assert r.status == 508 and loop.metric("brink_loops_total") == 1, r
    # And a shield whose shield is itself, by the tier's own list: it goes to the origin.
    port = free_port()
    round_about = Fault(port)
    both = Node(origins=[origin.url], name="both-1", tier=True, shield=[round_about.url], config={"listen": [{"address": f"127.0.0.1:{port}"}]})
    both.port = port
    r = both.get("/self")
    assert r.status == 200 and r.body == b"/self" and both.metric("brink_loops_total") >= 1, r


def test_fields_of_the_tier_from_others_are_dropped():
    origin = Origin()
    origin.on("*", lambda r: Reply(b"x", headers=dict(FRESH, **{"brink-tier-stale": "1", "brink-tier-refused": "mac", "Brink-Tier-Other": "a"})))
    edge = Node(origins=[origin.url], name="edge-1")
    spoof = {"brink-tier": "anything", "brink-tier-stale": "1", "Brink-Tier-Refused": "mac", "brink-tier-new": "z"}
    r = edge.get("/a", headers=spoof)
    assert r.status == 200 and not any(k.lower().startswith("brink-tier") for k, _ in r.headers), r
    assert not any(k.lower().startswith("brink-tier") for k, _ in origin.last("/a").headers), origin.last("/a")
    assert edge.get("/a").x_cache == "HIT", "an origin's word of a stale copy is nobody's"
    shield = Node(origins=[origin.url], name="shield-1", tier=True)
    under = Node(origins=[origin.url], name="edge-2", shield=[shield])
    r = under.get("/b", headers={k: v for k, v in spoof.items()})
    assert r.status == 200 and [m["name"] for m in r.cache_status] == ["shield-1", "edge-2"] and "stored" in r.own, r
    # Over HTTP/2 as well, in whatever order.
    with edge.h2(tls=False) as c:
        assert c.get("/h2", headers=spoof).status == 200
    assert not any(k.lower().startswith("brink-tier") for k, _ in origin.last("/h2").headers)


def test_edges_whose_secret_or_clock_is_wrong_still_serve():
    origin, shield = started()
    stranger = Node(origins=[origin.url], name="edge-9", shield=[shield], secret="another secret of that length\n")
    r = stranger.get("/s")
    assert r.status == 200 and [m["name"] for m in r.cache_status] == ["edge-9"] and origin.count("/s") == 1, r
    assert "is its secret_file the same" in stranger.log
    assert stranger.get("/s").x_cache == "HIT"


def test_order_and_age_over_two_tiers():
    origin, shield = started()
    edges = [Node(origins=[origin.url], name=f"edge-{n}", shield=[shield]) for n in (1, 2, 3)]
    origin.on("/a", body=b"x", headers=dict(FRESH, **{"Age": "100", "Cache-Status": "before; hit; ttl=500", "Via": "1.1 before"}))
    began = time.monotonic()
    r = edges[0].get("/a")
    had = time.monotonic()
    assert r["cache-status"] == "before; hit; ttl=500, shield-1; fwd=uri-miss; fwd-status=200; stored, edge-1; fwd=uri-miss; fwd-status=200; stored", r
    assert r["via"] == "1.1 before, 1.1 shield-1 (brink), 1.1 edge-1 (brink)", r
    first = r.age
    assert 100 <= first <= 100 + 2 * SLOW, r
    for edge in (1, 2):
        time.sleep(1.3)
        asked = time.monotonic()
        r = edges[edge].get("/a")
        least, most = asked - had, time.monotonic() - began
        names = [m["name"] for m in r.cache_status]
        assert names == ["before", "shield-1", f"edge-{edge + 1}"] and r.cache_status[1]["hit"] is True, r
        # Exact to the second that whole numbers leave: what has passed, neither lost between the tiers nor counted twice.
        assert 100 + int(least) - 1 <= r.age <= 100 + most + 1.01, (least, most, r)
        assert abs(600 - r.cache_status[1]["ttl"] - r.age) <= 1, r
        hit = edges[edge].get("/a")
        assert hit.x_cache == "HIT" and abs(600 - hit.own["ttl"] - hit.age) <= 1 and 0 <= hit.age - r.age <= 1 + SLOW, (r, hit)
    assert origin.count("/a") == 1


if __name__ == "__main__":
    main()
