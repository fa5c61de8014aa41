"""Statements of a user that use each rule of the translation for Spark."""

from __future__ import annotations

_JSON = r"""
  SELECT 'text' AS kind, '{"a": "x", "b": {"c": "größe \"q\" 😀", "d": [1, 2]}}' AS j
  UNION ALL SELECT 'whole', '{"a": 7, "b": {"c": 12}}'
  UNION ALL SELECT 'negative', '{"a": -7, "b": {"c": -1.5}}'
  UNION ALL SELECT 'fraction', '{"a": 1.25, "b": {"c": 1e3}}'
  UNION ALL SELECT 'number in a text', '{"a": "-41", "b": {"c": "1.5e2"}}'
  UNION ALL SELECT 'long', '{"a": 1234567890123456789, "b": {"c": 123456789012345678}}'
  UNION ALL SELECT 'boolean', '{"a": true, "b": {"c": "false"}}'
  UNION ALL SELECT 'null', '{"a": null, "b": null}'
  UNION ALL SELECT 'list', '{"a": [1, "x", null], "b": {"c": []}}'
  UNION ALL SELECT 'object', '{"a": {"x": 1, "y": 2}, "b": {"c": {}}}'
  UNION ALL SELECT 'other keys', '{"z": 1}'
  UNION ALL SELECT 'no object', '[1, 2]'
  UNION ALL SELECT 'no JSON', 'inventory empty'
  UNION ALL SELECT 'empty', ''
  UNION ALL SELECT 'absent', CAST(NULL AS VARCHAR)"""
_RUN = "(SELECT count(*) AS runs FROM sys_invocation_status)"

