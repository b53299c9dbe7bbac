SELECT channel_name, last_error_number, last_error_message
FROM (
  SELECT channel_name, last_error_number, last_error_message, last_error_timestamp
  FROM performance_schema.replication_connection_status
  UNION ALL
  SELECT channel_name, last_error_number, last_error_message, last_error_timestamp
  FROM performance_schema.replication_applier_status_by_coordinator
  UNION ALL
  SELECT channel_name, last_error_number, last_error_message, last_error_timestamp
  FROM performance_schema.replication_applier_status_by_worker
) AS errors
WHERE channel_name IN ('group_replication_applier', 'group_replication_recovery') AND last_error_number <> 0
ORDER BY last_error_timestamp DESC
LIMIT 1
