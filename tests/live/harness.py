"""What the live tests stand on: real nodes, real Redis, origins that do as they are told, and clients that show every byte.

A test file is a plain script. Its functions named test_* run in the order of the file; each starts what it needs and need
not stop it: the runner ends everything by process id after each test, and fails the test if a node died, left a
sanitizer's report, or did not end by itself when asked to. What setup() starts stays for the whole file.

    from harness import *

    def test_second_request_is_a_hit():
        origin = Origin()
        origin.on("/a", body=b"hello", headers={"Cache-Control": "max-age=60"})
        node = Node(origins=[origin.url])
        assert node.get("/a").x_cache == "MISS"
        assert node.get("/a").x_cache == "HIT"
        assert origin.count("/a") == 1

    if __name__ == "__main__":
        main()

BRINK_BUILD names the build directory (else `build` beside the tree). Arguments choose tests by a part of their name.
"""
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import traceback

from processes import *
from clients import *
from origins import *
from nodes import *


class Skip(Exception):
    """Raised by a test that can't run here (say, without IPv6)."""


def main(limit=120):
    module = sys.modules["__main__"]
    tests = [(name, item) for name, item in vars(module).items() if name.startswith("test_") and callable(item)]
    chosen = sys.argv[1:]
    if chosen:
        tests = [(n, t) for n, t in tests if any(part in n for part in chosen)]
        if not tests:
            print(f"no test has {' or '.join(chosen)} in its name")
            sys.exit(2)
    failed = skipped = 0

    def overdue(_signal, _frame):
        raise AssertionError(f"the test took longer than {limit * SLOW:.0f} s")

    signal.signal(signal.SIGALRM, overdue)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if hasattr(module, "setup"):
        module.setup()
    kept = list(running)
    for name, test in tests:
        began = time.monotonic()
        wrong = note = ""
        signal.setitimer(signal.ITIMER_REAL, limit * SLOW)
        try:
            test()
        except Skip as reason:
            note = str(reason)
        except KeyboardInterrupt:
            raise
        except BaseException:
            wrong = traceback.format_exc()
        signal.setitimer(signal.ITIMER_REAL, 0)
        if wrong:
            for item in running:
                if isinstance(item, Process) and item.name != "redis":
                    wrong += f"\n--- end of the log of {item.name}:\n{tail(item.log, 25)}\n"
        for problem in stop_all(keep=kept):
            wrong += "\n" + problem
        for item in kept:
            if isinstance(item, Process) and not item.alive:
                wrong += f"\n{item.name} has ended with {item.child.returncode}:\n{tail(item.log)}"
        took = time.monotonic() - began
        if wrong:
            failed += 1
            print(f"FAIL {name} ({took:.1f} s)\n{wrong}", flush=True)
        elif note:
            skipped += 1
            print(f"skip {name}: {note}", flush=True)
        else:
            print(f"ok   {name} ({took:.1f} s)", flush=True)
    for problem in stop_all():
        failed += 1
        print(f"FAIL at the end of the file\n{problem}")
    print(f"{len(tests) - failed - skipped} ok, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed else 0)
