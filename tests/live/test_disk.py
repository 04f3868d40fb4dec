"""The warm tier: objects leave memory for disk, come back on a hit, are there after a restart, and a damaged file costs
a miss, never a wrong byte."""
from harness import *

FRESH = {"Cache-Control": "max-age=3600", "Surrogate-Key": "t"}


def bodies(count, size, seed=1):
    source = random_bytes(seed)
    return {f"/{n}": source(size + n * 37) for n in range(count)}


def random_bytes(seed):
    import random
    source = random.Random(seed)
    return lambda n: source.randbytes(n)


def started(content, **more):
    origin = Origin()
    for path, body in content.items():
        origin.on(path, body=body, headers=FRESH, etag=f'"{sha256(body)[:8]}"')
    return origin, Node(origins=[origin.url], **merge({"disk": True}, more))


def detail(r):
    return r.own.get("detail")


def test_what_memory_can_not_hold_is_on_disk():
    content = bodies(60, 200_000)  # 12 MB through 4 MiB of memory
    origin, node = started(content, config={"memory": {"size": "4MiB", "max_object": "1MiB"}})
    for _ in range(2):  # hit twice is worth writing
        for path, body in content.items():
            for _ in range(3):
                assert node.get(path).body == body
    time.sleep(1)
    asked = origin.count()
    details = []
    for path, body in content.items():
        r = node.get(path)
        assert r.body == body and r.status == 200, path
        details.append(detail(r))
    assert details.count("disk") >= 30, details
    assert origin.count() - asked <= 15, "what was written was not found again"
    assert node.metric("brink_hits_total", tier="disk") >= 30
    assert node.metric("brink_objects", tier="disk") >= 30 and node.metric("brink_bytes", tier="memory") <= 4 << 20
    # Back in memory: the next hit comes from there.
    path = [p for p, d in zip(content, details) if d == "disk"][-1]
    eventually("promoted", lambda: detail(node.get(path)) == "memory")


def test_objects_larger_than_memory_allows_live_on_disk():
    body = random_bytes(2)(5_000_000)
    origin, node = started({"/big": body}, config={"memory": {"size": "16MiB", "max_object": "1MiB"}})
    assert node.get("/big").body == body
    eventually("it is on disk", lambda: detail(node.get("/big")) == "disk")
    assert origin.count("/big") <= 3
    r = node.get("/big", headers={"Range": "bytes=4000000-4000999"})
    assert r.status == 206 and r.body == body[4_000_000:4_001_000], r
    # Without a disk it is streamed and not stored.
    small = Node(origins=[origin.url], name="edge-2", config={"memory": {"size": "16MiB", "max_object": "1MiB"}})
    for _ in range(2):
        r = small.get("/big")
        assert r.body == body and r.x_cache != "HIT"


def test_a_stop_keeps_what_is_fresh():
    content = bodies(40, 3_000)
    content["/large"] = random_bytes(3)(3_000_000)
    origin, node = started(content)
    for path in content:
        node.get(path)
    node.restart()
    asked = origin.count()
    for path, body in content.items():
        r = node.get(path)
        assert r.body == body and r.x_cache == "HIT" and detail(r) == "disk", (path, r.status, r["cache-status"])
        assert r["etag"] == f'"{sha256(body)[:8]}"'
    assert origin.count() == asked
    r = node.get("/3", headers={"If-None-Match": f'"{sha256(content["/3"])[:8]}"'})
    assert r.status == 304, r


def test_kill_keeps_what_was_hit_twice():
    content = bodies(50, 10_000)
    origin, node = started(content)
    for path in content:
        for _ in range(3):
            node.get(path)
    time.sleep(5.5)
    node.kill()
    node.start()
    asked = origin.count()
    for path, body in content.items():
        r = node.get(path)
        assert r.body == body and r.x_cache == "HIT", (path, r.status, r["cache-status"])
    assert origin.count() == asked


def test_kill_in_the_middle_of_writing():
    content = bodies(400, 5_000)
    origin, node = started(content)
    for round_ in range(4):
        stop = threading.Event()

        def crawl():
            paths = list(content)
            n = 0
            while not stop.is_set():
                try:
                    path = paths[n % len(paths)]
                    assert node.get(path, timeout=5).body == content[path]
                except OSError:
                    pass
                n += 1

        crawlers = [Later(crawl) for _ in range(4)]
        time.sleep(0.8 + 0.3 * round_)
        node.kill()
        stop.set()
        for c in crawlers:
            c.result()
        node.start()
        for path, body in list(content.items())[:100]:
            r = node.get(path)
            assert r.status == 200 and r.body == body, (path, r)


