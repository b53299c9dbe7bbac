SELECT m.member_id, m.member_host, m.member_port, m.member_state, m.member_role, m.member_version,
  m.member_id IN ('', @@GLOBAL.server_uuid), s.view_id,
  COALESCE(s.count_transactions_in_queue, 0) + COALESCE(s.count_transactions_remote_in_applier_queue, 0)
FROM performance_schema.replication_group_members AS m
  LEFT JOIN performance_schema.replication_group_member_stats AS s
    ON s.member_id = m.member_id AND m.member_id = @@GLOBAL.server_uuid
