"""Cache poisoning and deception: what one client can say that isn't in the key must not reach another.

The origin writes all that it gets into its answer and lets it be shared. One client asks with something unusual, another
one then asks plainly, over the other protocol: it must not see a word of the first one."""
from harness import *

MARK = "evil-7f3a"
SHARED = {"Cache-Control": "public, max-age=600"}
# Fields that frameworks, servers or clouds are known to take for the target, the scheme, the method or the client.
FIELDS = ["X-Forwarded-Host", "X-Forwarded-Scheme", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-For",
          "X-Forwarded-Server", "X-Forwarded-Path", "X-Forwarded-Uri", "X-Forwarded-Ssl", "X-Forwarded-Context", "X-Forwarded-By", "X-Host",
          "X-Original-Host", "X-Original-URL", "X-Original-Uri", "X-Rewrite-URL", "X-HTTP-Method-Override", "X-HTTP-Method",
          "X-Method-Override", "X-HTTP-Host-Override", "X-HTTP-Path-Override", "X-Backend-Host", "X-Proxy-URL", "X-Scheme",
          "X-URL-Scheme", "X-ARR-SSL", "Front-End-Https", "Forwarded", "Proxy", "Proxy-Host", "Base-Url", "Http-Url", "Request-Uri",
          "Destination", "X-Real-IP", "True-Client-IP", "Client-IP", "X-Client-IP", "X-Cluster-Client-IP", "X-Originating-IP",
          "X-Remote-IP", "X-Remote-Addr", "CF-Connecting-IP", "Fastly-Client-IP", "X-Amz-Website-Redirect-Location",
          "X-Amz-Server-Side-Encryption", "X-Amz-Foo", "X-Middleware-Prefetch", "X-Middleware-Subrequest", "X-Invoke-Status",
          "X-Invoke-Path", "X-React-Router-SPA-Mode", "X-React-Router-Prerender-Data", "X-Now-Route-Matches", "X-Matched-Path",
          "X-Vercel-Sc-Host", "X-Nextjs-Data", "X-Envoy-Original-Path", "X-Override-URL", "X-Forwarded", "Forwarded-For", "X-Forward-For",
          "X-Custom-IP-Authorization", "X-Request-Id", "If-None-Match", "If-Match", "Range", "Max-Forwards", "Expect-CT-Foo: x\r\nTE"]


def mirror(request):
    lines = [f"{request.method} {request.path}"] + [f"{k}: {v}" for k, v in request.headers] + [request.body.decode("latin-1")]
    return Reply("\n".join(lines).encode("latin-1"), headers=SHARED)


def started(**more):
    origin = Origin()
    origin.on("*", mirror)
    return origin, Node(origins=[origin.url], **more)


def test_fields_that_are_not_keyed():
    origin, node = started()
    wrong = []
    with node.h2(tls=False) as h2, node.conn() as h1:
        for i, name in enumerate(FIELDS):
            for one in ("h1", "h2"):
                if "\r\n" in name and one == "h2":
                    continue
                path = f"/f/{i}/{one}"
                fields = {name: MARK + ".example" if name != "Range" else "bytes=0-3"}
                if one == "h1":
                    h1.request(path, headers=fields)
                    first, second = h1.response(), h2.get(path)
                else:
                    first = h2.get(path, headers=fields)
                    h1.request(path)
                    second = h1.response()
                if second.status != 200 or MARK.encode() in second.body or not second.body.startswith(b"GET "):
                    wrong.append((name, one, first, second))
    assert not wrong, [(name, one) for name, one, _, _ in wrong]


