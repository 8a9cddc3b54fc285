"""The outcome of each test in JUnit's reports of a folder, one JSON object a line, and the counts as the last. Exit 1 when there is none."""
import collections
import glob
import json
import sys
import xml.etree.ElementTree

counts = collections.Counter()
for report in sorted(glob.glob(sys.argv[1] + "/*.xml")):
    for test in xml.etree.ElementTree.parse(report).iter("testcase"):
        bad = next((found for found in (test.find("failure"), test.find("error")) if found is not None), None)
        outcome = "skipped" if test.find("skipped") is not None else "passed" if bad is None else "failed"
        counts[outcome] += 1
        told = {"test": f'{test.get("classname").rsplit(".", 1)[-1]}.{test.get("name")}', "outcome": outcome}
        if bad is not None:
            told["why"] = " ".join((bad.get("message") or bad.get("type") or "").split())[:300]
        print(json.dumps(told))
print(json.dumps({"passed": counts["passed"], "failed": counts["failed"], "skipped": counts["skipped"]}))
sys.exit(not counts["passed"] + counts["failed"])
