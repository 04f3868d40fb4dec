"""RFC 9111 and its companions as tables: what is stored, for how long it is fresh, and for whom (tests/live/conform.py)."""
from conform import *

FRESH = {"Cache-Control": "max-age=60"}
TAG = '"v1"'
AGO = {"Last-Modified": "@-864000"}


def cc(value, **more):
    return dict({"Cache-Control": value}, **more)


def setup():
    global bench
    bench = Bench(site={"rules": [
        {"path": "/ttl/**", "ttl": "60s"}, {"path": "/override/**", "override_ttl": "60s"}, {"path": "/off/**", "cache": False},
        {"path": "/forced/**", "override_ttl": "60s", "override_private": True},
        {"path": "/windows/**", "stale_while_revalidate": "60s", "stale_if_error": "60s"}]})


def test_freshness():
    stored = lambda v: (ask(NEW, cc(v)), ask(HIT))
    passed = lambda v: (ask(NEW, cc(v)), ask(NEW, cc(v)))
    bench.run([
        each("fresh", "RFC 9111 4.2.1, 5.2", ["max-age=60", "MAX-AGE=60", 'max-age="60"', "s-maxage=60", "max-age=0, s-maxage=60", "max-age=060",
                                           'foo="no-store, max-age=0", max-age=60', "max-age=60,,", "max-age=99999999999", "public, max-age=60",
                                           "max-age=60, no-transform", ", max-age=60"], stored),
        each("not fresh", "RFC 9111 4.2.1, 5.2", ["max-age=0", "max-age=60, s-maxage=0", "max-age=-1", "max-age=1.5", "max-age", "max-age=x", "max-age=60x",
                                               "no-store", "max-age=60, no-store", "private, max-age=60", "no-cache, max-age=60", "max-age='60'",
                                               "PRIVATE, max-age=60", "max-age=60, No-Store"], passed),
        case("several lines", "RFC 9110 5.3", ask(NEW, {"Cache-Control": ["max-age=60", "no-store"]}), ask(NEW, FRESH)),
        case("it ends", "RFC 9111 4.2", ask(NEW, cc("max-age=1")), ask(NEW, FRESH, wait=2.1)),
        case("max-age before Expires", "RFC 9111 5.3", ask(NEW, cc("max-age=60", Expires="@-60")), ask(HIT)),
        case("Expires", "RFC 9111 5.3", ask(NEW, {"Expires": "@+60"}), ask(HIT)),
        case("Expires, past", "RFC 9111 5.3", ask(NEW, {"Expires": "@-60"}), ask(NEW, FRESH)),
        each("Expires, rubbish", "RFC 9111 5.3", ["0", "-1", "now", "", "60", "2099-01-01T00:00:00Z", "Thu, 32 Jan 2099 00:00:00 GMT", "Fri, 01 Jan 2099 00:00:00 UTC",
                                                "Fri, 01 Jan 2099 00:00:00", "Fri, 01 Jan 2099 25:00:00 GMT"],
             lambda v: (ask(NEW, {"Expires": v}), ask(NEW, FRESH))),
        each("Expires, old forms", "RFC 9110 5.6.7", ["Friday, 01-Jan-55 00:00:00 GMT", "Fri Jan  1 00:00:00 2055", "fri, 01 jan 2055 00:00:00 gmt"],
             lambda v: (ask(NEW, {"Expires": v}), ask(HIT))),
        case("two Expires", "RFC 9111 4.2.1", ask(NEW, {"Expires": ["@+60", "@-60"]}), ask(NEW, FRESH)),
        case("must-understand", "RFC 9111 5.2.2.3", ask(NEW, cc("max-age=60, no-store, must-understand")), ask(HIT)),
        case("must-understand, unknown status", "RFC 9111 5.2.2.3", ask(NEW, cc("max-age=60, must-understand"), status=299), ask(NEW, FRESH)),
        case("unknown status", "RFC 9111 3", ask(NEW, FRESH, status=299), ask(HIT, want=299)),
        case("no-cache", "RFC 9111 5.2.2.4", ask(NEW, cc("no-cache"), etag=TAG), ask(VALID, cc("no-cache"), etag=TAG)),
        case("no-cache of a field", "RFC 9111 5.2.2.4", ask(NEW, cc('max-age=60, no-cache="x-a"', **{"X-A": "1", "X-B": "2"}), has={"x-a": "1"}),
             ask(HIT, has={"x-b": "2"}, lacks=["x-a"])),
        case("private of fields", "RFC 9111 5.2.2.7", ask(NEW, cc('max-age=60, private="x-a, X-C"', **{"X-A": "1", "X-B": "2", "X-C": "3"}), has={"x-a": "1"}),
             ask(HIT, has={"x-b": "2"}, lacks=["x-a", "x-c"])),
    ])


