"""What a hostile client may do over HTTP/2, frame by frame. Every attack here does harm to the library without the guard."""
from guard import *


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
    assert c.answer(1)[0] == 413
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


if __name__ == "__main__":
    main()
