"""Scenarios of HTTP caching as tables: a few requests for one URI, what the origin says, what must come of it. Each runs
over HTTP/1.1 and over HTTP/2, all at the same time against one node, so that those that wait cost nothing.

    case("max-age", "RFC 9111 5.2.2.1", ask(NEW, {"Cache-Control": "max-age=60"}), ask(HIT))

A value "@-60" in fields stands for the date 60 seconds ago, {path} for the scenario's own path."""
import concurrent.futures
import email.utils
import re
import threading
import time

from harness import *

NEW, HIT, STALE, VALID, NONE, ANY = "NEW", "HIT", "STALE", "VALID", "NONE", "ANY"
WHY = {
    NEW: "asked of the origin, and its answer given",
    HIT: "answered from what is stored",
    STALE: "answered with what is stored, as stale",
    VALID: "validated, and answered with what is stored",
    NONE: "answered by brink itself, without the origin",
}


def ask(expect, origin=None, *, status=200, body=None, request=None, method="GET", want=None, has=None, lacks=(), up=None, wait=0, at="",
        host="test.example", content=None, delay=0, etag=None, raw=None, upload=None):
    """One request. expect: what becomes of it; origin, status, body, etag, raw, delay: what the origin answers if asked;
    request, method, at (added to the path), host, upload: what the client sends, after `wait` seconds; want: the status
    (else that of the origin, or 200); has, up: patterns of the answer's fields, and of those that the origin got
    (None: absent); content: the body."""
    return dict(vars())


class Case:
    def __init__(self, name, section, steps, under, only):
        self.name, self.section, self.steps, self.under, self.only = name, section, steps, under, only


def case(name, section, *steps, under="c", only=None):
    return Case(name, section, steps, under, only)


def each(name, section, values, steps):
    """A case for each value; steps(value) makes them."""
    return [case(f"{name}: {value}", section, *steps(value)) for value in values]


class Bench:
    """An origin, a node, and what is being asked of them."""

    def __init__(self, **node):
        self.origin, self.replies, self.lock = Origin(), {}, threading.Lock()
        self.origin.on("*", self.answer)
        self.node = Node(origins=[self.origin.url], **node)

    def answer(self, request):
        path = request.path.split("?")[0]
        with self.lock:
            step, fill = self.replies["/".join(path.split("/")[:4])]
        if step["raw"] is not None:
            return Reply(raw=step["raw"])
        headers = [(k, fill(v)) for k, vs in (step["origin"] or {}).items() for v in (vs if isinstance(vs, list) else [vs])]
        with self.lock:
            self.counter = getattr(self, "counter", 0) + 1
            body = f"answer {self.counter}".encode() if step["body"] is None else step["body"]
        return Reply(body, status=step["status"], headers=headers, delay=step["delay"], etag=step["etag"])

    def run(self, cases):
        """Asserts that every case holds on both protocols."""
        cases = [c for item in cases for c in (item if isinstance(item, list) else [item])]
        jobs = [(i, c, p) for i, c in enumerate(cases) for p in ("h1", "h2") if c.only in (None, p)]
        with concurrent.futures.ThreadPoolExecutor(24) as pool:
            wrong = [w for w in pool.map(lambda job: self.one(*job), jobs) if w]
        assert not wrong, f"{len(wrong)} of {len(jobs)} don't hold:\n" + "\n".join(wrong)

    def one(self, number, c, protocol):
        slug = re.sub(r"[^a-z0-9]+", "-", c.name.lower()).strip("-")[:40]
        path = f"/{c.under}/{number}-{slug}/{protocol}"
        fill = lambda v: email.utils.formatdate(time.time() + int(v[1:]), usegmt=True) if re.fullmatch(r"@[+-]\d+", v) else v.replace("{path}", path)
        stored = set()
        for i, step in enumerate(c.steps):
            time.sleep(step["wait"])
            with self.lock:
                self.replies[path] = (step, fill)
            asked = self.count(path)
            fields = {k: fill(v) for k, v in (step["request"] or {}).items()}
            try:
                r = self.send(protocol, path + step["at"], step, fields)
            except Exception as error:
                return f"{c.name} ({c.section}, {protocol}), request {i + 1}: {error!r}"
            seen = self.seen(path)[asked:]
            problem = self.judge(step, r, seen, stored, fill)
            if problem:
                return f"{c.name} ({c.section}, {protocol}), request {i + 1}: {problem}\n{r}"
            stored.add(r.body)
        return None

    def send(self, protocol, path, step, fields):
        if protocol == "h1":
            return self.node.get(path, method=step["method"], headers=fields, body=step["upload"], host=step["host"])
        with self.node.h2(tls=False) as c:
            return c.get(path, method=step["method"], headers=fields, body=step["upload"], host=step["host"])

    def seen(self, path):
        with self.origin.lock:
            return [r for r in self.origin.requests if r.path.startswith(path)]

    def count(self, path):
        return len(self.seen(path))

    def judge(self, step, r, seen, stored, fill):
        expect, own = step["expect"], r.own
        want = step["want"] or (step["status"] if expect in (NEW, ANY) else 200)
        if r.status != want:
            return f"{r.status} instead of {want}"
        cached = {HIT: "HIT", STALE: "STALE", VALID: "REVALIDATED"}.get(expect)
        if cached and r.x_cache != cached or (expect in (HIT, NONE) and seen) or (expect in (NEW, VALID) and not seen):
            return f"should have been {WHY[expect]}"
        if expect == NEW and (r.x_cache in ("HIT", "STALE", "REVALIDATED") or (r.body and step["body"] is None and r.body in stored)):
            return f"should have been {WHY[expect]}"
        if cached and r.status == 200 and step["method"] == "GET" and r.body not in stored and step["content"] is None:
            return "not the body that is stored"
        if "hit" in own and "fwd" in own:
            return "Cache-Status says hit and fwd (RFC 9211 2.1)"
        if expect == HIT and r.age is None:
            return "no Age (RFC 9111 5.1)"
        for name, pattern in (step["has"] or {}).items():
            if pattern is None:
                if name in r:
                    return f"{name}: {r[name]}"
            elif not re.fullmatch(fill(pattern), r[name] or ""):
                return f"{name} is {r[name]!r}, no {pattern!r}"
        for name in step["lacks"]:
            if name in r:
                return f"{name}: {r[name]} should not be there"
        for name, pattern in (step["up"] or {}).items():
            got = seen[-1][name] if seen else ""
            if (pattern is None and got is not None) or (pattern is not None and not re.fullmatch(pattern, got or "")):
                return f"the origin got {name}: {got!r}, no {pattern!r}"
        if step["content"] is not None and r.body != step["content"]:
            return "another body"
        return None
