"""Wrong configurations end with 2 and the place; what the machine refuses ends with a clear sentence."""
from harness import *

GOOD = """listen:
  - address: 127.0.0.1:%(port)d
admin: { address: "127.0.0.1:%(admin)d" }
state: "%(state)s"
sites:
  - hosts: ["*"]
    origins: ["http://127.0.0.1:1"]
"""


def checked(text):
    """(exit code, stderr, line, column) of brinkd -t."""
    node = Node(raw=text, start=False)
    code, said = node.check()
    place = re.search(re.escape(node.config_path) + r":([0-9]+):([0-9]+): (.+)", said)
    return code, said, int(place[1]) if place else None, int(place[2]) if place else None


def good():
    return GOOD % {"port": free_port(), "admin": free_port(), "state": os.path.join(temp_dir(), "state")}


def test_good_ones_pass():
    code, said, _, _ = checked(good())
    assert code == 0, said
    origin = Origin()
    node = Node(origins=[origin.url], tls=True, disk=True, tier=True, start=False)
    code, said = node.check()
    assert code == 0, said
    done = subprocess.run([program("brinkctl"), "check", node.config_path], stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr


def test_places_of_errors():
    base = good()
    lines = base.count("\n")
    for text, line, column, words in (
            (base + "listne: []\n", lines + 1, 1, ["listne", "listen"]),
            (base + "workers: many\n", lines + 1, 10, ["workers"]),
            (base + "workers: 0\n", lines + 1, 10, ["workers"]),
            (base + "memory: { size: 12 cows }\n", lines + 1, 17, ["12 cows"]),
            (base + "memory: { size: 256MB }\n", lines + 1, 17, ["MiB"]),
            (base + "drain: soon\n", lines + 1, 8, ["soon"]),
            (base + "log: { format: xml }\n", lines + 1, 16, ["json"]),
            (base + "purge: { redis: \"rediss://127.0.0.1/0\" }\n", lines + 1, 17, ["stunnel"]),
            (base + "memory: [\n", None, None, []),
            (base + "workers: 1\nworkers: 2\n", lines + 2, 1, ["workers"]),
            (base + "    orgins: []\n", lines + 1, 5, ["orgins", "origins"]),
            (base.replace("http://127.0.0.1:1", "ftp://127.0.0.1:1"), None, None, ["ftp"]),
            (base.replace("127.0.0.1:%s" % re.search(r":(\d+)\n", base)[1], "127.0.0.1:99999"), 2, None, ["99999"]),
            ("", None, None, []), ("just text", None, None, []), ("\0\1", None, None, [])):
        code, said, l, c = checked(text)
        assert code == 2, (text[-60:], code, said)
        if line:
            assert (l, c) == (line, column or c), (text[-60:], said)
        for word in words:
            assert word in said, (text[-60:], said)
        assert "runtime error" not in said and "Sanitizer" not in said, said


def test_a_start_ends_likewise():
    node = Node(raw=good() + "nonsense: 1\n", start=False).launch()
    assert node.process.wait(20) == 2 and "nonsense" in node.log
    done = subprocess.run([program("brinkd"), "-t", "-c", "/nowhere/brink.yaml"], stderr=subprocess.PIPE)
    assert done.returncode == 2 and b"/nowhere/brink.yaml" in done.stderr, done
    for arguments in (["-c"], ["--nonsense"], []):
        done = subprocess.run([program("brinkd"), *arguments], stderr=subprocess.PIPE, stdout=subprocess.PIPE, cwd=temp_dir())
        assert done.returncode == 2 and done.stderr, (arguments, done)
    done = subprocess.run([program("brinkd"), "--version"], stdout=subprocess.PIPE)
    assert done.returncode == 0 and re.search(rb"brinkd? [0-9]+\.[0-9]+", done.stdout), done


def refused(node, *words, timeout=30):
    """Starts a node that can't; it must end by itself with a sentence that names the matter."""
    node.launch()
    code = node.process.wait(timeout)
    assert code not in (0, -6, -11, 99), (code, node.log)
    for word in words:
        assert word in node.log, (word, node.log)
    node.process.check_log()


def test_a_port_that_is_taken():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        node = Node(origins=["http://127.0.0.1:1"], start=False)
        node.config["listen"][0]["address"] = f"127.0.0.1:{taken.getsockname()[1]}"
        node.write()
        refused(node, str(taken.getsockname()[1]), "taken")
    # By another brinkd too, although SO_REUSEPORT would let it share.
    first = Node(origins=["http://127.0.0.1:1"])
    second = Node(origins=["http://127.0.0.1:1"], name="edge-2", start=False)
    second.config["listen"] = first.config["listen"]
    second.write()
    refused(second, str(first.port), "taken")
    third = Node(origins=["http://127.0.0.1:1"], name="edge-3", start=False, config={"admin": {"address": f"127.0.0.1:{first.admin_port}"}})
    refused(third, str(first.admin_port))


def test_files_that_can_not_be_used():
    node = Node(origins=["http://127.0.0.1:1"], tls=True, start=False)
    pair = node.config["listen"][1]["certificates"][0]
    other = authority().certificate(["else.example"])
    for certificate, key, word in ((pair["certificate"], "/nowhere/a.key", "/nowhere/a.key"), ("/nowhere/a.pem", pair["key"], "/nowhere/a.pem"),
                                   (pair["certificate"], other[1], "key"), (pair["certificate"], pair["certificate"], "key")):
        node.config["listen"][1]["certificates"] = [{"certificate": certificate, "key": key}]
        node.write()
        code, said = node.check()
        assert code == 2 and word in said, (code, said)
        refused(node, word)
    rubbish = os.path.join(temp_dir(), "rubbish.pem")
    with open(rubbish, "w") as f:
        f.write("no certificate")
    for name in ("ca", "client_certificate", "client_key"):
        for file in ("/nowhere/x.pem", rubbish):
            upstream = Node(origins=["https://127.0.0.1:1"], start=False)
            pair_of = {"client_certificate": pair["certificate"], "client_key": pair["key"]} if name != "ca" else {}
            upstream.config["sites"][0].update({**pair_of, name: file})
            upstream.write()
            code, said = upstream.check()
            assert code == 2 and file in said and name in said, (code, said)
            done = subprocess.run([program("brinkctl"), "check", upstream.config_path], stderr=subprocess.PIPE)
            assert done.returncode == 2 and file.encode() in done.stderr, done
            refused(upstream, file)
    nobody = Node(origins=["http://127.0.0.1:1"], start=False, config={"user": "no-such-user"})
    code, said = nobody.check()
    assert code == 2 and "no-such-user" in said, (code, said)
    secret = Node(origins=["http://127.0.0.1:1"], start=False, config={"tier": {"secret_file": "/nowhere/secret"}})
    code, said = secret.check()
    assert code == 2 and "/nowhere/secret" in said, said


def test_places_that_can_not_be_written_are_found_by_a_check():
    folder = temp_dir()
    blocked = os.path.join(folder, "file")
    with open(blocked, "w") as f:
        f.write("in the way")
    disk = lambda path: {"disk": {"path": path, "size": "256MiB"}}
    for config, words in (({"log": {"access": "/nowhere/access.log"}}, ["log.access", "/nowhere/access.log", "No such file"]), ({"log": {"access": folder}}, ["log.access", "directory"]),
                          ({"log": {"access": blocked + "/x"}}, ["log.access", "Not a directory"]), ({"state": blocked}, ["state", blocked]),
                          ({"state": blocked + "/a/b"}, ["state", blocked]), (disk(blocked), ["disk", blocked])):
        node = Node(origins=["http://127.0.0.1:1"], start=False, config=config)
        code, said = node.check()
        assert code == 2 and all(word in said for word in words), (config, code, said)
        refused(node)
    # Good ones, of which nothing is there yet; and nothing is made.
    for config in ({"log": {"access": os.path.join(folder, "access.log")}}, {"log": {"access": blocked}}, {"state": os.path.join(folder, "a/b/c/")}, disk(os.path.join(folder, "d"))):
        assert Node(origins=["http://127.0.0.1:1"], start=False, config=config).check()[0] == 0, config
    assert sorted(os.listdir(folder)) == ["file"], os.listdir(folder)


def test_a_disk_that_can_not_be_written():
    blocked = os.path.join(temp_dir(), "file")
    with open(blocked, "w") as f:
        f.write("in the way")
    refused(Node(origins=["http://127.0.0.1:1"], start=False, config={"disk": {"path": blocked + "/cache", "size": "256MiB"}}), blocked)
    refused(Node(origins=["http://127.0.0.1:1"], start=False, config={"state": blocked + "/state"}), blocked)


def test_a_disk_that_is_too_small():
    node = Node(origins=["http://127.0.0.1:1"], disk="200TiB", start=False)
    node.launch()
    eventually("a word about the size", lambda: node.disk_path in node.log or "disk" in node.log, timeout=20)
    if node.process.alive:
        node.process.kill()
    else:
        assert node.process.child.returncode not in (0, -6, -7, -11, 99), node.log


def test_reload():
    one, two = Origin(), Origin()
    one.on("*", lambda r: Reply(b"one"))
    two.on("*", lambda r: Reply(b"two"))
    node = Node(origins=[one.url], tls=True)
    with node.conn() as c:
        c.request("/a")
        assert c.response().body == b"one"
        node.config["sites"][0]["origins"] = [two.url]
        node.write()
        node.process.signal(signal.SIGHUP)
        eventually("the new origin is asked", lambda: node.get("/b").body == b"two")
        c.request("/c")
        assert c.response().body == b"two", "the connection was kept over the reload"
    # A bad file leaves the old configuration running, and is logged.
    node.raw = "nonsense: [\n"
    node.write()
    node.process.signal(signal.SIGHUP)
    eventually("it is logged", lambda: node.config_path + ":" in node.log)
    assert node.get("/d").body == b"two"
    # A new certificate is used for new connections.
    node.raw = None
    def shown():
        with Conn(node.tls_port, tls=tls_context(authority().pem, verify=False)) as c:
            return c.sock.getpeercert(True)
    before = shown()
    certificate, key = authority().certificate(["localhost", "127.0.0.1"])
    node.config["listen"][1]["certificates"] = [{"certificate": certificate, "key": key}]
    node.write()
    node.process.signal(signal.SIGHUP)
    eventually("the new certificate is shown", lambda: shown() != before)


if __name__ == "__main__":
    main()
