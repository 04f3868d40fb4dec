"""Header blocks of HTTP/2: bombs, games with the table, fields that are none, and what must not become one."""
from guard import *


def test_header_block_too_large():
    probe = Probe()
    c = Raw(probe.port)
    c.send(frame(HEADERS, END_STREAM, 1, c.block()))
    for _ in range(7):
        c.send(frame(CONTINUATION, 0, 1, (b"\0\x01a\x7f\x81\x7d" + b"b" * 16384)[:16384]))
    assert c.goaway() == CALM and probe.stats()["flood.headers"] == 1
    probe.lives()


def test_table_size_updates_without_an_end():
    """Thousands of size updates in a block are a byte each and no field."""
    probe = Probe()
    c = Raw(probe.port)
    c.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\x20\x3f\xe1\x1f" * 4000 + c.block()))
    assert c.goaway() == CALM
    probe.lives()
    c = Raw(probe.port)
    c.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\x20\x3f\xe1\x1f" + c.block()))  # as RFC 7541 4.2 has it
    assert c.answer(1)[0] == 200
    c = Raw(probe.port)
    c.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\x3f\xe2\x1f" + c.block()))  # 4097: more than we allowed
    assert c.goaway() == COMPRESSION


def test_integers_and_indices_that_overflow():
    probe = Probe()
    for block in (b"\xff" + b"\x80" * 20 + b"\1", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x80", b"\xff\x00", b"\xbe",
                  b"\x40\x7f\xff\xff\xff\xff\xff\x0f", b"\x40\x05abc", b"\x40\x83\xff\xff\xff\x01a", b"\x40\xff" + b"\xff" * 100):
        c = Raw(probe.port)
        c.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, c.block() + block))
        assert c.goaway() in (COMPRESSION, PROTOCOL), block
    probe.lives()


def test_entries_that_push_each_other_out():
    """Each block fills the table anew: the price is the sender's own bytes."""
    probe = Probe()
    c = Raw(probe.port)
    for i in range(1, 400, 2):
        block = c.encoder.encode([(":method", "GET"), (":scheme", "http"), (":path", "/b/5"), (":authority", "a"),
                                  (f"x-{i}", "v" * 2000), (f"y-{i}", "w" * 2000)], huffman=False)
        assert c.send(frame(HEADERS, END_STREAM | END_HEADERS, i, block))
        assert c.answer(i)[0] == 200
    probe.lives()


def test_pseudo_fields():
    """RFC 9113 8.3: known ones only, once, before all others, none in trailers; nothing of it reaches a handler."""
    plain = [(":method", "GET"), (":scheme", "http"), (":path", "/echo"), (":authority", "a")]
    wrong = [plain + [(":path", "/b")], plain + [(":method", "GET")], plain + [(":authority", "b")], plain + [(":unknown", "x")],
             plain + [(":status", "200")], plain + [("x-a", "b"), (":path", "/b")], [("x-a", "b")] + plain, plain + [(":", "x")],
             plain + [("", "x")], plain + [("x:y", "z")], plain + [("x-a ", "z")], plain + [(" x-a", "z")]]
    probe = Probe()
    for fields in wrong:
        c = Raw(probe.port)
        c.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, c.encoder.encode(fields, huffman=False)))
        seen = c.frames(lambda f: f is not None and (f[0] in (RST, GOAWAY, HEADERS)))
        last = seen[-1]
        assert last is not None and (last[0] != HEADERS or dict(last[3])[":status"] == "400"), (fields, last)
    c = Raw(probe.port)
    c.request(1, "/echo", method="POST", end=False)
    c.send(frame(DATA, 0, 1, b"x") + frame(HEADERS, END_STREAM | END_HEADERS, 1, c.encoder.encode([(":path", "/evil")])))
    seen = c.frames(lambda f: f is not None and (f[0] in (RST, GOAWAY) or (f[0] == DATA and f[1] & END_STREAM)))
    assert not any(f[0] == DATA and b"/evil" in f[3] for f in seen if f is not None), seen
    probe.lives()


def test_header_bomb_is_431_and_costs_the_sender():
    probe = Probe()
    c = Raw(probe.port)
    c.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, c.block(extra=[("x-bomb", "b" * 3000)])))
    assert c.answer(1)[0] == 200
    bomb = c.block(extra=[("x-bomb", "b" * 3000)])
    for i in range(500):
        stream = 3 + 2 * i
        if not c.send(frame(HEADERS, END_STREAM | END_HEADERS, stream, bomb + bytes([0xbe]) * 150)):
            break
    seen = c.frames()
    statuses = [dict(f[3])[":status"] for f in seen if f is not None and f[0] == HEADERS]
    assert set(statuses) == {"431"} and len(statuses) > 20, statuses
    assert [f for f in seen if f is not None and f[0] == GOAWAY][-1][3][4:8] == b"\0\0\0\x0b"
    probe.lives()


