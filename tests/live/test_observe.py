"""What an operator sees: probes, metrics, status, access log, and who may see it."""
from harness import *

FRESH = {"Cache-Control": "max-age=600", "Surrogate-Key": "t"}


def started(**more):
    origin = Origin()
    origin.on("/a", body=b"hello", headers=FRESH)
    return origin, Node(origins=[origin.url], **more)


def test_probes():
    origin, node = started()
    for path in ("/healthz", "/readyz"):
        assert node.admin(path, token=None).status == 200
        assert node.admin(path, method="HEAD", token=None).status == 200
    origin.stop()
    assert node.admin("/healthz", token=None).status == 200, "the origin's health is not the node's"


def test_a_name_that_is_no_token():
    """Quoted in Cache-Status, and in Via with what a token may have instead."""
    origin = Origin()
    origin.on("/a", body=b"x", headers={"Cache-Control": "max-age=60"})
    node = Node(origins=[origin.url], name="pop 7")
    r = node.get("/a")
    assert r["via"] == "1.1 pop-7 (brink)" and origin.last("/a")["via"] == r["via"], r
    assert r["cache-status"].startswith('"pop 7"; fwd=uri-miss'), r


def test_metrics():
    origin, node = started(disk=True, tls=True)
    node.get("/a")
    node.get("/a")
    with node.h2() as c:
        c.get("/a")  # another scheme, another key
        c.get("/a")
    node.get("/none")
    node.get("/form", method="POST", body=b"x" * 1000)
    node.purge(tags=["t"])
    eventually("all are counted", lambda: node.metric("brink_request_duration_seconds_count") == 6)
    metrics = node.metrics()
    names = {key.split("{")[0] for key in metrics}
    for name in ("brink_requests_total", "brink_hits_total", "brink_request_duration_seconds_bucket", "brink_request_duration_seconds_sum",
                 "brink_request_duration_seconds_count", "brink_upstream_duration_seconds_count", "brink_bytes_total", "brink_objects",
                 "brink_bytes", "brink_collapsed_total", "brink_upstream_requests_total", "brink_upstream_healthy", "brink_purges_total",
                 "brink_purge_lag_seconds", "brink_purge_gaps_total", "brink_connections", "brink_build_info"):
        assert name in names, f"{name} is missing"
    assert node.metric("brink_requests_total", result="hit") == 2 and node.metric("brink_requests_total", result="miss") == 3, [k for k in metrics.items() if "requests_total" in k[0]]
    assert node.metric("brink_hits_total", tier="memory") == 2
    assert node.metric("brink_upstream_duration_seconds_count") == 4
    assert node.metric("brink_bytes_total", direction="in") == 1000 and node.metric("brink_bytes_total", direction="out") > 0
    assert node.metric("brink_upstream_healthy") == 1
    assert node.metric("brink_upstream_requests_total", status="200") + node.metric("brink_upstream_requests_total", status="2xx") == 2
    assert node.metric("brink_objects", tier="memory") >= 1 and 0 < node.metric("brink_bytes", tier="memory") < 64 << 20
    assert 'version="' in next(k for k in metrics if k.startswith("brink_build_info"))
    text = node.admin("/metrics", token=None)
    assert text["content-type"].startswith("text/plain"), text
    for name in names:
        base = re.sub("_(bucket|sum|count)$", "", name)
        assert f"# TYPE {base} " in text.text or f"# TYPE {name} " in text.text, name
        assert f"# HELP {base} " in text.text or f"# HELP {name} " in text.text, name
    with node.conn() as c:
        c.request("/a")
        c.response()
        eventually("an open connection is counted", lambda: node.metric("brink_connections") >= 1)


def test_status():
    origin, node = started(disk=True)
    node.get("/a")
    status = node.status()
    for member in ("version", "uptime", "ready", "tiers", "workers", "purge"):
        assert any(key.startswith(member) for key in status), (member, status)
    assert status["ready"] is True, status
    purge = status["purge"]
    assert purge["redis"] == "none" and purge["gaps"] == 0 and "cursor" in purge and "position" in purge, purge
    before = purge["position"]
    node.purge(tags=["x"])
    assert node.status()["purge"]["position"] > before


def test_access_log():
    origin, node = started(tls=True)
    node.get("/a?x=1", headers={"User-Agent": 'a "quoted" \\ agent', "Referer": "http://r/"})
    node.get("/a?x=1")
    with node.h2() as c:
        c.get("/a?x=1")
    node.get("/odd%22%5C?q='%00")
    eventually("four lines", lambda: len(node.access()) == 4)
    lines = node.access()  # those of two workers come in any order
    text = json.dumps(lines)
    assert "/a?x=1" in text and "127.0.0.1" in text and "test.example" in text and "GET" in text, lines
    statuses = [line.get("status") for line in lines]
    assert sorted(statuses)[:3] == [200, 200, 200] and sorted(statuses)[3] > 200, lines
    assert sum(any("quoted" in str(v) for v in line.values()) for line in lines) == 1, lines  # two may end in one millisecond
    node.stop()
    assert len(node.access()) == 4


