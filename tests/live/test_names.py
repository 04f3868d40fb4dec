"""Origins by name: looked up again by TTL, in a thread of its own, and the last good answer stays."""
import struct

from harness import *


class Names:
    """A name server. zone: name → (ttl, [IPv4 addresses]) or None for SERVFAIL; silent: answers nothing."""

    def __init__(self):
        self.zone, self.asked, self.silent = {}, [], False
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        running.append(self)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                query, peer = self.socket.recvfrom(4096)
            except OSError:
                return
            labels, at = [], 12
            while query[at]:
                labels.append(query[at + 1:at + 1 + query[at]].decode())
                at += 1 + query[at]
            kind = struct.unpack("!H", query[at + 1:at + 3])[0]
            name = ".".join(labels).lower()
            self.asked.append((name, kind))
            if self.silent:
                continue
            entry = self.zone.get(name)
            addresses = entry[1] if entry and kind == 1 else []
            code = 0 if entry else 2 if name in self.zone else 3
            answer = query[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, len(addresses), 0, 0) + query[12:at + 5]
            for address in addresses:
                answer += struct.pack("!HHHIH", 0xC00C, 1, 1, entry[0], 4) + socket.inet_aton(address)
            self.socket.sendto(answer, peer)

    def end_of_test(self):
        self.socket.close()

    abandon = end_of_test


def pair():
    one = Origin()
    two = Origin(address="127.0.0.2", port=one.port)
    for origin, word in ((one, b"one"), (two, b"two")):
        origin.on("*", lambda r, word=word: Reply(word, headers={"Cache-Control": "no-store"}, close=True))
    return one, two


def test_names_are_followed_and_kept():
    one, two = pair()
    names = Names()
    names.zone["origin.test"] = (1, ["127.0.0.1"])
    node = Node(origins=[f"http://origin.test:{one.port}"], config={"upstream": {"dns_server": f"127.0.0.1:{names.port}"}})
    assert node.get("/1").body == b"one", "known at the start"
    assert one.last("/1")["host"] == "test.example"
    names.zone["origin.test"] = (1, ["127.0.0.2"])
    eventually("the new address is used", lambda: node.get("/2").body == b"two", timeout=10)
    names.zone["origin.test"] = None
    before = len(names.asked)
    eventually("the name server fails", lambda: node.metric("brink_dns_lookups_total", outcome="failed") >= 1)
    assert node.get("/3").body == b"two", "the last good answer stays"
    names.silent = True
    began = time.monotonic()
    assert [node.get(f"/4{i}").body for i in range(5)] == [b"two"] * 5 and time.monotonic() - began < 3, "nobody waits for it"
    names.silent = False
    names.zone["origin.test"] = (1, ["127.0.0.1"])
    eventually("and it is asked again", lambda: node.get("/5").body == b"one", timeout=20, step=0.2)
    assert len(names.asked) > before and "its last addresses are used" in node.log


def test_a_long_ttl_is_cut_and_several_addresses_are_tried():
    one, two = pair()
    names = Names()
    names.zone["origin.test"] = (86400, ["127.0.0.3", "127.0.0.1"])  # nobody listens at the first
    node = Node(origins=[f"http://origin.test:{one.port}"],
                config={"upstream": {"dns_server": f"127.0.0.1:{names.port}", "dns_max_ttl": "1s"}})
    assert node.get("/1").body == b"one"
    names.zone["origin.test"] = (86400, ["127.0.0.2"])
    eventually("it is looked up again", lambda: node.get("/2").body == b"two", timeout=10)


def test_a_reload_brings_new_names():
    one, two = pair()
    names = Names()
    names.zone.update({"a.test": (60, ["127.0.0.1"]), "b.test": (60, ["127.0.0.2"])})
    node = Node(origins=[f"http://a.test:{one.port}"], config={"upstream": {"dns_server": f"127.0.0.1:{names.port}"}})
    assert node.get("/1").body == b"one"
    node.config["sites"][0]["origins"] = [f"http://b.test:{one.port}"]
    node.write()
    os.kill(node.pid, signal.SIGHUP)
    eventually("the other name", lambda: node.get("/2").body == b"two", timeout=10, step=0.1)


def test_hosts_and_what_is_unknown():
    one, _ = pair()
    names = Names()
    node = Node(origins=[f"http://localhost:{one.port}"], config={"upstream": {"dns_server": f"127.0.0.1:{names.port}"}})
    assert node.get("/1").body == b"one" and ("localhost", 1) not in names.asked
    node = Node(origins=[f"http://nowhere.invalid:{one.port}"], config={"upstream": {"dns_server": f"127.0.0.1:{names.port}"}})
    r = node.get("/1")
    assert r.status == 502 and r.own["detail"] == "dns_error", r


if __name__ == "__main__":
    main()
