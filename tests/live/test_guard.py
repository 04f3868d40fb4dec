"""What a hostile client may do to the server, frame by frame and byte by byte. The server under test is serve_probe: edge/serve alone,
so that sizes, timeouts and the guard itself can be set. Every attack here does harm to the library without the guard."""
import struct

from hpack import Decoder, Encoder

from harness import *

PROBE = os.path.join(BUILD, "tests", "serve_probe")
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8
CALM = 11


class Probe:
    def __init__(self, *options, addresses=("127.0.0.1:0",), expect_death=False, argv=()):
        self.folder = temp_dir()
        self.process = Process("serve_probe", [*argv, PROBE, *options, *addresses], self.folder, graceful=not expect_death)
        self.process.killed = expect_death
        eventually("the probe listens", lambda: "ports" in self.process.stdout or not self.process.alive)
        ports = re.search(r"ports(.*)", self.process.stdout)
        self.ports = [int(p) for p in ports[1].split()] if ports else []

    @property
    def port(self):
        return self.ports[0]

    def stats(self, target=None, **more):
        return {k: int(v) for k, v in (line.split() for line in fetch(target or self.port, "/stats", **more).text.splitlines())}

    def lives(self):
        assert self.process.alive, f"the server died: {tail(self.process.log)}"
        assert fetch(self.port, "/b/5").body == b"xxxxx"


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def setting(key, value):
    return struct.pack(">HI", key, value)


class Raw:
    """An HTTP/2 connection in cleartext that sends just what it is told."""

    def __init__(self, port, settings=b"", receive_buffer=0, preface=True):
        self.sock = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(20)
        self.sock.connect(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.encoder, self.decoder, self.buffer = Encoder(), Decoder(), b""
        if preface:
            self.send(PREFACE + frame(SETTINGS, payload=settings))

    def send(self, data):
        """False if the other side has closed."""
        try:
            self.sock.sendall(data)
            return True
        except OSError:
            return False

    def block(self, path="/b/5", method="GET", extra=(), scheme="http", authority="test.example"):
        pseudo = [(":method", method), (":scheme", scheme), (":path", path), (":authority", authority)]
        return self.encoder.encode([p for p in pseudo if p[1] is not None] + list(extra), huffman=False)

    def request(self, stream, path="/b/5", end=True, **more):
        return self.send(frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, self.block(path, **more)))

    def frames(self, until=lambda f: False, timeout=10):
        """Reads frames up to the one that `until` accepts, or to the end of the connection."""
        end, seen = time.monotonic() + timeout * SLOW, []
        while time.monotonic() < end:
            while len(self.buffer) >= 9:
                size = int.from_bytes(self.buffer[:3], "big")
                if len(self.buffer) < 9 + size:
                    break
                f = (self.buffer[3], self.buffer[4], int.from_bytes(self.buffer[5:9], "big"), self.buffer[9:9 + size])
                self.buffer = self.buffer[9 + size:]
                seen.append(f)
                if f[0] == HEADERS:
                    assert f[1] & END_HEADERS
                    seen[-1] = f[:3] + (self.decoder.decode(f[3]),)
                if until(f):
                    return seen
            self.sock.settimeout(max(0.01, end - time.monotonic()))
            try:
                data = self.sock.recv(1 << 18)
            except socket.timeout:
                break
            except OSError:
                data = b""
            if not data:
                return seen + [None]
            self.buffer += data
        raise AssertionError(f"nothing came in time; so far {[f[:3] for f in seen][-50:]}")

    def answer(self, stream):
        """(status or None, fields, body, error code of RST_STREAM or None)"""
        seen = self.frames(lambda f: f[2] == stream and (f[0] == RST or (f[0] in (DATA, HEADERS) and f[1] & END_STREAM)))
        assert seen[-1] is not None, f"the connection ended: {[(f or [])[:3] for f in seen][-50:]}, {seen[-2:]!r:.500}"
        fields = [f[3] for f in seen if f[0] == HEADERS and f[2] == stream]
        body = b"".join(f[3] for f in seen if f[0] == DATA and f[2] == stream)
        error = int.from_bytes(seen[-1][3], "big") if seen[-1][0] == RST else None
        return int(dict(fields[-1])[":status"]) if fields else None, fields, body, error

    def goaway(self):
        """The error code of the GOAWAY that must come, with the connection's end after it."""
        codes = [int.from_bytes(f[3][4:8], "big") for f in self.frames() if f is not None and f[0] == GOAWAY]
        assert codes, "closed without GOAWAY"
        return codes[-1]


# ---- HTTP/2 ----

