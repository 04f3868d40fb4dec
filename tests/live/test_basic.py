"""One node before one origin: what a cache answers, over every protocol and kind of socket."""
from harness import *

FRESH = {"Cache-Control": "public, max-age=600"}


def started(**more):
    origin = Origin()
    return origin, Node(origins=[origin.url], **more)


def test_miss_then_hit():
    origin, node = started()
    origin.on("/a", body=b"hello", headers=FRESH, etag='"1"')
    r = node.get("/a")
    assert (r.status, r.body, r.x_cache) == (200, b"hello", "MISS"), r
    assert r.own["name"] == "edge-1" and r.own["fwd"] == "uri-miss" and r.own["fwd-status"] == 200 and r.own["stored"] is True, r
    assert "hit" not in r.own, r
    time.sleep(1.1)
    r = node.get("/a")
    assert (r.status, r.body, r.x_cache) == (200, b"hello", "HIT"), r
    assert r.own["hit"] is True and r.own["detail"] == "memory" and 590 <= r.own["ttl"] <= 599, r
    assert "fwd" not in r.own and 1 <= r.age <= 9, r
    assert r["etag"] == '"1"' and r["date"] and "edge-1" in r["via"] and "brink" in r["via"], r
    assert origin.count("/a") == 1


def test_head():
    origin, node = started()
    origin.on("/a", body=b"hello", headers=FRESH)
    node.get("/a")
    r = node.head("/a")
    assert r.status == 200 and r.x_cache == "HIT" and r["content-length"] == "5" and r.body == b"", r
    # First a HEAD: whatever went up for it, a GET then has the whole body.
    origin.on("/b", body=b"world", headers=FRESH)
    r = node.head("/b")
    assert r.status == 200 and r["content-length"] == "5", r
    assert node.get("/b").body == b"world"
    assert origin.count("/a") == 1
    # On one connection a HEAD leaves nothing behind that the next response could be taken for.
    with node.conn() as c:
        for _ in range(3):
            c.request("/a", method="HEAD")
            assert c.response().status == 200
            c.request("/a")
            assert c.response().body == b"hello"


def test_unsafe_methods_pass():
    origin, node = started(site={"max_body": "1MiB"})
    origin.on("/form", lambda r: Reply(r.method.encode() + b" " + r.body, headers=FRESH))
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        for _ in range(2):
            r = node.get("/form", method=method, body=b"x=1")
            assert r.status == 200 and r.body == method.encode() + b" x=1", r
        assert origin.count("/form", method) == 2
    body = os.urandom(700_000)
    assert node.get("/form", method="POST", body=body).body == b"POST " + body
    with node.conn() as c:
        c.send("POST /form HTTP/1.1\r\nHost: test.example\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nab=c\r\n3\r\ndef\r\n0\r\n\r\n")
        assert c.response().body == b"POST ab=cdef"
    before = origin.count("/form")
    assert node.get("/form", method="POST", body=b"x" * (1 << 20) + b"y").status == 413
    assert origin.count("/form") == before


def test_ranges():
    origin, node = started()
    body = bytes(range(256)) * 40
    origin.on("/r", body=body, headers=dict(FRESH, **{"Content-Type": "application/x-test"}), etag='"v1"')
    node.get("/r")
    size = len(body)
    for asked, first, last in (("0-0", 0, 0), ("10-19", 10, 19), ("10000-", 10000, size - 1), ("-5", size - 5, size - 1),
                               ("0-999999", 0, size - 1)):
        r = node.get("/r", headers={"Range": f"bytes={asked}"})
        assert r.status == 206 and r["content-range"] == f"bytes {first}-{last}/{size}" and r.body == body[first:last + 1], (asked, r)
        assert r.x_cache == "HIT"
    r = node.get("/r", headers={"Range": "bytes=20000-"})
    assert r.status == 416 and r["content-range"] == f"bytes */{size}", r
    # What is no byte range is ignored: the whole.
    for odd in ("bytes=x-y", "lines=1-2", "bytes=5-2"):
        r = node.get("/r", headers={"Range": odd})
        assert r.status == 200 and r.body == body, (odd, r)
    r = node.get("/r", headers={"Range": "bytes=0-9,100-109,-4"})
    assert r.status == 206 and r["content-type"].startswith("multipart/byteranges"), r
    boundary = re.search(r'boundary="?([^";]+)', r["content-type"])[1].encode()
    parts = [p for p in r.body.split(b"--" + boundary) if p.strip() not in (b"", b"--")]
    got = [p.split(b"\r\n\r\n", 1)[1][:-2] for p in parts]
    assert got == [body[0:10], body[100:110], body[-4:]], got
    assert f"content-range: bytes 100-109/{size}".encode() in parts[1].lower() and b"application/x-test" in parts[1], parts[1]
    assert int(r["content-length"]) == len(r.body)
    # If-Range: the same strong validator gives the part, any other the whole.
    assert node.get("/r", headers={"Range": "bytes=0-9", "If-Range": '"v1"'}).status == 206
    for other in ('"v2"', 'W/"v1"'):
        r = node.get("/r", headers={"Range": "bytes=0-9", "If-Range": other})
        assert r.status == 200 and r.body == body, (other, r)
    assert origin.count("/r") == 1


