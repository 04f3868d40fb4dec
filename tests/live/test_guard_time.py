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


if __name__ == "__main__":
    main()