def files(folder):
    return [os.path.join(d, f) for d, _, names in os.walk(folder) for f in names]


def test_a_damaged_file_is_never_a_wrong_byte():
    content = bodies(200, 20_000)
    origin, node = started(content)
    for path in content:
        node.get(path)
    node.stop()
    damaged = 0
    for name in files(node.disk_path):
        size = os.path.getsize(name)
        if size < 100_000:
            continue
        with open(name, "r+b") as f:
            for at in range(40_000, size, 50_000):  # bytes turned over all through the data
                f.seek(at)
                old = f.read(16)
                f.seek(at)
                f.write(bytes(b ^ 0xff for b in old))
                damaged += 1
    assert damaged > 20, files(node.disk_path)
    node.start()
    for path, body in content.items():
        r = node.get(path)
        assert r.status == 200 and r.body == body, (path, r.status, len(r.body))


def test_a_cut_file_is_survived():
    content = bodies(200, 20_000)
    origin, node = started(content)
    for path in content:
        node.get(path)
    node.stop()
    for name in files(node.disk_path):
        if os.path.getsize(name) > 100_000:
            os.truncate(name, os.path.getsize(name) // 2 // 4096 * 4096)
    node.start()
    for path, body in content.items():
        r = node.get(path)
        assert r.status == 200 and r.body == body, (path, r.status, len(r.body))


def test_garbage_in_the_directory():
    content = bodies(20, 2_000)
    origin, node = started(content)
    for path in content:
        node.get(path)
    node.stop()
    for name in files(node.disk_path):
        with open(name, "wb") as f:
            f.write(b"this is no database\n" * 5000)
    node.start()
    for path, body in content.items():
        assert node.get(path).body == body


def test_the_size_is_kept():
    content = bodies(300, 100_000)  # 32 MB through a disk of 16 MiB
    origin, node = started(content, disk="16MiB", config={"memory": {"size": "4MiB", "max_object": "1MiB"}})
    for path, body in content.items():
        for _ in range(3):
            assert node.get(path).body == body
    time.sleep(1)
    used = sum(os.stat(f).st_blocks * 512 for f in files(node.disk_path))
    assert used <= (16 << 20) * 1.3, f"{used} bytes on a disk of 16 MiB"
    assert node.metric("brink_evictions_total", tier="disk") > 0
    assert node.metric("brink_objects", tier="disk") > 50


def test_purged_on_disk_is_purged():
    content = bodies(20, 2_000)
    origin, node = started(content)
    for path in content:
        node.get(path)
    node.restart()
    assert detail(node.get("/1")) == "disk"
    node.purge(tags=["t"])
    for path in content:
        assert node.get(path).x_cache == "MISS", path
    node.restart()
    for path in content:
        assert node.get(path).x_cache == "HIT", path


def test_a_lost_state_directory_drops_the_cache():
    # Without the ledger nobody knows what was purged: nothing of the old cache may be used as it is.
    content = bodies(10, 2_000)
    origin, node = started(content)
    for path in content:
        node.get(path)
    node.restart()
    assert detail(node.get("/1")) == "disk"
    node.purge(tags=["t"])
    node.stop()
    import shutil
    shutil.rmtree(node.state_path)
    node.start()
    for path in content:
        assert node.get(path).x_cache != "HIT", path


def test_vary_on_disk():
    origin = Origin()
    origin.on("/v", lambda r: Reply((r["accept-language"] or "").encode(), headers=dict(FRESH, Vary="Accept-Language")))
    node = Node(origins=[origin.url], disk=True)
    for language in ("de", "fr"):
        node.get("/v", headers={"Accept-Language": language})
    node.restart()
    for language in ("fr", "de"):
        r = node.get("/v", headers={"Accept-Language": language})
        assert r.text == language and r.x_cache == "HIT", r
    assert node.get("/v", headers={"Accept-Language": "it"}).text == "it"


if __name__ == "__main__":
    main()
