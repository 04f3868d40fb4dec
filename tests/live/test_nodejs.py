"""A Node.js server as the origin: a third one that nobody here wrote, over HTTP/1.1, HTTP/2 in cleartext and over TLS. What is its own:
chunked bodies and trailers, connections that it closes when they were idle for a moment, sockets that it destroys, Upgrade."""
import shutil

from harness import *

SERVER = """
const http = require('http'), http2 = require('http2'), fs = require('fs');
const [plain, clear, secure, key, cert] = process.argv.slice(2);
const big = Buffer.alloc(700000, 'n');
let seen = {};
function answer(q, s) {
  const path = q.url.split('?')[0], fresh = { 'Cache-Control': 'max-age=60' };
  seen[path] = (seen[path] || 0) + 1;
  s.setHeader('X-Protocol', q.httpVersion);
  if (q.method === 'POST') {
    let n = 0;
    q.on('data', d => n += d.length);
    q.on('end', () => s.end(String(n)));
  } else if (path === '/seen') {
    s.setHeader('Cache-Control', 'no-store');
    s.end(String(seen[q.url.split('?')[1]] || 0));
  } else if (path === '/chunked') {
    s.setHeader('Cache-Control', 'max-age=60');
    s.setHeader('Trailer', 'X-Sum');
    s.write('one ');
    setTimeout(() => { s.addTrailers({ 'X-Sum': '3', 'Set-Cookie': 'a=b' }); s.end('two'); }, 30);
  } else if (path === '/tag') {
    const same = q.headers['if-none-match'] === '"t"';
    s.writeHead(same ? 304 : 200, { ETag: '"t"', 'Cache-Control': 'max-age=1' });
    s.end(same ? undefined : 'tagged');
  } else if (path === '/hints') {
    s.writeEarlyHints({ link: '</a.css>; rel=preload' });
    setTimeout(() => s.end('hinted'), 30);
  } else if (path.startsWith('/destroyed')) {
    s.writeHead(200, { 'Content-Length': 100000, ...fresh });
    s.write(Buffer.alloc(30000));
    setTimeout(() => (q.stream ? q.stream.session : q.socket).destroy(), 30);
  } else {
    s.writeHead(200, fresh);
    s.end(big);
  }
}
const server = http.createServer({ keepAlive: true, keepAliveTimeout: 40 }, answer);
server.on('upgrade', (q, socket) => {
  socket.write('HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\n\\r\\n');
  socket.on('error', () => {});
  socket.pipe(socket);
});
server.listen(+plain, '127.0.0.1');
http2.createServer(answer).listen(+clear, '127.0.0.1');
http2.createSecureServer({ key: fs.readFileSync(key), cert: fs.readFileSync(cert), allowHTTP1: true }, answer).listen(+secure, '127.0.0.1');
"""


def nodejs():
    """(cleartext HTTP/1.1 port, h2c port, TLS port with both)"""
    if not shutil.which("node"):
        raise Skip("nodejs is not installed")
    folder, ports = temp_dir("brink-nodejs-"), [free_port() for _ in range(3)]
    certificate, key = authority().certificate(["localhost", "127.0.0.1"])
    path = os.path.join(folder, "server.js")
    with open(path, "w") as out:
        out.write(SERVER)
    Process("nodejs", ["node", path, *map(str, ports), key, certificate], folder)
    for port in ports:
        eventually("it listens", lambda: socket.create_connection(("127.0.0.1", port), timeout=5).close() or True, timeout=30 * SLOW)
    return ports


def ways():
    """(node before it, the protocol that it is to see) for every way there is."""
    plain, clear, secure = nodejs()
    for url, http2, protocol in ((f"http://127.0.0.1:{plain}", True, "1.1"), (f"h2c://127.0.0.1:{clear}", True, "2.0"),
                                 (f"https://localhost:{secure}", True, "2.0"), (f"https://localhost:{secure}", False, "1.1")):
        node = Node(origins=[url], site={"ca": authority().pem} if url.startswith("https") else None, config={"upstream": {"http2": http2}})
        yield node, protocol, url
        node.stop()


def test_every_way_to_it():
    for node, protocol, url in ways():
        for expected in ("MISS", "HIT"):
            r = node.get("/")
            assert r.body == b"n" * 700000 and r.x_cache == expected and r["x-protocol"] == protocol, (url, r)
            r = node.get("/chunked")
            assert r.body == b"one two" and r.x_cache == expected, (url, r)
            assert "x-sum" not in r and "set-cookie" not in r and r.status == 200, "trailers are dropped"
        assert node.get("/p", method="POST", body=b"x" * 500_000).body == b"500000"
        assert node.get("/p", method="POST", body=b"").body == b"0"
        r = node.get("/", headers={"Range": "bytes=5-9"})
        assert r.status == 206 and r.body == b"nnnnn", r
        assert node.get("/tag").body == b"tagged"
        time.sleep(1.6)
        r = node.get("/tag")
        assert r.x_cache == "REVALIDATED" and r.body == b"tagged", (url, r)
        crowd = together(30, lambda _: node.get("/crowd"))
        assert all(r.body == b"n" * 700000 for r in crowd)
        assert int(node.get("/seen?/crowd").body) <= 4, "once for each way so far"


def test_a_socket_that_it_destroys_is_a_cut():
    for n, (node, _, url) in enumerate(ways()):
        for _ in (1, 2):
            try:
                assert False, (url, node.get(f"/destroyed{n}"))
            except Incomplete:
                pass
        assert int(node.get(f"/seen?/destroyed{n}").body) == 2, "it was stored, or asked for again"
        assert node.get("/").status == 200


def test_connections_that_it_closes_cost_nobody_an_error():
    """It closes a connection that was idle for 40 ms: just when the next request is sent on it, again and again."""
    plain, _, _ = nodejs()
    node = Node(origins=[f"http://127.0.0.1:{plain}"])

    def ask(worker):
        wrong = []
        with node.conn() as c:
            for i in range(40):
                time.sleep(0.037 + 0.001 * (i % 8))
                method = ("GET", "POST")[i % 2]
                c.request(f"/seen?{worker}-{i}", method=method, body=b"abc" if i % 2 else b"")
                r = c.response()
                if r.status != 200:
                    wrong.append((method, r))
        return wrong

    wrong = sum(together(8, ask), [])
    assert not wrong, f"{len(wrong)} of 320: {wrong[0]}"


def test_hints_and_an_upgrade():
    plain, _, _ = nodejs()
    node = Node(origins=[f"http://127.0.0.1:{plain}"])
    r = node.get("/hints")
    assert r.body == b"hinted" and [i.status for i in r.interim] == [103], (r, r.interim)
    with node.conn() as c:
        c.request("/ws", headers={"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="})
        r = c.head()
        assert r.status == 101 and r["upgrade"] == "websocket", r
        data = os.urandom(300_000)
        later = Later(c.exactly, len(data), Response(200, []))
        c.send(data)
        assert later.result() == data


if __name__ == "__main__":
    main()
