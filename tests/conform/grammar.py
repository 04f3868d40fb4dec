"""What fields say: dates (RFC 9110 5.6.7), Cache-Control (RFC 9111 5.2), dictionaries (RFC 9651 4.2.2). For model.py; knows
nothing of brink."""
import calendar
import re

TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
LONG_DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]


def lines(fields, name):
    return [v for k, v in fields if k.lower() == name]


def joined(fields, name):
    found = lines(fields, name)
    return ", ".join(found) if found else None


def date(text, now):
    """Seconds since 1970, or None. `now` in seconds places a year of two digits. Case does not matter (RFC 9111 4.2);
    a zone other than GMT is invalid."""
    text = text.strip().lower()
    m = re.fullmatch(r"([a-z]{3}), (\d\d) ([a-z]{3}) (\d{4}) (\d\d):(\d\d):(\d\d) gmt", text)
    if m:
        day, dom, month, year, clock = m[1], int(m[2]), m[3], int(m[4]), m.group(5, 6, 7)
        if day not in DAYS:
            return None
    else:
        m = re.fullmatch(r"([a-z]+), (\d\d)-([a-z]{3})-(\d\d) (\d\d):(\d\d):(\d\d) gmt", text)
        if m:
            if m[1] not in LONG_DAYS:
                return None
            dom, month, clock = int(m[2]), m[3], m.group(5, 6, 7)
            this = 1970 + int(now / 31556952)
            year = this - this % 100 + int(m[4])
            if year > this + 50:
                year -= 100
        else:
            m = re.fullmatch(r"([a-z]{3}) ([a-z]{3}) (\d\d| \d) (\d\d):(\d\d):(\d\d) (\d{4})", text)
            if not m or m[1] not in DAYS:
                return None
            dom, month, clock, year = int(m[3]), m[2], m.group(4, 5, 6), int(m[7])
    hour, minute, second = (int(x) for x in clock)
    if month not in MONTHS or hour > 23 or minute > 59 or second > 60 or dom < 1 or year < 1:
        return None
    month = MONTHS.index(month) + 1
    if dom > calendar.monthrange(year, month)[1]:
        return None
    return calendar.timegm((year, month, dom, hour, minute, second))


def split_list(text):
    """Members of a comma-separated list; commas within quoted strings do not separate."""
    members, current, quoted, escaped = [], "", False, False
    for c in text:
        if quoted:
            current += c
            if escaped:
                escaped = False
            elif c == "\\":
                escaped = True
            elif c == '"':
                quoted = False
        elif c == ",":
            members.append(current)
            current = ""
        else:
            current += c
            quoted = c == '"'
    members.append(current)
    return [m.strip(" \t") for m in members], quoted


def unquote(text):
    return re.sub(r"\\(.)", r"\1", text[1:-1])


class Directives:
    """Cache-Control's directives, by name in lower case: a list of (argument or None, is it of the grammar?)."""

    def __init__(self, values):
        self.named = {}
        self.broken = False  # an open quote: what follows it may have been anything
        for value in values:
            members, open_quote = split_list(value)
            self.broken |= open_quote
            for member in members:
                if not member:
                    continue
                m = re.fullmatch(rf"({TOKEN})(?:=({TOKEN}|\"(?:[^\"\\]|\\.)*\"))?", member, re.S)
                if m:
                    argument = m[2]
                    if argument is not None and argument.startswith('"'):
                        argument = unquote(argument)
                    self.add(m[1], argument, True)
                else:
                    m = re.match(rf"({TOKEN})(.*)", member, re.S)
                    if m:
                        self.add(m[1], m[2].lstrip(" \t=") or None, False)

    def add(self, name, argument, well):
        self.named.setdefault(name.lower(), []).append((argument, well))

    def __contains__(self, name):
        return name in self.named

    def surely(self, name):
        """There, as the grammar has it, without an argument."""
        return any(a is None and well for a, well in self.named.get(name, []))

    def seconds(self, name):
        """(least, most) that a lawful recipient may read, or None when absent. RFC 9111 4.2.1: of several the first, or
        stale; what is no number is stale."""
        found = self.named.get(name)
        if found is None:
            return None
        numbers = [int(a) if a is not None and well and re.fullmatch(r"[0-9]+", a) else None for a, well in found]
        first = numbers[0]
        if first is None:
            # `max-age =5` and the like: whoever reads it reads 5, whoever doesn't has something invalid
            loose = re.fullmatch(r"\s*\"?([0-9]+)\"?\s*", found[0][0] or "")
            return (0, int(loose[1])) if loose and not found[0][1] else (0, 0)
        return (first if len(numbers) == 1 else 0, first)

    def names(self, name):
        """Field names that a qualified directive lists, or None if it stands unqualified anywhere or not at all."""
        found = self.named.get(name)
        if not found or any(a is None for a, _ in found):
            return None
        return [n.strip().lower() for a, _ in found for n in a.split(",") if n.strip()]


