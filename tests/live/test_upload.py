"""Request bodies: what a site accepts is known before the client is told to send it (Expect, RFC 9110 10.1.1), over
HTTP/1.1 and HTTP/2, and all bodies together have a ceiling."""
from harness import *

SMALL, LARGE = "small.example", "large.example"


def started(**config):
    origin = Origin()
    origin.on("*", lambda r: Reply(f"{r.method} {len(r.body)}".encode()))
    node = Node(sites=[{"hosts": [SMALL], "origins": [origin.url], "max_body": 1000},
                       {"hosts": [LARGE], "origins": [origin.url], "max_body": "2MiB"}],
                workers=1, tls=True, config=config or None)
    return origin, node


def http1(node, host, length, expect=True, framing=None):
    """Sends a head; (the connection, the first head that comes back, or None if nothing does for a while)."""
    c = node.conn(timeout=30)
    c.send(f"POST /up HTTP/1.1\r\nHost: {host}\r\n{'Expect: 100-continue' if expect else 'X-A: b'}\r\n"
           f"{framing or f'Content-Length: {length}'}\r\n\r\n")
    c.method = "POST"
    return c


def test_http1_no_100_before_a_413():
    origin, node = started()
    for host, length in ((SMALL, 1001), (LARGE, (2 << 20) + 1), (LARGE, 1 << 40)):
        with http1(node, host, length) as c:
            r = c.head()
            assert r.status == 413 and r["connection"] == "close", r
            assert c.ended()
    # The authority of an absolute target counts, not Host.
    with node.conn() as c:
        c.send(f"POST http://{SMALL}/up HTTP/1.1\r\nHost: {LARGE}\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n")
        assert c.head().status == 413
    assert origin.count() == 0
    for host, length in ((SMALL, 1000), (LARGE, 1001), (LARGE, 2 << 20)):
        with http1(node, host, length) as c:
            r = c.head()
            assert r.status == 100, r
            c.send(b"x" * length)
            assert c.response().body == f"POST {length}".encode()
    # Of a body whose length nobody tells: as soon as it is too much.
    with http1(node, SMALL, 0, framing="Transfer-Encoding: chunked") as c:
        assert c.head().status == 100
        c.send(b"3e8\r\n" + b"x" * 1000 + b"\r\n")
        time.sleep(0.1)
        c.send(b"1\r\n")
        assert c.head().status == 413
    assert origin.count() == 3


def test_http1_a_large_body_without_expect_gets_its_413():
    origin, node = started()
    body = b"x" * 20_000_000
    for _ in range(3):
        r = node.get("/up", method="POST", body=body, host=SMALL)
        assert r.status == 413, r
    assert origin.count() == 0 and node.metric("brink_refused_requests_total") >= 3


def h2_head(c, host, fields, end=False):
    stream = c.h2.get_next_available_stream_id()
    c.h2.send_headers(stream, [(":method", "POST"), (":scheme", c.scheme), (":authority", host), (":path", "/up")] + fields, end_stream=end)
    c._flush()
    return stream


def until(c, stream, done):
    while not done():
        assert c.turn(), f"the connection ended (GOAWAY {c.goaway})"


def test_http2_no_100_before_a_413():
    origin, node = started()
    for tls in (False, True):
        with node.h2(tls=tls) as c:
            for host, length in ((SMALL, 1001), (LARGE, (2 << 20) + 1)):
                for expect in ([("expect", "100-continue")], []):
                    s = h2_head(c, host, [("content-length", str(length))] + expect)
                    until(c, s, lambda: s in c.ends)
                    assert c.responses[s].status == 413 and not c.responses[s].interim, c.responses[s]
                    until(c, s, lambda: s in c.resets)
                    assert c.resets[s] == 0, "closed for an error"
            for host, length in ((SMALL, 1000), (LARGE, 1001)):
                s = h2_head(c, host, [("content-length", str(length)), ("expect", "100-continue")])
                until(c, s, lambda: s in c.responses)
                assert [i.status for i in c.responses[s].interim] == [100], c.responses[s]
                c.h2.send_data(s, b"x" * length, end_stream=True)
                c._flush()
                assert c.response(s).body == f"POST {length}".encode()


