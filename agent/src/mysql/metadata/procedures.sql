-- Stored procedures of AdminAPI's metadata schema 2.4.0: changes of a ClusterSet and of routing options.
-- A parameter hides a column of the same name, so every column here is written with its table's alias.
-- Every statement ends with a line that holds `$$` alone; each may be run again.
DELIMITER $$
CREATE PROCEDURE IF NOT EXISTS _v2_begin_cs_change(
  IN cs_id VARCHAR(36), IN operation VARCHAR(32), IN is_failover INT, OUT csvid BIGINT UNSIGNED)
SQL SECURITY INVOKER
BEGIN
  DECLARE newest BIGINT UNSIGNED DEFAULT NULL;
  SELECT MAX(v.view_id) INTO newest FROM clusterset_views AS v WHERE v.clusterset_id = cs_id;
  IF newest IS NULL THEN
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no such clusterset';
  END IF;
  -- the upper half counts fail-overs: a view made by one is newer than any that the old primary may still make
  SET csvid = newest + IF(is_failover, 4294967296, 1);
  INSERT INTO clusterset_views (clusterset_id, view_id, topology_type, view_change_reason, view_change_time,
      view_change_info, attributes)
    SELECT v.clusterset_id, csvid, v.topology_type, operation, NOW(6),
      JSON_OBJECT('user', USER(), 'source', @@server_uuid), v.attributes
    FROM clusterset_views AS v
    WHERE v.clusterset_id = cs_id AND v.view_id = newest;
  INSERT INTO clusterset_members (clusterset_id, view_id, cluster_id, master_cluster_id, primary_cluster, attributes)
    SELECT m.clusterset_id, csvid, m.cluster_id, m.master_cluster_id, m.primary_cluster, m.attributes
    FROM clusterset_members AS m
    WHERE m.clusterset_id = cs_id AND m.view_id = newest;
END
$$
CREATE PROCEDURE IF NOT EXISTS v2_cs_created(
  IN domain_name VARCHAR(63), IN cluster_id VARCHAR(36), IN attributes JSON, OUT cs_id VARCHAR(36))
SQL SECURITY INVOKER
BEGIN
  SET cs_id = UUID();
  INSERT INTO clustersets (clusterset_id, domain_name, options, attributes, router_options)
    VALUES (cs_id, domain_name, '{}', '{}', '{}');
  INSERT INTO clusterset_views (clusterset_id, view_id, topology_type, view_change_reason, view_change_time,
      view_change_info, attributes)
    VALUES (cs_id, 1, 'SINGLE-PRIMARY-TREE', 'CREATE', NOW(6),
      JSON_OBJECT('user', USER(), 'source', @@server_uuid), attributes);
  INSERT INTO clusterset_members (clusterset_id, view_id, cluster_id, master_cluster_id, primary_cluster, attributes)
    VALUES (cs_id, 1, cluster_id, NULL, 1, '{}');
  UPDATE clusters AS c SET c.clusterset_id = cs_id WHERE c.cluster_id = cluster_id;
END
$$
CREATE PROCEDURE IF NOT EXISTS v2_cs_member_added(
  IN cs_id VARCHAR(36), IN cluster_id VARCHAR(36), IN master_cluster_id VARCHAR(36), IN attributes JSON)
SQL SECURITY INVOKER
BEGIN
  DECLARE csvid BIGINT UNSIGNED;
  CALL _v2_begin_cs_change(cs_id, 'ADD_CLUSTER', 0, csvid);
  INSERT INTO clusterset_members (clusterset_id, view_id, cluster_id, master_cluster_id, primary_cluster, attributes)
    VALUES (cs_id, csvid, cluster_id, master_cluster_id, 0, attributes);
  UPDATE clusters AS c SET c.clusterset_id = cs_id WHERE c.cluster_id = cluster_id;
END
$$
CREATE PROCEDURE IF NOT EXISTS v2_cs_member_rejoined(
  IN cs_id VARCHAR(36), IN cluster_id VARCHAR(36), IN master_cluster_id VARCHAR(36), IN attributes JSON)
SQL SECURITY INVOKER
BEGIN
  DECLARE csvid BIGINT UNSIGNED;
  CALL _v2_begin_cs_change(cs_id, 'REJOIN_CLUSTER', 0, csvid);
  -- it may still be a member (it was only stopped) or have been invalidated (no row)
  DELETE FROM m USING clusterset_members AS m
    WHERE m.clusterset_id = cs_id AND m.view_id = csvid AND m.cluster_id = cluster_id;
  INSERT INTO clusterset_members (clusterset_id, view_id, cluster_id, master_cluster_id, primary_cluster, attributes)
    VALUES (cs_id, csvid, cluster_id, master_cluster_id, 0, attributes);
END
$$
CREATE PROCEDURE IF NOT EXISTS v2_cs_member_removed(IN cs_id VARCHAR(36), IN cluster_id VARCHAR(36))
SQL SECURITY INVOKER
BEGIN
  DECLARE csvid BIGINT UNSIGNED;
  CALL _v2_begin_cs_change(cs_id, 'REMOVE_CLUSTER', 0, csvid);
  DELETE FROM m USING clusterset_members AS m
    WHERE m.clusterset_id = cs_id AND m.view_id = csvid AND m.cluster_id = cluster_id;
  UPDATE clusters AS c SET c.clusterset_id = NULL WHERE c.cluster_id = cluster_id;
