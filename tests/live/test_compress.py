"""Bodies that the edge codes (sites[].compress): RFC 9110 8.4, 12.5.3, over HTTP/1.1 and HTTP/2, decoded by libraries that brink
does not use."""
import io
import zlib

import brotli
import zstandard

from harness import *

TEXT = b"".join(b'{"id": %d, "name": "item %d"},\n' % (i * 7919, i % 97) for i in range(4000))
JSON = {"Content-Type": "application/json", "Cache-Control": "max-age=600"}


def decoded(r):
    coding = r["content-encoding"]
    if coding == "gzip":
        return zlib.decompress(r.body, 31)
    if coding == "br":
        return brotli.decompress(r.body)
    if coding == "zstd":
        return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(r.body)).read()
    assert coding is None, coding
    return r.body


def accepts(codings, **more):
    return {"Accept-Encoding": codings, **more}


def kept(node, path, codings, **more):
    """Until the coded form is kept: it has a length then."""
    return eventually("it is coded once", lambda: (lambda r: r if "content-length" in r else None)(
        node.get(path, headers=accepts(codings), **more)))


def started(**more):
    origin = Origin()
    origin.on("/a", body=TEXT, headers=JSON, etag='"v1"')
    return origin, Node(origins=[origin.url], **more)


def test_all_codings_over_both_protocols():
    origin, node = started(tls=True)
    for codings, expected in (("zstd", "zstd"), ("br", "br"), ("gzip", "gzip"), ("gzip, br", "br"), ("gzip, br, zstd", "zstd"),
                              ("br;q=0.5, gzip", "gzip"), ("*", "zstd"), ("*;q=0", None), ("identity", None), ("", None)):
        first = node.get("/a", headers=accepts(codings))
        assert decoded(first) == TEXT and first["content-encoding"] == expected, (codings, first)
        assert "Accept-Encoding" in first["vary"], first
        later = kept(node, "/a", codings)
        assert later.x_cache == "HIT" and decoded(later) == TEXT and later["content-encoding"] == expected, (codings, later)
        assert len(later.body) < len(TEXT) / 3 or expected is None
        with node.h2() as h2:
            r = h2.get("/a", headers=accepts(codings))
            assert decoded(r) == TEXT and r["content-encoding"] == expected, (codings, r)
            assert r["etag"] == (f'W/"v1-{expected}"' if expected else '"v1"'), r
    assert origin.count("/a") == 2  # once for each scheme
    assert node.metric("brink_coder_jobs_total", outcome="kept") >= 3
    assert node.metric("brink_coded_responses_total", coding="gzip", how="kept") > 0
    assert node.metric("brink_coded_responses_total", coding="gzip", how="live") > 0
    before, after = (node.metric("brink_coded_bytes_total", coding="br", side=s) for s in ("before", "after"))
    assert 0 < after < before / 3


def test_curl_decodes_it():
    origin, node = started()
    for _ in range(3):
        assert curl("--compressed", "-H", "Host: test.example", node.url + "/a") == TEXT


def test_a_slow_body_is_seen_as_it_comes():
    origin, node = started()
    gate = threading.Event()
    origin.on("/slow", body=[TEXT[:3000], gate, TEXT[3000:]], chunked=True, headers=JSON)
    with node.conn() as c:
        c.send(b"GET /slow HTTP/1.1\r\nHost: test.example\r\nAccept-Encoding: gzip\r\n\r\n")
        got, z = b"", zlib.decompressobj(31)
        c.sock.settimeout(20)
        while b"\r\n\r\n" not in got:
            got += c.sock.recv(65536)
        body = got.split(b"\r\n\r\n", 1)[1]
        seen = b""
        while len(seen) < 3000:  # the chunk's length, then its bytes
            while b"\r\n" not in body or len(body) < int(body.split(b"\r\n")[0], 16) + body.index(b"\r\n") + 4:
                body += c.sock.recv(65536)
            size, rest = body.split(b"\r\n", 1)
            seen += z.decompress(rest[:int(size, 16)])
            body = rest[int(size, 16) + 2:]
        assert seen == TEXT[:3000]
        gate.set()