def test_heuristics():
    bench.run([
        each("guessed", "RFC 9111 4.2.2", [200, 203, 204, 300, 301, 308, 404, 405, 410],
             lambda s: (ask(NEW, AGO, status=s, body=b""), ask(HIT, want=s, content=b""))),
        each("not guessed", "RFC 9110 15.1", [302, 303, 307, 400, 401, 403, 413, 422, 429, 431, 500, 502, 503, 504],
             lambda s: (ask(NEW, AGO, status=s), ask(NEW, AGO, status=s))),
        each("said", "RFC 9111 3", [302, 307, 400, 403, 404, 410, 414, 500, 503], lambda s: (ask(NEW, FRESH, status=s), ask(HIT, want=s, content=None))),
        each("never", "RFC 6585", [412, 416, 428, 429, 431, 511], lambda s: (ask(NEW, FRESH, status=s), ask(NEW, FRESH, status=s))),
        case("public", "RFC 9111 4.2.2", ask(NEW, cc("public", **AGO), status=302), ask(HIT, want=302)),
        case("nothing to guess from", "RFC 9111 3", ask(NEW, {}), ask(NEW, {})),
        case("modified just now", "RFC 9111 4.2.2", ask(NEW, {"Last-Modified": "@-1"}), ask(NEW, FRESH, wait=1.2)),
        case("modified in the future", "RFC 9111 4.2.2", ask(NEW, {"Last-Modified": "@+3600"}), ask(NEW, FRESH)),
        case("Pragma", "RFC 9111 5.4", ask(NEW, dict(AGO, Pragma="no-cache")), ask(NEW, FRESH)),
        case("Pragma beside Cache-Control", "RFC 9111 5.4", ask(NEW, cc("max-age=60", Pragma="no-cache")), ask(HIT)),
    ])


def test_age():
    bench.run([
        case("Age", "RFC 9111 4.2.3", ask(NEW, cc("max-age=600", Age="500")), ask(HIT, has={"age": "50[0-9]"})),
        case("Age beyond", "RFC 9111 4.2.3", ask(NEW, cc("max-age=60", Age="60")), ask(NEW, FRESH)),
        case("Age, a list", "RFC 9111 5.1", ask(NEW, cc("max-age=600", Age="100, 900")), ask(HIT, has={"age": "10[0-9]"})),
        case("Age, lines", "RFC 9111 5.1", ask(NEW, cc("max-age=600", Age=["100", "900"])), ask(HIT, has={"age": "10[0-9]"})),
        each("Age, rubbish", "RFC 9111 5.1", ["x", "-5", "1.5", '"9000"', "9000x"], lambda v: (ask(NEW, cc("max-age=60", Age=v)), ask(HIT, has={"age": "[0-9]"}))),
        case("Age, large", "RFC 9111 1.2.2", ask(NEW, cc("max-age=60", Age="99999999999999999999")), ask(NEW, FRESH)),
        case("Date in the past", "RFC 9111 4.2.3", ask(NEW, cc("max-age=600", Date="@-100")), ask(HIT, has={"age": "10[0-9]"})),
        case("Date too far past", "RFC 9111 4.2.3", ask(NEW, cc("max-age=60", Date="@-100")), ask(NEW, FRESH)),
        case("Date in the future", "RFC 9111 4.2.3", ask(NEW, cc("max-age=60", Date="@+3600")), ask(HIT, has={"age": "[0-9]"})),
        case("Date and Expires", "RFC 9111 4.2.1", ask(NEW, {"Date": "@-100", "Expires": "@+60"}), ask(HIT, has={"age": "10[0-9]"})),
        case("Date, rubbish", "RFC 9110 6.6.1", ask(NEW, cc("max-age=60", Date="today")), ask(HIT, has={"date": ".* GMT"})),
        case("delay", "RFC 9111 4.2.3", ask(NEW, cc("max-age=1"), delay=1.5), ask(NEW, FRESH)),
    ])


