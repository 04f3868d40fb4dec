"""Request smuggling, seen from the origin: whatever a client writes, the origin gets the requests that brink took, one by
one, framed anew; and nothing that two parsers could read differently gets so far, or into the cache.

Every form carries a second request for /evil where a lenient parser would find one. The names are those of the
literature: who believes Content-Length (CL), who Transfer-Encoding (TE), who nothing (0), and what ends a chunk."""
from guard import *

EVIL = b"GET /evil HTTP/1.1\r\nHost: test.example\r\n\r\n"
HOST = b"Host: test.example\r\n"
KNOWN = {"host", "via", "cdn-loop", "x-forwarded-for", "forwarded", "x-forwarded-proto", "x-request-id"}


def started(**more):
    origin = Origin()
    origin.on("*", lambda r: Reply(f"{r.method} {r.path} {len(r.body)}".encode(), headers={"Cache-Control": "public, max-age=600"}))
    return origin, Node([origin.url], workers=1, **more)


def post(path, fields, body):
    return b"POST " + path.encode() + b" HTTP/1.1\r\n" + HOST + fields + b"\r\n" + body


def chunked(body, fields=b"Transfer-Encoding: chunked\r\n"):
    return lambda path: post(path, fields, body)


def both(*lines):
    """Fields that frame twice: the length reaches to the end, the chunks end before the second request."""
    inner = b"0\r\n\r\n" + EVIL
    return lambda path: post(path, b"\r\n".join(line % {b"n": len(inner)} if b"%(n)" in line else line for line in lines) + b"\r\n", inner)


