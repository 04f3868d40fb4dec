"""Clients that take their time: nobody holds a connection for ever without making progress."""
from guard import *


def reaped(kind, probe, attack, least=0.5, most=8.0):
    began = time.monotonic()
    with Conn(probe.port) as c:
        attack(c)
        c.sock.settimeout(most * SLOW)
        try:
            while c.sock.recv(65536):
                pass
        except ConnectionResetError:
            pass
        except socket.timeout:
            raise AssertionError("not closed") from None
    assert least <= time.monotonic() - began, "closed too soon"
    eventually("it is counted", lambda: probe.stats()[f"reap.{kind}"] == 1)
    probe.lives()


def test_reaped_before_the_first_byte():
    reaped("handshake", Probe("-t", "1500"), lambda c: None)


def test_reaped_within_the_preface():
    reaped("handshake", Probe("-t", "1500"), lambda c: c.send(b"PRI * HT"))


def test_reaped_slow_head():
    def attack(c):
        for b in b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: " + b"a" * 100:
            c.send(bytes([b]))
            time.sleep(0.05)
            if select_readable(c.sock):
                return
    reaped("header", Probe("-t", "1500"), attack)


def test_reaped_slow_body():
    def attack(c):
        c.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
        for _ in range(200):
            c.send(b"a")
            time.sleep(0.05)
            if select_readable(c.sock):
                return
    reaped("body", Probe("-t", "1500"), attack)


def test_reaped_idle():
    def attack(c):
        c.request("/b/5")
        c.response()
    reaped("idle", Probe("-t", "1500"), attack)


def test_reaped_stalled_write():
    for path in ("/b/9000000", "/p/9000000/100000", "/c/9000000/100000"):
        probe = Probe("-t", "1500", "-s", "4096")
        with Conn(probe.port) as c:
            c.request(path)
            eventually("the connection is reaped", lambda: probe.stats()["reap.write"] == 1)
            eventually("the request is gone", lambda: probe.stats()["open.h1"] == 1)


def test_reaped_http2_that_gives_no_window():
    for settings in (setting(4, 0), setting(4, 100)):
        probe = Probe("-t", "1500")
        c = Raw(probe.port, settings=settings)
        c.request(1, "/b/100000")
        eventually("the connection is reaped", lambda: probe.stats()["reap.write"] == 1)
        probe.lives()


def test_reaped_http2_stalled_write():
    probe = Probe("-t", "1500", "-s", "4096")
    c = Raw(probe.port, settings=setting(4, 1 << 24), receive_buffer=2048)
    c.send(frame(WINDOW, 0, 0, struct.pack(">I", 1 << 24)))
    c.request(1, "/b/9000000")
    eventually("the connection is reaped", lambda: probe.stats()["reap.write"] == 1)
    probe.lives()


def test_reaped_http2_header_block_dripped():
    probe = Probe("-t", "1500")
    for drip in (lambda c: frame(CONTINUATION, 0, 1), lambda c: b"", lambda c: b"\0"):
        c = Raw(probe.port)
        c.send(frame(HEADERS, END_STREAM, 1, c.block()) + (b"\0\x40\0\x09\0\0\0\0\1" if drip(c) == b"\0" else b""))
        for _ in range(80):
            if not c.send(drip(c)) or (select_readable(c.sock) and closed(c.sock)):
                break
            time.sleep(0.1)
        else:
            raise AssertionError("not closed")
    probe.lives()


def test_reaped_http2_slow_upload():
    probe = Probe("-t", "1500")
    c = Raw(probe.port)
    c.request(1, "/echo", end=False, method="POST")
    for _ in range(100):
        if not c.send(frame(DATA, 0, 1, b"a" * 20)):
            break
        time.sleep(0.05)
    eventually("the connection is reaped", lambda: probe.stats()["reap.body"] == 1)
    probe.lives()


def test_reaped_http2_upload_that_came_fast_and_stands_still():
    """What came at first buys no minutes of standing still, whatever else comes on the connection."""
    probe = Probe("-t", "1500")
    c = Raw(probe.port)
    c.request(1, "/echo", end=False, method="POST")
    for _ in range(3):  # within the windows
        c.send(frame(DATA, 0, 1, b"a" * 16000))
    for _ in range(100):
        if not c.send(frame(PING, payload=b"12345678")) or (select_readable(c.sock) and closed(c.sock)):
            break
        time.sleep(0.1)
    assert probe.stats()["reap.body"] == 1
    probe.lives()


