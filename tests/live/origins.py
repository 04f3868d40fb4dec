"""An origin that does as it is told: slow, cut, malformed, over TLS, away; and that remembers what it was asked."""
import email.utils
import errno
import socket
import ssl
import threading
import time

from processes import authority, free_port, running


class Request:
    """What an origin got: method, path, headers (pairs), body, at (monotonic), connection (a number), and the socket."""

    def __init__(self, method, path, version, headers, body, connection, sock):
        self.method, self.path, self.version = method, path, version
        self.headers, self.body, self.connection, self.sock = headers, body, connection, sock
        self.at = time.monotonic()

    def all(self, name):
        return [v for k, v in self.headers if k.lower() == name.lower()]

    def __getitem__(self, name):
        values = self.all(name)
        return ", ".join(values) if values else None

    def __contains__(self, name):
        return bool(self.all(name))

    def __repr__(self):
        return f"<{self.method} {self.path} {self.headers}>"


class Reply:
    """How an origin answers. body: bytes, or a list of pieces sent one by one, `gap` seconds apart (a threading.Event in
    the list is waited for). gate: an Event waited for before the head; delay: seconds before the head. raw: sent as is,
    then the connection is closed unless keep is set. cut: only so many bytes of the body, then the connection ends
    (reset=True: with RST). length: what Content-Length says, when it is to lie."""

    def __init__(self, body=b"", status=200, headers=(), delay=0, gate=None, gap=0, chunked=False, cut=None, reset=False,
                 raw=None, keep=False, close=False, length=None, etag=None, reason=None, until_close=False):
        self.body, self.status, self.delay, self.gate, self.gap = body, status, delay, gate, gap
        self.headers = list(headers.items()) if isinstance(headers, dict) else list(headers)
        self.chunked, self.cut, self.reset, self.raw, self.keep = chunked, cut, reset, raw, keep
        self.close, self.length, self.etag, self.reason = close, length, etag, reason
        self.until_close = until_close


REASONS = {200: "OK", 204: "No Content", 206: "Partial Content", 301: "Moved Permanently", 302: "Found", 304: "Not Modified",
           404: "Not Found", 410: "Gone", 500: "Internal Server Error", 503: "Service Unavailable"}


class Reset(Exception):
    """The connection is to end with RST."""


