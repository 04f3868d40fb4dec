#!/usr/bin/python3
"""Holds brink's real request path (driver.c) against the model of the RFCs (model.py) in random cases.

    compare.py DRIVER [--cases N] [--seed S] [--only CASE] [--verbose]

A case is a handful of requests for one URI with random fields, time between them, and an origin that answers at random. It
ends with 1 if there was a violation (something was served that no lawful reading allows), a needless forward that nobody
argued for, or an answer that contradicts what is stored. --only CASE tells one case step by step."""
import argparse
import collections
import copy
import json
import re
import subprocess
import sys

from cases import SITE, Cases, imf
from conditions import expected_status, wrong_parts
from grammar import Directives, joined, lines, string_list
from model import ARGUED, SAFE, Rules, Stored, matches, named_uri, readings

PATHS = {
    "/c": Rules(), "/ttl/c": Rules(ttl=100000), "/override/c": Rules(override_ttl=60000),
    "/windows/c": Rules(swr=60000, sie=100000), "/off/c": Rules(cache=False),
    "/all/c": Rules(override_ttl=60000, override_private=True),
}
CHOICE = ["/c"] * 12 + ["/ttl/c"] * 2 + ["/override/c"] * 2 + ["/windows/c"] * 2 + ["/off/c", "/all/c"]
BATCH = 200  # cases a world


class Driver:
    def __init__(self, program):
        self.child = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.now, self.tell = 0, None

    def do(self, op, **more):
        self.child.stdin.write(json.dumps(dict(more, op=op)) + "\n")
        self.child.stdin.flush()
        line = self.child.stdout.readline()
        if not line:
            raise SystemExit(f"the driver ended with {self.child.wait()} at {op} {more}")
        reply = json.loads(line)
        self.now = reply["now"]
        if self.tell:
            self.tell(op, more, reply)
        return reply

    def close(self):
        self.child.stdin.close()
        code = self.child.wait()
        if code:
            raise SystemExit(f"the driver ended with {code}")


