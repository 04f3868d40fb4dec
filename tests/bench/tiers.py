"""What two tiers cost and what they spare the origin, on loopback: tools/bench --tiers.

  collapse   10,000 requests at once for one cold key over 2 edges and 2 shields: requests that the origin got
  waiters    how much later than the leader's first byte those of the requests came that waited for the same fetch
  slow       the leader's time with waiters that read nothing
  miss       p50 and p99 of a miss through edge and shield, and of the origin (nginx) asked directly, in turn
  refresh    1,000 requests a second on 10 keys of 2 s lifetime, origin 100 ms: share of requests that waited
  outage     an origin down under load, everything with stale-if-error: errors, and what the origin was asked
"""
import random
import select
import statistics

from harness import *

FRESH = {"Cache-Control": "max-age=600"}


def post(text):
    print(text, flush=True)


def collapse():
    origin = Origin()
    gate = threading.Event()
    origin.on("/hot", gate=gate, body=os.urandom(5000), headers=FRESH)
    shields = [Node(origins=[origin.url], name=f"shield-{n}", tier=True) for n in (1, 2)]
    edges = [Node(origins=[origin.url], name=f"edge-{n}", shield=shields) for n in (1, 2)]
    loads = [subprocess.Popen(["h2load", "-n", "5000", "-c", "50", "-m", "100", "--header", ":authority: test.example",
                               f"http://127.0.0.1:{edge.port}/hot"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
             for edge in edges]
    eventually("all of them wait", lambda: sum(e.metric("brink_collapsed_total") for e in edges) >= 9998, timeout=60 * SLOW)
    gate.set()
    good = sum(int(re.search(r"(\d+) succeeded", load.communicate(timeout=60)[0])[1]) for load in loads)
    post(f"collapse   {good} requests answered, {origin.count('/hot')} to the origin")
    return good, origin.count("/hot")


def first_bytes(node, origin, count, path):
    """Seconds from the leader's first byte to those of its waiters, as one epoll loop sees them."""
    gate = threading.Event()
    origin.on(path, gate=gate, body=b"x" * 2000, headers=FRESH)
    poll, arrived, lines = select.epoll(), {}, {}
    for i in range(count + 1):
        s = socket.create_connection(("127.0.0.1", node.port))
        lines[s.fileno()] = s
        s.sendall(f"GET {path} HTTP/1.1\r\nHost: test.example\r\n\r\n".encode())
        if i == 0:
            leader = s.fileno()
            eventually("the origin is asked", lambda: origin.count(path))
        poll.register(s.fileno(), select.EPOLLIN | select.EPOLLONESHOT)
    time.sleep(0.3)
    gate.set()
    while len(arrived) <= count:
        for fd, _ in poll.poll(10):
            arrived[fd] = time.perf_counter()
    for s in lines.values():
        s.close()
    return [t - arrived[leader] for fd, t in arrived.items() if fd != leader]


def waiters(best=False):
    """Medians over the rounds, or their best."""
    origin = Origin()
    node = Node(origins=[origin.url])
    medians, worst = [], []
    for n in range(15):
        medians.append(statistics.median(first_bytes(node, origin, 10, f"/ten{n}")))
    for n in range(3):
        worst.append(max(first_bytes(node, origin, 1000, f"/thousand{n}")))
    median, last = (min(medians), min(worst)) if best else (statistics.median(medians), statistics.median(worst))
    post(f"waiters    10: median {median * 1e3:.3f} ms after the leader (worst run {max(medians) * 1e3:.3f}); "
         f"1,000: the last {last * 1e3:.1f} ms after (worst run {max(worst) * 1e3:.1f})")
    return median, last


def slow():
    origin = Origin()
    body = os.urandom(8_000_000)
    node = Node(origins=[origin.url])
    times = {}
    for kind, idle in (("alone", 0), ("beside", 50)):
        gate = threading.Event()
        origin.on(f"/{kind}", body=[body[:1000], gate, body[1000:]], headers=FRESH)
        with node.conn() as leader:
            leader.request(f"/{kind}")
            r = leader.head()
            others = [node.conn() for _ in range(idle)]
            for c in others:
                c.request(f"/{kind}")
                c.head()
            began = time.perf_counter()
            gate.set()
            leader.exactly(len(body), r)
            times[kind] = time.perf_counter() - began
            for c in others:
                c.close()
    post(f"slow       8 MB to the leader in {times['alone'] * 1e3:.1f} ms alone, {times['beside'] * 1e3:.1f} ms beside 50 that read nothing")


def nginx():
    folder, port = temp_dir("brink-bench-"), free_port()
    with open(os.path.join(folder, "nginx.conf"), "w") as out:
        out.write(f"daemon off; {'user root; ' if os.getuid() == 0 else ''}worker_processes 1; pid {folder}/pid; error_log stderr warn;\n"
                  "events {} http { access_log off; keepalive_requests 1000000; server { "
                  f"listen 127.0.0.1:{port}; location / {{ add_header Cache-Control max-age=600; return 200 '{'x' * 1000}'; }} }} }}\n")
    Process("nginx", ["nginx", "-e", "stderr", "-p", folder, "-c", os.path.join(folder, "nginx.conf")], folder)
    eventually("nginx answers", lambda: fetch(port, "/").status == 200)
    return port


def miss(rounds=3000):
    port = nginx()
    shield = Node(origins=[f"http://127.0.0.1:{port}"], name="shield-1", tier=True, workers=1, config={"log": {"access": "off"}})
    edge = Node(origins=[f"http://127.0.0.1:{port}"], name="edge-1", shield=[shield], workers=1, config={"log": {"access": "off"}})
    times = {"origin": [], "tiers": []}
    lines = {"origin": socket.create_connection(("127.0.0.1", port)), "tiers": socket.create_connection(("127.0.0.1", edge.port))}
    for s in lines.values():
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for i in range(rounds + 200):
        for name, s in lines.items():
            began = time.perf_counter()
            s.sendall(f"GET /{i} HTTP/1.1\r\nHost: test.example\r\n\r\n".encode())
            got = s.recv(65536)
            while not got.endswith(b"x" * 1000):
                got += s.recv(65536)
            if i >= 200:
                times[name].append(time.perf_counter() - began)
    q = lambda name, p: sorted(times[name])[int(len(times[name]) * p)] * 1e3
    post(f"miss       p50 {q('tiers', .5):.3f} ms through both tiers, {q('origin', .5):.3f} ms from the origin: "
         f"{q('tiers', .5) - q('origin', .5):.3f} ms more; p99 {q('tiers', .99):.3f} and {q('origin', .99):.3f} ms")
    return q("tiers", .5) - q("origin", .5)


def steady(node, seconds, path, each):
    """About 1,000 requests a second from 20 connections; `each` is told of every answer and how long it took."""
    end = time.monotonic() + seconds

    def one(_):
        chance = random.Random(_)
        with node.conn() as c:
            due = time.monotonic()
            while due < end:
                due += chance.expovariate(50)
                time.sleep(max(0, due - time.monotonic()))
                began = time.monotonic()
                c.request(path(chance))
                each(c.response(), time.monotonic() - began)

    together(20, one)


def refresh(seconds=12):
    origin = Origin()
    origin.on("*", body=b"x" * 500, delay=0.1, headers={"Cache-Control": "max-age=2"})
    node = Node(origins=[origin.url])
    together(10, lambda i: node.get(f"/{i}"))
    seen, waited = [0], [0]

    def each(r, took):
        seen[0] += 1
        waited[0] += "fwd" in r.own

    steady(node, seconds, lambda chance: f"/{chance.randrange(10)}", each)
    post(f"refresh    {waited[0]} of {seen[0]} requests waited for the origin ({100 * waited[0] / seen[0]:.2f} %), "
         f"{origin.count()} fetches in {seconds} s; {node.metric('brink_early_refreshes_total'):.0f} early")


def outage(seconds=60):
    origin = Origin()
    origin.on("*", body=b"x" * 500, headers={"Cache-Control": "max-age=1, stale-if-error=600"})
    node = Node(origins=[origin.url])
    together(10, lambda i: node.get(f"/{i}"))
    time.sleep(1.1)
    origin.stop()
    seen, errors, slowest = [0], [0], [0]

    def each(r, took):
        seen[0] += 1
        errors[0] += r.status != 200
        slowest[0] = max(slowest[0], took)

    steady(node, seconds, lambda chance: f"/{chance.randrange(10)}", each)
    asked = node.metric("brink_upstream_errors_total")
    origin.start()
    post(f"outage     {errors[0]} errors in {seen[0]} requests over {seconds} s, the slowest {slowest[0] * 1e3:.1f} ms; "
         f"the origin was tried {asked:.0f} times")


def run(only=()):
    for measure in (collapse, waiters, slow, miss, refresh, outage):
        if not only or measure.__name__ in only:
            try:
                measure()
            finally:
                stop_all()
