"""Random requests and responses around the rules of caching: mostly well-formed, sometimes not."""
import random
import time

NUMBERS = [0, 1, 5, 10, 60, 100, 3600]
LONG = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]

# What the driver's site says; compare.py tells the model the same.
SITE = """    rules:
      - {path: "/ttl/**", ttl: 100s}
      - {path: "/override/**", override_ttl: 60s}
      - {path: "/windows/**", stale_while_revalidate: 60s, stale_if_error: 100s}
      - {path: "/off/**", cache: false}
      - {path: "/all/**", override_ttl: 60s, override_private: true}
"""


def imf(t):
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(t))


class Cases:
    def __init__(self, seed):
        self.r = random.Random(seed)
        self.changing = self.chance(.15)  # a case about what changes what: several URIs, groups, unsafe methods

    def chance(self, p):
        return self.r.random() < p

    def pick(self, *items):
        return self.r.choice(items)

    def seconds(self):
        return self.r.choice(NUMBERS)

    def date(self, now, offset):
        """A date in one of its three forms, or something that looks like one."""
        t = int(now / 1000) + offset
        kind = self.r.random()
        if kind < 0.75:
            return imf(t)
        tm = time.gmtime(t)
        if kind < 0.8:
            return time.strftime(LONG[tm.tm_wday] + ", %d-%b-%y %H:%M:%S GMT", tm)
        if kind < 0.85:
            return time.strftime("%a %b ", tm) + f"{tm.tm_mday:2d}" + time.strftime(" %H:%M:%S %Y", tm)
        if kind < 0.88:
            return imf(t).lower()
        return self.pick("0", "-1", "", "now", str(t), imf(t).replace("GMT", "UTC"), imf(t).replace("GMT", "+0000"), imf(t)[:-4],
                         imf(t).replace(" ", "  ", 1), imf(t).replace(":", "."), "Sun, 32 Feb 2099 00:00:00 GMT",
                         "Thu, 18 Aug 2050 02:01:18 GMT", "Thursday, 18-Aug-50 02:01:18 GMT", imf(t) + "; x")

    def directive(self, name, now_targeted=False):
        """max-age=N, well or ill."""
        n, kind = self.seconds(), self.r.random()
        if now_targeted:
            return f"{name}={n}" if kind < 0.9 else self.pick(f'{name}="{n}"', f"{name}={n}.5", name, f"{name}=-1", f"{name}={n};a=1",
                                                             f"{name}=x")
        if kind < 0.85:
            return f"{name}={n}"
        return self.pick(f'{name}="{n}"', f"{name}=-1", f"{name}=", name, f"{name}={n}.5", f"{name}=x{n}", f"{name} ={n}", f"{name}= {n}",
                         f"{name}=99999999999", f"{name.upper()}={n}", f"{name}='{n}'", f"{name}={n}s", f"{name}=0{n}", f"{name}=+{n}")

    def control(self, targeted=False):
        out = []
        for name, p in (("max-age", .55), ("s-maxage", .15), ("stale-while-revalidate", .15), ("stale-if-error", .15)):
            while self.chance(p):
                out.append(self.directive(name, targeted))
                p = 0.03
        for name, p in (("public", .15), ("private", .05), ("no-store", .06), ("no-cache", .07), ("must-revalidate", .1),
                        ("proxy-revalidate", .05), ("must-understand", .06), ("immutable", .08), ("no-transform", .05), ("foo", .05)):
            if self.chance(p):
                odd = self.r.random()
                if targeted:
                    out.append(name if odd < 0.93 else self.pick(f"{name}=?1", f"{name}=?0", f"{name}=1", f"{name};x=y"))
                elif odd < 0.88:
                    out.append(name)
                else:
                    out.append(self.pick(name.upper(), name.capitalize(), f"{name}=1", f'{name}=""'))
        if not targeted:
            if self.chance(.07):
                out.append(self.pick('private="x-a"', 'no-cache="x-a"', 'private="x-a, x-b"', "no-cache=x-a", 'no-cache="set-cookie"'))
            if self.chance(.04):
                out.append(self.pick('bar="max-age=100, no-store"', "bar='a", 'bar="', "=", ";", "max age=5", 'ext="a\\"b, max-age=3600"'))
        self.r.shuffle(out)
        return out

    def control_fields(self):
        fields = []
        if self.changing and self.chance(.7):
            return [("cache-control", "max-age=3600")]
        if self.chance(.8):
            members = self.control()
            if members:
                if len(members) > 1 and self.chance(.15):
                    at = self.r.randrange(1, len(members))
                    fields += [("cache-control", ", ".join(members[:at])), ("cache-control", ",".join(members[at:]))]
                else:
                    fields.append(("cache-control", self.pick(", ", ",", " , ", ", ").join(members)))
        for name, p in (("cdn-cache-control", .1), ("brink-cdn-cache-control", .04)):
            if self.chance(p):
                value = ", ".join(self.control(True))
                if self.chance(.1):
                    value = self.pick("", "max-age=60,", "max-age = 60", '"x"', "MAX-AGE=60", value + ", ??", value + "\\")
                fields.append((name, value))
        if self.chance(.03):
            fields.append(("surrogate-control", self.pick("max-age=60", "no-store", "max-age=5+30", 'content="ESI/1.0"', "max-age=100, content=\"ESI/1.0\"")))
        return fields

    def response(self, now, token, validators=True):
        """Status and fields of an origin's answer."""
        status = 200 if self.chance(.8) else self.pick(203, 204, 299, 300, 301, 302, 303, 307, 308, 400, 401, 403, 404, 404, 405, 410, 412,
                                                       414, 416, 421, 422, 429, 451, 500, 501, 502, 503, 504, 599)
        fields = []
        if self.chance(.93):
            fields.append(("date", imf(now // 1000) if self.chance(.85) else self.date(now, self.pick(0, -1, -5, -60, -100, 60, 3600, -3600))))
        if self.chance(.12):
            fields.append(("age", self.pick("0", "1", "5", "60", "100", "5, 100", "100, 0", "x", "-5", "1.5", "", "99999999999", "3600")))
            if self.chance(.1):
                fields.append(("age", self.pick("0", "60")))
        fields += self.control_fields()
        if self.chance(.25):
            fields.append(("expires", self.date(now, self.pick(0, 1, 5, 60, 100, 3600, -60, -1))))
            if self.chance(.05):
                fields.append(("expires", self.date(now, 60)))
        if self.chance(.04):
            fields.append(("pragma", "no-cache"))
        if validators and self.chance(.6):
            fields.append(("etag", self.pick('"{}"', '"{}"', 'W/"{}"').format(token)))
        if validators and self.chance(.35):
            fields.append(("last-modified", self.date(now, -self.pick(0, 10, 100, 1000, 36000, 8640000))))
        if self.chance(.15):
            fields.append(("vary", self.pick("foo", "foo, bar", "Foo,bar", "*", "foo, *", "accept-encoding", "accept-language", "bar", "origin")))
            if self.chance(.1):
                fields.append(("vary", self.pick("bar", "*", "")))
            if self.chance(.3):
                fields.append(("content-language", self.pick("de", "en", "fr")))
        if self.chance(.07):
            fields.append(("set-cookie", "a=" + token))
        if self.chance(.1):
            fields += [("x-a", token), ("x-b", token)]
        if self.chance(.8 if self.changing else .1):
            fields.append(("cache-groups", self.pick('"a"', '"b"', '"a", "b"', '"b";x=1,"a"', '"A"', '("a")', "a", '"a')))
        fields.append(("x-id", token))
        self.r.shuffle(fields)
        return status, fields

    def unsafe(self, method, targets):
        """What the answer to a request that isn't only read may say besides (RFC 9110 9.3.3, RFC 9111 4.4, RFC 9875 3)."""
        fields = []
        host = "http://site.example"
        names = list(targets) + [host + t for t in targets] + ["http://other.example" + t for t in targets] + [
            "https://site.example" + targets[0], targets[1].rpartition("/")[2], "/nowhere"]
        if method == "POST" and self.chance(.5):
            fields.append(("content-location", self.pick(targets[0], targets[0], host + targets[0], *names)))
        elif self.chance(.25):
            fields.append(("content-location", self.pick(*names)))
        if self.chance(.3):
            fields.append(("location", self.pick(*names)))
        if self.chance(.6 if self.changing else .1):
            fields.append(("cache-group-invalidation", self.pick('"a"', '"b"', '"b", "a"', '"a";x', "a", '"a", b', '"a')))
        return fields

    def not_modified(self, now, etag):
        """Fields of a 304."""
        fields = [("date", imf(now // 1000))] if self.chance(.95) else []
        if etag is not None and self.chance(.85):
            fields.append(("etag", etag))
        if self.chance(.6):
            fields += self.control_fields()
        if self.chance(.1):
            fields.append(("age", self.pick("0", "5", "60")))
        if self.chance(.15):
            fields.append(("expires", self.date(now, self.pick(0, 60, 100, -1))))
        if self.chance(.3):
            fields.append(("x-new", "1"))
        if self.chance(.1):
            fields.append(("content-length", "77"))
        return fields

    def request(self, known, now):
        """Method, fields, body; `known`: (etag, last-modified) that were seen."""
        method = "GET" if self.chance(.6 if self.changing else .83) else self.pick("HEAD", "HEAD", "HEAD", "POST", "POST", "POST", "PUT", "DELETE", "OPTIONS",
                                                         "PATCH", "FOO")
        fields = []
        if self.changing and self.chance(.6):
            return method, fields, "body" if method in ("POST", "PUT", "PATCH") else None
        if self.chance(.25):
            out = []
            for name, p in (("max-age", .3), ("max-stale", .2), ("min-fresh", .15)):
                if self.chance(p):
                    out.append(self.directive(name))
            if self.chance(.08):
                out.append("max-stale")
            for name, p in (("no-cache", .2), ("no-store", .12), ("only-if-cached", .15), ("foo", .1), ("no-transform", .05)):
                if self.chance(p):
                    out.append(name if self.chance(.9) else name.upper())
            if self.chance(.1):
                out.append(f"stale-if-error={self.seconds()}")
            if out:
                fields.append(("cache-control", ", ".join(out)))
        if self.chance(.04):
            fields.append(("pragma", "no-cache"))
        if self.chance(.08):
            fields.append(("authorization", self.pick("Basic YTpi", "Bearer x")))
        if self.chance(.3):
            fields.append(("foo", self.pick("1", "2", "1, 2", "1,2", "")))
        if self.chance(.15):
            fields.append(("bar", self.pick("x", "y")))
        if self.chance(.25):
            fields.append(("accept-encoding", self.pick("gzip", "gzip, br", "br,gzip", "gzip;q=1.0, br", "identity", "gzip;q=0.5")))
        if self.chance(.25):
            fields.append(("accept-language", self.pick("de", "en", "de, en;q=0.5", "en;q=0.5, de", "DE", "fr;q=0.8, en")))
        if known and self.chance(.15):
            etag, modified = self.r.choice(known)
            etag = etag or '"none"'
            fields.append(self.pick(("if-none-match", etag), ("if-none-match", '"other", ' + etag), ("if-none-match", "*"),
                                    ("if-none-match", '"other"'), ("if-match", etag), ("if-match", '"other"'),
                                    ("if-modified-since", modified or imf(now // 1000)), ("if-unmodified-since", modified or imf(now // 1000)),
                                    ("if-modified-since", "junk")))
        if self.chance(.15):
            fields.append(("range", self.pick("bytes=0-3", "bytes=0-0", "bytes=5-", "bytes=-4", "bytes=100-", "bytes=x", "bytes=7-2", "bytes=-0",
                                              "BYTES=2-4", "bytes=0-", "bytes=-1000", "bytes=0-1,3-4", "bytes=0-1, 100-, 5-5", "bytes=4-5,0-1",
                                              "bytes=0-4,2-6", "bytes=0-2,3-", "bytes=100-, 200-", "bytes=0-1,", "bytes=,0-1,,4-4", "bytes=0-1,x",
                                              "bytes=", "bytes 0-1", "items=0-1", "bytes=3-99999999999999999999", "bytes=0-0,-1")))
            if known and self.chance(.3):
                etag, modified = self.r.choice(known)
                fields.append(("if-range", self.pick(etag, etag, modified) or self.pick('"none"', imf(now // 1000))))
        self.r.shuffle(fields)
        return method, fields, "body" if method in ("POST", "PUT", "PATCH") else None

    def pause(self):
        """Milliseconds between two requests."""
        if self.changing and self.chance(.6):
            return 0
        n = self.pick(0, 0, 0, 1, 2, 4, 5, 6, 9, 11, 30, 59, 60, 61, 90, 100, 101, 200, 3599, 3600, 4000)
        return n * 1000 + (self.r.randrange(1000) if self.chance(.2) else 0)