def reopen_window(probe):
    """A stream is finished, its last bytes are stuck in the socket, and its window, just used up, is opened again."""
    size = 60000
    c = Raw(probe.port, settings=setting(4, size), receive_buffer=2048)
    c.request(1, f"/b/{size}")
    time.sleep(0.3)
    c.send(frame(WINDOW, 0, 1, struct.pack(">I", 1000)))
    time.sleep(0.3)
    return c


def test_window_of_a_finished_stream_reopened_by_window_update():
    probe = Probe("-s", "2048")
    c = reopen_window(probe)
    assert len(c.answer(1)[2]) == 60000
    probe.lives()


def test_window_of_a_finished_stream_reopened_by_settings():
    probe = Probe("-s", "2048")
    c = Raw(probe.port, settings=setting(4, 60000), receive_buffer=2048)
    c.request(1, "/b/60000")
    time.sleep(0.3)
    c.send(frame(SETTINGS, payload=setting(4, 1)) + frame(SETTINGS, payload=setting(4, 60000)) +
           frame(SETTINGS, payload=setting(4, 65535)))
    assert len(c.answer(1)[2]) == 60000
    probe.lives()


def test_without_the_guard_the_same_kills_the_server():
    probe = Probe("-u", "-s", "2048", expect_death=True)
    reopen_window(probe)
    eventually("the unguarded server dies", lambda: not probe.process.alive)
    assert "Assertion" in probe.process.log
    probe.process.gone()


def test_continuation_after_goaway_does_not_spin():
    probe = Probe()
    c = Raw(probe.port)
    c.request(1, "/hold")
    c.request(3, "/echo", end=False, method="POST")
    time.sleep(0.2)
    c.send(frame(HEADERS, END_STREAM, 3, b""))    # trailers, not ended
    fetch(probe.port, "/drain")
    c.frames(lambda f: f[0] == GOAWAY and f[3][:4] != b"\x7f\xff\xff\xff")
    c.send(frame(CONTINUATION, 0, 3, b"\0"))
    assert c.frames()[-1] is None
    probe.process.wait(20)


def flood(kind, attack, options=(), code=CALM):
    probe = Probe(*options)
    c = Raw(probe.port)
    attack(c)
    assert c.goaway() == code
    stats = probe.stats()
    assert stats[f"flood.{kind}"] == 1, stats
    probe.lives()


def test_rapid_reset():
    def attack(c):
        for i in range(1, 2000, 2):
            if not (c.request(i, "/hold") and c.send(frame(RST, 0, i, b"\0\0\0\x08"))):
                break
    flood("reset", attack)


def test_streams_that_the_server_is_made_to_reset():
    def attack(c):
        for i in range(1, 2000, 2):
            if not (c.request(i, "/hold") and c.send(frame(WINDOW, 0, i, b"\0\0\0\0"))):
                break
    flood("stream_error", attack)


def test_uploads_of_the_wrong_length():
    def attack(c):
        for i in range(1, 2000, 2):
            if not (c.request(i, end=False, method="POST", extra=[("content-length", "5")]) and
                    c.send(frame(DATA, END_STREAM, i, b"abc"))):
                break
    flood("stream_error", attack)


def test_ping_flood():
    flood("ping", lambda c: c.send(frame(PING, payload=b"12345678") * 1000))


def test_settings_flood():
    flood("settings", lambda c: c.send(frame(SETTINGS) * 1000))


def test_settings_ack_flood():
    flood("settings", lambda c: c.send(frame(SETTINGS, ACK) * 1000))


def test_priority_flood():
    flood("priority", lambda c: c.send(frame(PRIORITY, 0, 1, b"\0\0\0\0\x10") * 1000))


def test_window_update_flood():
    flood("window_update", lambda c: c.send(frame(WINDOW, 0, 0, b"\0\0\0\x01") * 1000))


def test_empty_data_flood():
    def attack(c):
        c.request(1, end=False, method="POST")
        c.send(frame(DATA, 0, 1) * 1000)
    flood("empty_data", attack)


def test_padded_data_flood():
    def attack(c):
        c.request(1, end=False, method="POST")
        c.send(frame(DATA, PADDED, 1, b"\xff" + bytes(255)) * 1000)
    flood("empty_data", attack)


def test_continuation_flood():
    def attack(c):
        c.send(frame(HEADERS, END_STREAM, 1, c.block()))
        c.send(frame(CONTINUATION, 0, 1, b"\0\1a\1b" * 20) * 1000)
    flood("continuation", attack)


def test_empty_continuation_flood():
    def attack(c):
        c.send(frame(HEADERS, END_STREAM, 1, c.block()))
        c.send(frame(CONTINUATION, 0, 1) * 1000)
    flood("continuation", attack)


def test_unknown_frames():
    flood("unknown_frame", lambda c: c.send(frame(0xbe, 0, 0, b"grease") * 1000))


