"""A file system that is full, under load and across a kill: visitors get right bodies, no purge is lost that was acknowledged, and
when there is room again everything is as before. The file system is a small one in a mount namespace of its own, so nothing is left
of it; where the kernel gives none, the tests are skipped."""
from harness import *

SIZE = 40 << 20


class Small:
    """`folder` is a file system of SIZE bytes for processes that are started with `prefix`; `here` is the same from outside."""

    def __init__(self):
        self.folder = temp_dir("brink-small-")
        new = ["--mount"] if os.geteuid() == 0 else ["--mount", "--map-root-user"]
        self.holder = Process("holder", ["unshare", *new, "sh", "-c", f"mount -t tmpfs -o size={SIZE} none {self.folder} && touch {self.folder}/ready && exec sleep 3600"],
                              temp_dir())
        self.here = f"/proc/{self.holder.pid}/root{self.folder}"
        try:
            eventually("the file system is there", lambda: os.path.exists(f"{self.here}/ready") or not self.holder.alive)
        except AssertionError:
            pass
        if not self.holder.alive or not os.path.exists(f"{self.here}/ready"):
            raise Skip(f"no mount namespaces here: {self.holder.log.strip()}")
        user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        self.prefix = ["nsenter", f"--target={self.holder.pid}", "--mount", *user]

    def fill(self):
        """Takes what is left, to the last byte."""
        with open(f"{self.here}/ballast", "ab", buffering=0) as ballast:
            size = 1 << 20
            while size:
                try:
                    if ballast.write(bytes(size)) < size:
                        raise OSError
                except OSError:
                    size //= 2

    def free(self):
        os.remove(f"{self.here}/ballast")

    def left(self):
        s = os.statvfs(self.here)
        return s.f_bavail * s.f_frsize


def started():
    small, origin = Small(), Origin()
    versions = {}

    def answer(request):
        version = versions.setdefault(request.path, 1)
        return Reply(f"{request.path} {version};".encode() * 2000, headers={"Cache-Control": "max-age=600", "Surrogate-Key": "all"})

    origin.on("*", answer)
    node = Node([origin.url], prefix=small.prefix,
                config={"memory": {"size": "4MiB"}, "state": f"{small.folder}/state", "disk": {"path": f"{small.folder}/disk", "size": "32MiB"}})
    return small, origin, versions, node


def check(node, versions, path):
    r = node.get(path)
    assert r.status == 200, r
    shown = r.text.split(";")[0]
    assert r.text == (shown + ";") * 2000, "a torn body"
    assert shown == f"{path} {versions.get(path, 1)}", (shown, versions.get(path), r)
    return r


def test_visitors_and_purges_on_a_full_disk():
    small, origin, versions, node = started()
    for n in range(200):
        check(node, versions, f"/{n}"), check(node, versions, f"/{n}")
    small.fill()
    assert small.left() < 4096
    accepted = []
    for n in range(12):  # a second each: the journal is tried again before it is given up
        for k in range(n, 400, 10):
            check(node, versions, f"/{k}")
        path = f"/{n}"
        versions[path] = versions.get(path, 1) + 1
        r = node.admin("/v1/purge", "POST", {"urls": [f"http://test.example{path}"], "wait": "local"})
        assert r.status in (200, 202, 503), r  # 503: in force, but it couldn't be written down
        accepted.append(r.status)
        check(node, versions, path)
    assert node.status()["ready"] and node.process.alive
    small.free()
    eventually("purges are durable again", lambda: node.admin("/v1/purge", "POST", {"tags": ["nobody"], "wait": "local"}).status == 200, step=0.2)
    for n in range(200):
        check(node, versions, f"/{n}")
    node.kill()
    node.start()
    for n in range(200):
        check(node, versions, f"/{n}")


def test_killed_while_the_disk_is_full():
    """What was acknowledged before the kill holds after it; what was answered with 503 may be lost by then, as it says."""
    small, origin, versions, node = started()
    for n in range(200):
        check(node, versions, f"/{n}"), check(node, versions, f"/{n}")
    small.fill()
    durable = {}
    for n in range(8):
        path = f"/{n}"
        versions[path] = 2
        durable[path] = node.admin("/v1/purge", "POST", {"urls": [f"http://test.example{path}"], "wait": "local"}).status != 503
    node.kill()
    node.launch()
    # It comes up and serves, or it says why it doesn't; then it comes up when there is room.
    eventually("it has started, or ended and said why", lambda: not node.process.alive or node.admin("/healthz", token=None).status == 200, timeout=30)
    if not node.process.alive:
        assert node.process.child.returncode == 1 and re.search("not started: .*(space|full|written|MDB)", node.process.log), node.process.log
        node.process.gone()
        small.free()
        node.start()
    else:
        for path, kept in durable.items():
            if kept:
                check(node, versions, path)
        small.free()
    for path, kept in durable.items():
        if kept:
            check(node, versions, path)
    node.restart()
    for path, kept in durable.items():
        if kept:
            check(node, versions, path)


if __name__ == "__main__":
    main()
