"""Fault by fault: what the visitor sees, what the origin sees, and that nothing wrong is stored. Over HTTP/1.1, HTTP/2 in
cleartext and over TLS, and between an edge and its shield. With --table the outcomes are printed, as edge/fetch/README.md
has them."""
from fault import Fault
from harness import *

BODY, NEW = os.urandom(60_000), os.urandom(60_000)
PATIENCE = {"connect_timeout": "2s", "first_byte_timeout": "2s", "idle_timeout": "2s"}

# name: (mode, arguments); a first byte may take 2 s, and so may the time between two.
FAULTS = {
    "refused": ("refuse", {}),
    "black hole": ("hole", {}),
    "no answer": ("deaf", {}),
    "closed when asked": ("cut", {"after": 0}),
    "reset when asked": ("reset", {"after": 0}),
    "rubbish instead": ("garbage", {"after": 0}),
    "cut in the head": ("cut", {"after": 40}),
    "cut in the body": ("cut", {"after": 30_000}),
    "reset in the body": ("reset", {"after": 30_000}),
    "stalls in the body": ("stall", {"after": 30_000}),
    "late by 0.3 s": ("delay", {"seconds": 0.3}),
    "drips, 40 KB/s": ("drip", {"rate": 40_000}),
}
COPIES = {
    "none": None,
    "stale-if-error": "max-age=1, stale-if-error=600",
    "must-revalidate": "max-age=1, must-revalidate, stale-if-error=600",
}
BEFORE_THE_HEAD = {"refused": "502", "black hole": "504", "no answer": "504", "closed when asked": "502", "reset when asked": "502",
                   "rubbish instead": "502", "cut in the head": "502"}
CUT = ("cut in the body", "reset in the body", "stalls in the body")


def expected(fault, copy):
    """What may be seen: before the head an error or the copy, after it the cut; and what works, works."""
    if fault in BEFORE_THE_HEAD:
        return "stale" if copy == "stale-if-error" else BEFORE_THE_HEAD[fault]
    return "cut" if fault in CUT else "new"


def seen(get):
    try:
        r = get()
    except Incomplete:
        return "cut"
    if r.status != 200:
        return str(r.status)
    assert r.body in (BODY, NEW), f"{len(r.body)} bytes that nobody sent: {r}"
    return "stale" if r.x_cache == "STALE" and r.body == BODY else "old" if r.body == BODY else "new"


def origins(protocol, count):
    """`count` times (origin, port that speaks the protocol before it)."""
    real = [Origin() for _ in range(count)]
    if protocol == "http/1.1":
        return [(o, o.port) for o in real]
    tls = protocol == "h2 over TLS"
    folder, ports = temp_dir("brink-nginx-"), [free_port() for _ in real]
    certificate, key = authority().certificate(["localhost", "127.0.0.1"])
    ssl_words = f"ssl_certificate {certificate}; ssl_certificate_key {key};" if tls else ""
    user = "user root;" if os.getuid() == 0 else ""
    servers = "\n".join(f"server {{ listen 127.0.0.1:{p}{' ssl' if tls else ''} http2; {ssl_words} location / {{ proxy_pass http://127.0.0.1:{o.port}; }} }}"
                        for o, p in zip(real, ports))
    with open(os.path.join(folder, "nginx.conf"), "w") as out:
        out.write(f"""daemon off; {user} worker_processes 1; pid {folder}/pid; error_log stderr crit;
events {{ worker_connections 1024; }}
http {{ access_log off; proxy_buffers 8 64k; proxy_temp_path {folder}/2; client_body_temp_path {folder}/1; fastcgi_temp_path {folder}/3;
  uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
  {servers} }}
""")
    Process("nginx", ["nginx", "-e", "stderr", "-p", folder, "-c", os.path.join(folder, "nginx.conf")], folder)
    for port in ports:
        eventually("nginx listens", lambda: socket.create_connection(("127.0.0.1", port), 5).close() or True)
    return list(zip(real, ports))


class Case:
    """One fault with one kind of copy: an origin, a proxy, and a site of its own, so that all cases run at once."""

    def __init__(self, n, fault, copy, origin, port, protocol):
        self.host, self.fault, self.copy, self.origin = f"case-{n}.example", fault, copy, origin
        scheme = {"http/1.1": "http", "h2c": "h2c", "h2 over TLS": "https"}[protocol]
        self.proxy = Fault(port, scheme, "localhost" if scheme == "https" else "127.0.0.1")
        self.node = None

    def get(self, path="/a"):
        return self.node.get(path, host=self.host, timeout=60)

    def run(self):
        if COPIES[self.copy]:
            self.origin.on("/a", body=BODY, headers={"Cache-Control": COPIES[self.copy]})
            r = self.get()
            assert r.status == 200 and r.body == BODY, (self.fault, r)
            time.sleep(2.1)  # Age counts in seconds, and so may the copy's
        self.origin.on("/a", body=NEW, headers={"Cache-Control": "max-age=600"})
        before = self.origin.count("/a")
        mode, arguments = FAULTS[self.fault]
        self.proxy.become(mode, **arguments)
        began = time.monotonic()
        self.outcome = seen(self.get)
        self.took = time.monotonic() - began
        self.asked = self.origin.count("/a") - before
        self.after()
        return self

    def after(self):
        """What is stored now is the copy of before, or the whole new response; and the origin is found again."""
        self.proxy.become("pass")

        def well():
            r = self.get()
            assert r.status == 200 or r.status in (502, 503, 504), (self.fault, self.copy, r)
            assert r.status != 200 or r.body == NEW or (r.x_cache == "STALE" and r.body == BODY), (self.fault, self.copy, r)
            return r.status == 200 and r.body == NEW
        eventually(f"{self.fault}, {self.copy}: the new response", well, timeout=60, step=0.1)

        def stored():  # the last byte may be here before the end of the stream
            r = self.get()
            assert r.status == 200 and r.body == NEW, (self.fault, self.copy, r)
            return r.x_cache == "HIT"
        eventually(f"{self.fault}, {self.copy}: it is stored", stored)


