"""What a hostile client may do over HTTP/2, frame by frame. Every attack here does harm to the library without the guard."""
from guard import *


def reopen_window(probe):
    """A stream is finished, its last bytes are stuck in the socket, and its window, just used up, is opened again."""
    size = 60000
    c = Raw(probe.port, settings=setting(4, size), receive_buffer=2048)
    c.request(1, f"/b/{size}")
    time.sleep(0.3)
    c.send(frame(WINDOW, 0, 1, struct.pack(">I", 1000)))
    time.sleep(0.3)
    return c


def test_window_of_a_finished_stream_reopened_by_window_update():
    probe = Probe("-s", "2048")
    c = reopen_window(probe)
    assert len(c.answer(1)[2]) == 60000
    probe.lives()


def test_window_of_a_finished_stream_reopened_by_settings():
    probe = Probe("-s", "2048")
    c = Raw(probe.port, settings=setting(4, 60000), receive_buffer=2048)
    c.request(1, "/b/60000")
    time.sleep(0.3)
    c.send(frame(SETTINGS, payload=setting(4, 1)) + frame(SETTINGS, payload=setting(4, 60000)) +
           frame(SETTINGS, payload=setting(4, 65535)))
    assert len(c.answer(1)[2]) == 60000
    probe.lives()


def test_without_the_guard_the_same_kills_the_server():
    probe = Probe("-u", "-s", "2048", expect_death=True)

    def killed():  # the window must be opened while the last bytes are stuck
        try:
            reopen_window(probe)
        except OSError:
            pass
        return not probe.process.alive

    eventually("the unguarded server dies", killed, timeout=30)
    assert "Assertion" in probe.process.log
    probe.process.gone()


def test_continuation_after_goaway_does_not_spin():
    probe = Probe()
    c = Raw(probe.port)
    c.request(1, "/hold")
    c.request(3, "/echo", end=False, method="POST")
    time.sleep(0.2)
    c.send(frame(HEADERS, END_STREAM, 3, b""))    # trailers, not ended
    fetch(probe.port, "/drain")
    c.frames(lambda f: f[0] == GOAWAY and f[3][:4] != b"\x7f\xff\xff\xff")
    c.send(frame(CONTINUATION, 0, 3, b"\0"))
    assert c.frames()[-1] is None
    probe.process.wait(20)


def test_early_hints():
    probe = Probe()
    c = Raw(probe.port)
    c.request(1, "/hints")
    _, fields, body, _ = c.answer(1)
    assert [dict(f)[":status"] for f in fields] == ["103", "200"] and body == b"hinted"
    assert dict(fields[0]) == {":status": "103", "link": "</a.css>; rel=preload"}


def test_a_cut_response_is_reset():
    probe = Probe()
    c = Raw(probe.port)
    c.send(frame(WINDOW, 0, 0, struct.pack(">I", 1 << 24)))
    for stream, path in ((1, "/abort/60000"), (3, "/cabort/1000"), (5, "/abort/0")):
        c.request(stream, path)
        assert c.answer(stream)[3] == 2
    c.request(7)
    assert c.answer(7)[0] == 200


def test_upload_over_the_limit():
    probe = Probe("-b", "1000")
    c = Raw(probe.port)
    c.request(1, "/echo", end=False, method="POST")
    c.send(frame(DATA, END_STREAM, 1, b"a" * 1002))
    assert c.answer(1)[0] == 413
    c.request(3, "/echo", end=False, method="POST")
    c.send(frame(DATA, END_STREAM, 3, b"a" * 1000))
    assert c.answer(3)[0] == 200


if __name__ == "__main__":
    main()
