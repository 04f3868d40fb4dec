"""What conditions and ranges make of a stored response (RFC 9110 13.2.2, 14), for compare.py."""
import re

from grammar import date, joined, lines


def tags(text):
    return re.findall(r'(?:W/)?"[^"]*"', text)


def ranges(text, size):
    """The ranges asked for that can be met, or None if the field is none of the grammar (RFC 9110 14.1.1, 14.1.2)."""
    m = re.fullmatch(r"bytes=(.*)", text.strip(), re.I)
    if not m:
        return None
    out, members = [], [t.strip(" \t") for t in m[1].split(",") if t.strip(" \t")]
    for member in members:
        one = re.fullmatch(r"([0-9]*)-([0-9]*)", member)
        if not one or not (one[1] or one[2]):
            return None
        if not one[1]:
            if int(one[2]) > 0 and size > 0:
                out.append((max(0, size - int(one[2])), size - 1))
        elif one[2] and int(one[2]) < int(one[1]):
            return None
        elif int(one[1]) < size:
            out.append((int(one[1]), min(int(one[2] or size), size - 1)))
    return out if members else None


def precondition(stored, request, method):
    """412, 304, 0 where the request goes on, None where it depends."""
    etag, modified = stored.get("etag"), lines(stored.fields, "last-modified")
    if etag is not None and not re.fullmatch(r'(W/)?"[^"]*"', etag):
        return None
    modified = date(modified[0], stored.got / 1000) if len(modified) == 1 else None

    def when(name):
        v = lines(request, name)
        return date(v[0], stored.got / 1000) if len(v) == 1 else None
    opaque = etag[2:] if etag and etag.startswith("W/") else etag
    match = joined(request, "if-match")
    if match is not None:
        if match.strip() != "*" and not (etag and not etag.startswith("W/") and etag in tags(match)):
            return 412
    elif when("if-unmodified-since") is not None and modified is not None:
        if modified > when("if-unmodified-since"):
            return 412
    none = joined(request, "if-none-match")
    if none is not None:
        if none.strip() == "*" or (opaque and opaque in [t[2:] if t.startswith("W/") else t for t in tags(none)]):
            return 304
    elif when("if-modified-since") is not None:  # RFC 9111 4.3.2: without Last-Modified, Date counts
        if (stored.date / 1000 if modified is None else modified) <= when("if-modified-since"):
            return 304
    return 0


def if_range(stored, request):
    """Is the range to be looked at (RFC 9110 13.1.5)? None where it depends."""
    condition = joined(request, "if-range")
    if condition is None:
        return True
    etag, modified = stored.get("etag"), lines(stored.fields, "last-modified")
    if condition.startswith(('"', "W/")):
        return bool(etag) and not etag.startswith("W/") and condition == etag
    time = date(condition, stored.got / 1000)
    if len(modified) != 1 or time is None or date(modified[0], stored.got / 1000) != time:
        return False
    if stored.date / 1000 - time < 1:  # no strong validator (RFC 9110 8.8.2.2)
        return False
    return True if modified[0] == condition else None


def expected_status(stored, request, method):
    """The statuses that a request for this stored response may be answered with; None where it depends."""
    if not 200 <= stored.status < 300:  # RFC 9110 13.2.1
        return {stored.status}
    first = precondition(stored, request, method)
    if first is None or first:
        return {first} if first else None
    asked = joined(request, "range")
    if asked is None or method != "GET" or stored.status != 200:
        return {stored.status}
    wanted, size, condition = ranges(asked, len(stored.body)), len(stored.body), if_range(stored, request)
    if condition is False:
        return {200}
    if wanted is None:  # RFC 9110 14.2: an invalid one may be ignored or refused
        out = {200, 416}
    elif not wanted:
        out = {416}
    else:
        # RFC 9110 14.2: many, overlapping, and those that make up the whole may be ignored
        out = {206} if len(asked.split(",")) == 1 else {206, 200}
    return out | ({200} if condition is None else set())


def wrong_parts(stored, request, client):
    """What is wrong with a 206 of a stored 200 (RFC 9110 14.4, 14.6, 15.3.7), or None."""
    wanted = ranges(joined(request, "range") or "", len(stored.body))
    if not wanted:
        return "a 206 that nobody asked for"
    kind, single = joined(client["fields"], "content-type") or "", lines(client["fields"], "content-range")
    if single:
        found = [(single[0], client["body"])]
        if len(single) > 1 or kind.startswith("multipart/byteranges"):
            return "Content-Range beside several parts"
    else:
        m = re.fullmatch(r"multipart/byteranges; boundary=([A-Za-z0-9]+)", kind)
        if not m:
            return f"neither Content-Range nor multipart/byteranges: {kind}"
        pieces = ("\r\n" + client["body"]).split("\r\n--" + m[1])
        if len(pieces) < 4 or pieces[0] or pieces[-1] != "--\r\n":
            return "no two parts between boundaries"
        found = []
        for piece in pieces[1:-1]:
            head, _, body = piece.partition("\r\n\r\n")
            field = re.search(r"^content-range: *(.*)$", head, re.I | re.M)
            if not field:
                return "a part without Content-Range"
            found.append((field[1].strip(), body))
    covered = set()
    for field, body in found:
        m = re.fullmatch(r"bytes ([0-9]+)-([0-9]+)/([0-9]+)", field)
        if not m or int(m[3]) != len(stored.body) or not int(m[1]) <= int(m[2]) < int(m[3]):
            return f"Content-Range: {field}"
        if body != stored.body[int(m[1]):int(m[2]) + 1]:
            return f"{field} holds {body!r}"
        covered |= set(range(int(m[1]), int(m[2]) + 1))
    asked = {i for a, b in wanted for i in range(a, b + 1)}
    return None if covered == asked else f"{len(covered)} bytes instead of {len(asked)}"
