"""tools/bench purge: from a purge's acceptance to every node's first fresh answer, and what purging costs.

    tools/bench purge [fleet] [tag] [check] [ceiling] [behind] [soft] [--purges N] [--objects N] [--entries N]

  fleet    2 edges, 2 shields, a Redis, an origin (nginx): after each purge all four nodes are asked again and again for what it
           covers, by one client that waits for whichever answers first; the time until the last one's first answer that the origin
           made after the purge was sent. Quiet, then with 2,000 requests a second on each edge for 2,000 pages.
  tag      a node with 1,000,000 responses that share a tag: time and memory of purging it, and none of them is served
  check    CPU a hit, without purges, after 10,000, and while 1,000 a second come in
  ceiling  the ledger by itself, up to its ceiling and beyond (bench_purge)
  behind   a node that starts 1,000,000 entries behind: time and memory until it is ready
  soft     a soft purge of 100,000 responses that clients go on asking for: what the origin gets at once
"""
import argparse
import importlib.machinery
import importlib.util
import itertools
import os
import random
import re
import selectors
import socket
import statistics
import subprocess
import sys
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "live"))
sys.dont_write_bytecode = True
loader = importlib.machinery.SourceFileLoader("bench", os.path.join(TOP, "tools", "bench"))
bench = importlib.util.module_from_spec(importlib.util.spec_from_loader("bench", loader))
loader.exec_module(bench)

from harness import TOKEN, Node, Redis, eventually, fetch, free_port, program, stop_all, temp_dir  # noqa: E402

QUIET = {"access": "off", "format": "off"}


def say(what, text):
    print(f"{what:9}{text}", flush=True)


class Origin:
    """nginx that says in each answer when it was made (milliseconds, by the clock that the purging client reads)."""

    def __init__(self, more=""):
        self.folder, self.port = temp_dir("brink-bench-"), free_port()
        self.process = bench.nginx("origin", self.folder, f"""
  access_log off;
  server {{ listen 127.0.0.1:{self.port};
    location / {{ add_header Made $msec; add_header Cache-Control "max-age=3600, stale-while-revalidate=3600";
      add_header Surrogate-Key "all page$uri"; {more} return 200 "page $uri\\n"; }} }}""", 1)
        self.url = f"http://127.0.0.1:{self.port}"
        eventually("the origin answers", lambda: fetch(self.port, "/").status == 200)


def resident(pid, what="VmRSS"):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(what + r":\s+(\d+) kB", f.read())[1]) / 1024


def percentiles(times):
    times = sorted(times)
    return times[len(times) // 2], times[min(len(times) - 1, len(times) * 99 // 100)]


# ---- fleet ----

class Asker:
    """One keep-alive connection, asked for one path after the other."""

    def __init__(self, node):
        self.node, self.socket, self.buffer = node, socket.create_connection(("127.0.0.1", node.port)), b""
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, path):
        self.socket.sendall(b"GET %s HTTP/1.1\r\nHost: test.example\r\n\r\n" % path)

    def answer(self):
        """When the origin made what came, or None if it isn't complete yet."""
        self.buffer += self.socket.recv(65536)
        head = self.buffer.find(b"\r\n\r\n")
        if head < 0:
            return None
        length = int(re.search(rb"(?i)\ncontent-length: *(\d+)", self.buffer)[1])
        if len(self.buffer) < head + 4 + length:
            return None
        made = float(re.search(rb"(?i)\nmade: *([\d.]+)", self.buffer)[1])
        self.buffer = b""
        return made


def one_purge(askers, by, number):
    """(s until the purge was answered, s until the last node's first fresh answer), both since it was sent."""
    path = b"/measured-%d" % (number % 50)
    watch = selectors.DefaultSelector()
    for a in askers:
        a.ask(path)
        while a.answer() is None:
            pass
    time.sleep(0.006)  # the origin's clock has steps of a millisecond and a little
    body = b'{"tags":["page%s"]}' % path
    wall, began = time.time(), time.perf_counter()
    by.sendall(b"POST /v1/purge HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n"
               b"Content-Length: %d\r\n\r\n%s" % (TOKEN.encode(), len(body), body))
    answer = by.recv(65536)
    accepted = time.perf_counter() - began
    assert b" 202 " in answer.split(b"\r\n")[0], answer
    for a in askers:
        a.ask(path)
        watch.register(a.socket, selectors.EVENT_READ, a)
    fresh = 0
    while fresh < len(askers):
        for key, _ in watch.select(10):
            made = key.data.answer()
            if made is None:
                continue
            if made >= wall - 0.003:
                watch.unregister(key.fileobj)
                fresh += 1
            else:
                key.data.ask(path)
    watch.close()
    return accepted, time.perf_counter() - began


