"""What RFC 9111, 9110, 9213, 5861 and 8246 let a shared cache do, and what they let its users hope for; written from their
text, apart from brink's own code, so that the two can be held against each other.

Where the text leaves a choice there are two answers: may(…) says that some lawful reading allows a reuse, should(…) that
every reading does. Serving what may not be served is a violation; asking the origin for what should have been served is a
needless forward. Times are milliseconds since 1970 unless a name says otherwise."""
import re

from grammar import Directives, date, dictionary, joined, lines, split_list, string_list

SAFE = ("GET", "HEAD", "OPTIONS", "TRACE")
HEURISTIC = (200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501)   # RFC 9110 15.1
UNDERSTOOD = (200, 203, 204, 206, 300, 301, 302, 303, 307, 308, 400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411,
              412, 413, 414, 415, 416, 417, 421, 422, 426, 500, 501, 502, 503, 504, 505)
NUMBERS = ("max-age", "s-maxage", "stale-while-revalidate", "stale-if-error")
FLAGS = ("no-store", "no-cache", "private", "public", "must-revalidate", "proxy-revalidate", "must-understand", "immutable", "no-transform")
NO, MAYBE, YES = 0, 1, 2
DAY = 86400000

# Forwards that brink owes nobody an excuse for; each is argued in tests/conform/README.md.
ARGUED = {
    "authorization": "a request with credentials gets only what the origin allows for such (stricter than RFC 9111 3.5)",
    "set-cookie": "a cookie is shared only when the response says that it is for all (RFC 9111 7.3)",
    "pragma": "a lone Pragma: no-cache is taken for Cache-Control: no-cache (RFC 9111 5.4 deprecates, does not forbid)",
    "alone": "requests that went alone, after a response for their key that can't be shared, store nothing",
    "displaced": "a later answer that can't be shared takes the place of what was stored, for the next ones will be like it",
    "qualified": "responses with a qualified no-cache or private are validated each time",
    "dates": "of two stored responses the one with the later Date is chosen, even where only the other is fresh (RFC 9111 4)",
    "post": "the answer to a POST is kept only where it says legibly how long it is fresh (RFC 9110 9.3.3)",
    "useless": "what is stale at once, has no validator and no window is not kept, not even for max-stale",
    "status": "400, 413, 414, 431, 501 are not guessed about; 412, 416, 417, 428, 429, 431, 511 are about one request",
}


class Rules:
    """The operator's settings for a path, in ms; None: unset."""

    def __init__(self, ttl=None, override_ttl=None, swr=None, sie=None, cache=True, override_private=False):
        self.ttl, self.override_ttl, self.swr, self.sie = ttl, override_ttl, swr, sie
        self.cache, self.override_private = cache, override_private


class Plain:
    """Cache-Control: with it, Expires counts."""
    targeted = False

    def __init__(self, values):
        self.d = Directives(values)
        self.broken = self.d.broken

    def flag(self, name):
        if name not in self.d:
            return NO
        return YES if self.d.surely(name) else MAYBE

    def seconds(self, name):
        return self.d.seconds(name)

    def plainly(self, name):
        """It stands there with a number that nobody could read otherwise."""
        return any(well and re.fullmatch(r"[0-9]+", a or "") for a, well in self.d.named.get(name, []))

    def names(self, name):
        return self.d.names(name)


class Targeted:
    """A dictionary of RFC 9213. `ill`: a directive that we know has a value of another type than it should."""
    targeted, broken = True, False

    def __init__(self, members):
        self.m = members
        self.ill = any((n in NUMBERS and (t != "integer" or v < 0)) or
                       (n in FLAGS and n not in ("no-cache", "private") and (t, v) != ("boolean", True)) or
                       (n in ("no-cache", "private") and (t, v) != ("boolean", True))
                       for n, (t, v) in members.items())

    def flag(self, name):
        if name not in self.m:
            return NO
        return YES if self.m[name] == ("boolean", True) else MAYBE

    def seconds(self, name):
        if name not in self.m:
            return None
        kind, value = self.m[name]
        if kind == "integer" and value >= 0:
            return (value, value)
        return (0, int(value) if kind in ("integer", "decimal") and value > 0 else
                int(value) if kind in ("string", "token") and re.fullmatch(r"[0-9]+", value) else 0)

    def plainly(self, name):
        return name in self.m and self.m[name][0] == "integer"

    def names(self, name):
        return None


