-- Views of AdminAPI's metadata schema 2.4.0. Router reads and writes through some of them: which must be updatable is
-- compared with what the real schema has, by the test of this folder.
-- Every statement ends with a line that holds `$$` alone; each may be run again.
DELIMITER $$
CREATE OR REPLACE SQL SECURITY INVOKER VIEW v2_clusters AS
SELECT c.cluster_type, c.primary_mode, c.cluster_id, c.cluster_name, c.router_options
FROM clusters AS c
$$
CREATE OR REPLACE SQL SECURITY INVOKER VIEW v2_gr_clusters AS
SELECT c.cluster_type, c.primary_mode, c.cluster_id, c.cluster_name,
  JSON_UNQUOTE(JSON_EXTRACT(c.attributes, '$.group_replication_group_name')) AS group_name,
  c.attributes, c.options, c.router_options, c.description, c.clusterset_id
FROM clusters AS c
WHERE c.cluster_type = 'gr'
$$
CREATE OR REPLACE SQL SECURITY INVOKER VIEW v2_instances AS
SELECT i.instance_id, i.cluster_id, i.instance_name AS label, i.mysql_server_uuid, i.address,
  JSON_UNQUOTE(JSON_EXTRACT(i.addresses, '$.mysqlClassic')) AS endpoint,
  JSON_UNQUOTE(JSON_EXTRACT(i.addresses, '$.mysqlX')) AS xendpoint,
  JSON_INSERT(COALESCE(i.attributes, JSON_OBJECT()), '$.instance_type', i.instance_type) AS attributes,
  i.instance_type
FROM instances AS i
$$
CREATE OR REPLACE SQL SECURITY INVOKER VIEW v2_this_instance AS
SELECT i.cluster_id, i.instance_id, i.instance_type, c.cluster_name, c.cluster_type
FROM instances AS i
  JOIN clusters AS c ON c.cluster_id = i.cluster_id
WHERE i.mysql_server_uuid = (
  SELECT CONVERT(g.variable_value USING utf8mb4) COLLATE utf8mb4_general_ci
  FROM performance_schema.global_variables AS g
  WHERE g.variable_name = 'server_uuid')
$$
CREATE OR REPLACE SQL SECURITY INVOKER VIEW v2_routers AS
SELECT r.router_id, r.cluster_id, r.router_name, r.product_name, r.address, r.version, r.last_check_in, r.attributes,
  r.options, r.clusterset_id
FROM routers AS r
$$
CREATE OR REPLACE SQL SECURITY INVOKER VIEW v2_router_rest_accounts AS
SELECT a.cluster_id, a.user, a.authentication_method, a.authentication_string, a.description, a.privileges, a.attributes
FROM router_rest_accounts AS a
$$
-- subqueries instead of outer joins: a view with an outer join would not be updatable
CREATE OR REPLACE SQL SECURITY INVOKER VIEW v2_router_options AS
SELECT r.router_id, CONCAT(CONVERT(r.address USING utf8mb4), '::', r.router_name) AS router_label, r.cluster_id,
  r.clusterset_id,
  JSON_MERGE_PATCH(
    COALESCE((SELECT s.router_options FROM clustersets AS s WHERE s.clusterset_id = r.clusterset_id), JSON_OBJECT()),
    COALESCE((SELECT c.router_options FROM clusters AS c WHERE c.cluster_id = r.cluster_id), JSON_OBJECT()),
    COALESCE(r.options, JSON_OBJECT())) AS router_options
FROM routers AS r
$$
CREATE OR REPLACE SQL SECURITY INVOKER VIEW v2_cs_router_options AS
SELECT r.router_id, CONCAT(CONVERT(r.address USING utf8mb4), '::', r.router_name) AS router_label, r.clusterset_id,
  JSON_MERGE_PATCH(
    COALESCE(s.router_options, JSON_OBJECT()),
    COALESCE(r.options, JSON_OBJECT())) AS router_options
FROM routers AS r
  JOIN clustersets AS s ON s.clusterset_id = r.clusterset_id
$$
CREATE OR REPLACE SQL SECURITY INVOKER VIEW v2_ar_clusters AS
SELECT v.view_id, c.cluster_type, c.primary_mode, v.topology_type AS async_topology_type, c.cluster_id, c.cluster_name,
  c.attributes, c.options, c.router_options, c.description, c.clusterset_id
FROM clusters AS c
  JOIN async_cluster_views AS v ON v.cluster_id = c.cluster_id
WHERE c.cluster_type = 'ar'
  AND v.view_id = (SELECT MAX(n.view_id) FROM async_cluster_views AS n WHERE n.cluster_id = c.cluster_id)
$$
CREATE OR REPLACE SQL SECURITY INVOKER VIEW v2_ar_members AS
SELECT n.view_id, i.cluster_id, i.instance_id, i.instance_name AS label, i.mysql_server_uuid AS member_id,
  IF(m.primary_master, 'PRIMARY', 'SECONDARY') AS member_role, m.master_instance_id,
  s.mysql_server_uuid AS master_member_id
FROM (SELECT cluster_id, MAX(view_id) AS view_id FROM async_cluster_views GROUP BY cluster_id) AS n
  JOIN async_cluster_members AS m ON m.cluster_id = n.cluster_id AND m.view_id = n.view_id
  JOIN instances AS i ON i.cluster_id = m.cluster_id AND i.instance_id = m.instance_id
  LEFT JOIN instances AS s ON s.cluster_id = m.cluster_id AND s.instance_id = m.master_instance_id
$$
CREATE OR REPLACE SQL SECURITY INVOKER VIEW v2_cs_clustersets AS
SELECT v.view_id, v.topology_type AS async_topology_type, s.clusterset_id, s.domain_name, s.attributes, s.options,
  s.router_options
FROM clustersets AS s
  JOIN clusterset_views AS v ON v.clusterset_id = s.clusterset_id
WHERE v.view_id = (SELECT MAX(n.view_id) FROM clusterset_views AS n WHERE n.clusterset_id = s.clusterset_id)
$$
CREATE OR REPLACE SQL SECURITY INVOKER VIEW v2_cs_members AS
SELECT n.view_id, c.clusterset_id, c.cluster_id, c.cluster_name,
  IF(m.cluster_id IS NULL, NULL, IF(m.primary_cluster, 'PRIMARY', 'REPLICA')) AS member_role,
  m.master_cluster_id, m.cluster_id IS NULL AS invalidated
FROM (SELECT clusterset_id, MAX(view_id) AS view_id FROM clusterset_views GROUP BY clusterset_id) AS n
  LEFT JOIN clusters AS c ON c.clusterset_id = n.clusterset_id
  LEFT JOIN clusterset_members AS m
    ON m.clusterset_id = n.clusterset_id AND m.view_id = n.view_id AND m.cluster_id = c.cluster_id
WHERE c.cluster_id IS NOT NULL
$$
