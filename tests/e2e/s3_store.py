"""An S3 server for the cases: moto's, with one request at a time where names are given, and with the faults of a real network.

moto checks a condition and writes without a lock, so of two writers both could be told that they have the name. Here they queue.
"""
import random
import threading
import time
import urllib.parse

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from faults import Gate, Quiet, lost, step_of_object

KEY, SECRET = "AKIALAKEWARD", "a-secret-that-nobody-prints"
BUCKET = "lake"
WRITES = ("PUT", "POST", "DELETE")


class Store:
    """`with Store() as store`: serves until the block ends. `gate` is for faults at a step, what is below for those by chance."""

    def __init__(self):
        self.app = DomainDispatcherApplication(create_backend_app)
        self.lock = threading.Lock()
        self.gate = Gate(self.one_write_at_a_time, step_of_object)
        self.server = make_server("127.0.0.1", 0, self, threaded=True, request_handler=Quiet)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.chance = random.Random(7)
        self.heal()

    def heal(self):
        self.down = False  # connections are closed without an answer
        self.refuses = 0.0  # this part of the requests is answered with 503, and not done
        self.loses = 0.0  # this part is done, and never answered
        self.slow = 0.0  # seconds before a request is done
        self.unconditional = False  # conditions are not obeyed
        self.met = {"refused": 0, "lost": 0}

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=[0.05], daemon=True).start()
        self.request("POST", "/moto-api/reset")  # what it has is the process's, not the server's
        self.request("PUT", f"/{BUCKET}")
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def __call__(self, environ, start_response):
        if environ.get("HTTP_X_OF_THE_TEST"):
            return self.app(environ, start_response)
        if self.down:
            return lost(environ, start_response)
        if self.slow:
            time.sleep(self.slow)
        if self.chance.random() < self.refuses:
            self.met["refused"] += 1
            body = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
            start_response("503 Slow Down", [("Content-Length", str(len(body))), ("Content-Type", "application/xml")])
            return [body]
        if self.unconditional:
            environ.pop("HTTP_IF_NONE_MATCH", None)
        answer = self.gate(environ, start_response)
        if environ["REQUEST_METHOD"] in WRITES and self.chance.random() < self.loses:
            self.met["lost"] += 1
            return lost(environ, start_response)
        return answer

    def one_write_at_a_time(self, environ, start_response):
        if environ["REQUEST_METHOD"] not in WRITES:
            return self.app(environ, start_response)
        with self.lock:
            return list(self.app(environ, start_response))

    def request(self, method, path, query=""):
        """Past all faults."""
        import requests
        answer = requests.request(method, f"{self.url}{urllib.parse.quote(path)}{query}", headers={"X-Of-The-Test": "1"})
        assert answer.status_code < 300, answer.text
        return answer

    def keys(self, prefix=""):
        text = self.request("GET", f"/{BUCKET}", f"?list-type=2&max-keys=100000&prefix={prefix}").text
        return [part.split("</Key>")[0] for part in text.split("<Key>")[1:]]

    def uploads(self):
        return self.request("GET", f"/{BUCKET}", "?uploads").text.count("<Upload>")

    def config(self, **more):
        """Of `lakeward.toml`: the script's names, and how this store is reached."""
        values = {"endpoint": self.url, "region": "us-east-1", "access-key-id": KEY, "secret-access-key": SECRET, "lend-credentials": True} | more
        values = {name: value for name, value in values.items() if value is not None}
        lines = [f'{name} = {str(value).lower() if isinstance(value, bool) else chr(34) + value + chr(34)}' for name, value in values.items()]
        return """
[bootstrap]
"kafka-1:9092,kafka-2:9092" = "embedded"
[catalogs]
hive = "embedded"
[warehouses]
"s3://lakehouse/" = "s3://%s/w/"
[s3]
%s
""" % (BUCKET, "\n".join(lines))
