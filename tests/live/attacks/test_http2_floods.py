"""Frames of HTTP/2 that cost the sender nothing: each kind has a budget that no browser comes near, and a counter."""
from guard import *


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


def provoked(provoke, begin=lambda c, i: c.request(i, "/hold")):
    """However the server is made to reset streams (MadeYouReset): a budget ends it, if not the first frame does."""
    probe = Probe()
    c = Raw(probe.port, settings=setting(4, 100))
    for i in range(1, 4000, 2):
        if not (begin(c, i) and c.send(provoke(c, i))):
            break
    code = c.goaway()
    stats = probe.stats()
    assert stats["requests"] < 500, stats
    assert stats["flood.stream_error"] == 1 if code == CALM else code in (PROTOCOL, FLOW, CLOSED, SIZE), (code, stats)
    eventually("no request is left", lambda: (lambda s: s["gone"] + 1 == s["requests"])(probe.stats()))  # but this one
    probe.lives()
    return code


def test_made_you_reset_by_a_window_update_of_0():
    provoked(lambda c, i: frame(WINDOW, 0, i, b"\0\0\0\0"))


def test_made_you_reset_by_a_window_that_overflows():
    provoked(lambda c, i: frame(WINDOW, 0, i, b"\x7f\xff\xff\xff") * 2)


def test_made_you_reset_by_a_stream_that_depends_on_itself():
    provoked(lambda c, i: frame(PRIORITY, 0, i, struct.pack(">IB", i, 10)))
    provoked(lambda c, i: b"", lambda c, i: c.send(frame(HEADERS, END_STREAM | END_HEADERS | PRIORITIZED, i,
                                                         struct.pack(">IB", i, 10) + c.block("/hold"))))


def test_made_you_reset_by_a_priority_of_the_wrong_length():
    provoked(lambda c, i: frame(PRIORITY, 0, i, b"\0\0\0\0"))


def test_made_you_reset_by_a_reset_of_the_wrong_length():
    provoked(lambda c, i: frame(RST, 0, i, b"\0"))


def test_made_you_reset_by_data_after_the_end():
    provoked(lambda c, i: frame(DATA, END_STREAM, i, b"more"))


def test_made_you_reset_by_fields_after_the_end():
    provoked(lambda c, i: frame(HEADERS, END_STREAM | END_HEADERS, i, c.encoder.encode([("x-more", "1")])))


def test_made_you_reset_by_data_beyond_the_windows():
    provoked(lambda c, i: frame(DATA, 0, i, b"a" * 16384) * 5, lambda c, i: c.request(i, "/hold", end=False, method="POST"))


def test_made_you_reset_by_trailers_without_an_end():
    provoked(lambda c, i: frame(HEADERS, END_HEADERS, i, c.encoder.encode([("x-more", "1")])),
             lambda c, i: c.request(i, "/hold", end=False, method="POST"))


def test_made_you_reset_by_frames_that_are_too_large():
    provoked(lambda c, i: frame(DATA, 0, i, b"a" * 16385), lambda c, i: c.request(i, "/hold", end=False, method="POST"))


def test_made_you_reset_by_requests_that_are_none():
    def begin(c, i):
        return c.send(frame(HEADERS, END_STREAM | END_HEADERS, i, b""))
    assert provoked(lambda c, i: b"", begin) == CALM
    for more in (dict(path=None), dict(method=None), dict(path=""), dict(method="G T"), dict(authority="a b"),
                 dict(extra=[("content-length", "1"), ("content-length", "1")]), dict(extra=[("connection", "close")]),
                 dict(extra=[("transfer-encoding", "chunked")]), dict(extra=[("te", "gzip")])):
        provoked(lambda c, i: b"", lambda c, i: c.request(i, **dict(dict(path="/hold"), **more)))


def test_made_you_reset_mixed_with_what_is_well():
    """Every second stream is provoked, so that no share of them looks odd."""
    probe = Probe()
    c = Raw(probe.port)
    codes = []
    for i in range(1, 4000, 4):
        seen = []
        if c.request(i, "/hold") and c.send(frame(WINDOW, 0, i, b"\0\0\0\0")) and c.request(i + 2):
            seen = c.frames(lambda f: f[0] == GOAWAY or (f[2] == i + 2 and f[1] & END_STREAM))
        codes += [int.from_bytes(f[3][4:8], "big") for f in seen if f is not None and f[0] == GOAWAY]
        if not seen or seen[-1] is None or codes:
            break
    assert CALM in codes, codes
    assert probe.stats()["flood.stream_error"] == 1
    probe.lives()


