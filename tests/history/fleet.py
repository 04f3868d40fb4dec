"""What a history runs on: an origin of versioned pages, a Redis that can lose data, a network that can fail, two shields and
two edges. Every body says its page and version from its first byte to its last, so a torn or mixed one is seen at once."""
import functools
import shutil
import subprocess
import sys
import threading

from checks import Fault
from harness import *

NODES = ("edge-1", "edge-2", "shield-1", "shield-2")
HOSTS = ("a.test", "b.test")


class Page:
    """One URL with a version that the writer counts up. What it says of itself in the cache's language is the rng's choice."""

    def __init__(self, number, rng):
        self.number, self.version = number, 1
        self.host, self.folder = HOSTS[number % 2], f"/d{number % 5}/"
        self.path = f"{self.folder}{number}"
        self.uri = self.host + self.path
        self.tags = [f"page:{number}", f"group:{number % 7}", "café"][:2 + (number % 4 == 0)]
        self.size = rng.choice([300, 3000, 3000, 30_000, 100_000, 400_000])
        self.fresh = rng.choice(["max-age=600"] * 4 + ["max-age=1", "max-age=2, stale-while-revalidate=60, stale-if-error=600"] +
                                ["max-age=600, stale-while-revalidate=600, stale-if-error=600"] * 3 + ["max-age=600, stale-if-error=600"])
        self.etag = rng.random() < 0.6
        self.chunked = rng.random() < 0.3
        self.delay = rng.choice([0] * 6 + [0.03, 0.03, 0.2, 0.6])
        self.gap = rng.choice([0] * 5 + [0.02, 0.02, 0.15])
        self.vary = rng.random() < 0.2

    def length(self, version):
        return self.size + version * 37 % 211

    def body(self, version):
        return body_of(self.uri, version, self.length(version))

    def reply(self, fails):
        version = self.version  # as of the request's arrival: what is read later would hide an order that is wrong
        if fails:
            return Reply(b"the origin has a bad day\n", status=503)
        tags = [tag.encode().decode("latin-1") for tag in self.tags]  # the harness writes fields so; tags are bytes
        headers = {"Cache-Control": self.fresh, "X-Version": str(version)}
        headers.update({"Surrogate-Key": " ".join(tags)} if self.number % 3 else {"Cache-Tag": ", ".join(tags)})
        if self.vary:
            headers["Vary"] = "Accept-Language"
        body = self.body(version)
        third = len(body) // 3 + 1
        pieces = [body[i:i + third] for i in range(0, len(body), third)] if self.gap else body
        return Reply(pieces, headers=headers, delay=self.delay, gap=self.gap, chunked=self.chunked,
                     etag=f'"v{version}"' if self.etag else None)


