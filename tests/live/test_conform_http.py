"""RFC 9110 and its companions as tables: conditions, ranges, and what happens to fields on their way (tests/live/conform.py)."""
from conform import *

TAG, BODY = '"v1"', b"0123456789" * 10
SHARED = {"Cache-Control": "max-age=600"}
WHOLE = dict(SHARED, **{"ETag": TAG, "Content-Type": "text/plain"})
MODIFIED = "Wed, 01 Jan 2020 00:00:00 GMT"
BEFORE, AFTER = "Tue, 31 Dec 2019 23:59:59 GMT", "Wed, 01 Jan 2020 00:00:01 GMT"


def setup():
    global bench
    bench = Bench()


def stored(origin, *steps):
    return (ask(NEW, origin, body=BODY), *steps)


def test_conditions():
    both = dict(WHOLE, **{"Last-Modified": MODIFIED})
    weak = dict(SHARED, ETag='W/"v1"')

    def row(want, origin=both, **fields):
        content = BODY if want == 200 else b""
        request = {k.replace("_", "-"): v for k, v in fields.items()}
        return case(f"{request} of {origin}", "RFC 9110 13.2.2", *stored(origin, ask(HIT, request=request, want=want, content=content)))

    bench.run([
        row(304, If_None_Match=TAG), row(304, If_None_Match=f'"x", {TAG}'), row(304, If_None_Match=f"W/{TAG}"), row(304, If_None_Match="*"),
        row(200, If_None_Match='"x"'), row(200, If_None_Match=""), row(304, weak, If_None_Match=TAG), row(304, weak, If_None_Match='W/"v1"'),
        row(200, If_None_Match='"V1"'), row(200, If_None_Match="v1"), row(304, If_None_Match=f'"a,b", {TAG}'),
        row(304, If_Modified_Since=MODIFIED), row(304, If_Modified_Since=AFTER), row(200, If_Modified_Since=BEFORE),
        row(200, If_Modified_Since="junk"), row(304, If_Modified_Since="Wednesday, 01-Jan-20 00:00:00 GMT"),
        row(200, If_None_Match='"x"', If_Modified_Since=AFTER), row(304, If_None_Match=TAG, If_Modified_Since=BEFORE),
        row(412, If_Match='"x"'), row(200, If_Match=TAG), row(200, If_Match="*"), row(412, If_Match=f"W/{TAG}"), row(412, weak, If_Match='W/"v1"'),
        row(200, If_Match=f'"x", {TAG}'), row(412, If_Match='"x"', If_None_Match=TAG), row(304, If_Match=TAG, If_None_Match=TAG),
        row(412, If_Unmodified_Since=BEFORE), row(200, If_Unmodified_Since=MODIFIED), row(200, If_Unmodified_Since="junk"),
        row(200, If_Match=TAG, If_Unmodified_Since=BEFORE), row(412, If_Unmodified_Since=BEFORE, If_None_Match=TAG),
        row(412, If_Match='"x"', Range="bytes=0-3"), row(304, If_None_Match=TAG, Range="bytes=0-3"),
        case("what a 304 says", "RFC 9110 15.4.5", *stored(dict(both, Expires="@+60", Vary="X-V"), ask(
            HIT, request={"If-None-Match": TAG}, want=304, has={"etag": TAG, "cache-control": "max-age=600", "date": ".*", "vary": "X-V", "expires": ".*"},
            lacks=["content-type", "content-length"]))),
        case("conditions of a HEAD", "RFC 9110 13.2.1", *stored(both, ask(HIT, method="HEAD", request={"If-None-Match": TAG}, want=304))),
        case("of what isn't 2xx", "RFC 9110 13.2.1", ask(NEW, dict(SHARED, ETag=TAG), status=404), ask(HIT, request={"If-None-Match": TAG}, want=404)),
        case("first of all", "RFC 9110 13.2.2", ask(NEW, WHOLE, body=BODY, request={"If-None-Match": TAG}, want=304), ask(HIT, content=BODY)),
    ])