def test_fields_with_underscores():
    """Many an application reads a_b as a-b (CGI makes one name of both), so neither stands for the other."""
    origin = Origin()

    def folding(r):
        fields = {k.lower().replace("_", "-"): v for k, v in r.headers}
        said = " ".join(f"{k}={fields[k]}" for k in ("accept-language", "x-forwarded-host", "x-original-url", "x-http-method-override", "cookie",
                                                     "content-length", "range", "x-forwarded-for") if k in fields)
        return Reply(f"{r.method} {said}".encode(), headers=dict(SHARED, Vary="Accept-Language"))
    origin.on("*", folding)
    node = Node(origins=[origin.url], site={"rules": [{"path": "/pass/**", "cache": False}]})
    names = ["Accept_Language", "X_Forwarded_Host", "X_Original_URL", "X_HTTP_Method_Override", "X-HTTP_Method-Override", "Content_Length",
             "Transfer_Encoding", "Range_", "X_Forwarded_For", "_"]
    for i, name in enumerate(names):
        node.get(f"/u/{i}", headers={name: MARK})
        r = node.get(f"/u/{i}")
        assert r.status == 200 and MARK not in r.text, (name, r)
    # where nothing is shared, a field of the application's own passes, and one that seems to be ours doesn't
    node.get("/pass/a", headers={"My_Field": "1", "X_Forwarded_For": MARK, "Content_Length": "0", "Transfer_Encoding": "chunked"})
    got = origin.last("/pass/a")
    assert got["my_field"] == "1" and not any(MARK in v for _, v in got.headers), got
    assert "content_length" not in got and "transfer_encoding" not in got, got


def test_signed_requests():
    """A signature over fields that aren't in the key keeps them, and what it is answered with is nobody else's."""
    origin, node = started()
    signed = {"Authorization": "AWS4-HMAC-SHA256 Credential=x", "X-Amz-Date": MARK}
    r = node.get("/signed", headers=signed)
    assert MARK in r.text and r.own["detail"] == "signed", r
    r = node.get("/signed")
    assert r.x_cache == "MISS" and MARK not in r.text, r
    assert node.get("/signed", headers=signed).x_cache == "HIT"  # what is for all is for them too


def test_hosts():
    """The same key means the same Host upstream; another port is another key."""
    origin, node = started()
    for i, host in enumerate(["TEST.example", "test.example.", "test.example:80", "Test.Example.:80", "test.example:8080",
                              f"{MARK}.example"]):
        node.get(f"/h/{i}", host=host)
        r = node.get(f"/h/{i}")
        assert r.status == 200 and MARK not in r.text, (host, r)
        assert "Host: test.example\n" in r.text, (host, r)
    # two of them, or one that no host can be, are refused
    for raw in (f"Host: test.example\r\nHost: {MARK}.example", f"Host: test.example@{MARK}", f"Host: test.example:80{MARK}",
                f"Host: test.example/{MARK}", f"Host: test.example, {MARK}"):
        with node.conn() as c:
            c.send(f"GET /h/x HTTP/1.1\r\n{raw}\r\n\r\n")
            assert c.response().status == 400, raw
    assert MARK not in node.get("/h/x").text
    # HTTP/2: a Host beside :authority (RFC 9113 8.3.1), another scheme than that of the connection
    with node.h2(tls=False) as c:
        c.h2.config.validate_outbound_headers = False
        try:
            raise AssertionError(f"two hosts: {c.get('/h/h2', headers={'host': f'{MARK}.example'})}")
        except Incomplete as refused:
            assert refused.response.status == 400, refused.response
        c.scheme = "https"
        r = c.get("/h/h2")
        assert r.status == 400 or "x-forwarded-proto: http\n" in r.text.lower(), r
    assert MARK not in node.get("/h/h2").text
    # absolute form: its authority counts, and is what goes up
    with node.conn() as c:
        c.send(f"GET http://test.example/h/abs HTTP/1.1\r\nHost: {MARK}.example\r\n\r\n")
        c.response()
    assert MARK not in node.get("/h/abs").text


def test_bodies_and_methods():
    origin, node = started()
    node.get("/b/fat", body=b"q=" + MARK.encode())
    assert MARK not in node.get("/b/fat").text
    for method in ("POST", "PUT", "OPTIONS", "FOO"):
        node.get(f"/b/{method}", method=method, body=MARK.encode())
        r = node.get(f"/b/{method}")
        assert r.text.startswith("GET ") and MARK not in r.text, r
    node.head("/b/HEAD")
    assert node.get("/b/HEAD").text.startswith("GET ")
    # Content-Location of a POST that names what others ask for is believed for the target alone
    origin.on("/b/post", lambda r: Reply(MARK.encode(), headers=dict(SHARED, **{"Content-Location": "/b/victim"})))
    node.get("/b/post", method="POST", body=b"x")
    assert MARK not in node.get("/b/victim").text


