"""Origins that break the protocol, break off, or are not who they say: never stored, never passed on as complete."""
from harness import *

FRESH = {"Cache-Control": "max-age=600"}
OK = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\n"


def started(upstream=None, **more):
    origin = Origin()
    return origin, Node(origins=[origin.url], config={"upstream": merge({"retries": 0}, upstream or {})}, **more)


def outcome(node, path):
    """'cut' or the response."""
    try:
        return node.get(path)
    except Incomplete:
        return "cut"


def test_malformed_heads_are_502():
    origin, node = started()
    heads = {
        "length-letters": OK + b"Content-Length: abc\r\n\r\nhello",
        "length-plus": OK + b"Content-Length: +5\r\n\r\nhello",
        "length-negative": OK + b"Content-Length: -5\r\n\r\nhello",
        "length-two": OK + b"Content-Length: 5\r\nContent-Length: 7\r\n\r\nhello, ",
        "length-list": OK + b"Content-Length: 5, 7\r\n\r\nhello, ",
        "length-huge": OK + b"Content-Length: 99999999999999999999999\r\n\r\nhello",
        "both": OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "coding-not-undone": OK + b"Transfer-Encoding: gzip\r\n\r\nhello",
        "coding-1.0": b"HTTP/1.0 200 OK\r\nCache-Control: max-age=600\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "space-colon": OK + b"X-Odd : 1\r\nContent-Length: 5\r\n\r\nhello",
        "folded": OK + b"X-Odd: 1\r\n more\r\nContent-Length: 5\r\n\r\nhello",
        "no-colon": OK + b"nonsense\r\nContent-Length: 5\r\n\r\nhello",
        "nul": OK + b"X-Odd: a\0b\r\nContent-Length: 5\r\n\r\nhello",
        "bare-cr": OK + b"X-Odd: a\rb\r\nContent-Length: 5\r\n\r\nhello",
        "status-short": b"HTTP/1.1 20 OK\r\nContent-Length: 5\r\n\r\nhello",
        "no-http": b"hello there, I am a mail server\r\n\r\n",
        "nothing": b"",
        "huge-field": OK + b"X-Odd: " + b"a" * 2_000_000 + b"\r\nContent-Length: 5\r\n\r\nhello",
    }
    for name, raw in heads.items():
        origin.on("/" + name, raw=raw)
    wrong = []
    for name in heads:
        for n in (1, 2):
            r = outcome(node, "/" + name)
            if r == "cut" or r.status != 502 or origin.count("/" + name) != n or b"hello" in r.body:
                wrong.append((name, n, origin.count("/" + name), r))
            elif r.own.get("fwd") != "uri-miss" or "stored" in r.own:
                wrong.append((name, "Cache-Status", r["cache-status"]))
    assert not wrong, "\n".join(map(str, wrong))
    origin.on("/good", body=b"good", headers=FRESH)
    assert [node.get("/good").x_cache for _ in range(2)] == ["MISS", "HIT"]


def test_cut_bodies_are_never_complete():
    origin, node = started()
    whole = os.urandom(100_000)
    cuts = {
        "/length": dict(body=whole, cut=50_000),
        "/length-rst": dict(body=whole, cut=50_000, reset=True),
        "/chunked": dict(body=[whole[:40_000], whole[40_000:]], chunked=True, cut=40_000),
        "/chunked-rst": dict(body=[whole[:40_000], whole[40_000:]], chunked=True, cut=40_000, reset=True),
        "/one-short": dict(body=whole, cut=99_999),
        "/nothing": dict(body=whole, cut=0),
    }
    chunk = b"%x\r\n%s\r\n" % (len(whole), whole)
    raws = {
        "/chunk-hex": b"0x10\r\n" + b"a" * 16 + b"\r\n0\r\n\r\n",
        "/chunk-letters": chunk + b"zz\r\n",
        "/chunk-no-end": b"5\r\nhelloX\r\n0\r\n\r\n",
        "/chunk-huge": b"ffffffffffffffffff\r\nhello",
        "/chunk-no-last": chunk,
    }
    for path, reply in cuts.items():
        origin.on(path, headers=FRESH, **reply)
    for path, raw in raws.items():
        origin.on(path, raw=OK + b"Transfer-Encoding: chunked\r\n\r\n" + raw)
    wrong = []
    for path in [*cuts, *raws]:
        for n in (1, 2):
            r = outcome(node, path)
            if origin.count(path) != n or (r != "cut" and r.status != 502):
                wrong.append((path, n, origin.count(path), r if r == "cut" else (r.status, len(r.body), r.headers)))
    assert not wrong, "\n".join(map(str, wrong))
    for path in cuts:  # and once it is well, it is stored
        origin.on(path, body=whole, headers=FRESH)
        assert [(r.x_cache, r.body == whole) for r in (node.get(path), node.get(path))] == [("MISS", True), ("HIT", True)], path


