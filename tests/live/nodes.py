"""A private Redis, and brink nodes with a generated configuration in a directory of their own."""
import json
import os
import re
import shutil
import subprocess
import time

from clients import H2, Conn, Incomplete, fetch, tls_context
from processes import BUILD, SLOW, Process, authority, eventually, free_port, merge, sha256, tail, temp_dir, yaml

TOKEN = "live-test-token"


class Redis:
    """A private redis-server; appendonly, so that a restart keeps the data. r.client is python3-redis; r.cli(…) is redis-cli."""

    def __init__(self, appendonly=True, options=()):
        self.port, self.folder = free_port(), temp_dir("brink-redis-")
        self.appendonly, self.options = appendonly, list(options)
        self.process = None
        self.start()

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self):
        self.process = Process("redis", ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder,
                                         "--appendonly", "yes" if self.appendonly else "no", "--appendfsync", "everysec",
                                         "--save", "", "--daemonize", "no", *self.options], self.folder)
        eventually("redis answers", lambda: self.cli("PING") == "PONG")
        return self

    @property
    def client(self):
        import redis
        return redis.Redis(port=self.port, decode_responses=True)

    def cli(self, *arguments):
        return subprocess.run(["redis-cli", "-p", str(self.port), *arguments], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE).stdout.decode().strip()

    def publish(self, payload, channel="cache:invalidate"):
        return int(self.cli("PUBLISH", channel, payload))

    def xadd(self, body, stream="brink:purge"):
        return self.cli("XADD", stream, "*", "purge", body if isinstance(body, str) else json.dumps(body))

    def calm(self, *nodes):
        """Waits until one of the nodes holds the recorder's lease (the first one of a fleet enters a gap when it takes it) and
        all have applied what is in the stream. Tests that count what is a hit begin after that."""
        eventually("somebody records the channel", lambda: self.cli("EXISTS", "brink:purge:recorder") == "1")
        eventually("all are caught up", lambda: {self.cli("HGET", f"brink:purge:node:{n.name}", "applied") for n in nodes} ==
                   {json.loads(self.cli("--json", "XINFO", "STREAM", "brink:purge"))["last-generated-id"]})

    def stop(self):
        self.process.stop()

    def kill(self):
        self.process.kill()

    def pause(self):
        self.process.pause()

    def resume(self):
        self.process.resume()

    def wipe(self):
        """Removes what a stopped server had on disk."""
        for entry in os.listdir(self.folder):
            path = os.path.join(self.folder, entry)
            if entry.startswith(("appendonly", "dump")):
                shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)


ENVIRONMENT = {
    "ASAN_OPTIONS": "abort_on_error=0:exitcode=99:detect_stack_use_after_return=1:allocator_may_return_null=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1:exitcode=99",
    "TSAN_OPTIONS": "halt_on_error=1:exitcode=99",
}


def program(name):
    path = os.path.join(BUILD, name)
    if not os.access(path, os.X_OK):
        raise AssertionError(f"{path} is not built")
    return path