def test_if_range():
    dated = dict(SHARED, **{"Last-Modified": MODIFIED})
    wednesday = "Wed, 09 Nov 2022 08:49:37 GMT"

    def row(want, value, origin=WHOLE):
        return case(f"If-Range: {value} of {origin}", "RFC 9110 13.1.5", *stored(origin, ask(
            HIT, request={"Range": "bytes=0-3", "If-Range": value}, want=want, content=BODY[:4] if want == 206 else BODY)))

    bench.run([
        row(206, TAG), row(200, '"x"'), row(200, f"W/{TAG}"), row(200, 'W/"v1"', dict(SHARED, ETag='W/"v1"')), row(206, MODIFIED, dated),
        row(200, AFTER, dated), row(200, BEFORE, dated), row(200, "junk", dated), row(200, MODIFIED), row(200, TAG, dated),
        row(206, wednesday, dict(SHARED, **{"Last-Modified": wednesday})),
        row(200, "@-0", dict(SHARED, **{"Last-Modified": "@-0", "Date": "@-0"})),
        case("without Range", "RFC 9110 13.1.5", *stored(WHOLE, ask(HIT, request={"If-Range": TAG}, content=BODY))),
    ])


def test_ranges():
    def row(want, value, content=None, field=None):
        has = {"content-range": field} if field else {}
        return case(f"Range: {value}", "RFC 9110 14", *stored(WHOLE, ask(
            HIT, request={"Range": value}, want=want, content={200: BODY}.get(want, content), has=has, lacks=[] if field else ["content-range"])))

    bench.run([
        row(206, "bytes=0-3", BODY[:4], "bytes 0-3/100"), row(206, "bytes=0-0", b"0", "bytes 0-0/100"), row(206, "bytes=95-", b"56789", "bytes 95-99/100"),
        row(206, "bytes=-5", b"56789", "bytes 95-99/100"), row(206, "bytes=-500", BODY, "bytes 0-99/100"), row(206, "bytes=90-900", BODY[90:], "bytes 90-99/100"),
        row(206, "BYTES=0-3", BODY[:4], "bytes 0-3/100"), row(206, "bytes=0-3,", BODY[:4], "bytes 0-3/100"), row(206, "bytes=0-3,200-", BODY[:4], "bytes 0-3/100"),
        row(206, "bytes=0-5,3-9", BODY[:10], "bytes 0-9/100"), row(416, "bytes=100-", b"", r"bytes \*/100"), row(416, "bytes=-0", b"", r"bytes \*/100"),
        row(416, "bytes=100-,200-300", b"", r"bytes \*/100"), row(206, "bytes=0-18446744073709551616", BODY, "bytes 0-99/100"),
        row(200, "bytes=3-1"), row(200, "bytes="), row(200, "bytes=x"), row(200, "bytes 0-3"), row(200, "items=0-3"), row(200, "bytes=0-3,x"), row(200, "bytes=-"),
        row(200, "bytes=" + ",".join(f"{i}-{i}" for i in range(0, 1000, 2))), row(200, "bytes=0-49,50-99"),
        case("two parts", "RFC 9110 14.6", *stored(WHOLE, ask(HIT, request={"Range": "bytes=0-1,-2"}, want=206, has={
            "content-type": "multipart/byteranges; boundary=[A-Za-z0-9]+"}, lacks=["content-range"]))),
        case("of a HEAD", "RFC 9110 14.2", *stored(WHOLE, ask(HIT, method="HEAD", request={"Range": "bytes=0-3"}, want=200, has={"content-length": "100"}))),
        case("of a 404", "RFC 9110 14.2", ask(NEW, SHARED, status=404), ask(HIT, request={"Range": "bytes=0-1"}, want=404)),
        case("asked first", "RFC 9110 14.2", ask(NEW, WHOLE, body=BODY, request={"Range": "bytes=0-3"}, want=206, up={"range": None}),
             ask(HIT, content=BODY)),
    ])
    # the parts themselves
    bench.origin.on("/parts", body=BODY, headers=WHOLE)
    bench.node.get("/parts")
    r = bench.node.get("/parts", headers={"Range": "bytes=0-1,50-51, -1"})
    boundary = r["content-type"].partition("boundary=")[2].encode()
    parts = [p.partition(b"\r\n\r\n") for p in r.body.split(b"--" + boundary)[1:-1]]
    assert [p[2].rstrip(b"\r\n") for p in parts] == [b"01", b"01", b"9"], r
    assert [re.search(rb"content-range: (.*)", p[0], re.I)[1].strip() for p in parts] == [b"bytes 0-1/100", b"bytes 50-51/100", b"bytes 99-99/100"], r


