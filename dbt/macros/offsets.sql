{#-
  Which rows of a streamed table a model has read: those up to the highest offset that it holds, partition by partition.

  A partition's rows become visible in the order of their offsets, whatever time their events carry. So nothing can appear below
  an offset that was read, and a row that arrives late has a new offset like any other: `where unread()` cannot miss it, where
  `event_time > (select max(event_time) …)` does.
-#}

{#-
  A condition on the rows of the source. True for all of them in a full build; in an incremental one for those that came since.

    select * from {{ source('bronze', 'events') }} where {{ lakeward.unread() }}

  The model has to keep both columns. What it filters away at the end of a partition is looked at again, which changes nothing.
-#}
{% macro unread(partition='kafka_partition', offset='kafka_offset') -%}
  {%- if not execute or not is_incremental() -%}
    true
  {%- else -%}
    {%- set marks = run_query('select ' ~ partition ~ ', max(' ~ offset ~ ') from ' ~ this ~ ' group by 1 order by 1') -%}
    {%- if marks | length == 0 -%}
      true
    {%- else -%}
      {{ offset }} > case {{ partition }}
      {%- for mark in marks %} when {{ mark[0] }} then {{ mark[1] }}{% endfor %} else -1 end
    {%- endif -%}
  {%- endif -%}
{%- endmacro %}

{#-
  The last delivery of each key, of all rows that a build has read: what a producer sent again, or corrected, stands once.

    select * from … where {{ lakeward.unread() }} qualify {{ lakeward.last_delivery('event_id') }}

  With `unique_key` the same holds from build to build. Deliveries of one key are compared by offset: they are in one partition,
  as Kafka's own partitioning by key puts them there.
-#}
{% macro last_delivery(key, partition='kafka_partition', offset='kafka_offset') -%}
  row_number() over (partition by {{ key }} order by {{ partition }} desc, {{ offset }} desc) = 1
{%- endmacro %}

{#-
  Fails for each key of the source that the model should hold and does not: those of rows up to the highest offset that the model
  has of their partition. A filter by event time fails here as soon as a row was late.

    data_tests: [{lakeward.holds_what_it_read: {arguments: {of: source('bronze', 'events'), key: event_id}}}]
-#}
{% test holds_what_it_read(model, of, key, partition='kafka_partition', offset='kafka_offset', where='true') %}
  with marks as (
    select {{ partition }} as mark_partition, max({{ offset }}) as mark from {{ model }} group by 1
  )
  select read.{{ key }}, read.{{ partition }}, read.{{ offset }}
  from {{ of }} as read
  join marks on read.{{ partition }} = marks.mark_partition and read.{{ offset }} <= marks.mark
  where {{ where }} and read.{{ key }} not in (select {{ key }} from {{ model }} where {{ key }} is not null)
{% endtest %}
