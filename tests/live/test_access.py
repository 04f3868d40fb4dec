"""Who may ask, how often, and with how many connections; and who the node itself may be."""
import pwd

from harness import *

SECRET = "0123456789abcdef0123456789abcdef"


def origin():
    o = Origin()
    for path in ("/a", "/open", "/v/a", "/v/b", "/v/c"):
        o.on(path, lambda r: Reply(r.path.encode(), headers={"Cache-Control": "max-age=600"}))
    return o


def secret_file():
    path = os.path.join(temp_dir("brink-secret-"), "sign.secret")
    with open(path, "w") as out:
        out.write(SECRET + "\n")
    os.chmod(path, 0o600)
    return path


def ctl(*arguments):
    done = subprocess.run([program("brinkctl"), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60,
                          env=dict(os.environ, **ENVIRONMENT))
    return done.returncode, done.stdout.decode().strip(), done.stderr.decode()


def test_networks_by_the_clients_address_and_by_the_proxys_word():
    o = origin()
    port = free_port()
    node = Node([o.url], site={"access": {"allow": ["127.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"], "deny": ["192.0.2.66"]}},
                config={"listen": [{"address": f"127.0.0.1:{port}", "proxy_protocol": True}]})

    def by(line):
        with Conn(port) as c:
            c.send(f"PROXY {line} 1 2\r\n".encode())
            c.request("/a")
            return c.response()

    assert by("TCP4 192.0.2.7 127.0.0.1").status == 200
    assert by("TCP6 2001:db8::7 ::1").status == 200
    r = by("TCP4 192.0.2.66 127.0.0.1")
    assert r.status == 403 and r.own["detail"] == "access"
    assert by("TCP4 198.51.100.1 127.0.0.1").status == 403
    assert o.count() == 1, "whoever is denied neither fetches nor is told"
    assert node.metric("brink_denied_total", reason="network") == 2


def test_rate_is_one_count_for_all_workers_and_protocols():
    o = origin()
    node = Node([o.url], site={"access": {"rate": 5, "burst": 10}}, tls=True)
    began = time.monotonic()
    got = together(40, lambda _: node.get("/a").status)
    took = time.monotonic() - began
    assert set(got) == {200, 429} and 10 <= got.count(200) <= 10 + 5 * took + 1, (got, took)
    with node.h2() as c:
        r = eventually("the bucket is empty", lambda: (lambda r: r if r.status == 429 else None)(c.get("/a")), step=0)
    assert r["retry-after"] == "1", r
    eventually("the bucket fills", lambda: node.get("/a").status == 200)
    assert node.metric("brink_denied_total", reason="rate") >= 4


def test_signed_urls_and_cookies_as_brinkctl_makes_them():
    o, path = origin(), secret_file()
    node = Node([o.url], site={"access": {"secret_file": path}, "rules": [{"path": "/v/**", "signed": True}]})

    def sign(url, *more):
        code, out, err = ctl("sign", url, "--secret-file", path, *more)
        assert code == 0, err
        return out

    assert node.get("/open").status == 200
    assert node.get("/v/a?x=1").status == 403
    url = sign("https://TEST.example/v/%61?x=1")
    assert url.startswith("https://test.example/v/a?x=1&brink-expires="), url
    r = node.get(url.removeprefix("https://test.example"))
    assert r.status == 200 and r.text == "/v/a?x=1", r
    assert o.seen("/v/a")[-1].path == "/v/a?x=1", "the origin sees no signature"
    cookie = sign("https://test.example/v/", "--cookie")
    r = node.get("/v/a?x=1", headers={"Cookie": f"other=1; {cookie}"})
    assert r.status == 200 and r.own["hit"]
    assert node.get("/v/a?x=2", headers={"Cookie": cookie.replace("~/v/~", "~/~")}).status == 403
    short = sign("https://test.example/v/b", "--for", "1s").removeprefix("https://test.example")
    eventually("it expires", lambda: node.get(short).status == 403)
    assert node.get(short).own["detail"] == "expired"
    with open(path, "w") as out:
        out.write("another-secret-another-secret-00\n" + SECRET + "\n")
    node.process.signal(signal.SIGHUP)
    eventually("it reads the new secret", lambda: node.get(sign("https://test.example/v/c").removeprefix("https://test.example")).status == 200)
    assert node.get(url.removeprefix("https://test.example")).status == 200, "what the old one signed still opens"
    code, _, err = ctl("sign", "https://test.example/v", "--secret-file", path, "--cookie")
    assert code == 2 and "ends in /" in err


def test_connections_of_one_address():
    o = origin()
    port = free_port()
    node = Node([o.url], config={"limits": {"connections": 64, "connections_per_address": 3},
                                 "listen": [{"address": f"127.0.0.1:{port}", "proxy_protocol": True}]})

    def dial(address):
        c = Conn(port)
        c.send(f"PROXY TCP4 {address} 127.0.0.1 1 2\r\n".encode())
        c.request("/a")
        return c

    held = [dial("192.0.2.1") for _ in range(3)]
    assert all(c.response().status == 200 for c in held)
    assert not dial("192.0.2.1").more(), "the fourth is closed"
    assert dial("192.0.2.2").response().status == 200, "another address has its own"
    held.pop().close()
    eventually("there is room again", lambda: dial("192.0.2.1").more())
    assert node.metric("brink_over_limit_total") >= 1


def test_handshakes_a_second():
    o = origin()
    node = Node([o.url], tls=True, config={"limits": {"handshakes": 3}})

    def shake(_):
        try:
            return node.https("/a").status == 200
        except (OSError, Incomplete):
            return False

    began = time.monotonic()
    done = sum(together(24, shake))
    took = time.monotonic() - began
    assert 3 <= done <= 3 + 3 * (took + 1) and (done < 24 or took > 5), (done, took)
    assert node.get("/a").status == 200, "cleartext is not concerned"
    eventually("a second later there are more", lambda: node.https("/a").status == 200)


def test_root_is_left_and_nothing_can_be_dumped():
    if os.geteuid() != 0:
        return print("not root: there is nothing to leave")
    o = origin()
    folder = temp_dir("brink-user-")
    os.chmod(folder, 0o755)
    node = Node([o.url], disk=None, start=False,
                config={"user": "nobody", "state": os.path.join(folder, "state"), "log": {"access": "off"},
                        "disk": {"path": os.path.join(folder, "disk"), "size": "64MiB"}})
    os.chmod(node.folder, 0o755)
    node.start()
    nobody = pwd.getpwnam("nobody")
    with open(f"/proc/{node.pid}/status") as status:
        fields = dict(line.rstrip("\n").split(":\t", 1) for line in status if ":\t" in line)
    assert fields["Uid"].split() == [str(nobody.pw_uid)] * 4, fields["Uid"]
    assert fields["Gid"].split() == [str(nobody.pw_gid)] * 4, fields["Gid"]
    assert int(fields["CapEff"], 16) == 0 and int(fields["CapPrm"], 16) == 0
    assert os.stat(os.path.join(folder, "state")).st_uid == nobody.pw_uid
    with open(f"/proc/{node.pid}/limits") as limits:
        core = next(line for line in limits if line.startswith("Max core file size"))
    assert core.split()[4] == "0", core
    assert os.stat(f"/proc/{node.pid}/environ").st_uid == 0, "its own user may not look into it"
    with open(f"/proc/{node.pid}/maps") as maps:
        both = [line for line in maps if "w" in line.split()[1] and "x" in line.split()[1]]
    assert both == [], "no memory is writable and executable"
    assert node.get("/a").status == 200 and node.get("/a").own["hit"]
    assert node.metric("process_open_fds") > 5
    node.restart()
    assert node.get("/a").status == 200


def test_a_user_that_is_not_there_is_said_at_the_start():
    node = Node(["http://127.0.0.1:9"], start=False, config={"user": "no-such-user"})
    node.launch()
    code = node.process.wait(20)
    assert code == 1 and "useradd" in node.process.log, (code, node.process.log)
    node.process.gone()


if __name__ == "__main__":
    main()
