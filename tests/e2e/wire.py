"""Kafka frames written by hand, for what no well-behaved client sends."""
import socket
import struct


def string(text):
    return struct.pack(">h", len(text)) + text.encode()


def request(api, version, correlation, body, client="wire"):
    """A frame with request header v1: size, api, version, correlation id, client id."""
    payload = struct.pack(">hhi", api, version, correlation) + string(client) + body
    return struct.pack(">i", len(payload)) + payload


class Connection:
    def __init__(self, bootstrap, timeout=10):
        host, port = bootstrap.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def receive(self, size):
        data = b""
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            if not part:
                raise ConnectionResetError(f"closed after {len(data)} of {size} bytes")
            data += part
        return data

    def frame(self):
        """One response without its size: correlation id and body."""
        (size,) = struct.unpack(">i", self.receive(4))
        return self.receive(size)

    def closed(self):
        """Whether the other side closes the connection without a word."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def api_versions(self, version=0):
        self.send(request(18, version, 7, b""))
        return self.frame()

    def first_batch(self, topic, partition):
        """Fetch v4 from offset 0: the fields of the first batch's header that tests look at."""
        body = struct.pack(">iiiib", -1, 1000, 1, 1 << 20, 0)
        body += struct.pack(">i", 1) + string(topic) + struct.pack(">i", 1) + struct.pack(">iqi", partition, 0, 1 << 20)
        self.send(request(1, 4, 9, body))
        answer = self.frame()
        # correlation, throttle, one topic, its name, one partition: index, error, high watermark, last stable, aborted, records.
        at = 4 + 4 + 4
        (length,) = struct.unpack_from(">h", answer, at)
        at += 2 + length + 4
        _, error, _, _, aborted = struct.unpack_from(">ihqqi", answer, at)
        assert error == 0, f"fetch error {error}"
        at += 26 + max(0, aborted) * 16
        (size,) = struct.unpack_from(">i", answer, at)
        assert size > 0, "no records"
        base, _, epoch, magic, crc, attributes = struct.unpack_from(">qiibIh", answer, at + 4)
        return {"base_offset": base, "leader_epoch": epoch, "magic": magic, "crc": crc, "attributes": attributes}
