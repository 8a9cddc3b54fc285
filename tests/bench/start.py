"""`cargo xtask bench start`: process start to ready file with an empty folder, and resident memory when idle.

The promise: ready in under 300 ms, under 60 MiB resident, release build. Exit code 1 when the best of the rounds breaks it.
"""
import argparse
import statistics
import sys
import time

from sides import Kafka, Lakeward, Sides, print_machine, resident_mib

READY_MS, RESIDENT_MIB = 300, 60


def main():
    parser = argparse.ArgumentParser(prog="cargo xtask bench start")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--idle-seconds", type=float, default=2.0)
    parser.add_argument("--kafka", action="store_true", help="also Apache Kafka, once")
    args = parser.parse_args()
    print_machine()
    ready, resident = [], []
    for _ in range(args.rounds):
        with Sides(Lakeward) as sides:
            sides.all[0].start()
            ready.append(sides.all[0].ready_ms)
            time.sleep(args.idle_seconds)
            resident.append(resident_mib(sides.all[0].pid))
    print(f"lakeward  ready ms: best {min(ready):.0f}, median {statistics.median(ready):.0f}, worst {max(ready):.0f}; "
          f"resident MiB: median {statistics.median(resident):.1f}, most {max(resident):.1f}")
    if args.kafka:
        with Sides(Kafka) as sides:
            sides.all[0].start()
            time.sleep(args.idle_seconds)
            print(f"kafka     ready ms: {sides.all[0].ready_ms:.0f}; resident MiB: {resident_mib(sides.all[0].pid):.1f}")
    sys.exit(0 if min(ready) < READY_MS and min(resident) < RESIDENT_MIB else 1)


main()