def test_range_of_what_is_not_stored():
    origin, node = started()
    body = os.urandom(30000)
    origin.on("/r", body=body, headers=FRESH, etag='"v1"')
    r = node.get("/r", headers={"Range": "bytes=100-199"})
    assert r.status == 206 and r.body == body[100:200] and r["content-range"] == "bytes 100-199/30000", r
    r = node.get("/r")
    assert r.status == 200 and r.body == body, r


def test_conditional_requests():
    origin, node = started()
    modified = "Tue, 03 Mar 2020 10:00:00 GMT"
    origin.on("/c", body=b"body", headers=dict(FRESH, **{"Last-Modified": modified, "Content-Type": "text/plain"}), etag='"e"')
    node.get("/c")

    def status(**fields):
        return node.get("/c", headers={k.replace("_", "-"): v for k, v in fields.items()})

    r = status(If_None_Match='"e"')
    assert r.status == 304 and r.body == b"" and r["etag"] == '"e"' and r["cache-control"], r
    assert "content-length" not in r or r["content-length"] in ("4",), r
    assert status(If_None_Match='"x", W/"e"').status == 304
    assert status(If_None_Match="*").status == 304
    assert status(If_None_Match='"x"').status == 200
    assert status(If_Modified_Since=modified).status == 304
    assert status(If_Modified_Since="Mon, 02 Mar 2020 10:00:00 GMT").status == 200
    assert status(If_Modified_Since="yesterday").status == 200
    # If-None-Match goes before If-Modified-Since: RFC 9110 13.2.2.
    assert status(If_None_Match='"x"', If_Modified_Since=modified).status == 200
    assert status(If_Match='"e"').status == 200
    assert status(If_Match='"x"').status == 412
    assert status(If_Match='W/"e"').status == 412
    assert status(If_Unmodified_Since="Mon, 02 Mar 2020 10:00:00 GMT").status == 412
    assert status(If_Unmodified_Since=modified).status == 200
    assert origin.count("/c") == 1


def test_vary():
    origin, node = started()
    origin.on("/v", lambda r: Reply((r["accept-language"] or "none").encode(), headers=dict(FRESH, Vary="Accept-Language")))
    for language in ("de", "fr", "en"):
        assert node.get("/v", headers={"Accept-Language": language}).x_cache == "MISS"
    for language in ("fr", "de", "en"):
        r = node.get("/v", headers={"Accept-Language": language})
        assert r.x_cache == "HIT" and r.text == language, r
    r = node.get("/v")
    assert r.text == "none" and r.x_cache == "MISS", r
    assert r.own["fwd"] == "vary-miss", r
    assert origin.count("/v") == 4
    origin.on("/star", body=b"x", headers=dict(FRESH, Vary="Accept, *"))
    assert [node.get("/star").x_cache == "HIT" for _ in range(3)] == [False] * 3 and origin.count("/star") == 3


