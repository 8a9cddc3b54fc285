{#- The article's model, word for word but for the source's name. What arrives late is below max(event_time), and never read. -#}
{{ config(materialized='incremental', unique_key='event_id', enabled=var('article', false)) }}
select
event_id,
sku,
warehouse_id,
event_type,
quantity,
event_time
from {{ source('bronze', 'inventory_events') }}
{% if is_incremental() %}
where event_time > (select max(event_time) from {{ this }})
{% endif %}
