"""The harness itself: a process that left a sanitizer's report, or died, fails its test, whatever the test thought of it."""
from harness import *


def judged(script, act=lambda p: None, graceful=True):
    """What the runner says of a process that ran this shell script."""
    before = list(running)
    p = Process("suspect", ["sh", "-c", script], temp_dir(), graceful=graceful)
    eventually("it is on its way", lambda: "ready" in p.stdout or not p.alive)
    act(p)
    return "\n".join(stop_all(keep=before))


WELL = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done"


def test_reports_are_seen():
    assert judged(WELL) == ""
    for report in ("==1==ERROR: AddressSanitizer: heap-use-after-free", "==1==ERROR: LeakSanitizer: detected memory leaks", "a.c:1:2: runtime error: shift",
                   "broken invariant: x (a.c:1)", "a.c:1: f: Assertion x failed."):
        assert "report in its log" in judged(f'echo "{report}" >&2; {WELL}'), report
    try:
        judged(f"echo 'x.c:1:1: runtime error: y' >&2; {WELL}", lambda p: p.kill())
        raise AssertionError("a process that was killed is looked at, too")
    except AssertionError as error:
        assert "report in its log" in str(error), error


def test_deaths_are_seen():
    assert "had died with -11" in judged("echo ready; kill -SEGV $$")
    assert "had died with 99" in judged("echo ready; exit 99")
    assert "ended with 3" in judged("trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done")


def test_what_the_nodes_are_told():
    """A report ends a node with 99, and nothing is recovered from."""
    assert "exitcode=99" in ENVIRONMENT["ASAN_OPTIONS"] and "halt_on_error=1" in ENVIRONMENT["UBSAN_OPTIONS"]
    assert Node([Origin().url]).process.argv[0].startswith(BUILD)


if __name__ == "__main__":
    main()
