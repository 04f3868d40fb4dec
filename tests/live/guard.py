"""serve_probe, edge/serve alone, so that sizes, timeouts and the guards can be set; and a client that sends the HTTP/2 frames it
is told to, well-formed or not."""
import select
import struct

from hpack import Decoder, Encoder

from harness import *

PROBE = os.path.join(BUILD, "tests", "serve_probe")
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITIZED = 1, 1, 4, 8, 32
PROTOCOL, FLOW, CLOSED, SIZE, COMPRESSION, CALM = 1, 3, 5, 6, 9, 11
GOOD = b"GET /b/5 HTTP/1.1\r\nHost: a\r\n\r\n"


class Probe:
    def __init__(self, *options, addresses=("127.0.0.1:0",), expect_death=False, argv=()):
        self.folder = temp_dir()
        self.process = Process("serve_probe", [*argv, PROBE, *options, *addresses], self.folder, graceful=not expect_death)
        self.process.killed = expect_death
        eventually("the probe listens", lambda: "ports" in self.process.stdout or not self.process.alive)
        ports = re.search(r"ports(.*)", self.process.stdout)
        self.ports = [int(p) for p in ports[1].split()] if ports else []

    @property
    def port(self):
        return self.ports[0]

    def stats(self, target=None, **more):
        return {k: int(v) for k, v in (line.split() for line in fetch(target or self.port, "/stats", **more).text.splitlines())}

    def lives(self):
        assert self.process.alive, f"the server died: {tail(self.process.log)}"
        assert fetch(self.port, "/b/5").body == b"xxxxx"


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def setting(key, value):
    return struct.pack(">HI", key, value)


class Raw:
    """An HTTP/2 connection in cleartext that sends just what it is told."""

    def __init__(self, port, settings=b"", receive_buffer=0, preface=True):
        self.sock = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(20)
        self.sock.connect(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.encoder, self.decoder, self.buffer = Encoder(), Decoder(), b""
        if preface:
            self.send(PREFACE + frame(SETTINGS, payload=settings))

    def send(self, data):
        """False if the other side has closed."""
        try:
            self.sock.sendall(data)
            return True
        except OSError:
            return False

    def block(self, path="/b/5", method="GET", extra=(), scheme="http", authority="test.example"):
        pseudo = [(":method", method), (":scheme", scheme), (":path", path), (":authority", authority)]
        return self.encoder.encode([p for p in pseudo if p[1] is not None] + list(extra), huffman=False)

    def request(self, stream, path="/b/5", end=True, **more):
        return self.send(frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, self.block(path, **more)))

    def frames(self, until=lambda f: False, timeout=10):
        """Reads frames up to the one that `until` accepts, or to the end of the connection."""
        end, seen = time.monotonic() + timeout * SLOW, []
        while time.monotonic() < end:
            while len(self.buffer) >= 9:
                size = int.from_bytes(self.buffer[:3], "big")
                if len(self.buffer) < 9 + size:
                    break
                f = (self.buffer[3], self.buffer[4], int.from_bytes(self.buffer[5:9], "big"), self.buffer[9:9 + size])
                self.buffer = self.buffer[9 + size:]
                seen.append(f)
                if f[0] == HEADERS:
                    assert f[1] & END_HEADERS
                    seen[-1] = f[:3] + (self.decoder.decode(f[3]),)
                if until(f):
                    return seen
            self.sock.settimeout(max(0.01, end - time.monotonic()))
            try:
                data = self.sock.recv(1 << 18)
            except socket.timeout:
                break
            except OSError:
                data = b""
            if not data:
                return seen + [None]
            self.buffer += data
        raise AssertionError(f"nothing came in time; so far {[f[:3] for f in seen][-50:]}")

    def answer(self, stream):
        """(status or None, fields, body, error code of RST_STREAM or None)"""
        seen = self.frames(lambda f: f[2] == stream and (f[0] == RST or (f[0] in (DATA, HEADERS) and f[1] & END_STREAM)))
        assert seen[-1] is not None, f"the connection ended: {[(f or [])[:3] for f in seen][-50:]}, {seen[-2:]!r:.500}"
        fields = [f[3] for f in seen if f[0] == HEADERS and f[2] == stream]
        body = b"".join(f[3] for f in seen if f[0] == DATA and f[2] == stream)
        error = int.from_bytes(seen[-1][3], "big") if seen[-1][0] == RST else None
        return int(dict(fields[-1])[":status"]) if fields else None, fields, body, error

    def goaway(self):
        """The error code of the GOAWAY that must come, with the connection's end after it."""
        codes = [int.from_bytes(f[3][4:8], "big") for f in self.frames() if f is not None and f[0] == GOAWAY]
        assert codes, "closed without GOAWAY"
        return codes[-1]


def closed(sock):
    try:
        return not sock.recv(65536)
    except ConnectionResetError:
        return True


def select_readable(sock):
    return bool(select.select([sock], [], [], 0)[0])