class Case:
    """One URI or two, the requests for them, and what the model remembers of them."""

    def __init__(self, driver, seed, number):
        self.d, self.gen, self.number = driver, Cases(seed * 1000003 + number), number
        prefix = self.gen.r.choice(CHOICE)
        self.rules, self.target = PATHS[prefix], f"{prefix}{number}"
        self.other = self.target + "b" if self.gen.changing else None  # a second URI that has to do with it
        self.stored, self.tokens, self.known = [], 0, []
        self.wrong, self.needless, self.count = [], collections.Counter(), collections.Counter()
        self.done = {}          # client -> reply
        self.open = []          # calls that wait for the origin
        self.asked = {}         # x-q -> the request that has it, so that a call says whose it is
        self.meaning = {}       # call -> the request that caused it

    def bad(self, text):
        self.wrong.append(text)

    def ask(self, target, method, fields, body=None):
        number = str(len(self.asked))
        request = self.asked[number] = {"target": target, "method": method, "fields": fields + [("x-q", number)], "now": self.d.now}
        self.take(self.d.do("request", method=method, target=target, fields=request["fields"], body=body, loop=self.gen.pick(0, 1)))
        return request

    def take(self, reply):
        for c in reply["calls"]:
            self.open.append(c)
            self.meaning[c["call"]] = (self.asked[joined(c["fields"], "x-q")], self.d.now, len(self.stored))
        for c in reply["clients"]:
            self.done[c["client"]] = dict(c, at=self.d.now, stored=list(self.stored),
                                          superseded={id(s) for s in self.stored if s.superseded})

    # ---- the origin ----

    def answer(self, call, bad=None):
        """Answers one call at random, and tells the model."""
        cause, asked, known = self.meaning[call["call"]]
        fields, method = call["fields"], call["method"]
        if self.gen.chance(.1):
            self.d.do("pass", ms=self.gen.pick(1000, 4000, 10000))
        now = self.d.now
        none, since = joined(fields, "if-none-match"), joined(fields, "if-modified-since")
        if self.gen.chance(.08):
            if self.gen.chance(.4):
                self.take(self.d.do("fail", call=call["call"]))
                return "unreachable"
            status, out, token = self.gen.pick(500, 502, 503, 504), [("date", imf(now // 1000))], None
            self.take(self.d.do("answer", call=call["call"], status=status, fields=out, body="sorry"))
            self.note(method, status, out, cause, None)
            return "error"
        if (none or since) and method in ("GET", "HEAD") and self.gen.chance(.6):
            picked = [s for s in sorted(self.stored, key=lambda s: s.date // 1000) if s.target == call["target"] and
                      not s.superseded and not s.transient and (matches(s, fields) or s.status == 200 and not s.kept) and
                      ((none and s.get("etag") and s.get("etag") in none) or
                       (not none and since and s.get("last-modified") == since))]
            if picked:
                etag = picked[-1].get("etag")
                out = self.gen.not_modified(now, etag)
                self.freshen(picked, out, call)
                self.take(self.d.do("answer", call=call["call"], status=304, fields=out, body=""))
                return "304"
        self.tokens += 1
        token = f"t{self.number}-{self.tokens}"
        status, out = self.gen.response(now, token)
        body = "" if status in (204, 304) else f"body of {token}" + self.gen.pick("", "", "", "", " and more" * 40)
        if method not in SAFE or self.gen.chance(.2 if self.gen.changing else .05):
            out += self.gen.unsafe(method, (call["target"], self.target if call["target"] == self.other else self.target + "b"))
        s = Stored(token, status, out, method, cause["fields"], asked, now, self.rules, body, call["target"])
        if method in ("GET", "POST"):
            self.stored.append(s)
            if status == 200:
                self.known.append((s.get("etag"), s.get("last-modified")))
        self.note(method, status, out, cause, s)
        self.take(self.d.do("answer", call=call["call"], status=status, fields=out, body=body))
        return "error" if status in (500, 502, 503, 504) else "new"

    def freshen(self, picked, out, call):
        """RFC 9111 4.3.4. A strong entity tag names what is updated. Else it is the most recent of those that correspond,
        or the one that was asked about: which one that is depends on what the cache has kept, so each gets its update and
        nothing is owed for any."""
        etag = joined(out, "etag") or (picked[-1].get("etag") if len({s.token for s in picked}) == 1 else None)
        unsure = not etag or etag.startswith("W/")
        for token in dict.fromkeys(s.token for s in picked):
            now = [s for s in self.stored if s.token == token and not s.superseded and
                   (s in picked or any(s.may_store(r) for r in readings(s.fields)))]
            for s in now if unsure or token == picked[-1].token else []:
                self.freshen_one(s, out, call, unsure or len(now) > 1)

    def freshen_one(self, s, out, call, unsure):
        cause, asked, _ = self.meaning[call["call"]]
        fresh = s.freshened(out, cause["fields"], asked, self.d.now)
        fresh.doubtful |= s.doubtful or unsure or joined(out, "etag") is None
        own = [k for k in ("if-none-match", "if-modified-since") if lines(cause["fields"], k) and lines(cause["fields"], k) == lines(call["fields"], k)]
        if own or unsure or lines(cause["fields"], "authorization") or "no-store" in Directives(lines(cause["fields"], "cache-control")) or (
                not any(fresh.may_store(r) for r in readings(fresh.fields)) and
                any(fresh.without_request().may_store(r) for r in readings(fresh.fields))):
            # an answer to the client's own condition need not be kept, and RFC 9111 3.5 and 5.2.1.5 may forbid it
            s.doubtful = fresh.transient = True
        else:
            s.superseded = True
        self.stored.append(fresh)

    def note(self, method, status, out, cause, answer):
        """What an answer does to what is stored: RFC 9111 4.4, 4.3.5; RFC 9875 3. The answer to a POST stands for what is
        there after it. The RFCs leave it to a cache whether it follows Location, Content-Location and groups; ours does."""
        target = cause["target"]
        invalidates = method not in SAFE and 200 <= status < 400
        named = {target} | {named_uri(joined(out, n), target) for n in ("location", "content-location")}
        text = joined(out, "cache-group-invalidation")
        groups = string_list(text) if text is not None else []
        for s in self.stored:
            if s is answer:
                continue
            if invalidates:
                if s.target in named or set(s.groups() or []) & set(groups or []):
                    s.invalid = True
                elif groups is None or (groups and s.groups() is None):
                    s.doubtful = True
            if method == "HEAD" and status == 200 and s.target == target and matches(s, cause["fields"]):
                s.doubtful = True

    # ---- a request ----

    def step(self, first):
        gen = self.gen
        if not first:
            self.take(self.d.do("pass", ms=gen.pause()))
        method, fields, body = gen.request(self.known, self.d.now)
        now = self.d.now
        target = self.other if self.other and gen.chance(.5) else self.target
        before = [s for s in self.stored if s.target == target]
        self.done = {}
        request = self.ask(target, method, fields, body)
        self.count["requests"] += 1
        if self.done:
            # served without waiting for anybody
            (client,) = self.done.values()
            self.judge_served(request, client, before, now, now, bool(self.open), None)
            self.drain(request)
            return
        if method in ("GET", "HEAD"):
            if not self.open:
                self.bad(f"{method}: neither answered nor forwarded")
                return
            self.judge_forward(request, before, now)
        second = None
        if method == "GET" and gen.chance(.12):
            second = self.ask(target, "GET", gen.request(self.known, now)[1])
        for client in list(self.done.values()):  # the second one was a hit
            self.judge_served(second, client, before, now, now, False, None)
            second = None
        self.done = {}
        outcomes = []
        for _ in range(6):
            if not self.open:
                break
            call = self.open.pop(0)
            outcomes.append(self.answer(call))
        if self.open:
            self.bad("the origin is asked again and again")
        wanted = [request] + ([second] if second else [])
        if len(self.done) != len(wanted):
            self.bad(f"{len(self.done)} answers to {len(wanted)} requests")
            return
        for rq, number in zip(wanted, sorted(self.done)):
            self.judge_served(rq, self.done[number], before, now, self.done[number]["at"], True, outcomes)

    def drain(self, request):
        known = len(self.stored)
        for _ in range(4):
            if self.open:
                self.answer(self.open.pop(0))
        for s in self.stored[known:]:
            s.unseen = True

    def judge_forward(self, request, before, now):
        """Could it have been answered from what is stored?"""
        wish = Directives(lines(request["fields"], "cache-control"))
        if wish.surely("only-if-cached"):
            self.bad("only-if-cached was forwarded (RFC 9111 5.2.1.7)")
        if not self.rules.cache:
            return
        last = [s for s in before if not s.superseded and matches(s, request["fields"], True)][-1:]
        for s in last:
            if s.should(request["fields"], now) and s.status != 206:
                later = before[before.index(s) + 1:]
                why = s.argued(request["fields"]) or (None if s.kept or s.method == "POST" else "alone")
                if not why and any(not b.should_store(r) or "*" in (b.get("vary") or "") for b in later for r in readings(b.fields)):
                    why = "displaced"
                if not why and any(b.date > s.date and (b.kept or b.unseen) and matches(b, request["fields"]) for b in before):
                    why = "dates"
                self.needless[why or "needless"] += 1
                if why is None:
                    self.bad(f"forwarded, though {s.token} could have been used: age {s.age(now)}, lifetimes "
                             f"{[s.lifetime(r) for r in readings(s.fields)]}")

    def judge_served(self, request, client, before, began, now, forwarded, outcomes):
        fields, status, method = client["fields"], client["status"], request["method"]
        token = joined(fields, "x-id")
        own = (joined(fields, "cache-status") or "").split(",")[-1]
        hit = re.search(r"; *hit\b", own) is not None
        fwd = re.search(r"; *fwd=", own) is not None
        if client["aborted"]:
            self.bad("the answer was cut")
        if hit == fwd and status != 504 and token:
            self.bad(f"Cache-Status must say hit or fwd, and one of them: {own} (RFC 9211 2.1)")
        for name in ("cdn-cache-control", "brink-cdn-cache-control", "surrogate-control", "surrogate-key", "connection", "keep-alive",
                     "transfer-encoding"):
            if lines(fields, name) and not (name == "cdn-cache-control" and re.search("private|no-store|no-cache", joined(fields, name).lower())):
                self.bad(f"{name} is for the cache or the connection alone")
        if status == 304 and outcomes and "304" in outcomes and not hit:
            return  # the origin's own word on the client's condition, or as good as that
        if status == 304 and token is None:
            etag = joined(fields, "etag")
            for s in self.stored:
                if etag and s.get("etag") == etag:
                    token = s.token
        if token is None:
            self.judge_local(request, status, before, began, forwarded, outcomes)
            return
        states = [s for s in client["stored"] if s.token == token]
        if not states:  # an answer to a method that is not stored
            if hit or outcomes is None:
                self.bad(f"{token} answered a method whose answers are not stored (RFC 9111 3)")
            return
        s = states[-1]
        if outcomes is not None and not hit and re.search(r"; *stored\b", own):
            s.kept = True
        fresh_answer = outcomes is not None and not any(b.token == token for b in before)
        if fresh_answer and not hit and "collapsed" not in own:
            return  # the origin's answer to this request
        if method not in ("GET", "HEAD"):
            self.bad(f"{method} was answered with {token}, which was stored (RFC 9111 4)")
            return
        self.count["reuses"] += 1
        if fresh_answer:  # it waited for another's fetch
            self.count["collapsed"] += 1
            if not s.may(request["fields"], s.got) and not self.shareable_while_fetched(s, request):
                self.bad(f"{token} was shared with a request that may not have it")
            return
        validated = outcomes is not None and "304" in outcomes and len(states) > 1 and s.got > s.asked - 1 and s not in before
        was = self.then(before, token, client)
        if validated:
            self.count["validated"] += 1
        elif outcomes and ("error" in outcomes or "unreachable" in outcomes):
            self.count["on error"] += 1
            if not any(b.may_on_error(request["fields"], now, "unreachable" in outcomes) or b.may(request["fields"], began) for b in was):
                self.bad(f"{token} was served when the origin failed, but nothing allows that (RFC 5861 4, RFC 9111 4.2.4): "
                         f"age {s.age(now)}, lifetimes {[s.lifetime(r) for r in readings(s.fields)]}")
        elif outcomes is not None and hit is False:
            if not any(b.may(request["fields"], began) for b in was):
                self.bad(f"{token} was served after a forward that did not validate it: {own}")
        else:
            self.count["hits"] += 1
            self.count["hits on what a POST brought"] += s.method == "POST"
            if not any(b.may(request["fields"], began) for b in was):
                self.bad(f"{token} was served without asking: age {s.age(began)}, lifetimes "
                         f"{[s.lifetime(r) for r in readings(s.fields)]}, {own} (RFC 9111 4)")
            at = max(i for i, b in enumerate(before) if b.token == token)
            newer = [b for b in before[at + 1:] if b.date >= was[-1].date and
                     b.kept and b.should(request["fields"], began) and not b.argued(request["fields"])]
            if newer:
                self.bad(f"{token} was served though {newer[-1].token} is more recent (RFC 9111 4)")
        found = [self.judge_fields(request, client, one, began if outcomes is None else now, validated, own)
                 for one in reversed(states) if validated or one in before]
        for text in min(found, key=len):
            self.bad(text)

    def then(self, before, token, client):
        """The states of a response when this client was answered: another's validation may have come since."""
        states = [copy.copy(b) for b in before if b.token == token]
        for then, b in zip(states, (b for b in before if b.token == token)):
            then.superseded = id(b) in client["superseded"]
        return states

    def shareable_while_fetched(self, s, request):
        """A response that came just now may answer requests that waited for it, even if it is stale at once: nothing
        older was used than if each had asked (RFC 9111 4: storable responses satisfy several requests)."""
        return any(s.may_store(r) and matches(s, request["fields"]) and
                   (r.flag("no-cache") != 2 or self.rules.override_ttl is not None) for r in readings(s.fields))

    def judge_local(self, request, status, before, began, forwarded, outcomes):
        """brink's own answer, without a response of the origin in it."""
        method, wish = request["method"], Directives(lines(request["fields"], "cache-control"))
        if status == 504 and wish.surely("only-if-cached") and not forwarded:
            last = [s for s in before if not s.superseded and matches(s, request["fields"], True)][-1:]
            for s in last if method in ("GET", "HEAD") and len(last) == len(before) else []:
                if s.kept and self.rules.cache and s.should(request["fields"], began) and not s.argued(request["fields"]):
                    self.bad(f"504 though {s.token} could have been used (RFC 9111 5.2.1.7)")
            return
        if status in (206, 304, 412, 416):
            return
        if outcomes and (set(outcomes) & {"error", "unreachable"} or method not in ("GET",)):
            return
        if outcomes and "304" in outcomes:
            return
        self.bad(f"{method} got {status} from brink itself")

    def judge_fields(self, request, client, s, now, validated, own):
        """The served response against the stored one."""
        fields, status, wrong = client["fields"], client["status"], []
        expected = expected_status(s, request["fields"], request["method"])
        if expected is not None and status not in expected:
            wrong.append(f"{s.token}: status {status} instead of {expected} (RFC 9110 13.2.2, 14.2)")
        if status == 206 and s.status == 200:
            parts = wrong_parts(s, request["fields"], client)
            if parts:
                wrong.append(f"{s.token}: {parts} (RFC 9110 14)")
        if request["method"] == "HEAD" and client["body"]:
            wrong.append(f"{s.token}: a body in answer to HEAD (RFC 9110 9.3.2)")
        if status == s.status and status not in (204, 206) and client["length"] not in (-1, len(s.body)):
            wrong.append(f"{s.token}: Content-Length {client['length']} instead of {len(s.body)} (RFC 9110 8.6)")
        if status == s.status and request["method"] == "GET" and client["body"] != s.body and status != 206:
            wrong.append(f"{s.token}: body {client['body']!r}")
        age = joined(fields, "age")
        if age is None and not validated:
            wrong.append(f"{s.token}: no Age (RFC 9111 5.1)")
        if age is not None and not s.doubtful:
            exact = s.age(now) / 1000
            most = 2 ** 31
            if not re.fullmatch(r"[0-9]+", age) or not min(exact, most) - 1.01 <= int(age) <= exact + 1.01:
                wrong.append(f"{s.token}: Age {age} instead of {exact} (RFC 9111 4.2.3)")
        if not validated:
            for name in s.kept_from_others():
                if lines(fields, name) and s.has(name):
                    wrong.append(f"{s.token}: {name} is not for a reuse without validation (RFC 9111 5.2.2.4, 5.2.2.7)")
        for name in s.gone:
            if lines(fields, name):
                wrong.append(f"{s.token}: {name} was not to be stored (RFC 9111 3.1)")
        if status == 200 and not s.doubtful:
            gone = s.kept_from_others() | {"age", "date", "connection", "content-length", "set-cookie", "x-id", "via", "cdn-cache-control",
                                           "brink-cdn-cache-control", "surrogate-control"}
            loose = s.named_by_any() | s.unsure
            for name in {k for k, _ in s.fields} - gone - loose:
                if [v.strip() for v in lines(fields, name)] != [v.strip() for v in lines(s.fields, name)]:
                    wrong.append(f"{s.token}: {name} is {lines(fields, name)} instead of {lines(s.fields, name)} (RFC 9111 3.2)")
        ttl = re.search(r"; *ttl=(-?[0-9]+)", own)
        if ttl and "hit" in own and not s.doubtful:
            reads = readings(s.fields)
            spans = [s.lifetime(r) for r in reads]
            if not any(lo / 1000 - s.age(now) / 1000 - 1.01 <= int(ttl[1]) <= hi / 1000 - s.age(now) / 1000 + 1.01 for lo, hi in spans):
                if s.age(now) < 2 ** 31 * 1000 and all(hi < 2 ** 31 * 1000 for _, hi in spans):
                    wrong.append(f"{s.token}: ttl={ttl[1]}, age {s.age(now)}, lifetimes {spans} (RFC 9211 2.4)")
        return wrong

    def run(self):
        for i in range(self.gen.r.randrange(4, 10) if self.gen.changing else self.gen.r.randrange(2, 6)):
            self.step(i == 0)
            if self.wrong:
                return


def tell(op, more, reply):
    print(f"> {op} " + json.dumps(more))
    for c in reply["calls"]:
        print(f"    call {c['call']}: {c['method']} {c['target']} " +
              " | ".join(f"{k}: {v}" for k, v in c["fields"] if k not in ("via", "cdn-loop", "x-forwarded-for", "forwarded", "x-request-id", "host")))
    for c in reply["clients"]:
        print(f"    client {c['client']}: {c['status']} {c['body']!r} " + " | ".join(f"{k}: {v}" for k, v in c["fields"] if k != "x-request-id"))


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("driver")
    p.add_argument("--cases", type=int, default=500)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--only", type=int)
    p.add_argument("--show", type=int, default=20, help="how many wrong cases are told")
    a = p.parse_args()
    driver = Driver(a.driver)
    total, needless, wrong = collections.Counter(), collections.Counter(), 0
    numbers = range(a.cases) if a.only is None else range(a.only - a.only % BATCH, a.only + 1)
    for number in numbers:
        if number % BATCH == 0:
            driver.do("new", site=SITE)
        if number == a.only:
            driver.tell = tell
        case = Case(driver, a.seed, number)
        case.run()
        total.update(case.count)
        needless.update(case.needless)
        total["cases"] += 1
        if case.wrong and a.only in (None, number):
            wrong += 1
            if wrong <= a.show:
                print(f"case {number} ({case.target}): " + "; ".join(case.wrong), flush=True)
    driver.close()
    print(", ".join(f"{n} {k}" for k, n in total.items()))
    for why, n in needless.most_common():
        if why in ARGUED:
            print(f"{n} forwards that were not needed: {ARGUED[why]}")
    print(f"{wrong} cases contradict the model" + (f" (compare.py DRIVER --seed {a.seed} --only CASE tells one)" if wrong else ""))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