LENGTH = b"Content-Length: %(n)d"
REFUSED = {
    "CL.TE": both(LENGTH, b"Transfer-Encoding: chunked"),
    "TE.CL": both(b"Transfer-Encoding: chunked", b"Content-Length: 4"),
    "TE.TE": both(b"Transfer-Encoding: chunked", b"Transfer-Encoding: x"),
    "TE twice, other case": both(LENGTH, b"TRANSFER-ENCODING: chunked", b"transfer-encoding: identity"),
    "TE xchunked": both(LENGTH, b"Transfer-Encoding: xchunked"),
    "TE quoted": both(LENGTH, b'Transfer-Encoding: "chunked"'),
    "TE list": both(LENGTH, b"Transfer-Encoding: chunked, identity"),
    "TE empty member": both(LENGTH, b"Transfer-Encoding: ,chunked"),
    "TE parameter": both(LENGTH, b"Transfer-Encoding: chunked;x=y"),
    "TE space before the colon": both(LENGTH, b"Transfer-Encoding : chunked"),
    "TE tab before the colon": both(LENGTH, b"Transfer-Encoding\t: chunked"),
    "TE folded": both(LENGTH, b"Transfer-Encoding:\r\n chunked"),
    "TE behind a folded line": both(LENGTH, b"X: y\r\n Transfer-Encoding: chunked"),
    "TE behind a bare LF": both(LENGTH, b"X: y\nTransfer-Encoding: chunked"),
    "TE behind a bare CR": both(LENGTH, b"X: y\rTransfer-Encoding: chunked"),
    "TE vertical tab": both(LENGTH, b"Transfer-Encoding: \x0bchunked"),
    "TE NUL": both(LENGTH, b"Transfer-Encoding: chunked\0"),
    "TE 8-bit space": both(LENGTH, b"Transfer-Encoding: \xa0chunked"),
    "TE empty": both(LENGTH, b"Transfer-Encoding:"),
    "TE identity": both(LENGTH, b"Transfer-Encoding: identity"),
    "TE of HTTP/1.0": lambda path: both(b"Transfer-Encoding: chunked")(path).replace(b"HTTP/1.1\r\n", b"HTTP/1.0\r\n", 1),
    "CL twice": both(LENGTH, b"Content-Length: 0"),
    "CL twice the same": both(LENGTH, LENGTH),
    "CL list": both(b"Content-Length: 0, 0"),
    "CL plus": both(b"Content-Length: +0"),
    "CL minus": both(b"Content-Length: -0"),
    "CL hex": both(b"Content-Length: 0x2f"),
    "CL dot": both(b"Content-Length: 0.0"),
    "CL underscore": both(b"Content-Length: 1_0"),
    "CL space within": both(b"Content-Length: 0 0"),
    "CL empty": both(b"Content-Length:"),
    "CL 64 bits and more": both(b"Content-Length: 18446744073709551616"),
    "CL space before the colon": both(b"Content-Length : 0"),
    "EXT.TERM: a bare LF in an extension": chunked(b"2;\nxx\r\n2f\r\n0\r\n\r\n" + EVIL + b"\r\n0\r\n\r\n"),
    "TERM.EXT: a bare LF ends the size": chunked(b"2\nxx\r\n0\r\n\r\n" + EVIL),
    "a bare CR in an extension": chunked(b"2;a\rb\r\nxx\r\n0\r\n\r\n" + EVIL),
    "a bare CR ends the size": chunked(b"2\rxx\r\n0\r\n\r\n" + EVIL),
    "SPILL.TERM: data longer than its chunk": chunked(b"5\r\nAAAAAA\r\n0\r\n\r\n" + EVIL),
    "TERM.SPILL: data that ends in a bare LF": chunked(b"5\r\nAAAAA\n0\r\n\r\n" + EVIL),
    "data without an end": chunked(b"5\r\nAAAAA0\r\n\r\n" + EVIL),
    "two bytes instead of CR LF": chunked(b"5\r\nAAAAAXX0\r\n\r\n" + EVIL),
    "size 0x": chunked(b"0x5\r\nAAAAA\r\n0\r\n\r\n" + EVIL),
    "size plus": chunked(b"+5\r\nAAAAA\r\n0\r\n\r\n" + EVIL),
    "size minus": chunked(b"-5\r\nAAAAA\r\n0\r\n\r\n" + EVIL),
    "size underscore": chunked(b"0_5\r\nAAAAA\r\n0\r\n\r\n" + EVIL),
    "size empty": chunked(b"\r\nAAAAA\r\n0\r\n\r\n" + EVIL),
    "size extension alone": chunked(b";a=b\r\n0\r\n\r\n" + EVIL),
    "size space before": chunked(b" 5\r\nAAAAA\r\n0\r\n\r\n" + EVIL),
    "size space behind": chunked(b"5 \r\nAAAAA\r\n0\r\n\r\n" + EVIL),
    "size tab behind": chunked(b"5\t;a\r\nAAAAA\r\n0\r\n\r\n" + EVIL),
    "size NUL": chunked(b"5\0\r\nAAAAA\r\n0\r\n\r\n" + EVIL),
    "size over 64 bits": chunked(b"10000000000000005\r\nAAAAA\r\n0\r\n\r\n" + EVIL),
    "size 2^64 - 1": chunked(b"ffffffffffffffff\r\nAAAAA\r\n0\r\n\r\n" + EVIL),
    "last chunk with a bare LF": chunked(b"0\n\n" + EVIL),
    "trailers end in a bare LF": chunked(b"0\r\nX: y\n\r\n" + EVIL),
    "trailer folded": chunked(b"0\r\nX: y\r\n z\r\n\r\n" + EVIL),
    "trailer is a request": chunked(b"0\r\n" + EVIL),
    "line ends in CR CR LF": lambda path: b"GET " + path.encode() + b" HTTP/1.1\r\r\n" + HOST + b"\r\n" + EVIL,
    "bare CR ends the request line": lambda path: b"GET " + path.encode() + b" HTTP/1.1\rX: y\r\n" + HOST + b"\r\n" + EVIL,
    "bare LF ends the head": lambda path: b"GET " + path.encode() + b" HTTP/1.1\r\n" + HOST + b"\n" + EVIL,
    "field before the request line": lambda path: b"X: y\r\nGET " + path.encode() + b" HTTP/1.1\r\n" + HOST + b"\r\n" + EVIL,
    "line without a colon": lambda path: b"GET " + path.encode() + b" HTTP/1.1\r\n" + HOST + b"GET /evil HTTP/1.1\r\n\r\n",
    "whitespace before the first field": lambda path: b"GET " + path.encode() + b" HTTP/1.1\r\n X: y\r\n" + HOST + b"\r\n" + EVIL,
    "two Hosts": lambda path: b"GET " + path.encode() + b" HTTP/1.1\r\n" + HOST + b"Host: evil.example\r\n\r\n",
    "two Hosts, one folded": lambda path: b"GET " + path.encode() + b" HTTP/1.1\r\n" + HOST + b" Host: evil.example\r\n\r\n",
    "Host with a space": lambda path: b"GET " + path.encode() + b" HTTP/1.1\r\nHost: test.example evil.example\r\n\r\n",
    "Host with user information": lambda path: b"GET " + path.encode() + b" HTTP/1.1\r\nHost: test.example@evil.example\r\n\r\n",
    "no Host": lambda path: b"GET " + path.encode() + b" HTTP/1.1\r\n\r\n" + EVIL,
    "three spaces in the request line": lambda path: b"GET " + path.encode() + b" /evil HTTP/1.1\r\n" + HOST + b"\r\n",
    "tab in the request line": lambda path: b"GET\t" + path.encode() + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "8-bit target": lambda path: b"GET " + path.encode() + b"\xa0/evil HTTP/1.1\r\n" + HOST + b"\r\n",
    "version 1.10": lambda path: b"GET " + path.encode() + b" HTTP/1.10\r\n" + HOST + b"\r\n",
    "version 1,1": lambda path: b"GET " + path.encode() + b" HTTP/1,1\r\n" + HOST + b"\r\n",
}


