SELECT u.user FROM mysql.user AS u
WHERE u.user LIKE 'mysql|_innodb|_cluster|_%' ESCAPE '|' AND u.select_priv <> 'Y'
AND NOT EXISTS (SELECT 1 FROM mysql.db AS d
  WHERE d.user = u.user AND d.host = u.host AND d.db = 'performance_schema' AND d.select_priv = 'Y')
AND 2 > (SELECT COUNT(*) FROM mysql.tables_priv AS t
  WHERE t.user = u.user AND t.host = u.host AND t.db = 'performance_schema'
  AND t.table_name IN ('replication_group_members', 'replication_group_member_stats') AND FIND_IN_SET('Select', t.table_priv) > 0)
ORDER BY u.user LIMIT 20
