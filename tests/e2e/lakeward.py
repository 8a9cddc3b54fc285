"""The server under test: started on free ports in a folder of its own, asked through its command line, killed at will.

Only what a user has is used: `lakeward` with the arguments of `lakeward --help`, its ready file, its exit codes.
"""
import json
import os
import signal
import subprocess
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
BINARY = os.environ.get("LAKEWARD_BIN") or str(REPOSITORY / "target/release/lakeward")
SURFACES = ("kafka", "registry", "catalog", "http")


def wait_until(condition, what, seconds=60, every=0.05):
    """The first truthy answer of `condition`; an AssertionError that says what never came, and the last exception met."""
    deadline = time.monotonic() + seconds
    last = None
    while True:
        try:
            answer = condition()
            if answer:
                return answer
            last = answer
        except AssertionError as error:
            last = error
        assert time.monotonic() < deadline, f"not within {seconds} s: {what} (last: {last})"
        time.sleep(every)


class Server:
    """One `lakeward up`. `start` after `kill` or `stop` starts it again on the same ports and data."""

    def __init__(self, folder, config="", arguments=(), data=None):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.data = Path(data) if data else self.folder / "data"
        self.config = self.folder / "lakeward.toml"
        self.config.write_text(config)
        self.arguments = list(arguments)
        self.under = []  # what it is started with: `taskset -c 0`
        self.log = self.folder / "server.txt"
        self.ready = {}
        self.process = None

    def start(self, seconds=30):
        ready_file = self.folder / "ready.json"
        ready_file.unlink(missing_ok=True)
        command = [BINARY, "up", "--data-dir", str(self.data), "--config", str(self.config), "--ready-file", str(ready_file)]
        for surface in SURFACES:
            command += [f"--{surface}", self.address(surface) if self.ready else "127.0.0.1:0"]
        begun = time.monotonic()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.under + command + self.arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(lambda: ready_file.exists() or self.process.poll() is not None, "the ready file", seconds, every=0.002)
        assert ready_file.exists(), f"it ended with {self.process.poll()}: {self.log_tail()}"
        self.ready_seconds = time.monotonic() - begun
        self.ready = json.loads(ready_file.read_text())
        return self

    def address(self, surface):
        return self.ready[surface].removeprefix("http://").rstrip("/")

    @property
    def kafka(self):
        return self.ready["kafka"]

    @property
    def registry(self):
        return self.ready["registry"]

    @property
    def catalog(self):
        return self.ready["catalog"]

    @property
    def pid(self):
        return self.process.pid

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        """SIGKILL: nothing is flushed, nothing is said."""
        self.process.kill()
        self.process.wait()

    def stop(self, seconds=30):
        """SIGTERM, and its exit code."""
        if not self.alive():
            return None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"it did not end within {seconds} s of SIGTERM: {self.log_tail()}") from None

    def log_text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def log_tail(self, lines=15):
        return "\n".join(self.log_text().splitlines()[-lines:])

    def resident_bytes(self):
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024

    def run(self, *arguments, seconds=120, cwd=None):
        """A client verb against this server, whatever it exits with."""
        environment = dict(os.environ, LAKEWARD_SERVER=self.ready["http"], NO_COLOR="1")
        return subprocess.run([BINARY, *map(str, arguments)], env=environment, cwd=cwd or self.folder, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=seconds)

    def ok(self, *arguments, **options):
        """The standard output of a verb that must succeed."""
        done = self.run(*arguments, **options)
        assert done.returncode == 0, f"lakeward {' '.join(map(str, arguments))} exited {done.returncode}\n{done.stdout}\n{done.stderr}\nserver: {self.log_tail()}"
        return done.stdout

    def json(self, *arguments, **options):
        return json.loads(self.ok(*arguments, "-o", "json", **options))

    def create_topic(self, name, partitions):
        self.ok("topic", "create", name, "--partitions", partitions)

    def audit(self, table, seconds=120):
        """The audit as the user gets it; its exit code must agree with `ok`."""
        done = self.run("audit", table, "-o", "json", seconds=seconds)
        assert done.stdout.strip(), f"audit exited {done.returncode}: {done.stderr}"
        report = json.loads(done.stdout)
        assert (done.returncode == 0) == report["ok"], f"exit code {done.returncode}, but ok is {report['ok']}"
        return report