def test_fields_on_their_way():
    hop = {"Connection": "X-Hop, close", "X-Hop": "1", "Keep-Alive": "timeout=5", "X-End": "1", "Proxy-Connection": "x"}
    gone = ["x-hop", "proxy-connection"]
    bench.run([
        case("hop by hop, from the origin", "RFC 9110 7.6.1", ask(NEW, dict(SHARED, **hop), has={"x-end": "1"}, lacks=gone), ask(HIT, has={"x-end": "1"}, lacks=gone)),
        case("hop by hop, from the client", "RFC 9110 7.6.1", ask(NEW, SHARED, request={"Connection": "X-Hop", "X-Hop": "1", "X-End": "1", "Keep-Alive": "1",
                                                                                         "TE": "gzip", "Proxy-Connection": "x", "Upgrade": "foo"},
                                                                  up={"x-hop": None, "x-end": "1", "keep-alive": None, "te": None, "proxy-connection": None,
                                                                      "upgrade": None}), only="h1"),
        case("Via", "RFC 9110 7.6.3", ask(NEW, dict(SHARED, Via="1.1 origin"), has={"via": r"1\.1 origin, 1\.1 edge-1 \(brink\)"}, up={"via": r"1\.1 edge-1 \(brink\)"}),
             ask(HIT, has={"via": r"1\.1 origin, 1\.1 edge-1 \(brink\)"})),
        case("Via, appended", "RFC 9110 7.6.3", ask(NEW, SHARED, request={"Via": "1.0 a"}, up={"via": r"1\.0 a, 1\.1 edge-1 \(brink\)"})),
        case("TRACE", "RFC 9110 9.3.8", ask(NONE, method="TRACE", want=405, has={"allow": ".*GET.*"})),
        each("Max-Forwards, the last", "RFC 9110 7.6.2", ["0", "00"], lambda v: (ask(NONE, method="OPTIONS", request={"Max-Forwards": v}, want=204),)),
        case("Max-Forwards", "RFC 9110 7.6.2", ask(NEW, {}, method="OPTIONS", request={"Max-Forwards": "5"}, up={"max-forwards": "4"})),
        case("Max-Forwards, many", "RFC 9110 7.6.2", ask(NEW, {}, method="OPTIONS", request={"Max-Forwards": "99999999999999999999"}, up={"max-forwards": "254"})),
        case("Max-Forwards of a GET", "RFC 9110 7.6.2", ask(NEW, SHARED, request={"Max-Forwards": "0"}, up={"max-forwards": None})),
        case("CDN-Loop", "RFC 8586 2", ask(NEW, SHARED, request={"CDN-Loop": "foo; x=1"}, up={"cdn-loop": "foo; x=1, brink"})),
        each("CDN-Loop, again", "RFC 8586 2", ["brink", "foo, brink; x=1", "BRINK", 'foo; a=", brink'], lambda v: (ask(NONE, request={"CDN-Loop": v}, want=508),)),
        each("CDN-Loop, not ours", "RFC 8586 2", ["brink2", 'foo; a="x"', "foo.brink"], lambda v: (ask(NEW, SHARED, request={"CDN-Loop": v}),)),
        case("Date is there", "RFC 9110 6.6.1", ask(NEW, SHARED, has={"date": ".* GMT"}), ask(HIT, has={"date": ".* GMT"})),
    ])