# ---- Structured Fields ----

class Bad(Exception):
    pass


class Reader:
    def __init__(self, text):
        self.text, self.at = text, 0

    def peek(self):
        return self.text[self.at] if self.at < len(self.text) else ""

    def take(self, expected=None):
        c = self.peek()
        if not c or (expected is not None and c != expected):
            raise Bad
        self.at += 1
        return c

    def match(self, pattern):
        m = re.compile(pattern).match(self.text, self.at)
        if not m:
            raise Bad
        self.at = m.end()
        return m[0]

    def skip(self, chars):
        while self.peek() and self.peek() in chars:
            self.at += 1

    def key(self):
        return self.match(r"[a-z*][a-z0-9_.*-]*")

    def bare(self):
        c = self.peek()
        if c == '"':
            self.take()
            out = ""
            while True:
                c = self.take()
                if c == "\\":
                    c = self.take()
                    if c not in '"\\':
                        raise Bad
                elif c == '"':
                    return ("string", out)
                elif not 0x20 <= ord(c) <= 0x7e:
                    raise Bad
                out += c
        if c == "?":
            self.take()
            return ("boolean", self.match("[01]") == "1")
        if c == ":":
            return ("bytes", self.match(r":[A-Za-z0-9+/=]*:"))
        if c == "@":
            self.take()
            return ("date", int(self.match(r"-?[0-9]{1,15}(?![0-9.])")))
        if c == "-" or c.isdigit():
            number = self.match(r"-?[0-9]+(\.[0-9]+)?")
            if self.peek() == ".":
                raise Bad
            whole, _, part = number.lstrip("-").partition(".")
            if part:
                if len(whole) > 12 or len(part) > 3:
                    raise Bad
                return ("decimal", float(number))
            if len(whole) > 15:
                raise Bad
            return ("integer", int(number))
        return ("token", self.match(r"[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*"))

    def parameters(self):
        while self.peek() == ";":
            self.take()
            self.skip(" ")
            self.key()
            if self.peek() == "=":
                self.take()
                self.bare()

    def inner(self):
        self.take("(")
        items = []
        while True:
            self.skip(" ")
            if self.peek() == ")":
                self.take()
                return ("inner", items)
            items.append(self.bare())
            self.parameters()
            if self.peek() not in (" ", ")"):
                raise Bad


def string_list(text):
    """The strings of a list of strings (RFC 9651 4.2.1), or None if it is something else."""
    r, out = Reader(text.strip(" ")), []
    try:
        while r.peek():
            kind, value = r.inner() if r.peek() == "(" else r.bare()
            r.parameters()
            if kind != "string":
                return None
            out.append(value)
            r.skip(" \t")
            if not r.peek():
                return out
            r.take(",")
            r.skip(" \t")
            if not r.peek():
                raise Bad
    except Bad:
        return None
    return out


def dictionary(text):
    """{name: (type, value)} or None if the field must be ignored (RFC 9651 4.2)."""
    r, out = Reader(text.strip(" ")), {}
    try:
        while r.peek():
            name = r.key()
            if r.peek() == "=":
                r.take()
                value = r.inner() if r.peek() == "(" else r.bare()
            else:
                value = ("boolean", True)
            r.parameters()
            out.pop(name, None)
            out[name] = value
            r.skip(" \t")
            if not r.peek():
                return out
            r.take(",")
            r.skip(" \t")
            if not r.peek():
                raise Bad
    except Bad:
        return None
    return out