class Node:
    """A brinkd with a configuration of its own in a directory of its own.

    Keywords: origins (of one site for all hosts), site (laid over that site), sites (instead of it), tls=True (an https
    listener with a certificate for localhost, 127.0.0.1 and test.example) or a list of name lists (one certificate each),
    redis (a Redis), disk=True or a size, shield (list of nodes or URLs, with secret), tier=True (to be a shield),
    name, workers, config (laid over everything). start=False: only write the file; raw: the text of the file;
    prefix: words before the command (they must end in an exec).

    restart() keeps ports, state and disk. node.port, node.tls_port, node.admin_port; node.get(…), node.h2(…),
    node.admin(…), node.purge(…)."""

    def __init__(self, origins=(), site=None, sites=None, tls=None, redis=None, disk=None, shield=None, tier=None,
                 secret="the tier's secret\n", name="edge-1", workers=2, config=None, start=True, ready=True, raw=None, env=None, prefix=()):
        self.name, self.folder, self.env, self.prefix = name, temp_dir(f"brink-{name}-"), dict(env or {}), list(prefix)
        self.port, self.admin_port, self.tls_port = free_port(), free_port(), None
        self.config_path = os.path.join(self.folder, "brink.yaml")
        self.access_log = os.path.join(self.folder, "access.log")
        self.disk_path = os.path.join(self.folder, "disk")
        self.state_path = os.path.join(self.folder, "state")
        listen = [{"address": f"127.0.0.1:{self.port}"}]
        if tls:
            self.tls_port = free_port()
            sets = [["localhost", "127.0.0.1", "test.example"]] if tls is True else tls
            pairs = [authority().certificate(list(names)) for names in sets]
            listen.append({"address": f"127.0.0.1:{self.tls_port}",
                           "certificates": [{"certificate": c, "key": k} for c, k in pairs]})
        self.config = {
            "node": name, "workers": workers, "state": self.state_path, "drain": "3s", "listen": listen,
            "admin": {"address": f"127.0.0.1:{self.admin_port}",
                      "tokens": [{"name": "live", "sha256": sha256(TOKEN), "allow": ["purge", "read"]}]},
            "memory": {"size": "64MiB"},
            "sites": sites if sites is not None else [merge({"hosts": ["*"], "origins": list(origins)}, site or {})],
            "log": {"access": self.access_log, "format": "json"},
        }
        if disk:
            os.makedirs(self.disk_path, exist_ok=True)
            self.config["disk"] = {"path": self.disk_path, "size": disk if isinstance(disk, str) else "256MiB"}
        if redis:
            self.config["purge"] = {"redis": redis.url}
        if shield or tier:
            path = os.path.join(self.folder, "tier.secret")
            with open(path, "w") as out:
                out.write(secret)
            os.chmod(path, 0o600)
            if shield:
                nodes = [n if isinstance(n, str) else f"http://127.0.0.1:{n.port}" for n in shield]
                self.config["shield"] = {"nodes": nodes, "secret_file": path, "fallback": "origin"}
            if tier:
                self.config["tier"] = {"secret_file": path}
        if config:
            self.config = merge(self.config, config)
        self.raw = raw
        self.process = None
        self.write()
        if start:
            self.start(ready)

    def write(self):
        """Writes the configuration file (again), after a change to self.config."""
        with open(self.config_path, "w") as out:
            out.write(self.raw if self.raw is not None else yaml(self.config).lstrip() + "\n")

    def check(self):
        """brinkd -t: (exit code, stderr)."""
        done = subprocess.run([program("brinkd"), "-t", "-c", self.config_path], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              cwd=self.folder, env=dict(os.environ, **ENVIRONMENT), timeout=60)
        return done.returncode, done.stderr.decode("utf-8", "replace")

    def launch(self):
        """Starts the process and waits for nothing."""
        self.process = Process(self.name, [*self.prefix, program("brinkd"), "-c", self.config_path], self.folder, env=dict(ENVIRONMENT, **self.env),
                               graceful=True)
        return self

    def start(self, ready=True):
        self.launch()
        end = time.monotonic() + 30 * SLOW
        path = "/readyz" if ready else "/healthz"
        while True:
            if not self.process.alive:
                code = self.process.child.returncode
                self.process.gone()
                raise AssertionError(f"{self.name} ended with {code} at its start:\n{tail(self.process.log)}")
            try:
                if fetch(self.admin_port, path, timeout=5).status == 200:
                    return self
            except (OSError, Incomplete):
                pass
            if time.monotonic() > end:
                raise AssertionError(f"{self.name} is not ready ({path}):\n{tail(self.process.log)}")
            time.sleep(0.02)

    def stop(self):
        code = self.process.stop()
        assert code == 0, f"{self.name} ended with {code}:\n{tail(self.process.log)}"

    def kill(self):
        self.process.kill()

    def restart(self, ready=True):
        if self.process.alive:
            self.stop()
        return self.start(ready)

    @property
    def log(self):
        return self.process.log

    @property
    def pid(self):
        return self.process.pid

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def get(self, path, method="GET", headers=(), body=None, host="test.example", timeout=30):
        return fetch(self.port, path, method, headers, body, host, timeout=timeout)

    def head(self, path, **more):
        return self.get(path, method="HEAD", **more)

    def conn(self, timeout=30):
        return Conn(self.port, timeout=timeout)

    def h2(self, tls=True, sni="localhost", **more):
        if not tls:
            return H2(self.port, **more)
        return H2(self.tls_port, tls=tls_context(authority().pem, alpn=["h2"]), sni=sni, **more)

    def https(self, path, sni="localhost", **more):
        return fetch(self.tls_port, path, tls=tls_context(authority().pem), sni=sni, **more)

    def admin(self, path, method="GET", body=None, token=TOKEN, headers=(), timeout=30):
        pairs = list(headers.items()) if isinstance(headers, dict) else list(headers)
        if token:
            pairs.append(("Authorization", f"Bearer {token}"))
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        if body is not None and not any(k.lower() == "content-type" for k, _ in pairs):
            pairs.append(("Content-Type", "application/json"))
        return fetch(self.admin_port, path, method, pairs, body.encode() if isinstance(body, str) else body,
                     host=f"127.0.0.1:{self.admin_port}", timeout=timeout)

    def purge(self, **body):
        """POST /v1/purge; asserts that it was accepted."""
        r = self.admin("/v1/purge", "POST", body)
        assert r.status in (200, 202), r
        return r.json

    def purge_everywhere(self, **body):
        """A purge that Redis and all nodes have when this returns; the answer, or the receipt. An answer waits 250 ms for Redis,
        which may be too short on a busy machine, and says so; then the receipt tells the rest."""
        r = self.admin("/v1/purge", "POST", {"wait": "fleet", "timeout": "10s"} | body)
        assert r.status in (200, 504), r
        if r.status == 200 and r.json["durable"] == "redis":
            return r.json
        return eventually("all have it", lambda: (lambda j: j if j["durable"] == "redis" and not j["missing"] else None)(
            self.admin(f"/v1/purge/{r.json['id']}").json), timeout=30)

    def status(self, timeout=30):
        r = self.admin("/v1/status", timeout=timeout)
        assert r.status == 200, r
        return r.json

    def metrics(self):
        """{"brink_requests_total{result=\\"hit\\",site=\\"*\\"}": 3.0, …} with labels in order of their names."""
        r = self.admin("/metrics", token=None)
        assert r.status == 200, r
        return parse_metrics(r.text)

    def metric(self, name, **labels):
        """The sum of all samples of that name whose labels have these values."""
        total = 0.0
        for key, value in self.metrics().items():
            got, _, rest = key.partition("{")
            have = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', rest))
            if got == name and all(have.get(k) == v for k, v in labels.items()):
                total += value
        return total

    def access(self):
        """The lines of the access log, parsed."""
        with open(self.access_log) as log:
            return [json.loads(line) for line in log.read().splitlines()]


def parse_metrics(text):
    samples = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        match = re.fullmatch(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)(?: [0-9]+)?", line)
        assert match, f"no Prometheus sample: {line!r}"
        labels = sorted(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2] or ""))
        key = match[1] + ("{" + ",".join(f'{k}="{v}"' for k, v in labels) + "}" if labels else "")
        assert key not in samples, f"sample twice: {key}"
        samples[key] = float(match[3])
    return samples
