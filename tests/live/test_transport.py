"""How origins and shields are spoken to: HTTP/2 by ALPN and by prior knowledge, servers that nobody here wrote, bodies whose
connection is cut in the middle."""
import hashlib

from fault import Fault
from harness import *

FRESH = {"Cache-Control": "max-age=600"}


def nginx(root, tls, more=""):
    """nginx with HTTP/2, and what is said besides: (TLS port or None, cleartext HTTP/2 port, its access log)."""
    folder, port, clear = temp_dir("brink-nginx-"), free_port(), free_port()
    certificate, key = authority().certificate(["localhost", "127.0.0.1"])
    user = "user root;" if os.getuid() == 0 else ""
    secure = f"server {{ listen 127.0.0.1:{port} ssl http2; ssl_certificate {certificate}; ssl_certificate_key {key}; root {root}; }}"
    with open(os.path.join(folder, "nginx.conf"), "w") as out:
        out.write(f"""daemon off; {user} worker_processes 1; pid {folder}/pid; error_log stderr warn;
events {{ worker_connections 1024; }}
http {{ log_format short '$server_protocol $connection $request_uri $status'; access_log {folder}/access.log short; default_type text/plain;
  client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3; uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
  expires 1h;
  {secure if tls else ""}
  server {{ listen 127.0.0.1:{clear} http2; root {root}; location /unnamed/ {{ alias {root}/; etag off; add_header Last-Modified ""; }} }}
  {more} }}
""")
    Process("nginx", ["nginx", "-e", "stderr", "-p", folder, "-c", os.path.join(folder, "nginx.conf")], folder)

    def answers():
        with socket.create_connection(("127.0.0.1", clear), timeout=5):
            return True
    eventually("nginx listens", answers)
    return port, clear, os.path.join(folder, "access.log")


def lines(path):
    with open(path) as log:
        return [line.split() for line in log]


def tree():
    root = os.path.join(temp_dir(), "www")
    os.mkdir(root)
    for n in range(60):
        with open(os.path.join(root, f"{n}.bin"), "wb") as out:
            out.write(os.urandom(n * 3000))
    return root


def check_tree(node, root):
    got = [Later(node.get, f"/{n}.bin") for n in range(60)]
    for n, later in enumerate(got):
        with open(os.path.join(root, f"{n}.bin"), "rb") as f:
            r = later.result()
            assert r.status == 200 and r.body == f.read(), (n, r)


def test_http2_to_nginx_over_tls_and_without():
    root = tree()
    port, clear, log = nginx(root, True)
    for url in (f"https://localhost:{port}", f"h2c://127.0.0.1:{clear}"):
        before = len(lines(log))
        node = Node(origins=[url], site={"ca": authority().pem} if url.startswith("https") else None, workers=1)
        check_tree(node, root)
        seen = eventually("all are logged", lambda: (lambda s: s if len(s) >= 60 else None)(lines(log)[before:]))
        assert {line[0] for line in seen} == {"HTTP/2.0"}, seen
        assert len(seen) == 60 and len({line[1] for line in seen}) == 1, "sixty requests on one connection"
        assert node.get("/none.bin").status == 404
        node.stop()
    node = Node(origins=[f"https://localhost:{port}"], site={"ca": authority().pem}, config={"upstream": {"http2": False}})
    assert node.get("/5.bin").status == 200
    eventually("it is logged", lambda: lines(log)[-1][0] == "HTTP/1.1")


def test_what_nginx_is_told_in_the_handshake():
    """The name that it is asked for, a certificate where there is one, and the session of before; one connection a request."""
    root, folder, secure = tree(), temp_dir(), free_port()
    certificate, key = authority().certificate(["localhost"])
    mine, my_key = authority().certificate(["edge.example"])
    server = f"""log_format told '$server_protocol $ssl_server_name $ssl_client_verify $ssl_client_s_dn $ssl_session_reused';
      server {{ listen 127.0.0.1:{secure} ssl http2; root {root}; ssl_certificate {certificate}; ssl_certificate_key {key};
        ssl_client_certificate {authority().pem}; ssl_verify_client on; ssl_session_cache shared:a:1m; keepalive_requests 1;
        access_log {folder}/told.log told; }}
      server {{ listen unix:{folder}/nginx.sock; root {root}; access_log {folder}/unix.log short; }}"""
    nginx(root, False, server)
    site = {"ca": authority().pem, "client_certificate": mine, "client_key": my_key}
    for http2, protocol in ((True, "HTTP/2.0"), (False, "HTTP/1.1")):
        node = Node(origins=[f"https://localhost:{secure}"], site=site, workers=1, config={"upstream": {"http2": http2}})
        for n in range(8):
            assert node.get(f"/{n}.bin").status == 200, n
        eventually("all are logged", lambda: len(lines(f"{folder}/told.log")) >= 8)
        told = lines(f"{folder}/told.log")
        assert {tuple(line[:4]) for line in told} == {(protocol, "localhost", "SUCCESS", "CN=edge.example")}, told
        assert told[0][4] == "." and sum(line[4] == "r" for line in told) >= 6, told
        node.stop()
        os.truncate(f"{folder}/told.log", 0)
    node = Node(origins=[f"https://localhost:{secure}"], site={"ca": authority().pem})
    assert node.get("/1.bin").status in (400, 502), "nginx wants a certificate"
    node = Node(origins=[f"unix:{folder}/nginx.sock"], workers=1)
    check_tree(node, root)
    eventually("all are logged", lambda: len(lines(f"{folder}/unix.log")) == 60)


