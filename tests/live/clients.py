"""Clients that show every byte: HTTP/1.1 on a raw socket, HTTP/2 over python3-h2, curl; and many of them at once."""
import json
import re
import socket
import ssl
import subprocess
import threading
import time


class Incomplete(ConnectionError):
    """The connection ended before the response was complete. Has .response if at least the head had come."""

    def __init__(self, message, response=None):
        super().__init__(message)
        self.response = response


class Response:
    """status, reason, version, headers (pairs in order), body, trailers. r["name"] is all values joined, or None."""

    def __init__(self, status, headers, body=b"", reason="", version="", interim=()):
        self.status, self.headers, self.body = status, headers, body
        self.reason, self.version, self.interim = reason, version, list(interim)
        self.trailers = []
        self.first_byte_at = None   # monotonic time when the first byte of the body was here
        self.done_at = None

    def all(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def __getitem__(self, name):
        values = self.all(name)
        return ", ".join(values) if values else None

    def __contains__(self, name):
        return bool(self.all(name))

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def x_cache(self):
        return self["x-cache"]

    @property
    def age(self):
        return int(self["age"]) if "age" in self else None

    @property
    def cache_status(self):
        return parse_cache_status(self["cache-status"] or "")

    @property
    def own(self):
        """The answering node's own member of Cache-Status: the last one."""
        members = self.cache_status
        return members[-1] if members else {}

    def __repr__(self):
        fields = "".join(f"\n  {k}: {v}" for k, v in self.headers)
        return f"<{self.status}{fields}\n  [{len(self.body)} bytes] {self.body[:200]!r}>"


def parse_cache_status(text):
    """[{"name": "edge-1", "hit": True, "ttl": 57, "detail": "memory"}, …]"""
    members = []
    for part in re.findall(r'(?:[^",]|"(?:\\.|[^"\\])*")+', text):
        pieces = [p.strip() for p in re.findall(r'(?:[^";]|"(?:\\.|[^"\\])*")+', part)]
        member = {"name": pieces[0].strip('"')}
        for piece in pieces[1:]:
            key, equals, value = piece.partition("=")
            if not equals:
                member[key] = True
            elif re.fullmatch(r"-?[0-9]+", value):
                member[key] = int(value)
            else:
                member[key] = value.strip('"')
        members.append(member)
    return members


def dial(target, timeout):
    """target: (host, port), a port on 127.0.0.1, or the path of a unix socket."""
    if isinstance(target, int):
        target = ("127.0.0.1", target)
    if isinstance(target, str):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(timeout)
        sock.connect(target)
        return sock
    return socket.create_connection(target, timeout)


def tls_context(ca=None, alpn=("http/1.1",), verify=True, version=None):
    context = ssl.create_default_context(cafile=ca)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if version:
        context.minimum_version = context.maximum_version = version
    return context


class Conn:
    """One client connection that speaks HTTP/1.1 as plainly as the test says it.

        with Conn(node.port) as c:
            c.send(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
            r = c.response()
    """

    def __init__(self, target, tls=None, sni=None, timeout=30):
        self.sock = dial(target, timeout)
        self.sock.settimeout(timeout)
        try:
            if not isinstance(target, str):
                self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls:
                self.sock = tls.wrap_socket(self.sock, server_hostname=sni or "localhost")
        except BaseException:
            self.sock.close()
            raise
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def reset(self):
        """Ends the connection with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data.encode("latin-1") if isinstance(data, str) else data)

    def request(self, path, method="GET", headers=(), body=None, host="test.example", version="HTTP/1.1"):
        lines = [f"{method} {path} {version}"]
        pairs = list(headers.items()) if isinstance(headers, dict) else list(headers)
        if host is not None and not any(k.lower() == "host" for k, _ in pairs):
            pairs.insert(0, ("Host", host))
        if body is not None and not any(k.lower() in ("content-length", "transfer-encoding") for k, _ in pairs):
            pairs.append(("Content-Length", str(len(body))))
        lines += [f"{k}: {v}" for k, v in pairs]
        self.method = method
        self.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b""))

    def more(self):
        """Reads what is there into the buffer; False at the end."""
        try:
            data = self.sock.recv(262144)
        except (ConnectionResetError, ssl.SSLEOFError, BrokenPipeError):
            return False
        self.buffer += data
        return bool(data)

    def line(self):
        while b"\n" not in self.buffer:
            if not self.more():
                raise Incomplete(f"connection ended within a line: {self.buffer[:100]!r}")
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.rstrip(b"\r")

    def head(self):
        """Reads one head; returns a Response without a body."""
        status = self.line().decode("latin-1")
        match = re.fullmatch(r"(HTTP/1\.[01]) ([0-9]{3})(?: (.*))?", status)
        if not match:
            raise AssertionError(f"no status line: {status!r}")
        headers = self._fields()
        return Response(int(match[2]), headers, reason=match[3] or "", version=match[1])

    def _fields(self):
        headers = []
        while True:
            line = self.line().decode("latin-1")
            if not line:
                return headers
            name, colon, value = line.partition(":")
            if not colon or name != name.strip():
                raise AssertionError(f"no header field: {line!r}")
            headers.append((name, value.strip()))

    def exactly(self, n, response):
        while len(self.buffer) < n:
            if self.buffer and response.first_byte_at is None:
                response.first_byte_at = time.monotonic()
            if not self.more():
                response.body += self.buffer
                raise Incomplete(f"body ended after {len(response.body)} bytes", response)
        if n and response.first_byte_at is None:
            response.first_byte_at = time.monotonic()
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    def response(self, method=None):
        """Reads one whole final response; interim ones are in .interim. Raises Incomplete if it was cut."""
        method = method or getattr(self, "method", "GET")
        interim = []
        while True:
            r = self.head()
            if r.status >= 200 or r.status == 101:
                break
            interim.append(r)
        r.interim = interim
        if method == "HEAD" or r.status in (101, 204, 304):
            pass
        elif "transfer-encoding" in r:
            if r["transfer-encoding"].lower() != "chunked":
                raise AssertionError(f"Transfer-Encoding: {r['transfer-encoding']}")
            while True:
                try:
                    size = int(self.line().split(b";")[0], 16)
                except Incomplete as error:
                    raise Incomplete(str(error), r) from None
                if size == 0:
                    r.trailers = self._fields()
                    break
                r.body += self.exactly(size, r)
                try:
                    if self.line() != b"":
                        raise AssertionError("chunk without its end")
                except Incomplete as error:
                    raise Incomplete(str(error), r) from None
        elif "content-length" in r:
            lengths = set(r.all("content-length"))
            if len(lengths) != 1:
                raise AssertionError(f"Content-Length: {lengths}")
            r.body = self.exactly(int(lengths.pop()), r)
        else:
            while self.more():
                if r.first_byte_at is None:
                    r.first_byte_at = time.monotonic()
            r.body, self.buffer = self.buffer, b""
        r.done_at = time.monotonic()
        return r

    def ended(self, timeout=10):
        """True if the other side closes within the time, sending nothing more."""
        self.sock.settimeout(timeout)
        try:
            return not self.more() and not self.buffer
        except socket.timeout:
            return False


def fetch(target, path, method="GET", headers=(), body=None, host="test.example", tls=None, sni=None, timeout=30):
    """One request on a connection of its own."""
    with Conn(target, tls=tls, sni=sni, timeout=timeout) as c:
        c.request(path, method, headers, body, host)
        return c.response()


class H2:
    """An HTTP/2 connection over python3-h2: over TLS (tls=context with alpn h2) or with prior knowledge.

        with H2(node.tls_port, tls=tls_context(ca, alpn=["h2"])) as c:
            a, b = c.send("/a"), c.send("/b")
            print(c.response(a), c.response(b))
    """

    def __init__(self, target, tls=None, sni=None, timeout=30, settings=None, window=1 << 24):
        import h2.config
        import h2.connection
        self.sock = dial(target, timeout)
        self.sock.settimeout(timeout)
        if tls:
            self.sock = tls.wrap_socket(self.sock, server_hostname=sni or "localhost")
            if self.sock.selected_alpn_protocol() != "h2":
                raise AssertionError(f"ALPN chose {self.sock.selected_alpn_protocol()}")
        self.scheme = "https" if tls else "http"
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="latin-1"))
        if settings:
            self.h2.update_settings(settings)
        self.h2.initiate_connection()
        if window:
            self.h2.increment_flow_control_window(window)
            self.h2.update_settings({4: window})
        self.responses = {}
        self.ends = set()
        self.resets = {}
        self.goaway = None
        self.closed = False
        self._flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def _flush(self):
        data = self.h2.data_to_send()
        if data:
            self.sock.sendall(data)

    def send(self, path, method="GET", headers=(), body=None, host="test.example"):
        stream = self.h2.get_next_available_stream_id()
        pairs = list(headers.items()) if isinstance(headers, dict) else list(headers)
        fields = [(":method", method), (":scheme", self.scheme), (":authority", host), (":path", path)]
        fields += [(k.lower(), str(v)) for k, v in pairs]
        self.h2.send_headers(stream, fields, end_stream=body is None)
        self._flush()
        if body is not None:
            while body:
                room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size, len(body))
                if room == 0:
                    self.turn()
                    continue
                self.h2.send_data(stream, body[:room])
                body = body[room:]
                self._flush()
            self.h2.end_stream(stream)
            self._flush()
        return stream

    def cancel(self, stream):
        self.h2.reset_stream(stream, 8)
        self._flush()

    def turn(self):
        """Reads once and handles the events; False when the connection ended."""
        import h2.events as ev
        import h2.exceptions
        try:
            data = self.sock.recv(262144)
        except (ConnectionResetError, ssl.SSLEOFError):
            data = b""
        if not data:
            self.closed = True
            return False
        for event in self.h2.receive_data(data):
            if isinstance(event, (ev.ResponseReceived, ev.InformationalResponseReceived)):
                fields = list(event.headers)
                status = int(next(v for k, v in fields if k == ":status"))
                r = Response(status, [(k, v) for k, v in fields if not k.startswith(":")], version="HTTP/2")
                if isinstance(event, ev.ResponseReceived):
                    r.interim = self.responses.get(event.stream_id, Response(0, [])).interim
                    self.responses[event.stream_id] = r
                else:
                    self.responses.setdefault(event.stream_id, Response(0, [])).interim.append(r)
            elif isinstance(event, ev.DataReceived):
                r = self.responses[event.stream_id]
                if event.data and r.first_byte_at is None:
                    r.first_byte_at = time.monotonic()
                r.body += event.data
                if event.flow_controlled_length:
                    try:
                        self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    except h2.exceptions.ProtocolError:
                        pass
            elif isinstance(event, ev.TrailersReceived):
                self.responses[event.stream_id].trailers = list(event.headers)
            elif isinstance(event, ev.StreamEnded):
                self.responses[event.stream_id].done_at = time.monotonic()
                self.ends.add(event.stream_id)
            elif isinstance(event, ev.StreamReset):
                self.resets[event.stream_id] = event.error_code
            elif isinstance(event, ev.ConnectionTerminated):
                self.goaway = event.error_code
        self._flush()
        return True

    def response(self, stream):
        while stream not in self.ends:
            if stream in self.resets:
                raise Incomplete(f"stream reset, error {self.resets[stream]}", self.responses.get(stream))
            if self.closed or not self.turn():
                raise Incomplete(f"connection ended (GOAWAY {self.goaway})", self.responses.get(stream))
        return self.responses[stream]

    def get(self, path, **more):
        return self.response(self.send(path, **more))


def curl(*arguments, check=True):
    """curl -s with the arguments; its output as bytes."""
    done = subprocess.run(["curl", "-sS", "--max-time", "60", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if check and done.returncode:
        raise AssertionError(f"curl {arguments}: exit {done.returncode}: {done.stderr.decode()}")
    return done.stdout


def together(count, work):
    """Runs work(i) for i in range(count), each in a thread of its own, all at once; the list of results. The first exception is raised."""
    results, errors = [None] * count, []
    start = threading.Barrier(count)

    def run(i):
        try:
            start.wait(60)
            results[i] = work(i)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(120)
        if t.is_alive():
            raise AssertionError("a thread of the test did not end")
    if errors:
        raise errors[0]
    return results


class Later:
    """work() in a thread; .result(timeout) joins, and raises what it raised."""

    def __init__(self, work, *arguments, **named):
        self.value = self.error = None

        def run():
            try:
                self.value = work(*arguments, **named)
            except BaseException as error:
                self.error = error

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    @property
    def done(self):
        return not self.thread.is_alive()

    def result(self, timeout=60):
        self.thread.join(timeout)
        if self.thread.is_alive():
            raise AssertionError("no answer in time")
        if self.error:
            raise self.error
        return self.value
