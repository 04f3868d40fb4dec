"""What may be served when it is no longer fresh: RFC 5861, RFC 9111 4.2.4 and 4.3."""
from harness import *


def started(**more):
    origin = Origin()
    return origin, Node(origins=[origin.url], **more)


def aged(node, path, seconds=1.6, **more):
    """Fetches once and waits until it is stale."""
    r = node.get(path, **more)
    assert r.status == 200, r
    time.sleep(seconds)
    return r


def test_while_revalidate():
    origin, node = started()
    numbers = iter(range(100))
    slow = threading.Event()
    slow.set()

    def answer(request):
        slow.wait(20)
        return Reply(b"version %d" % next(numbers), headers={"Cache-Control": "max-age=1, stale-while-revalidate=60"})

    origin.on("/s", answer)
    aged(node, "/s")
    slow.clear()
    for _ in range(5):  # answered at once, while the origin takes its time; and it is asked once
        began = time.monotonic()
        r = node.get("/s")
        assert r.body == b"version 0" and r.x_cache == "STALE", r
        assert r.own["hit"] is True and r.own["ttl"] < 0 and r.own["detail"] == "stale-while-revalidate", r
        assert time.monotonic() - began < 3
    eventually("it is revalidated", lambda: origin.count("/s") == 2)
    slow.set()
    eventually("the new one is served", lambda: node.get("/s").body == b"version 1")


def test_if_error():
    origin, node = started()
    fail = {"on": False}

    def answer(request):
        if fail["on"]:
            return Reply(b"broken", status=503)
        return Reply(b"good", headers={"Cache-Control": "max-age=1, stale-if-error=600"})

    origin.on("/s", answer)
    aged(node, "/s")
    fail["on"] = True
    r = node.get("/s")
    assert (r.status, r.body, r.x_cache) == (200, b"good", "STALE"), r
    assert r.own["fwd"] == "stale" and r.own["fwd-status"] == 503 and r.own["detail"] == "stale-if-error", r
    origin.stop()
    r = node.get("/s")
    assert (r.status, r.body, r.x_cache) == (200, b"good", "STALE") and r.own["detail"] == "stale-if-error", r
    origin.start()
    fail["on"] = False
    eventually("fresh again", lambda: node.get("/s").x_cache in ("HIT", "MISS", "REVALIDATED"))


def test_not_without_permission():
    origin, node = started()
    for path, control in (("/must", "max-age=1, must-revalidate, stale-if-error=600"), ("/proxy", "max-age=1, proxy-revalidate"),
                          ("/shared", "s-maxage=1"), ("/no-cache", "max-age=1, no-cache, stale-if-error=600")):
        origin.on(path, body=b"x", headers={"Cache-Control": control})
        aged(node, path, 0)
    time.sleep(1.6)
    origin.stop()
    for path in ("/must", "/proxy", "/shared", "/no-cache"):
        r = node.get(path)
        assert r.status in (502, 504), (path, r)
        assert "hit" not in r.own, (path, r)


def test_cut_off():
    """RFC 9111 4.2.4: without a connection, what nobody forbids to be used stale is used for a while; an error is an answer."""
    origin, node = started(site={"rules": [{"path": "/rule/**", "stale_if_error": "0s"}]})
    shown = {"/plain": "max-age=1", "/public": "public, max-age=1", "/must-not": "max-age=1, no-transform"}
    kept = {"/must": "max-age=1, must-revalidate", "/proxy": "max-age=1, proxy-revalidate", "/shared": "s-maxage=1", "/no-cache": "no-cache",
            "/never": "max-age=0", "/said": "max-age=1, stale-if-error=0", "/said2": "max-age=1, stale-while-revalidate=0", "/rule/a": "max-age=1"}
    for path, control in (shown | kept).items():
        origin.on(path, body=path.encode(), headers={"Cache-Control": control}, etag='"e"')
        node.get(path)
    time.sleep(2.1)
    origin.on("/plain", body=b"broken", status=503)
    assert node.get("/plain").status == 503
    origin.stop()
    with node.h2(tls=False) as h2:
        for path in shown:
            for ask in (node.get, h2.get):
                r = ask(path)
                assert (r.status, r.body, r.x_cache) == (200, path.encode(), "STALE") and r.own["hit"] is True, r
                assert r.own["detail"] == "disconnected" and r.own["ttl"] < 0, r
        for fields in ({"Cache-Control": "no-cache"}, {"Cache-Control": "max-age=10"}, {"Cache-Control": "max-stale=0"}, {"Authorization": "Bearer a"}):
            assert h2.get("/plain", headers=fields).status in (502, 503, 504), fields
        for path in kept:
            r = h2.get(path)
            assert r.status in (502, 503, 504) and "hit" not in r.own, (path, r)
    node.purge(urls=["http://test.example/public"], soft=True)
    assert node.get("/public").status in (502, 503, 504), "a soft purge isn't lifted"