def test_a_server_without_http2_gets_http1():
    origin = Origin(tls=True)
    origin.on("*", lambda r: Reply(r.path.encode(), headers=FRESH))
    node = Node(origins=[origin.url], site={"ca": authority().pem}, workers=1)
    for n in range(20):
        assert node.get(f"/{n}").body == f"/{n}".encode()
    assert origin.connections <= 3, origin.connections  # one that offered HTTP/2, one that is kept


def test_http2_between_the_tiers():
    origin = Origin()
    body = os.urandom(300_000)
    origin.on("*", lambda r: Reply(r.method.encode() + r.body if r.method == "POST" else body, headers=FRESH))
    shield = Node(origins=[origin.url], name="shield-1", tier=True)
    edge = Node(origins=[origin.url], name="edge-1", shield=[f"h2c://127.0.0.1:{shield.port}"], workers=1)
    got = [Later(edge.get, f"/{n}") for n in range(40)]
    assert all(g.result().body == body and len(g.result().cache_status) == 2 for g in got)
    assert edge.get("/p", method="POST", body=b"abc").body == b"POSTabc"
    assert shield.metric("brink_accepted_total", protocol="h2c") == 1
    shield.stop()
    assert edge.get("/later").body == body  # the origin itself
    shield.start()
    numbers = iter(range(1000))
    eventually("the shield is asked again", lambda: len(edge.get(f"/again{next(numbers)}").cache_status) == 2, timeout=60, step=0.3)


def test_a_large_body_survives_cuts():
    """Cut twice in the middle of 30 MB, over one tier and over two."""
    whole = os.urandom(30_000_000)
    cuts = {"n": 0}

    def big(request):
        first = int((request["range"] or "bytes=0-")[6:-1])
        headers = dict(FRESH, ETag='"v1"')
        cuts["n"] += 1
        if first > 0 and request["if-range"] == '"v1"':
            headers["Content-Range"] = f"bytes {first}-{len(whole) - 1}/{len(whole)}"
            return Reply(whole[first:], status=206, headers=headers, cut=9_000_000 if cuts["n"] < 3 else None, reset=cuts["n"] < 3)
        return Reply(whole, headers=headers, cut=10_000_000, reset=cuts["n"] == 1)

    for tiers in (1, 2):
        origin = Origin()
        cuts["n"] = 0
        origin.on("/big", big)
        node = Node(origins=[origin.url], name="shield-1", tier=tiers == 2, config={"memory": {"size": "200MiB"}})
        if tiers == 2:
            node = Node(origins=[origin.url], shield=[node], config={"memory": {"size": "200MiB"}})
        r = node.get("/big", timeout=60)
        assert r.status == 200 and r.body == whole, (r.status, len(r.body))
        assert origin.count("/big") == 3, [q.headers for q in origin.seen("/big")]
        r = node.get("/big", timeout=60)
        assert r.x_cache == "HIT" and r.body == whole


def resident(node):
    with open(f"/proc/{node.pid}/statm") as f:
        return int(f.read().split()[1]) * 4096