def test_header_block_too_large():
    def attack(c):
        c.send(frame(HEADERS, END_STREAM, 1, c.block()))
        for _ in range(7):
            c.send(frame(CONTINUATION, 0, 1, (b"\0\x01a\x7f\x81\x7d" + b"b" * 16384)[:16384]))
    flood("headers", attack)


def test_a_few_unknown_frames_are_ignored_and_not_printed():
    probe = Probe()
    c = Raw(probe.port)
    c.send(frame(0xbe, 0xff, 0, b"grease") * 5)
    c.request(1)
    assert c.answer(1)[0] == 200
    assert "skipping" not in probe.process.log


def test_unknown_frame_within_a_header_block():
    probe = Probe()
    c = Raw(probe.port)
    c.send(frame(HEADERS, END_STREAM, 1, c.block()) + frame(0xbe))
    assert c.goaway() == 1
    probe.lives()


def test_header_bomb_is_431_and_costs_the_sender():
    probe = Probe()
    c = Raw(probe.port)
    c.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, c.block(extra=[("x-bomb", "b" * 3000)])))
    assert c.answer(1)[0] == 200
    bomb = c.block(extra=[("x-bomb", "b" * 3000)])
    for i in range(500):
        stream = 3 + 2 * i
        if not c.send(frame(HEADERS, END_STREAM | END_HEADERS, stream, bomb + bytes([0xbe]) * 12000)):
            break
    seen = c.frames()
    statuses = [dict(f[3])[":status"] for f in seen if f is not None and f[0] == HEADERS]
    assert set(statuses) == {"431"} and len(statuses) > 20, statuses
    assert [f for f in seen if f is not None and f[0] == GOAWAY][-1][3][4:8] == b"\0\0\0\x0b"
    probe.lives()


def test_malformed_requests_over_http2():
    probe = Probe("-b", "100000")
    c = Raw(probe.port)
    cases = [
        (dict(path=""), 400), (dict(path="a"), 400), (dict(path="/a b"), 400), (dict(path="/a#b"), 400),
        (dict(path="/\x7f"), 400), (dict(method="G T"), 400), (dict(method=""), 400), (dict(path="*"), 400),
        (dict(authority=None), 400), (dict(authority="a b"), 400), (dict(authority="u@a"), 400), (dict(authority="a/b"), 400),
        (dict(extra=[("x-a", "b\0c")]), 400), (dict(extra=[("x a", "b")]), 400), (dict(extra=[("x-a", "b\r\nc: d")]), 400),
        (dict(extra=[("content-length", "5")]), 400), (dict(path="/" + "a" * 16400), 414),
        (dict(extra=[(f"x-{i}", "v") for i in range(101)]), 431),
        (dict(path="*", method="OPTIONS"), 200), (dict(path="/echo?x"), 200),
    ]
    stream = -1
    for more, status in cases:
        stream += 2
        block = c.block(**more)
        pieces = [block[i:i + 16384] for i in range(0, len(block), 16384)]
        for i, piece in enumerate(pieces):
            c.send(frame(CONTINUATION if i else HEADERS, (0 if i else END_STREAM) | (END_HEADERS if i == len(pieces) - 1 else 0),
                         stream, piece))
        got, _, _, error = c.answer(stream)
        assert got == status, f"{more!r:.200}: {got} (RST {error})"
    for missing in (dict(method=None), dict(path=None), dict(scheme=None)):
        stream += 2
        c.request(stream, **missing)
        assert c.answer(stream)[3] == 1
    for extra in ([(":path", "/b")], [("Connection", "close")], [("connection", "close")], [("transfer-encoding", "chunked")],
                  [("te", "gzip")], [("X-Upper", "a")], [("content-length", "+5")]):
        c = Raw(probe.port)
        c.request(1, extra=extra)
        c.goaway()
    probe.lives()


def test_trailers_do_not_become_fields():
    probe = Probe()
    c = Raw(probe.port)
    for stream, split in ((1, False), (3, True)):
        c.request(stream, "/echo", end=False, method="POST", extra=[("x-real", "1")])
        c.send(frame(DATA, 0, stream, b"hello"))
        block = c.encoder.encode([("x-forged", "1"), ("authorization", "x")])
        if split:
            c.send(frame(HEADERS, END_STREAM, stream, block[:3]) + frame(CONTINUATION, END_HEADERS, stream, block[3:]))
        else:
            c.send(frame(HEADERS, END_STREAM | END_HEADERS, stream, block))
        status, _, body, _ = c.answer(stream)
        assert status == 200 and b"x-real" in body and b"body:hello" in body
        assert b"x-forged" not in body and b"authorization" not in body