@functools.lru_cache(256)
def body_of(uri, version, length):
    unit = f"{uri} v{version};".encode()
    return (unit * (length // len(unit) + 1))[:length - 6] + b"<end>\n"


class Network:
    """The links of the fleet, in a process of their own (see proxy.py)."""

    def __init__(self, folder):
        self.lock = threading.Lock()
        self.process = subprocess.Popen([sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "proxy.py")],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        stderr=open(os.path.join(folder, "proxy.stderr"), "w"))
        running.append(self)

    def say(self, *words):
        with self.lock:
            self.process.stdin.write(" ".join(str(w) for w in words) + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline().split()
        assert answer and answer[0] == "ok", (words, answer)
        return int(answer[1]) if len(answer) > 1 else None

    def end_of_test(self):
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()

    def abandon(self):
        self.process.kill()


class Behind:
    """Where a node finds Redis."""

    def __init__(self, port):
        self.url = f"redis://127.0.0.1:{port}/0"


class Fleet:
    def __init__(self, rng):
        self.rng = rng
        self.folder = temp_dir("brink-history-")
        self.pages = [Page(n, rng) for n in range(40)]
        self.by_uri = {p.uri: p for p in self.pages}
        self.origin_fails = False
        self.origin = Origin()
        self.origin.on("*", self.answer)
        self.net = Network(self.folder)
        self.redis = Redis()
        shape = {"memory": {"size": rng.choice(["2MiB", "4MiB", "16MiB"])},
                 "upstream": {"connect_timeout": "1s", "first_byte_timeout": "4s", "idle_timeout": "4s"},
                 "purge": {"on_gap": rng.choice(["revalidate", "revalidate", "flush"]),
                           "start_without_redis": rng.choice(["1s", "30s"])}}
        self.down = set()
        shields = {}
        self.nodes = {}
        for name in ("shield-1", "shield-2", "edge-1", "edge-2"):
            more = {"tier": True} if name[0] == "s" else {"shield": list(shields.values())}
            self.nodes[name] = node = Node(
                origins=[self.origin.url], name=name, redis=Behind(self.net.say("open", name, self.redis.port)), workers=rng.choice([1, 2]),
                disk=rng.choice(["16MiB", "16MiB", None]), config=shape, start=False, **more)
            if name[0] == "s":
                shields[name] = f"http://127.0.0.1:{self.net.say('open', 'to-' + name, node.port)}"
            node.launch()
        for node in self.nodes.values():
            eventually(f"{node.name} is ready", lambda: node.admin("/readyz", token=None).status == 200, timeout=30)
        eventually("the fleet is well", self.well, timeout=30)
        self.settings = {n.name: n.config for n in self.nodes.values()}

    def answer(self, request):
        page = self.by_uri.get(f"{request['host']}{request.path}")
        self.origin.requests.clear()
        return page.reply(self.origin_fails) if page else Reply(b"nothing here\n", status=404)

    @property
    def client(self):
        """Redis may be stopped at any time, and then nobody here must hang with it."""
        import redis
        return redis.Redis(port=self.redis.port, decode_responses=True, socket_timeout=2)

    def well(self):
        """Everybody is connected, has read the stream, hears the channel, and somebody records it."""
        client = self.client
        if client.pubsub_numsub("cache:invalidate")[0][1] < len(NODES) or not client.exists("brink:purge:recorder"):
            return False
        return all(s["ready"] and s["purge"]["redis"] == "connected" and s["purge"]["lag_seconds"] == 0 for s in self.statuses(timeout=1))

    def statuses(self, timeout=30):
        """With a short timeout where a node may be stopped: who waits for it can't resume it."""
        return [n.status(timeout) for n in self.nodes.values()]


class Faults:
    """Each kind: a function that breaks something and returns what mends it. `holds` keeps two from breaking the same thing."""

    def __init__(self, fleet, rng):
        self.fleet, self.rng = fleet, rng
        self.done, self.open, self.held = [], [], set()
        self.losses, self.kills = [], []
        self.epoch = 0  # counted up when Redis loses data, and when it is back
        self.kinds = {
            "kill node": self.kill_node, "restart node": self.restart_node, "stop node": self.pause_node, "kill redis": self.kill_redis,
            "stop redis": self.pause_redis, "redis loses its last second": self.lose_second, "redis loses everything": self.lose_all,
            "flushall": self.flush, "connections killed": self.kill_clients, "cut from redis": self.cut, "held from redis": self.hold,
            "deaf to redis": self.deaf, "slow to redis": self.slow, "trim during a cut": self.trim, "cut from shield": self.cut_shield,
            "held from shield": self.hold_shield, "origin fails": self.origin_fails, "disk takes nothing": self.full_disk,
            "no descriptors": self.no_descriptors}

    def begin(self, kind):
        """Begins one if what it needs is free; True if it did."""
        began = time.monotonic()
        made = self.kinds[kind]()
        if made is None:
            return False
        touches, lasts, mend = made
        self.held |= touches
        self.open.append([kind, began, began + lasts, touches, mend, None])
        return True

    def turn(self, all_of_them=False):
        """Mends what has lasted long enough, and notes what is well again."""
        now = time.monotonic()
        for fault in self.open:
            if fault[4] and (all_of_them or now >= fault[2]):
                fault[4]()
                fault[4] = None
                self.held -= fault[3]
        mended = [f for f in self.open if f[4] is None]
        if mended:
            try:
                well = self.fleet.well()
            except Exception:
                well = False
            if well:
                for kind, began, _, touches, _, _ in mended:
                    self.done.append(Fault(kind, began, time.monotonic(), touches))
                self.open = [f for f in self.open if f[4] is not None]

    def all(self):
        """Those under way too."""
        return self.done + [Fault(k, b, float("inf"), t) for k, b, _, t, _, _ in self.open]

    def free(self, *things):
        return not self.held & set(things)

    def a_node(self, names=NODES):
        free = [n for n in names if self.free(n)]
        return self.fleet.nodes[self.rng.choice(free)] if free else None

    # ---- nodes ----

    def kill_node(self):
        node = self.a_node()
        if not node:
            return None
        self.fleet.down.add(node.name)
        self.kills.append((node.name, time.monotonic()))
        node.kill()
        return {node.name}, self.rng.choice([0, 0.3, 1.5]), lambda: self.launch(node)

    def launch(self, node):
        node.launch()
        self.fleet.down.discard(node.name)

    def restart_node(self):
        node = self.a_node()
        if not node:
            return None
        self.fleet.down.add(node.name)
        node.process.signal(signal.SIGTERM)

        def mend():
            node.stop()
            self.launch(node)
        return {node.name}, self.rng.choice([0, 0.5]), mend

    def pause_node(self):
        node = self.a_node()
        if not node:
            return None
        node.process.pause()
        return {node.name}, self.rng.choice([0.2, 1, 3.5]), node.process.resume

    def limited(self, node, what, most):
        """A limit of the running process, lowered (prlimit(2)); returns what lifts it."""
        pid = node.pid
        before = resource.prlimit(pid, what)
        resource.prlimit(pid, what, (most, before[1]))
        return lambda: resource.prlimit(pid, what, before)

    def full_disk(self):
        """Every write to a file fails, as on a disk that is full: cache, ledger, journal, access log."""
        node = self.a_node()
        return node and ({node.name}, self.rng.choice([0.2, 1, 3]), self.limited(node, resource.RLIMIT_FSIZE, 0))

    def no_descriptors(self):
        """What is open stays open; nothing more can be opened, nobody accepted."""
        node = self.a_node()
        return node and ({node.name}, self.rng.choice([0.2, 1, 3]),
                         self.limited(node, resource.RLIMIT_NOFILE, len(os.listdir(f"/proc/{node.pid}/fd"))))

    # ---- Redis ----

    def a_redis(self):
        return self.fleet.redis if self.free("redis") else None

    def kill_redis(self):
        redis = self.a_redis()
        if not redis:
            return None
        redis.kill()
        return {"redis"}, self.rng.choice([0, 0.5, 2.5]), redis.start

    def pause_redis(self):
        redis = self.a_redis()
        if not redis:
            return None
        redis.pause()
        return {"redis"}, self.rng.choice([0.2, 1, 3]), redis.resume

    def lost(self, since, began):
        self.epoch += 1
        self.losses.append((since, began, time.monotonic()))

    def lose_second(self):
        redis = self.a_redis()
        if not redis:
            return None
        since, files, copy = time.monotonic(), os.path.join(redis.folder, "appendonlydir"), os.path.join(redis.folder, "copy")
        shutil.copytree(files, copy)

        def mend():
            self.epoch += 1
            began = time.monotonic()
            redis.kill()
            redis.wipe()
            os.rename(copy, files)
            redis.start()
            self.lost(since, began)
        return {"redis"}, self.rng.choice([0.1, 0.4, 1]), mend

    def lose_all(self):
        redis = self.a_redis()
        if not redis:
            return None
        self.epoch += 1
        began = time.monotonic()
        redis.kill()
        redis.wipe()

        def mend():
            redis.start()
            self.lost(0, began)
        return {"redis"}, self.rng.choice([0, 1]), mend

    def flush(self):
        redis = self.a_redis()
        if not redis:
            return None
        self.epoch += 1
        began = time.monotonic()
        self.fleet.client.flushall()
        self.lost(0, began)
        return {"redis"}, 0, lambda: None

    def kill_clients(self):
        redis = self.a_redis()
        if not redis:
            return None
        self.fleet.client.client_kill_filter(_type=self.rng.choice(["normal", "pubsub"]), skipme=True)
        return {"redis"}, 0, lambda: None

    # ---- the network ----

    def link(self, name, mode, lasts, *more):
        self.fleet.net.say(mode, name, *more)
        return {name.replace("to-", "")}, self.rng.choice(lasts), lambda: self.fleet.net.say("pass", name)

    def between_node_and_redis(self, mode, lasts, *more):
        node = self.a_node()
        return node and self.link(node.name, mode, lasts, *more)

    def cut(self):
        return self.between_node_and_redis("cut", [0.2, 1, 4])

    def hold(self):
        return self.between_node_and_redis("hold", [0.5, 3, 7])

    def deaf(self):
        return self.between_node_and_redis("deaf", [0.5, 3, 7])

    def slow(self):
        return self.between_node_and_redis("delay", [2, 4], self.rng.choice([20, 150, 600]))

    def trim(self):
        made = self.free("redis") and self.cut()
        if not made:
            return None
        touches, _, heal = made

        def mend():
            client, most = self.fleet.client, self.rng.choice([0, 1, 5])
            try:
                client.xadd("brink:purge", {"purge": '{"tags":["filler"]}'})
                client.xtrim("brink:purge", maxlen=most, approximate=False)
            except Exception:
                pass  # Redis is away as well
            heal()
        return touches, 2, mend

    def to_a_shield(self, mode):
        name = self.rng.choice(NODES[2:])
        return self.link("to-" + name, mode, [0.3, 2]) if self.free(name) else None

    def cut_shield(self):
        return self.to_a_shield("cut")

    def hold_shield(self):
        return self.to_a_shield("hold")

    # ---- the origin ----

    def origin_fails(self):
        if not self.free("origin"):
            return None
        self.fleet.origin_fails = True

        def mend():
            self.fleet.origin_fails = False
        return {"origin"}, self.rng.choice([0.5, 2]), mend