def test_waiting_for_an_answer_is_not_idle():
    probe = Probe("-t", "1200")
    with Conn(probe.port) as c:
        c.request("/hold")
        c2 = Raw(probe.port)
        c2.request(1, "/hold")
        time.sleep(4)
        assert not select_readable(c.sock)
        assert probe.process.alive and not any(v for k, v in probe.stats().items() if k.startswith("reap."))
        c2.send(frame(PING, payload=b"12345678"))
        c2.frames(lambda f: f[0] == PING and f[1] & ACK)


def node_for_slow_clients(**limits):
    origin = Origin()
    origin.on("*", lambda r: Reply(b"x" * 2000, headers={"Cache-Control": "max-age=600"}))
    node = Node([origin.url], workers=2, config={"limits": dict({"connections": 20000, "connections_per_address": 20000}, **limits)})
    assert [node.get("/a").x_cache for _ in range(2)] == ["MISS", "HIT"]
    return node


def good_clients(node, requests=300):
    """Hits on a kept connection and on fresh ones; the 99th percentile in seconds."""
    took = []
    with node.conn() as c:
        for i in range(requests):
            began = time.monotonic()
            if i % 4 == 0:
                assert node.get("/a").x_cache == "HIT"
            else:
                c.request("/a")
                assert c.response().x_cache == "HIT"
            took.append(time.monotonic() - began)
    return sorted(took)[int(len(took) * 0.99)]


def many(node, count, first):
    raise_descriptors(count + 500)
    socks = []
    for _ in range(count):
        sock = socket.create_connection(("127.0.0.1", node.port))
        sock.setblocking(False)
        sock.send(first)
        socks.append(sock)
    return socks


def raise_descriptors(wanted):
    import resource
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise Skip(f"only {hard} descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def held_up(node, socks, drip, most):
    """Good clients while the others each send a byte now and then; compared with the same without them."""
    stop = threading.Event()

    def dripping():
        while not stop.is_set():
            for i, sock in enumerate(socks):
                try:
                    sock.send(drip)
                except OSError:
                    pass
                if i % 200 == 0 and stop.wait(0.02):
                    return
    dripper = threading.Thread(target=dripping, daemon=True)
    dripper.start()
    during = min(good_clients(node) for _ in range(3))  # what else the machine does holds up some; who drips would hold up all
    stop.set()
    dripper.join(10)
    for sock in socks:
        sock.close()
    eventually("they are gone", lambda: node.metric("brink_connections") < 50, timeout=30)
    after = min(good_clients(node) for _ in range(3))
    # twice as long, and what a busy machine may add
    assert during < 2 * after + most * SLOW, f"p99 {during * 1000:.2f} ms with, {after * 1000:.2f} ms without"


def test_slowloris_holds_nobody_up():
    node = node_for_slow_clients()
    socks = many(node, 1500, b"GET /a HTTP/1.1\r\nHost: test.example\r\nX-Slow: ")
    held_up(node, socks, b"a", 0.05)


def test_slow_http2_clients_hold_nobody_up():
    node = node_for_slow_clients()
    socks = many(node, 1000, PREFACE + frame(SETTINGS) + b"\0\x10\0\1\4\0\0\0\1")  # a HEADERS frame without an end
    held_up(node, socks, b"\0", 0.05)


def test_thousands_of_idle_connections_hold_nobody_up():
    node = node_for_slow_clients(idle_timeout="2s", header_timeout="2s")
    socks = many(node, 1500, b"GET /a HTTP/1.1\r\nHost: test.example\r\n\r\n")
    assert good_clients(node, 100) < 1 * SLOW
    for kind, more in (("idle", ()), ("header", many(node, 300, b"GET /a HTTP/1.1\r\n"))):
        eventually(f"reaped for {kind}", lambda: node.metric("brink_reaped_total", kind=kind) >= (1500 if kind == "idle" else 300), timeout=30)
    for sock in socks:
        sock.close()
    assert node.get("/a").x_cache == "HIT"


if __name__ == "__main__":
    main()
