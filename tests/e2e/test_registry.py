"""The schema registry, asked by Confluent's own serializer: the cases stand in registry_confluent.py, which also runs alone."""
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent / "registry_confluent.py"


def test_registry_confluents_client_works_unmodified(server):
    environment = dict(os.environ, REGISTRY=server.registry, BOOTSTRAP=server.kafka)
    done = subprocess.run([sys.executable, str(SCRIPT), server.registry, server.kafka], env=environment, capture_output=True, text=True, timeout=120)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