def test_queries():
    """What isn't in the key isn't sent, however it is written."""
    origin, node = started(site={"key": {"query": {"except": ["utm_*"]}, "sort": True}})
    for i, query in enumerate([f"utm_a={MARK}", f"a=1&utm_b={MARK}", f"utm_x={MARK}&a=1", f"%75tm_x={MARK}&a=1", f"a=1&utm_x={MARK}&utm_y=2"]):
        node.get(f"/q/{i}?{query}")
        rest = "?a=1" if "a=1" in query else ""
        r = node.get(f"/q/{i}{rest}")
        assert r.status == 200 and MARK not in r.text, (query, r)
    # the same name twice, other separators, other cases: other keys
    for i, query in enumerate([f"a=1&a={MARK}", f"a={MARK}&a=1", f"a=1;b={MARK}", f"A={MARK}&a=1", f"a=1&a[]={MARK}", f"a=1%26b={MARK}", f"a=1&{MARK}",
                               f"a=1#b={MARK}", f"a=1&UTM_x={MARK}"]):
        if "#" not in query:
            node.get(f"/r/{i}?{query}")
        r = node.get(f"/r/{i}?a=1")
        assert MARK not in r.text, (query, r)
    origin, node = started(site={"key": {"query": {"only": ["page"]}}})
    for i, query in enumerate([f"page=1&x={MARK}", f"x={MARK}&page=1", f"page=1&x={MARK};page=1"]):
        node.get(f"/o/{i}?{query}")
        r = node.get(f"/o/{i}?page=1")
        assert MARK not in r.text and "page=1" in r.text, (query, r)


def test_paths():
    """Two spellings share a key only if they are one URI; then the origin gets the normal form from both."""
    origin, node = started()
    same = ["/p/%61b", "/p/./ab", "/p/x/../ab", "/p/%2e/ab", "/p/x/%2E%2e/ab"]
    for i, path in enumerate(same):
        node.get(path + f"?{i}")
        r = node.get(f"/p/ab?{i}")
        assert r.x_cache == "HIT" and r.text.startswith(f"GET /p/ab?{i}\n"), (path, r)
    other = ["/p/ab;x", "/p/ab/", "/p//ab", "/p/AB", "/p/ab%3F", "/p/ab%2F", "/p/x%2F..%2Fab", "/p/ab%00", "/p\\ab", "/p/ab%0d%0a", "/p/ab%23",
             "/p/ab.css", "/p/ab%3Bx"]
    for i, path in enumerate(other):
        node.get(path + f"?o{i}", headers={"X-Any": MARK})
        assert MARK not in node.get(f"/p/ab?o{i}").text, path


def test_deception():
    """A page for one user, asked for under a name that looks static."""
    origin = Origin()
    origin.on("*", lambda r: Reply(f"secret of {r['cookie']}".encode(), headers={"Last-Modified": "Wed, 01 Jan 2020 00:00:00 GMT"}
                                   if "heuristic" in r.path else {}))
    node = Node(origins=[origin.url], site={"rules": [{"path": "/static/**", "ttl": "1d"}]})
    paths = ["/account/x.css", "/account;x.css", "/account%2Fx.css", "/account%3Fx.css", "/account%00.css", "/account%0A.css", "/account/..%2Fx.css",
             "/static/..%2Faccount", "/static/..%2faccount", "/static/%2e%2e%2Faccount", "/static/..%5Caccount", "/static/x%2F..%2F..%2Faccount",
             "/static\\..\\account", "/static/..;/account", "/static/..;a=b/account", "/static/%2e%2e;/account",
             "/static/..%3b/account"]
    plain = ["/static/../account", "/static/%2e%2e/account"]  # what an origin makes of these, the rules do too
    for path in paths + plain:
        first = node.get(path, headers={"Cookie": f"id={MARK}"})
        assert first.status == 400 or path in plain or "/static/" not in path or ".." not in path.replace("%2e", "."), (path, first)
        r = node.get(path)
        assert MARK not in r.text, (path, r)


