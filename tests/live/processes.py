"""Child processes, ports, temporary directories and certificates of the live tests. Everything started is in `running` and is
ended by process id; nothing outlives the test, even one that was killed."""
import atexit
import ctypes
import fcntl
import hashlib
import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("BRINK_BUILD", os.path.join(ROOT, "build"))


def _sanitized():
    try:
        with open(os.path.join(BUILD, "CMakeCache.txt")) as cache:
            return re.search(r"^BRINK_SANITIZE:\w+=(.*)$", cache.read(), re.M).group(1).strip() not in ("", "OFF")
    except (OSError, AttributeError):
        return False


SANITIZED = _sanitized()
# Waits are ceilings, not delays: they can be generous. SLOW stretches the few bounds that are about speed.
SLOW = 4.0 if SANITIZED or os.environ.get("CI") else 1.5


# A thousand clients are a thousand descriptors, here and in the node.
_files = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(65536, _files[1]) if _files[1] != resource.RLIM_INFINITY else 65536, _files[1]))


def eventually(what, condition, timeout=10.0, step=0.02):
    """Waits until condition() is true and returns its value; an exception in it counts as not yet."""
    end = time.monotonic() + timeout * (2 if SANITIZED else 1)
    last = None
    while True:
        try:
            value = condition()
            if value:
                return value
            last = value
        except (OSError, AssertionError, ValueError, KeyError) as error:
            last = error
        if time.monotonic() > end:
            raise AssertionError(f"did not happen in time: {what} (last: {last!r})")
        time.sleep(step)


_ports = {}


def free_port():
    """A loopback port that no parallel test takes as well: a lock file is held on it as long as this process lives.
    Below the ephemeral range, so that no outgoing connection sits on it by chance."""
    folder = os.path.join(tempfile.gettempdir(), f"brink-ports-{os.getuid()}")
    os.makedirs(folder, exist_ok=True)
    for _ in range(2000):
        port = random.SystemRandom().randrange(12000, 32000)
        if port in _ports:
            continue
        lock = open(os.path.join(folder, str(port)), "w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
                try:
                    probe = socket.socket(family)
                except OSError:
                    continue
                with probe:
                    try:
                        probe.bind((address, port))
                    except OSError as error:
                        if family == socket.AF_INET6 and error.errno == 99:
                            continue
                        raise
        except OSError:
            lock.close()
            continue
        _ports[port] = lock
        return port
    raise AssertionError("no free port")


def have_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


def temp_dir(prefix="brink-live-"):
    path = tempfile.mkdtemp(prefix=prefix)
    temporary.append(path)
    return path


def sha256(text):
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


def yaml(value, indent=0):
    """The little YAML that a configuration needs. Lists of scalars are written in flow style, texts always quoted."""
    pad = "  " * indent
    if isinstance(value, dict):
        if not value:
            return " {}"
        out = ""
        for key, item in value.items():
            out += f"\n{pad}{key}:" + yaml(item, indent + 1)
        return out
    if isinstance(value, (list, tuple)):
        if not value:
            return " []"
        if not any(isinstance(item, (dict, list)) for item in value):
            return " [" + ", ".join(yaml(item).strip() for item in value) + "]"
        out = ""
        for item in value:
            text = yaml(item, indent + 1)
            out += f"\n{pad}-" + (" " + text.lstrip() if isinstance(item, dict) else text)
        return out
    if value is True or value is False:
        return " true" if value else " false"
    if value is None:
        return " ~"
    if isinstance(value, (int, float)):
        return f" {value}"
    return " " + json.dumps(str(value))


def merge(base, extra):
    """base with extra laid over it, dictionaries member by member; None removes a member."""
    out = dict(base)
    for key, value in extra.items():
        if value is None:
            out.pop(key, None)
        elif isinstance(value, dict) and isinstance(out.get(key), dict):
            out[key] = merge(out[key], value)
        else:
            out[key] = value
    return out


running = []     # everything started and not yet stopped, in order of start
temporary = []   # directories to remove
_libc = ctypes.CDLL(None)


def _die_with_parent():
    _libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: nothing outlives a test that was killed


def _preparation():
    # The signal comes when the starting *thread* ends, so only children of the main thread can ask for it.
    return _die_with_parent if threading.current_thread() is threading.main_thread() else None


SANITIZER_REPORT = re.compile(
    r"ERROR: (Address|Leak|Thread|Memory)Sanitizer|WARNING: ThreadSanitizer|runtime error: |"
    r"SUMMARY: \w+Sanitizer|broken invariant|Assertion .* failed|stack smashing|double free|corrupted (size|double)")


class Process:
    """One child process with its output in a file. Ended by its id, never by name. graceful: it answers SIGTERM with exit 0."""

    def __init__(self, name, argv, folder, env=None, cwd=None, graceful=False):
        self.name, self.argv, self.folder, self.graceful = name, argv, folder, graceful
        self.log_path = os.path.join(folder, f"{name}.{random.randrange(1 << 30):x}.stderr")
        self.out_path = os.path.join(folder, f"{name}.stdout")
        with open(self.log_path, "wb") as log, open(self.out_path, "ab") as out:
            self.child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=log, cwd=cwd or folder,
                                          env=dict(os.environ, **(env or {})), preexec_fn=_preparation())
        self.pid = self.child.pid
        self.killed = False
        running.append(self)

    @property
    def log(self):
        with open(self.log_path, "rb") as log:
            return log.read().decode("utf-8", "replace")

    @property
    def stdout(self):
        with open(self.out_path, "rb") as out:
            return out.read().decode("utf-8", "replace")

    @property
    def alive(self):
        return self.child.poll() is None

    def signal(self, number):
        if self.alive:
            self.child.send_signal(number)

    def wait(self, timeout=30):
        return self.child.wait(timeout)

    def gone(self):
        if self in running:
            running.remove(self)

    def kill(self):
        """kill -9, and wait for it."""
        self.killed = True
        self.signal(signal.SIGKILL)
        self.child.wait()
        self.gone()
        self.check_log()

    def pause(self):
        """SIGSTOP, and waits until every thread has stopped: on a busy machine some go on for milliseconds."""
        self.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self):
        self.signal(signal.SIGCONT)

    def stop(self, timeout=40):
        """SIGTERM, then the exit code. One that does not end by itself is killed, and that is an error."""
        if self not in running:
            return self.child.returncode
        self.resume()
        self.signal(signal.SIGTERM)
        try:
            self.child.wait(timeout)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            self.gone()
            raise AssertionError(f"{self.name} did not end within {timeout} s of SIGTERM:\n{tail(self.log)}") from None
        self.gone()
        self.check_log()
        return self.child.returncode

    def end_of_test(self):
        """Stops it; an error if it had been ended by a signal that nobody here sent, or does not end well now."""
        alive, code = self.alive, self.stop()
        if not self.killed and (code < 0 and code != -signal.SIGTERM or code == 99 or alive and code != 0 and self.graceful):
            raise AssertionError(f"{self.name} {'ended with' if alive else 'had died with'} {code}:\n{tail(self.log)}")

    def abandon(self):
        self.child.kill()
        self.child.wait()

    def check_log(self):
        text = self.log
        found = SANITIZER_REPORT.search(text)
        if found:
            raise AssertionError(f"{self.name}: report in its log:\n{text[max(0, found.start() - 400):found.start() + 6000]}")


