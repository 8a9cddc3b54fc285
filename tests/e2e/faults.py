"""Faults at named steps: requests to a store, or to a catalog elsewhere, go through a gate that knows which step each of them is.

Over a store every durable step of a commit is a request, and so is every call of a catalog elsewhere. What is to go wrong *at a step* is armed here: the n-th
request of its kind is where a server is killed, is not done, is done and not answered, is refused, or has something else happen just before it.

    fault = store.gate.kill(server, "list", DONE)      # kill -9 when the manifest list is written, before anybody is told so
    …
    fault.struck.wait(30)
"""
import json
import math
import re
import threading
import xml.sax.saxutils
from collections import Counter

import requests
from werkzeug.serving import WSGIRequestHandler, make_server

# Where in a request: nothing of it is done; it is done, and nobody was told; its answer has been sent.
BEFORE, DONE, ANSWERED = "before", "done", "answered"

# What has been asked of a store, by what is written under which name.
OBJECTS = (
    ("copy", re.compile(r"/compacted-[^/]*\.parquet$")),  # of a compaction
    ("data", re.compile(r"\.parquet$")),
    ("list", re.compile(r"/metadata/snap-[^/]*\.avro$")),
    ("manifest", re.compile(r"/metadata/[^/]*\.avro$")),
    ("metadata", re.compile(r"\.metadata\.json$")),
)
CALLS = (
    ("config", "GET", re.compile(r"/v1/config$")),
    ("namespace", "POST", re.compile(r"/namespaces$")),
    ("create", "POST", re.compile(r"/tables$")),
    ("load", "GET", re.compile(r"/tables/[^/]+$")),
    ("commit", "POST", re.compile(r"/tables/[^/]+$")),
)


def kind_of_object(path):
    """`data`, `manifest`, … by its name. Of dead letters and late rows: `side data`, …"""
    kind = next((kind for kind, form in OBJECTS if form.search(path)), "other")
    return f"side {kind}" if "__" in path else kind


def step_of_object(method, path):
    """The kind of what is written; `delete`; `read data`, … of what is read."""
    step = kind_of_object(path)
    if method == "DELETE" or method == "POST" and path.count("/") == 1:
        return "delete"  # one, or many at once
    return step if method in ("PUT", "POST") else f"read {step}"


def step_of_call(method, path):
    step = next((step for step, of, form in CALLS if of == method and form.search(path)), "other")
    return f"side {step}" if "__" in path else step


class Fault:
    """What happens to requests of one step: from the `nth` on, to so many of them."""

    def __init__(self, step, at, do, then, nth, times):
        self.step, self.at, self.do, self.then = step, at, do, then
        self.skip, self.left = nth - 1, times
        self.struck = threading.Event()
        self.hits = 0

    def meets(self, step):
        if self.step not in (None, step) or self.left <= 0:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.left -= 1
        return True

    def strike(self):
        if self.do:
            self.do()
        self.hits += 1
        self.struck.set()


class Gate:
    """WSGI in front of `app`. Only the first fault that a request meets strikes."""

    def __init__(self, app, step_of):
        self.app, self.step_of = app, step_of
        self.lock = threading.Lock()
        self.armed, self.met = [], Counter()

    def arm(self, step, at=BEFORE, do=None, then=None, nth=1, times=1):
        fault = Fault(step, at, do, then, nth, times)
        with self.lock:
            self.armed.append(fault)
        return fault

    def kill(self, server, step, at=BEFORE, nth=1):
        """kill -9 of the server; whoever asked is not there for the answer."""
        return self.arm(step, at, server.kill, lost, nth)

    def lose(self, step, at=BEFORE, **more):
        """BEFORE: the request does not arrive. DONE: its answer does not."""
        return self.arm(step, at, None, lost, **more)

    def answer(self, step, status, what, at=BEFORE, **more):
        return self.arm(step, at, None, says(status, what), **more)

    def meanwhile(self, step, do, **more):
        """Something is done just before the request, which then goes on."""
        return self.arm(step, BEFORE, do, None, **more)

    def close(self):
        """Nobody is there, until `lift`."""
        return self.arm(None, BEFORE, None, lost, times=math.inf)

    def lift(self):
        with self.lock:
            self.armed.clear()

    def __call__(self, environ, start_response):
        step = self.step_of(environ["REQUEST_METHOD"], environ["PATH_INFO"])
        with self.lock:
            self.met[step] += 1
            fault = next((fault for fault in self.armed if fault.meets(step)), None)
        if fault is None:
            return self.app(environ, start_response)
        if fault.at == BEFORE:
            fault.strike()
            return (fault.then or self.app)(environ, start_response)
        told = []
        body = b"".join(self.app(environ, lambda status, headers, *_: told.append((status, headers))))
        if fault.at == DONE:
            fault.strike()
            return fault.then(environ, start_response)
        # With its length the answer is whole once it is written, before the connection is closed.
        (status, headers), = told
        headers = [(name, value) for name, value in headers if name.lower() not in ("content-length", "transfer-encoding")]
        start_response(status, [*headers, ("Content-Length", str(len(body)))])
        return struck_behind(body, fault)


def struck_behind(body, fault):
    yield body
    fault.strike()


def lost(environ, _):
    """The connection is closed without an answer."""
    environ["werkzeug.socket"].shutdown(2)
    raise ConnectionResetError


def says(status, what):
    """An answer in the words of whoever is asked: a store's has XML, a catalog's JSON; `None` is a proxy's page."""
    def answer(environ, start_response):
        if what is None:
            body, form = b"<html><body>a gateway</body></html>", "text/html"
        elif environ["PATH_INFO"].startswith("/v1"):
            error = {"message": f"{what} of the test", "type": what, "code": status}
            body, form = json.dumps({"error": error}).encode(), "application/json"
        else:
            code = xml.sax.saxutils.escape(what)
            body, form = f"<Error><Code>{code}</Code><Message>of the test</Message></Error>".encode(), "application/xml"
        start_response(f"{status} of the test", [("Content-Type", form), ("Content-Length", str(len(body)))])
        return [body]
    return answer


class Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_):
        pass


class Door:
    """`with Door(uri) as door`: a catalog at another address, through a gate."""

    def __init__(self, uri):
        self.to = uri.rstrip("/")
        self.gate = Gate(self.forward, step_of_call)
        self.server = make_server("127.0.0.1", 0, self.gate, threaded=True, request_handler=Quiet)
        self.uri = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=[0.05], daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def forward(self, environ, start_response):
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        headers = {"Content-Type": environ["CONTENT_TYPE"]} if environ.get("CONTENT_TYPE") else {}
        answer = requests.request(environ["REQUEST_METHOD"], self.to + environ["REQUEST_URI"], data=body, headers=headers, timeout=60)
        start_response(f"{answer.status_code} {answer.reason}", [("Content-Type", "application/json"), ("Content-Length", str(len(answer.content)))])
        return [answer.content]
