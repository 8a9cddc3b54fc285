{#- A batch is a day of the records' own timestamps, which are never late: what is over stays over. The newest two days are made again
    each time; another range by `dbt run --event-time-start 2026-11-01 --event-time-end 2026-11-08`. -#}
{{ config(
    materialized='incremental', incremental_strategy='microbatch', event_time='hour', batch_size='day', lookback=1,
    begin=var('deliveries_begin', (modules.datetime.datetime.now(modules.pytz.utc) - modules.datetime.timedelta(days=1)).strftime('%Y-%m-%d'))
) }}

-- How much was delivered in each hour (UTC), repetitions too, and how long after it had happened.
select
  make_timestamp(epoch_us(recorded_at) // 3600000000 * 3600000000) as hour,
  warehouse_id,
  count(*) as deliveries,
  count(*) - count(distinct event_id) as repeated,
  max(epoch_ms(recorded_at) - epoch_ms(event_time)) as latest_ms
from {{ source('bronze', 'inventory_events') }}
group by all