def test_cookies_are_joined():
    probe = Probe()
    c = Raw(probe.port)
    c.request(1, "/echo", extra=[("cookie", "a=1"), ("x-mid", "m"), ("cookie", "b=2"), ("cookie", "c=3")])
    body = c.answer(1)[2]
    assert b"[cookie]=[a=1; b=2; c=3]\n[x-mid]=[m]\n" in body, body


def test_fields_are_compressed_only_when_they_repeat():
    probe = Probe()
    c = Raw(probe.port)
    sizes = []
    original = c.decoder.decode
    c.decoder.decode = lambda block: (sizes.append(len(block)), original(block))[1]
    for stream in (1, 3, 5, 7):
        c.request(stream, "/b/5")
        assert c.answer(stream)[0] == 200
    assert sizes[2] < sizes[0] and sizes[3] <= sizes[2], sizes
    names = [name for name, _ in c.decoder.header_table.dynamic_entries]
    assert b"content-type" in names and b"content-length" not in names and b"set-cookie" not in names


def test_header_table_size_of_the_peer_is_obeyed():
    probe = Probe()
    c = Raw(probe.port)
    for stream in (1, 3, 5):
        c.request(stream)
        assert c.answer(stream)[0] == 200
    assert len(c.decoder.header_table.dynamic_entries) > 0
    stream = 7
    for size in (0, 4096, 100, 65536):
        c.send(frame(SETTINGS, payload=setting(1, size)))
        c.frames(lambda f: f[0] == SETTINGS and f[1] & ACK)
        c.decoder.max_allowed_table_size = size
        for _ in range(3):
            c.request(stream)
            status, fields, _, _ = c.answer(stream)
            assert status == 200 and dict(fields[0])["content-type"] == "application/octet-stream"
            assert c.decoder.header_table_size <= size
            stream += 2


def test_compression_survives_an_answer_of_the_library():
    probe = Probe()
    c = Raw(probe.port)
    stream = 1
    for path, extra, status in [("/b/5", (), 200)] * 3 + [("/b/5", [("x-a", "b\0c")], 400)] + [("/b/5", (), 200)] * 3:
        c.request(stream, path, extra=extra)
        got, fields, _, _ = c.answer(stream)
        assert got == status
        if status == 200:
            assert dict(fields[0])["content-type"] == "application/octet-stream" and len(fields[0]) == 4, fields
        stream += 2


def test_early_hints():
    probe = Probe()
    c = Raw(probe.port)
    c.request(1, "/hints")
    _, fields, body, _ = c.answer(1)
    assert [dict(f)[":status"] for f in fields] == ["103", "200"] and body == b"hinted"
    assert dict(fields[0]) == {":status": "103", "link": "</a.css>; rel=preload"}


def test_a_cut_response_is_reset():
    probe = Probe()
    c = Raw(probe.port)
    c.send(frame(WINDOW, 0, 0, struct.pack(">I", 1 << 24)))
    for stream, path in ((1, "/abort/60000"), (3, "/cabort/1000"), (5, "/abort/0")):
        c.request(stream, path)
        assert c.answer(stream)[3] == 2
    c.request(7)
    assert c.answer(7)[0] == 200


def test_upload_over_the_limit():
    probe = Probe("-b", "1000")
    c = Raw(probe.port)
    c.request(1, "/echo", end=False, method="POST")
    c.send(frame(DATA, END_STREAM, 1, b"a" * 1002))
    assert c.answer(1)[3] is not None
    c.request(3, "/echo", end=False, method="POST")
    c.send(frame(DATA, END_STREAM, 3, b"a" * 1000))
    assert c.answer(3)[0] == 200


def test_browsers_are_never_near_the_budgets():
    """As a page load looks: priorities, many streams, cancels of half of them, window updates, pings."""
    probe = Probe()
    c = Raw(probe.port, settings=setting(1, 65536) + setting(4, 131072))
    c.send(frame(WINDOW, 0, 0, struct.pack(">I", 12517377)))
    for i in range(3, 13, 2):
        c.send(frame(PRIORITY, 0, i, b"\0\0\0\0\xc8"))
    stream = 13
    for _ in range(3):
        batch = range(stream, stream + 200, 2)
        for s in batch:
            c.request(s, "/hold" if s % 4 == 1 else "/b/10000")
        for s in batch:
            if s % 4 == 1:
                c.send(frame(RST, 0, s, b"\0\0\0\x08"))
        for s in batch:
            if s % 4 != 1:
                c.answer(s) if s == batch[-1] else None
        c.send(frame(PING, payload=b"12345678"))
        c.frames(lambda f: f[0] == PING and f[1] & ACK)
        stream += 200
    stats = probe.stats()
    assert not any(v for k, v in stats.items() if k.startswith("flood.")), stats


