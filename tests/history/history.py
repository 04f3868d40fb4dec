#!/usr/bin/python3
"""Histories of purges under faults: record what clients saw, then check that no order was broken.

    history.py [--seed N] [--histories N | --minutes M] [--seconds S] [--faults KIND,KIND…] [--failures DIRECTORY]

A history is one fleet (see fleet.py) for a few seconds of load: readers ask all four nodes, writers count versions up at the
origin and purge by every selector and every way in, and meanwhile things break (fleet.py, Faults). What must hold then is in
checks.py. The seed decides what is done; when it happens is up to the machine."""
import argparse
import collections
import os
import random
import sys

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__)), os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "live")]

from checks import *
from fleet import *
from harness import *

BOUND = 3 * SLOW  # s from an acknowledgement to its effect where no fault is near; it takes milliseconds
STILL = 0.5      # s without an answer of a Redis that nothing was done to
HEAL = 20 * SLOW  # s until everything is well after the last fault
READERS, WRITERS = 20, 3


class History:
    def __init__(self, seed, seconds, kinds):
        self.seed, self.seconds = seed, seconds
        self.rng = random.Random(seed)
        self.fleet = Fleet(self.rng)
        self.faults = Faults(self.fleet, self.rng)
        self.kinds = kinds or list(self.faults.kinds)
        self.lock = threading.Lock()
        self.reads, self.purges, self.errors, self.wrong = [], [], [], []
        self.shown = collections.Counter()
        self.watched = []
        self.over = threading.Event()
        self.healed = 0
        self.offset = time.time() - time.monotonic()

    # ---- reading ----

    def read(self, connections, name, page, rng):
        """One request of a client; what it got is noted."""
        node = self.fleet.nodes[name]
        headers, method, first = [("Host", page.host)], "GET", 0
        kind = rng.random()
        if kind < 0.05:
            method = "HEAD"
        elif kind < 0.12:
            first = rng.randrange(page.size)
            headers.append(("Range", f"bytes={first}-{first + rng.choice([0, 1000, 100_000])}"))
        elif kind < 0.18:
            headers.append(("If-None-Match", f'"v{page.version}"'))
        if page.vary:
            headers.append(("Accept-Language", rng.choice(["de", "fr"])))
        began = time.monotonic()
        try:
            connection = connections.get(name)
            if connection is None:
                connection = connections[name] = Conn(node.port, timeout=12)
            connection.request(page.path, method, headers)
            r = connection.response()
        except (OSError, AssertionError) as error:
            if connections.get(name):
                connections.pop(name).close()
            self.errors.append((began, time.monotonic(), name, page.uri, repr(error)[:100]))
            return None
        if r["connection"] == "close":
            connections.pop(name).close()
        return self.note(r, began, name, page, method)

    def note(self, r, began, name, page, method):
        version, own = r["x-version"], r.own
        if r.status == 304:
            version = (r["etag"] or "").strip('"v')
        self.shown[f"{name.split('-')[0]} {r.x_cache or r.status}"] += 1
        if not version or r.status not in (200, 206, 304):
            self.errors.append((began, time.monotonic(), name, page.uri, f"{r.status} {r['cache-status']}"))
            return None
        version = int(version)
        stale = r.x_cache == "STALE"
        if stale and not (own.get("ttl", 0) < 0 or str(own.get("detail", "")).startswith("stale") or own.get("fwd") == "stale" or len(r.cache_status) > 1):
            self.wrong.append(f"X-Cache says STALE, and Cache-Status nothing of it: {r}")
        if method == "GET" and r.status in (200, 206):
            whole, at = page.body(version), 0
            if r.status == 206:
                at = int(re.match(r"bytes (\d+)-", r["content-range"] or "").group(1))
            if r.body != whole[at:at + len(r.body)] or (r.status == 200 and len(r.body) != len(whole)):
                self.wrong.append(f"torn body: {name} {page.uri} version {version}, {len(r.body)} of {len(whole)} bytes: "
                                  f"{sorted(set(re.findall(rb' v([0-9]+);', r.body)))} {r}")
        read = Read(began, time.monotonic(), name, page.uri, version, stale, f"{r.status} {r['cache-status']}")
        self.reads.append(read)
        return read

    def reader(self, seed):
        rng, connections = random.Random(seed), {}
        favourites = rng.sample(self.fleet.pages, 12)
        while not self.over.is_set():
            name = rng.choice(NODES[:2] * 3 + NODES[2:])
            if name in self.fleet.down:
                time.sleep(0.01)
                continue
            self.read(connections, name, rng.choice(favourites if rng.random() < 0.7 else self.fleet.pages), rng)
            time.sleep(rng.choice([0, 0.002, 0.01]))
        for c in connections.values():
            c.close()

    # ---- purging ----

    def choose(self, rng):
        """(selectors as for POST /v1/purge, the pages they cover)."""
        pages, kind, page = self.fleet.pages, rng.random(), rng.choice(self.fleet.pages)
        if kind < 0.35:
            some = rng.sample(pages, rng.choice([1, 1, 1, 3]))
            return {"urls": [f"{rng.choice(['http', 'https'])}://{p.uri}" for p in some]}, some
        if kind < 0.75:
            tag = rng.choice(page.tags)
            return {"tags": [tag]}, [p for p in pages if tag in p.tags]
        if kind < 0.87:
            prefix = page.host + page.folder + rng.choice(["", str(page.number)[:1]])
            return {"prefixes": [prefix]}, [p for p in pages if p.uri.startswith(prefix)]
        if kind < 0.91:
            return {"hosts": [page.host]}, [p for p in pages if p.host == page.host]
        if kind < 0.93:
            return {"everything": True}, pages
        tag, other = page.tags[0], rng.choice(pages)
        return {"tags": [tag], "urls": [f"http://{other.uri}"]}, [p for p in pages if tag in p.tags or p is other]

    def purge(self, rng):
        """Counts the versions of some pages up, purges them somehow, and notes what was promised."""
        what, pages = self.choose(rng)
        soft = rng.random() < 0.35
        with self.lock:
            for p in pages:
                p.version += 1
            one = Purge(len(self.purges), "", what, soft, {p.uri: p.version for p in pages}, time.monotonic())
            self.purges.append(one)
        only = next(iter(what)) if len(what) == 1 else None
        ways = ["api"] * 5 + ["xadd"] * 2
        if only in ("urls", "tags"):
            ways += ["publish"] * 2
        if only == "tags" and not soft:
            ways += ["publish tag"]
        if only == "urls" and len(pages) == 1:
            ways += ["PURGE"] * 2
        if only and not soft:
            ways += ["cloudflare"]
        if only in ("tags", "everything"):
            ways += ["fastly"]
        one.way = rng.choice(ways)
        name = rng.choice(NODES)
        if name in self.fleet.down and one.way not in ("xadd", "publish", "publish tag"):
            name = next((n for n in NODES if n not in self.fleet.down), name)
        epoch = self.faults.epoch
        one.sent = time.monotonic()
        try:
            self.send(one, name, what, soft, rng)
        except Exception as error:
            self.errors.append((one.sent, time.monotonic(), name, str(one), repr(error)[:100]))
            return one
        if one.id and one.id[0].isdigit() and epoch == self.faults.epoch:
            self.watched.append((one, epoch))
        return one

    def send(self, one, name, what, soft, rng):
        node, way = self.fleet.nodes[name], one.way
        body = dict(what, soft=True) if soft else what
        headers = {"Authorization": f"Bearer {TOKEN}"}
        key = what.get("tags", [""])[0]
        if way == "xadd":
            one.id = self.fleet.client.xadd("brink:purge", {"purge": json.dumps(body)})
        elif way == "publish":
            self.fleet.client.publish("cache:invalidate", json.dumps(body))
        elif way == "publish tag":
            self.fleet.client.publish("cache:invalidate", key)
        else:
            if way == "api":
                wait = rng.choice(["none", "local", "fleet"])
                r = node.admin("/v1/purge", "POST", dict(body, wait=wait, timeout="2s"))
            elif way == "PURGE":
                page = self.fleet.by_uri[next(iter(one.needs))]
                r = node.get(page.path, method="PURGE", host=page.host, headers=dict(headers, **({"Fastly-Soft-Purge": "1"} if soft else {})))
            elif way == "cloudflare":
                names = {"urls": "files", "everything": "purge_everything"}
                r = node.admin("/client/v4/zones/023e105f4ecef8ad9ca31a8372d0c353/purge_cache", "POST",
                               {names.get(k, k): v for k, v in what.items()})
            else:
                more = {"Fastly-Soft-Purge": "1"} if soft else {}
                if "everything" in what:
                    r = node.admin("/service/SU1Z0isxPaozGVKXdv0eY/purge_all", "POST", headers=more)
                elif rng.random() < 0.5 and key.isascii():
                    r = node.admin(f"/service/SU1Z0isxPaozGVKXdv0eY/purge/{key}", "POST", headers=more)
                else:
                    r = node.admin("/service/SU1Z0isxPaozGVKXdv0eY/purge", "POST", {"surrogate_keys": [key]}, headers=more)
            if r.status not in (200, 202, 504):
                raise AssertionError(f"{r.status} {r.text[:100]}")
            one.by, now = name, time.monotonic()
            one.applied.append((name, now))
            answer = r.json
            one.id = answer.get("id") or answer.get(key) or answer.get("result", {}).get("id")
            assert one.id, answer
            for n in answer.get("nodes", []):
                if n["applied_ms"] is not None and n["applied_ms"] >= 0 and n["node"] != name:
                    one.applied.append((n["node"], now))
        one.acknowledged = time.monotonic()

    def writer(self, seed):
        rng, connections = random.Random(seed), {}
        while not self.over.is_set():
            one = self.purge(rng)
            for name, _ in list(one.applied):  # at once, where an order that is wrong would show
                for uri in rng.sample(sorted(one.needs), min(2, len(one.needs))):
                    if name not in self.fleet.down:
                        self.read(connections, name, self.fleet.by_uri[uri], rng)
            time.sleep(rng.choice([0, 0.01, 0.05, 0.2]))
        for c in connections.values():
            c.close()

    def watcher(self):
        """Reads from Redis who has applied what. An ID means nothing after Redis has lost what it named."""
        def number(text):
            return tuple(int(n) for n in text.split("-"))

        while not self.over.wait(0.03):
            epoch = self.faults.epoch
            try:
                client = self.fleet.client
                at = {n: number(client.hget(f"brink:purge:node:{n}", "applied") or "0-0") for n in NODES}
            except Exception:
                continue
            now = time.monotonic()
            if epoch != self.faults.epoch:
                continue
            left = []
            for one, of in self.watched[:]:
                has = {n for n, _ in one.applied}
                for n in NODES:
                    if n not in has and of == epoch and at[n] >= number(one.id):
                        one.applied.append((n, now))
                        has.add(n)
                if of != epoch or len(has) == len(NODES):
                    left.append((one, of))
            for item in left:
                self.watched.remove(item)

    def pulse(self):
        """A machine that stands still is a fault like any other, whoever's it is: Redis is asked as the nodes ask it, over a link."""
        import redis
        port = self.fleet.net.say("open", "pulse", self.fleet.redis.port)
        last = time.monotonic()
        while not self.over.wait(0.05):
            try:
                redis.Redis(port=port, socket_timeout=STILL).ping()
            except redis.RedisError:
                pass
            now = time.monotonic()
            if now - last > STILL:
                self.faults.done.append(Fault("standstill", last, now, {"redis"}))
            last = now

    # ---- the whole ----

    def run(self):
        threads = [threading.Thread(target=self.guarded, args=(self.reader, self.rng.random()), daemon=True) for _ in range(READERS)]
        threads += [threading.Thread(target=self.guarded, args=(self.writer, self.rng.random()), daemon=True) for _ in range(WRITERS)]
        threads += [threading.Thread(target=self.guarded, args=(work,), daemon=True) for work in (self.watcher, self.pulse)]
        # Few faults: a gap makes every node validate everything, which hides what else might be wrong.
        count = self.rng.choice([0, 1, 1, 2, 2, 3, 5, 8])
        times = sorted(self.rng.uniform(0.5, self.seconds - 1) for _ in range(count))
        start = time.monotonic()
        for t in threads:
            t.start()
        while time.monotonic() < start + self.seconds:
            if times and time.monotonic() >= start + times[0]:
                times.pop(0)
                for _ in range(5):
                    if self.faults.begin(self.rng.choice(self.kinds)):
                        break
            self.faults.turn()
            self.alive()
            time.sleep(0.05)
        self.faults.turn(all_of_them=True)
        self.heal()
        time.sleep(0.3)
        self.over.set()
        for t in threads:
            t.join(30)
        self.check()
        return self.wrong

    def guarded(self, work, *arguments):
        try:
            work(*arguments)
        except Exception:
            self.wrong.append("the checker itself failed: " + traceback.format_exc())

    def alive(self):
        for name, node in self.fleet.nodes.items():
            if name not in self.fleet.down and not node.process.alive:
                raise AssertionError(f"{name} has ended with {node.process.child.returncode}")

    def heal(self):
        began = time.monotonic()
        try:
            eventually("all is well again", lambda: self.faults.turn() or not self.faults.open, timeout=HEAL)
            eventually("the fleet answers", lambda: len(self.fleet.nodes["edge-1"].purge(tags=["marker"], wait="fleet")["nodes"]) == len(NODES),
                       timeout=HEAL, step=0.1)
            eventually("everything is delivered", lambda: all(s["purge"]["undelivered"] == 0 for s in self.fleet.statuses()), timeout=HEAL)
        except AssertionError as error:
            self.wrong.append(f"{error}; {[s['purge'] for s in self.fleet.statuses()]}")
        self.healed = time.monotonic() - began

    def check(self):
        excuse_lost_entries(self.purges, self.faults.losses, self.faults.kills)
        faults = self.faults.all()
        places = [(n, p) for n in NODES for p in self.fleet.pages]
        for p in self.fleet.pages:
            p.delay = p.gap = 0
        end = time.monotonic() + HEAL
        while True:
            last = [r for part in together(8, lambda i: self.read_all(places[i::8])) for r in part]
            late = finally_everywhere(last, self.purges, NODES)
            again = {(r.node, r.path) for r, _, _ in late} | ({(n, p.uri) for n, p in places} - {(r.node, r.path) for r in last})
            if not again or time.monotonic() > end:
                break
            places = [(n, p) for n, p in places if (n, p.uri) in again]
            time.sleep(0.2)
        self.wrong += [(r, p, why) for r, p, why in late] + [f"no answer at the end from {n} for {u}" for n, u in again - {(r.node, r.path) for r, _, _ in late}]
        self.wrong += applied(self.reads, self.purges)
        self.wrong += in_time(self.reads, self.purges, faults, NODES, BOUND)

    def read_all(self, places):
        rng, connections = random.Random(self.seed), {}
        reads = [self.read(connections, n, p, rng) for n, p in places]
        for c in connections.values():
            c.close()
        return [r for r in reads if r]

    def tell(self, path):
        """All that is needed to find out what happened."""
        with open(path, "w") as out:
            def say(text=""):
                out.write(text + "\n")
            say(f"history {self.seed}; times are monotonic, logs are at {self.offset:.3f} more; {SANITIZED=} {BOUND=}")
            say("\n== wrong ==")
            for item in self.wrong:
                say(item if isinstance(item, str) else item[2])
            say("\n== faults ==")
            for f in sorted(self.faults.all(), key=lambda f: f.began):
                say(f"{f.began:.4f} to {f.ended:.4f} {f.kind} {sorted(f.touches)}")
            paths = {item[0].path for item in self.wrong if not isinstance(item, str)}
            for place in sorted(paths):
                page = self.fleet.by_uri[place]
                say(f"\n== {place}: {vars(page)} ==")
                lines = [(r.began, f"{r.began:.4f} to {r.ended:.4f} {r.node} version {r.version}{' STALE' if r.stale else ''} {r.shown}")
                         for r in self.reads if r.path == place]
                lines += [(e[0], f"{e[0]:.4f} to {e[1]:.4f} {e[2]} no answer: {e[4]}") for e in self.errors if e[3] == place]
                lines += [(p.sent, f"{p.sent:.4f} {p} needs {p.needs[place]} applied {[(n, round(t, 4)) for n, t in p.applied]}")
                          for p in self.purges if place in p.needs]
                for _, line in sorted(lines):
                    say(line)
            say("\n== purges that failed ==")
            for e in self.errors:
                if e[3].startswith("purge"):
                    say(f"{e[0]:.4f} to {e[1]:.4f} {e[2]} {e[3]}: {e[4]}")
            for name, node in self.fleet.nodes.items():
                say(f"\n== {name} ==\n{json.dumps(node.config)}")
                for file in sorted((f for f in os.listdir(node.folder) if f.endswith(".stderr")), key=lambda f: os.stat(os.path.join(node.folder, f)).st_ctime):
                    with open(os.path.join(node.folder, file), errors="replace") as log:
                        say(f"-- {file}\n{log.read()}")


