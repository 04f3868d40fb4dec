"""Listeners, descriptors, TLS, the PROXY protocol, and the end of a server."""
from guard import *


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
    eventually("both are being answered", lambda: probe.stats()["requests"] >= 3)
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