class Surrogate(Plain):
    """Surrogate-Control of the Edge Architecture: max-age=N[+M], no-store."""
    targeted = True

    def __init__(self, values):
        super().__init__([re.sub(r"(max-age=[0-9]+)\+([0-9]+)", r"\1, max-age=0", v) for v in values])


def readings(fields):
    """The fields that may govern, one for each lawful reading (RFC 9213 2.2)."""
    out = []
    for name in ("brink-cdn-cache-control", "cdn-cache-control"):
        text = joined(fields, name)
        members = dictionary(text) if text is not None else None
        if members:
            t = Targeted(members)
            out.append(t)
            if not t.ill:
                return out
    values = lines(fields, "surrogate-control")
    if values:
        s = Surrogate(values)
        out.append(s)
        if s.seconds("max-age") is not None or s.flag("no-store") == YES:
            return out
    out.append(Plain(lines(fields, "cache-control")))
    return out


class Stored:
    """A response that a cache got: what, for which request, when."""

    def __init__(self, token, status, fields, method, request, asked, got, rules, body, target):
        self.target = target
        self.token, self.status, self.fields, self.method, self.request = token, status, fields, method, request
        self.asked, self.got, self.rules, self.body = asked, got, rules, body
        self.invalid = False      # RFC 9111 4.4: must be validated
        self.doubtful = False     # nothing is owed for it any more
        self.superseded = False
        self.transient = False    # what a 304 made of it for one request only
        self.kept = False         # Cache-Status said `stored`
        self.selected = [request]  # what it was made for, and what a 304 has said it is good for as well
        self.unseen = False       # came in the background: nobody was told whether it is
        self.gone = set()         # fields that were not to be stored (RFC 9111 3.1), until a 304 brings them again
        self.unsure = set()       # … or only in one reading
        values = lines(fields, "date")
        self.date = date(values[0], got / 1000) if len(values) == 1 else None
        self.date = got if self.date is None else self.date * 1000
        # RFC 9111 4.2.3 and 5.1: the first member, ignored if it is no number
        age = re.fullmatch(r"[0-9]+", (joined(fields, "age") or "").split(",")[0].strip())
        age = int(age[0]) * 1000 if age else 0
        self.initial_age = max(0, got - self.date, age + got - asked)

    def without_request(self):
        return Stored(self.token, self.status, self.fields, self.method, [], self.asked, self.got, self.rules, self.body,
                      self.target)

    def has(self, name):
        return any(k == name for k, _ in self.fields)

    def get(self, name):
        return joined(self.fields, name)

    def age(self, now):
        return self.initial_age + now - self.got

    # ---- freshness: RFC 9111 4.2 ----

    def lifetime(self, r):
        """(least, most) in ms."""
        override = self.rules.override_ttl
        if override is not None and self.status in HEURISTIC and self.status not in (206, 414, 501):
            return (override, override)
        if override is not None:  # nobody said for which other statuses it counts
            return (0, max(override, self.own_lifetime(r)[1]))
        return self.own_lifetime(r)

    def own_lifetime(self, r):
        least, most = self.said_lifetime(r)
        return (0 if r.broken else least, most)

    def said_lifetime(self, r):
        for name in ("s-maxage", "max-age"):
            s = r.seconds(name)
            if s is not None:
                return (s[0] * 1000, s[1] * 1000)
        if not r.targeted and self.has("expires"):
            times = [date(v, self.got / 1000) for v in lines(self.fields, "expires")]
            left = [max(0, t * 1000 - self.date) if t is not None else 0 for t in times]
            return (left[0] if len(left) == 1 else 0, left[0])
        return self.guess(r)

    def guess(self, r):
        if self.status not in HEURISTIC and r.flag("public") == NO:
            return (0, 0)
        odd = self.status not in HEURISTIC or self.status in (206, 414, 501)
        if self.rules.ttl is not None:
            least = min(self.rules.ttl, 60000) if self.status in (404, 405, 410) else self.rules.ttl
            return (0 if odd else least, self.rules.ttl if not odd else max(self.rules.ttl, self.tenth()))
        return (0 if odd or self.has("pragma") else min(self.tenth(), DAY), self.tenth())

    def tenth(self):
        values = lines(self.fields, "last-modified")
        modified = date(values[0], self.got / 1000) if len(values) == 1 else None
        return max(0, self.date - modified * 1000) // 10 if modified is not None else 0

    # ---- storing: RFC 9111 3 ----

    def shared_with_credentials(self, r, least):
        return r.flag("public") >= least or r.flag("must-revalidate") >= least or \
            (r.plainly("s-maxage") if least == YES else r.seconds("s-maxage") is not None)

    def represents_target(self):
        return named_uri(self.get("content-location"), self.target) == self.target

    def explicit(self, r):
        """Says how long it is fresh (RFC 9111 4.2.1)."""
        return r.seconds("max-age") is not None or r.seconds("s-maxage") is not None or (not r.targeted and self.has("expires"))

    def groups(self):
        """RFC 9875 2: the names, or None where the field must be ignored or is no list of strings."""
        text = self.get("cache-groups")
        return [] if text is None else string_list(text)

    def may_store(self, r):
        forced = self.rules.override_private and self.rules.override_ttl is not None
        if not self.rules.cache or self.status < 200 or self.status == 304:
            return False
        if self.method == "POST":  # RFC 9110 9.3.3; other status codes are not about a representation of the target
            if not self.represents_target() or not self.explicit(r) or self.status != 200:
                return False
        elif self.method != "GET":
            return False
        request = Directives(lines(self.request, "cache-control"))
        if request.surely("no-store"):
            return False
        if forced:
            return True
        if r.flag("must-understand") == YES and self.status not in UNDERSTOOD:
            return False
        if r.flag("no-store") == YES and not (r.flag("must-understand") and self.status in UNDERSTOOD):
            return False
        if r.flag("private") == YES:
            return False
        if lines(self.request, "authorization") and not self.shared_with_credentials(r, MAYBE):
            return False
        return self.status in HEURISTIC or self.status in UNDERSTOOD or r.flag("public") >= MAYBE or \
            r.seconds("max-age") is not None or r.seconds("s-maxage") is not None or self.has("expires") or \
            self.rules.override_ttl is not None

    def should_store(self, r):
        if not self.may_store(r) or r.broken or self.status == 206:
            return False
        request = Directives(lines(self.request, "cache-control"))
        if "no-store" in request or request.broken:
            return False
        if r.flag("no-store") and not (r.flag("must-understand") == YES and r.flag("no-store") == YES):
            return False
        if r.flag("private") and r.names("private") is None:
            return False
        if lines(self.request, "authorization") and not self.shared_with_credentials(r, YES):
            return False
        return True

    # ---- reuse: RFC 9111 4 ----

    def prohibits_stale(self, r, least):
        return any(r.flag(n) >= least for n in ("must-revalidate", "proxy-revalidate", "no-cache"))

    def window(self, r, name):
        """(least, most) of stale-while-revalidate or stale-if-error in ms: the response's own, else the rule's."""
        own = r.seconds(name)
        if own is not None:
            return (own[0] * 1000, own[1] * 1000)
        rule = self.rules.swr if name == "stale-while-revalidate" else self.rules.sie
        return (rule or 0, rule or 0)

    def own_windows(self, r):
        return any(self.window(r, n)[1] > 0 for n in ("stale-while-revalidate", "stale-if-error"))

    def may_under(self, r, request, now):
        if not self.may_store(r) or self.invalid or self.superseded or not matches(self, request):
            return False
        if r.flag("no-cache") == YES and self.rules.override_ttl is None:
            return False
        if lines(request, "authorization") and not self.may_store_for_anyone(r):
            return False
        age, life = self.age(now), self.lifetime(r)[1]
        wish = Directives(lines(request, "cache-control"))
        fixed = r.flag("immutable") and age < life
        if wish.surely("no-cache") and not fixed:
            return False
        limit = wish.seconds("max-age")
        if limit is not None and age // 1000 > limit[1] and not fixed:
            return False
        least = wish.seconds("min-fresh")
        if least is not None and -((age - life) // 1000) < least[0]:
            return False
        if age < life:
            return True
        late = age - life
        if self.prohibits_stale(r, YES):
            return False
        if "max-stale" in wish:
            most = wish.seconds("max-stale")
            if not any(a is None for a, _ in wish.named["max-stale"]) and late // 1000 > most[1]:
                return False
            if r.seconds("s-maxage") is None:
                return True
        if (limit is not None and "max-stale" not in wish) or least is not None:
            return False  # RFC 9111 5.2.1.1: no stale response without max-stale
        return late <= self.window(r, "stale-while-revalidate")[1]

    def may_store_for_anyone(self, r):
        return True  # RFC 9111 3.5 restricts responses to requests with credentials, not these to others' responses

    def should_under(self, r, request, now):
        if not self.should_store(r) or self.invalid or self.doubtful or self.superseded or not matches(self, request, True):
            return False
        if r.flag("no-cache") and (r.names("no-cache") is None):
            return False
        age, life = self.age(now), self.lifetime(r)[0]
        wish = Directives(lines(request, "cache-control"))
        if wish.broken or any(n in wish and wish.seconds(n)[0] != wish.seconds(n)[1] or
                              any(not well or not (a or "").isdigit() for a, well in wish.named.get(n, []) if a is not None or n != "max-stale")
                              for n in ("max-age", "min-fresh", "max-stale")):
            return False  # malformed wishes may be read as strictly as one likes
        fixed = r.flag("immutable") == YES and age < life
        if "no-cache" in wish and not (fixed and wish.surely("no-cache")):
            return False
        limit = wish.seconds("max-age")
        if limit is not None and (age > limit[0] * 1000 or limit[0] == 0) and not fixed:
            return False  # max-age=0 is a reload even within the second of the response
        least = wish.seconds("min-fresh")
        if least is not None and life - age < least[1] * 1000 + 1000:
            return False
        if age < life:
            return True
        late = age - life
        if self.prohibits_stale(r, MAYBE) or self.rules.override_ttl is not None:
            return False
        if "max-stale" in wish and r.seconds("s-maxage") is None:
            most = wish.seconds("max-stale")
            if len(wish.named["max-stale"]) == 1 and (wish.surely("max-stale") or late <= most[0] * 1000):
                return True
        if limit is not None or least is not None or "max-stale" in wish:
            return False
        return late < self.window(r, "stale-while-revalidate")[0]

    def may(self, request, now):
        return any(self.may_under(r, request, now) for r in readings(self.fields))

    def should(self, request, now):
        return all(self.should_under(r, request, now) for r in readings(self.fields))

    def may_on_error(self, request, now, unreachable):
        """RFC 5861 4; and a cache that is cut off from the origin may serve stale where nothing forbids it (RFC 9111
        4.2.4)."""
        for r in readings(self.fields):
            if not self.may_store(r) or self.invalid or self.superseded or not matches(self, request):
                continue
            if self.prohibits_stale(r, YES):
                continue
            late = self.age(now) - self.lifetime(r)[1]
            own = Directives(lines(request, "cache-control")).seconds("stale-if-error")
            most = self.window(r, "stale-if-error")[1]
            if r.seconds("s-maxage") is None:
                most = max(most, (own or (0, 0))[1] * 1000)
                if unreachable:
                    return True
            if late <= most:
                return True
        return False

    def argued(self, request):
        """Why brink may forward although it need not, or None."""
        for r in readings(self.fields):
            if lines(request, "authorization") and not self.shared_with_credentials(r, YES):
                return "authorization"
            if self.method == "POST" and (r.broken or self.said_lifetime(r)[0] == 0):
                return "post"
            if self.has("set-cookie") and not (r.flag("public") == YES or r.plainly("s-maxage") or r.targeted):
                return "set-cookie"
            if self.lifetime(r)[0] == 0 and not self.own_windows(r) and not self.has("etag") and not self.has("last-modified"):
                return "useless"
            if r.names("no-cache") is not None or r.names("private") is not None:
                return "qualified"
        if lines(request, "pragma") and not lines(request, "cache-control"):
            return "pragma"
        if self.status in (400, 413, 414, 431, 501, 412, 416, 417, 428, 429, 511):
            return "status"
        return None

    def kept_from_others(self):
        """Fields that every reading says are not for a reuse without validation (RFC 9111 5.2.2.4, 5.2.2.7)."""
        sets = [set(r.names("no-cache") or []) | set(r.names("private") or []) for r in readings(self.fields)]
        if self.rules.override_ttl is not None:
            return set()
        return set.intersection(*sets)

    def named_by_any(self):
        """Fields that some reading says so of. RFC 9111 3.1: both directives "prevent storage of header fields"."""
        return {n for r in readings(self.fields) for n in (r.names("no-cache") or []) + (r.names("private") or [])}

    # ---- RFC 9111 3.2, 4.3.4 ----

    def freshened(self, fields, request, asked, got):
        """The stored response as a 304 leaves it."""
        skip = ("content-length", "content-encoding", "content-type", "content-range", "connection", "x-id")
        new = {k for k, _ in fields} - set(skip)
        drop = new | {"age", "date"}  # both are about the moment of the validation
        every, some = self.kept_from_others(), self.named_by_any()
        merged = [(k, v) for k, v in self.fields if k not in drop | every]
        merged += [(k, v) for k, v in fields if k in new]
        # what came with a POST is now what GET gets
        s = Stored(self.token, self.status, merged, "GET", request, asked, got, self.rules, self.body,
                   self.target)
        s.selected = self.selected + [request]
        s.gone = (self.gone | every) - new
        s.unsure = (self.unsure | some) - new
        s.doubtful = bool(lines(request, "authorization") or lines(self.request, "authorization"))
        return s


HOST = "http://site.example"


def named_uri(reference, target):
    """The path and query on the same origin that a Location or Content-Location names, or None (RFC 3986 5.2, for the
    references that cases.py makes)."""
    if reference is None or "," in reference:
        return None
    if reference.startswith(HOST + "/"):
        return reference[len(HOST):]
    if re.match(r"[a-z]+:|//", reference):
        return None
    return reference if reference.startswith("/") else target[:target.rindex("/") + 1] + reference


# ---- Vary: RFC 9111 4.1 ----

def weighted(text):
    out = {}
    for member in text.split(","):
        m = re.fullmatch(r"\s*([A-Za-z0-9*_+.-]+)\s*(?:;\s*[qQ]=([01](?:\.[0-9]{0,3})?))?\s*", member)
        if not m:
            if member.strip():
                return None
            continue
        out[m[1].lower()] = float(m[2] or 1)
    return out


def selecting(name, fields):
    value = joined(fields, name)
    if value is None:
        return None
    if name in ("accept-encoding", "accept-language"):
        w = weighted(value)
        if w is not None:
            return w
    return split_list(value)[0]


def matches(stored, request, strictly=False):
    """`strictly`: so that every cache must find it; to choose by preference it only may (RFC 9111 4.1)."""
    return (all if strictly else any)(made_for(stored, made, request, strictly) for made in stored.selected)


def made_for(stored, made, request, strictly):
    vary = joined(stored.fields, "vary")
    if vary is None:
        return True
    names = [n.strip().lower() for n in vary.split(",") if n.strip()]
    if "*" in names:
        return False
    for name in names:
        if selecting(name, made) != selecting(name, request):
            if name == "accept-language" and not strictly and prefers(stored, request):
                continue
            return False
    return True


def prefers(stored, request):
    """RFC 9111 4.1 lets a cache choose by the client's ranking: the stored one is in the one language it likes best."""
    w = weighted(joined(request, "accept-language") or "")
    language = (stored.get("content-language") or "").lower()
    if not w or not language or language not in w:
        return False
    return all(q < w[language] for n, q in w.items() if n != language)