def test_requests():
    stored = ask(NEW, FRESH)
    asked = lambda v: (stored, ask(NEW, FRESH, request=cc(v)))
    bench.run([
        case("only-if-cached, nothing", "RFC 9111 5.2.1.7", ask(NONE, request=cc("only-if-cached"), want=504, has={"cache-status": "edge-1; detail=only-if-cached"})),
        case("only-if-cached, fresh", "RFC 9111 5.2.1.7", stored, ask(HIT, request=cc("only-if-cached"))),
        case("only-if-cached, stale", "RFC 9111 5.2.1.7", ask(NEW, cc("max-age=1")), ask(NONE, request=cc("only-if-cached"), want=504, wait=2.1)),
        each("asked again", "RFC 9111 5.2.1", ["no-cache", "max-age=0", "min-fresh=61", "No-Cache", "min-fresh=100, max-stale", "no-cache, only-x"], asked),
        each("not asked again", "RFC 9111 5.2.1", ["max-age=60", "min-fresh=10", "max-stale=0", "foo", "no-transform", "max-stale"],
             lambda v: (stored, ask(HIT, request=cc(v)))),
        each("stale taken", "RFC 9111 5.2.1.2", ["max-stale", "max-stale=60", "max-stale=60, max-age=600"],
             lambda v: (ask(NEW, cc("max-age=1"), etag=TAG), ask(STALE, request=cc(v), wait=2.1))),
        each("stale forbidden", "RFC 9111 5.2.2.2, 5.2.2.8, 5.2.2.10", ["max-age=1, must-revalidate", "max-age=1, proxy-revalidate", "s-maxage=1"],
             lambda v: (ask(NEW, cc(v)), ask(NEW, FRESH, request=cc("max-stale=60"), wait=2.1))),
        case("too stale", "RFC 9111 5.2.1.2", ask(NEW, cc("max-age=1")), ask(NEW, FRESH, request=cc("max-stale=0"), wait=3.1)),
        case("no-store", "RFC 9111 5.2.1.5", ask(NEW, FRESH, request=cc("no-store")), ask(NEW, FRESH), ask(HIT)),
        case("Pragma", "RFC 9111 5.4", stored, ask(NEW, FRESH, request={"Pragma": "no-cache"})),
        case("Pragma beside Cache-Control", "RFC 9111 5.4", stored, ask(HIT, request={"Pragma": "no-cache", "Cache-Control": "max-age=60"})),
    ])


def test_authorization():
    him, her = {"Authorization": "Bearer a"}, {"Authorization": "Bearer b"}
    bench.run([
        case("one user's", "RFC 9111 3.5", ask(NEW, FRESH, request=him), ask(NEW, FRESH), ask(NEW, FRESH, request=her)),
        each("everybody's", "RFC 9111 3.5", ["public, max-age=60", "s-maxage=60", "max-age=60, must-revalidate"],
             lambda v: (ask(NEW, cc(v), request=him), ask(HIT), ask(HIT, request=her))),
        case("Set-Cookie, a guess", "RFC 9111 7.3", ask(NEW, dict(AGO, **{"Set-Cookie": "a=b"})), ask(NEW, dict(AGO, **{"Set-Cookie": "a=b"}))),
        case("Set-Cookie, public", "RFC 9111 7.3", ask(NEW, cc("public, max-age=60", **{"Set-Cookie": "a=b"})), ask(HIT)),
    ])