def test_what_is_not_stored():
    origin, node = started()
    replies = {
        "/no-store": {"Cache-Control": "no-store"},
        "/private": {"Cache-Control": "private, max-age=600"},
        "/old": {"Expires": "0"},
        "/cookie": {"Last-Modified": "Tue, 03 Mar 2020 10:00:00 GMT", "Set-Cookie": "a=b"},
    }
    for path, headers in replies.items():
        origin.on(path, body=b"x", headers=headers)
        for n in (1, 2):
            r = node.get(path)
            assert r.status == 200 and r.x_cache in ("MISS", "BYPASS") and "stored" not in r.own, (path, r)
            assert origin.count(path) == n, path
    # With Authorization only what the origin allows for it is shared: RFC 9111 3.5.
    origin.on("/mine", body=b"x", headers={"Cache-Control": "max-age=600"})
    origin.on("/ours", body=b"x", headers={"Cache-Control": "public, max-age=600"})
    for path, requests in (("/mine", 2), ("/ours", 1)):
        for _ in range(2):
            assert node.get(path, headers={"Authorization": "Basic eDp5"}).status == 200
        assert origin.count(path) == requests, path


def test_what_the_origin_gets():
    origin, node = started()
    origin.on("/up", body=b"x", headers=FRESH)
    node.get("/up", headers={"X-Forwarded-For": "6.6.6.6", "Connection": "close, x-hop", "X-Hop": "1", "X-Kept": "2",
                             "Keep-Alive": "timeout=5", "TE": "trailers", "User-Agent": "me"})
    got = origin.last("/up")
    assert got["via"] == "1.1 edge-1 (brink)" and got["cdn-loop"] == "brink", got
    assert got["x-forwarded-for"] == "127.0.0.1" and "127.0.0.1" in got["forwarded"] and got["x-request-id"], got
    assert got["host"] == "test.example" and got["x-kept"] == "2" and got["user-agent"] == "me", got
    for name in ("x-hop", "keep-alive", "te", "proxy-authorization"):
        assert name not in got, got
    origin.on("/up2", body=b"x")
    node.get("/up2", headers={"CDN-Loop": "othercdn; v=1", "Via": "1.0 fred"})
    got = origin.last("/up2")
    assert re.search(r"othercdn.*,\s*brink", got["cdn-loop"]) and re.search(r"1\.0 fred,\s*1\.1 edge-1", got["via"]), got


def test_loops_end():
    origin, node = started()
    origin.on("/l", body=b"x", headers=FRESH)
    r = node.get("/l", headers={"CDN-Loop": "othercdn, brink"})
    assert r.status == 508 and origin.count("/l") == 0, r
    assert node.get("/l", headers={"CDN-Loop": "brinkmanship"}).status == 200


def test_fields_for_the_cache_alone():
    origin, node = started()
    origin.on("/f", body=b"x", headers={"Cache-Control": "no-cache", "CDN-Cache-Control": "max-age=600", "Surrogate-Key": "a b",
                                        "Cache-Tag": "c,d", "Surrogate-Control": "max-age=1", "Cache-Groups": '"g"'})
    for expected in ("MISS", "HIT"):
        r = node.get("/f")
        assert r.x_cache == expected and r["cache-control"] == "no-cache" and r["cache-groups"] == '"g"', r
        for name in ("cdn-cache-control", "brink-cdn-cache-control", "surrogate-control", "surrogate-key", "cache-tag"):
            assert name not in r, (name, r)
    origin.on("/g", body=b"x", headers={"CDN-Cache-Control": "max-age=600", "Brink-CDN-Cache-Control": "no-store"})
    assert node.get("/g").status == 200 and node.get("/g").x_cache != "HIT" and origin.count("/g") == 2


def test_keys():
    origin, node = started()
    origin.on("/k", lambda r: Reply(r.path.encode(), headers=FRESH))
    origin.on("/%7Euser", body=b"tilde", headers=FRESH)
    origin.on("/~user", body=b"tilde", headers=FRESH)
    node.get("/k?a=1", host="Test.Example:80")
    for path, host in (("/k?a=1", "test.example"), ("/x/../k?a=1", "test.example"), ("/./k?a=1", "TEST.example."), ("/%6b?a=1", "test.example:80")):
        r = node.get(path, host=host)
        assert r.x_cache == "HIT", (path, host, r)
    assert node.get("/k?a=2").x_cache == "MISS" and node.get("/k").x_cache == "MISS" and node.get("/k?A=1").x_cache == "MISS"
    assert node.get("/k?a=1", host="other.example").x_cache == "MISS"
    node.get("/%7Euser")
    assert node.get("/~user").x_cache == "HIT"