def test_a_bomb_that_is_no_mistake_is_not_unpacked():
    """Thousands of fields in one block, or in pieces of it, end the connection before any is made."""
    for pieces in (1, 8):
        probe = Probe()
        for updates in (b"\xbe", b"\x20", b"\x82", b"\0\1a\1b"):
            c = Raw(probe.port)
            c.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, c.block(extra=[("x-bomb", "b" * 3000)])))
            assert c.answer(1)[0] == 200
            block = c.block() + updates * (3000 if len(updates) > 1 else 12000)
            step = len(block) // pieces + 1
            for i in range(0, len(block), step):
                c.send(frame(CONTINUATION if i else HEADERS, (0 if i else END_STREAM) | (END_HEADERS if i + step >= len(block) else 0), 3, block[i:i + step]))
            assert c.goaway() == CALM
        assert probe.stats()["flood.headers"] == 4
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
        by_library = any("\0" in v or " " in k or "\r" in v for k, v in more.get("extra", ())) or "\x7f" in more.get("path", "")
        assert (error == 1) == (status == 400 and not by_library), f"{more!r:.200}: RST {error}, a stream error by RFC 9113 8.1.1"
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


def test_host_and_authority():
    """RFC 9113 8.3.1: Host may stand in for :authority, and must not contradict it."""
    probe = Probe("-b", "100000")
    c = Raw(probe.port)
    cases = [
        ("a.example", (), "a.example"), (None, ("a.example",), "a.example"), (None, ("A.example:8080",), "A.example:8080"),
        ("a.example", ("a.example",), "a.example"), ("a.example", ("A.Example:80",), "a.example"), ("a.example:080", ("a.example.",), "a.example:080"),
        ("a.example", ("b.example",), None), ("a.example", ("a.example:81",), None), ("a.example", ("",), None), ("a.example", ("a b",), None),
        ("a.example", ("a.example", "a.example"), None), (None, ("a.example", "a.example"), None), (None, ("a.example, b",), None),
        (None, ("u@a.example",), None), (None, ("a.example/b",), None), (None, ("",), None), (None, (), None), ("", ("a.example",), None), ("", (), None),
    ]
    for i, (authority, hosts, taken) in enumerate(cases):
        c.request(2 * i + 1, "/echo", authority=authority, extra=[("host", host) for host in hosts])
        status, _, body, error = c.answer(2 * i + 1)
        if taken is None:
            assert status == 400 and error == 1, (authority, hosts, status, body)
        else:
            assert status == 200 and b" authority=%s target=" % taken.encode() in body and b"[host]" not in body, (authority, hosts, status, body)
    # What comes behind the body is no Host.
    c = Raw(probe.port)
    c.request(1, "/echo", end=False, method="POST", authority="a.example")
    c.send(frame(DATA, 0, 1, b"hello") + frame(HEADERS, END_STREAM | END_HEADERS, 1, c.encoder.encode([("host", "b.example")])))
    status, _, body, _ = c.answer(1)
    assert status == 200 and b" authority=a.example target=" in body, body
    probe.lives()


def test_the_connection_says_which_scheme():
    """No word of a client makes a cleartext request a secure one, nor the other way round."""
    probe = Probe()
    c = Raw(probe.port)
    for i, scheme in enumerate(("http", "https", "HTTPS", "ftp", "")):
        c.request(2 * i + 1, "/echo", scheme=scheme)
        status, _, body, _ = c.answer(2 * i + 1)
        assert status == 200 and b" scheme=http method=" in body, (scheme, body)


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


def test_large_heads_that_are_held_have_a_ceiling():
    """A head that is named in a few bytes, and a window of 0 that makes it stay (CVE-2026-49975): large heads come to their ceiling
    first, small ones are answered on, and when the holders have gone everybody is."""
    origin = Origin()
    origin.on("*", lambda r: Reply(b"x" * 1000, headers={"Cache-Control": "max-age=600"}))
    node = Node([origin.url], workers=1, config={"limits": {"header_memory": "4MiB"}})
    assert node.get("/a").status == 200
    large = {"X-Large": "y" * 40000}
    assert node.get("/a", headers=large).status == 200
    held = []
    for n in range(3):
        c = Raw(node.port, settings=setting(4, 0))
        for stream in range(1, 200, 2):
            c.request(stream, f"/{n}/{stream}", extra=[("x-a", "y" * 3900)] * 15)
        held.append(c)
    # 62 KiB each: 2 MiB of them
    eventually("the rest is refused", lambda: node.metric("brink_refused_requests_total") >= 300 - 33)
    eventually("what was taken is asked for", lambda: origin.count() - 1 >= 30)
    assert origin.count() - 1 <= 33, origin.count()
    r = node.get("/a", headers=large)
    assert r.status == 503 and r["retry-after"] == "1", r
    with node.h2(tls=False) as h2:
        assert h2.get("/a").x_cache == "HIT" and h2.get("/b").x_cache == "MISS"
        r = h2.get("/a", headers=large)
        assert r.status == 503 and r["retry-after"] == "1", r
    assert node.get("/a").x_cache == "HIT"
    for c in held:
        c.sock.close()
    eventually("large heads are taken again", lambda: node.get("/a", headers=large).status == 200)


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


if __name__ == "__main__":
    main()
