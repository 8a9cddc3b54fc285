"""A producer that never gives up, in a process of its own: `load.py BOOTSTRAP TOPIC PARTITIONS ACKED_FILE RATE`.

Idempotent, acks=all, endless retries: what a careful user runs. Every acknowledged event number is appended to ACKED_FILE
with its partition and offset, only after the acknowledgement. SIGTERM makes it wait for what is in flight, and end. An
error that librdkafka calls fatal, or a record that it gives up, ends it with exit code 1.
"""
import signal
import sys
import time

import inventory


def main():
    bootstrap, topic, partitions, acked_file, rate = sys.argv[1:]
    partitions, rate = int(partitions), float(rate)
    going, broken = [True], []
    signal.signal(signal.SIGTERM, lambda *_: going.clear())
    acked = open(acked_file, "a", buffering=1)

    def delivered(error, message):
        if error:
            broken.append(str(error))
        else:
            acked.write(f"{inventory.decoded(message.value())['quantity']} {message.partition()} {message.offset()}\n")

    def failed(error):
        if error.fatal():
            broken.append(str(error))

    client = inventory.producer(bootstrap, **{
        "error_cb": failed, "message.timeout.ms": 0, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 200,
        "retry.backoff.ms": 20, "retry.backoff.max.ms": 100, "topic.metadata.refresh.interval.ms": 200, "queue.buffering.max.messages": 20_000,
    })
    begun, number = time.monotonic(), 0
    while going and not broken:
        if number > (time.monotonic() - begun) * rate:
            client.poll(0.005)
            continue
        try:
            client.produce(topic, value=inventory.encoded(number), partition=number % partitions, on_delivery=delivered)
            number += 1
        except BufferError:
            client.poll(0.05)
        client.poll(0)
    left = client.flush(60)
    if broken or left:
        print(f"broken: {broken[:3]}, in flight: {left}", file=sys.stderr)
        sys.exit(1)


main()
