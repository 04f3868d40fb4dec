"""A network that fails on purpose: a TCP proxy before one server. It knows nothing of what it carries, so the same faults
come over HTTP/1.1, HTTP/2 and TLS.

    proxy = Fault(origin.port)
    node = Node(origins=[proxy.url])
    proxy.become("cut", after=30_000)      # of what the server sends on each connection, the next ones and the open ones
    proxy.become("pass")

pass        as if it weren't there
refuse      nobody listens: the kernel refuses connections; open ones are reset
hole        connections are accepted, and nothing moves in either direction
deaf        what is sent to the server arrives, nothing comes back
delay       each answer comes `seconds` later
drip        what comes back comes `rate` bytes a second
cut, reset  ends with FIN or RST after `after` bytes came back (0: at once, as soon as something is asked)
stall       after `after` bytes nothing more comes back
garbage     after `after` bytes came back, rubbish follows instead"""
import os
import select
import socket
import threading
import time

from processes import free_port, running

LINGER_RST = b"\1\0\0\0\0\0\0\0"


class Fault:
    def __init__(self, target, scheme="http", host="127.0.0.1"):
        self.target, self.mode, self.args = target, "pass", {}
        self.connections, self.open, self.lock = 0, set(), threading.Lock()
        self.port = free_port()  # which nobody takes while "refuse" leaves it
        self.listener = socket.create_server(("127.0.0.1", self.port), backlog=256)
        self.url = f"{scheme}://{host}:{self.port}"
        self.over = False
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()
        running.append(self)

    def become(self, mode, **args):
        self.args, self.mode = args, mode
        if mode == "refuse":
            self._stop_listening()
            self._drop(reset=True)
        elif self.listener is None:
            self.listener = socket.socket()
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.listener.bind(("127.0.0.1", self.port))
            self.listener.listen(256)
            threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()
        return self

    def stop(self):
        self.over = True
        self._stop_listening()
        self._drop(reset=False)

    end_of_test = abandon = stop

    def _stop_listening(self):
        listener, self.listener = self.listener, None
        if listener:
            try:
                listener.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            listener.close()

    def _drop(self, reset):
        with self.lock:
            pairs, self.open = self.open, set()
        for pair in pairs:
            for sock in pair:
                self._end(sock, reset)

    @staticmethod
    def _end(sock, reset):
        """Wakes whoever reads it; the owner of the pair closes."""
        try:
            if reset:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RST)
            sock.shutdown(socket.SHUT_RD)
        except OSError:
            pass

    def _accept(self, listener):
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near):
        far = None
        try:
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            far = socket.create_connection(("127.0.0.1", self.target), 10)
            far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.open.add((near, far))
            self._pump(near, far)
        except OSError:
            pass
        finally:
            with self.lock:
                self.open.discard((near, far))
            near.close()
            if far:
                far.close()

    def _pump(self, near, far):
        back = counted = 0  # what came back under the mode of now
        mode = self.mode
        while not self.over:
            if self.mode != mode:
                mode, counted = self.mode, 0
            after, sources = self.args.get("after", 0), []
            if mode != "hole":
                sources.append(near)
            if mode not in ("hole", "deaf") and not (mode == "stall" and counted >= after):
                sources.append(far)
            ready, _, _ = select.select(sources, [], [], 0.02)
            if self.mode != mode:
                continue
            if near in ready:
                data = near.recv(262144)
                if not data:
                    return
                if mode in ("cut", "reset") and after == 0:
                    return self._finish(near, mode)
                if mode == "garbage" and after == 0:
                    near.sendall(os.urandom(3000))
                    return time.sleep(0.1)
                far.sendall(data)
            if far in ready:
                most = min(262144, after - counted) if mode in ("cut", "reset", "stall", "garbage") and after > 0 else \
                    max(1, self.args["rate"] // 20) if mode == "drip" else 262144
                data = far.recv(most)
                if not data:
                    return
                if mode == "delay":
                    time.sleep(self.args["seconds"])
                if mode == "drip":
                    time.sleep(0.05)
                near.sendall(data)
                back += len(data)
                counted += len(data)
                if mode in ("cut", "reset") and counted >= after:
                    time.sleep(0.05)  # so that what was sent has been read: a reset throws the rest away
                    return self._finish(near, mode)
                if mode == "garbage" and counted >= after:
                    near.sendall(os.urandom(3000))
                    return time.sleep(0.1)

    @staticmethod
    def _finish(near, mode):
        if mode == "reset":
            near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RST)
