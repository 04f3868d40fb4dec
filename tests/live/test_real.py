"""In front of an origin that nobody here wrote: nginx with a directory tree of this machine, crawled through the edge twice
by wget over HTTPS and asked by h2load, byte for byte equal to the source."""
import filecmp

from harness import *

TREE = "/usr/include/openssl", "/usr/include/linux"  # some hundred files that every build machine has


def nginx(root):
    folder, port = temp_dir("brink-nginx-"), free_port()
    user = "user root;" if os.getuid() == 0 else ""
    with open(os.path.join(folder, "nginx.conf"), "w") as out:
        out.write(f"""daemon off; {user} worker_processes 1; pid {folder}/pid; error_log stderr warn;
events {{ worker_connections 1024; }}
http {{ access_log {folder}/access.log; default_type text/plain; sendfile on;
  client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3; uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
  server {{ listen 127.0.0.1:{port}; root {root}; autoindex on; location / {{ expires 1h; }} }} }}
""")
    process = Process("nginx", ["nginx", "-e", "stderr", "-p", folder, "-c", os.path.join(folder, "nginx.conf")], folder)
    eventually("nginx answers", lambda: fetch(port, "/").status == 200)
    return process, port, os.path.join(folder, "access.log")


def source():
    root = os.path.join(temp_dir(), "www")
    import shutil
    os.mkdir(root)
    for tree in TREE:
        shutil.copytree(tree, os.path.join(root, os.path.basename(tree)))
    with open(os.path.join(root, "large.bin"), "wb") as out:
        out.write(os.urandom(20_000_000))
    open(os.path.join(root, "empty"), "w").close()
    with open(os.path.join(root, "a name with spaces & ümlaut.txt"), "w") as out:
        out.write("hello\n")
    return root


def same(one, two, but=()):
    """Every file of one is in two with the same bytes; the number of files."""
    count = 0
    for folder, _, names in os.walk(one):
        for name in names:
            a = os.path.join(folder, name)
            b = os.path.join(two, os.path.relpath(a, one))
            assert os.path.exists(b), f"{b} was not fetched"
            assert filecmp.cmp(a, b, shallow=False), f"{a} and {b} differ"
            count += 1
    return count


def test_a_crawl_is_the_source():
    root = source()
    _, port, log = nginx(root)
    node = Node(origins=[f"http://127.0.0.1:{port}"], tls=True, disk="2GiB")
    for round_ in (1, 2):
        copy = temp_dir("brink-copy-")
        done = subprocess.run(["wget", "-q", "-r", "-l", "20", "-np", "-nH", "--ca-certificate", authority().pem, "-P", copy, "-R", "index.html*",
                               "-e", "robots=off", f"https://localhost:{node.tls_port}/"], stderr=subprocess.PIPE, timeout=200)
        count = same(root, copy)
        assert count > 300, count
        with open(log) as lines:
            asked = sum(1 for _ in lines)
        if round_ == 1:
            first = asked
    assert asked <= first + 5, f"the second crawl asked the origin {asked - first} times"
    # The same after a restart, from disk.
    node.restart()
    for path in ("/openssl/ssl.h", "/large.bin", "/empty"):
        r = node.https(path, host=f"localhost:{node.tls_port}")
        with open(root + path, "rb") as f:
            assert r.body == f.read() and r.x_cache == "HIT", (path, r.status, r["cache-status"])


def test_h2load_finds_nothing_wrong():
    root = source()
    _, port, log = nginx(root)
    node = Node(origins=[f"http://127.0.0.1:{port}"], tls=True)
    for arguments in (["-c", "20", "-m", "20", "-n", "4000"], ["--h1", "-c", "20", "-n", "2000"]):
        for path in ("/openssl/ssl.h", "/empty", "/openssl/none.h"):
            done = subprocess.run(["h2load", *arguments, f"https://localhost:{node.tls_port}{path}"], stdout=subprocess.PIPE, timeout=120)
            text = done.stdout.decode()
            total = int(arguments[-1])
            assert f"{total} done, {total} succeeded, 0 failed, 0 errored, 0 timeout" in text or path.endswith("none.h"), text
            kind = "4xx" if path.endswith("none.h") else "2xx"
            assert f"{total} {kind}" in text, text
    with open(log) as lines:
        asked = [line for line in lines if "/openssl/ssl.h" in line]
    assert len(asked) == 1, asked


if __name__ == "__main__":
    main()
