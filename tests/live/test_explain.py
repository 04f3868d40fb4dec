"""GET /v1/explain and brinkctl explain: what they foretell is what the next request gets, and asking changes nothing."""
from urllib.parse import quote, urlencode

from harness import *
from test_tools import ctl

HOST = "test.example"
RULES = [{"path": "/never/**", "cache": False}, {"path": "/ruled/**", "ttl": "5m", "stale_if_error": "1h"},
         {"path": "/signed/**", "signed": True}]


def started(**more):
    origin = Origin()
    return origin, Node(origins=[origin.url], site={"hosts": [HOST, "*.example"], "rules": RULES, "access": {"secret_file": "signing.secret"},
                                                    **more.pop("site", {})}, config={"memory": {"size": "64MiB", "max_object": "8MiB"}}, start=False, **more)


def node_with(**more):
    origin, node = started(**more)
    with open(os.path.join(os.path.dirname(node.config_path), "signing.secret"), "w") as f:
        f.write("0123456789abcdef0123456789abcdef")
    os.chmod(f.name, 0o600)
    node.start()
    return origin, node


def explain(node, path, headers=(), **more):
    pairs = [("url", f"http://{HOST}{path}")] + [("header", f"{k}: {v}") for k, v in dict(headers).items()] + list(more.items())
    r = node.admin("/v1/explain?" + urlencode(pairs))
    assert r.status == 200 and r["content-type"] == "application/json" and r["cache-control"] == "no-store", r
    return r.json


def told(node, path, decision, because, section, headers=(), **more):
    """Asks, checks, and asks again: the first time changed nothing."""
    e = explain(node, path, headers, **more)
    assert (e["decision"], e["because"]["reason"], e["because"]["section"]) == (decision, because, section), e
    again = explain(node, path, headers, **more)
    assert [r for r in again["rules"]] == e["rules"], (again, e)
    assert [s.get("hits") for s in again["stored"]] == [s.get("hits") for s in e["stored"]], (again, e)
    return e


def member(e):
    """What it says that Cache-Status will say."""
    return parse_cache_status(e["cache_status"])[-1]


def chosen(e):
    (one,) = [s for s in e["stored"] if s["chosen"]]
    return one


def test_miss_hit_and_stale():
    origin, node = node_with()
    origin.on("/a", body=b"hello", headers={"Cache-Control": "s-maxage=600, stale-while-revalidate=6000", "ETag": '"1"', "Surrogate-Key": "t u"})
    e = told(node, "/a", "miss", "uri-miss", "RFC 9111 4")
    assert e["stored"] == [] and e["key"] == f"http://{HOST}/a" and e["site"] == HOST and e["upstream"]["asked"] == "before", e
    assert origin.count("/a") == 0
    assert node.get("/a", host=HOST).x_cache == "MISS"
    e = told(node, "/a", "hit", "fresh", "RFC 9111 4.2")
    s = chosen(e)
    assert s["tier"] == "memory" and s["lifetime"] == 600 and s["stale_while_revalidate"] == 6000 and s["etag"] == '"1"' and s["bytes"] == 5, s
    assert s["lifetime_from"] == {"source": "s-maxage", "section": "RFC 9111 5.2.2.10", "field": "Cache-Control"}, s
    assert s["tags"] == 2 and s["purge"] == "none" and s["hits"] == 0 and s["storing"]["reason"] == "stored", s
    assert e["upstream"]["asked"] == "no" and member(e)["hit"] is True and member(e)["detail"] == "memory", e
    r = node.get("/a", host=HOST)
    assert r.x_cache == "HIT" and r.own["detail"] == "memory"
    assert chosen(explain(node, "/a"))["hits"] == 1
    # Old when it came: another cache had it for longer than it is fresh.
    origin.on("/old", body=b"hello", headers={"Cache-Control": "s-maxage=600, stale-while-revalidate=6000", "Age": "700"})
    node.get("/old", host=HOST)
    e = told(node, "/old", "stale", "stale-while-revalidate", "RFC 5861 3")
    assert e["upstream"]["asked"] == "in the background" and origin.count("/old") == 1 and chosen(e)["ttl"] < 0, e
    assert node.get("/old", host=HOST).x_cache == "STALE"
    eventually("it was refreshed", lambda: origin.count("/old") == 2)


