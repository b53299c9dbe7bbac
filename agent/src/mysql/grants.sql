SELECT '', '', privilege_type, is_grantable FROM information_schema.user_privileges WHERE grantee = ?
UNION ALL
SELECT table_schema, '', privilege_type, is_grantable FROM information_schema.schema_privileges WHERE grantee = ?
UNION ALL
SELECT table_schema, table_name, privilege_type, is_grantable FROM information_schema.table_privileges WHERE grantee = ?
