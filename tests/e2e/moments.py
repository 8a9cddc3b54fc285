"""kill -9 at a moment that shows in the file system: what `faults` is for requests, for a warehouse and a log on a local disk.

The kernel tells each change of a folder (inotify), and the server is killed some tens of microseconds later: at a step, or just behind it.
"""
import ctypes
import os
import re
import struct
import threading

from faults import Fault, kind_of_object

CREATE, MOVED_TO, MODIFY, DELETE = 0x100, 0x80, 0x2, 0x200
BEGUN, NAMED = "begun", "named"
PART = re.compile(r"^\.(.*\.(?:parquet|avro|json))(?:\.[0-9a-f-]+)?\.part$")


class Moments:
    """`with Moments(warehouse, data_folder) as moments`: of the folders that are there by then, and all below them."""

    def __init__(self, *folders):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.fd = self.libc.inotify_init1(os.O_CLOEXEC)
        assert self.fd >= 0, os.strerror(ctypes.get_errno())
        self.folders, self.armed = {}, None
        for folder in folders:
            for place, _, _ in os.walk(folder):
                watched = self.libc.inotify_add_watch(self.fd, place.encode(), CREATE | MOVED_TO | MODIFY | DELETE)
                assert watched >= 0, f"{place}: {os.strerror(ctypes.get_errno())}"
                self.folders[watched] = place

    def __enter__(self):
        threading.Thread(target=self.listen, daemon=True).start()
        return self

    def __exit__(self, *_):
        os.close(self.fd)

    def kill(self, server, step, nth=1):
        """`step`: "data begun", "list named", "delete", "wal", …"""
        self.armed = Fault(step, None, server.kill, None, nth, 1)
        return self.armed

    def listen(self):
        while True:
            try:
                told = os.read(self.fd, 1 << 16)
            except OSError:
                return
            at = 0
            while at < len(told):
                watched, mask, _, length = struct.unpack_from("iIII", told, at)
                name = told[at + 16:at + 16 + length].rstrip(b"\0").decode()
                at += 16 + length
                fault = self.armed
                if fault and fault.meets(self.step(self.folders.get(watched, ""), name, mask)):
                    fault.strike()

    @staticmethod
    def step(folder, name, mask):
        if name.endswith(".wal"):
            return "wal" if mask & MODIFY else None
        part = PART.match(name)
        kind = kind_of_object(f"{folder}/{part[1] if part else name}")
        if mask & DELETE:
            return None if part else "delete"
        if mask & (CREATE | MOVED_TO):
            return f"{kind} {BEGUN if part else NAMED}"
        return None