def test_validation_and_errors():
    origin, node = node_with()
    origin.on("/b", body=b"hello", headers={"Cache-Control": "max-age=600, stale-if-error=60", "ETag": '"1"'})
    node.get("/b", host=HOST)
    e = told(node, "/b", "revalidate", "request-no-cache", "RFC 9111 5.2.1.4", headers={"Cache-Control": "no-cache"})
    assert e["upstream"] == {"asked": "before", "waits_for_running_fetch": False, "past_shields": False,
                             "validators": {"if-none-match": '"1"'}, "on_error": "stale"}, e
    assert member(e)["fwd"] == "request" and member(e)["detail"] == "request-no-cache", e
    r = node.get("/b", host=HOST, headers={"Cache-Control": "no-cache"})
    assert r.own["fwd"] == "request" and r.own["detail"] == "request-no-cache", r
    told(node, "/b", "refuse", "only-if-cached", "RFC 9111 5.2.1.7", headers={"Cache-Control": "only-if-cached, no-cache"})
    told(node, "/b", "revalidate", "authorization", "RFC 9111 3.5", headers={"Authorization": "Bearer x"})
    told(node, "/none", "pass", "no-store", "RFC 9111 5.2.1.5", headers={"Cache-Control": "no-store"})
    assert origin.count("/b") == 2 and origin.count("/none") == 0


def test_purges():
    origin, node = node_with()
    origin.on("*", body=b"hello", headers={"Cache-Control": "max-age=600", "ETag": '"1"', "Surrogate-Key": "t"})
    for path in ("/soft", "/hard"):
        node.get(path, host=HOST)
    node.purge(urls=[f"http://{HOST}/soft"], soft=True)
    node.purge(urls=[f"http://{HOST}/hard"])
    e = told(node, "/soft", "revalidate", "soft-purge", "purge")
    assert chosen(e)["purge"] == "soft" and e["upstream"]["validators"] == {"if-none-match": '"1"'}, e
    e = told(node, "/hard", "miss", "purged", "purge")
    assert e["stored"][0]["purge"] == "hard" and not e["upstream"]["validators"], e
    assert node.get("/soft", host=HOST).own["detail"] == "soft-purge"
    assert node.get("/hard", host=HOST).own["detail"] == "purged"
    # An unsafe method that succeeded leaves a mark too.
    node.get("/hard", host=HOST, method="POST", body=b"x")
    e = told(node, "/hard", "revalidate", "invalidated", "RFC 9111 4.4")
    assert chosen(e)["purge"] == "invalidated", e
    assert node.get("/hard", host=HOST).own["detail"] == "invalidated"


def test_vary():
    origin, node = node_with()
    origin.on("/v", lambda r: Reply(b"hello", headers={"Cache-Control": "max-age=600", "Vary": "Accept-Language, X-Theme"}))
    node.get("/v", host=HOST, headers={"Accept-Language": "de", "X-Theme": "dark"})
    e = told(node, "/v", "miss", "vary-miss", "RFC 9111 4.1", headers={"Accept-Language": "de", "X-Theme": "light"})
    (s,) = e["stored"]
    assert s["selected"] is False and [(v["name"], v["same"]) for v in s["vary"]] == [("accept-language", True), ("x-theme", False)], s
    assert told(node, "/v", "hit", "fresh", "RFC 9111 4.2", headers={"X-Theme": "dark", "Accept-Language": "DE"})["stored"][0]["selected"]
    node.get("/v", host=HOST)
    e = told(node, "/v", "hit", "fresh", "RFC 9111 4.2")
    assert len(e["stored"]) == 2 and chosen(e)["vary"][0]["value"] is None, e


def test_what_is_not_stored():
    origin, node = node_with()
    origin.on("/private", body=b"x", headers={"Cache-Control": "private"})
    origin.on("/nostore", body=b"x", headers={"Cache-Control": "no-store"})
    origin.on("/never/a", body=b"x", headers={"Cache-Control": "max-age=600"})
    for path, reason, section in (("/private", "private", "RFC 9111 5.2.2.7"), ("/nostore", "no-store", "RFC 9111 5.2.2.5")):
        told(node, path, "miss", "uri-miss", "RFC 9111 4")
        node.get(path, host=HOST)
        e = explain(node, path)
        (note,) = e["stored"]
        assert note["note"] is True and note["not_stored"]["reason"] == reason and note["not_stored"]["section"] == section, note
        if note["ttl"] > 0.5 or e["decision"] == "pass":
            assert (e["decision"], e["because"]["reason"]) == ("pass", "hit-for-miss") or note["ttl"] <= 0.5, e
    e = told(node, "/never/a", "pass", "rule", "site rule")
    assert e["site_rules"] == [{"path": "/never/**", "cache": False}] and e["settings"]["cache"] is False, e
    assert node.get("/never/a", host=HOST).own["detail"] == "rule"


def test_rules_of_the_site():
    origin, node = node_with()
    origin.on("/ruled/a", body=b"x", headers={"ETag": '"1"'})
    node.get("/ruled/a", host=HOST)
    e = told(node, "/ruled/a", "hit", "fresh", "RFC 9111 4.2")
    s = chosen(e)
    assert s["lifetime"] == 300 and s["lifetime_from"]["source"] == "ttl" and s["lifetime_from"]["section"] == "site rule", s
    assert e["site_rules"] == [{"path": "/ruled/**", "ttl": 300, "stale_if_error": 3600}], e
    e = told(node, "/signed/a", "refuse", "unsigned", "site access")
    assert e["status"] == 403, e


