{#-
  What dbt-duckdb says to a database that is not DuckDB's own, said as an Iceberg catalog understands it: DuckDB cannot rename a
  table of such a catalog in the transaction that made it, and knows no CASCADE there. In other databases nothing is different.
  dbt looks here first where `dispatch` of the project says so (README).
-#}

{% macro is_iceberg(relation) -%}
  {#- A temporary table has no database. -#}
  {%- set found = run_query("select 1 from duckdb_databases() where type = 'iceberg' and lower(database_name) = '" ~ (relation.database | lower) ~ "'") -%}
  {{ return(found | length > 0) }}
{%- endmacro %}

{#- The catalog renames at once, so what was done before has to be there: the rename is a transaction of its own. -#}
{% macro duckdb__rename_relation(from_relation, to_relation) -%}
  {%- if lakeward.is_iceberg(from_relation) -%}
    {% do adapter.commit() %}
  {%- endif -%}
  {% call statement('rename_relation') -%}
    alter {{ to_relation.type }} {{ from_relation }} rename to {{ adapter.quote_as_configured(to_relation.identifier, 'identifier') }}
  {%- endcall %}
{%- endmacro %}

{% macro duckdb__drop_relation(relation) -%}
  {%- set cascade = not lakeward.is_iceberg(relation) and not adapter.is_ducklake(relation) -%}
  {% call statement('drop_relation', auto_begin=False) -%}
    drop {{ relation.type }} if exists {{ relation }}{% if cascade %} cascade{% endif %}
  {%- endcall %}
{%- endmacro %}

{% macro duckdb__drop_schema(relation) -%}
  {%- set cascade = not lakeward.is_iceberg(relation) -%}
  {% call statement('drop_schema') -%}
    drop schema if exists {{ relation.without_identifier() }}{% if cascade %} cascade{% endif %}
  {%- endcall %}
{%- endmacro %}

{#- Namespaces as they are called, not `<target>_<name>`: the tables are there for other engines too. -#}
{% macro default__generate_schema_name(custom_schema_name, node) -%}
  {{ return((custom_schema_name or target.schema) | trim) }}
{%- endmacro %}