def test_refusals_by_conditions_say_nothing_that_lasts():
    """RFC 9110 15.5.13, 15.5.17: 412 and 416 are about one request; a cache behind this one may keep neither for as long as the content."""
    origin = {"Cache-Control": "public, max-age=600", "Expires": "@600", "ETag": TAG, "Content-Type": "video/mp4", "Content-Language": "de",
              "Content-Disposition": "inline", "Set-Cookie": "a=b", "Access-Control-Allow-Origin": "*", "Vary": "Origin"}
    gone = {name: None for name in ("expires", "content-type", "content-language", "content-disposition", "set-cookie")}
    stays = {"cache-control": "no-store", "access-control-allow-origin": r"\*", "vary": "Origin", "etag": ".*", "content-length": "0"}
    bench.run([
        each("412", "RFC 9110 15.5.13", [{"If-Match": '"x"'}, {"If-Match": '"x"', "Range": "bytes=0-1"}],
             lambda r: (ask(NEW, origin), ask(HIT, request=r, want=412, has={**gone, **stays}), ask(HIT, has={"content-type": "video/mp4"}))),
        case("416", "RFC 9110 15.5.17", ask(NEW, origin), ask(HIT, request={"Range": "bytes=1000-"}, want=416, has={**gone, **stays, "content-range": r"bytes \*/\d+"})),
    ])


def test_a_request_without_content_is_one_however_it_says_so():
    """RFC 9110 6.4.1: Content-Length: 0, or chunks of nothing, are no content; the cache answers as ever."""
    for i, framing in enumerate(("Content-Length: 0\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")):
        bench.origin.on(f"/empty{i}", body=b"body", headers={"Cache-Control": "max-age=600"})
        for method, cache in (("GET", "MISS"), ("GET", "HIT"), ("HEAD", "HIT")):
            with bench.node.conn() as c:
                c.send(f"{method} /empty{i} HTTP/1.1\r\nHost: test.example\r\n{framing}")
                r = c.response(method)
                assert (r.status, r.x_cache) == (200, cache), (framing, r)
        assert "content-length" not in bench.origin.last(f"/empty{i}")
        with bench.node.conn() as c:
            c.send(f"GET /empty{i} HTTP/1.1\r\nHost: test.example\r\nContent-Length: 1\r\n\r\nx")
            assert c.response().own["detail"] == "body"


def test_early_hints():
    """RFC 8297: passed on at once, to HTTP/2; no part of the final response, and of no later one."""
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nX-Early: 1\r\n\r\n"
    final = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody"
    bench.origin.on("/hints", raw=hints + final)
    with bench.node.h2(tls=False) as c:
        r = c.get("/hints")
        assert [i.status for i in r.interim] == [103] and r.interim[0]["link"] == "</a.css>; rel=preload", r.interim
        assert r.status == 200 and r.body == b"body" and "link" not in r and "x-early" not in r, r
        r = c.get("/hints")
        assert r.x_cache == "HIT" and not r.interim and "link" not in r, r
    # who only waits for it doesn't get what may be another user's
    gate = threading.Event()

    def private(request):
        gate.wait(20)
        return Reply(raw=b"HTTP/1.1 103 Early Hints\r\nLink: </" + request["x-user"].encode() + b".css>\r\n\r\n"
                         b"HTTP/1.1 200 OK\r\nCache-Control: private\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody")
    bench.origin.on("/hints2", private)
    with bench.node.conn() as one, bench.node.conn() as other:
        one.request("/hints2", headers={"X-User": "one"})
        eventually("the first is asked for", lambda: bench.origin.count("/hints2") == 1)
        other.request("/hints2", headers={"X-User": "other"})
        time.sleep(0.1)
        gate.set()
        for c, name in ((one, "one"), (other, "other")):
            assert [i["link"] for i in c.response().interim] == [f"</{name}.css>"]
    bench.origin.on("/hints1", raw=hints + final)
    r = bench.node.get("/hints1")
    assert r.status == 200 and r.body == b"body" and "x-early" not in r, r