def test_targeted_fields():
    ours, cdn, edge = "Brink-CDN-Cache-Control", "CDN-Cache-Control", "Surrogate-Control"
    gone = [ours, edge]
    bench.run([
        case("fresh over no-store", "RFC 9213 2.2", ask(NEW, cc("no-store", **{cdn: "max-age=60"}), lacks=[cdn]), ask(HIT, lacks=[cdn])),
        case("no-store over fresh", "RFC 9213 2.2", ask(NEW, cc("max-age=60", **{cdn: "no-store"})), ask(NEW, FRESH)),
        case("stale over fresh", "RFC 9213 2.2", ask(NEW, cc("max-age=60", Expires="@+60", **{cdn: "max-age=0"})), ask(NEW, FRESH)),
        case("private", "RFC 9213 2.2", ask(NEW, cc("max-age=60", **{cdn: "private"})), ask(NEW, FRESH)),
        case("ours first", "RFC 9213 2.2", ask(NEW, cc("no-store", **{cdn: "no-store", ours: "max-age=60"}), lacks=gone), ask(HIT, lacks=gone)),
        case("ours forbids", "RFC 9213 2.2", ask(NEW, cc("max-age=60", **{cdn: "max-age=60", ours: "no-store"}), lacks=gone), ask(NEW, FRESH)),
        each("not to be read", "RFC 9651 4.2", ["", "max-age=60,", "max-age = 60", '"x"', "MAX-AGE=60", "max-age=60 no-store", "max-age=60;A=1", "max-age=60, ??"],
             lambda v: (ask(NEW, cc("no-store", **{cdn: v})), ask(NEW, cc("max-age=60", **{cdn: v.replace("60", "0")})), ask(HIT))),
        case("a parameter", "RFC 9213 2.1", ask(NEW, cc("no-store", **{cdn: "max-age=60;a=1"})), ask(HIT)),
        case("lines", "RFC 9651 4.2", ask(NEW, cc("no-store", **{cdn: ["max-age=60", "foo"]})), ask(HIT)),
        case("the last of a kind", "RFC 9651 3.2", ask(NEW, cc("no-store", **{cdn: "max-age=0, max-age=60"})), ask(HIT)),
        case("Surrogate-Control", "Edge Architecture", ask(NEW, cc("no-store", **{edge: "max-age=60"}), lacks=gone), ask(HIT, lacks=gone)),
        case("Surrogate-Control after ours", "RFC 9213 2.2", ask(NEW, {edge: "max-age=60", cdn: "no-store"}, lacks=gone), ask(NEW, FRESH)),
    ])


def test_stale_and_immutable():
    bad = dict(status=503, origin={})
    bench.run([
        case("stale-while-revalidate", "RFC 5861 3", ask(NEW, cc("max-age=1, stale-while-revalidate=60")),
             ask(STALE, cc("max-age=60"), wait=2.1, has={"cache-status": "edge-1; hit; ttl=-[0-9]+; detail=stale-while-revalidate"}),
             ask(ANY, wait=3, has={"x-cache": "HIT"})),
        case("stale-if-error", "RFC 5861 4", ask(NEW, cc("max-age=1, stale-if-error=60")), ask(STALE, **bad, want=200, wait=2.1)),
        case("no stale-if-error", "RFC 9111 4.2.4", ask(NEW, cc("max-age=1")), ask(NEW, **bad, wait=2.1)),
        case("must-revalidate forbids it", "RFC 9111 5.2.2.2", ask(NEW, cc("max-age=1, stale-if-error=60, stale-while-revalidate=60, must-revalidate")), ask(NEW, **bad, wait=2.1)),
        case("beside s-maxage", "RFC 5861 3", ask(NEW, cc("s-maxage=1, stale-while-revalidate=60")), ask(STALE, cc("s-maxage=60"), wait=2.1)),
        each("reload of what is immutable", "RFC 8246 2", ["no-cache", "max-age=0"], lambda v: (ask(NEW, cc("max-age=60, immutable")), ask(HIT, request=cc(v)))),
        case("immutable, stale", "RFC 8246 2", ask(NEW, cc("max-age=1, immutable")), ask(NEW, FRESH, wait=2.1)),
    ])


def test_cache_status():
    exactly = lambda text: {"cache-status": text}
    bench.run([
        case("miss, hit", "RFC 9211 2", ask(NEW, FRESH, has=exactly("edge-1; fwd=uri-miss; fwd-status=200; stored")),
             ask(HIT, has=exactly("edge-1; hit; ttl=(60|5[0-9]); detail=memory"))),
        case("not stored", "RFC 9211 2.5", ask(NEW, cc("no-store"), has=exactly("edge-1; fwd=uri-miss; fwd-status=200; detail=no-store"))),
        case("vary-miss", "RFC 9211 2.2", ask(NEW, cc("max-age=60", Vary="X-V"), request={"X-V": "1"}),
             ask(NEW, cc("max-age=60", Vary="X-V"), request={"X-V": "2"}, has=exactly("edge-1; fwd=vary-miss; fwd-status=200; stored")), ask(HIT, request={"X-V": "1"})),
        case("stale", "RFC 9211 2.2", ask(NEW, cc("max-age=1"), etag=TAG),
             ask(VALID, FRESH, etag=TAG, wait=2.1, has=exactly("edge-1; fwd=stale; fwd-status=304; stored"))),
        case("request", "RFC 9211 2.2", ask(NEW, FRESH), ask(NEW, FRESH, request=cc("no-cache"),
                                                            has=exactly("edge-1; fwd=request; fwd-status=200; stored; detail=request-no-cache"))),
        case("method", "RFC 9211 2.2", ask(NEW, {}, method="POST", upload=b"x", has=exactly("edge-1; fwd=method; fwd-status=200"))),
        case("rule", "RFC 9211 2.2", ask(NEW, FRESH, has=exactly("edge-1; fwd=bypass; fwd-status=200; detail=rule")), under="off"),
        case("an upstream cache's member", "RFC 9211 2", ask(NEW, cc("max-age=60", **{"Cache-Status": "other; hit"}),
                                                             has=exactly("other; hit, edge-1; fwd=uri-miss; fwd-status=200; stored"))),
        each("an upstream's member that nobody can read", "RFC 9651 4.2", ["other; hit,", "other; hit; ;", '"other', "HIT from (cache"], lambda v: (
            ask(NEW, cc("max-age=60", **{"Cache-Status": v}), has=exactly("edge-1; fwd=uri-miss; fwd-status=200; stored")),)),
    ])


