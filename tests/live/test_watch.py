"""What is happening on a node: brinkctl top and log, and the calls behind them (GET /v1/top, GET /v1/log)."""
from harness import *

FRESH = {"Cache-Control": "max-age=600", "Content-Type": "text/plain"}


def ctl(node, *arguments, token=TOKEN, stdout=subprocess.PIPE):
    env = {**os.environ, **ENVIRONMENT, "BRINK_TOKEN": token}
    return subprocess.Popen([program("brinkctl"), *arguments, "--admin", f"http://127.0.0.1:{node.admin_port}"], env=env, stdout=stdout,
                            stderr=subprocess.PIPE, text=True)


def said(node, *arguments, code=0, **more):
    child = ctl(node, *arguments, **more)
    out, err = child.communicate(timeout=60)
    assert child.returncode == code, (arguments, child.returncode, out, err)
    return out if code == 0 else err


def started(**more):
    origin = Origin()
    origin.on("*", body=b"hello", headers=FRESH)
    origin.on("/broken", status=500, body=b"")
    return origin, Node(origins=[origin.url], workers=1, **more)  # lines of several workers come in no order


def recent(node, query=""):
    r = node.admin("/v1/log" + query)
    assert r.status == 200, r
    return r.json


def targets(answer):
    return [line["target"] for line in answer["lines"]]


def test_log_in_every_format():
    for log in ({}, {"log": {"format": "combined"}}, {"log": {"access": "off"}}):
        origin, node = started(config=log)
        recent(node)  # somebody asks
        for path in ("/a", "/a", "/b", "/broken"):
            node.get(path, host="www.example.com" if path == "/b" else "test.example")
        eventually("the lines are there", lambda: targets(recent(node)) == ["/a", "/a", "/b", "/broken"])
        assert targets(recent(node, "?last=2")) == ["/b", "/broken"]
        assert targets(recent(node, "?host=WWW.example.com")) == ["/b"]
        assert targets(recent(node, "?status=5xx")) == ["/broken"] and targets(recent(node, "?status=500")) == ["/broken"]
        assert targets(recent(node, "?cache=hit")) == ["/a"]
        assert targets(recent(node, "?cache=hit&status=404")) == []
        assert targets(recent(node, "?last=1&cache=MISS&status=200")) == ["/b"]
        answer = recent(node)
        assert recent(node, f"?after={answer['next']}") == {"lines": [], "next": answer["next"], "lost": 0, "more": False}
        node.get("/c?q=%22")
        later = eventually("it goes on", lambda: (lambda a: a if a["lines"] else None)(recent(node, f"?after={answer['next']}")))
        assert targets(later) == ["/c?q=%22"] and later["lines"][0]["cache"] == "MISS", later


def test_log_is_bounded():
    origin, node = started()
    first = recent(node)["next"]
    with node.conn() as c:
        for i in range(6000):
            c.send(b"GET /%d HTTP/1.1\r\nHost: test.example\r\n\r\n" % (i % 3))
            assert c.response().status == 200
    eventually("all are written", lambda: recent(node)["next"] == first + 6000)
    answer = recent(node, f"?after={first}")
    assert answer["lost"] >= 6000 - 4096 and len(answer["lines"]) == 1000 and answer["more"], (answer["lost"], len(answer["lines"]))
    # As many as are kept can be had: an answer holds no more than 1,000, and says where it goes on.
    answer = recent(node, "?last=4096")
    assert len(answer["lines"]) == 1000 and answer["more"] and answer["next"] == first + 6000 - 4096 + 1000, answer["next"]
    got = said(node, "log", "--json", "--last", "2500").splitlines()
    assert [json.loads(line)["target"] for line in got] == ["/%d" % (i % 3) for i in range(3500, 6000)], len(got)
    # a number from before a restart: all is new
    assert recent(node, "?after=99999999")["lines"], "else who follows would wait for ever"


def test_log_refuses():
    origin, node = started()
    for query, right in (("?last=x", "up to 4096"), ("?last=4097", "up to 4096"), ("?after=", '"next"'), ("?status=4", "1xx to 5xx"), ("?status=xxx", "1xx to 5xx"),
                         ("?status=6xx", "1xx to 5xx"), ("?status=099", "100 to 599"), ("?status=600", "100 to 599"), ("?cache=FOO", "MISS, STALE"), ("?cache=", "MISS"),
                         ("?nobody=1", "last, after, host, status, cache"), ("?last=1&after=1", "after="), ("?host=%zz", "hex digits"), ("?host=", "host"),
                         ("?last=1&last=1", "once"), ("?cache=HIT&%63ache=HIT", "once")):
        r = node.admin("/v1/log" + query)
        assert r.status == 400 and right in r.json["detail"], (query, r.json)
    assert targets(recent(node, "?%6cast=%31&status=2%58X&cache=%48IT")) == []
    assert node.admin("/v1/log", token=None).status == 401
    assert node.admin("/v1/top", token=None).status == 401
    for query, title, right in (("?n=0", "n can't be that", "from 1 to 100"), ("?n=101", "n can't be that", "from 1 to 100"), ("?n=x", "n can't be that", "1 to 100"),
                                ("?n=99999999999999999999", "n can't be that", "1 to 100"), ("?n=", "n can't be that", "1 to 100"),
                                ("?m=1", "unknown parameter", "none of n"), ("?n=1&n=2", "a parameter is given twice", "once"), ("?n=%5", "malformed query", "%25")):
        r = node.admin("/v1/top" + query)
        assert r.status == 400 and r.json["title"] == title and right in r.json["detail"], (query, r.json)
    assert node.admin("/v1/top?n=%35").status == node.admin("/v1/top?%6e=5").status == 200
    for query in ("?url=http://test.example/&client=192.0.2.1&client=192.0.2.1", "?url=http://test.example/&nobody=1", "?url=http://test.example/&client=%4"):
        assert node.admin("/v1/explain" + query).status == 400, query
    assert node.admin("/v1/explain?url=http://test.example/&client=").status == 422
    assert node.admin("/v1/explain?%75rl=http://test.example/").status == 200


