"""Spark and Trino as programs use them that stay connected: many statements in one session, several at once, each with its answer or its error."""
import itertools
import json
import subprocess
import threading
import urllib.request
from pathlib import Path
from queue import Queue

import tables


class Refusal(Exception):
    """What an engine says of a statement that it did not bring to its end."""


class SparkSession:
    """One Spark on a server's catalog."""

    def __init__(self, server):
        command = [str(tables.READERS / "spark"), "each", "--catalog", server.catalog]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.numbers, self.asked, self.lock = itertools.count(), {}, threading.Lock()
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.process.stdout:
            reply = json.loads(line)
            self.asked.pop(reply["number"]).put(reply)
        for waiting in list(self.asked.values()):
            waiting.put({"error": "Spark has ended"})

    def __call__(self, sql, seconds=300):
        answer = Queue()
        with self.lock:
            number = next(self.numbers)
            self.asked[number] = answer
            self.process.stdin.write(json.dumps({"number": number, "sql": sql}) + "\n")
            self.process.stdin.flush()
        reply = answer.get(timeout=seconds)
        if "error" in reply:
            raise Refusal(reply["error"])
        return [tuple(row.values()) for row in reply["rows"]]

    def end(self):
        """With its standard input Spark ends by itself."""
        self.process.stdin.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class TrinoSession:
    """Statements to a Trino that is up, by its own protocol over HTTP: its command line would be a JVM for each."""

    def __init__(self, trino):
        self.uri = f"http://127.0.0.1:{(Path(trino.place) / 'port').read_text().strip()}/v1/statement"

    def __call__(self, sql):
        headers = {"X-Trino-User": "peer", "X-Trino-Catalog": "ice", "X-Trino-Time-Zone": "UTC"}
        request, rows = urllib.request.Request(self.uri, sql.encode(), headers), []
        while request:
            with urllib.request.urlopen(request, timeout=300) as reply:
                told = json.loads(reply.read())
            if "error" in told:
                raise Refusal(f"{told['error']['errorName']}: {told['error']['message']}")
            rows += map(tuple, told.get("data", []))
            request = told.get("nextUri") and urllib.request.Request(told["nextUri"], headers=headers)
        return rows
