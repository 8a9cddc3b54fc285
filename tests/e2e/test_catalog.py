"""The Iceberg REST catalog, asked by unmodified engines: the cases of catalog_readers.py, which also runs alone."""
import argparse
import os

import catalog_readers
import pytest

SLOW = [catalog_readers.spark_reads_and_writes, catalog_readers.trino_reads_and_writes]
CASES = catalog_readers.CASES + (SLOW if os.environ.get("LAKEWARD_E2E_READERS") == "all" else [])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_catalog(server, case):
    context = argparse.Namespace(catalog=server.catalog, http=catalog_readers.Http(server.catalog))
    catalog_readers.pyice(context).create_namespace("case")
    case(context, "case")
