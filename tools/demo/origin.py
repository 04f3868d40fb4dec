#!/usr/bin/env python3
"""The demo origin: a small shop whose every answer takes 300 ms, so that a cache can be felt.

    origin.py [--address 127.0.0.1] [--port 3000] [--delay 0.3]

It says what a good origin says: hashed assets are immutable, pages and the API carry s-maxage, tags and permission to be
served stale, an ETag gets a 304. Answers contain the time and a number that grows, so a fresh one is told from a stored
one. SIGUSR1 makes it go away (connections are refused), the next SIGUSR1 brings it back. Only the standard library.
"""
import argparse
import email.utils
import hashlib
import itertools
import json
import math
import signal
import socket
import struct
import sys
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ThreadingMixIn

PRODUCTS = {
    "121": {"name": "Water butt", "price": 89.0},
    "122": {"name": "Mooring rope, 20 m", "price": 34.5},
    "123": {"name": "Rubber boots", "price": 49.9},
    "124": {"name": "Storm lantern", "price": 27.0},
}

CSS = """
:root { --ink: #17313e; --sea: #2f7f93; --foam: #eaf4f4; }
* { box-sizing: border-box; }
body { margin: 0; font: 17px/1.6 system-ui, sans-serif; color: var(--ink); background: var(--foam); }
header { background: var(--ink) center/cover; color: #fff; padding: 3rem 1.5rem; }
header img { height: 64px; vertical-align: middle; margin-right: 1rem; }
header h1 { display: inline; font-size: 2.4rem; vertical-align: middle; }
main { max-width: 64rem; margin: 0 auto; padding: 1.5rem; }
.photo { width: 100%; height: 14rem; object-fit: cover; border-radius: 12px; }
table { border-collapse: collapse; width: 100%; background: #fff; border-radius: 12px; overflow: hidden; }
td, th { text-align: left; padding: .5rem .7rem; font-size: .85rem; white-space: nowrap; border-bottom: 1px solid #d6e6e8; vertical-align: top; }
th { background: var(--sea); color: #fff; }
td:nth-child(5) { white-space: normal; width: 45%; }
td:last-child { white-space: normal; word-break: break-word; }
button { font: inherit; border: 0; border-radius: 8px; padding: .5rem 1.2rem; background: var(--sea); color: #fff; cursor: pointer; }
"""

SCRIPT = """
const paths = ['/', '/api/products/123', '/api/products', '/api/time', '/account'];
async function look(path) {
  const began = performance.now();
  const answer = await fetch(path); // 'no-store' here would ask the caches not to answer by themselves
  const text = await answer.text();
  return [path, answer.status, Math.round(performance.now() - began) + ' ms', answer.headers.get('x-cache') || '-',
          answer.headers.get('cache-status') || 'no cache in between', path.startsWith('/api') ? text.slice(0, 90) : text.length + ' bytes'];
}
async function all() {
  const body = document.querySelector('tbody');
  body.textContent = '';
  for (const path of paths) {
    const row = body.insertRow();
    for (const cell of await look(path)) row.insertCell().textContent = cell;
  }
}
document.querySelector('button').addEventListener('click', all);
all();
"""