class Sums(collections.Counter):
    def take(self, history):
        self["histories"] += 1
        self["answers checked"] += len(history.reads)
        self["no answer"] += len(history.errors)
        self["purges sent"] += len(history.purges)
        self["purges acknowledged"] += sum(p.acknowledged is not None for p in history.purges)
        self["purges excused"] += sum(bool(p.excused) for p in history.purges)
        self["applications seen"] += sum(len(p.applied) for p in history.purges)
        for p in history.purges:
            self[f"way {p.way}"] += 1
        for f in history.faults.all():
            self[f"fault {f.kind}"] += 1
        for k, n in history.shown.items():
            self[f"answered {k}"] += n

    def __str__(self):
        return "\n".join(f"{n:9}  {name}" for name, n in self.items() if " " not in name or name.split()[0] not in ("way", "fault", "answered")) + \
            "".join("\n" + word + ": " + ", ".join(f"{name[len(word) + 1:]} {n}" for name, n in sorted(self.items()) if name.startswith(word + " "))
                    for word in ("way", "fault", "answered"))


def one(seed, seconds, kinds, failures, sums):
    """Runs one history; True if nothing was wrong with it."""
    began, history = time.monotonic(), None
    try:
        history = History(seed, seconds, kinds)
        wrong = history.run()
    except Exception:
        wrong = [traceback.format_exc()] + (history.wrong if history else [])
        if history:
            history.wrong = wrong
    wrong += stop_all()
    line = f"seed {seed}: "
    if history:
        sums.take(history)
        line += f"{len(history.reads)} answers, {len(history.purges)} purges, faults: {', '.join(f.kind for f in history.faults.all()) or 'none'}, healed in {history.healed:.1f} s, "
    print(line + f"{time.monotonic() - began:.1f} s: {f'{len(wrong)} wrong' if wrong else 'ok'}", flush=True)
    if wrong:
        path = os.path.join(failures, f"history-{seed}.txt")
        os.makedirs(failures, exist_ok=True)
        if history:
            history.tell(path)
        for item in wrong[:3]:
            print("  " + (item if isinstance(item, str) else item[2])[:2000])
        print(f"  more in {path}", flush=True)
    for folder in temporary:
        shutil.rmtree(folder, ignore_errors=True)
    temporary.clear()
    return not wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000_000))
    parser.add_argument("--histories", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=0)
    parser.add_argument("--seconds", type=float, default=8, help="of load, a history")
    parser.add_argument("--faults", default="", help="only these kinds, by parts of their names")
    parser.add_argument("--failures", default="history-failures")
    o = parser.parse_args()
    kinds = [k for k in Faults(None, None).kinds if any(part in k for part in o.faults.split(","))] if o.faults else None
    end, sums, failed, n = time.monotonic() + o.minutes * 60, Sums(), 0, 0
    try:
        while n < o.histories or time.monotonic() < end:
            failed += not one(o.seed + n, o.seconds, kinds, o.failures, sums)
            n += 1
    finally:
        print(f"\n{sums}\n{failed} histories with something wrong", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