def test_shared_maxage_with_explicit_permission():
    # People write `s-maxage=300, stale-if-error=60` and mean it.
    origin, node = started()
    origin.on("/s", body=b"x", headers={"Cache-Control": "s-maxage=1, stale-if-error=600"})
    aged(node, "/s")
    origin.stop()
    assert node.get("/s").x_cache == "STALE"


def test_permission_by_a_rule():
    origin, node = started(site={"rules": [{"path": "/r/**", "stale_if_error": "1h"}, {"path": "/w/**", "stale_while_revalidate": "1h"}]})
    for path in ("/r/a", "/w/a", "/else"):
        origin.on(path, body=b"x", headers={"Cache-Control": "s-maxage=1"})
        node.get(path)
    origin.on("/r/own", body=b"x", headers={"Cache-Control": "s-maxage=1, stale-if-error=0"})
    node.get("/r/own")
    time.sleep(1.6)
    assert node.get("/w/a").own["detail"] == "stale-while-revalidate"
    origin.stop()
    assert node.get("/r/a").x_cache == "STALE"
    assert node.get("/else").status in (502, 504) and node.get("/r/own").status in (502, 504)


def test_revalidation():
    origin, node = started()
    origin.on("/s", lambda r: Reply(b"same", headers={"Cache-Control": "max-age=1", "X-Count": str(origin.count("/s"))}, etag='"e"'))
    aged(node, "/s")
    r = node.get("/s")
    assert (r.status, r.body, r.x_cache) == (200, b"same", "REVALIDATED"), r
    assert r.own["fwd"] == "stale" and r.own["fwd-status"] == 304, r
    assert origin.last("/s")["if-none-match"] == '"e"', origin.last("/s")
    assert r["x-count"] == "2", "the 304's fields replace the stored ones"
    r = node.get("/s")
    assert r.x_cache == "HIT" and r.age <= 1 and r["x-count"] == "2" and r.body == b"same", r
    # Changed meanwhile: the new body.
    time.sleep(1.6)
    origin.on("/s", body=b"other", headers={"Cache-Control": "max-age=1"}, etag='"f"')
    r = node.get("/s")
    assert r.body == b"other" and r["etag"] == '"f"' and r.x_cache == "MISS", r
    # By date, where there is no entity tag.
    modified = "Tue, 03 Mar 2020 10:00:00 GMT"
    origin.on("/d", lambda r: Reply(b"" if r["if-modified-since"] else b"dated", status=304 if r["if-modified-since"] else 200,
                                    headers={"Cache-Control": "max-age=1", "Last-Modified": modified}))
    aged(node, "/d")
    r = node.get("/d")
    assert r.status == 200 and r.body == b"dated" and origin.last("/d")["if-modified-since"] == modified, r


def test_many_wait_for_one_revalidation():
    origin, node = started()
    origin.on("/s", body=b"same", headers={"Cache-Control": "max-age=1"}, etag='"e"')
    aged(node, "/s")
    gate = threading.Event()
    origin.on("/s", body=b"same", headers={"Cache-Control": "max-age=600"}, etag='"e"', gate=gate)
    crowd = [Later(node.get, "/s") for _ in range(40)]
    eventually("all but one wait", lambda: node.metric("brink_collapsed_total") == 39)
    gate.set()
    assert all(r.status == 200 and r.body == b"same" for r in [c.result() for c in crowd])
    assert origin.count("/s") == 2


def test_no_cache_validates_each_time():
    origin, node = started()
    origin.on("/n", body=b"x" * 5000, headers={"Cache-Control": "no-cache"}, etag='"e"')
    for n in range(1, 4):
        assert node.get("/n").body == b"x" * 5000
        assert origin.count("/n") == n
    assert origin.last("/n")["if-none-match"] == '"e"'


def test_a_client_condition_does_not_leak_upstream():
    # A client's own If-None-Match must not make the origin's 304 the answer to everybody.
    origin, node = started()
    origin.on("/c", body=b"body", headers={"Cache-Control": "max-age=60"}, etag='"now"')
    r = node.get("/c", headers={"If-None-Match": '"now"'})
    assert r.status in (200, 304), r
    r = node.get("/c")
    assert r.status == 200 and r.body == b"body", r


if __name__ == "__main__":
    main()