LOGO = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 96 96" role="img" aria-label="brink">
<defs><linearGradient id="s" x2="0" y2="1"><stop stop-color="#8fd3d6"/><stop offset="1" stop-color="#2f7f93"/></linearGradient></defs>
<rect width="96" height="96" rx="20" fill="#fff"/>
<path d="M10 60 C 24 48, 34 72, 48 60 S 72 48, 86 60 L 86 86 L 10 86 Z" fill="url(#s)"/>
<path d="M18 58 V 22 h 22 v 36" fill="none" stroke="#17313e" stroke-width="7" stroke-linejoin="round"/>
</svg>
"""


def png(width, height):
    """A picture of a coast, drawn here so that the image has real bytes: some 65 KB."""
    rows = bytearray()
    for y in range(height):
        rows.append(0)
        v = y / height
        for x in range(width):
            u = x / width
            shore = 0.62 + 0.05 * math.sin(u * 9) + 0.02 * math.sin(u * 31)
            grain = ((x * 2654435761 ^ y * 40503) >> 7 & 15) - 8
            if v < 0.38:
                colour = (150 + 90 * v, 190 + 70 * v, 225 + 20 * v)
            elif v < shore:
                wave = 14 * math.sin(v * 160 + 5 * math.sin(u * 14))
                colour = (40 + wave, 120 + wave - 60 * (v - 0.38), 150 + wave)
            else:
                colour = (214 - 60 * (v - shore), 190 - 50 * (v - shore), 140)
            rows += bytes(max(0, min(255, int(c) + grain // 2)) for c in colour)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(bytes(rows), 6)) + chunk(b"IEND", b""))


def hashed(stem, suffix, data):
    return f"/static/{stem}.{hashlib.sha256(data).hexdigest()[:12]}.{suffix}"


class Shop:
    """What there is: fixed assets, and answers made anew each time."""

    def __init__(self):
        self.counter = itertools.count(1)
        self.started = time.time()
        css, script, logo, photo = CSS.encode(), SCRIPT.encode(), LOGO.encode(), png(480, 270)
        self.css, self.script, self.logo = hashed("shop", "css", css), hashed("shop", "js", script), hashed("logo", "svg", logo)
        immutable = "public, max-age=31536000, immutable"
        self.fixed = {
            self.css: (css, "text/css; charset=utf-8", immutable),
            self.script: (script, "text/javascript; charset=utf-8", immutable),
            self.logo: (logo, "image/svg+xml", immutable),
            "/photo.png": (photo, "image/png", "public, max-age=300, s-maxage=3600"),
            "/robots.txt": (b"User-agent: *\nAllow: /\n", "text/plain", "public, max-age=3600"),
        }

    def page(self):
        rows = "".join(f"<li>{p['name']}: {p['price']:.2f} (<a href=\"/api/products/{k}\">JSON</a>)</li>" for k, p in PRODUCTS.items())
        return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>The shop on the brink</title>
<meta name="viewport" content="width=device-width"><link rel="icon" href="{self.logo}"><link rel="stylesheet" href="{self.css}"></head>
<body><header><img src="{self.logo}" alt=""><h1>The shop on the brink</h1></header>
<main><p>This page was made by the origin at <b>{now()}</b> as its answer number <b>{next(self.counter)}</b>, and took it 300 ms.
Reload: while the cache holds it, neither changes.</p>
<p><img class="photo" src="/photo.png" alt="A coast" width="480" height="270"></p>
<ul>{rows}</ul>
<h2>What the cache says of each address</h2>
<table><thead><tr><th>Address</th><th>Status</th><th>Took</th><th>X-Cache</th><th>Cache-Status</th><th>Body</th></tr></thead><tbody></tbody></table>
<p><button>Again</button></p></main><script src="{self.script}"></script></body></html>
""".encode()

    def answer(self, path):
        """(status, body, type, Cache-Control, tags) for a path."""
        if path in self.fixed:
            body, kind, control = self.fixed[path]
            return 200, body, kind, control, "assets"
        if path == "/":
            return (200, self.page(), "text/html; charset=utf-8",
                    "public, max-age=0, s-maxage=30, stale-while-revalidate=60, stale-if-error=86400", "page products")
        if path == "/api/products":
            return (200, self.json(products=PRODUCTS), "application/json",
                    "public, max-age=0, s-maxage=60, stale-while-revalidate=60, stale-if-error=86400", "products")
        if path.startswith("/api/products/"):
            key = path.rsplit("/", 1)[1]
            if key in PRODUCTS:
                return (200, self.json(id=key, **PRODUCTS[key]), "application/json",
                        "public, max-age=0, s-maxage=60, stale-while-revalidate=60, stale-if-error=86400", f"product:{key} products")
            return 404, self.json(error="no such product"), "application/json", "public, s-maxage=5", f"product:{key}"
        if path == "/api/time":
            return 200, self.json(), "application/json", "public, max-age=0, s-maxage=5, stale-if-error=86400", "time"
        if path == "/account":
            return 200, self.json(account="yours alone"), "application/json", "private, no-store", ""
        return 404, b"There is no such page in this shop.\n", "text/plain; charset=utf-8", "public, s-maxage=5", "page"

    def json(self, **members):
        members.update(answer=next(self.counter), made_at=now())
        return (json.dumps(members) + "\n").encode()


def now():
    t = time.time()
    return time.strftime("%H:%M:%S", time.localtime(t)) + f".{int(t * 1000) % 1000:03d}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "brink-demo-shop", ""
    disable_nagle_algorithm = True
    timeout = 60
    wbufsize = 65536

    def do_GET(self):
        path = self.path.split("?")[0]
        time.sleep(self.server.delay)
        status, body, kind, control, tags = self.server.shop.answer(path)
        fixed = path in self.server.shop.fixed
        etag = '"' + hashlib.sha256(body).hexdigest()[:16] + '"'
        if fixed and etag in self.headers.get("If-None-Match", ""):
            status = 304
        self.send_response(status)
        self.send_header("Cache-Control", control)
        if tags:
            self.send_header("Surrogate-Key", tags)
            self.send_header("Cache-Tag", tags.replace(" ", ","))
        if fixed:
            self.send_header("ETag", etag)
            self.send_header("Last-Modified", email.utils.formatdate(self.server.shop.started, usegmt=True))
        if status != 304:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD" and status != 304:
            self.wfile.write(body)

    do_HEAD = do_GET

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = self.server.shop.json(method=self.command, received=len(body))
        self.send_response(200)
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_PUT = do_PATCH = do_DELETE = do_POST

    def log_message(self, form, *arguments):
        sys.stderr.write(f"origin {now()} {form % arguments}\n")


class Server(ThreadingMixIn, HTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 1024

    def __init__(self, address, shop, delay):
        self.shop, self.delay, self.open, self.lock = shop, delay, set(), threading.Lock()
        super().__init__(address, Handler)

    def process_request(self, request, address):
        with self.lock:
            self.open.add(request)
        super().process_request(request, address)

    def shutdown_request(self, request):
        with self.lock:
            self.open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request, address):
        pass  # a client that left

    def away(self):
        self.shutdown()
        self.server_close()
        with self.lock:
            for sock in self.open:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--address", default="127.0.0.1")
    options.add_argument("--port", type=int, default=3000)
    options.add_argument("--delay", type=float, default=0.3)
    options = options.parse_args()
    shop = Shop()
    signals = {signal.SIGUSR1, signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    server = None
    while True:
        if server is None:
            server = Server((options.address, options.port), shop, options.delay)
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            sys.stderr.write(f"origin {now()} answers on http://{options.address}:{options.port}/\n")
        else:
            server.away()
            server = None
            sys.stderr.write(f"origin {now()} has gone away\n")
        if signal.sigwait(signals) != signal.SIGUSR1:
            return


if __name__ == "__main__":
    main()
