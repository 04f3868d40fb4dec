#!/usr/bin/python3
"""A network that can fail: TCP proxies, one a link, in a process of their own. Commands on stdin, one a line, each answered by "ok":

    open NAME TARGET_PORT      listens on a free loopback port; answers "ok PORT"
    pass NAME                  as if it weren't there
    cut NAME                   resets what is open and what comes
    hold NAME                  accepts, and lets nothing through in either direction, without a word
    deaf NAME                  lets nothing back: what the dialling side sends still arrives
    delay NAME MS              each piece that much later

What was held is delivered when the link passes again: a TCP connection loses bytes only together with itself."""
import asyncio
import socket
import struct
import sys


class Link:
    def __init__(self, target):
        self.target, self.mode, self.delay = target, "pass", 0
        self.changed = asyncio.Event()
        self.writers = set()

    def set(self, mode, delay=0):
        self.mode, self.delay = mode, delay / 1000
        self.changed.set()
        self.changed = asyncio.Event()
        if mode == "cut":
            for writer in self.writers:
                reset(writer)

    async def gate(self, back):
        while self.mode == "hold" or (self.mode == "deaf" and back):
            await self.changed.wait()
        if self.delay:
            await asyncio.sleep(self.delay)

    async def accept(self, reader, writer):
        self.writers.add(writer)
        there = None
        try:
            if self.mode == "cut":
                return
            await self.gate(False)
            back, there = await asyncio.open_connection("127.0.0.1", self.target)
            self.writers.add(there)
            await asyncio.gather(self.pump(reader, there, False), self.pump(back, writer, True))
        except OSError:
            pass
        finally:
            for w in (writer, there):
                if w:
                    reset(w)
                    self.writers.discard(w)

    async def pump(self, reader, writer, back):
        while True:
            data = await reader.read(262144)
            await self.gate(back)
            if not data or self.mode == "cut":
                raise ConnectionResetError
            writer.write(data)
            await writer.drain()


def reset(writer):
    sock = writer.get_extra_info("socket")
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass
    writer.transport.abort()


async def main():
    links = {}
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)  # a peer that was killed
    stdin = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    while True:
        words = (await stdin.readline()).decode().split()
        if not words:
            return
        answer = "ok"
        if words[0] == "open":
            link = links[words[1]] = Link(int(words[2]))
            server = await asyncio.start_server(link.accept, "127.0.0.1", 0)
            answer = f"ok {server.sockets[0].getsockname()[1]}"
        else:
            links[words[1]].set(words[0], *[int(w) for w in words[2:]])
        print(answer, flush=True)


asyncio.run(main())
