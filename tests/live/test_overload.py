"""Over the ceilings: the newest is turned away cheaply, and what is stored is still served."""
import resource

from harness import *


def started(held=0, **limits):
    origin, gate = Origin(), threading.Event()

    def other(request):
        if request.path.startswith("/slow/"):
            gate.wait(60)
        return Reply(b"other", headers={"Cache-Control": "no-store"})

    origin.on("/a", body=b"a" * 1000, headers={"Cache-Control": "max-age=600"})
    origin.on("*", other)
    node = Node([origin.url], config={"limits": limits} if limits else None)
    node.gate = gate
    assert node.get("/a").status == 200 and node.get("/a").own["hit"]
    return origin, node


def cpu(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_requests_in_flight():
    """Each worker has its share of limits.requests."""
    origin, node = started(requests=16)
    held = []
    for n in range(40):
        c = node.conn(timeout=60)
        c.request(f"/slow/{n}")
        held.append(c)
    eventually("both workers are full", lambda: node.metric("brink_shed_total") == 40 - 16)
    for _ in range(20):
        r = node.get("/a")
        assert r.status == 200 and r.own["hit"], r
        r = node.get("/slow/one-more")
        assert r.status == 503 and r["retry-after"] == "1" and r.own["detail"] == "overload", r
    node.gate.set()
    got = [c.response().status for c in held]
    assert sorted(got) == [200] * 16 + [503] * 24, got
    eventually("there is room again", lambda: node.get("/slow/later").status == 200)


def test_connections():
    _, node = started(connections=40, connections_per_address=40)
    held, closed = [], 0
    for _ in range(60):
        c = node.conn()
        try:
            c.request("/a")
            r = c.response()
            assert r.status == 200 and r.own["hit"]
            held.append(c)
        except (OSError, AssertionError, Incomplete):
            closed += 1
    assert closed >= 18 and len(held) >= 30, (closed, len(held))
    for c in held:  # those that are in go on
        c.request("/a")
        assert c.response().status == 200
    for c in held:
        c.close()
    eventually("there is room again", lambda: node.get("/a").status == 200)
    assert node.metric("brink_over_limit_total") >= 18


def test_out_of_descriptors_under_load():
    """The limit is lowered to what is open, under connections that go on and on. Nothing spins, those that are in are served, hits
    and misses, and when descriptors are back everybody is."""
    origin, node = started()
    inside = [node.conn() for _ in range(8)]
    for c in inside:
        c.request("/a")
        assert c.response().status == 200
    before = resource.prlimit(node.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(node.pid, resource.RLIMIT_NOFILE, (descriptors(node.pid), before[1]))
    over, refused = threading.Event(), [0]

    def knock():
        while not over.is_set():
            try:
                with Conn(node.port, timeout=3) as c:
                    c.request("/a")
                    refused[0] += not c.more()
            except OSError:
                refused[0] += 1
            over.wait(0.02)

    crowd = [threading.Thread(target=knock, daemon=True) for _ in range(4)]
    for t in crowd:
        t.start()
    try:
        eventually("connections are turned away", lambda: refused[0] > 20)
        for c in inside:
            c.request("/a")
            assert c.response().own["hit"]
        over.set()
        for t in crowd:
            t.join()
        # As if another thread had taken the spare descriptors, too: listeners are readable, and nobody can take anything.
        resource.prlimit(node.pid, resource.RLIMIT_NOFILE, (3, before[1]))
        waiting = []
        for _ in range(8):
            s = socket.socket()
            s.setblocking(False)
            s.connect_ex(("127.0.0.1", node.port))
            waiting.append(s)
        time.sleep(0.5)
        used = cpu(node.pid)
        time.sleep(2)
        used = cpu(node.pid) - used
        assert used < 1, f"{used:.2f} s of CPU in 2 s: it spins"
        for c in inside:
            c.request("/a")
            assert c.response().own["hit"]
    finally:
        over.set()
        resource.prlimit(node.pid, resource.RLIMIT_NOFILE, before)
    eventually("everybody is served again", lambda: node.get("/a").status == 200)
    eventually("and so is what isn't stored", lambda: node.get("/b").status == 200)
    for s in waiting:
        s.close()


if __name__ == "__main__":
    main()
