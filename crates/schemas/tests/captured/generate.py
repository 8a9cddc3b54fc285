"""Writes pairs of random schemas, `reader TAB writer` on each line: generate.py COUNT SEED. The writer is a mutation of the reader.

Most schemas are valid; some are wrong in one place, so that refusals are compared too.
"""
import json
import random
import sys

PRIMITIVES = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"]
LOGICAL = [
    {"type": "int", "logicalType": "date"},
    {"type": "long", "logicalType": "timestamp-millis"},
    {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
    {"type": "string", "logicalType": "uuid", "zeta": 1, "alpha": {"b": 1.0, "a": [True, None]}},
    {"type": "string", "avro.java.string": "String"},
]
NAMES = ["A", "B", "C", "D", "E"]
SPACES = [None, None, "n", "m.o", ""]
DEFAULTS = {"null": [None], "boolean": [True], "int": [0, -5], "long": [1, 9007199254740993], "float": [1.5, 1e10, 2],
            "double": [0.0001, 1e3, -0.0, 123456789.125], "bytes": ["\u00ff", ""], "string": ["", "é\"\n", "null"]}


class Maker:
    def __init__(self, rng):
        self.rng, self.known, self.count = rng, [], 0

    def full(self, name, space):
        return name if "." in name or not space else f"{space}.{name}"

    def named(self, kind, space):
        self.count += 1
        name = f"{self.rng.choice(NAMES)}{self.count}"
        out = {"type": kind}
        own = self.rng.choice(SPACES)
        if self.rng.random() < 0.1:
            name = f"p.q.{name}"
        out["name"] = name
        if own is not None and self.rng.random() < 0.5:
            out["namespace"] = own
            space = own
        if "." in name:
            space = "p.q"
        if self.rng.random() < 0.2:
            out["aliases"] = [self.rng.choice(["Old", "x.Old", "n.Older"]) for _ in range(self.rng.randint(0, 2))]
        if self.rng.random() < 0.2:
            out["doc"] = "about " + name
        if self.rng.random() < 0.1:
            out["owner"] = {"z": 1, "a": 2.50}
        self.known.append((self.full(name, space), kind))
        return out, space

    def type(self, depth, space):
        roll = self.rng.random()
        if depth <= 0 or roll < 0.35:
            if self.known and self.rng.random() < 0.25:
                return self.rng.choice(self.known)[0]
            return self.rng.choice(PRIMITIVES[1:]) if self.rng.random() < 0.8 else dict(self.rng.choice(LOGICAL))
        if roll < 0.45:
            return {"type": "array", "items": self.type(depth - 1, space), **({"x": 1} if self.rng.random() < 0.2 else {})}
        if roll < 0.53:
            return {"type": "map", "values": self.type(depth - 1, space)}
        if roll < 0.66:
            branches, seen = ["null"], {"null"}
            for _ in range(self.rng.randint(0, 3)):
                branch = self.type(depth - 1, space)
                label = branch if isinstance(branch, str) else None if isinstance(branch, list) else (
                    branch.get("name") if "name" in branch else branch["type"])
                if label is not None and label not in seen:
                    seen.add(label)
                    branches.append(branch)
            if self.rng.random() < 0.3:
                self.rng.shuffle(branches)
            return branches
        if roll < 0.76:
            out, _ = self.named("enum", space)
            out["symbols"] = self.rng.sample(["X", "Y", "Z", "W"], self.rng.randint(1, 4))
            if self.rng.random() < 0.3:
                out["default"] = self.rng.choice(out["symbols"])
            return out
        if roll < 0.82:
            out, _ = self.named("fixed", space)
            out["size"] = self.rng.choice([0, 4, 12, 16])
            return out
        return self.record(depth, space)

    def record(self, depth, space):
        out, inner = self.named("record", space)
        out["fields"] = []
        for i in range(self.rng.randint(0, 4)):
            field = {"name": f"f{i}", "type": self.type(depth - 1, inner)}
            if self.rng.random() < 0.4:
                default = self.default(field["type"])
                if default is not Maker:
                    field["default"] = default
            if self.rng.random() < 0.15:
                field["order"] = self.rng.choice(["ascending", "descending", "ignore"])
            if self.rng.random() < 0.15:
                field["doc"] = "d"
            if self.rng.random() < 0.15:
                field["aliases"] = [f"g{i}"]
            if self.rng.random() < 0.1:
                field["pii"] = True
            out["fields"].append(field)
        return out

    def default(self, ty):
        if isinstance(ty, list):
            return self.default(ty[0]) if ty else Maker
        if isinstance(ty, dict):
            if ty["type"] == "array":
                return []
            if ty["type"] == "map":
                return {}
            if ty["type"] == "enum":
                return ty["symbols"][0]
            return self.default(ty["type"])
        return self.rng.choice(DEFAULTS[ty]) if ty in DEFAULTS else Maker


def mutate(node, rng, rate):
    """Changes a copy here and there, in the ways that people change schemas."""
    if isinstance(node, list):
        out = [mutate(child, rng, rate) for child in node]
        if out and rng.random() < rate:
            if rng.random() < 0.5:
                out.pop(rng.randrange(len(out)))
            else:
                rng.shuffle(out)
        return out
    if isinstance(node, str) and node in PRIMITIVES and rng.random() < rate:
        return rng.choice(PRIMITIVES)
    if not isinstance(node, dict):
        return node
    out = dict(node)
    for key in ("items", "values", "fields"):
        if key in out:
            out[key] = mutate(out[key], rng, rate)
    if isinstance(out.get("type"), (list, dict)) or out.get("type") in PRIMITIVES:
        out["type"] = mutate(out["type"], rng, rate)
    if rng.random() >= 2 * rate:
        return out
    if "symbols" in out:
        out["symbols"] = rng.sample(["X", "Y", "Z", "W"], rng.randint(1, 4))
    if "size" in out:
        out["size"] = rng.choice([4, 12])
    kind = rng.randrange(7)
    if kind == 0 and "name" in out:
        out["name"] = rng.choice(["Old", "g0", "g1", "f1", "New"])
    if kind == 1:
        out.pop("default", None)
    if kind == 2:
        out.pop("aliases", None)
    if kind == 3:
        out["namespace"] = "moved"
    if kind == 4 and "fields" in out:
        out["fields"] = out["fields"] + [{"name": "g0", "type": "int"}]
    if kind == 5:
        out["default"] = rng.choice([None, 0, "", "X", [], {}])
    if kind == 6 and isinstance(out.get("name"), str):
        out["aliases"] = ["Old", "g1"]
    return out


def main():
    count, seed = int(sys.argv[1]), int(sys.argv[2])
    for i in range(count):
        rng = random.Random(seed * 1_000_003 + i)
        maker = Maker(rng)
        reader = maker.record(3, None) if rng.random() < 0.7 else maker.type(3, None)
        writer = mutate(reader, rng, rng.choice([0.02, 0.08, 0.2]))
        if rng.random() < 0.5:
            reader, writer = writer, reader
        print(json.dumps(reader), json.dumps(writer), sep="\t")


main()
