"""Small requests that would make the origin send much: one byte of a large thing (RangeAmp), a client that hangs up, ranges that
overlap. Each asks for another URL, so that nothing is ever stored before."""
from harness import *

SIZE = 8 << 20
BODY = bytes(range(256)) * (SIZE // 256)
PIECES = [BODY[i:i + SIZE // 32] for i in range(0, SIZE, SIZE // 32)]
ROUNDS = 4


def started(**more):
    origin = Origin()

    def answer(request):
        """All of it in a second or so; or from a place on, at once."""
        fields = {"Cache-Control": "max-age=600", "ETag": '"v1"', "Content-Type": "video/mp4"}
        first = re.fullmatch(r"bytes=(\d+)-", request["range"] or "")
        if first and int(first[1]) > 0:
            fields["Content-Range"] = f"bytes {first[1]}-{SIZE - 1}/{SIZE}"
            return Reply(BODY[int(first[1]):], status=206, headers=fields)
        return Reply(PIECES, headers=fields, gap=0.03, chunked="chunked" in request.path)
    origin.on("*", answer)
    return origin, Node([origin.url], workers=1, config={"memory": {"size": "256MiB"}}, **more)


def came(node):
    return node.metric("brink_bytes_total", direction="upstream_in")


def costs(node, what, attack):
    """The origin sends a small part of it all, and nothing is under way any more."""
    before = came(node)
    for i in range(ROUNDS):
        attack(f"/{what}/{i}")
    eventually("nothing is fetched any more", lambda: node.metric("brink_fills_in_flight") == 0)
    assert came(node) - before < ROUNDS * SIZE / 3, (what, (came(node) - before) / SIZE)


def test_one_byte_of_a_large_thing():
    origin, node = started()

    def one_byte(path):
        r = node.get(path, headers={"Range": "bytes=0-0"})
        assert (r.status, r.body) == (206, BODY[:1]), r

    costs(node, "range", one_byte)
    costs(node, "chunked", lambda path: node.get(path, headers={"Range": "bytes=0-0"}, method="HEAD"))
    # what came is of use to the next one, who gets it all
    for path in ("/range/0", "/range/1"):
        r = node.get(path)
        assert r.status == 200 and r.body == BODY, r
        assert node.get(path).x_cache == "HIT"


def test_clients_that_hang_up():
    origin, node = started()

    def hang_up(path):
        with node.conn() as c:
            c.request(path)
            c.head()
            c.reset()

    for what in ("gone", "chunked-gone"):
        costs(node, what, hang_up)
        assert node.get(f"/{what}/0").body == BODY


def test_who_leaves_disturbs_nobody():
    """A hundred leave while one stays: it gets all, and all of it is stored."""
    origin, node = started()
    with node.conn() as stays:
        stays.request("/many")
        for _ in range(100):
            with node.conn() as c:
                c.request("/many")
                c.reset()
        assert stays.response().body == BODY
    assert node.get("/many").x_cache == "HIT" and origin.count("/many") == 1


def test_nearly_done_is_done():
    """What is small, or nearly there, is still fetched for the next one."""
    origin, node = started()
    origin.on("/small", body=BODY[:900_000], headers={"Cache-Control": "max-age=600"})
    with node.conn() as c:
        c.request("/small")
        c.head()
        c.reset()
    eventually("it is stored", lambda: node.metric("brink_objects", tier="memory") == 1)
    assert node.get("/small").x_cache == "HIT"


def test_ranges_that_overlap():
    origin, node = started()
    assert node.get("/o").status == 200
    for ranges in (["0-"] * 60, [f"{i}-" for i in range(60)], ["0-1"] * 2000):
        r = node.get("/o", headers={"Range": "bytes=" + ",".join(ranges)})
        assert len(r.body) <= SIZE + 1000, (ranges[:3], len(r.body))


if __name__ == "__main__":
    main()
