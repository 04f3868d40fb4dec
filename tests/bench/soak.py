#!/usr/bin/python3
"""Whether a node keeps to memory.size: fills, evictions, slow readers and purges for a while, and what the kernel counts.

    tools/bench soak [--seconds N] [--memory SIZE] [--disk SIZE] [--connections N] [--json]

Objects of 200 bytes to 1 MB (most are small) that add up to several times the budget; a part of the connections takes large
bodies at 20 KB a second; purges by URL and by prefix all the time. Anonymous resident memory (RssAnon) is looked at ten times
a second. Exit code 1 when it was ever more than 64 MiB above memory.size."""
import argparse
import json
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "live"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
ALLOWED = 64 << 20
UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def size_of(r):
    return int(200 * 1.35 ** (r.random() ** 2 * 28.5))


def uris(name, base, keys, n, r):
    """Each client of h2load asks for all of them in order."""
    with open(name, "w") as out:
        for _ in range(n):
            k = r.randrange(keys)
            out.write(f"{base}/{k}/{size_of(random.Random(k))}\n")


def slow_reader(port, n, stop):
    r = random.Random(n)
    while not stop.is_set():
        with socket.create_connection(("127.0.0.1", port)) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.sendall(b"GET /slow-%d/900000 HTTP/1.1\r\nHost: test.example\r\nConnection: close\r\n\r\n" % r.randrange(500))
            s.settimeout(30)
            try:
                while not stop.is_set() and s.recv(2048):
                    stop.wait(0.1)
            except OSError:
                pass


def purger(node, keys, stop, count):
    r = random.Random(7)
    while not stop.wait(0.05):
        if r.randrange(200):
            body = {"tags": [], "urls": [f"http://test.example/{k}/{size_of(random.Random(k))}" for k in
                                         (r.randrange(keys) for _ in range(20))], "soft": r.random() < 0.3}
        else:
            body = {"prefixes": [f"test.example/{r.randrange(1, 10)}"]}
        node.purge(**{k: v for k, v in body.items() if v})
        count[0] += 1


def rss(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"RssAnon:\s+(\d+) kB", f.read())[1]) << 10


def main():
    parser = argparse.ArgumentParser(description="resident memory under load")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--memory", default="1536MiB")
    parser.add_argument("--disk")
    parser.add_argument("--connections", type=int, default=400)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    from harness import Node, stop_all
    from hitratio import SizedOrigin
    budget = int(float(options.memory[:-3]) * UNITS[options.memory[-3:]])
    node = Node(origins=[f"http://127.0.0.1:{SizedOrigin.start()}"], name="soak", workers=2,
                config={"memory": {"size": options.memory}, "log": {"access": "off", "format": "off"}},
                **({"disk": options.disk} if options.disk else {}))
    loaders, keys = 8, max(20000, budget // 10000)
    slow = min(100, options.connections // 4)
    clients = (options.connections - slow) // loaders
    stop, purges, high = threading.Event(), [0], 0
    with tempfile.TemporaryDirectory() as folder:
        def load(n):
            r, name = random.Random(n), os.path.join(folder, f"uris-{n}")
            while not stop.is_set():
                uris(name, f"http://localhost:{node.port}", keys, 500, r)
                done = subprocess.run(["h2load", "--h1", "-t", "1", "-c", str(clients), "-m", "1", "-n", str(500 * clients), "-i", name],
                                      stdout=subprocess.PIPE, text=True)
                texts.append(done.stdout)

        texts = []
        threads = [threading.Thread(target=slow_reader, args=(node.port, n, stop), daemon=True) for n in range(slow)]
        loads = [threading.Thread(target=load, args=(n,)) for n in range(loaders)]
        threads += loads
        threads.append(threading.Thread(target=purger, args=(node, keys, stop, purges), daemon=True))
        for t in threads:
            t.start()
        began = told = time.monotonic()
        while time.monotonic() - began < options.seconds:
            now = rss(node.process.pid)
            high = max(high, now)
            if time.monotonic() - told > options.seconds / 20:
                told = time.monotonic()
                tier = node.status()["tiers"]["memory"]
                print(f"{told - began:5.0f} s: {now >> 20} MiB resident, {tier['bytes'] >> 20} MiB counted in {tier['objects']} objects, "
                      f"{int(node.metric('brink_memory_held_bytes')) >> 20} MiB held back, {(high - budget) >> 20:+} MiB at most, "
                      f"{purges[0]} purges", file=sys.stderr)
            time.sleep(0.1)
        stop.set()
        for t in loads:
            t.join()
        text = "".join(texts)
    done = sum(int(n) for n in re.findall(r"(\d+) 2xx", text))
    bad = sum(int(a) + int(b) for a, b in re.findall(r"(\d+) 4xx, (\d+) 5xx", text))
    counts = node.status()["tiers"]["memory"]
    out = {"memory": budget, "high": high, "above": high - budget, "answers": done, "errors": bad, "purges": purges[0],
           "evicted": counts.get("evictions"), "objects": counts["objects"]}
    print(json.dumps(out, indent=2) if options.json else
          f"{done} answers, {bad} errors, {purges[0]} purges; at most {high / (1 << 20):.0f} MiB resident with memory.size "
          f"{options.memory}: {(high - budget) / (1 << 20):+.0f} MiB")
    wrong = stop_all()
    if wrong or bad:
        sys.exit("\n".join(wrong) or "there were errors")
    sys.exit(1 if high - budget > ALLOWED else 0)


if __name__ == "__main__":
    main()
