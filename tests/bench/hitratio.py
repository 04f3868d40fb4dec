#!/usr/bin/python3
"""How much of a trace the node itself answers: what an eviction policy is worth end to end.

    tools/bench hitratio FILE [--memory SIZE] [--max-object SIZE] [--disk SIZE] [--eviction NAME] [--limit N] [--json]

FILE has a line `timestamp key size` for each request (- is standard input); the timestamps are not looked at. Without a
FILE it is a synthetic trace whose keys are drawn by Zipf's law. The node starts cold, and gets the requests in order over
one connection on loopback, from an origin that answers /KEY/SIZE with SIZE bytes. An object that is larger than the cache is a
miss. Ratios are misses: of requests, and of bytes; "memory" says what the memory tier alone would have missed."""
import argparse
import asyncio
import http.client
import json
import os
import random
import sys
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "live"))


class SizedOrigin(asyncio.Protocol):
    """Answers GET /KEY/SIZE; nothing else is asked."""
    noise = bytes(1 << 20)

    def connection_made(self, transport):
        self.transport, self.text = transport, b""

    def data_received(self, data):
        self.text += data
        while b"\r\n\r\n" in self.text:
            head, self.text = self.text.split(b"\r\n\r\n", 1)
            size = int(head.split(b" ", 2)[1].rsplit(b"/", 1)[1])
            self.transport.write(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=86400\r\nContent-Length: %d\r\n\r\n" % size)
            while size > 0:
                self.transport.write(self.noise[:size])
                size -= len(self.noise)

    @classmethod
    def start(cls):
        loop, port = asyncio.new_event_loop(), []
        server = loop.run_until_complete(loop.create_server(cls, "127.0.0.1", 0))
        port = server.sockets[0].getsockname()[1]
        threading.Thread(target=loop.run_forever, daemon=True).start()
        return port


def zipf(count, keys=20000, seed=1):
    source = random.Random(seed)
    weights, total = [], 0.0
    for k in range(keys):
        total += 1 / (k + 1)
        weights.append(total)
    sizes = [200 + source.randrange(1000) * source.randrange(100) for _ in range(keys)]
    for k in source.choices(range(keys), cum_weights=weights, k=count):
        yield str(k), sizes[k]


def trace(options):
    if options.file is None:
        yield from zipf(options.limit or 100000)
        return
    with (sys.stdin if options.file == "-" else open(options.file)) as lines:
        for n, line in enumerate(lines):
            if options.limit and n == options.limit:
                return
            _, key, size = line.split()[:3]
            yield key, int(size)


def main():
    parser = argparse.ArgumentParser(description="object and byte miss ratios of a trace, through the node")
    parser.add_argument("file", nargs="?", help="`timestamp key size` a line; - standard input; none: synthetic")
    parser.add_argument("--memory", default="16MiB")
    parser.add_argument("--max-object", help="default: the node's, a quarter of memory")
    parser.add_argument("--disk", help="size of the disk tier; none: memory alone")
    parser.add_argument("--eviction", default="hindsight")
    parser.add_argument("--limit", type=int, help="so many requests")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    from harness import Node, stop_all
    config = {"memory": {"size": options.memory, "eviction": options.eviction}, "log": {"access": "off", "format": "off"}}
    if options.max_object:
        config["memory"]["max_object"] = options.max_object
    node = Node(origins=[f"http://127.0.0.1:{SizedOrigin.start()}"], name="bench", workers=1, config=config,
                **({"disk": options.disk} if options.disk else {}))
    connection = http.client.HTTPConnection("127.0.0.1", node.port)
    count = total = 0
    hits, hit_bytes = {"memory": 0, "disk": 0}, {"memory": 0, "disk": 0}
    began = time.monotonic()
    for key, size in trace(options):
        connection.request("GET", f"/{key}/{size}", headers={"Host": "test.example"})
        r = connection.getresponse()
        body = r.read()
        if r.status != 200 or len(body) != size:
            sys.exit(f"tools/bench: /{key}/{size} was answered by {r.status} with {len(body)} bytes")
        count, total = count + 1, total + size
        if r.getheader("X-Cache") == "HIT":
            tier = "disk" if "detail=disk" in r.getheader("Cache-Status", "") else "memory"
            hits[tier] += 1
            hit_bytes[tier] += size
    seconds = time.monotonic() - began
    out = {"requests": count, "bytes": total, "eviction": options.eviction, "memory": options.memory, "disk": options.disk,
           "object_miss": 1 - sum(hits.values()) / count, "byte_miss": 1 - sum(hit_bytes.values()) / total,
           "memory_object_miss": 1 - hits["memory"] / count, "memory_byte_miss": 1 - hit_bytes["memory"] / total,
           "requests_per_second": count / seconds}
    if options.disk:
        out["write_amplification"] = node.status()["tiers"]["disk"]["write_amplification"]
    if options.json:
        print(json.dumps(out, indent=2))
    else:
        print(f"{count} requests, {total / 1e6:.0f} MB, {options.eviction}, memory {options.memory}, disk {options.disk or 'none'}: "
              f"misses {out['object_miss']:.3f} of objects, {out['byte_miss']:.3f} of bytes; memory alone "
              f"{out['memory_object_miss']:.3f}, {out['memory_byte_miss']:.3f}; {out['requests_per_second']:.0f} requests a second"
              + (f"; write amplification {out['write_amplification']:.2f}" if options.disk else ""))
    wrong = stop_all()
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
