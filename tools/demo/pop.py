#!/usr/bin/env python3
"""A whole POP on this machine: demo origin, private Redis, one shield, one edge. tools/run builds and then starts this.

    pop.py --programs DIR --state DIR [--ports-from N]

Everything it makes (certificate authority and certificate, tier secret, purge token, configurations, Redis data, caches,
logs) is kept in the state directory, so the next start takes the same and is quick. A port that is taken is passed over
for the next free one. Children are known by process id and are ended with this process: on Ctrl-C, on SIGTERM, and when
one of them ends by itself.
"""
import argparse
import ctypes
import fcntl
import hashlib
import http.client
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
libc = ctypes.CDLL(None)
taken = set()


def port(wanted):
    """The first free one from wanted on. Asked with a plain bind: brinkd's SO_REUSEPORT would share a port in silence."""
    for number in range(wanted, wanted + 200):
        if number in taken:
            continue
        try:
            for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "0.0.0.0")):
                with socket.socket(family) as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free
                    probe.bind((address, number))
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", number)) == 0:
                    continue
        except OSError:
            continue
        taken.add(number)
        return number
    sys.exit(f"tools/run: no free port from {wanted} to {wanted + 199}")


def write(path, text, mode=0o644):
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as out:
        out.write(text)
    return path


def once(path, text):
    """The secret in path, made at the first start."""
    if not os.path.exists(path):
        write(path, text, 0o600)
    with open(path) as secret:
        return secret.read().strip()


