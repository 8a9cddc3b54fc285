{{ config(materialized='incremental', unique_key='event_id', on_schema_change='append_new_columns') }}

-- Every event once, however often it was sent and however late it came.
select
  event_id,
  sku,
  warehouse_id,
  event_type,
  quantity,
  event_time,
  kafka_partition,
  kafka_offset,
  recorded_at
from {{ source('bronze', 'inventory_events') }}
where event_id is not null
  and {{ lakeward.unread() }}
qualify {{ lakeward.last_delivery('event_id') }}
