"""The real Apache Flink, running a script in a JVM of its own."""
import json
import subprocess

from lakeward import REPOSITORY

FLINK = REPOSITORY / "tests/peers/flink/flink"


class Flink:
    """Apache Flink 2.3.0 with its own Kafka and Iceberg connectors."""

    def __init__(self, folder):
        self.folder = folder

    def run(self, script, seconds=600):
        """Runs a script to its end. A checkpoint each two seconds, so that tables grow by several commits."""
        done = self.sql(script, seconds, {
            "execution.checkpointing.interval": "2 s",
            # In the JobManager's memory a checkpoint may have 5 MB.
            "execution.checkpointing.storage": "filesystem",
            "execution.checkpointing.dir": f"file://{self.folder}/checkpoints",
            # The default sink loses rows of bounded reads by several writers.
            "table.exec.iceberg.use-v2-sink": "true",
        })
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]

    def batch(self, script, seconds=600):
        """Runs a script in batch mode, on behind what fails: (rows of each statement, the innermost error of each that failed), by number."""
        done = self.sql(script, seconds, {"execution.runtime-mode": "batch"}, "--keep-going")
        rows, errors, statement = {}, {}, None
        for told in map(json.loads, done.stdout.splitlines()):
            statement = told.get("statement", statement)
            if "row" in told:
                rows.setdefault(statement, []).append(tuple(told["row"].values()))
            elif "error" in told:
                errors[statement] = told["error"][-1]
        return rows, errors

    def sql(self, script, seconds, settings, *more):
        file = self.folder / "flink.sql"
        file.write_text(script)
        command = [str(FLINK), "sql", str(file), *more, *(f"-D{key}={value}" for key, value in settings.items())]
        return subprocess.run(command, capture_output=True, text=True, timeout=seconds)
