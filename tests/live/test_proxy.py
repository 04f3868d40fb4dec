"""The PROXY protocol before HTTP: versions 1 and 2, in cleartext and before TLS; what is truncated or rubbish, and proxies that
are none."""
from harness import *

V2 = b"\r\n\r\n\0\r\nQUIT\n"


def v2_tcp4(source, command=0x21, extra=b""):
    return V2 + bytes([command, 0x11]) + (12 + len(extra)).to_bytes(2, "big") + socket.inet_aton(source) + \
        socket.inet_aton("192.0.2.1") + b"\xdc\4\1\xbb" + extra


def started(more=None, **config):
    origin, clear, secure = Origin(), free_port(), free_port()
    origin.on("/who", lambda r: Reply(f"{r['x-forwarded-for']} {r['forwarded']}".encode()))
    certificate, key = authority().certificate(["localhost", "127.0.0.1"])
    listen = [{"address": f"127.0.0.1:{clear}", "proxy_protocol": True} | (more or {}),
              {"address": f"127.0.0.1:{secure}", "proxy_protocol": True, "certificates": [{"certificate": certificate, "key": key}]} | (more or {})]
    return origin, Node(origins=[origin.url], workers=1, config={"listen": listen} | config), clear, secure


def ask(port, header, tls=False, source=None, pieces=None):
    """The text that the origin said, or None if the connection was closed."""
    sock = socket.create_connection(("127.0.0.1", port), 20, source_address=(source, 0) if source else None)
    try:
        for at in range(0, len(header), pieces or max(1, len(header))):
            sock.sendall(header[at:at + (pieces or len(header))])
            if pieces:
                time.sleep(0.002)
        if tls:
            sock = tls_context(authority().pem).wrap_socket(sock, server_hostname="localhost")
        sock.sendall(b"GET /who HTTP/1.1\r\nHost: test.example\r\nX-Forwarded-For: 6.6.6.6\r\nConnection: close\r\n\r\n")
        data = b""
        while (more := sock.recv(65536)):
            data += more
    except (ConnectionError, ssl.SSLError):
        data = b""
    finally:
        sock.close()
    return data.partition(b"\r\n\r\n")[2].decode() if data else None


def test_both_versions_tell_who_the_client_is():
    origin, node, clear, secure = started()
    for tls, port in ((False, clear), (True, secure)):
        for header, client in ((b"PROXY TCP4 192.0.2.7 192.0.2.1 56324 443\r\n", "192.0.2.7"),
                               (b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n", "2001:db8::7"),
                               (b"PROXY UNKNOWN\r\n", "127.0.0.1"), (v2_tcp4("192.0.2.8"), "192.0.2.8"),
                               (v2_tcp4("192.0.2.9", extra=b"\x03\0\4abcd"), "192.0.2.9"),  # a TLV behind the addresses
                               (v2_tcp4("192.0.2.10", command=0x20), "127.0.0.1")):  # LOCAL: the proxy itself
            for pieces in (None, 5):
                said = ask(port, header, tls, pieces=pieces)
                assert said is not None and said.startswith(client + " "), (header, said)
                assert "6.6.6.6" not in said and client in said.split(" ", 1)[1], said
    eventually("they are logged", lambda: {line["client"] for line in node.access()} >= {"192.0.2.7", "2001:db8::7", "192.0.2.8", "127.0.0.1"})


def test_rubbish_is_never_taken_for_a_request():
    origin, node, clear, secure = started()
    bad = (b"", b"\r\n", b"PROXY \r\n", b"PROXY TCP4 192.0.2.7 192.0.2.1 1 2\n", b"PROXY TCP4 192.0.2.7\r\n",
           b"PROXY TCP4 256.0.2.7 192.0.2.1 1 2\r\n", b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n", b"proxy TCP4 192.0.2.7 192.0.2.1 1 2\r\n",
           b"PROXY TCP4 192.0.2.7 192.0.2.1 1 65536\r\n", b"PROXY TCP4 192.0.2.7 192.0.2.1 01 2\r\n", b"PROXY " + b"x" * 300,
           V2[:8] + b"XXXX" + bytes(20), v2_tcp4("192.0.2.7", command=0x11), v2_tcp4("192.0.2.7", command=0x22),
           V2 + b"\x21\x11\0\4abcd", V2 + b"\x21\x11\xff\xff" + bytes(300), os.urandom(200))
    for header in bad:
        for tls, port in ((False, clear), (True, secure)):
            assert ask(port, header, tls) is None, header
    assert origin.count() == 0
    # One line only: a second is the request, and a bad one.
    line = b"PROXY TCP4 192.0.2.7 192.0.2.1 56324 443\r\n"
    with Conn(clear) as c:
        c.send(line + line + b"GET /who HTTP/1.1\r\nHost: test.example\r\n\r\n")
        assert c.response("GET").status == 400
    assert ask(clear, line).startswith("192.0.2.7 "), "and all others are served"


def test_truncated_lines_end():
    origin, node, clear, secure = started(limits={"handshake_timeout": "1s"})
    whole = (b"PROXY TCP4 192.0.2.7 192.0.2.1 56324 443\r\n", v2_tcp4("192.0.2.7"))
    for header in whole:
        for n in (1, 6, len(header) // 2, len(header) - 1):
            with Conn(clear) as c:  # the peer goes
                c.send(header[:n])
                c.sock.shutdown(socket.SHUT_WR)
                assert c.ended(20), header[:n]
    held = [Conn(clear) for header in whole]
    for c, header in zip(held, whole):  # or says nothing more
        c.send(header[:-3])
    for c in held:
        assert c.ended(20)
        c.close()
    assert origin.count() == 0 and node.metric("brink_reaped_total") >= 2


def test_only_from_the_proxies():
    origin, node, clear, secure = started(more={"proxy_from": ["127.0.0.2", "2001:db8::/32", "127.1.0.0/16"]})
    line = b"PROXY TCP4 192.0.2.7 192.0.2.1 56324 443\r\n"
    for source in ("127.0.0.2", "127.1.2.3"):
        for tls, port in ((False, clear), (True, secure)):
            assert ask(port, line, tls, source).startswith("192.0.2.7 "), source
    before = node.metric("brink_refused_requests_total")
    for header in (line, v2_tcp4("192.0.2.7"), b""):
        for tls, port in ((False, clear), (True, secure)):
            assert ask(port, header, tls, "127.0.0.1") is None and ask(port, header, tls, "127.0.0.3") is None, header
    assert origin.count() == 4 and node.metric("brink_refused_requests_total") == before + 12
    wrong = Node(origins=[origin.url], config={"listen": [{"address": "127.0.0.1:1", "proxy_from": ["127.0.0.1"]}]}, start=False)
    code, text = wrong.check()
    assert code == 2 and "proxy_from needs proxy_protocol" in text, text


if __name__ == "__main__":
    main()