def test_what_two_parsers_could_read_differently_is_refused():
    origin, node = started()
    wrong = []
    for i, (name, form) in enumerate(REFUSED.items()):
        path = f"/r/{i}"
        with node.conn() as c:
            c.send(form(path))
            try:
                r, ended = c.response(), c.ended()
            except Incomplete:
                r, ended = None, True
            if r is None or r.status not in (400, 413, 505) or not ended or "x-cache" in r and r.x_cache == "HIT":
                wrong.append((name, r, ended))
        if origin.count(path) or origin.count("/evil"):
            wrong.append((name, "reached the origin", origin.requests[-1]))
            origin.requests.clear()
    assert not wrong, "\n".join(map(str, wrong))
    # none of them is remembered: the same paths, asked for plainly, are misses and then hits
    for i in range(len(REFUSED)):
        assert [node.get(f"/r/{i}").x_cache for _ in range(2)] == ["MISS", "HIT"], list(REFUSED)[i]


def test_refused_forms_behind_requests_that_are_well():
    """On a connection that has been good so far, and on the one to the origin that others share."""
    origin, node = started()
    for i, (name, form) in enumerate(REFUSED.items()):
        with node.conn() as c:
            c.send(f"GET /w/{i} HTTP/1.1\r\nHost: test.example\r\n\r\n".encode() + form(f"/r/{i}"))
            assert c.response().status == 200, name
            assert c.response().status in (400, 413, 505), name
            assert c.ended(), name
        r = node.get(f"/after/{i}")
        assert r.text == f"GET /after/{i} 0", (name, r)
    assert {r.path.split("/")[1] for r in origin.requests} == {"w", "after"}, "something else reached the origin"


def last(origin, path):
    assert origin.count(path) == 1, (path, origin.requests[-3:])
    return origin.last(path)