def test_ping_ack_flood():
    flood("ping", lambda c: c.send(frame(PING, ACK, payload=b"12345678") * 1000))


def test_goaway_flood():
    flood("ping", lambda c: c.send(frame(GOAWAY, payload=bytes(8)) * 1000))


def test_priority_flood_over_many_streams():
    flood("priority", lambda c: c.send(b"".join(frame(PRIORITY, 0, i, b"\0\0\0\1\xff") for i in range(3, 4000, 2))))


def test_window_update_flood_of_streams():
    def attack(c):
        c.request(1, "/hold")
        c.send(frame(WINDOW, 0, 1, b"\0\0\0\x01") * 1000)
    flood("window_update", attack)


def test_settings_flood_that_changes_the_table():
    flood("settings", lambda c: c.send(b"".join(frame(SETTINGS, payload=setting(1, i % 2 * 65536)) for i in range(1000))))


def test_settings_flood_in_one_frame():
    """16 KiB of settings that move all windows of a hundred streams, over and over."""
    probe = Probe()
    c = Raw(probe.port)
    for i in range(1, 200, 2):
        c.request(i, "/hold")
    c.send(frame(SETTINGS, payload=b"".join(setting(4, 1 + i % 2 * 65534) for i in range(2700))) * 190)
    probe.lives()
    assert c.send(frame(SETTINGS) * 1000) and c.goaway() == CALM


def test_a_block_without_an_end_is_a_flood_when_it_is_dripped():
    def attack(c):
        c.send(frame(HEADERS, END_STREAM, 1, c.block()))
        for _ in range(100):
            if not c.send(frame(CONTINUATION, 0, 1, b"\0")):
                break
            time.sleep(0.02)
    flood("continuation", attack)


def test_budgets_are_a_second_not_a_life():
    """A client that sends a few of each for long is no flood."""
    probe = Probe()
    c = Raw(probe.port)
    for _ in range(5):  # 300 in all, and as the machine may deliver them late, 180 of three rounds are within the budget
        c.send(frame(PING, payload=b"12345678") * 25 + frame(PRIORITY, 0, 1, b"\0\0\0\0\x10") * 25 + frame(0xbe) * 10)
        time.sleep(1.05)
    c.request(1)
    assert c.answer(1)[0] == 200
    assert not any(v for k, v in probe.stats().items() if k.startswith("flood."))


def test_budgets_and_counters_of_a_node():
    """The settings are the node's, and what was ended is counted by its kind."""
    origin = Origin()
    origin.on("*", lambda r: Reply(b"a", headers={"Cache-Control": "max-age=600"}))
    node = Node([origin.url], workers=1, config={"limits": {"idle_frames": 20, "resets": 10, "continuations": 2}})
    first = node.get("/a")
    assert first.status == 200

    def ended(kind, attack):
        before = node.metric("brink_floods_total", kind=kind)
        c = Raw(node.port)
        attack(c)
        assert c.goaway() == CALM, kind
        assert node.metric("brink_floods_total", kind=kind) == before + 1, kind

    def block(c, pieces):
        c.send(frame(HEADERS, END_STREAM, 1, c.block("/a")) + frame(CONTINUATION, 0, 1, b"\0\1a\1b" * 20) * pieces)

    ended("ping", lambda c: c.send(frame(PING, payload=b"12345678") * 21))
    ended("settings", lambda c: c.send(frame(SETTINGS) * 21))
    ended("priority", lambda c: c.send(frame(PRIORITY, 0, 1, b"\0\0\0\0\x10") * 21))
    ended("unknown_frame", lambda c: c.send(frame(0xbe) * 21))
    ended("continuation", lambda c: block(c, 3))
    ended("reset", lambda c: [c.request(i, "/a") and c.send(frame(RST, 0, i, b"\0\0\0\x08")) for i in range(1, 25, 2)])
    ended("stream_error", lambda c: [c.request(i, "/a", method="POST", end=False, extra=[("content-length", "5")]) and
                                     c.send(frame(DATA, END_STREAM, i, b"abc")) for i in range(1, 25, 2)])
    assert node.get("/a").x_cache == "HIT"


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
