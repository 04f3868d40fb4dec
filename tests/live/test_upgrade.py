"""Handing the sockets to a new process (SIGUSR2) under steady traffic: nobody is refused, nothing fresh is lost."""
import os
import threading

from harness import *


def successor(node, old):
    """The process that runs our configuration and is neither the old one nor the one that only checks it."""
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == old:
            continue
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as f:
                words = f.read().split(b"\0")
        except OSError:
            continue
        if node.config_path.encode() in words and words[0].endswith(b"brinkd") and b"-t" not in words:
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


def test_a_tunnel_stays_with_the_old_process_for_the_drain_time():
    listener = socket.create_server(("127.0.0.1", 0))

    def origin():
        sock, _ = listener.accept()
        while b"\r\n\r\n" not in sock.recv(65536):
            pass
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: chat\r\nConnection: Upgrade\r\n\r\n")
        while (data := sock.recv(65536)):
            sock.sendall(data)
        sock.close()

    echo = Later(origin)
    node = Node(origins=[f"http://127.0.0.1:{listener.getsockname()[1]}"], site={"upgrade": ["chat"]}, workers=1, config={"drain": "2s"})
    old, new = node.process.child.pid, None
    with node.conn() as c:
        c.request("/", headers={"Upgrade": "chat", "Connection": "upgrade"})
        assert c.response().status == 101
        node.process.signal(signal.SIGUSR2)
        try:
            new = eventually("a new process", lambda: successor(node, old), timeout=10)
            c.send(b"still here")
            assert c.sock.recv(100) == b"still here"
            assert c.ended(30), "it outlived the drain time"
            eventually("the old one ends", lambda: node.process.child.poll() is not None, timeout=20)
            assert node.process.child.returncode == 0, node.log
        finally:
            if new:
                os.kill(new, signal.SIGTERM)
                eventually("the new process ends", lambda: not os.path.exists(f"/proc/{new}"), timeout=20)
    echo.result()
    listener.close()


if __name__ == "__main__":
    main()