class Origin:
    """A programmable HTTP/1.1 origin. origin.on(path, …) says how a path is answered: keywords as for Reply, or a
    function request → Reply (or bytes); the query is ignored unless the path has one. Paths that nobody programmed get
    404. With etag, a matching If-None-Match gets 304 with the same fields.

    origin.requests: all so far; origin.count(path); origin.last(path). stop() and start() keep the port."""

    def __init__(self, tls=None, port=None, address="127.0.0.1", names=("localhost", "127.0.0.1")):
        self.address, self.port = address, port or free_port()
        self.routes, self.requests, self.lock = {}, [], threading.Lock()
        self.connections, self.open = 0, set()
        self.context = None
        if tls:
            certificate, key = tls if isinstance(tls, tuple) else authority().certificate(list(names))
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(certificate, key)
        self.scheme = "https" if tls else "http"
        self.listener = None
        for tries in range(5, -1, -1):
            try:
                self.start()
                break
            except OSError as error:  # somebody else's by now
                if port or not tries or error.errno != errno.EADDRINUSE:
                    raise
                self.port = free_port()
        running.append(self)

    @property
    def url(self):
        host = f"[{self.address}]" if ":" in self.address else self.address
        if self.context:
            host = "localhost"
        return f"{self.scheme}://{host}:{self.port}"

    def start(self):
        listener = socket.socket(socket.AF_INET6 if ":" in self.address else socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.address, self.port))
        listener.listen(2048)
        self.listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return self

    def stop(self):
        """Refuses connections from now on, and ends those that are open."""
        listener, self.listener = self.listener, None
        if listener:
            try:
                listener.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            listener.close()
        with self.lock:
            sockets, self.open = self.open, set()
        for sock in sockets:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    end_of_test = abandon = stop

    def on(self, path, handler=None, **reply):
        if handler is None:
            fixed = Reply(**reply)
            handler = lambda request: fixed
        self.routes[path] = handler
        return self

    def count(self, path=None, method=None):
        with self.lock:
            return sum(1 for r in self.requests if (path is None or self._same(r.path, path)) and method in (None, r.method))

    def seen(self, path):
        with self.lock:
            return [r for r in self.requests if self._same(r.path, path)]

    def last(self, path):
        found = self.seen(path)
        assert found, f"the origin got no request for {path}"
        return found[-1]

    def _same(self, got, path):
        return got == path or ("?" not in path and got.split("?")[0] == path)

    def _accept(self, listener):
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with self.lock:
                self.connections += 1
                number = self.connections
                self.open.add(sock)
            threading.Thread(target=self._serve, args=(sock, number), daemon=True).start()

    def _serve(self, raw, number):
        sock, stream = raw, None
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.context:
                sock = self.context.wrap_socket(raw, server_side=True)
                with self.lock:
                    self.open.discard(raw)
                    self.open.add(sock)
            stream = sock.makefile("rb", 65536)
            while self._one(sock, stream, number):
                pass
        except Reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        except (OSError, ssl.SSLError, ValueError):
            pass
        finally:
            with self.lock:
                self.open.discard(sock)
            if stream:
                stream.close()  # the descriptor lives as long as this does
            sock.close()

    def _one(self, sock, stream, number):
        line = stream.readline(65536).decode("latin-1").rstrip("\r\n")
        if not line:
            return False
        method, path, version = line.split(" ")
        headers = []
        while True:
            field = stream.readline(65536).decode("latin-1").rstrip("\r\n")
            if not field:
                break
            name, _, value = field.partition(":")
            headers.append((name, value.strip()))
        request = Request(method, path, version, headers, b"", number, sock)
        if (request["expect"] or "").lower() == "100-continue":
            sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "chunked" in (request["transfer-encoding"] or ""):
            while True:
                size = int(stream.readline().split(b";")[0], 16)
                request.body += stream.read(size)
                stream.readline()
                if not size:
                    break
        elif request["content-length"]:
            request.body = stream.read(int(request["content-length"]))
        with self.lock:
            self.requests.append(request)
        route = self.routes.get(path) or self.routes.get(path.split("?")[0]) or self.routes.get("*")
        reply = route(request) if route else Reply(b"nothing here\n", status=404)
        if reply is None:
            return False
        if isinstance(reply, (bytes, str)):
            reply = Reply(reply.encode() if isinstance(reply, str) else reply)
        return self._answer(sock, request, reply)

    def _answer(self, sock, request, reply):
        if reply.gate:
            reply.gate.wait(60)
        if reply.delay:
            time.sleep(reply.delay)
        if reply.raw is not None:
            sock.sendall(reply.raw)
            if reply.reset:
                raise Reset
            return reply.keep
        status, headers = reply.status, list(reply.headers)
        names = {k.lower() for k, _ in headers}
        if reply.etag:
            headers.append(("ETag", reply.etag))
            if status == 200 and reply.etag in (request["if-none-match"] or ""):
                status = 304
        if "date" not in names:
            headers.append(("Date", email.utils.formatdate(usegmt=True)))
        pieces = list(reply.body) if isinstance(reply.body, (list, tuple)) else [reply.body]
        total = sum(len(p) for p in pieces if isinstance(p, bytes))
        bodyless = status in (204, 304) or request.method == "HEAD"
        if status not in (204, 304):
            if reply.chunked:
                headers.append(("Transfer-Encoding", "chunked"))
            elif reply.until_close:
                headers.append(("Connection", "close"))
            else:
                headers.append(("Content-Length", str(total if reply.length is None else reply.length)))
        if reply.close:
            headers.append(("Connection", "close"))
        head = f"HTTP/1.1 {status} {reply.reason or REASONS.get(status, 'Whatever')}\r\n"
        head += "".join(f"{k}: {v}\r\n" for k, v in headers) + "\r\n"
        out = head.encode("latin-1")
        sent = 0
        if not bodyless:
            for piece in pieces:
                if hasattr(piece, "wait"):
                    if out:
                        sock.sendall(out)
                        out = b""
                    piece.wait(60)
                    continue
                if reply.cut is not None:
                    piece = piece[:max(0, reply.cut - sent)]
                sent += len(piece)
                if piece:
                    out += b"%x\r\n%s\r\n" % (len(piece), piece) if reply.chunked else piece
                if reply.gap:
                    sock.sendall(out)
                    out = b""
                    time.sleep(reply.gap)
            if reply.chunked and reply.cut is None:
                out += b"0\r\n\r\n"
        if out:
            sock.sendall(out)
        if reply.reset:
            time.sleep(0.05)  # so that what was sent has been read: a reset throws the rest away
            raise Reset
        return reply.cut is None and not reply.close and not reply.until_close
