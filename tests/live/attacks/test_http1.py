"""HTTP/1 byte by byte: what two parsers could read differently is refused (RFC 9112), and answers are framed."""
from guard import *

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


if __name__ == "__main__":
    main()