OWN: dict[str, str] = {
    "counts": """
SELECT count(*) AS n, count(completion_failure) AS failed, sum(journal_size) AS entries FROM sys_invocation""",
    "null order, ascending": "SELECT DISTINCT completion_failure AS f FROM sys_invocation ORDER BY f",
    "null order, descending": "SELECT DISTINCT completion_failure AS f FROM sys_invocation ORDER BY f DESC",
    "null order, in a window": """
SELECT id, row_number() OVER (ORDER BY completion_failure, id) AS up,
  row_number() OVER (PARTITION BY target ORDER BY completion_failure DESC, id) AS down,
  lag(id) OVER (ORDER BY completed_at, id) AS before
FROM sys_invocation_status ORDER BY id LIMIT 50000""",
    "integer division": """
SELECT id, journal_size / 2 AS half, journal_size / 2.0 AS exact, -7 / 2 AS low, journal_size % 3 AS rest,
  (arrow_cast(created_at, 'Int64') - 1700000000000) / 86400000 AS day, 1.0 / (journal_size - journal_size) AS infinite
FROM sys_invocation_status ORDER BY id LIMIT 50000""",
    "null in texts": """
SELECT id, target || completion_failure AS joined, concat(target, '/', completion_failure, 1) AS kept,
  coalesce(completion_failure, 'none') AS f, nullif(target, 'Orders/place') AS t
FROM sys_invocation_status ORDER BY id LIMIT 50000""",
    "texts": r"""
SELECT DISTINCT upper(target_service_name) AS u, character_length(completion_failure) AS n,
  octet_length(completion_failure) AS bytes, substr(completion_failure, 2, 9) AS part,
  split_part(completion_failure, chr(10), 1) AS line, split_part(completion_failure, ' ', 99) AS none,
  strpos(completion_failure, 'ö') AS at, replace(completion_failure, 'ß', 'ss') AS r, md5(completion_failure) AS h,
  encode(sha256(completion_failure), 'hex') AS hash, completion_failure LIKE '%\_%' AS l,
  'it''s "C:\new" $1 \1 ${spark.sql.session.timeZone} :x' AS hostile
FROM sys_invocation_status ORDER BY n, line, hash, u""",
    "regular expressions": r"""
SELECT DISTINCT completion_failure AS f, completion_failure ~ '^\[[0-9]+\] ' AS one,
  completion_failure ~* 'KILLED$' AS two,
  completion_failure !~ 'stock' AS three, completion_failure ~ 'größe\b' AS four,
  completion_failure ~ 'stock.of' AS five,
  regexp_replace(completion_failure, '[0-9]', '#') AS once,
  regexp_replace(completion_failure, '[0-9]', '#', 'g') AS each,
  regexp_replace(completion_failure, '([a-z])([a-z])', '\2\1') AS swapped,
  regexp_replace(completion_failure, 'STOCK', '<>', 'gi') AS other,
  regexp_replace(completion_failure, '^\[([0-9]+)[^\]]*\].*$', '\1') AS code,
  regexp_like(completion_failure, '(NO|of)', 'i') AS six
FROM sys_invocation_status ORDER BY f""",
    "times": """
SELECT id, date_bin(INTERVAL '15 minutes', completed_at) AS quarter, date_trunc('hour', completed_at) AS hour,
  completed_at - created_at AS took, completed_at + INTERVAL '7 days' AS week,
  completed_at + completion_retention AS ends,
  date_part('epoch', completed_at) AS epoch, date_part('hour', completed_at) AS h, date_part('dow',
  completed_at) AS dow,
  CAST(completed_at AS DATE) AS day, completion_retention, arrow_cast(completion_retention, 'Int64') AS ms,
  now() - completed_at AS age, completed_at > now() - INTERVAL '30 hours' AS recent,
  journal_retention > INTERVAL '1 hour' AS kept
FROM sys_invocation_status ORDER BY id LIMIT 50000""",
    "numbers": """
SELECT id, CAST(journal_size AS DOUBLE) * 1.1 AS x, round(journal_size * 1.235, 2) AS r,
  round(journal_size / 2.0) AS r0,
  ln(journal_size) AS l, abs(2 - CAST(journal_size AS BIGINT)) AS a, CAST(journal_size / 3.0 AS BIGINT) AS i,
  greatest(journal_size, NULL, 3) AS g, partition_key, 5 AS five, 1.5 AS fraction, floor(journal_size / 2.0) AS f
FROM sys_invocation_status ORDER BY id LIMIT 50000""",
    "aggregates with ties": """
SELECT target_service_name || '/' || target_handler_name AS handler,
  count(*) FILTER (WHERE completion_result = 'failure') AS failed, avg(journal_size) AS mean,
  first_value(id ORDER BY journal_size, id) AS first, last_value(id ORDER BY completion_failure, id) AS last,
  first_value(completion_failure ORDER BY completion_failure DESC, id DESC) AS f,
  first_value(id ORDER BY created_at, id) FILTER (WHERE completion_result = 'failure') AS failed_id,
  array_agg(DISTINCT completion_result ORDER BY completion_result) AS results,
  percentile_cont(journal_size, 0.370000000000001) AS p,
  percentile_cont(0.900000000000001) WITHIN GROUP (ORDER BY journal_size) AS q,
  median(journal_size) AS m, stddev(journal_size) AS s, min(completed_at) AS low, max(completion_failure) AS high,
  bool_or(journal_size > 3) AS any, count(DISTINCT target_handler_name) AS handlers
FROM sys_invocation_status GROUP BY 1 ORDER BY 1""",
    "no row at all": """
SELECT count(*) AS n, sum(journal_size) AS s, avg(journal_size) AS a, min(id) AS low, max(created_at) AS high,
  array_agg(id ORDER BY id) AS ids, percentile_cont(journal_size, 0.5) AS p, first_value(id ORDER BY id) AS f
FROM sys_invocation_status WHERE target = 'none'""",
    "an empty result": """
SELECT id, completed_at, completion_retention, journal_size FROM sys_invocation WHERE target = 'none'""",
    "set operations": """
SELECT target, NULL AS nothing FROM sys_invocation_status UNION SELECT name, 'x' FROM journal_entries
EXCEPT SELECT 'none', 'x' FROM sys_invocation_status WHERE false ORDER BY 1, 2""",
    "subqueries": """
SELECT target, count(*) AS n FROM sys_invocation_status s
WHERE EXISTS (SELECT 1 FROM sys_journal j WHERE j.id = s.id AND j.index = 1)
  AND s.journal_size >= (SELECT avg(journal_size) FROM sys_invocation_status)
  AND target NOT IN (SELECT target FROM sys_invocation_status WHERE journal_size > 1000)
GROUP BY target HAVING count(*) > 1 ORDER BY 1""",
    "names that are words": """
SELECT "index", count(*) AS "select", max("index") AS "Größe ""q"" `b`" FROM sys_journal GROUP BY 1 ORDER BY 1""",
    "unnamed columns": "SELECT count(*), count(id), max(journal_size) + 1 FROM sys_invocation_status",
    "own tables": """
SELECT cluster_name, day, count(*) AS n, sum(journal_size) FROM archive.invocations GROUP BY 1, 2 ORDER BY 1, 2""",
    "JSON": f"""
SELECT kind, json_get_str(j, 'a') AS s, json_get_int(j, 'a') AS i, json_get_float(j, 'a') AS f, json_get_bool(j,
  'a') AS b,
  json_contains(j, 'a') AS has, json_length(j, 'a') AS n, json_get_str(json_get_json(j, 'b'), 'c') AS c,
  json_get_int(json_get_json(j, 'b'), 'c') AS ci, json_get_float(json_get_json(j, 'b'), 'c') AS cf,
  json_get_bool(json_get_json(j, 'b'), 'c') AS cb
FROM ({_JSON}) CROSS JOIN {_RUN} ORDER BY kind""",
    "JSON of the journal": """
SELECT entry_type, json_get_str(json_get_json(json_get_json(entry_lite_json, 'Command'), 'Output'),
  'result') AS result,
  count(*) AS n FROM sys_journal GROUP BY 1, 2 ORDER BY 1, 2""",
}
