"""Apache httpd as the origin: a second server that nobody here wrote, over HTTP/1.1, HTTP/2 in cleartext and over TLS, with its own
conditions, ranges, compression and WebSocket proxying."""
import shutil

from harness import *

MODULES = "/usr/lib/apache2/modules"


def apache(root, more=""):
    """(cleartext port with HTTP/1.1 and h2c, TLS port with HTTP/1.1 and h2, access log)"""
    if not shutil.which("apache2"):
        raise Skip("apache2 is not installed")
    folder, clear, secure = temp_dir("brink-apache-"), free_port(), free_port()
    certificate, key = authority().certificate(["localhost", "127.0.0.1"])
    modules = ["mpm_event", "authz_core", "dir", "mime", "headers", "expires", "deflate", "filter", "ssl", "http2", "proxy", "proxy_http",
               "proxy_wstunnel", "reqtimeout", "socache_shmcb"]
    load = "\n".join(f"LoadModule {m}_module {MODULES}/mod_{m}.so" for m in modules if os.path.exists(f"{MODULES}/mod_{m}.so"))
    user = "User www-data\nGroup www-data" if os.getuid() == 0 else ""
    path = os.path.join(folder, "apache.conf")
    with open(path, "w") as out:
        out.write(f"""{load}
{user}
ServerRoot {folder}
TypesConfig /dev/null
ServerName localhost
PidFile {folder}/pid
DefaultRuntimeDir {folder}
Mutex sem
ErrorLog {folder}/error.log
LogFormat "%H %k %U %s" short
CustomLog {folder}/access.log short
StartServers 1
ServerLimit 1
ThreadsPerChild 32
MaxRequestWorkers 32
Listen 127.0.0.1:{clear}
Listen 127.0.0.1:{secure}
H2Direct on
DocumentRoot {root}
<Directory {root}>
  Require all granted
</Directory>
ExpiresActive On
ExpiresDefault "access plus 1 hour"
AddType text/html .html
AddOutputFilterByType DEFLATE text/html
<VirtualHost 127.0.0.1:{clear}>
  Protocols h2c http/1.1
  {more}
</VirtualHost>
<VirtualHost 127.0.0.1:{secure}>
  Protocols h2 http/1.1
  SSLEngine on
  SSLCertificateFile {certificate}
  SSLCertificateKeyFile {key}
</VirtualHost>
""")
    Process("apache2", ["apache2", "-X", "-f", path], folder)

    def answers():
        with socket.create_connection(("127.0.0.1", clear), timeout=5):
            return True
    eventually("apache listens", answers)
    return clear, secure, os.path.join(folder, "access.log")


def tree():
    root = os.path.join(temp_dir("brink-www-"), "www")
    os.mkdir(root)
    os.chmod(os.path.dirname(root), 0o755)
    for n in range(30):
        with open(os.path.join(root, f"{n}.bin"), "wb") as out:
            out.write(os.urandom(n * 20_000))
    with open(os.path.join(root, "page.html"), "wb") as out:
        out.write(b"<p>hello</p>\n" * 2000)
    return root


def test_every_way_to_apache():
    root = tree()
    clear, secure, log = apache(root)
    for url, protocol in ((f"http://127.0.0.1:{clear}", "HTTP/1.1"), (f"h2c://127.0.0.1:{clear}", "HTTP/2.0"),
                          (f"https://localhost:{secure}", "HTTP/2.0")):
        node = Node(origins=[url], site={"ca": authority().pem} if url.startswith("https") else None, workers=1)
        got = [Later(node.get, f"/{n}.bin") for n in range(30)]
        for n, later in enumerate(got):
            with open(os.path.join(root, f"{n}.bin"), "rb") as f:
                r = later.result()
                assert r.status == 200 and r.body == f.read() and r.x_cache == "MISS", (url, n, r)
        assert all(node.get(f"/{n}.bin").x_cache == "HIT" for n in range(30))
        r = node.get("/7.bin", headers={"Range": "bytes=100-199"})
        with open(os.path.join(root, "7.bin"), "rb") as f:
            assert r.status == 206 and r.body == f.read()[100:200], r
        assert node.get("/none").status == 404 and node.get("/7.bin", method="HEAD").status == 200
        assert node.get("/up", method="POST", body=b"x" * 100_000).status in (404, 405)

        def logged():
            with open(log) as f:
                return [line.split()[0] for line in f.read().splitlines()]
        eventually(f"asked over {protocol}", lambda: logged()[-1] == protocol and logged()[-30:].count(protocol) > 20)
        node.stop()


def test_its_validators_and_its_compression():
    root = tree()
    clear, secure, log = apache(root)
    node = Node(origins=[f"http://127.0.0.1:{clear}"], site={"rules": [{"path": "/**", "override_ttl": "1s"}]}, workers=1)
    for coding in ("gzip", "identity"):
        r = node.get("/page.html", headers={"Accept-Encoding": coding})
        assert r.status == 200 and (r["content-encoding"] or "identity") == coding and "Accept-Encoding" in r["vary"], r
    time.sleep(1.5)
    for path, headers in (("/3.bin", {}), ("/page.html", {"Accept-Encoding": "gzip"})):
        node.get(path, headers=headers)
        time.sleep(1.5)
        r = node.get(path, headers=headers)
        assert r.x_cache in ("REVALIDATED", "MISS", "HIT") and r.status == 200, r

    def validated():
        with open(log) as f:
            return any(line.split()[2:] == ["/3.bin", "304"] for line in f.read().splitlines())
    eventually("its ETag was used", validated)


def test_a_websocket_through_both():
    import asyncio
    import websockets

    async def run():
        async def handler(connection, *_):
            async for message in connection:
                await connection.send(message)
        async with websockets.serve(handler, "127.0.0.1", 0, max_size=None) as server:
            inner = server.sockets[0].getsockname()[1]
            clear, _, _ = await asyncio.to_thread(lambda: apache(tree(), f"ProxyPass /ws/ ws://127.0.0.1:{inner}/"))
            node = await asyncio.to_thread(lambda: Node(origins=[f"http://127.0.0.1:{clear}"], workers=1))
            async with websockets.connect(f"ws://127.0.0.1:{node.port}/ws/chat", max_size=None) as ws:
                for message in ("hello", os.urandom(500_000)):
                    await ws.send(message)
                    assert await ws.recv() == message
            # Apache offers h2c to everybody by itself; nobody takes it up.
            r = await asyncio.to_thread(lambda: node.get("/1.bin", headers={"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings", "HTTP2-Settings": "AAMAAABk"}))
            assert r.status == 200 and "upgrade" not in r, r
    asyncio.run(run())


if __name__ == "__main__":
    main()