def big():
    """A directory with big.bin of 40 MB, or BRINK_BIG: its size, its digest."""
    size = int(os.environ.get("BRINK_BIG", "40")) * 1_000_000
    root, digest = os.path.join(temp_dir(), "www"), hashlib.sha256()
    os.mkdir(root)
    with open(os.path.join(root, "big.bin"), "wb") as out:
        block = os.urandom(1_000_000)
        for n in range(size // len(block)):
            piece = n.to_bytes(8, "big") + block[8:]
            out.write(piece)
            digest.update(piece)
    return root, size, digest.digest()


def received(c, path, size, each=lambda: None):
    """Asks for it: (bytes that came until the end or a cut, their digest)."""
    c.request(path)
    r = c.head()
    assert r.status == 200 and int(r["content-length"]) == size, r
    got, n = hashlib.sha256(c.buffer), len(c.buffer)
    while n < size:
        try:
            data = c.sock.recv(1 << 20)
        except ConnectionError:
            break
        if not data:
            break
        got.update(data)
        n += len(data)
        each()
    return n, got.digest()


def test_a_body_larger_than_may_be_stored_survives_a_cut_in_bounded_memory():
    """From nginx through a connection that is cut in the middle, to a reader that takes its time."""
    root, size, digest = big()
    port, clear, _ = nginx(root, True)
    for scheme, http2, tiers in (("h2c", True, 1), ("https", True, 1), ("https", False, 1), ("h2c", True, 2)):
        proxy = Fault(clear if scheme == "h2c" else port, scheme, "127.0.0.1" if scheme == "h2c" else "localhost")
        proxy.become("cut", after=size // 2)
        more = dict(site={"ca": authority().pem} if scheme == "https" else None, config={"upstream": {"http2": http2}}, workers=1)
        nodes = [Node(origins=[proxy.url], name="shield-1", tier=tiers == 2, **more)]
        if tiers == 2:
            nodes.append(Node(origins=[proxy.url], shield=nodes[:1], **more))
        before, most = [resident(n) for n in nodes], [0] * tiers

        def each():
            if proxy.connections > 1:
                proxy.become("pass")
            most[:] = [max(m, resident(node) - b) for m, node, b in zip(most, nodes, before)]
            time.sleep(0.0005)

        with nodes[-1].conn(timeout=60) as c:
            n, got = received(c, "/big.bin", size, each)
        assert n == size, f"{scheme}: cut after {n} bytes"
        assert got == digest, "whole, and other bytes"
        assert sum(node.metric("brink_upstream_resumes_total") for node in nodes) == 1
        assert SANITIZED or max(most) < 16_000_000, f"{scheme}: {most} bytes more"
        if os.environ.get("BRINK_BIG"):
            print(f"  {scheme}{'' if http2 else ' HTTP/1.1'}, {tiers} tier(s): {n} bytes whole, memory + {max(most) / 1e6:.1f} MB")


def test_a_large_body_that_cannot_be_resumed_is_cut_and_not_stored():
    """The same without any validator, over two tiers, in memory's way and on the disk's."""
    root, size, digest = big()
    _, clear, log = nginx(root, False)
    logged = 0
    for disk in (None, "2GiB"):
        proxy = Fault(clear, "h2c")
        proxy.become("cut", after=size // 2)
        shield = Node(origins=[proxy.url], name="shield-1", tier=True, workers=1, disk=disk)
        edge = Node(origins=[proxy.url], shield=[shield], workers=1, disk=disk, config={"shield": {"fallback": "none"}})
        with edge.conn(timeout=60) as c:
            n, _ = received(c, "/unnamed/big.bin", size)
        assert 0 < n < size, n
        assert sum(node.metric("brink_upstream_resumes_total") for node in (shield, edge)) == 0
        proxy.become("pass")
        before = eventually("the cut one is logged", lambda: (lambda n: n if n > logged else None)(len(lines(log))))
        with edge.conn(timeout=60) as c:
            n, got = received(c, "/unnamed/big.bin", size)
        assert n == size and got == digest, f"{n} bytes"
        eventually("it is logged", lambda: len(lines(log)) == logged + 2)  # else something of it had been stored
        logged += 2
        if os.environ.get("BRINK_BIG"):
            print(f"  cut visibly, nothing stored; disk: {disk}")
        edge.stop()
        shield.stop()


def test_without_a_strong_validator_the_cut_is_visible():
    origin = Origin()
    node = Node(origins=[origin.url])
    body = os.urandom(3_000_000)
    for n, headers in enumerate((FRESH, dict(FRESH, ETag='W/"v1"'))):
        origin.on(f"/{n}", body=body, headers=headers, cut=1_000_000)
        for times in (1, 2):
            try:
                r = node.get(f"/{n}")
                assert False, r
            except Incomplete:
                pass
            assert origin.count(f"/{n}") == times, "it was stored, or asked for again"
    # The other bytes that came meanwhile are not put behind.
    origin.on("/changed", lambda r: Reply(body, headers=dict(FRESH, ETag='"v2"' if "range" in r else '"v1"'), cut=1_000_000))
    try:
        assert False, node.get("/changed")
    except Incomplete:
        assert origin.count("/changed") == 2


if __name__ == "__main__":
    main()
