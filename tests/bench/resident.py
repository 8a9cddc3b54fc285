"""`cargo xtask bench resident`: the memory that a server keeps after much has gone through it.

1.5 GB are produced through 48 partitions and read back; printed are the resident size at the start, after each step, and the
peak. Envelope: what is written last stays readable from memory (the WAL's tail), everything else is the disk's and the kernel's.
"""
import argparse
import json
import time
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic

from consume import consume
from produce import produce
from sides import Kafka, Lakeward, Sides, print_machine, resident_mib


def peak_mib(pid):
    return int(Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


def kinds_mib(pid):
    """Resident memory by what it maps: the program itself, its heap, and other anonymous memory (arenas, stacks)."""
    kinds, name = {}, ""
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        words = line.split()
        if "-" in words[0] and not words[0].endswith(":"):
            name = words[5] if len(words) > 5 else "anonymous"
            name = "files" if name.startswith("/") else name
        elif words[0] == "Rss:":
            kinds[name] = kinds.get(name, 0) + int(words[1]) / 1024
    return {name: round(size, 1) for name, size in kinds.items() if size >= 0.5}


def main():
    parser = argparse.ArgumentParser(prog="cargo xtask bench resident")
    parser.add_argument("--records", type=int, default=1_500_000)
    parser.add_argument("--size", type=int, default=1000)
    parser.add_argument("--partitions", type=int, default=48)
    parser.add_argument("--sides", default="lakeward")
    args = parser.parse_args()
    print_machine()
    makers = {"lakeward": Lakeward, "kafka": Kafka}
    with Sides(*[makers[name] for name in args.sides.split(",")]) as sides:
        for side in sides.all:
            side.start()
            steps = {"started": resident_mib(side.pid)}
            admin = AdminClient({"bootstrap.servers": side.bootstrap})
            admin.create_topics([NewTopic("resident", args.partitions, 1)])["resident"].result(30)
            produce(side.bootstrap, "resident", args.records, args.size, "none")
            steps["produced"] = resident_mib(side.pid)
            consume(side.bootstrap, args.records, args.partitions, "resident")
            steps["consumed"] = resident_mib(side.pid)
            time.sleep(5)
            steps["5 s later"] = resident_mib(side.pid)
            steps["peak"] = peak_mib(side.pid)
            print(f"{side.name:10}", ", ".join(f"{step} {size:.0f} MiB" for step, size in steps.items()), json.dumps(kinds_mib(side.pid)))


if __name__ == "__main__":
    main()
