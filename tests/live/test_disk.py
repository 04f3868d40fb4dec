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
    eventually("they are on disk", lambda: node.metric("brink_objects", tier="disk") >= 45)
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


def test_what_comes_back_after_eviction_is_written_and_what_never_does_is_not():
    content = bodies(150, 30_000)  # 4.9 MB through 2 MiB of memory, each once a round
    origin, node = started(content, config={"memory": {"size": "2MiB", "max_object": "512KiB"}})
    written = lambda: node.metric("brink_disk_admissions_total", verdict="written")
    for path in content:
        node.get(path)
    time.sleep(0.3)
    assert written() <= 5, "what was seen once cost a write"
    assert node.metric("brink_disk_admissions_total", verdict="refused") >= 50
    for path in content:
        node.get(path)
    eventually("the second round is on disk", lambda: written() >= 60)
    details = [detail(node.get(path)) for path in content]
    assert details.count("disk") >= 50, details
    tiers = node.status()["tiers"]
    assert tiers["disk"]["hits"] >= 50 and tiers["memory"]["evictions"]["space"] >= 100, tiers
    assert tiers["disk"]["write_amplification"] >= 1, tiers


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


def damage(name, source):
    """Bytes turned over, pages swapped or zeroed, or the end cut off: anywhere, LMDB's own pages included."""
    size = os.path.getsize(name)
    kind = source.randrange(4)
    if size < 3 * 4096:
        return
    if kind == 0:
        os.truncate(name, source.randrange(size))
        return
    with open(name, "r+b") as f:
        for _ in range(source.randrange(1, 200 if kind == 1 else 10)):
            at = source.randrange(size)
            if kind == 1:
                f.seek(at)
                old = f.read(1)
                f.seek(at)
                f.write(bytes([old[0] ^ source.randrange(1, 256)]))
                continue
            f.seek(source.randrange(size // 4096) * 4096)
            page = f.read(4096) if kind == 2 else bytes(4096)
            f.seek(at // 4096 * 4096)
            f.write(page)


def test_killed_and_damaged_again_and_again():
    """BRINK_ROUNDS=200 for more by hand."""
    import random
    rounds = int(os.environ.get("BRINK_ROUNDS", "4"))
    source = random.Random(20)
    content = {f"/{n}": source.randbytes(source.randrange(40_000 if n % 10 == 0 else 3_000)) for n in range(400)}
    origin, node = started(content, disk="16MiB", config={"memory": {"size": "2MiB", "max_object": "64KiB"}})
    hits, dropped, slowest = 0, 0, 0
    for round_ in range(rounds):
        stop = threading.Event()

        def crawl(first):
            paths, n = list(content), first
            while not stop.is_set():
                try:
                    path = paths[n // 3 % len(paths)]
                    assert node.get(path, timeout=5).body == content[path], path
                except OSError:
                    pass
                n += 1

        crawlers = [Later(lambda k=k: crawl(k * 400)) for k in range(3)]
        time.sleep(0.5 + source.random() / 2)
        if round_ % 3 == 2:  # under the running node
            for name in files(node.disk_path):
                if name.endswith((".seal", ".open")) and source.randrange(2) == 0:
                    damage(name, source)
            time.sleep(0.3)
        node.kill()
        stop.set()
        for c in crawlers:
            c.result()
        if round_ % 3 == 1:  # between two starts
            for name in files(node.disk_path):
                if name.endswith((".seal", ".open")) and source.randrange(3) > 0:
                    damage(name, source)
        began = time.monotonic()
        node.start()
        slowest = max(slowest, time.monotonic() - began)
        for path in source.sample(sorted(content), 150):
            r = node.get(path)
            assert r.status == 200 and r.body == content[path], (round_, path, r)
            hits += r.x_cache == "HIT"
        dropped += node.metric("brink_disk_damaged_total") or 0
    print(f"{rounds} rounds: {hits} hits, {dropped:.0f} records and segments dropped, slowest start {slowest:.2f} s")
    assert hits > 0 and slowest < 5 * SLOW


def test_a_disk_that_stands_still_is_not_waited_for():
    content = bodies(12, 100_000)
    origin = Origin()
    for path, body in content.items():
        origin.on(path, body=body, headers=FRESH)
    origin.on("/memory", body=b"here", headers=FRESH)
    stall = os.path.join(temp_dir(), "stall")
    with open(stall, "w") as out:
        out.write("0")
    node = Node(origins=[origin.url], disk=True, env={"BRINK_TEST_DISK_STALL": stall},
                config={"memory": {"size": "1MiB", "max_object": "200KiB"}, "disk": {"wait": "150ms"}})
    for path in content:
        for _ in range(3):
            node.get(path)
        time.sleep(0.05)
    node.get("/memory")
    eventually("they are on disk", lambda: node.metric("brink_objects", tier="disk") >= 10)
    with open(stall, "w") as out:
        out.write("60000")
    time.sleep(1.3)  # it looks once a second
    waited, began = [], time.monotonic()
    for path, body in list(content.items())[:8]:
        at = time.monotonic()
        r = node.get(path)
        assert r.body == body
        if detail(r) == "disk-wait":
            waited.append(time.monotonic() - at)
        assert node.get("/memory").x_cache == "HIT"
    assert len(waited) >= 6 and max(waited) < 1.5 * SLOW, waited
    assert node.metric("brink_disk_stalls_total") >= len(waited)
    with open(stall, "w") as out:
        out.write("0")
    eventually("the disk answers again", lambda: "disk" in [detail(node.get(path)) for path in content])


def test_a_death_in_the_warm_tier_costs_one_segment():
    content = bodies(150, 30_000)
    origin, node = started(content, disk="16MiB")
    for path in content:
        for _ in range(3):
            node.get(path)
    eventually("there are segments", lambda: node.metric("brink_disk_segments") >= 2)
    node.process.killed = True
    os.kill(node.process.pid, signal.SIGSEGV)
    eventually("it died", lambda: not node.process.alive)
    node.process.gone()
    began = time.monotonic()
    node.start()
    assert time.monotonic() - began < 5 * SLOW
    assert node.metric("brink_disk_damaged_total") == 1
    details = [detail(node.get(path)) for path in content]
    assert details.count("disk") > 30, details
    for path, body in content.items():
        assert node.get(path).body == body


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
    for _ in range(6):  # what the write queue has no room for isn't written, and a disk may be slow
        for path, body in content.items():
            for _ in range(3):
                assert node.get(path).body == body
        time.sleep(0.5)
        if node.metric("brink_evictions_total", tier="disk") > 0:
            break
    used = sum(os.stat(f).st_blocks * 512 for f in files(node.disk_path))
    assert used <= 16 << 20, f"{used} bytes on a disk of 16 MiB"
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