def tail(text, lines=40):
    return "\n".join(text.splitlines()[-lines:])


def stop_all(keep=()):
    """Ends everything started and not in keep, newest first. Returns what went wrong, as text."""
    wrong = []
    for item in [x for x in reversed(running) if x not in keep]:
        try:
            item.end_of_test()
        except AssertionError as error:
            wrong.append(str(error))
        except Exception:
            wrong.append(traceback.format_exc())
        if item in running:
            running.remove(item)
    return wrong


@atexit.register
def _last_sweep():
    for item in list(running):
        try:
            item.abandon()
        except Exception:
            pass
    if not os.environ.get("BRINK_KEEP"):
        for path in temporary:
            shutil.rmtree(path, ignore_errors=True)




class Authority:
    """A certificate authority for tests: ca.certificate(["localhost", "127.0.0.1"]) returns (certificate, key)."""

    def __init__(self, folder=None):
        self.folder = folder or temp_dir("brink-ca-")
        self.pem = os.path.join(self.folder, "ca.pem")
        self.key = os.path.join(self.folder, "ca.key")
        self.count = 0
        self._openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
                      "-subj", "/CN=brink test authority", "-keyout", self.key, "-out", self.pem)

    def _openssl(self, *arguments):
        subprocess.run(["openssl", *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def certificate(self, names, rsa=False):
        self.count += 1
        stem = os.path.join(self.folder, f"{self.count}-{re.sub('[^a-z0-9.]', '_', names[0])}")
        alternatives = ",".join(("IP:" if re.fullmatch(r"[0-9.]+|[0-9a-f:]*:[0-9a-f:]*", n) else "DNS:") + n for n in names)
        with open(stem + ".ext", "w") as extensions:
            extensions.write(f"subjectAltName={alternatives}\nbasicConstraints=CA:FALSE\n")
        kind = ["rsa:2048"] if rsa else ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        self._openssl("req", "-newkey", *kind, "-nodes", "-subj", f"/CN={names[0]}",
                      "-keyout", stem + ".key", "-out", stem + ".csr")
        self._openssl("x509", "-req", "-in", stem + ".csr", "-CA", self.pem, "-CAkey", self.key, "-CAcreateserial",
                      "-days", "30", "-extfile", stem + ".ext", "-out", stem + ".pem")
        return stem + ".pem", stem + ".key"


_authority = None


def authority():
    """The authority of this test file, made once."""
    global _authority
    if _authority is None or not os.path.exists(_authority.pem):
        _authority = Authority()
    return _authority