class Pop:
    def __init__(self, options):
        self.state, self.programs = os.path.abspath(options.state), os.path.abspath(options.programs)
        self.ports_from = options.ports_from
        self.children = []  # (name, process, log)
        os.makedirs(self.state, exist_ok=True)
        os.chmod(self.state, 0o700)

    def path(self, *parts):
        path = os.path.join(self.state, *parts)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    def shown(self, path):
        """A path as one would type it here."""
        near = os.path.relpath(path)
        return path if near.startswith("..") else near

    # ---- what is made once ----

    def certificate(self):
        """A small authority of our own and a certificate for localhost by it; both again when the certificate has a week left."""
        ca, ca_key = self.path("ca.pem"), self.path("ca.key")
        pem, key, request, extensions = (self.path(n) for n in ("edge.pem", "edge.key", "edge.csr", "edge.ext"))
        openssl = lambda *a: subprocess.run(["openssl", *a], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            openssl("x509", "-in", pem, "-noout", "-checkend", str(7 * 86400))
            if os.path.getsize(key) and os.path.getsize(ca):
                return
        except (subprocess.CalledProcessError, OSError):
            pass
        old = os.umask(0o077)
        try:
            curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
            openssl("req", "-x509", *curve, "-days", "365", "-subj", "/CN=brink development authority", "-keyout", ca_key, "-out", ca)
            openssl("req", *curve, "-subj", "/CN=localhost", "-keyout", key, "-out", request)
            write(extensions, "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n")
            os.chmod(ca, 0o644)
            openssl("x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-days", "90",
                    "-extfile", extensions, "-out", pem)
        except subprocess.CalledProcessError as error:
            sys.exit(f"tools/run: openssl failed: {error.stderr.decode().strip()}")
        finally:
            os.umask(old)

    # ---- processes ----

    def start(self, name, *argv):
        log = self.path(f"{name}.log")
        with open(log, "w") as out:
            # A session of its own: Ctrl-C on the terminal comes to us alone. PR_SET_PDEATHSIG: should we be killed, it ends too.
            child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd=self.state,
                                     start_new_session=True, preexec_fn=lambda: libc.prctl(1, signal.SIGTERM))
        self.children.append((name, child, log))
        return child

    def wait(self, name, what, ready, seconds=30):
        """Waits until ready() is true; ends everything if the child dies first or takes too long."""
        child, log = next((c, l) for n, c, l in self.children if n == name)
        end = time.monotonic() + seconds
        while True:
            try:
                if ready():
                    return
            except (OSError, http.client.HTTPException):
                pass
            if child.poll() is not None:
                self.fail(f"{name} ended with {child.returncode} before it was ready", log)
            if time.monotonic() > end:
                self.fail(f"{name}: {what} did not happen within {seconds} s", log)
            time.sleep(0.03)

    def fail(self, sentence, log):
        with open(log, errors="replace") as lines:
            last = lines.read().splitlines()[-15:]
        print(f"tools/run: {sentence}. The end of {self.shown(log)}:", file=sys.stderr)
        for line in last:
            print(f"    {line}", file=sys.stderr)
        raise SystemExit(1)

    def stop(self):
        """Newest first, each by its id: asked, and killed if it does not go."""
        for name, child, _ in reversed(self.children):
            if child.poll() is None:
                child.send_signal(signal.SIGCONT)
                child.terminate()
                try:
                    child.wait(15)
                except subprocess.TimeoutExpired:
                    print(f"tools/run: {name} did not end when asked, and was killed", file=sys.stderr)
                    child.kill()
                    child.wait()
        self.children.clear()

    # ---- the parts ----

    def up(self):
        lock = open(self.path("lock"), "w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            sys.exit(f"tools/run: it is already running from here ({self.shown(self.state)} is in use)")
        self.lock = lock
        self.certificate()
        once(self.path("tier.secret"), secrets.token_hex(32) + "\n")
        self.token = once(self.path("token"), secrets.token_urlsafe(24) + "\n")

        usual = [8080, 8443, 9090, 3000, 8090, 9091, 6390]
        ports = [port(self.ports_from or number) for number in usual]
        self.http, self.https, self.admin, self.origin, self.shield, self.shield_admin, self.redis = ports

        self.start("origin", sys.executable, os.path.join(HERE, "origin.py"), "--port", str(self.origin))
        self.start("redis", "redis-server", "--port", str(self.redis), "--bind", "127.0.0.1", "--dir", os.path.dirname(self.path("redis", "x")),
                   "--appendonly", "yes", "--save", "", "--daemonize", "no", "--maxmemory-policy", "noeviction")
        self.wait("origin", "an answer", lambda: get(self.origin, "/robots.txt") == 200)
        self.wait("redis", "PONG", lambda: redis(self.redis, b"PING").startswith(b"+PONG"))

        common = lambda name: f"""
state: {quoted(self.path(name, "state"))}
memory: {{ size: 128MiB }}
disk: {{ path: {quoted(self.path(name, "cache"))}, size: 512MiB }}
sites:
  - hosts: ["*"]
    origins: ["http://127.0.0.1:{self.origin}"]
    server_timing: true
purge: {{ redis: "redis://127.0.0.1:{self.redis}/0" }}
log: {{ access: {quoted(self.path(name, "access.log"))}, format: json }}
"""
        tokens = f"""[{{ name: demo, sha256: "{hashlib.sha256(self.token.encode()).hexdigest()}", allow: [purge, read] }}]"""
        secret = quoted(self.path("tier.secret"))
        self.node("shield-1", self.shield_admin, common, f"""
node: shield-1
listen: [ {{ address: "127.0.0.1:{self.shield}" }} ]
admin: {{ address: "127.0.0.1:{self.shield_admin}", tokens: {tokens} }}
tier: {{ secret_file: {secret} }}
""")
        self.node("edge-1", self.admin, common, f"""
node: edge-1
listen:
  - address: "127.0.0.1:{self.http}"
  - address: "127.0.0.1:{self.https}"
    certificates: [ {{ certificate: {quoted(self.path("edge.pem"))}, key: {quoted(self.path("edge.key"))} }} ]
admin: {{ address: "127.0.0.1:{self.admin}", tokens: {tokens} }}
shield: {{ nodes: ["http://127.0.0.1:{self.shield}"], secret_file: {secret}, fallback: origin }}
""")

        # The first of a fleet that takes the recorder's lease enters a gap, since nobody can know what was published before.
        # What is asked for from now on is not touched by that.
        self.wait("edge-1", "somebody recording the channel", lambda: redis(self.redis, b"EXISTS brink:purge:recorder") == b":1\r\n")
        self.wait("edge-1", "the end of the purge log", self.caught_up)

    def caught_up(self):
        last = re.search(rb"last-generated-id\r\n\$\d+\r\n([0-9-]+)", redis(self.redis, b"XINFO STREAM brink:purge"))
        return last and all(last[1] in redis(self.redis, b"HGET brink:purge:node:%s applied" % name) for name in (b"edge-1", b"shield-1"))

    def node(self, name, admin, common, own):
        for folder in ("state", "cache"):
            os.makedirs(self.path(name, folder), exist_ok=True)
        file = write(self.path(name, "brink.yaml"), (own.strip("\n") + common(name)))
        self.start(name, os.path.join(self.programs, "brinkd"), "-c", file)
        self.wait(name, "readiness", lambda: get(admin, "/readyz") == 200, 60)

    def told(self):
        origin = next(c.pid for n, c, _ in self.children if n == "origin")
        site, state = f"http://127.0.0.1:{self.http}", self.shown(self.state)
        print(f"""
brink is running: client -> edge-1 -> shield-1 -> demo origin, purged through Redis.

  site     {site}/     https://localhost:{self.https}/   (authority: {state}/ca.pem)
  admin    http://127.0.0.1:{self.admin}/metrics   /v1/status   /readyz   (token: {state}/token)
  shield   http://127.0.0.1:{self.shield}/   admin http://127.0.0.1:{self.shield_admin}/
  origin   http://127.0.0.1:{self.origin}/   (300 ms an answer)   redis 127.0.0.1:{self.redis}
  logs     {state}/*.log   {state}/*/access.log

Try, in another terminal:

  1. A hit: the second answer is the first one again, and takes no 300 ms.
     for i in 1 2; do curl -s -w '%{{time_total}} s\\n' -D - {site}/api/products/123; done

  2. A purge by tag, as applications do it: after it, the same address has a new answer on edge and shield.
     redis-cli -p {self.redis} PUBLISH cache:invalidate product:123 && curl -s -D - {site}/api/products/123

  3. The origin gone, and the stale answer served in its place (the same kill brings it back).
     curl -s {site}/api/time; kill -USR1 {origin}; sleep 6; curl -s -D - {site}/api/time; kill -USR1 {origin}

Ctrl-C stops all of it.
""", flush=True)

    def watch(self):
        """Until a signal, or until a child ends by itself."""
        while True:
            for name, child, log in self.children:
                if child.poll() is not None:
                    self.fail(f"{name} has ended with {child.returncode}; stopping the rest", log)
            time.sleep(0.2)


def quoted(path):
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'


def get(number, path):
    connection = http.client.HTTPConnection("127.0.0.1", number, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def redis(number, command):
    with socket.create_connection(("127.0.0.1", number), 5) as sock:
        sock.sendall(command + b"\r\n")
        return sock.recv(4096)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--programs", required=True, help="where brinkd is")
    options.add_argument("--state", required=True, help="what is kept between starts")
    options.add_argument("--ports-from", type=int, help="the first port to try, instead of the usual ones (8080, 8443, 9090, 3000, ...)")
    pop = Pop(options.parse_args())

    def end(number, _frame):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise SystemExit(0 if number == signal.SIGINT else 128 + number)

    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGHUP, end)
    try:
        pop.up()
        pop.told()
        pop.watch()
    finally:
        pop.stop()
        print("tools/run: stopped.", flush=True)


if __name__ == "__main__":
    main()
