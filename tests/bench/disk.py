"""tools/bench disk: the disk tier by itself, hits from disk beside nginx's, and memory hits while the disk stands still.

    tools/bench disk [--quick] [--mib N] [--passes N] [--rounds N] [--only write|restart|hits|stall]

write, restart: build/tests/bench_disk (see there). hits: bodies of 10 KB and 1 MB that don't fit into memory (24 MiB), from brink's disk
tier and from nginx's proxy_cache; everything is in the page cache, a worker each on core 0, h2load on core 1, in turns. stall: latency of
memory hits while others ask for what is on disk, in pairs with and without a disk whose threads stand still."""
import argparse
import importlib.machinery
import importlib.util
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "live"))
sys.dont_write_bytecode = True
loader = importlib.machinery.SourceFileLoader("bench", os.path.join(TOP, "tools", "bench"))
bench = importlib.util.module_from_spec(importlib.util.spec_from_loader("bench", loader))
loader.exec_module(bench)

from harness import Node, Process, eventually, fetch, free_port, program, stop_all, temp_dir  # noqa: E402

BODIES = {"10 KB": (10240, 10000), "1 MB": (1048576, 240)}
CLIENTS = 8


class Origin:
    def __init__(self):
        self.folder, self.port = temp_dir("brink-bench-"), free_port()
        os.mkdir(os.path.join(self.folder, "www"))
        for size, _ in BODIES.values():
            bench.write(os.path.join(self.folder, "www", str(size)), os.urandom(size))
        self.process = bench.nginx("origin", self.folder, f"""
  access_log off;
  server {{ listen 127.0.0.1:{self.port}; root {self.folder}/www;
    location ~ ^/(\\d+)/ {{ try_files /$1 =404; add_header Cache-Control "public, max-age=86400"; }} }}""", 1)


class Brink:
    name = "brink"

    def __init__(self, origin):
        self.stall_file = os.path.join(temp_dir("brink-bench-"), "stall")
        bench.write(self.stall_file, "0")
        self.node = Node(origins=[f"http://127.0.0.1:{origin.port}"], name="bench", workers=1, start=False, disk="1GiB",
                         config={"memory": {"size": "24MiB", "max_object": "1200KiB"}, "log": {"access": "off", "format": "off"}})
        self.node.process = Process("brink", bench.pinned(0) + [program("brinkd"), "-c", self.node.config_path], self.node.folder,
                                    env={"BRINK_TEST_DISK_STALL": self.stall_file})
        self.process, self.port = self.node.process, self.node.port
        eventually("brink answers", lambda: fetch(self.node.admin_port, "/readyz").status == 200, timeout=30)

    def pids(self):
        return [self.process.pid]

    def from_disk(self):
        return self.node.metric("brink_hits_total", tier="disk")


class Nginx:
    name = "nginx"

    def __init__(self, origin):
        self.folder, self.port = temp_dir("brink-bench-"), free_port()
        self.process = bench.nginx("nginx", self.folder, f"""
  access_log off;
  proxy_cache_path {self.folder}/cache levels=1:2 keys_zone=bench:16m max_size=1g inactive=1d use_temp_path=off;
  server {{ listen 127.0.0.1:{self.port};
    location / {{ proxy_pass http://127.0.0.1:{origin.port}; proxy_cache bench; }} }}""", 0)

    def pids(self):
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as children:
            return [int(p) for p in children.read().split()]


def uris(port, size, count, times=1, first=0):
    """A file for h2load: every URI `times` in a row."""
    name = tempfile.NamedTemporaryFile("w", prefix="brink-bench-", suffix=".uris", delete=False)
    with name as out:
        for k in range(count):
            out.write(f"http://127.0.0.1:{port}/{size}/{(first + k) % count}\n" * times)
    return name.name


def h2load(file, requests, clients=16, log=None):
    done = subprocess.run(bench.pinned(1) + ["h2load", "--h1", "-t", "1", "-c", str(clients), "-m", "1", "-n", str(requests), "-i", file] +
                          (["--log-file", log] if log else []), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)
    text = done.stdout.decode()
    good = re.search(r"status codes: (\d+) 2xx", text)
    rate = re.search(r"finished in [^,]+, ([0-9.]+) req/s", text)
    if not good or int(good[1]) != requests:
        sys.exit(f"tools/bench disk: {requests} requests were not answered well:\n{text}")
    return float(rate[1])