def test_rules_and_sites():
    origin = Origin()
    origin.on("*", lambda r: Reply(r.path.encode()))
    node = Node(sites=[
        {"hosts": ["a.example", "*.a.example"], "origins": [origin.url],
         "rules": [{"path": "/static/**", "ttl": "1h"}, {"path": "/live/*", "cache": False}, {"path": "/live/**", "override_ttl": "1h"}]},
        {"hosts": ["b.example"], "origins": [origin.url], "key": {"query": {"except": ["utm_*"]}, "cookies": ["lang"]},
         "rules": [{"path": "/**", "ttl": "1h"}]}])
    get = lambda path, host, **more: node.get(path, host=host, **more).x_cache
    assert [get("/static/x", "a.example") for _ in range(2)] == ["MISS", "HIT"]
    assert [get("/static/x", "www.a.example") for _ in range(2)] == ["MISS", "HIT"]
    assert "HIT" not in [get("/live/x", "a.example") for _ in range(2)]
    assert [get("/live/x/y", "a.example") for _ in range(2)] == ["MISS", "HIT"]
    assert get("/p?x=1&utm_source=a", "b.example") == "MISS" and get("/p?x=1&utm_source=b", "b.example") == "HIT"
    assert get("/p?x=1", "b.example", headers={"Cookie": "lang=de; id=4"}) == "MISS"
    assert get("/p?x=1", "b.example", headers={"Cookie": "id=5; lang=de"}) == "HIT"
    r = node.get("/", host="nobody.example")
    assert r.status in (404, 421), r


def test_keep_alive_and_pipelining():
    origin, node = started()
    for path in ("/1", "/2", "/3"):
        origin.on(path, body=path.encode(), headers=FRESH, delay=0.1 if path == "/1" else 0)
    with node.conn() as c:
        c.send(b"".join(b"GET %s HTTP/1.1\r\nHost: t\r\n\r\n" % p for p in (b"/1", b"/2", b"/3", b"/1")))
        assert [c.response("GET").body for _ in range(4)] == [b"/1", b"/2", b"/3", b"/1"]
    with node.conn() as c:
        c.send("GET /1 HTTP/1.0\r\nHost: t\r\n\r\n")
        r = c.response("GET")
        assert r.body == b"/1" and c.ended()
    with node.conn() as c:
        c.request("/1", headers={"Connection": "close"})
        assert c.response().body == b"/1" and c.ended()


def test_malformed_requests_are_refused():
    origin, node = started()
    origin.on("*", lambda r: Reply(b"reached"))
    for bad in ("GET / HTTP/1.1\r\n\r\n",
                "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
                "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n",
                "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc"):
        with node.conn(timeout=15) as c:
            c.send(bad)
            try:
                r = c.response("GET")
                assert r.status == 400, (bad, r)
            except Incomplete:
                pass  # closed without a word is a refusal too
            assert c.ended(), bad
    assert origin.count() == 0
    assert node.get("/fine").body == b"reached"


def test_h2_cleartext():
    origin, node = started()
    origin.on("/a", body=b"hello", headers=FRESH)
    with node.h2(tls=False) as c:
        assert c.get("/a").x_cache == "MISS"
        r = c.get("/a")
        assert r.x_cache == "HIT" and r.body == b"hello" and r.status == 200, r
        assert c.get("/a", method="HEAD").body == b""
        assert c.get("/a", headers={"range": "bytes=1-2"}).body == b"el"
    assert node.get("/a").x_cache == "HIT"


def test_h2_over_tls():
    origin, node = started(tls=True)
    bodies = {f"/{n}": os.urandom(n * 701) for n in range(60)}
    for path, body in bodies.items():
        origin.on(path, body=body, headers=FRESH)
    origin.on("/form", lambda r: Reply(r.body))
    for round_ in range(2):
        with node.h2() as c:
            streams = {c.send(path): path for path in bodies}
            for stream, path in streams.items():
                r = c.response(stream)
                assert r.status == 200 and r.body == bodies[path], (path, r)
                assert r.x_cache == ("MISS", "HIT")[round_], r
            body = os.urandom(300_000)
            assert c.get("/form", method="POST", body=body).body == body
    assert node.https("/5").body == bodies["/5"]
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        with H2(node.tls_port, tls=tls_context(authority().pem, alpn=["h2"], version=version)) as c:
            assert c.get("/7").body == bodies["/7"]