def test_what_is_refused_is_in_the_access_log():
    """Malformed requests never reach the path, and whoever looks for one finds it all the same, with nothing raw in it."""
    origin, node = started()
    cases = [
        (b"GET /a\x01b HTTP/1.1\r\nHost: test.example\r\n\r\n", 400, "GET", "/a\x01b", None),
        (b"GET /\x1b[2J\xff HTTP/1.1\r\n\r\n", 400, "GET", "/\x1b[2J\ufffd", None),
        (b"GET /none HTTP/1.1\r\n\r\n", 400, "GET", "/none", None),
        (b"GET /two HTTP/1.1\r\nHost: test.example\r\nHost: test.example\r\n\r\n", 400, "GET", "/two", "test.example"),
        (b"GET /obs HTTP/1.1\r\nHost: test.example\r\n folded\r\n\r\n", 400, "GET", "/obs", "test.example"),
        (b"GET /version HTTP/3.0\r\n\r\n", 505, "GET", "/version", None),
        (b"GET  /spaces HTTP/1.1\r\n\r\n", 400, "GET", " /spaces", None),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: test.example\r\n\r\n", 414, "GET", "/" + "x" * 8191, None),
        (b"POST /large HTTP/1.1\r\nHost: test.example\r\nContent-Length: 999999999\r\n\r\n", 413, "POST", "/large", "test.example"),
        (b"POST /chunks HTTP/1.1\r\nHost: test.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0x3\r\n", 400, "POST", "/chunks", "test.example"),
        (b"GET /a HTTP/1.1\r\nHost: test.example\r\n\r\nGET /behind HTTP/1.1\r\nBad Field: x\r\n\r\n", 400, "GET", "/behind", None),
        (b"\x16\x03\x01\x02\0\x01\n", 400, None, "\x16\x03\x01\x02\0\x01", None),
        (b"\"quoted\"\n", 400, None, '"quoted"', None),
    ]
    for text, *_ in cases:
        with node.conn() as c:
            c.send(text)
            while c.more():
                pass
    with node.conn() as c:  # the head was read long before
        c.send(b"POST /later HTTP/1.1\r\nHost: test.example\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")
        assert c.line().split()[1] == b"100" and c.line() == b""
        for piece in (b"3\r\nabc\r\n", b"2\r\nde\r\n", b"x"):
            c.send(piece)
            time.sleep(0.05)
        while c.more():
            pass
    with node.h2(tls=False) as c:
        c.h2.config.validate_outbound_headers = False
        c.send("/h2", headers=[("host", "other.example")])
        c.send("/nul", headers=[("x-a", "b\0c")])
        c.turn()
    wanted = [(status, method, target, host) for _, status, method, target, host in cases] + [(400, "POST", "/later", "test.example"), (400, "GET", "/h2", "test.example"), (400, "GET", "/nul", "test.example")]
    seen = lambda: [(r["status"], r.get("method"), r["target"], r.get("host")) for r in node.access() if r["status"] >= 400]
    eventually("they are all there", lambda: len(seen()) == len(wanted))
    assert sorted(map(str, seen())) == sorted(map(str, wanted)), seen()
    lines = [r for r in node.access() if r["status"] >= 400]
    assert all(r["client"] == "127.0.0.1" and r["cache"] == "ERROR" and r["node"] == "edge-1" and r["bytes"] == 0 for r in lines), lines
    with open(node.access_log, "rb") as f:
        raw = f.read()
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f-\xff]", raw.replace("\ufffd".encode(), b"")), "escaped, whatever came"
    assert node.metric("brink_refused_requests_total") == len(wanted), node.metrics()


def test_access_log_under_load():
    origin, node = started()
    node.get("/a")

    def crowd(_):
        with node.conn() as c:
            for _ in range(50):
                c.request("/a")
                assert c.response().status == 200

    together(20, crowd)
    node.stop()
    assert len(node.access()) == 1001


def test_combined_format_and_off():
    origin = Origin()
    origin.on("/a", body=b"hello", headers=FRESH)
    node = Node(origins=[origin.url], config={"log": {"format": "combined"}})
    node.get("/a", headers={"User-Agent": "me", "Referer": "http://from/"})
    node.stop()
    with open(node.access_log) as log:
        line = log.read()
    assert re.fullmatch(r'127\.0\.0\.1 - - \[[^\]]+\] "GET /a HTTP/1\.1" 200 5 "http://from/" "me".*\n', line), line
    node = Node(origins=[origin.url], config={"log": {"access": "stdout"}})
    node.get("/a")
    node.stop()
    assert json.loads(node.process.stdout.splitlines()[0]), node.process.stdout


def test_admin_needs_a_token():
    origin, node = started()
    r = node.admin("/v1/status", token=None)
    assert r.status == 401 and r["content-type"].startswith("application/problem+json") and r.json["status"] == 401, r
    assert node.admin("/v1/status", token="wrong").status == 401
    assert node.admin("/v1/status").status == 200
    assert node.admin("/v1/status", method="DELETE").status == 405
    # Without tokens: loopback, read-only.
    open_node = Node(origins=[origin.url], name="edge-2", config={"admin": {"tokens": None}})
    assert open_node.admin("/v1/status", token=None).status == 200
    assert open_node.admin("/v1/purge", "POST", {"tags": ["t"]}, token=None).status in (401, 403)
    # and not for a page in a browser here whose name was made to point here (DNS rebinding)
    for host, status in (("localhost", 200), ("LOCALHOST:80", 200), ("127.0.0.1", 200), ("[::1]:9090", 200), ("10.1.2.3", 200),
                         ("evil.example", 403), (f"evil.example:{open_node.admin_port}", 403), ("127.0.0.1.evil.example", 403),
                         ("localhost.evil.example", 403)):
        assert fetch(open_node.admin_port, "/v1/status", host=host).status == status, host


def test_admin_is_not_on_the_traffic_listener():
    origin, node = started()
    for path in ("/metrics", "/v1/status", "/healthz"):
        assert node.get(path, headers={"Authorization": f"Bearer {TOKEN}"}).status == 404  # the origin's


def test_server_timing():
    origin, node = started(site={"server_timing": True})
    for _ in range(2):
        assert re.search(r"brink;dur=[0-9.]+", node.get("/a")["server-timing"] or "")
    plain = Node(origins=[origin.url], name="edge-2")
    assert "server-timing" not in plain.get("/a")


if __name__ == "__main__":
    main()