END
$$
CREATE PROCEDURE IF NOT EXISTS v2_cs_primary_changed(
  IN cs_id VARCHAR(36), IN primary_cluster_id VARCHAR(36), IN primary_attributes JSON)
SQL SECURITY INVOKER
BEGIN
  DECLARE csvid BIGINT UNSIGNED;
  CALL _v2_begin_cs_change(cs_id, 'SWITCH_PRIMARY', 0, csvid);
  UPDATE clusterset_members AS m
    SET m.master_cluster_id = IF(m.cluster_id = primary_cluster_id, NULL, primary_cluster_id),
      m.primary_cluster = (m.cluster_id = primary_cluster_id),
      m.attributes = IF(m.cluster_id = primary_cluster_id,
        JSON_MERGE_PATCH(m.attributes, primary_attributes), m.attributes)
    WHERE m.clusterset_id = cs_id AND m.view_id = csvid;
END
$$
CREATE PROCEDURE IF NOT EXISTS v2_cs_primary_force_changed(
  IN cs_id VARCHAR(36), IN primary_cluster_id VARCHAR(36), IN primary_attributes JSON)
SQL SECURITY INVOKER
BEGIN
  DECLARE csvid BIGINT UNSIGNED;
  CALL _v2_begin_cs_change(cs_id, 'FORCE_PRIMARY', 1, csvid);
  UPDATE clusterset_members AS m
    SET m.master_cluster_id = IF(m.cluster_id = primary_cluster_id, NULL, primary_cluster_id),
      m.primary_cluster = (m.cluster_id = primary_cluster_id),
      m.attributes = IF(m.cluster_id = primary_cluster_id,
        JSON_MERGE_PATCH(m.attributes, primary_attributes), m.attributes)
    WHERE m.clusterset_id = cs_id AND m.view_id = csvid;
END
$$
CREATE PROCEDURE IF NOT EXISTS v2_cs_add_invalidated_member(IN cs_id VARCHAR(36), IN cluster_id VARCHAR(36))
SQL SECURITY INVOKER
BEGIN
  DECLARE newest BIGINT UNSIGNED;
  -- part of another change, which has made the newest view already
  SELECT MAX(v.view_id) INTO newest FROM clusterset_views AS v WHERE v.clusterset_id = cs_id;
  DELETE FROM m USING clusterset_members AS m
    WHERE m.clusterset_id = cs_id AND m.view_id = newest AND m.cluster_id = cluster_id;
END
$$
CREATE PROCEDURE IF NOT EXISTS v2_set_global_cs_router_option(
  IN id VARCHAR(36), IN option_name VARCHAR(100), IN option_value JSON)
SQL SECURITY INVOKER
BEGIN
  UPDATE clustersets AS s
    SET s.router_options = JSON_SET(COALESCE(s.router_options, JSON_OBJECT()), CONCAT('$.', option_name), option_value)
    WHERE s.clusterset_id = id;
END
$$
CREATE PROCEDURE IF NOT EXISTS v2_set_global_cluster_router_option(
  IN id VARCHAR(36), IN option_name VARCHAR(100), IN option_value JSON)
SQL SECURITY INVOKER
BEGIN
  UPDATE clusters AS c
    SET c.router_options = JSON_SET(COALESCE(c.router_options, JSON_OBJECT()), CONCAT('$.', option_name), option_value)
    WHERE c.cluster_id = id;
END
$$
CREATE PROCEDURE IF NOT EXISTS v2_set_cs_routing_option(
  IN router VARCHAR(512), IN clusterset_id VARCHAR(36), IN option_name VARCHAR(100), IN option_value JSON)
SQL SECURITY INVOKER
BEGIN
  DECLARE found INT UNSIGNED DEFAULT NULL;
  SELECT r.router_id INTO found FROM routers AS r
    WHERE r.clusterset_id = clusterset_id
      AND CONCAT(CONVERT(r.address USING utf8mb4), '::', r.router_name) = router;
  IF found IS NULL THEN
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no such router in this clusterset';
  END IF;
  UPDATE routers AS r
    SET r.options = IF(option_value IS NULL,
      JSON_REMOVE(COALESCE(r.options, JSON_OBJECT()), CONCAT('$.', option_name)),
      JSON_SET(COALESCE(r.options, JSON_OBJECT()), CONCAT('$.', option_name), option_value))
    WHERE r.router_id = found;
END
$$
CREATE PROCEDURE IF NOT EXISTS v2_set_cluster_routing_option(
  IN router VARCHAR(512), IN cluster_id VARCHAR(36), IN option_name VARCHAR(100), IN option_value JSON)
SQL SECURITY INVOKER
BEGIN
  DECLARE found INT UNSIGNED DEFAULT NULL;
  SELECT r.router_id INTO found FROM routers AS r
    WHERE r.cluster_id = cluster_id
      AND CONCAT(CONVERT(r.address USING utf8mb4), '::', r.router_name) = router;
  IF found IS NULL THEN
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no such router in this cluster';
  END IF;
  UPDATE routers AS r
    SET r.options = IF(option_value IS NULL,
      JSON_REMOVE(COALESCE(r.options, JSON_OBJECT()), CONCAT('$.', option_name)),
      JSON_SET(COALESCE(r.options, JSON_OBJECT()), CONCAT('$.', option_name), option_value))
    WHERE r.router_id = found;
END
$$
