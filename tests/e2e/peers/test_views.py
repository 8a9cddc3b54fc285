"""Views of other engines in our catalog: Spark and Trino make them, read them and find each other's."""
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.schema import Schema
from pyiceberg.types import IntegerType, NestedField
from pyiceberg.view.metadata import SQLViewRepresentation, ViewVersion

SPARK = """
CREATE NAMESPACE lake;
CREATE TABLE lake.t (id BIGINT, v STRING) USING iceberg;
INSERT INTO lake.t VALUES (1, 'a'), (2, 'b'), (3, NULL);
CREATE VIEW lake.filled (id COMMENT 'the key', upper_v) TBLPROPERTIES ('owner' = 'spark') AS SELECT id, upper(v) FROM lake.t WHERE v IS NOT NULL;
SELECT * FROM lake.filled ORDER BY id;
CREATE OR REPLACE VIEW lake.filled AS SELECT id, v, 'again' AS w FROM lake.t WHERE v IS NOT NULL;
ALTER VIEW lake.filled SET TBLPROPERTIES ('team' = 'lake');
ALTER VIEW lake.filled RENAME TO lake.whole;
SELECT * FROM lake.whole ORDER BY id;
CREATE VIEW lake.counted AS SELECT count(*) AS n FROM lake.whole;
SELECT n FROM lake.counted;
SHOW VIEWS IN lake;
SHOW TABLES IN lake;
"""


def test_spark_makes_changes_and_reads_views(server, spark_on):
    spark = spark_on(server)
    rows = spark(SPARK)
    assert isinstance(rows, list), rows[-3000:]
    values = [list(row.values()) for row in rows]
    assert values[:5] == [[1, "A"], [2, "B"], [1, "a", "again"], [2, "b", "again"], [2]]
    shown = [row for row in rows[5:] if row["namespace"] == "lake"]
    assert sorted(row.get("viewName") or row["tableName"] for row in shown) == ["counted", "t", "whole"]

    catalog = RestCatalog("ours", uri=server.catalog)
    assert sorted(catalog.list_views("lake")) == [("lake", "counted"), ("lake", "whole")]
    assert catalog.list_tables("lake") == [("lake", "t")]
    view = catalog.load_view(("lake", "whole")).metadata
    assert [len(version.representations) for version in view.versions] == [1, 1]
    assert (view.properties["owner"], view.properties["team"]) == ("spark", "lake")
    # A table does not take a view's name.
    why = spark("CREATE TABLE lake.whole (id BIGINT) USING iceberg")
    assert isinstance(why, str) and "TABLE_OR_VIEW_ALREADY_EXISTS" in why, why
    assert isinstance(spark("DROP VIEW lake.counted; DROP VIEW lake.whole; DROP TABLE lake.t; DROP NAMESPACE lake"), list)
    assert catalog.list_namespaces() == []


TRINO = """
CREATE SCHEMA ice.lake;
CREATE TABLE ice.lake.t (id BIGINT, v VARCHAR);
INSERT INTO ice.lake.t VALUES (1, 'a'), (2, 'b'), (3, NULL);
CREATE VIEW ice.lake.filled COMMENT 'what has a value' AS SELECT id, upper(v) AS v FROM ice.lake.t WHERE v IS NOT NULL;
CREATE OR REPLACE VIEW ice.lake.filled AS SELECT id, v, 'again' AS w FROM ice.lake.t WHERE v IS NOT NULL;
ALTER VIEW ice.lake.filled RENAME TO ice.lake.whole;
"""


def test_trino_makes_changes_and_reads_views(server, trino_on):
    trino = trino_on(server)
    made = trino(TRINO)
    assert isinstance(made, list), made[-3000:]
    rows = trino("SELECT id, v, w FROM ice.lake.whole ORDER BY id")
    assert [list(row.values()) for row in rows] == [[1, "a", "again"], [2, "b", "again"]]
    catalog = RestCatalog("ours", uri=server.catalog)
    assert catalog.list_views("lake") == [("lake", "whole")]
    versions = catalog.load_view(("lake", "whole")).metadata.versions
    assert [version.representations[0].root.dialect for version in versions] == ["trino", "trino"]

    # A view of another engine's: it is listed, and Trino says whose SQL it is.
    sql = SQLViewRepresentation(type="sql", sql="SELECT 1 AS one", dialect="spark")
    version = ViewVersion(version_id=1, schema_id=0, timestamp_ms=1, summary={}, representations=[sql], default_namespace=["lake"])
    catalog.create_view(("lake", "sparks"), Schema(NestedField(1, "one", IntegerType())), version)
    listed = trino("SELECT table_name, table_type FROM ice.information_schema.tables WHERE table_schema = 'lake' ORDER BY 1")
    assert [row["table_name"] for row in listed] == ["sparks", "t", "whole"], listed
    why = trino("SELECT * FROM ice.lake.sparks")
    assert isinstance(why, str) and "spark" in why, why
    dropped = trino("DROP VIEW ice.lake.whole; DROP TABLE ice.lake.t")
    assert isinstance(dropped, list), dropped
    assert (catalog.list_views("lake"), catalog.list_tables("lake")) == ([("lake", "sparks")], [])
