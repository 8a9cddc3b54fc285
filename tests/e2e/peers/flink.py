"""The real Apache Flink, running a script in a JVM of its own."""
import subprocess

from lakeward import REPOSITORY

FLINK = REPOSITORY / "tests/peers/flink/flink"


class Flink:
    """Apache Flink 2.3.0 with its own Kafka and Iceberg connectors."""

    def __init__(self, folder):
        self.folder = folder

    def run(self, script, seconds=600):
        """Runs a script to its end. A checkpoint each two seconds, so that tables grow by several commits."""
        settings = {
            "execution.checkpointing.interval": "2 s",
            # In the JobManager's memory a checkpoint may have 5 MB.
            "execution.checkpointing.storage": "filesystem",
            "execution.checkpointing.dir": f"file://{self.folder}/checkpoints",
            # The default sink loses rows of bounded reads by several writers.
            "table.exec.iceberg.use-v2-sink": "true",
        }
        file = self.folder / "flink.sql"
        file.write_text(script)
        command = [str(FLINK), "sql", str(file), *(f"-D{key}={value}" for key, value in settings.items())]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