def test_disk():
    origin, node = node_with(disk=True)
    origin.on("/d", body=b"x" * 1000, headers={"Cache-Control": "max-age=600", "ETag": '"1"'})
    for _ in range(4):
        node.get("/d", host=HOST)
    eventually("it is on disk", lambda: any(s["tier"] == "disk" for s in explain(node, "/d")["stored"]))
    node.restart()
    e = told(node, "/d", "hit", "fresh", "RFC 9111 4.2")
    s = chosen(e)
    assert s["tier"] == "disk" and s["bytes"] == 1000 and s["lifetime_from"]["source"] == "max-age" and len(e["stored"]) == 1, e
    assert member(e)["detail"] == "disk" and node.metric("brink_objects", tier="memory") == 0, e
    assert node.get("/d", host=HOST).own["detail"] == "disk"
    node.purge(urls=[f"http://{HOST}/d"])
    assert told(node, "/d", "miss", "purged", "purge")["stored"][0]["purge"] == "hard"


def test_access():
    origin, node = node_with(site={"access": {"secret_file": "signing.secret", "deny": ["192.0.2.0/24"], "rate": 1}})
    e = told(node, "/a", "miss", "uri-miss", "RFC 9111 4")
    assert e["client"] is False, e
    for _ in range(3):  # nobody's rate is used up by being asked about
        told(node, "/a", "miss", "uri-miss", "RFC 9111 4", client="127.0.0.1")
    assert node.get("/a", host=HOST).status == 404
    e = told(node, "/a", "refuse", "access", "site access", client="192.0.2.9")
    assert e["status"] == 403, e


def test_refusals():
    origin, node = node_with()
    r = node.admin("/v1/explain?" + urlencode({"url": "http://nobody.invalid/"}))
    assert r.json["decision"] == "refuse" and r.json["status"] == 421 and r.json["site"] is None and r.json["because"]["reason"] == "host", r
    good = quote(f"http://{HOST}/", safe="")
    for query, status in (("", 400), ("?", 400), ("?uri=x", 400), (f"?url={good}&x=1", 400), (f"?url={good}&url={good}", 400), ("?url=%zz", 400),
                          ("?url=/a", 422), ("?url=ftp://a/", 422), ("?url=http://", 422), ("?url=http://u:p@a/", 422), (f"?url={good}&header=x", 422),
                          (f"?url={good}%00", 422), (f"?url={good}a%0ab", 422), (f"?url={good}%7f", 422),
                          (f"?url={good}&header=a%20b:c", 422), (f"?url={good}&header=a:%00", 422), (f"?url={good}&header=Host:x", 422),
                          (f"?url={good}&client=nowhere", 422), (f"?url={good}" + "&header=a:b" * 65, 422)):
        r = node.admin("/v1/explain" + query)
        assert r.status == status and r["content-type"] == "application/problem+json" and r.json["title"], (query, r)
    assert node.admin("/v1/explain", "POST", {}).status == 405
    assert node.admin(f"/v1/explain?url={good}", token=None).status == 401
    assert node.admin(f"/v1/explain?url={good}", token="wrong").status == 401
    # Bytes that no URL may contain are what they are in a request, too.
    r = node.admin("/v1/explain?url=http://test.example/%25zz")
    assert r.status == 200 and r.json["status"] == 400 and node.get("/%zz", host=HOST).status == 400, r
    r = node.admin("/v1/explain?url=http://test.example/%ff&header=x:%ff%01".replace("%01", ""))
    assert r.status == 200 and r.json["key"] == "http://test.example/%FF", r


def test_brinkctl():
    origin, node = node_with()
    origin.on("/a", body=b"hello", headers={"CDN-Cache-Control": "max-age=600", "ETag": '"1"', "Vary": "Accept-Language"})
    node.get("/a", host=HOST, headers={"Accept-Language": "de"})
    code, out, err = ctl(node, "explain", f"http://{HOST}/a", "--header", "Accept-Language: de", "--header=X-Other: a b & c")
    assert code == 0 and out.startswith("hit") and "RFC 9111 4.2" in out and "CDN-Cache-Control" in out and "accept-language: de" in out, (code, out, err)
    code, out, err = ctl(node, "explain", f"http://{HOST}/a", "--json")
    assert code == 0 and json.loads(out)["decision"] == "miss", (code, out, err)
    code, out, err = ctl(node, "explain", "http://nobody.invalid/?a=1&b=2")
    assert code == 0 and out.startswith("refuse") and "421" in out, (code, out, err)
    for arguments, code in (([], 2), (["nothing"], 1), (["http://a/", "http://b/"], 2), (["http://a/", "--header", "x"], 1)):
        got, out, err = ctl(node, "explain", *arguments)
        assert got == code and err.startswith("brinkctl") and not out, (arguments, got, out, err)


if __name__ == "__main__":
    main()