def test_a_cut_body_over_http2_is_a_reset():
    origin, node = started(tls=True)
    origin.on("/cut", body=b"x" * 100_000, cut=50_000, headers=FRESH)
    origin.on("/a", body=b"a", headers=FRESH)
    with node.h2() as c:
        stream = c.send("/cut")
        try:
            r = c.response(stream)
            assert r.status == 502, r
        except Incomplete:
            assert stream in c.resets, "the connection ended, not the stream"
        assert c.get("/a").body == b"a"


def test_a_body_until_close():
    origin, node = started()
    body = os.urandom(70_000)
    origin.on("/close", body=body, headers=FRESH, until_close=True)
    r = node.get("/close")
    assert r.status == 200 and r.body == body, r
    origin.on("/close-rst", body=body, headers=FRESH, until_close=True, reset=True, cut=30_000)
    for n in (1, 2):
        outcome(node, "/close-rst")
        assert origin.count("/close-rst") == n, "a body that ended by a reset was stored"


def test_refused_and_slow():
    origin, node = started(upstream={"first_byte_timeout": "700ms", "idle_timeout": "700ms", "connect_timeout": "1s"})
    gate = threading.Event()
    origin.on("/slow", gate=gate, body=b"x", headers=FRESH)
    origin.on("/stalls", body=[b"a" * 1000, gate, b"b" * 1000], headers=FRESH)
    r = node.get("/slow")
    assert r.status == 504 and r.own["fwd"] == "uri-miss" and "stored" not in r.own, r
    for n in (1, 2):
        r = outcome(node, "/stalls")
        assert r == "cut" or r.status in (502, 504), r
        assert origin.count("/stalls") == n
    gate.set()
    origin.stop()
    r = node.get("/refused")
    assert r.status in (502, 504) and r.own["fwd"] == "uri-miss" and "hit" not in r.own, r
    origin.start()
    origin.on("/refused", body=b"back", headers=FRESH)
    eventually("the origin is asked again", lambda: node.get("/refused").body == b"back", timeout=30)


def test_error_answers_pass():
    origin, node = started()
    for status in (404, 410, 500, 503):
        origin.on(f"/{status}", body=b"sorry", status=status)
        r = node.get(f"/{status}")
        assert r.status == status and r.body == b"sorry" and r.own["fwd-status"] == status, r
    origin.on("/gone", body=b"gone", status=404, headers=FRESH)
    assert [node.get("/gone").x_cache for _ in range(2)] == ["MISS", "HIT"] and origin.count("/gone") == 1
    origin.on("/500", body=b"sorry", status=500)
    node.get("/500")
    assert origin.count("/500") == 2
    # Odd requests' errors are not stored without the origin's word (poisoning).
    origin.on("/poison", lambda r: Reply(b"bad", status=400) if "x-odd" in r else Reply(b"good", headers=FRESH))
    node.get("/poison", headers={"X-Odd": "1"})
    assert node.get("/poison").body == b"good"