def test_h2_cancelled_streams():
    origin, node = started(tls=True)
    gate = threading.Event()
    origin.on("/slow", body=[b"x" * 1000, gate, b"y" * 1000], headers=FRESH)
    origin.on("/a", body=b"a", headers=FRESH)
    with node.h2() as c:
        for _ in range(5):
            c.cancel(c.send("/slow"))
        assert c.get("/a").body == b"a"
        gate.set()
    r = node.get("/slow")
    assert r.body == b"x" * 1000 + b"y" * 1000


def test_certificates_by_sni():
    origin, node = started(tls=[["one.example"], ["two.example", "*.three.example"]])
    origin.on("/a", body=b"a", headers=FRESH)

    def subject(sni):
        with Conn(node.tls_port, tls=tls_context(authority().pem, verify=False), sni=sni) as c:
            return ssl.DER_cert_to_PEM_cert(c.sock.getpeercert(True))

    one, two = subject("one.example"), subject("two.example")
    assert one != two and subject("x.three.example") == two and subject("unknown.example") == one
    assert node.https("/a", sni="two.example", host="two.example").body == b"a"
    with node.h2(sni="one.example") as c:
        assert c.get("/a", host="one.example").body == b"a"


def test_unix_socket_and_ipv6():
    origin = Origin()
    origin.on("/a", body=b"hello", headers=FRESH)
    path = os.path.join(temp_dir(), "brink.sock")
    node = Node(origins=[origin.url], start=False)
    node.config["listen"].append({"address": "unix:" + path})
    six = free_port()
    if have_ipv6():
        node.config["listen"].append({"address": f"[::1]:{six}"})
    node.write()
    node.start()
    for _ in range(8):  # whichever worker takes it
        assert fetch(path, "/a").body == b"hello"
    if have_ipv6():
        r = fetch(("::1", six), "/a")
        assert r.body == b"hello" and r.x_cache == "HIT", r
        origin.on("/b", body=b"b")
        fetch(("::1", six), "/b")
        assert origin.last("/b")["x-forwarded-for"] == "::1" and '"[::1]' in origin.last("/b")["forwarded"], origin.last("/b")
    assert node.get("/a").x_cache == "HIT"


def test_large_bodies():
    origin, node = started(tls=True)
    body = os.urandom(9_000_001)
    origin.on("/big", body=body, headers=FRESH)
    origin.on("/big-chunked", body=[body[i:i + 300_000] for i in range(0, len(body), 300_000)], chunked=True, headers=FRESH)
    for path in ("/big", "/big-chunked"):
        for expected in ("MISS", "HIT"):
            r = node.get(path)
            assert r.x_cache == expected and r.body == body, (path, r.status, len(r.body), r.x_cache)
        with node.h2() as c:
            a, b = c.send(path), c.send(path)
            assert c.response(a).body == body and c.response(b).body == body
        r = node.get(path, headers={"Range": "bytes=8999990-"})
        assert r.status == 206 and r.body == body[8999990:], r


def test_sigterm_finishes_what_is_in_flight():
    origin, node = started(config={"drain": "60s"})
    gate = threading.Event()
    origin.on("/slow", body=[b"first", gate, b"last"], headers=FRESH)

    def refused():
        try:
            node.conn().close()
        except ConnectionRefusedError:
            return True

    with node.conn() as c:
        c.request("/slow")
        r = c.head()
        node.process.signal(signal.SIGTERM)
        eventually("it accepts no connection any more", refused)
        gate.set()
        assert c.exactly(9, r) == b"firstlast"
    assert node.process.wait(20) == 0


def test_stop_while_the_origin_hangs():
    # Longer than the drain: the fetches are given up with their clients, on every worker and protocol.
    origin, gate = Origin(), threading.Event()
    origin.on("*", lambda r: Reply(b"late", headers={"Cache-Control": "max-age=60"}, gate=gate))
    node = Node(origins=[origin.url], config={"drain": "300ms"}, workers=2)
    asked = [Later(node.get, f"/{n % 5}") for n in range(20)]
    with node.h2(tls=False) as c:
        streams = [c.send(f"/{n}") for n in range(5)]
        eventually("the origin is asked", lambda: origin.count() >= 5)
        time.sleep(0.2)
        node.stop()
        assert all(s not in c.ends for s in streams)
    gate.set()
    for a in asked:
        try:
            a.result()
        except (OSError, Incomplete):
            pass


if __name__ == "__main__":
    main()