def test_errors_of_one_request():
    """An origin that refuses a long or odd head: its word is about that request."""
    origin = Origin()

    def picky(r):
        if sum(len(k) + len(v) for k, v in r.headers) > 6000:
            return Reply(b"too large", status=int(r.path.rpartition("/")[2]), reason="No")
        if any(ord(c) < 32 or ord(c) == 127 for _, v in r.headers for c in v if c != "\t"):
            return Reply(b"control characters", status=400)
        return Reply(b"fine", headers=SHARED)
    origin.on("*", picky)
    node = Node(origins=[origin.url], site={"rules": [{"path": "/**", "ttl": "1d"}]})
    with node.h2(tls=False) as h2:
        for status in (400, 413, 414, 431, 500, 501, 502, 503):
            first = node.get(f"/e/{status}", headers={"X-Big": "x" * 7000})
            r = h2.get(f"/e/{status}")
            assert (r.status, r.body) == (200, b"fine"), (status, first, r)
        # larger than brink itself takes: refused, and nothing is remembered
        first = node.get("/e/own", headers={"X-Big": "x" * 70000})
        assert first.status in (400, 431), first
        assert h2.get("/e/own").body == b"fine"
    for i, odd in enumerate(["\x01", "\x7f", "a\rb", "\x00", "a\x0bb"]):
        with node.conn() as c:
            c.send(f"GET /m/{i} HTTP/1.1\r\nHost: test.example\r\nX-Meta: {odd}\r\n\r\n")
            c.response()
        r = node.get(f"/m/{i}")
        assert (r.status, r.body) == (200, b"fine"), (odd, r)


def test_what_is_one_users():
    origin = Origin()
    origin.on("/login", lambda r: Reply(b"hello", headers={"Cache-Control": "max-age=600", "Set-Cookie": f"session={r['cookie']}"}))
    origin.on("/auth", lambda r: Reply(f"for {r['authorization']}".encode(), headers={"Cache-Control": "max-age=600"}))
    origin.on("/fresh", lambda r: Reply(b"hello", headers={"Set-Cookie": f"s={MARK}", "Last-Modified": "Wed, 01 Jan 2020 00:00:00 GMT"}))
    node = Node(origins=[origin.url])
    node.get("/login", headers={"Cookie": MARK})
    assert MARK not in (node.get("/login")["set-cookie"] or "")
    node.get("/auth", headers={"Authorization": f"Bearer {MARK}"})
    assert node.get("/auth").text == "for None"
    assert node.get("/auth", headers={"Authorization": "Bearer b"}).text == "for Bearer b"
    node.get("/fresh")
    assert node.get("/fresh").x_cache != "HIT"  # a guess shares no cookie


def test_split_responses():
    """An origin that writes what it decoded into its head answers twice; nobody gets the second answer."""
    origin = Origin()

    def split(r):
        if "%0d%0a" in r.path.lower():
            return Reply(raw=b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\nCache-Control: public, max-age=600\r\n\r\n"
                             b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nCache-Control: public, max-age=600\r\n\r\n" + MARK.encode(), keep=True)
        return Reply(b"fine", headers=SHARED)
    origin.on("*", split)
    node = Node(origins=[origin.url], workers=1)
    for i in range(5):
        with node.conn() as c:
            c.request(f"/s/{i}?to=%0d%0aContent-Length:%200%0d%0a%0d%0aHTTP/1.1%20200%20OK")
            first = c.response()
            assert first.status in (302, 502), first
            c.request(f"/s/{i}")
            r = c.response()
            assert (r.status, r.body) == (200, b"fine"), r


if __name__ == "__main__":
    main()
