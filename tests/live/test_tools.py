"""brinkctl against a node, and the whole POP that tools/run brings up."""
from harness import *

FRESH = {"Cache-Control": "max-age=600", "Surrogate-Key": "t all"}


def ctl(node, *arguments, token=TOKEN, stdin=b""):
    """(exit code, stdout, stderr) of brinkctl."""
    env = dict(os.environ, **ENVIRONMENT)
    env.pop("BRINK_TOKEN", None)
    if token:
        env["BRINK_TOKEN"] = token
    done = subprocess.run([program("brinkctl"), *arguments, "--admin", f"http://127.0.0.1:{node.admin_port}"], input=stdin, env=env,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    said = done.stderr.decode()
    assert not SANITIZER_REPORT.search(said), said
    return done.returncode, done.stdout.decode(), said


def test_purge():
    origin = Origin()
    numbers = iter(range(10_000))
    origin.on("*", lambda r: Reply(b"%d" % next(numbers), headers=FRESH))
    node = Node(origins=[origin.url])
    body = lambda path: node.get(path).body
    for arguments, hit in ((["--tag", "t"], True), (["--url", "http://test.example/a"], True), (["--url=http://test.example/b"], False),
                           (["--prefix", "test.example/a"], True), (["--host", "test.example"], True), (["--all"], True),
                           (["--tag", "none", "--tag", "all", "--wait", "local"], True), (["--tag", "t", "--wait", "fleet", "--timeout", "5s"], True)):
        before = body("/a")
        assert body("/a") == before
        code, out, err = ctl(node, "purge", *arguments)
        assert code == 0 and "journal:edge-1:" in out, (arguments, code, out, err)
        assert (body("/a") != before) == hit, arguments
    before = body("/a")
    code, out, err = ctl(node, "purge", "--from-file", "-", "--json", stdin=b"# a list\nnobody\n\nhttp://test.example/a\n")
    assert code == 0 and json.loads(out)["id"] and body("/a") != before, (code, out, err)
    code, out, err = ctl(node, "purge", "--receipt", json.loads(out)["id"])
    assert code == 0 and "edge-1 applied" in out, (code, out, err)
    # Longer than one request may be: sent in parts.
    before = body("/a")
    code, out, err = ctl(node, "purge", "--from-file", "-", stdin=b"".join(b"tag-%d\n" % n for n in range(11_000)) + b"t\n")
    assert code == 0 and out.count("purged") == 3 and body("/a") != before, (code, out, err)


def test_a_purge_is_followed_through_the_fleet():
    redis, origin = Redis(), Origin()
    tokens = [{"name": "live", "sha256": sha256(TOKEN), "allow": ["purge", "read"]}, {"name": "hand", "sha256": sha256("hand"), "allow": ["purge"]}]
    nodes = [Node(origins=[origin.url], name=n, redis=redis, config={"admin": {"tokens": tokens}}) for n in ("edge-1", "edge-2")]
    redis.calm(*nodes)
    one, two = nodes
    for token in (TOKEN, "hand"):
        code, out, err = ctl(one, "purge", "--tag", "t", "--wait", "fleet", token=token)
        while code == 4 and "(durable: journal)" in out:  # Redis took longer than an answer waits for it
            code, out, err = ctl(one, "purge", "--tag", "t", "--wait", "fleet", token=token)
        assert code == 0 and "(durable: redis)" in out and sorted(re.findall(r"^  (\S+) applied it after [\d.]+ ms$", out, re.M)) == ["edge-1", "edge-2"], (out, err)
    # One that is slow: its line comes when it has it, the others' at once.
    two.process.pause()
    child = subprocess.Popen([program("brinkctl"), "purge", "--tag", "t", "--wait", "fleet", "--timeout", "60s", "--admin", f"http://127.0.0.1:{one.admin_port}"],
                             env=dict(os.environ, BRINK_TOKEN=TOKEN), stdout=subprocess.PIPE, text=True)
    try:
        assert "purged:" in child.stdout.readline() and "edge-1 applied" in child.stdout.readline() and child.poll() is None
    finally:
        two.process.resume()
    assert re.match(r"  edge-2 applied it after \d+\.\d ms$", child.stdout.readline()) and child.wait(30) == 0
    child.stdout.close()
    two.process.pause()
    for token in (TOKEN, "hand"):
        code, out, err = ctl(one, "purge", "--tag", "t", "--wait", "fleet", "--timeout", "700ms", token=token)
        assert code == 4 and "edge-1 applied" in out and "edge-2 has not answered yet" in out, (code, out, err)
    two.process.resume()


def test_refusals():
    origin = Origin()
    node = Node(origins=[origin.url])
    for arguments, token, code in ((["purge", "--tag", "a"], None, 1), (["purge", "--tag", "a"], "wrong", 1), (["purge"], TOKEN, 2),
                                   (["purge", "--sofd", "--tag", "a"], TOKEN, 2), (["purge", "--tag"], TOKEN, 2), (["tip"], TOKEN, 2),
                                   (["purge", "--tag", "a", "--wait", "long"], TOKEN, 2), (["purge", "--receipt", "1-1"], TOKEN, 1),
                                   (["purge", "--tag", "x" * 2000], TOKEN, 1), (["status"], None, 1), (["status"], "two words", 2), (["status"], "a\nX-B: c", 2),
                                   (["purge", "--tag", "--soft"], TOKEN, 2), (["purge", "--from-file", "--json"], TOKEN, 2), (["status", "--jsno"], TOKEN, 2),
                                   (["explain"], TOKEN, 2), (["explain", "http://a/", "b"], TOKEN, 2), (["top", "--urls", "0"], TOKEN, 2), (["check", "--all"], TOKEN, 2)):
        got, out, err = ctl(node, *arguments, token=token)
        assert got == code and err.startswith("brinkctl") and not out, (arguments, got, out, err)
    assert node.metric("brink_purges_total") == 0
    assert ctl(node, "purge", "--tag=--soft")[0] == 0 and ctl(node, "purge", "--tag", "-h")[0] == 0
    assert node.metric("brink_purges_total", kind="tag") == 2
    for arguments in (["--help"], ["purge", "--tag", "a", "--help"], ["status", "-h"]):
        got, out, err = ctl(node, *arguments)
        assert got == 0 and "brinkctl purge" in out and not err, (arguments, got, err)
    assert node.metric("brink_purges_total", kind="tag") == 2, "help purges nothing"
    # What could not be written was not reached.
    node.get("/a")
    eventually("there is a line", lambda: ctl(node, "log")[1])
    for arguments in (["status"], ["log"], ["log", "--follow"], ["check"], ["explain", "http://test.example/"]):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([program("brinkctl"), *arguments, "--admin", f"http://127.0.0.1:{node.admin_port}"], stdout=full, stderr=subprocess.PIPE,
                                  env={**os.environ, **ENVIRONMENT, "BRINK_TOKEN": TOKEN}, timeout=60)
        assert done.returncode == 1 and b"can't be written" in done.stderr, (arguments, done)
    node.stop()
    assert ctl(node, "status")[0] == 3 and ctl(node, "check")[0] == 3 and ctl(node, "purge", "--tag", "a")[0] == 3


def test_status_and_check():
    origin = Origin()
    node = Node(origins=[origin.url])
    code, out, err = ctl(node, "status", "--json")
    assert code == 0 and json.loads(out)["ready"] is True, (code, out, err)
    code, out, err = ctl(node, "status")
    assert code == 0 and re.search(r"^ready +yes$", out, re.M) and "purge" in out, out
    code, out, err = ctl(node, "check", token=None)
    assert code == 0 and out == "alive\nready\n", (code, out, err)
    code, out, err = ctl(node, "check", "--json", token=None)
    assert code == 0 and json.loads(out) == {"alive": True, "ready": True}, (code, out, err)
    bad = os.path.join(temp_dir(), "bad.yaml")
    with open(bad, "w") as f:
        f.write("listne: []\n")
    code, out, err = ctl(node, "check", bad)
    assert code == 2 and f"{bad}:1:1: " in err, (code, out, err)
    assert ctl(node, "check", node.config_path)[0] == 0
    code, out, err = ctl(node, "check", bad, node.config_path, "--json")
    first, second = map(json.loads, out.splitlines())
    assert code == 2 and not err and second == {"file": node.config_path, "valid": True, "warnings": []}, (code, out, err)
    assert first["valid"] is False and (first["error"]["line"], first["error"]["column"]) == (1, 1) and "listen" in first["error"]["message"], first


def test_a_whole_pop():
    """What tools/run starts: felt, purged by PUBLISH, stale without its origin, ended by one Ctrl-C, and quick again."""
    state = os.path.join(temp_dir(), "run")
    pop = os.path.join(ROOT, "tools", "demo", "pop.py")
    for round_ in range(2):
        process = Process("pop", ["/usr/bin/python3", "-u", pop, "--programs", BUILD, "--state", state, "--ports-from",
                                 str(free_port())], temp_dir(), env=ENVIRONMENT)
        eventually("it says where it is", lambda: "Ctrl-C" in process.stdout or not process.alive, timeout=60)
        assert process.alive, process.log
        kept = {f: os.stat(os.path.join(state, f)).st_mtime_ns for f in os.listdir(state) if f.endswith((".pem", ".key", "token"))}
        assert kept and (not round_ or kept == made), "a second start makes nothing anew"
        made = kept
        said = process.stdout
        http = int(re.search(r"site +http://127\.0\.0\.1:(\d+)/", said)[1])
        https = int(re.search(r"https://localhost:(\d+)/", said)[1])
        redis = re.search(r"redis-cli -p (\d+)", said)[1]
        origin = int(re.search(r"kill -USR1 (\d+)", said)[1])
        host = f"127.0.0.1:{http}"
        get = lambda path: fetch(http, path, host=host)

        first = get("/api/products/123")
        again = get("/api/products/123")
        assert first.status == 200 and again.body == first.body and again.x_cache == "HIT", again

        def took():
            began = time.monotonic()
            get("/api/products/123")
            return time.monotonic() - began
        assert min(took() for _ in range(10)) < 0.25, "as long as its origin takes"
        assert [m["name"] for m in first.cache_status] == ["shield-1", "edge-1"] or round_, first
        page = get("/")
        assets = re.findall(r'(?:href|src)="(/static/[^"]+)"', page.text)
        assert len(set(assets)) == 3, page.text
        for path in assets + ["/photo.png"]:
            r = get(path)
            assert r.status == 200 and r.body and (path == "/photo.png" or "immutable" in r["cache-control"]), r
        with H2(https, tls=tls_context(os.path.join(state, "ca.pem"), alpn=["h2"])) as c:
            assert c.get("/photo.png", host=f"localhost:{https}").body.startswith(b"\x89PNG")

        publish = lambda: subprocess.run(["redis-cli", "-p", redis, "PUBLISH", "cache:invalidate", "product:123"], stdout=subprocess.PIPE).stdout.strip()
        eventually("both hear it", lambda: publish() == b"2")
        eventually("purged", lambda: get("/api/products/123").body != first.body, timeout=5)

        assert get("/api/time").status == 200
        os.kill(origin, signal.SIGUSR1)
        time.sleep(5.6)
        r = get("/api/time")
        assert r.status == 200 and r.x_cache == "STALE" and "stale-if-error" in r["cache-status"], r

        with open(f"/proc/{process.pid}/task/{process.pid}/children") as f:
            children = f.read().split()
        assert len(children) == 4, children
        process.signal(signal.SIGINT)
        assert process.wait(40) == 0, process.log
        process.gone()
        assert not [c for c in children if os.path.exists(f"/proc/{c}")]
        for log in ("edge-1.log", "shield-1.log"):
            with open(os.path.join(state, log)) as f:
                text = f.read()
            assert not SANITIZER_REPORT.search(text), text


def test_the_pop_ends_when_a_part_ends():
    state = os.path.join(temp_dir(), "run")
    pop = os.path.join(ROOT, "tools", "demo", "pop.py")
    process = Process("pop", ["/usr/bin/python3", "-u", pop, "--programs", BUILD, "--state", state, "--ports-from",
                                 str(free_port())], temp_dir(), env=ENVIRONMENT)
    eventually("it says where it is", lambda: "Ctrl-C" in process.stdout or not process.alive, timeout=60)
    with open(f"/proc/{process.pid}/task/{process.pid}/children") as f:
        children = [int(c) for c in f.read().split()]
    # A second one in the same place is told so, and harms nothing.
    second = subprocess.run(["/usr/bin/python3", pop, "--programs", BUILD, "--state", state], stderr=subprocess.PIPE, timeout=30)
    assert second.returncode == 1 and b"already running" in second.stderr, second
    assert process.alive
    os.kill(children[-1], signal.SIGKILL)
    assert process.wait(40) == 1
    process.gone()
    assert "edge-1 has ended" in process.log, process.log
    assert not [c for c in children if os.path.exists(f"/proc/{c}")]


if __name__ == "__main__":
    main()
