"""The article's own words, as published (on one line, as its page runs them together): what the examples must be made of."""

CREATE_TOPIC = (
    "kafka-topics --create \\ --topic inventory-events \\ --partitions 48 \\ --replication-factor 3 \\ "
    "--config retention.ms=259200000 \\ --config cleanup.policy=delete \\ --config compression.type=lz4"
)
SCRIPT = (
    "CREATE TABLE inventory_events ( sku STRING, warehouse_id STRING, event_type STRING, quantity INT, event_time TIMESTAMP(3), "
    "WATERMARK FOR event_time AS event_time - INTERVAL '5' SECOND ) WITH ( 'connector' = 'kafka', 'topic' = 'inventory-events', "
    "'properties.bootstrap.servers' = 'kafka-1:9092,kafka-2:9092', 'format' = 'avro' ); "
    "CREATE TABLE lakehouse.inventory_events ( sku STRING, warehouse_id STRING, event_type STRING, quantity INT, "
    "event_time TIMESTAMP(3) ) WITH ( 'connector' = 'iceberg', 'catalog-name' = 'hive', 'warehouse' = 's3://lakehouse/', "
    "'format-version' = '2' ); "
    "INSERT INTO lakehouse.inventory_events SELECT sku, warehouse_id, event_type, quantity, event_time FROM inventory_events;"
)


def create_topic_arguments():
    """The words of the command after its name, as a shell would split them."""
    return [word for word in CREATE_TOPIC.split()[1:] if word != "\\"]
