"""Writes pairs of random schemas, `reader TAB writer` on each line: generate.py COUNT SEED. The writer is a mutation of the reader.

Most schemas are valid; some are wrong in one place, so that refusals are compared too.
"""
import json
import random
import sys

PRIMITIVES = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"]
PROMOTIONS = {"int": ["long", "float", "double"], "long": ["float", "double"], "float": ["double"], "string": ["bytes"], "bytes": ["string"]}
LOGICAL = [
    {"type": "int", "logicalType": "date"},
    {"type": "int", "logicalType": "time-millis"},
    {"type": "long", "logicalType": "timestamp-millis"},
    {"type": "long", "logicalType": "local-timestamp-micros"},
    {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
    {"type": "bytes", "logicalType": "decimal", "precision": 2, "scale": 9},
    {"type": "bytes", "logicalType": "decimal", "precision": "9"},
    {"type": "int", "logicalType": "decimal", "precision": 9},
    {"type": "string", "logicalType": "uuid", "zeta": 1, "alpha": {"b": 1.0, "a": [True, None]}},
    {"type": "string", "logicalType": 7},
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
            out["aliases"] = [self.rng.choice(["Old", "x.Old", "n.Older", ".Root", "A1"]) for _ in range(self.rng.randint(0, 2))]
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
            if self.known and self.rng.random() < 0.05:
                return {"type": self.rng.choice(self.known)[0], "doc": "a name in an object"}
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
            if self.rng.random() < 0.4:
                out.update(self.rng.choice([
                    {"logicalType": "decimal", "precision": 9, "scale": 2}, {"logicalType": "duration"}, {"logicalType": "uuid"},
                ]))
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
        """A value of the type as JSON; the class itself where none is known."""
        if isinstance(ty, list):
            return self.default(self.rng.choice(ty) if self.rng.random() < 0.3 else ty[0]) if ty else Maker
        if not isinstance(ty, dict):
            return self.rng.choice(DEFAULTS[ty]) if ty in DEFAULTS else Maker
        if ty["type"] in ("array", "map"):
            inner = self.default(ty["items" if ty["type"] == "array" else "values"])
            some = inner is not Maker and self.rng.random() < 0.5
            if ty["type"] == "array":
                return [inner] * self.rng.randint(1, 2) if some else []
            return {"k": inner} if some else {}
        if ty["type"] == "enum":
            return ty["symbols"][0]
        if ty["type"] == "fixed":
            return "\u0000" * ty["size"]
        if ty["type"] == "record":
            out = {}
            for field in ty["fields"]:
                value = self.default(field["type"])
                if value is Maker:
                    return Maker
                if "default" not in field or self.rng.random() < 0.5:
                    out[field["name"]] = value
            return out
        return self.default(ty["type"])


def full_name(node, space):
    name, own = node["name"], node.get("namespace", space)
    return name if "." in name or not own else f"{own}.{name}"


def renamed(out, rng, space):
    """Another name, most often with an alias that leads back, now and then one that only nearly does."""
    old = out["name"]
    out["name"] = rng.choice(["Old", "New", "g0", "f1"])
    if "fields" in out or "symbols" in out or "size" in out:
        old = rng.choice([full_name({**out, "name": old}, space), old, old.rsplit(".")[-1], "Elsewhere"])
    if rng.random() < 0.7:
        out["aliases"] = [*out.get("aliases", []), old]


def named_changes(out, rng, space):
    """What people do to records, enums and fixed."""
    change = rng.randrange(6)
    if change == 0:
        renamed(out, rng, space)
    elif change == 1:
        out.pop("aliases", None)
    elif change == 2:
        out["namespace"] = rng.choice(["moved", "n", "", space or "m.o"])
    elif change == 3:
        out["aliases"] = rng.choice([["Old", "g1"], [], ["n.Old", "n.Old"], ["a-b"]])
    elif change == 4:
        out["doc"] = rng.choice(["other", 7])
    if "symbols" in out:
        out["symbols"] = rng.sample(["X", "Y", "Z", "W"], rng.randint(1, 4))
        if rng.random() < 0.4:
            out["default"] = rng.choice(["X", "Y", "Q", None])
        elif rng.random() < 0.4:
            out.pop("default", None)
    if "size" in out:
        out["size"] = rng.choice([4, 12])
    if "fields" in out:
        fields = list(out["fields"])
        extra = {"name": rng.choice(["g0", "f0", "f9"]), "type": rng.choice(["int", ["null", "int"], {"type": "array", "items": "string"}])}
        if rng.random() < 0.6:
            extra["default"] = rng.choice([0, None, []])
        kind = rng.randrange(4)
        if kind == 0:
            fields.insert(rng.randint(0, len(fields)), extra)
        elif kind == 1 and fields:
            fields.pop(rng.randrange(len(fields)))
        elif kind == 2:
            rng.shuffle(fields)
        out["fields"] = fields


def field_changes(out, rng):
    change = rng.randrange(5)
    if change == 0:
        renamed(out, rng, None)
    elif change == 1:
        out.pop("default", None)
    elif change == 2:
        out["default"] = rng.choice([None, 0, "", "X", [], {}, "1.5", "NaN", 2147483648, 1.0])
    elif change == 3:
        out["aliases"] = [rng.choice(["f0", "f1", "g0", "g1"]) for _ in range(rng.randint(0, 2))]
    elif change == 4:
        out["order"] = rng.choice(["ascending", "Descending", "sideways"])


def type_changes(node, rng):
    """Another type in place of one, as a string, union or object."""
    if isinstance(node, list):
        if len(node) == 2 and "null" in node and rng.random() < 0.4:
            return next((branch for branch in node if branch != "null"), "null")
        out, kind = list(node), rng.randrange(3)
        if kind == 0 and out:
            out.pop(rng.randrange(len(out)))
        elif kind == 1:
            rng.shuffle(out)
        else:
            out.append(rng.choice(PRIMITIVES))
        return out
    kind = rng.randrange(3)
    if kind == 0:
        return rng.choice([["null", node], [node, "null"], [node]])
    if kind == 1 and isinstance(node, str):
        return rng.choice(PROMOTIONS.get(node, PRIMITIVES))
    if isinstance(node, str):
        return rng.choice(PRIMITIVES)
    if "precision" in node:
        return {**node, rng.choice(["precision", "scale"]): rng.choice([0, 2, 4, 12])}
    if "logicalType" in node:
        return {key: value for key, value in node.items() if key != "logicalType"}
    if "items" in node:
        return {"type": "map", "values": node["items"]}
    return node


def mutate(node, rng, rate, space=None):
    """Changes a copy here and there, in the ways that people change schemas."""
    if isinstance(node, list):
        node = [mutate(branch, rng, rate, space) for branch in node]
    elif isinstance(node, dict):
        node = dict(node)
        inner = space
        if "fields" in node:
            name = full_name(node, space)
            inner = name.rsplit(".", 1)[0] if "." in name else None
        for key in ("items", "values"):
            if key in node:
                node[key] = mutate(node[key], rng, rate, space)
        if "fields" in node:
            fields = [{**field, "type": mutate(field["type"], rng, rate, inner)} for field in node["fields"]]
            for field in fields:
                if rng.random() < rate:
                    field_changes(field, rng)
            node["fields"] = fields
        if "name" in node and rng.random() < 2 * rate:
            named_changes(node, rng, space)
    return type_changes(node, rng) if rng.random() < rate / 2 else node


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
