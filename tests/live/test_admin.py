"""The admin listener towards those who shouldn't be there: guesses, methods, sizes, pages that others put around it."""
from harness import *

CALLS = ["/v1/purge", "/client/v4/zones/023e105f4ecef8ad9ca31a8372d0c353/purge_cache", "/service/SU1Z0isxPaozGVKXdv0eY/purge",
         "/service/SU1Z0isxPaozGVKXdv0eY/purge_all", "/service/SU1Z0isxPaozGVKXdv0eY/purge/key", "/purge/test.example/a"]


def started(**more):
    origin = Origin()
    origin.on("/a", body=b"a", headers={"Cache-Control": "max-age=600", "Surrogate-Key": "key"})
    node = Node([origin.url], **more)
    assert node.get("/a").status == 200 and node.get("/a").own["hit"]
    return origin, node


def test_guessing_is_slowed_down_on_every_way_in():
    _, node = started()
    wrong = {"Authorization": "Bearer guess"}
    ways = [lambda: node.admin("/v1/status", token="guess"), lambda: node.admin("/v1/purge", "POST", {"tags": ["x"]}, token="guess"),
            lambda: node.get("/a", method="PURGE", headers=wrong), lambda: node.admin("/v1/explain?url=http://test.example/a", token="guess"),
            lambda: node.admin(CALLS[1], "POST", {"purge_everything": True}, token="guess"), lambda: node.admin(CALLS[3], "POST", token="guess")]
    began = time.monotonic()
    got = [ways[n % len(ways)]().status for n in range(60)]
    took = time.monotonic() - began
    assert set(got) == {401, 429} and got[:10] == [401] * 10, got
    assert got.count(401) <= 11 + took, (got, took)  # ten at once, then one a second
    refused = [w() for w in ways]
    assert sum(r.status == 429 and r["retry-after"] is not None for r in refused) >= len(ways) - 1 - took, refused
    # What needs no token is not held up, and neither are visitors; the right token waits with the wrong ones, and not for long.
    assert node.get("/a").own["hit"] and node.admin("/healthz", token=None).status == 200
    eventually("the right token is taken again", lambda: node.admin("/v1/status").status == 200, step=0.3)
    assert node.metric("brink_admin_requests_total", status="429") >= 30


def test_get_changes_nothing():
    origin, node = started()
    for path in CALLS:
        for method in ("GET", "HEAD", "PUT"):
            r = node.admin(path, method)
            assert r.status in (404, 405), (method, path, r)
            assert r.status == 404 or "GET" not in (r["allow"] or ""), (method, path, r)
    assert node.get("/a").own["hit"] and origin.count("/a") == 1
    assert node.metric("brink_purges_total") == 0


def test_bodies_have_a_ceiling():
    _, node = started()
    body = json.dumps({"tags": ["x" * 1000] * 1100})
    assert len(body) > 1 << 20
    assert node.admin("/v1/purge", "POST", body).status == 413
    assert node.admin("/v1/purge", "POST", {"tags": [str(n) for n in range(10_001)]}).status == 413
    # What stands beside the body would be ignored: who means a soft purge must not get a hard one.
    r = node.admin("/v1/purge?soft=true", "POST", {"tags": ["key"]})
    assert r.status == 400 and "body" in r.json["detail"], r
    assert node.metric("brink_purges_total") == 0 and node.get("/a").own["hit"]


def test_pages_of_others_can_do_nothing_with_it():
    _, node = started()
    page = node.admin("/", token=None)
    policy = dict(part.strip().split(" ", 1) for part in page["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'" and policy["frame-ancestors"] == "'none'" and policy["form-action"] == "'none'"
    assert policy["base-uri"] == "'none'" and policy["connect-src"] == "'self'"
    assert all(word.startswith("'sha256-") for key in ("script-src", "style-src") for word in policy[key].split()), policy
    assert "unsafe" not in page["content-security-policy"] and page["referrer-policy"] == "no-referrer"
    for path in ("/", "/healthz", "/readyz", "/metrics", "/v1/status", "/nothing"):
        r = node.admin(path, headers={"Origin": "https://elsewhere.example"})
        assert r["x-content-type-options"] == "nosniff" and r["cache-control"] == "no-store", (path, r)
        assert r["cross-origin-resource-policy"] == "same-origin", (path, r)
        assert "access-control-allow-origin" not in r, "no page of another origin may read it"
    r = node.admin("/v1/purge", "OPTIONS", headers={"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}, token=None)
    assert r.status == 405 and "access-control-allow-origin" not in r, r


def test_a_unix_socket_is_this_machine():
    origin = Origin()
    path = os.path.join(temp_dir(), "admin.sock")
    node = Node([origin.url], start=False, config={"admin": {"address": f"unix:{path}", "tokens": None}})
    node.launch()
    eventually("it answers", lambda: fetch(path, "/readyz").status == 200)
    assert fetch(path, "/v1/status").status == 200, "without tokens: this machine, read-only"
    assert fetch(path, "/v1/purge", "POST", [("Content-Type", "application/json")], b'{"everything":true}').status == 403
    node.stop()


if __name__ == "__main__":
    main()