def test_conditions_and_ranges():
    origin, node = started()
    node.get("/a")
    r = kept(node, "/a", "gzip")
    tag = r["etag"]
    assert tag == 'W/"v1-gzip"' and "accept-ranges" not in r
    for mine, lines in ((tag, accepts("gzip")), ('"v1"', accepts("gzip")), ('"v1"', {}), (tag, {})):
        r = node.get("/a", headers={**lines, "If-None-Match": mine})
        assert r.status == 304 and r["etag"] == mine and "Accept-Encoding" in r["vary"], r
    assert node.get("/a", headers=accepts("gzip", **{"If-Match": tag})).status == 200
    r = node.get("/a", headers=accepts("gzip", Range="bytes=100-199"))
    assert (r.status, r.body, r["etag"], r["content-encoding"]) == (206, TEXT[100:200], '"v1"', None), r
    r = node.get("/a", headers=accepts("gzip", Range="bytes=100-199", **{"If-Range": tag}))
    assert r.status == 200 and decoded(r) == TEXT
    h = node.head("/a", headers=accepts("gzip"))
    assert h["content-encoding"] == "gzip" and int(h["content-length"]) < len(TEXT) and h.body == b"", h
    assert origin.count("/a") == 1


def test_purge_and_304():
    origin, node = started()
    control = {"Content-Type": "text/css", "Cache-Control": "max-age=1"}
    origin.on("/b", body=TEXT, headers=control, etag='"1"')
    kept(node, "/b", "br")
    time.sleep(1.3)
    r = node.get("/b", headers=accepts("br"))
    assert r.x_cache == "REVALIDATED" and decoded(r) == TEXT and "content-length" in r, r
    node.get("/a", headers=accepts("br"))
    kept(node, "/a", "br")
    origin.on("/a", body=TEXT.upper(), headers=JSON, etag='"v2"')
    node.purge(urls=["http://test.example/a"], wait="local")
    for _ in range(20):
        assert decoded(node.get("/a", headers=accepts("br"))) == TEXT.upper()


def test_after_a_restart():
    origin, node = started(disk=True)
    for _ in range(3):
        node.get("/a", headers=accepts("zstd"))
    kept(node, "/a", "zstd")
    node.restart()
    r = node.get("/a", headers=accepts("zstd"))
    assert r.own.get("detail") == "disk" and decoded(r) == TEXT, r
    r = kept(node, "/a", "zstd")
    assert decoded(r) == TEXT and origin.count("/a") == 1


def test_behind_a_shield():
    origin = Origin()
    origin.on("/a", body=TEXT, headers=JSON, etag='"v1"')
    shield = Node(origins=[origin.url], tier=True)
    edge = Node(origins=[origin.url], shield=[shield])
    for _ in range(2):
        r = edge.get("/a", headers=accepts("gzip"))
        assert decoded(r) == TEXT and r["content-encoding"] == "gzip", r
    assert shield.metric("brink_coded_responses_total", coding="gzip", how="live") == 0
    assert origin.count("/a") == 1


def test_http_1_0_and_never():
    origin, node = started()
    with node.conn() as c:
        c.request("/a", headers=accepts("gzip"), version="HTTP/1.0")
        r = c.response()
        assert "content-encoding" not in r and r.body == TEXT, r
    kept(node, "/a", "gzip")
    with node.conn() as c:
        c.request("/a", headers=accepts("gzip"), version="HTTP/1.0")
        r = c.response()
        assert decoded(r) == TEXT and r["content-encoding"] == "gzip", r
    never = Node(origins=[origin.url], site={"compress": []})
    r = never.get("/a", headers=accepts("gzip"))
    assert r.body == TEXT and "vary" not in r, r


def explained(node, *headers):
    query = "&".join(["url=http://test.example/a", *(f"header=Accept-Encoding:{h}" for h in headers)])
    stored = node.admin("/v1/explain?" + query).json["stored"][0]["coding"]
    return stored["name"], stored["because"]["reason"]


def test_explained():
    origin, node = started()
    node.get("/a")
    assert explained(node) == ("identity", "accept-encoding")
    assert explained(node, "gzip") == ("gzip", "live")
    kept(node, "/a", "gzip")
    assert explained(node, "gzip") == ("gzip", "kept")
    assert explained(node, "br") == ("br", "live")


def test_many_at_once():
    origin, node = started()
    big = TEXT * 20
    origin.on("/big", body=big, headers=JSON)
    answers = together(24, lambda i: node.get("/big", headers=accepts(("gzip", "br", "zstd")[i % 3])))
    assert all(decoded(r) == big for r in answers)
    assert origin.count("/big") == 1


if __name__ == "__main__":
    main()
