"""The process: what the kernel refuses it, what it tells the service manager, and what it does with a bad file."""
from harness import *
from test_upgrade import successor


def origin():
    o = Origin()
    o.on("/a", body=b"a", headers={"Cache-Control": "max-age=600"})
    return o


def fields(path):
    with open(path) as status:
        return dict(line.rstrip("\n").split(":\t", 1) for line in status if ":\t" in line)


def tasks(pid):
    return {int(t): fields(f"/proc/{pid}/task/{t}/status") for t in os.listdir(f"/proc/{pid}/task")}


class Manager:
    """The socket of a service manager (sd_notify)."""

    def __init__(self):
        self.path = os.path.join(temp_dir("brink-notify-"), "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(30)
        self.env = {"NOTIFY_SOCKET": self.path}

    def next(self):
        return self.socket.recv(100).decode()


def test_every_thread_is_confined():
    node, mine = Node([origin().url], disk=True, redis=Redis()), fields("/proc/self/status")
    now = tasks(node.pid)
    assert len(now) > 5 and all(t["Seccomp"] == "2" and t["NoNewPrivs"] == "1" for t in now.values()), now
    if "Seccomp_filters" in mine:
        filters = {pid: int(t["Seccomp_filters"]) - int(mine["Seccomp_filters"]) for pid, t in now.items()}
        assert filters.pop(node.pid) == 1, "the thread that takes signals may start a new binary"
        assert set(filters.values()) == {2}, filters
    with open(f"/proc/{node.pid}/maps") as maps:
        both = [line for line in maps if "w" in line.split()[1] and "x" in line.split()[1]]
    assert both == [], "no memory is writable and executable"
    assert node.get("/a").status == 200 and node.get("/a").own["hit"]
    if not mine.get("Seccomp", "0") == "0":
        return
    free = Node([origin().url], name="edge-2", config={"sandbox": False})
    assert all(t["Seccomp"] == "0" for t in tasks(free.pid).values())


def test_the_manager_hears_of_start_reload_and_stop():
    manager = Manager()
    node = Node([origin().url], env=manager.env)
    assert manager.next() == "READY=1"
    node.process.signal(signal.SIGHUP)
    eventually("it was reloaded", lambda: node.metric("brink_reloads_total", outcome="ok") == 1)
    node.stop()
    assert manager.next() == "STOPPING=1"


def test_the_manager_hears_of_the_new_process():
    manager = Manager()
    node = Node([origin().url], env=manager.env)
    assert manager.next() == "READY=1"
    old, new = node.pid, None
    node.process.signal(signal.SIGUSR2)
    try:
        said = manager.next()
        new = eventually("a new process", lambda: successor(node, old))
        assert said == f"MAINPID={new}", said
        assert manager.next() == "READY=1"
        assert all(t["Seccomp"] == "2" for t in tasks(new).values())
        assert node.process.wait(30) == 0
        assert node.get("/a").status == 200
    finally:
        if new:
            os.kill(new, signal.SIGTERM)
            eventually("the new process ends", lambda: not os.path.exists(f"/proc/{new}"), timeout=20)


def test_a_bad_file_hands_nothing_over():
    node = Node([origin().url])
    good = node.config
    node.config = merge(good, {"workers": "many"})
    node.write()
    node.process.signal(signal.SIGUSR2)
    eventually("it says so", lambda: "not handed over, this process goes on" in node.log and "workers" in node.log)
    assert node.get("/a").status == 200 and node.process.alive and successor(node, node.pid) is None
    node.config = good
    node.write()


def test_command_line():
    def run(*arguments):
        done = subprocess.run([program("brinkd"), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60, text=True,
                              env=dict(os.environ, **ENVIRONMENT))
        return done.returncode, done.stdout, done.stderr
    node = Node([origin().url], start=False)
    code, out, err = run("--version")
    assert code == 0 and re.fullmatch(r"brinkd \d+\.\d+\.\d+\n", out) and not err
    code, out, err = run("-t", "-c", node.config_path)
    assert code == 0 and not err, (code, out, err)
    node.config = merge(node.config, {"listne": []})
    node.write()
    code, out, err = run("-t", "-c", node.config_path)
    assert code == 2 and re.match(re.escape(node.config_path) + r":\d+:\d+: .*listen", err), (code, out, err)
    code, out, err = run("-c", node.config_path)
    assert code == 2 and ":" in err
    assert run()[0] == 2 and run("-t")[0] == 2 and run("-x")[0] == 2


def test_the_unit_keeps_its_sandbox():
    """systemd's own judgement of the shipped unit, where systemd is."""
    if not shutil.which("systemd-analyze"):
        raise Skip("no systemd-analyze here")
    unit = os.path.join(ROOT, "configs", "brinkd.service")
    done = subprocess.run(["systemd-analyze", "security", "--offline=yes", "--threshold=20", "--no-pager", unit], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=60)
    level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert level, done.stdout[-500:]
    assert done.returncode == 0 and float(level[1]) < 2.0, level[0]


if __name__ == "__main__":
    main()
