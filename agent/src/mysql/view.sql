SELECT member_id, member_host, member_port, member_state, member_role, member_version,
  member_id IN ('', @@GLOBAL.server_uuid)
FROM performance_schema.replication_group_members