def fleet(options):
    origin, redis = Origin(), Redis()
    shields = [Node(origins=[origin.url], name=f"shield-{n}", tier=True, redis=redis, workers=1, config={"log": QUIET}) for n in (1, 2)]
    edges = [Node(origins=[origin.url], name=f"edge-{n}", shield=shields, redis=redis, workers=1, config={"log": QUIET}) for n in (1, 2)]
    nodes = edges + shields
    redis.calm(*nodes)
    askers = [Asker(n) for n in nodes]
    ways = [socket.create_connection(("127.0.0.1", n.admin_port)) for n in nodes]
    for load in (False, True):
        loads = []
        if load:
            uris = os.path.join(temp_dir("brink-bench-"), "uris")
            for e in edges:
                bench.write(uris, "".join(f"http://127.0.0.1:{e.port}/page-{n}\n" for n in random.Random(1).choices(range(2000), k=5000)))
                loads.append(subprocess.Popen(["h2load", "--h1", "-c", "20", "-t", "1", "--rps", "100", "-D", "600", "-i", uris],
                                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
                time.sleep(1)
        for n in range(20):
            one_purge(askers, ways[n % 4], n)
        times = [one_purge(askers, ways[n % 4], n) for n in range(options.purges)]
        accepted, last = percentiles([t[0] * 1e3 for t in times]), percentiles([t[1] * 1e3 for t in times])
        after = percentiles([(t[1] - t[0]) * 1e3 for t in times])
        say("fleet", f"{'under load' if load else 'quiet':10}  {len(times)} purges: until answered p50 {accepted[0]:.2f} p99 {accepted[1]:.2f} ms; until every "
            f"node's first fresh answer p50 {last[0]:.2f} p99 {last[1]:.2f} ms since it was sent, p50 {after[0]:.2f} p99 {after[1]:.2f} ms since the answer")
        for child in loads:
            child.terminate()
            child.wait()
    effect = {n.name: n.metric("brink_purge_effect_seconds_sum") / n.metric("brink_purge_effect_seconds_count") * 1e3 for n in nodes}
    say("fleet", "mean from acceptance anywhere to effect here, as the nodes count it: " + ", ".join(f"{k} {v:.2f} ms" for k, v in effect.items()))


# ---- a node ----

def alone(origin, **more):
    config = {"log": QUIET, "memory": {"size": more.pop("memory", "256MiB")}}
    return Node(origins=[origin.url], workers=1, config=bench_merge(config, more.pop("config", {})), **more)


def bench_merge(a, b):
    from harness import merge
    return merge(a, b)


def ask_all(node, count, clients=32):
    """Every page once."""
    uris = bench.write(os.path.join(temp_dir("brink-bench-"), "uris"), "".join(f"http://127.0.0.1:{node.port}/{n}\n" for n in range(count)))
    done = subprocess.run(["h2load", "--h1", "-c", str(clients), "-n", str(count), "-i", uris], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert f"{count} 2xx" in done.stdout, done.stdout


def fill(node, count):
    """h2load gives each of its clients the whole list: one client after the other half of it would do nothing new."""
    step = 20_000
    folder = temp_dir("brink-bench-")
    for part in range(0, count, step * 8):
        loads = []
        for at in range(part, min(part + step * 8, count), step):
            n = min(step, count - at)
            uris = bench.write(os.path.join(folder, str(at)), "".join(f"http://127.0.0.1:{node.port}/{i}\n" for i in range(at, at + n)))
            loads.append((n, subprocess.Popen(["h2load", "--h1", "-c", "1", "-n", str(n), "-i", uris], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)))
        for n, child in loads:
            out = child.communicate()[0]
            assert f"{n} 2xx" in out, out
    eventually("all of it is stored", lambda: node.metric("brink_objects", tier="memory") >= count)


def tag(options):
    origin = Origin()
    node = alone(origin, memory="2GiB")
    fill(node, options.objects)
    before = resident(node.pid), node.metric("brink_ledger_bytes")
    times = []
    for n in range(20):
        began = time.perf_counter()
        answer = node.purge(tags=["all"], wait="local")
        times.append((answer["nodes"][0]["applied_ms"], (time.perf_counter() - began) * 1e3))
    after = resident(node.pid), node.metric("brink_ledger_bytes")
    for n in random.Random(3).sample(range(options.objects), 200):
        assert node.get(f"/{n}").x_cache != "HIT", "a purged response was served"
    say("tag", f"{options.objects} responses: in force after {statistics.median(t[0] for t in times):.3f} ms (worst {max(t[0] for t in times):.3f}); answered, on disk, after "
        f"{statistics.median(t[1] for t in times):.2f} ms; resident {before[0]:.0f} -> {after[0]:.0f} MiB, ledger {before[1]:.0f} -> {after[1]:.0f} bytes")


def check(options):
    origin = Origin()
    node = alone(origin)
    ask_all(node, 100, clients=1)
    uris = bench.write(os.path.join(temp_dir("brink-bench-"), "uris"), "".join(f"http://127.0.0.1:{node.port}/{n}\n" for n in range(100)))
    server = type("Server", (), {"pids": lambda self: [node.pid]})()
    numbers = itertools.count()

    def hits():
        count, before, hit = 150_000, bench.cpu(server), node.metric("brink_requests_total", result="hit")
        done = subprocess.run(["h2load", "--h1", "-c", "16", "-n", str(count), "-i", uris], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert f"{count} 2xx" in done.stdout, done.stdout
        assert node.metric("brink_requests_total", result="hit") - hit == count, "not all were hits"
        return (bench.cpu(server) - before) / count * 1e6

    def purges(count, size=1):
        for _ in range(0, count, size):
            node.purge(tags=[f"never-{next(numbers)}" for _ in range(size)])

    def both():
        """While others purge; what the purges themselves cost is measured alone and taken off."""
        over, sent = threading.Event(), [0]

        def run():
            began = time.monotonic()
            while not over.is_set():
                purges(10, 10)
                sent[0] += 1
                time.sleep(max(0, began + sent[0] * 0.01 - time.monotonic()))
        thread = threading.Thread(target=run)
        thread.start()
        us = hits()
        over.set()
        thread.join()
        before = bench.cpu(server)
        for _ in range(sent[0]):
            purges(10, 10)
            time.sleep(0.002)
        return us - (bench.cpu(server) - before) / 150_000 * 1e6, sent[0] * 10

    none = [hits() for _ in range(5)]
    purges(10_000, 100)
    many = [hits() for _ in range(5)]
    more = [both() for _ in range(5)]
    say("check", f"CPU a hit: no purge {statistics.median(none):.2f} us; after 10,000 purges {statistics.median(many):.2f} us; "
        f"while 10 values come in 100 times a second {statistics.median(m[0] for m in more):.2f} us without the purges' own cost")


def ceiling(options):
    subprocess.run([program("tests/bench_purge")], check=True)


def behind(options):
    origin, redis = Origin(), Redis()
    node = alone(origin, redis=redis, disk=True)
    redis.calm(node)
    idle = resident(node.pid, "RssAnon")
    node.stop()
    began = time.monotonic()
    for at in range(0, options.entries, 100_000):
        each = min(100_000, options.entries - at)
        redis.cli("EVAL", f"for i=1,{each} do redis.call('XADD',KEYS[1],'*','purge','{{\"tags\":[\"n'..(i+{at})..'\"]}}') end", "1", "brink:purge")
    behind = time.monotonic() - began
    began = time.monotonic()
    node.launch()
    eventually("it answers", lambda: fetch(node.admin_port, "/healthz").status == 200, timeout=30)
    looks = []
    while fetch(node.admin_port, "/readyz").status != 200:
        looks.append(resident(node.pid, "RssAnon"))
        assert time.monotonic() - began < 600
        time.sleep(0.1)
    took = time.monotonic() - began
    assert node.metric("brink_purges_total", kind="tag", source="stream") == options.entries
    say("behind", f"{options.entries} entries of the stream (entered in {behind:.0f} s): ready after {took:.1f} s, not ready {len(looks)} times before; anonymous memory {idle:.0f} MiB before, "
        f"{max(looks):.0f} MiB at most, of which the ledger {node.metric('brink_ledger_bytes') / 1048576:.0f}, resident with the pages of the journal's file "
        f"{resident(node.pid, 'VmHWM'):.0f} MiB; gaps {node.status()['purge']['gaps']}")


def soft(options):
    """An origin of our own, slow and counting: nginx can't say how many it has at once."""
    from harness import Origin as Told, Reply
    count, now, most, asked = options.objects // 10, [0], [0], [0]
    lock = threading.Lock()

    def answer(request):
        with lock:
            now[0] += 1
            asked[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.02)
        with lock:
            now[0] -= 1
        return Reply(b"again\n", headers={"Cache-Control": "max-age=3600, stale-while-revalidate=3600", "Surrogate-Key": "all"})
    origin, told = Origin(), Told()
    told.on("*", answer)
    node = alone(origin, memory="512MiB", site={"refill": 20})
    fill(node, count)
    node.config["sites"][0]["origins"] = [told.url]
    node.write()
    node.process.signal(1)
    eventually("reloaded", lambda: "reload" in node.log)
    node.purge(tags=["all"], soft=True)
    began = time.monotonic()
    ask_all(node, count)
    took = time.monotonic() - began
    stale = node.metric("brink_requests_total", result="stale")
    say("soft", f"{count} responses, softly purged and each asked for once within {took:.1f} s: {stale:.0f} served stale at once; the origin (20 ms an answer, refill 20) got "
        f"{asked[0]} requests by then, {most[0]} at once at most")


WHAT = {"fleet": fleet, "tag": tag, "check": check, "ceiling": ceiling, "behind": behind, "soft": soft}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=[[], *WHAT], help="all unless named")
    parser.add_argument("--purges", type=int, default=1000)
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--entries", type=int, default=1_000_000)
    options = parser.parse_args()
    for what in options.what or WHAT:
        WHAT[what](options)
        wrong = stop_all()
        if wrong:
            sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