def test_interim_responses():
    """RFC 9110 15.2: all of them, in their order, to those who know them; 100 was asked by nobody."""
    raw = (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\n"
           b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody")
    bench.origin.on("/interim", raw=raw)
    with bench.node.h2(tls=False) as h2:
        for get in (bench.node.get, h2.get):
            r = get("/interim")
            assert [i.status for i in r.interim] == [102, 103] and r.interim[1]["link"] == "</a>" and "x-hop" not in r.interim[1], r.interim
            assert r.status == 200 and r.body == b"body" and "link" not in r, r
    with bench.node.conn() as old:
        old.send(b"GET /interim HTTP/1.0\r\nHost: test.example\r\n\r\n")
        r = old.response()
        assert r.status == 200 and not r.interim and r.body == b"body", r


def test_parts():
    """RFC 9111 3.3, 3.4: a range that goes up is stored as a part, answers ranges within it, and is made whole."""
    whole = bytes(range(256)) * 6144
    size = len(whole)

    def ranged(request):
        fields = dict(SHARED, ETag='"a"' if "strong" in request.path else 'W/"a"')
        wanted = request["range"]
        if wanted is None or request["if-range"] not in (None, fields["ETag"]):
            return Reply(whole, headers=fields)
        first, last = wanted.removeprefix("bytes=").split("-")
        first, last = (size - int(last), size - 1) if first == "" else (int(first), min(int(last or size), size - 1))
        return Reply(whole[first:last + 1], 206, dict(fields, **{"Content-Range": f"bytes {first}-{last}/{size}"}))

    def asked(path):
        return [(r["range"], r["if-range"]) for r in bench.origin.requests if r.path == path]

    with bench.node.h2(tls=False) as h2:
        for protocol, get in (("h1", bench.node.get), ("h2", h2.get)):
            strong, weak = f"/parts-{protocol}/strong", f"/parts-{protocol}/weak"
            for path in (strong, weak):
                bench.origin.on(path, ranged)
                for value, first, end, verdict in (("bytes=1200000-1200099", 1200000, 1200100, "MISS"), ("bytes=1200010-1200019", 1200010, 1200020, "HIT"),
                                                   ("bytes=1200000-1200099", 1200000, 1200100, "HIT"), ("bytes=-10", size - 10, size, "MISS")):
                    r = get(path, headers={"Range": value})
                    assert (r.status, r.x_cache, r["content-range"]) == (206, verdict, f"bytes {first}-{end - 1}/{size}"), (value, r)
                    assert r.body == whole[first:end], value
            r = get(strong)
            assert r.status == 200 and r.body == whole and r.own["fwd"] == "partial", r.own
            assert asked(strong)[2:] == [(f"bytes=0-{size - 11}", '"a"')], asked(strong)
            assert get(strong).x_cache == "HIT"
            r = get(weak)
            assert r.body == whole and asked(weak)[2:] == [(None, None)], "of what may be two versions nothing is put together"


def test_one_uri_one_key():
    """RFC 3986 6.2.2, RFC 9110 4.2.3: what is equivalent is one resource, whoever writes it how."""
    same = lambda at, host="test.example": (ask(NEW, SHARED, at="/x/ab"), ask(HIT, at=at, host=host))
    bench.run([
        each("the same", "RFC 3986 6.2.2", ["/x/%61b", "/x/y/../ab", "/x/./ab", "/x/%2e/ab", "/y/%2E%2e/x/ab"], lambda at: same(at)),
        each("the same host", "RFC 9110 4.2.3", ["TEST.example", "test.example.", "test.example:80"], lambda h: same("/x/ab", h)),
        each("another", "RFC 3986 6.2.2", ["/x/AB", "/x/ab/", "/x//ab", "/x/ab;p", "/x/a%2Fb", "/x/ab?"], lambda at: (
            ask(NEW, SHARED, at="/x/ab"), ask(NEW if at != "/x/ab?" else ANY, SHARED, at=at))),
        case("another query", "RFC 3986 3.4", ask(NEW, SHARED, at="?a=1&b=2"), ask(NEW, SHARED, at="?b=2&a=1"), ask(HIT, at="?a=1&b=2")),
        case("another host", "RFC 9110 4.3.1", ask(NEW, SHARED), ask(NEW, SHARED, host="other.example"), ask(NEW, SHARED, host="test.example:8080")),
    ])


if __name__ == "__main__":
    main()