# ---- HTTP/1 ----

GOOD = b"GET /b/5 HTTP/1.1\r\nHost: a\r\n\r\n"

REFUSED = [
    (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400),
    (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
    (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
    (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc", 400),
    (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", 400),
    (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\nabc", 400),
    (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc", 400),
    (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3 4\r\n\r\nabc", 400),
    (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nabc", 400),
    (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nabc", 400),
    (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999999\r\n\r\nabc", 413),
    (b"POST /echo HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", 400),
    (b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    (b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
    (b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
    (b"POST /echo HTTP/1.1\r\nHost: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX\0: a\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x7fb\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX\t: a\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\n: a\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX(: a\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a,b\r\nHost:\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
    (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
    (b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET /\r\n\r\n", 400),
    (b"GET / http/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400),
    (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"G{T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03hello\r\n\r\n", 400),
    (b"GET /" + b"a" * 17000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 101 + b"\r\n", 431),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 90000 + b"\r\n\r\n", 431),
]
CHUNKED = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
REFUSED += [(CHUNKED + body, 400) for body in (
    b"0x3\r\nabc\r\n0\r\n\r\n", b"3 \r\nabc\r\n0\r\n\r\n", b" 3\r\nabc\r\n0\r\n\r\n", b"+3\r\nabc\r\n0\r\n\r\n",
    b"3\nabc\r\n0\r\n\r\n", b"3\r\nabc\n0\r\n\r\n", b"3\r\nabcd\r\n0\r\n\r\n", b"3\r\nabc0\r\n\r\n", b"\r\n", b";a\r\n",
    b"-1\r\n\r\n", b"3;a\0\r\nabc\r\n0\r\n\r\n", b"3;a\nabc\r\n0\r\n\r\n", b"3\r\rabc", b"ffffffffffffffffffff\r\n",
    b"0\r\nX : a\r\n\r\n", b"0\r\n X: a\r\n\r\n", b"0\r\nX\r\n\r\n", b"0\r\nX: a\n\r\n", b"0\r\nX: a\0\r\n\r\n",
    b"3;" + b"a" * 5000 + b"\r\nabc\r\n0\r\n\r\n")]
REFUSED += [(CHUNKED + b"fffffff\r\n", 413)]

TAKEN = [
    (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", b"body:abc"),
    (CHUNKED + b"3\r\nabc\r\n0\r\n\r\n", b"body:abc"),
    (CHUNKED + b"003;a=b;c=\"d\"\r\nabc\r\n2\r\nde\r\n00\r\nX-Trailer: 1\r\n\r\n", b"body:abcde"),
    (CHUNKED + b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", b"body:01234567890123456789"),
    (b"\r\nGET /echo HTTP/1.1\r\nHost: a\r\n\r\n", b"target=/echo"),
    (b"GET http://b/echo HTTP/1.1\r\nHost: a\r\n\r\n", b"target=http://b/echo"),
    (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", b"target=*"),
    (b"GET /echo HTTP/1.1\r\nhOST:\ta:80 \t\r\nX-A:\t b c \r\n\r\n", b"authority=a:80"),
    (b"GET /echo HTTP/1.1\r\nHost: a\r\nX-A:\t b c \r\n\r\n", b"[x-a]=[b c]"),
    (b"GET /echo HTTP/1.1\r\nHost: [::1]:80\r\nX-Bytes: \xe4\xff\r\n\r\n", b"authority=[::1]:80"),
    (b"GET /echo HTTP/1.9\r\nHost: a\r\n\r\n", b"protocol=11"),
    (b"GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", b"protocol=10"),
]


def test_http1_refused_and_closed():
    probe = Probe()
    for data, status in REFUSED:
        with Conn(probe.port) as c:
            c.send(data)
            try:
                r = c.response()
            except Incomplete:
                raise AssertionError(f"{data[:200]!r}: no answer")
            assert r.status == status, f"{data[:200]!r}: {r.status}"
            assert c.ended(), f"{data[:200]!r}: not closed"
    assert probe.stats()["requests"] == 1
    probe.lives()


def test_http1_refused_after_requests_that_are_well():
    probe = Probe()
    for data, status in REFUSED:
        if len(data) > 60000:
            continue
        with Conn(probe.port) as c:
            c.send(GOOD + CHUNKED + b"3\r\nabc\r\n0\r\n\r\n" + GOOD + data)
            got = [c.response().status for _ in range(4)]
            assert got == [200, 200, 200, status], f"{data[:200]!r}: {got}"
            assert c.ended()


def test_http1_verdicts_do_not_depend_on_the_splits():
    probe = Probe()
    for data, status in REFUSED + [(d, 200) for d, _ in TAKEN]:
        if len(data) > 200:
            continue
        with Conn(probe.port) as c:
            for i in range(0, len(data)):
                try:
                    c.send(data[i:i + 1])
                except OSError:
                    break
                if i % 7 == 0:
                    time.sleep(0.0005)
            assert c.response().status == status, data


def test_http1_taken():
    probe = Probe()
    with Conn(probe.port) as c:
        for data, expected in TAKEN:
            c.send(data)
            r = c.response()
            assert r.status == 200 and expected in r.body, f"{data!r}: {r.body!r}"
            assert "x-trailer" not in r.text
    with Conn(probe.port) as c:
        c.send(b"".join(data for data, _ in TAKEN))
        for data, expected in TAKEN:
            assert expected in c.response().body


def test_http1_expect_continue():
    probe = Probe("-b", "1000")
    with Conn(probe.port) as c:
        for _ in range(3):
            c.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
            assert c.head().status == 100
            c.send(b"abc")
            r = c.response()
            assert b"body:abc" in r.body and b"expect" not in r.body
        c.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert c.head().status == 100
        c.send(b"0x3\r\n")       # the guard looks on after the 100 too
        assert c.response().status == 400
    with Conn(probe.port) as c:
        c.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n")
        assert c.response().status == 413


def test_http1_answers_are_framed():
    probe = Probe()
    with Conn(probe.port) as c:
        for path, size in (("/b/100000", 100000), ("/p/100000/777", 100000), ("/c/100000/777", 100000), ("/c/0/1", 0), ("/b/0", 0)):
            for method in ("GET", "HEAD"):
                c.request(path, method)
                r = c.response()
                assert len(r.body) == (size if method == "GET" else 0)
                assert len(r.all("date")) == 1 and not r.all("server")
        for status in (204, 304, 404, 500):
            c.request(f"/status/{status}")
            r = c.response()
            assert r.status == status and r["date"] == "Sun, 06 Nov 1994 08:49:37 GMT" and len(r.all("date")) == 1
            assert status != 204 or ("content-length" not in r and "transfer-encoding" not in r)
    with Conn(probe.port) as c:
        c.request("/c/100000/777", version="HTTP/1.0", headers={"Connection": "keep-alive"})
        r = c.response()
        assert len(r.body) == 100000 and "transfer-encoding" not in r and r["connection"] == "close"


def test_http1_cut_responses_look_cut():
    probe = Probe()
    for path in ("/abort/100000", "/cabort/100000"):
        with Conn(probe.port) as c:
            c.request(path)
            try:
                c.response()
                raise AssertionError("looks whole")
            except Incomplete as cut:
                assert len(cut.response.body) == 100000
    with Conn(probe.port) as c:      # only the end of the connection frames this one: it must be a reset
        c.request("/cabort/100000", version="HTTP/1.0")
        try:
            while c.sock.recv(65536):
                pass
            raise AssertionError("looks whole")
        except ConnectionResetError:
            pass


# ---- time ----

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


def closed(sock):
    try:
        return not sock.recv(65536)
    except ConnectionResetError:
        return True


def select_readable(sock):
    import select
    return bool(select.select([sock], [], [], 0)[0])


# ---- sockets and TLS ----

def cpu(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_out_of_descriptors_does_not_spin():
    probe = Probe(argv=["prlimit", "--nofile=40:40"])
    held = []
    for _ in range(60):
        try:
            held.append(Conn(probe.port, timeout=5))
        except OSError:
            break
    time.sleep(0.5)
    before = cpu(probe.process.pid)
    time.sleep(1)
    assert cpu(probe.process.pid) - before < 0.5
    for c in held:
        c.close()
    eventually("it serves again", lambda: fetch(probe.port, "/b/5").status == 200)
    assert probe.stats()["over_limit"] > 0


def test_connection_ceiling():
    probe = Probe("-n", "5")
    held = [Conn(probe.port) for _ in range(5)]
    for c in held:
        c.request("/b/5")
        assert c.response().status == 200
    with Conn(probe.port) as c:
        assert not c.more()
    held.pop().close()
    eventually("there is room again", lambda: fetch(probe.port, "/b/5").status == 200)


def test_second_process_is_told():
    probe = Probe(addresses=["127.0.0.1:0", "unix:u.sock"])
    for address in (f"127.0.0.1:{probe.port}", f"unix:{probe.folder}/u.sock"):
        child = subprocess.run([PROBE, address], capture_output=True, text=True, timeout=30)
        assert child.returncode == 1 and f"address {address} is taken: " in child.stderr, child.stderr
    assert fetch(os.path.join(probe.folder, "u.sock"), "/b/5").status == 200


def test_stale_unix_socket_is_replaced():
    folder = temp_dir()
    path = os.path.join(folder, "u.sock")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(path)
    probe = Probe("-w", "2", addresses=["127.0.0.1:0", f"unix:{path}"])
    for _ in range(10):
        r = fetch(path, "/echo")
        assert "peer=unix" in r.text and "listener=1" in r.text
    probe.process.stop()
    assert not os.path.exists(path)


def test_addresses():
    addresses = ["*:0"] + (["[::1]:0"] if have_ipv6() else [])
    probe = Probe(addresses=addresses)
    assert "peer=127.0.0.1 " in fetch(probe.ports[0], "/echo").text
    if have_ipv6():
        assert "peer=::1 " in fetch(("::1", probe.ports[0]), "/echo").text
        assert "peer=::1 " in fetch(("::1", probe.ports[1]), "/echo").text
    for bad in ("127.0.0.1", "localhost:80", "1.2.3.4:99999", "[::1", "unix:", "1.2.3.4:8o", ":"):
        child = subprocess.run([PROBE, bad], capture_output=True, text=True, timeout=30)
        assert child.returncode == 1 and child.stderr.count("\n") == 1, (bad, child.stderr)


def test_certificates():
    pairs = [authority().certificate(names) for names in (["a.example"], ["*.b.example"], ["www.b.example"])]
    options = [o for pair in pairs for o in ("-c", ",".join(pair))]
    probe = Probe("-w", "2", *options, addresses=["127.0.0.1:0", "tls:127.0.0.1:0"])
    for name, pair in (("a.example", 0), ("x.b.example", 1), ("www.b.example", 2), ("WWW.B.example", 2)):
        for alpn, protocol in ((("h2", "http/1.1"), "h2"), (("http/1.1",), "http/1.1"), ((), None)):
            c = Conn(probe.ports[1], tls=tls_context(authority().pem, alpn=alpn), sni=name)
            assert c.sock.selected_alpn_protocol() == protocol
            with open(pairs[pair][0]) as pem:
                assert c.sock.getpeercert(True) == ssl.PEM_cert_to_DER_cert(pem.read())
            c.close()
    for name in ("c.example", "b.example", "x.y.b.example"):
        c = Conn(probe.ports[1], tls=tls_context(verify=False), sni=name)
        with open(pairs[0][0]) as pem:
            assert c.sock.getpeercert(True) == ssl.PEM_cert_to_DER_cert(pem.read())
        c.close()
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        r = fetch(probe.ports[1], "/echo", tls=tls_context(authority().pem, version=version), sni="a.example")
        assert "scheme=https" in r.text
    try:
        Conn(probe.ports[1], tls=tls_context(authority().pem, alpn=("spdy/3",)), sni="a.example").close()
        raise AssertionError("taken")
    except ssl.SSLError as error:
        assert "no application protocol" in str(error), error
    # reload: another certificate under the same file names
    fresh = authority().certificate(["a.example", "new.example"])
    for old, new in zip(pairs[0], fresh):
        shutil.copyfile(new, old)
    with Conn(probe.ports[1], tls=tls_context(authority().pem), sni="a.example") as kept:
        assert fetch(probe.port, "/reload").text == "ok"
        r = fetch(probe.ports[1], "/echo", tls=tls_context(authority().pem), sni="new.example")
        assert r.status == 200
        kept.request("/b/5")
        assert kept.response().status == 200
    with open(pairs[0][1], "w") as key:
        key.write("no key\n")
    assert pairs[0][1] in fetch(probe.port, "/reload").text
    assert fetch(probe.ports[1], "/b/5", tls=tls_context(authority().pem), sni="new.example").status == 200


def test_bad_certificates_are_named():
    pem, key = authority().certificate(["a.example"])
    _, other = authority().certificate(["b.example"])
    for cert, private, sentence in ((pem, other, f"key {other} does not belong to certificate {pem}"),
                                    ("/nonexistent.pem", key, "certificate /nonexistent.pem can't be used: No such file"),
                                    (pem, "/nonexistent.key", "key /nonexistent.key can't be used: No such file"),
                                    (key, key, f"certificate {key} can't be used: it is not a PEM file of that kind"),
                                    (pem, pem, f"key {pem} can't be used: ")):
        child = subprocess.run([PROBE, "-c", f"{cert},{private}", "tls:127.0.0.1:0"], capture_output=True, text=True, timeout=30)
        assert child.returncode == 1 and sentence in child.stderr, child.stderr


def test_tls_sessions_resume_on_any_worker():
    probe = Probe("-w", "2", "-c", ",".join(authority().certificate(["localhost"])), addresses=["tls:127.0.0.1:0"])
    context = tls_context(authority().pem)
    session, reused = None, 0
    for _ in range(10):
        sock = context.wrap_socket(socket.create_connection(("127.0.0.1", probe.port), 20), server_hostname="localhost",
                                   session=session)
        sock.sendall(GOOD)
        assert b"200 OK" in sock.recv(65536)
        reused += sock.session_reused
        session = sock.session
        sock.close()
    assert reused == 9


def test_failed_handshakes():
    probe = Probe("-t", "1500", "-c", ",".join(authority().certificate(["localhost"])), addresses=["127.0.0.1:0", "tls:127.0.0.1:0"])
    for data in (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"a" * 1000, b"\x80\x2e\x01"):
        with Conn(probe.ports[1]) as c:
            c.send(data)
            try:
                while c.sock.recv(65536):
                    pass
            except ConnectionResetError:
                pass
    eventually("all are closed", lambda: probe.stats()["open.new"] == 0)
    assert fetch(probe.ports[1], "/b/5", tls=tls_context(authority().pem)).status == 200


def test_data_after_close_notify_is_not_collected():
    probe = Probe("-c", ",".join(authority().certificate(["localhost"])), addresses=["127.0.0.1:0", "tls:127.0.0.1:0"])
    sock = socket.create_connection(("127.0.0.1", probe.ports[1]), 20)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = tls_context(authority().pem).wrap_bio(incoming, outgoing, server_hostname="localhost")
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            sock.sendall(outgoing.read())
            incoming.write(sock.recv(65536))
    tls.write(b"GET /b/5 HTTP/1.1\r\n")
    try:
        tls.unwrap()
    except ssl.SSLError:
        pass
    sock.sendall(outgoing.read())
    sent = 0
    try:
        while sent < 64 << 20:
            sock.sendall(b"\x17\x03\x03\x40\x00" + bytes(16384))
            sent += 16389
    except OSError:
        pass
    assert sent < 32 << 20
    probe.lives()


def test_proxy_protocol():
    probe = Probe("-p")
    v2 = b"\r\n\r\n\0\r\nQUIT\n"
    for header, peer in ((b"PROXY TCP4 192.0.2.7 192.0.2.1 56324 443\r\n", "192.0.2.7"),
                         (b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n", "2001:db8::7"),
                         (b"PROXY UNKNOWN\r\n", "127.0.0.1"), (b"PROXY UNKNOWN a b c\r\n", "127.0.0.1"),
                         (v2 + b"\x21\x11\0\x0c\xc0\0\2\x07\xc0\0\2\1\xdc\4\1\xbb", "192.0.2.7"),
                         (v2 + b"\x21\x11\0\x0f\xc0\0\2\x07\xc0\0\2\1\xdc\4\1\xbb\x04\0\0", "192.0.2.7"),
                         (v2 + b"\x21\x21\0\x24" + bytes.fromhex("20010db8") + bytes(11) + b"\7" + bytes(20), "2001:db8::7"),
                         (v2 + b"\x20\0\0\0", "127.0.0.1")):
        for step in (1, 1000):
            with Conn(probe.port) as c:
                data = header + b"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n"
                for i in range(0, len(data), step):
                    c.send(data[i:i + step])
                assert f"peer={peer} " in c.response().text, header
    for header in (b"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n", b"PROXY TCP4 192.0.2.7 192.0.2.1 56324\r\n", b"PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n",
                   b"PROXY TCP4 1.2.3.4 1.2.3.4 1 99999\r\n", b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n", b"PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
                   b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n", b"PROXY " + b"a" * 200, b"PROXY UNKNOWN\n", v2 + b"\x31\x11\0\x0c" + bytes(12),
                   v2 + b"\x21\x11\0\x02" + bytes(2), v2 + b"\x21\x11\xff\xff" + bytes(100)):
        with Conn(probe.port) as c:
            c.send(header)
            assert not c.more(), header


def test_drain_finishes_what_was_begun():
    probe = Probe("-w", "2")
    c = Conn(probe.port)
    c.request("/b/5")
    c.response()
    slow = Conn(probe.port)
    slow.request("/p/9000000/100000")
    h2 = Raw(probe.port, settings=setting(4, 1 << 24))
    h2.send(frame(WINDOW, 0, 0, struct.pack(">I", 1 << 24)))
    h2.request(1, "/p/3000000/10000")
    time.sleep(0.2)
    assert fetch(probe.port, "/drain").text == "draining"
    assert len(slow.response().body) == 9000000
    assert len(h2.answer(1)[2]) == 3000000
    assert h2.goaway() == 0
    assert c.ended()
    assert probe.process.wait(20) == 0
    try:
        Conn(probe.port)
        raise AssertionError("still listening")
    except ConnectionRefusedError:
        pass
    probe.process.gone()


if __name__ == "__main__":
    main()
