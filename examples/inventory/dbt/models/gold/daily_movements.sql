-- What came into and went out of each warehouse, by the day on which it happened: a late event changes a day that is over.
select
  e.event_time::date as day,
  e.warehouse_id,
  w.city,
  count(*) as events,
  sum(case when e.event_type in ('received', 'returned') then e.quantity when e.event_type = 'shipped' then -e.quantity else 0 end)::bigint as movement
from {{ ref('inventory_events') }} as e
left join {{ ref('warehouses') }} as w on w.warehouse_id = e.warehouse_id
group by all