def test_log_command():
    origin, node = started()
    for path in ("/a", "/b", "/broken"):
        node.get(path)
    eventually("lines", lambda: len(recent(node)["lines"]) == 3)
    out = said(node, "log")
    assert [line.split()[-1] for line in out.splitlines()] == ["test.example/a", "test.example/b", "test.example/broken"], out
    assert re.match(r"\d\d:\d\d:\d\d\.\d{3} 200 MISS +[\d.]+ ms +5  127.0.0.1 GET test.example/a$", out.splitlines()[0]), out
    assert [json.loads(line)["status"] for line in said(node, "log", "--json", "--last", "2").splitlines()] == [200, 500]
    assert said(node, "log", "--status", "5xx", "--host", "test.example").count("\n") == 1
    assert "401" in said(node, "log", code=1, token="wrong")
    for arguments, right in ((["--last", "many"], "--last"), (["--last", "4097"], "up to 4096"), (["--cache", "NOPE"], "MISS, STALE"), (["--status", "bogus"], "1xx to 5xx"),
                             (["--status", "6xx"], "1xx to 5xx"), (["--host", ""], "--host"), (["--cache", "HIT", "--cache", "MISS"], "twice")):
        assert right in said(node, "log", *arguments, code=2), arguments
    assert said(node, "log", "--status", "0") == "" and said(node, "log", "--last", "1", "--cache", "miss").count("\n") == 1
    follower = ctl(node, "log", "--follow", "--json", "--last", "0", "--cache", "HIT")
    lines = []

    def read():
        for line in follower.stdout:
            lines.append(json.loads(line)["target"])

    reader = Later(read)
    try:
        eventually("it follows", lambda: node.get("/early") and "/early" in lines, step=0.1)
        for path in ("/a", "/a", "/a", "/b"):
            node.get(path)
        eventually("all of them", lambda: [line for line in lines if line != "/early"] == ["/a", "/a", "/a", "/b"])
    finally:
        follower.kill()
        follower.wait()
        reader.result()
        follower.stdout.close(), follower.stderr.close()


def test_top():
    origin, node = started()
    stop = threading.Event()

    def ask():
        with node.conn() as c:
            while not stop.is_set():
                for path in (b"/hot?x=1", b"/hot?x=1", b"/hot?x=1", b"/warm"):
                    c.send(b"GET %s HTTP/1.1\r\nHost: test.example\r\n\r\n" % path)
                    c.response()

    work = Later(ask)
    try:
        time.sleep(0.5)
        top = json.loads(said(node, "top", "--json"))
        assert top["node"] == "edge-1" and top["requests_per_second"] > 10 and top["by_result"]["hit"] > 10, top
        assert top["hit_ratio"] > 0.9 and 0 < top["latency_seconds"]["p50"] <= top["latency_seconds"]["p99"], top
        assert top["bytes_per_second"]["out"] > 50 and top["upstreams"][0]["healthy"] is True, top
        assert top["sites"][0]["site"] == "*" and top["sites"][0]["requests_per_second"] > 10, top
        urls = {u["url"]: u for u in top["urls"]}
        hot, warm = urls["test.example/hot?x=1"], urls["test.example/warm"]
        assert 2 < hot["requests_per_second"] / warm["requests_per_second"] < 4.5 and hot["hit_ratio"] > 0.9, top
        assert top["urls"][0] is hot or top["urls"][0] == hot
        screen = said(node, "top", "--interval", "300ms", "--urls", "1")  # no terminal: once
        assert "test.example/hot?x=1" in screen and "/warm" not in screen and "p99" in screen and "\033" not in screen, screen
        assert "--interval" in said(node, "top", "--interval", "soon", code=2)
    finally:
        stop.set()
        work.result()


def test_top_on_a_terminal():
    origin, node = started()
    node.get("/a")
    ours, theirs = os.openpty()
    child = ctl(node, "top", "--interval", "100ms", stdout=theirs)
    os.close(theirs)
    seen = b""
    try:
        while seen.count(b"\033[2J") < 3:
            seen += os.read(ours, 65536)
        assert b"test.example/a" in seen
    finally:
        child.kill()
        child.communicate()
        os.close(ours)


if __name__ == "__main__":
    main()
