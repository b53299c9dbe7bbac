SELECT @@GLOBAL.gtid_executed,
  (SELECT COALESCE(SUM(count_transactions_in_queue + count_transactions_remote_in_applier_queue), 0)
   FROM performance_schema.replication_group_member_stats WHERE member_id = @@GLOBAL.server_uuid)
