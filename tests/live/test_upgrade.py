"""Handing the sockets to a new process (SIGUSR2) under steady traffic: nobody is refused, nothing fresh is lost."""
import os
import threading

from harness import *


def successor(node, old):
    """The process that runs our configuration and isn't the old one."""
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == old:
            continue
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as f:
                words = f.read().split(b"\0")
        except OSError:
            continue
        if node.config_path.encode() in words and words[0].endswith(b"brinkd"):
            return int(entry)
    return None


def test_requests_go_on_while_the_program_is_replaced():
    origin = Origin()
    origin.on("/a", lambda r: Reply(b"answer", headers={"Cache-Control": "s-maxage=600"}))
    origin.on("/slow", lambda r: Reply(b"x" * 1000, delay=1.0))
    node = Node(origins=[origin.url], disk=True)
    assert node.get("/a").body == b"answer"
    node.get("/a"), node.get("/a")
    old = node.process.child.pid
    stop, wrong, count = threading.Event(), [], [0]

    def client():
        while not stop.is_set():
            try:
                r = fetch(node.port, "/a", host="test.example")
                assert r.status == 200 and r.body == b"answer", r
                count[0] += 1
            except Exception as error:
                wrong.append(repr(error))

    slow = []
    begun = threading.Thread(target=lambda: slow.append(fetch(node.port, "/slow", host="test.example")))
    begun.start()
    crowd = [threading.Thread(target=client) for _ in range(4)]
    for thread in crowd:
        thread.start()
    time.sleep(0.3)
    node.process.signal(signal.SIGUSR2)
    new = None
    try:
        new = eventually("a new process", lambda: successor(node, old), timeout=10)
        eventually("the old one ends", lambda: node.process.child.poll() is not None, timeout=20)
        assert node.process.child.returncode == 0, node.log
        seen = count[0]
        eventually("the new one answers", lambda: count[0] > seen + 50, timeout=20)
    finally:
        stop.set()
        for thread in crowd:
            thread.join()
        begun.join()
        if new:
            r = node.get("/a")
            os.kill(new, signal.SIGTERM)
            eventually("the new process ends", lambda: not os.path.exists(f"/proc/{new}"), timeout=20)
    assert not wrong, (len(wrong), wrong[:3])
    assert slow and slow[0].status == 200 and len(slow[0].body) == 1000, "what was in flight was finished"
    assert r.x_cache == "HIT", "what was fresh came along on disk"
    assert origin.count("/a") == 1, origin.count("/a")


if __name__ == "__main__":
    main()