def test_tls_origins_are_verified():
    ca = authority()
    good, wrong = Origin(tls=True), Origin(tls=ca.certificate(["other.example"]))
    foreign = Origin(tls=Authority().certificate(["localhost"]))
    for origin in (good, wrong, foreign):
        origin.on("/a", body=b"a", headers=FRESH)
    sites = [{"hosts": [f"{name}.example"], "origins": [origin.url], "ca": ca.pem}
             for name, origin in (("good", good), ("wrong", wrong), ("foreign", foreign))]
    sites.append({"hosts": ["unknown.example"], "origins": [good.url]})
    node = Node(sites=sites, config={"upstream": {"retries": 0}})
    assert node.get("/a", host="good.example").body == b"a"
    assert good.last("/a")["host"] == "good.example"
    for host, origin in (("wrong.example", wrong), ("foreign.example", foreign), ("unknown.example", foreign)):
        r = node.get("/a", host=host)
        assert r.status in (502, 503), (host, r)
    assert wrong.count() == 0 and foreign.count() == 0 and good.count() == 1, "a request was sent to an unverified origin"


def test_connections_are_reused():
    origin, node = started(workers=1)
    origin.on("*", lambda r: Reply(r.path.encode(), headers=FRESH))
    for n in range(20):
        assert node.get(f"/{n}").status == 200
    assert origin.connections <= 2, origin.connections
    # A request on a kept connection that the origin has just closed is not the client's problem.
    origin.stop()
    origin.start()
    for n in range(20, 24):
        assert node.get(f"/{n}").status == 200


def test_retries_are_for_idempotent_requests():
    origin = Origin()
    node = Node(origins=[origin.url], config={"upstream": {"retries": 1}})
    origin.on("/r", lambda r: Reply(raw=b"") if origin.count("/r") == 1 else Reply(b"second", headers=FRESH))
    assert node.get("/r").body == b"second" and origin.count("/r") == 2
    origin.on("/p", raw=b"")
    assert node.get("/p", method="POST", body=b"x").status == 502 and origin.count("/p") == 1


def test_interim_responses_and_trailers():
    origin, node = started()
    origin.on("/103", raw=b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nCache-Control: no-store\r\n\r\n" + OK +
              b"Content-Length: 5\r\n\r\nhello", keep=True)
    assert [node.get("/103").x_cache for _ in range(2)] == ["MISS", "HIT"]
    origin.on("/trailers", raw=OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nCache-Control: no-store\r\nX-Trailer: 1\r\n\r\n", keep=True)
    for expected in ("MISS", "HIT"):
        r = node.get("/trailers")
        assert r.body == b"hello" and r.x_cache == expected and "x-trailer" not in r, r


def test_hop_by_hop_fields_stay_on_their_hop():
    origin, node = started()
    origin.on("/h", body=b"x", headers=dict(FRESH, **{"Connection": "keep-alive, X-Hop", "X-Hop": "1", "Keep-Alive": "timeout=3", "X-End": "2",
                                                      "Proxy-Authenticate": "Basic"}))
    for _ in range(2):
        r = node.get("/h")
        assert "x-hop" not in r and "keep-alive" not in r and r["x-end"] == "2", r


def test_several_origins():
    one, two = Origin(), Origin()
    for origin, name in ((one, b"one"), (two, b"two")):
        origin.on("*", lambda r, name=name: Reply(name, headers={"Cache-Control": "no-store"}))
    node = Node(origins=[one.url, two.url])
    got = {node.get(f"/{n}").body for n in range(40)}
    assert got == {b"one", b"two"}, got
    one.stop()
    # A GET finds the other one; after the first failures the dead one is left alone.
    statuses = [node.get(f"/x{n}").status for n in range(40)]
    assert statuses.count(200) == 40, statuses
    one.start()
    eventually("it is asked again", lambda: (node.get("/again"), one.count("/again"))[1], timeout=60, step=0.2)


if __name__ == "__main__":
    main()
