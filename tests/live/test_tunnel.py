"""Connections that change their protocol (RFC 9110 7.8): WebSocket and other upgrades through the edge to the origin, and
everything that must not become a tunnel."""
import base64
import hashlib
import struct

from harness import *

FRESH = {"Cache-Control": "max-age=600"}
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 1.3
HANDSHAKE = {"Upgrade": "websocket", "Connection": "keep-alive, Upgrade", "Sec-WebSocket-Key": KEY, "Sec-WebSocket-Version": "13"}


class Tunnels:
    """An origin that is spoken to by raw sockets: serve(conn, head) runs in a thread for each connection; `heads` are all
    request heads as they came."""

    def __init__(self, serve, tls=False):
        self.serve, self.heads, self.conns = serve, [], []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.port = self.listener.getsockname()[1]
        self.url = f"http{'s' if tls else ''}://{'localhost' if tls else '127.0.0.1'}:{self.port}"
        self.context = None
        if tls:
            certificate, key = authority().certificate(["localhost", "127.0.0.1"])
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(certificate, key)
            self.context.set_alpn_protocols(["http/1.1"])
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.run, args=(sock,), daemon=True).start()

    def run(self, sock):
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.context:
                sock = self.context.wrap_socket(sock, server_side=True)
            self.conns.append(sock)
            head = b""
            while b"\r\n\r\n" not in head:
                data = sock.recv(65536)
                if not data:
                    return
                head += data
            head, _, rest = head.partition(b"\r\n\r\n")
            self.heads.append(head.decode("latin-1"))
            self.serve(sock, head.decode("latin-1"), rest)
        except OSError:
            pass
        finally:
            sock.close()

    def field(self, name, head=-1):
        found = [line.split(":", 1)[1].strip() for line in self.heads[head].split("\r\n")[1:] if line.lower().startswith(name + ":")]
        return ", ".join(found) if found else None


def agree(sock, protocol="websocket", more=""):
    sock.sendall(f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: {protocol}\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {ACCEPT}\r\n{more}\r\n"
                 .encode())


def echo(sock, head, rest):
    """Agrees, then says everything again until the other side is done."""
    agree(sock)
    while True:
        data = rest or sock.recv(65536)
        rest = b""
        if not data:
            return
        sock.sendall(data)


def receive(sock, n):
    data = b""
    while len(data) < n:
        more = sock.recv(min(1 << 20, n - len(data)))
        assert more, f"ended after {len(data)} of {n} bytes"
        data += more
    return data


def frame(payload, opcode=2):
    """A WebSocket frame as clients send it (RFC 6455 5.2)."""
    n, mask = len(payload), b"\x11\x22\x33\x44"
    head = struct.pack("!BB", 0x80 | opcode, 0x80 | n) if n < 126 else struct.pack("!BBH", 0x80 | opcode, 0xfe, n) if n < 65536 else \
        struct.pack("!BBQ", 0x80 | opcode, 0xff, n)
    return head + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


def opened(node, path="/ws", headers=None, tls=False):
    c = Conn(node.tls_port if tls else node.port, tls=tls_context(authority().pem) if tls else None)
    c.request(path, headers=HANDSHAKE if headers is None else headers)
    c.answer = c.response()
    return c


def read(c, n):
    data, c.buffer = c.buffer[:n], c.buffer[n:]
    return data + receive(c.sock, n - len(data))


def test_bytes_go_both_ways():
    origin = Tunnels(echo)
    node = Node(origins=[origin.url], tls=True, workers=1)
    for tls in (False, True):
        with opened(node, tls=tls) as c:
            r = c.answer
            assert r.status == 101 and r["upgrade"] == "websocket" and r["connection"].lower() == "upgrade", r
            assert r["sec-websocket-accept"] == ACCEPT and "content-length" not in r and "transfer-encoding" not in r, r
            assert r.own["fwd"] == "bypass" and r.own["detail"] == "upgrade" and r["x-cache"] == "BYPASS", r
            for payload in (b"hello", b"", os.urandom(300), os.urandom(200_000)):
                f = frame(payload)
                c.send(f)
                assert read(c, len(f)) == f
            assert node.metric("brink_tunnels") == 1
        eventually("it is over", lambda: node.metric("brink_tunnels") == 0)
    assert origin.field("upgrade") == "websocket" and origin.field("connection").lower() == "upgrade", origin.heads
    assert origin.field("sec-websocket-key") == KEY and origin.field("x-forwarded-for") == "127.0.0.1", origin.heads
    assert node.metric("brink_tunnels_opened_total") == 2
    logged = lambda: [line for line in node.access() if line["status"] == 101]
    lines = eventually("both are logged", lambda: len(logged()) == 2 and logged())
    assert all(line["bytes"] >= 200_300 for line in lines), lines
    assert node.metric("brink_requests_in_flight") == 0
    assert node.metric("brink_upstream_requests_total", status="101") == 2