def test_changes():
    changes = [ask(NEW, FRESH), ask(HIT)]
    bench.run([
        each("invalidated by", "RFC 9111 4.4", ["POST", "PUT", "DELETE", "PATCH", "FOO"], lambda m: (*changes, ask(NEW, {}, method=m, upload=b"x"), ask(NEW, FRESH))),
        each("left by", "RFC 9110 9.2.1", ["OPTIONS"], lambda m: (*changes, ask(NEW, {}, method=m), ask(HIT))),
        case("a failed one", "RFC 9111 4.4", *changes, ask(NEW, {}, method="PUT", upload=b"x", status=500), ask(HIT)),
        each("named by", "RFC 9111 4.4", ["Location", "Content-Location"], lambda f: (
            *changes, ask(NEW, {f: "{path}"}, method="POST", upload=b"x", at="/form"), ask(NEW, FRESH))),
        case("named on another origin", "RFC 9111 4.4", *changes, ask(NEW, {"Location": "http://other.example{path}"}, method="POST", upload=b"x", at="/form"), ask(HIT)),
        case("groups", "RFC 9875 3", ask(NEW, dict(FRESH, **{"Cache-Groups": '"{path}", "b"'}), has={"cache-groups": ".*"}), ask(HIT),
             ask(NEW, {"Cache-Group-Invalidation": '"{path}"'}, method="POST", upload=b"x", at="/form", has={"cache-group-invalidation": ".*"}), ask(NEW, FRESH)),
        case("groups, a safe method", "RFC 9875 3", ask(NEW, dict(FRESH, **{"Cache-Groups": '"{path}"'})),
             ask(NEW, {"Cache-Group-Invalidation": '"{path}"'}, at="/other"), ask(HIT)),
        case("groups, another origin", "RFC 9875 2", ask(NEW, dict(FRESH, **{"Cache-Groups": '"{path}"'})),
             ask(NEW, {"Cache-Group-Invalidation": '"{path}"'}, method="POST", upload=b"x", host="other.example", at="/form"), ask(HIT)),
        case("what a POST brings", "RFC 9110 9.3.3", ask(NEW, cc("max-age=60", **{"Content-Location": "{path}"}), method="POST", upload=b"x"), ask(HIT)),
        case("what a POST doesn't", "RFC 9110 9.3.3", ask(NEW, FRESH, method="POST", upload=b"x"), ask(NEW, FRESH)),
        case("nor for another URI", "RFC 9110 9.3.3", ask(NEW, cc("max-age=60", **{"Content-Location": "{path}"}), method="POST", upload=b"x", at="/form"), ask(NEW, FRESH)),
        case("HEAD", "RFC 9111 4.3.5", ask(NEW, cc("max-age=1", **{"X-A": "1"}), etag=TAG), ask(VALID, cc("max-age=60", **{"X-A": "2"}), etag=TAG, method="HEAD", wait=2.1),
             ask(HIT, has={"x-a": "2", "cache-control": "max-age=60"})),
        case("HEAD of what has changed", "RFC 9111 4.3.5", ask(NEW, cc("max-age=1"), etag=TAG), ask(NEW, cc("max-age=60"), etag='"v2"', method="HEAD", wait=2.1, body=b"other"),
             ask(HIT, has={"etag": '"v2"'}, content=b"other")),
        case("304 merges", "RFC 9111 3.2", ask(NEW, cc("max-age=1", **{"X-A": "1", "X-B": "1", "Content-Type": "text/a"}), etag=TAG),
             ask(VALID, cc("max-age=60", **{"X-A": "2", "Content-Type": "text/b"}), etag=TAG, wait=2.1, has={"x-a": "2", "x-b": "1", "content-type": "text/a"}),
             ask(HIT, has={"x-a": "2", "x-b": "1", "cache-control": "max-age=60"})),
    ])