def test_what_is_taken_is_framed_anew():
    origin, node = started()
    inner = EVIL
    n = len(inner)
    forms = {
        "0.CL": (b"GET %s HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % n + inner, inner),
        "CL.0": (b"POST %s HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % n + inner, inner),
        "H.CL": (b"HEAD %s HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % n + inner, None),
        "chunks": (b"POST %s HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: CHUNKED\r\n\r\n%x;a=\"b;c\"\r\n" % n + inner + b"\r\n000\r\nX-T: u\r\n\r\n", inner),
        "trailers that frame": (b"POST %s HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nContent-Length: 9\r\n"
                                b"Transfer-Encoding: x\r\nHost: evil\r\n\r\n", b"a"),
        "leading zeros": (b"POST %s HTTP/1.1\r\n" + HOST + b"Content-Length: 0000005\r\n\r\nhello", b"hello"),
        "Connection names framing": (b"POST %s HTTP/1.1\r\n" + HOST + b"Connection: content-length, host, transfer-encoding, x-a\r\nX-A: 1\r\n"
                                     b"Content-Length: 5\r\n\r\nhello", b"hello"),
        "Upgrade to h2c": (b"POST %s HTTP/1.1\r\n" + HOST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
                           b"Content-Length: 5\r\n\r\nhello", b"hello"),
        "underscores": (b"POST %s HTTP/1.1\r\n" + HOST + b"Content_Length: 0\r\nTransfer_Encoding: chunked\r\nX_Forwarded_Host: evil\r\n"
                        b"Content-Length: 5\r\n\r\nhello", b"hello"),
        "absolute form": (b"POST http://test.example%s HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello", b"hello"),
        "Keep-Alive and proxies": (b"POST %s HTTP/1.1\r\n" + HOST + b"Keep-Alive: timeout=1\r\nProxy-Connection: close\r\nTE: trailers\r\nContent-Length: 5\r\n\r\nhello",
                                   b"hello"),
    }
    for i, (name, (form, body)) in enumerate(forms.items()):
        path = f"/t/{i}"
        with node.conn() as c:
            c.method = "HEAD" if form.startswith(b"HEAD") else "GET"
            c.send(form.replace(b"%s", path.encode(), 1) + f"GET /next/{i} HTTP/1.1\r\nHost: test.example\r\n\r\n".encode())
            r = c.response()
            c.method = "GET"
            assert r.status == 200, (name, r)
            r = c.response() if r["connection"] != "close" else node.get(f"/next/{i}")
            assert r.text == f"GET /next/{i} 0", (name, r)
        got = last(origin, path)
        assert body is None or got.body == body or (name == "0.CL" and got.body == b""), (name, got, got.body)
        names = [k.lower() for k, _ in got.headers]
        assert len(names) == len(set(names)), (name, got)
        assert got["host"] == "test.example" and "transfer-encoding" not in got, (name, got)
        assert got["content-length"] == (str(len(got.body)) if got.body else got["content-length"]), (name, got)
        odd = set(names) - KNOWN - {"content-length", "content-type", "x-a"}
        assert not odd, (name, odd)
        assert "x-a" not in got, (name, got)
    assert origin.count("/evil") == 0
    assert node.get("/evil").x_cache == "MISS"


def test_expectations():
    """Expect-based desync: brink answers it itself, and the origin never hears of it."""
    origin, node = started()
    cases = [b"100-continue", b"100-CONTINUE", b"y 100-continue", b"100-continue, 100-continue", b"200-ok", b"", b"100-continue\r\nExpect: 100-continue"]
    for i, value in enumerate(cases):
        for method in (b"POST", b"GET", b"HEAD"):
            path = f"/x/{i}/{method.decode()}"
            with node.conn() as c:
                c.method = method.decode()
                c.send(method + b" " + path.encode() + b" HTTP/1.1\r\n" + HOST + b"Expect: " + value + b"\r\nContent-Length: %d\r\n\r\n" % len(EVIL) + EVIL +
                       b"GET /next HTTP/1.1\r\n" + HOST + b"\r\n")
                r = c.response()
                assert r.status in (200, 400, 417) and all(h.status == 100 for h in r.interim), (value, method, r)
                if r.status == 200:
                    c.method = "GET"
                    r = c.response()
                    assert r.text == "GET /next 0", (value, method, r)
                    assert "expect" not in last(origin, path), (value, method)
    assert origin.count("/evil") == 0


def test_a_body_that_the_origin_did_not_read_is_nobodys_request():
    """CL.0 at the origin: it answers without reading the body and keeps the connection. What it then takes for a request
    must not be answered to somebody else."""
    port = free_port()
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(64)
    targets = []

    def serve(sock):
        data = b""
        try:
            while True:
                while b"\r\n\r\n" not in data:
                    more = sock.recv(65536)
                    if not more:
                        return
                    data += more
                head, _, data = data.partition(b"\r\n\r\n")  # whatever comes behind a head is the next one
                target = head.split(b" ")[1]
                targets.append(target)
                sock.sendall(b"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: %d\r\n\r\n" % len(target) + target)
        except OSError:
            pass

    def accept():
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(sock,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        node = Node([f"http://127.0.0.1:{port}"], workers=1)
        for i in range(10):
            for method in ("POST", "PUT", "GET", "DELETE"):
                r = node.get(f"/{method}/{i}", method=method, body=EVIL)
                assert r.body == f"/{method}/{i}".encode(), r
                r = node.get(f"/victim/{i}")
                assert r.body == f"/victim/{i}".encode(), (method, r)
    finally:
        listener.close()


def test_http2_brings_nothing_down_into_http1():
    """H2.CL, H2.TE and line ends in every place where HTTP/1 would find them."""
    origin, node = started()
    evil = "x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + EVIL.decode()
    forms = {
        "CL too small": (dict(method="POST", extra=[("content-length", "0")]), EVIL),
        "CL too large": (dict(method="POST", extra=[("content-length", "500")]), EVIL),
        "CL twice": (dict(method="POST", extra=[("content-length", str(len(EVIL))), ("content-length", "0")]), EVIL),
        "CL list": (dict(method="POST", extra=[("content-length", f"{len(EVIL)}, {len(EVIL)}")]), EVIL),
        "CL sign": (dict(method="POST", extra=[("content-length", f"+{len(EVIL)}")]), EVIL),
        "TE": (dict(method="POST", extra=[("transfer-encoding", "chunked")]), b"0\r\n\r\n" + EVIL),
        "line end in a value": (dict(extra=[("x-a", evil)]), None),
        "bare LF in a value": (dict(extra=[("x-a", "x\nTransfer-Encoding: chunked")]), None),
        "NUL in a value": (dict(extra=[("x-a", "x\0y")]), None),
        "line end in a name": (dict(extra=[("x: y\r\ntransfer-encoding", "chunked")]), None),
        "colon in a name": (dict(extra=[("transfer-encoding: chunked", "x")]), None),
        "space in a name": (dict(extra=[("transfer-encoding ", "chunked")]), None),
        "upper case in a name": (dict(extra=[("Transfer-Encoding", "chunked")]), None),
        "line end in the method": (dict(method="GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nx: x"), None),
        "space in the method": (dict(method="GET /evil"), None),
        "line end in the path": (dict(path="/h HTTP/1.1\r\nTransfer-Encoding: chunked\r\nx: x"), None),
        "space in the path": (dict(path="/h HTTP/1.1"), None),
        "line end in the authority": (dict(authority="test.example\r\nTransfer-Encoding: chunked"), None),
        "path in the authority": (dict(authority="test.example/evil"), None),
        "line end in the scheme": (dict(scheme="http://a/evil HTTP/1.1\r\nx: "), None),
        "connection": (dict(extra=[("connection", "close")]), None),
        "upgrade": (dict(extra=[("upgrade", "h2c")]), None),
        "two Hosts": (dict(extra=[("host", "evil.example")]), None),
        "CONNECT": (dict(method="CONNECT", path=None, scheme=None, authority="evil.example:80"), None),
    }
    for name, (more, body) in forms.items():
        c = Raw(node.port)
        block = c.block(**dict(dict(path="/h"), **more))
        c.send(frame(HEADERS, END_HEADERS | (0 if body else END_STREAM), 1, block) + (frame(DATA, END_STREAM, 1, body) if body else b""))
        seen = c.frames(lambda f: f is not None and (f[0] in (RST, GOAWAY) or (f[0] == HEADERS and f[2] == 1)))
        f = seen[-1]
        status = dict(f[3])[":status"] if f is not None and f[0] == HEADERS else None
        assert status is None or status[0] in "45" or (name in ("two Hosts", "line end in the scheme") and status == "200"), (name, status)
        assert origin.count("/evil") == 0, name
        for r in origin.requests:
            assert "transfer-encoding" not in r and not any("evil" in v for _, v in r.headers), (name, r)
            assert r.path == "/h" and r.method == "GET", (name, r)
        assert node.get("/good").text == "GET /good 0", name
        with origin.lock:
            origin.requests.clear()
        node.purge(everything=True)


def test_methods_that_open_tunnels_or_tell_secrets():
    origin, node = started()
    with node.conn() as c:
        c.send(b"CONNECT evil.example:80 HTTP/1.1\r\nHost: evil.example:80\r\n\r\n")
        r = c.response()
        assert r.status in (400, 405, 501), r
    r = node.get("/trace", method="TRACE", headers={"Cookie": "secret", "Authorization": "secret"})
    assert b"secret" not in r.body, r
    for method in ("get", "Get", "GET1", "PRI", "SEARCH"):
        r = node.get("/m", method=method)
        assert r.status != 200 or r.text.startswith(method + " "), (method, r)
    assert node.get("/m").text == "GET /m 0"


if __name__ == "__main__":
    main()