def test_over_tls_to_the_origin():
    origin = Tunnels(echo, tls=True)
    node = Node(origins=[origin.url], site={"ca": authority().pem}, workers=1)
    with opened(node) as c:
        assert c.answer.status == 101
        body = os.urandom(3_000_000)
        sender = Later(c.send, body)
        assert read(c, len(body)) == body
        sender.result()
        c.sock.shutdown(socket.SHUT_WR)  # can't be told over TLS without ending it: both ways end
        assert c.ended()
    eventually("it is over", lambda: node.metric("brink_tunnels") == 0)


def test_a_big_transfer_and_a_slow_reader():
    """What nobody reads is not held by the node: both directions stand still, and go on."""
    origin = Tunnels(echo)
    node = Node(origins=[origin.url], workers=1, config={"limits": {"write_timeout": "60s"}})
    total, piece = 60_000_000, os.urandom(1_000_000)
    with opened(node) as c:
        before, sent = resident(node), []
        sender = Later(lambda: [sent.append(c.send(piece)) for _ in range(total // len(piece))])
        quiet = []
        eventually("nothing moves any more", lambda: quiet.append(len(sent)) or (len(quiet) > 20 and quiet[-20] == quiet[-1] > 0), step=0.05)
        grown = resident(node) - before
        # Four sockets' buffers take what they take; the node itself holds little.
        assert not sender.done and len(sent) < 40, f"{len(sent)} MB were taken although nobody read"
        assert SANITIZED or grown < 12_000_000, f"{grown} bytes for one tunnel"
        for n in range(total // len(piece)):
            assert read(c, len(piece)) == piece, n
        sender.result()
    eventually("it is over", lambda: node.metric("brink_tunnels") == 0)


def resident(node):
    with open(f"/proc/{node.pid}/statm") as f:
        return int(f.read().split()[1]) * 4096


def test_half_close():
    def count(sock, head, rest):
        agree(sock, "tcp")
        n = len(rest)
        while (data := sock.recv(65536)):
            n += len(data)
        sock.sendall(f"{n} bytes, and ".encode())
        time.sleep(0.3)
        sock.sendall(b"goodbye")

    origin = Tunnels(count)
    node = Node(origins=[origin.url], site={"upgrade": ["tcp"]}, workers=1)
    with opened(node, headers={"Upgrade": "tcp", "Connection": "upgrade"}) as c:
        assert c.answer.status == 101
        c.send(b"x" * 100_000)
        c.sock.shutdown(socket.SHUT_WR)
        expected = b"100000 bytes, and goodbye"
        assert read(c, len(expected)) == expected
        assert c.ended()
    eventually("it is over", lambda: node.metric("brink_tunnels") == 0)

    # The other way round: what the origin said last arrives although the client goes on sending.
    def leaves(sock, head, rest):
        agree(sock)
        sock.recv(1)
        sock.sendall(b"last words")

    origin = Tunnels(leaves)
    node = Node(origins=[origin.url], workers=1)
    with opened(node) as c:
        c.send(b"x" * 10)
        assert read(c, 10) == b"last words"
        assert c.ended()
    eventually("it is over", lambda: node.metric("brink_tunnels") == 0)


def test_an_origin_that_refuses():
    kind = {}

    def refuse(sock, head, rest):
        if kind["how"] == "length":
            sock.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\nX-A: b\r\n\r\nno!")
        elif kind["how"] == "chunked":
            sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: max-age=600\r\n\r\n5\r\nhello\r\n6\r\n there\r\n0\r\nT: a\r\n\r\n")
        elif kind["how"] == "close":
            sock.sendall(b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nuntil the end")
        elif kind["how"] == "empty":
            sock.sendall(b"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n")
        elif kind["how"] == "big":
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n" + b"b" * 5_000_000)

    origin = Tunnels(refuse)
    node = Node(origins=[origin.url], workers=1)
    cases = (("length", 403, b"no!"), ("chunked", 200, b"hello there"), ("close", 426, b"until the end"), ("big", 200, b"b" * 5_000_000),
             ("length", 403, b"no!"))
    with node.conn() as c:  # all on one connection: it stays one of HTTP/1.1
        for how, status, body in cases:
            kind["how"] = how
            c.request("/ws", headers=HANDSHAKE)
            r = c.response()
            assert r.status == status and r.body == body and "upgrade" not in r, (how, r)
    kind["how"] = "empty"
    r = node.get("/ws", headers=dict(HANDSHAKE, **{"If-None-Match": '"a"'}))
    assert r.status == 304, r
    kind["how"] = "chunked"  # nothing of it was stored
    n = len(origin.heads)
    assert node.get("/ws", headers=HANDSHAKE).x_cache == "BYPASS" and len(origin.heads) == n + 1
    assert node.metric("brink_tunnels_opened_total") == 0


def test_answers_that_are_none():
    answer = {}

    def odd(sock, head, rest):
        if "GET /good" in head:
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        sock.sendall(answer["text"])
        time.sleep(0.2)

    origin = Tunnels(odd)
    node = Node(origins=[origin.url], workers=1, config={"upstream": {"retries": 0, "first_byte_timeout": "5s"}})
    good = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    for text in (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
                 b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket, h2c\r\nConnection: Upgrade\r\n\r\n",
                 b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n",
                 b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
                 b"HTTP/1.0 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
                 good + b"Content-Length: 0\r\n\r\n", good + b"Transfer-Encoding: chunked\r\n\r\n", good + b"X : a\r\n\r\n",
                 b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", b"rubbish\r\n\r\n",
                 b"HTTP/1.1 101 " + b"x" * 100_000):
        answer["text"] = text
        r = node.get("/ws", headers=HANDSHAKE)
        assert r.status == 502, (text[:200], r)
        assert [node.get(f"/good{n}").status for n in range(2)] == [200, 200]  # so it stays in
    # One that was cut in the middle is cut for the client.
    for text in (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"):
        answer["text"] = text
        try:
            assert False, node.get("/ws", headers=HANDSHAKE)
        except Incomplete as cut:
            assert cut.response.status == 200


def test_what_is_not_let_through():
    """Upgrade that is ignored leaves a request like any other: the origin never sees the word, and the cache does its work."""
    def plain(sock, head, rest):
        body = b"cached" if "POST" not in head.split("\r\n")[0] else b"posted"
        sock.sendall(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: 6\r\nConnection: close\r\n\r\n" + body)

    origin = Tunnels(plain)
    node = Node(origins=[origin.url], workers=1)
    n = 0
    websocket = {k: v for k, v in HANDSHAKE.items()}
    for headers in (
            {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings", "HTTP2-Settings": "AAMAAABkAARAAAAAAAIAAAAA"},
            {"Upgrade": "h2c", "Connection": "Upgrade", "HTTP2-Settings": "AAMAAABkAARAAAAAAAIAAAAA"},  # the smuggler's forms
            {"Upgrade": "h2c", "Connection": "HTTP2-Settings", "HTTP2-Settings": "AAMAAABkAARAAAAAAAIAAAAA"},
            {"Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAARAAAAAAAIAAAAA"},
            {"Upgrade": "TLS/1.0", "Connection": "upgrade"},
            {"Upgrade": "tcp", "Connection": "upgrade"},
            {"Upgrade": "websocket, x", "Connection": "keep-alive"} | {k: websocket[k] for k in ("Sec-WebSocket-Key", "Sec-WebSocket-Version")},
            dict(websocket, **{"Sec-WebSocket-Version": "777"}),
            {k: v for k, v in websocket.items() if k != "Sec-WebSocket-Key"}):
        n += 1
        r = node.get(f"/{n}", headers=headers)
        assert r.status == 200 and r.x_cache == "MISS" and "upgrade" not in r, (headers, r)
        assert origin.field("upgrade") is None and origin.field("http2-settings") is None, origin.heads[-1]
        assert "upgrade" not in (origin.field("connection") or "").lower(), origin.heads[-1]
        assert node.get(f"/{n}", headers=headers).x_cache == "HIT", headers
    # HTTP/1.0 has no Upgrade, HTTP/2 no connection to change.
    with node.conn() as c:
        c.request("/old", headers=HANDSHAKE, version="HTTP/1.0")
        assert c.response().status == 200 and origin.field("upgrade") is None
    with node.h2(tls=False) as c:
        s = c.h2.get_next_available_stream_id()
        c.h2.config.validate_outbound_headers = c.h2.config.normalize_outbound_headers = False
        c.h2.send_headers(s, [(":method", "GET"), (":scheme", "http"), (":authority", "test.example"), (":path", "/h2"), ("upgrade", "websocket")],
                          end_stream=True)
        c._flush()
        before = len(origin.heads)
        try:
            assert c.response(s).status in (200, 400)
        except Incomplete:
            pass
        assert len(origin.heads) == before or origin.field("upgrade") is None
    # A POST offers websocket in vain; and with [] nothing goes.
    assert node.get("/p", method="POST", body=b"a", headers=HANDSHAKE).body == b"posted" and origin.field("upgrade") is None
    none = Node(origins=[origin.url], site={"upgrade": []}, workers=1)
    assert none.get("/a", headers=HANDSHAKE).x_cache == "MISS" and origin.field("upgrade") is None
    # Of several only the permitted one goes on.
    node.get("/several", headers=dict(HANDSHAKE, Upgrade="h2c, websocket, TLS/1.2"))
    assert origin.field("upgrade") == "websocket", origin.heads[-1]


def test_requests_behind_an_upgrade_are_requests():
    """What comes behind the head before anything was agreed on is HTTP, and never goes up as the tunnel's first bytes."""
    def agrees(sock, head, rest):
        if "upgrade:" in head.lower():
            return echo(sock, head, rest)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nplain")

    origin = Tunnels(agrees)
    node = Node(origins=[origin.url], workers=1)
    head = "GET /ws HTTP/1.1\r\nHost: test.example\r\n" + "".join(f"{k}: {v}\r\n" for k, v in HANDSHAKE.items()) + "\r\n"
    with node.conn() as c:
        c.send(head + "GET /admin HTTP/1.1\r\nHost: test.example\r\n\r\n")
        for _ in range(2):
            r = c.response("GET")
            assert r.status == 200 and r.body == b"plain", r
    with node.conn() as c:
        c.send(head + "GET /admin HT")  # the beginning of one
        assert c.response("GET").status == 200
        c.send("TP/1.1\r\nHost: test.example\r\n\r\n")
        assert c.response("GET").status == 200
    with node.conn() as c:
        c.send("GET /first HTTP/1.1\r\nHost: test.example\r\n\r\n" + head)  # the last of several may change the connection
        assert c.response("GET").body == b"plain"
        assert c.response("GET").status == 101
        c.send(b"now raw")
        assert read(c, 7) == b"now raw"
    assert not any("raw" in h for h in origin.heads)


def test_idle_tunnels_end():
    origin = Tunnels(echo)
    node = Node(origins=[origin.url], workers=1, config={"upstream": {"tunnel_timeout": "2s", "idle_timeout": "200ms", "total_timeout": "1s"}})
    with opened(node) as c:
        began = time.monotonic()
        for _ in range(7):
            time.sleep(0.4)
            c.send(b"x")
            assert read(c, 1) == b"x"
        assert time.monotonic() - began > 2
        assert c.ended(30)
    assert node.metric("brink_tunnels_idle_total") == 1 and node.metric("brink_tunnels") == 0
    eventually("the origin's side is closed", lambda: origin.conns[0].fileno() == -1)


def test_either_end_may_break():
    origin = Tunnels(echo)
    node = Node(origins=[origin.url], workers=1)
    for _ in range(5):
        with opened(node) as c:
            c.send(b"x")
            assert read(c, 1) == b"x"
            c.reset()
        with opened(node) as c:
            c.send(b"x")
            assert read(c, 1) == b"x"
            peer = origin.conns[-1]
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            peer.shutdown(socket.SHUT_RD)
            peer.close()
            try:
                c.sock.settimeout(20)
                c.send(b"y" * 100)
                assert c.sock.recv(100) == b""
            except ConnectionError:
                pass
    eventually("all are over", lambda: node.metric("brink_tunnels") == 0)
    # How a tunnel ends says nothing of the origin's health.
    assert node.metric("brink_upstream_healthy") == 1 and node.metric("brink_upstream_errors_total") == 0
    eventually("the origin's sides are closed", lambda: all(s.fileno() == -1 for s in origin.conns))


def test_they_count_among_what_is_in_flight():
    origin = Tunnels(echo)
    node = Node(origins=[origin.url], workers=1, config={"upstream": {"max_in_flight": 3, "max_queue": 0}})
    held = [opened(node) for _ in range(3)]
    assert all(c.answer.status == 101 for c in held) and node.metric("brink_requests_in_flight") == 3
    r = node.get("/ws", headers=HANDSHAKE)
    assert r.status == 503 and r["retry-after"], r
    held[0].close()
    eventually("there is a place again", lambda: node.metric("brink_tunnels") == 2)
    with opened(node) as c:
        assert c.answer.status == 101
    node.purge(everything=True)  # is not about tunnels
    held[1].send(b"still")
    assert read(held[1], 5) == b"still"


def test_a_stop_leaves_them_the_drain_time():
    origin = Tunnels(echo)
    node = Node(origins=[origin.url], workers=1, config={"drain": "4s"})

    def refused():
        try:
            node.conn().close()
        except ConnectionRefusedError:
            return True

    with opened(node) as c, opened(node) as busy:
        stop = Later(node.stop)
        eventually("it is stopping", refused)
        c.send(b"still here")
        assert read(c, 10) == b"still here"
        began = time.monotonic()
        assert c.ended(30), "it outlived the drain time"
        stop.result()
        assert busy.ended(5)
    assert time.monotonic() - began < 15 * SLOW


def test_a_reload_leaves_them():
    origin = Tunnels(echo)
    node = Node(origins=[origin.url], workers=1)
    with opened(node) as c:
        node.config["sites"][0]["upgrade"] = []
        node.write()
        os.kill(node.pid, signal.SIGHUP)
        eventually("it is reloaded", lambda: node.metric("brink_reloads_total") == 1)
        c.send(b"on")
        assert read(c, 2) == b"on"
    eventually("no new one", lambda: opened_status(node) != 101)


def opened_status(node):
    with opened(node) as c:
        return c.answer.status


def test_past_the_shield_or_through_it():
    origin = Tunnels(echo)
    shield = Node(origins=[origin.url], name="shield-1", tier=True, workers=1)
    edge = Node(origins=[origin.url], name="edge-1", shield=[shield], workers=1)
    only = Node(origins=[origin.url], name="edge-2", shield=[f"h2c://127.0.0.1:{shield.port}"], workers=1,
                config={"shield": {"fallback": "none"}})
    for node, through in ((edge, 0), (only, 1)):
        with opened(node) as c:
            assert c.answer.status == 101 and len(c.answer.cache_status) == 1 + through, c.answer
            assert shield.metric("brink_tunnels") == through
            body = os.urandom(500_000)
            sender = Later(c.send, body)
            assert read(c, len(body)) == body
            sender.result()
        eventually("it is over", lambda: shield.metric("brink_tunnels") == 0 and node.metric("brink_tunnels") == 0)
    assert origin.field("x-forwarded-for") == "127.0.0.1, 127.0.0.1", origin.heads[-1]


def test_what_can_be_configured():
    for value, wrong in ((["h2c"], True), (["HTTP/2.0"], True), (["a b"], True), (["websocket", "chat/2.0"], False), ([], False)):
        node = Node(origins=["http://127.0.0.1:1"], site={"upgrade": value}, start=False)
        code, text = node.check()
        assert (code == 2) == wrong and (not wrong or "can't be tunnelled" in text), (value, text)


def test_with_a_library_of_others():
    import asyncio
    import websockets

    async def run():
        async def handler(connection, *_):
            async for message in connection:
                await connection.send(message)
        async with websockets.serve(handler, "127.0.0.1", 0, max_size=None) as server:
            port = server.sockets[0].getsockname()[1]
            node = await asyncio.to_thread(lambda: Node(origins=[f"http://127.0.0.1:{port}"], workers=1))
            async with websockets.connect(f"ws://127.0.0.1:{node.port}/chat", max_size=None) as ws:
                for message in ("text", b"bytes", os.urandom(2_000_000), ""):
                    await ws.send(message)
                    assert await ws.recv() == message
                await (await ws.ping())
    asyncio.run(run())


if __name__ == "__main__":
    main()