def test_vary():
    vary = lambda v: cc("max-age=60", Vary=v)
    bench.run([
        case("other fields", "RFC 9111 4.1", ask(NEW, vary("X-V"), request={"X-V": "1"}), ask(HIT, request={"X-V": "1"}), ask(NEW, FRESH)),
        case("white space and order of lists", "RFC 9111 4.1", ask(NEW, vary("X-V"), request={"X-V": "1, 2"}), ask(HIT, request={"X-V": "1,2"})),
        case("lines", "RFC 9111 4.1", ask(NEW, vary(["X-V", "X-W"]), request={"X-V": "1"}), ask(NEW, FRESH, request={"X-V": "1", "X-W": "2"})),
        each("anything", "RFC 9111 4.1", ["*", "X-V, *"], lambda v: (ask(NEW, vary(v)), ask(NEW, vary(v)))),
        case("a second line of *", "RFC 9111 4.1", ask(NEW, vary(["X-V", "*"])), ask(NEW, FRESH)),
        case("Accept-Language by meaning", "RFC 9111 4.1", ask(NEW, vary("Accept-Language"), request={"Accept-Language": "de, en;q=0.5"}),
             ask(HIT, request={"Accept-Language": "EN;q=0.5,DE;q=1.0"})),
        case("Accept-Encoding by meaning", "RFC 9111 4.1", ask(NEW, vary("Accept-Encoding"), request={"Accept-Encoding": "x, y"}),
             ask(HIT, request={"Accept-Encoding": "y,x"})),
    ])


def test_rules():
    bench.run([
        case("ttl, nothing said", "rules", ask(NEW, {}), ask(HIT), under="ttl"),
        case("ttl, said otherwise", "rules", ask(NEW, cc("max-age=0")), ask(NEW, FRESH), under="ttl"),
        case("ttl, no-store", "rules", ask(NEW, cc("no-store")), ask(NEW, FRESH), under="ttl"),
        case("ttl, an error", "rules", ask(NEW, {}, status=500), ask(NEW, {}, status=500), under="ttl"),
        case("override_ttl", "rules", ask(NEW, cc("max-age=0")), ask(HIT), under="override"),
        case("override_ttl, no-cache", "rules", ask(NEW, cc("no-cache")), ask(HIT), under="override"),
        case("override_ttl, private", "rules", ask(NEW, cc("private")), ask(NEW, FRESH), under="override"),
        case("override_ttl, no-store", "rules", ask(NEW, cc("no-store")), ask(NEW, FRESH), under="override"),
        case("override_ttl, Authorization", "rules", ask(NEW, FRESH, request={"Authorization": "Bearer a"}), ask(NEW, FRESH), under="override"),
        case("override_ttl, Set-Cookie", "rules", ask(NEW, {"Set-Cookie": "a=b"}), ask(NEW, FRESH), under="override"),
        case("override_private", "rules", ask(NEW, cc("private")), ask(HIT), under="forced"),
        case("override_private, Authorization", "rules", ask(NEW, {}, request={"Authorization": "Bearer a"}), ask(HIT), under="forced"),
        case("cache: false", "rules", ask(NEW, FRESH), ask(NEW, FRESH), under="off"),
        case("a rule's window", "rules", ask(NEW, cc("max-age=1")), ask(STALE, FRESH, wait=2.1), under="windows"),
        case("a rule's window, must-revalidate", "rules", ask(NEW, cc("max-age=1, must-revalidate")), ask(NEW, FRESH, wait=2.1), under="windows"),
        case("the response's own window", "rules", ask(NEW, cc("max-age=1, stale-while-revalidate=0")), ask(NEW, FRESH, wait=2.1), under="windows"),
        case("a rule's stale_if_error", "rules", ask(NEW, cc("max-age=1, stale-while-revalidate=0")), ask(STALE, {}, status=503, want=200, wait=2.1), under="windows"),
    ])


if __name__ == "__main__":
    main()