def h2loads(files, requests):
    """One client a file, all at once: the clients of one h2load would ask for the same things in step. Requests a second."""
    began, threads, wrong = time.monotonic(), [], []

    def one(file):
        try:
            h2load(file, requests // len(files), clients=1)
        except SystemExit as e:
            wrong.append(str(e))
    threads = [threading.Thread(target=one, args=(file,)) for file in files]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if wrong:
        sys.exit(wrong[0])
    return requests / (time.monotonic() - began)


def to_disk(server, size, count):
    """Asks again and again, until everything was worth the disk (what its queue has no room for isn't written)."""
    fill = uris(server.port, size, count, 3)
    before = server.node.metric("brink_objects", tier="disk") if server.name == "brink" else 0
    for k in range(30):
        h2load(fill, count * 3, clients=1)
        if k > 0 and (server.name != "brink" or server.node.metric("brink_objects", tier="disk") >= before + count * 0.99):
            return
    sys.exit(f"tools/bench disk: {server.name} doesn't write to its disk")


def disk(what, folder, *arguments):
    path = os.path.join(folder, "tier")
    done = subprocess.run([program("tests/bench_disk"), what, path, *map(str, arguments)], stdout=subprocess.PIPE)
    print(done.stdout.decode(), end="", flush=True)
    if done.returncode:
        sys.exit(f"tools/bench disk: bench_disk {what} failed")


def hits(rounds, seconds):
    origin = Origin()
    eventually("the origin answers", lambda: fetch(origin.port, "/10240/1").status == 200)
    servers = [Brink(origin), Nginx(origin)]
    samples, counts = {}, {}
    for name, (size, count) in BODIES.items():
        for server in servers:
            to_disk(server, size, count)
            lists = [uris(server.port, size, count, first=count * k // CLIENTS) for k in range(CLIENTS)]
            rate = h2loads(lists, count)
            counts[name, server.name] = (lists, max(count, int(rate * seconds)) // CLIENTS * CLIENTS)
    for number in range(rounds):
        for name in BODIES:
            for server in servers if number % 2 == 0 else reversed(servers):
                lists, requests = counts[name, server.name]
                before, disk_before = bench.cpu(server), server.from_disk() if server.name == "brink" else 0
                rate = h2loads(lists, requests)
                used = (bench.cpu(server) - before) / requests * 1e6
                part = (server.from_disk() - disk_before) / requests if server.name == "brink" else 1
                samples.setdefault((name, server.name), []).append((used, rate, part))
    median = lambda key, column: statistics.median(s[column] for s in samples[key])
    print(f"hits from disk, in the page cache; median of {rounds} rounds\n{'body':>7} {'brink':>11} {'nginx':>11} {'brink':>10} {'nginx':>10}  from disk")
    for name in BODIES:
        print(f"{name:>7} {median((name, 'brink'), 0):8.1f} us {median((name, 'nginx'), 0):8.1f} us {median((name, 'brink'), 1):8.0f}/s "
              f"{median((name, 'nginx'), 1):8.0f}/s  {median((name, 'brink'), 2):.3f}", flush=True)


def p99(log):
    with open(log) as lines:
        times = sorted(int(line.split()[2]) for line in lines)
    return times[int(len(times) * 0.99)]


def stall(pairs, seconds):
    origin = Origin()
    eventually("the origin answers", lambda: fetch(origin.port, "/10240/1").status == 200)
    server = Brink(origin)
    size, count = BODIES["1 MB"]
    to_disk(server, size, count)
    small, large = uris(server.port, 10240, 1), uris(server.port, size, count)
    rate = h2load(small, 5000, clients=4)
    log = os.path.join(temp_dir("brink-bench-"), "log")
    ratios, rows = [], []

    def one(stalled):
        bench.write(server.stall_file, "60000" if stalled else "0")
        time.sleep(1.2)  # the node looks once a second
        stop = threading.Event()

        def others():  # what is on disk only, one at a time
            k = 0
            while not stop.is_set():
                fetch(server.port, f"/{size}/{k % count}", timeout=20, host=f"127.0.0.1:{server.port}")
                k += 7
                time.sleep(0.05)
        asking = threading.Thread(target=others)
        asking.start()
        if os.path.exists(log):
            os.remove(log)
        h2load(small, int(rate * seconds), clients=4, log=log)
        stop.set()
        asking.join()
        bench.write(server.stall_file, "0")
        time.sleep(1.2)
        return p99(log)

    for number in range(pairs):
        order = (False, True) if number % 2 == 0 else (True, False)
        got = {stalled: one(stalled) for stalled in order}
        ratios.append(got[True] / got[False])
        rows.append(got)
    print("memory hits, p99 in us without and with a disk that stands still: " + ", ".join(f"{g[False]}/{g[True]}" for g in rows))
    print(f"ratio, median of {pairs} pairs: {statistics.median(ratios):.2f}; requests that the disk kept waiting too long: "
          f"{server.node.metric('brink_disk_stalls_total'):.0f}", flush=True)


def main():
    options = argparse.ArgumentParser(prog="tools/bench disk", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true")
    options.add_argument("--mib", type=int, default=1024)
    options.add_argument("--passes", type=int, default=20)
    options.add_argument("--objects", type=int, default=1000000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--only", choices=["write", "restart", "hits", "stall"])
    options = options.parse_args()
    if options.quick:
        options.mib, options.passes, options.objects, options.rounds = 256, 3, 100000, 1
    wanted = [options.only] if options.only else ["write", "restart", "hits", "stall"]
    folder = temp_dir("brink-bench-")
    if "write" in wanted:
        disk("write", folder, options.mib, options.passes)
    if "restart" in wanted:
        disk("restart", folder, max(64, options.objects * 3 // 1024), options.objects)
    if "hits" in wanted:
        hits(options.rounds, 0.5 if options.quick else 2)
    if "stall" in wanted:
        stall(options.rounds, 1 if options.quick else 2)
    wrong = stop_all()
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