def run_cases(protocol):
    pairs = [(fault, copy) for fault in FAULTS for copy in COPIES]
    cases = [Case(n, fault, copy, *origin, protocol) for n, ((fault, copy), origin) in enumerate(zip(pairs, origins(protocol, len(pairs))))]
    node = Node(workers=2, sites=[{"hosts": [c.host], "origins": [c.proxy.url]} | ({"ca": authority().pem} if protocol == "h2 over TLS" else {})
                                  for c in cases], config={"upstream": PATIENCE})
    for case in cases:
        case.node = node
    return [later.result(120) for later in [Later(c.run) for c in cases]]


def check(protocol):
    done, wrong = run_cases(protocol), []
    for c in done:
        # A request that may be sent again is sent again once; and once more for a kept connection that turned out to be closed.
        ceiling = 2 if protocol == "http/1.1" else 3
        if c.outcome != expected(c.fault, c.copy) or c.asked > ceiling:
            wrong.append(f"{c.fault} / {c.copy}: {c.outcome}, not {expected(c.fault, c.copy)}; {c.asked} requests at the origin, {c.took:.1f} s")
    if os.environ.get("BRINK_TABLE"):
        table(protocol, done)
    assert not wrong, f"over {protocol}:\n" + "\n".join(wrong)


def table(title, done):
    print(f"\n| {title} | " + " | ".join(f"copy: {copy}" for copy in COPIES) + " |\n" + "|---" * (len(COPIES) + 1) + "|")
    for fault in FAULTS:
        row = [c for c in done if c.fault == fault]
        print(f"| {fault} | " + " | ".join(f"{c.outcome}, {c.took:.1f} s, {c.asked} at the origin" for c in row) + " |")


def test_over_http1():
    check("http/1.1")


def test_over_http2_in_cleartext():
    check("h2c")


def test_over_http2_and_tls():
    check("h2 over TLS")


# ---- between the tiers: the shield fails, the origin is well ----

SHIELD_FAULTS = {"killed": ("refuse", {}), "black hole": ("hole", {}), "no answer": ("deaf", {}), "late by 5 s": ("delay", {"seconds": 5}),
                 "rubbish": ("garbage", {"after": 0}), "reset in the body": ("reset", {"after": 30_000}),
                 "stalls in the body": ("stall", {"after": 30_000}), "drips, 40 KB/s": ("drip", {"rate": 40_000})}


def shield_case(fault, copy, scheme):
    origin = Origin()
    shield = Node(origins=[origin.url], name="shield-1", tier=True, workers=1)
    proxy = Fault(shield.port, scheme)
    edge = Node(origins=[origin.url], name="edge-1", shield=[proxy.url], workers=1, config={"upstream": PATIENCE})
    if COPIES[copy]:
        origin.on("/a", body=BODY, headers={"Cache-Control": COPIES[copy], "ETag": '"v1"'})
        assert edge.get("/a").body == BODY
        time.sleep(2.1)
    origin.on("/a", shield_reply)
    before = origin.count("/a")
    mode, arguments = SHIELD_FAULTS[fault]
    proxy.become(mode, **arguments)
    began = time.monotonic()
    outcome = seen(lambda: edge.get("/a", timeout=60))
    took, asked = time.monotonic() - began, origin.count("/a") - before
    proxy.become("pass")
    r = edge.get("/a")
    assert r.status == 200 and r.body == NEW, (fault, copy, r)
    return fault, copy, outcome, took, asked


def shield_reply(request):
    """The new representation; with ranges, as a body that was cut is asked for the rest."""
    headers = {"Cache-Control": "max-age=600", "ETag": '"v2"'}
    if request["range"] and request["if-range"] == '"v2"':
        first = int(request["range"][6:].rstrip("-"))
        headers["Content-Range"] = f"bytes {first}-{len(NEW) - 1}/{len(NEW)}"
        return Reply(NEW[first:], status=206, headers=headers)
    return Reply(NEW, headers=headers)


def test_a_shield_that_fails():
    """The edge goes past it: nobody sees anything but the new response, whole."""
    pairs = [(fault, copy) for fault in SHIELD_FAULTS for copy in ("none", "must-revalidate")]
    if not os.environ.get("BRINK_TABLE"):
        pairs = [pair for n, pair in enumerate(pairs) if n % 4 in (0, 3)]  # one kind of copy each
    done = []
    for at in range(0, len(pairs), 4):  # four tiers at a time
        done += [later.result(120) for later in [Later(shield_case, fault, copy, ("http", "h2c")[n % 2])
                                                 for n, (fault, copy) in enumerate(pairs[at:at + 4])]]
    if os.environ.get("BRINK_TABLE"):
        print("\n| the shield, seen from the edge | copy: none | copy: must-revalidate |\n|---|---|---|")
        for fault in SHIELD_FAULTS:
            print(f"| {fault} | " + " | ".join(f"{o}, {t:.1f} s, {a} at the origin" for f, _, o, t, a in done if f == fault) + " |")
    wrong = [d for d in done if d[2] != "new" or not 1 <= d[4] <= 3]
    assert not wrong, wrong


if __name__ == "__main__":
    if "--table" in sys.argv:
        sys.argv.remove("--table")
        os.environ["BRINK_TABLE"] = "1"
    main()