def test_http2_a_body_that_turns_out_too_large():
    origin, node = started()
    with node.h2() as c:
        for round_ in range(30):  # what is on its way when it is refused is no flood, and the window stays open
            s = h2_head(c, SMALL, [])
            for _ in range(15):
                if s in c.ends:
                    break
                c.h2.send_data(s, b"x" * 2000)
                c._flush()
            until(c, s, lambda: s in c.ends)
            assert c.responses[s].status == 413
        big = b"y" * 900_000
        assert c.response(c.send("/up", "POST", body=big, host=LARGE)).body == b"POST 900000"
        assert c.goaway is None
    assert node.metric("brink_floods_total") == 0


def test_bodies_that_have_gone_count_no_more():
    """The ceiling is of what is held, not of what comes within a second."""
    origin, node = started(limits={"body_memory": "1MiB"})
    body = b"x" * 300_000
    with node.conn() as h1, node.h2() as h2:
        for i in range(12):
            h1.request("/up", "POST", body=body, host=LARGE)
            assert h1.response().status == 200, i
            assert h2.response(h2.send("/up", "POST", body=body, host=LARGE)).status == 200, i
    assert node.metric("brink_floods_total") == 0


def test_all_bodies_together_have_a_ceiling():
    origin, node = started(limits={"body_memory": "3MiB"})
    held = []
    for _ in range(2):
        c = http1(node, LARGE, 1_400_000)
        assert c.head().status == 100
        c.send(b"x" * 1_300_000)
        held.append(c)

    def refused():
        with http1(node, LARGE, 2_000_000) as c:
            return c.head().status == 503

    eventually("what came is counted", refused)
    with http1(node, LARGE, 2_000_000) as c:
        r = c.head()
        assert r.status == 503, r
    with node.h2() as c:
        s = h2_head(c, LARGE, [("content-length", "2000000"), ("expect", "100-continue")])
        until(c, s, lambda: s in c.ends)
        assert c.responses[s].status == 503 and not c.responses[s].interim, c.responses[s]
    for c in held:
        c.send(b"x" * 100_000)
        assert c.response().body == b"POST 1400000"
        c.close()
    eventually("there is room again", lambda: node.get("/up", method="POST", body=b"x" * 1_900_000, host=LARGE).status == 200)


class SlowReader:
    """An origin behind a thin line: takes a body at some 5 MB/s, then answers how much it was."""

    def __init__(self):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(5)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.asked = 0
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            sock, _ = self.listener.accept()
            self.asked += 1
            threading.Thread(target=self.take, args=(sock,), daemon=True).start()

    def take(self, sock):
        with sock:
            got = b""
            while b"\r\n\r\n" not in got:
                got += sock.recv(65536)
            head, rest = got.split(b"\r\n\r\n", 1)
            length, n, piece = int(re.search(rb"(?i)content-length: (\d+)", head)[1]), len(rest), b"x"
            while n < length and piece:
                piece = sock.recv(131072)
                n += len(piece)
                time.sleep(len(piece) / 5e6)
            try:
                sock.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(str(n))}\r\n\r\n{n}".encode())
            except OSError:  # given up meanwhile
                pass


def test_an_upload_that_moves_is_waited_for():
    """The time for the first byte of an answer begins when the request has been sent, however long that takes."""
    origin, body = SlowReader(), b"x" * 25_000_000
    more = {"site": {"max_body": "64MiB"}, "config": {"upstream": {"first_byte_timeout": "3s", "connect_timeout": "1s"}}}
    shield = Node(origins=[origin.url], name="shield-1", tier=True, **more)  # the edge's line to it is thick
    nodes = [Node(origins=[origin.url], **more), Node(origins=[origin.url], shield=[shield], **more)]
    for r in [later.result() for later in [Later(node.get, "/up", method="POST", body=body, timeout=60) for node in nodes]]:
        assert (r.status, r.body) == (200, b"25000000"), r
    assert origin.asked == 2


if __name__ == "__main__":
    main()
