-- Tables of AdminAPI's metadata schema 2.4.0, in an order that satisfies the foreign keys.
-- Every statement ends with a line that holds `$$` alone; each may be run again.
DELIMITER $$
CREATE TABLE IF NOT EXISTS clusters (
  cluster_id CHAR(36) CHARACTER SET ascii COLLATE ascii_general_ci NOT NULL,
  cluster_name VARCHAR(63) NOT NULL,
  description TEXT,
  options JSON,
  attributes JSON,
  cluster_type ENUM('gr', 'ar') NOT NULL,
  primary_mode ENUM('pm', 'mm') NOT NULL DEFAULT 'pm',
  router_options JSON,
  clusterset_id VARCHAR(36) CHARACTER SET ascii COLLATE ascii_general_ci DEFAULT NULL,
  PRIMARY KEY (cluster_id),
  UNIQUE KEY cluster_name (cluster_name)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4
$$
CREATE TABLE IF NOT EXISTS instances (
  instance_id INT UNSIGNED NOT NULL AUTO_INCREMENT,
  cluster_id CHAR(36) CHARACTER SET ascii COLLATE ascii_general_ci NOT NULL,
  address VARCHAR(265) CHARACTER SET ascii COLLATE ascii_general_ci DEFAULT NULL,
  mysql_server_uuid CHAR(36) NOT NULL,
  instance_name VARCHAR(265) NOT NULL,
  addresses JSON NOT NULL,
  attributes JSON,
  description TEXT,
  instance_type ENUM('group-member', 'async-member', 'read-replica') NOT NULL,
  PRIMARY KEY (instance_id, cluster_id),
  CONSTRAINT instances_ibfk_1 FOREIGN KEY (cluster_id) REFERENCES clusters (cluster_id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4
$$
CREATE TABLE IF NOT EXISTS routers (
  router_id INT UNSIGNED NOT NULL AUTO_INCREMENT,
  router_name VARCHAR(265) NOT NULL,
  product_name VARCHAR(128) NOT NULL,
  address VARCHAR(256) CHARACTER SET ascii COLLATE ascii_general_ci NOT NULL,
  version VARCHAR(12) DEFAULT NULL,
  last_check_in TIMESTAMP NULL DEFAULT NULL,
  attributes JSON,
  cluster_id CHAR(36) CHARACTER SET ascii COLLATE ascii_general_ci DEFAULT NULL,
  options JSON DEFAULT NULL,
  clusterset_id VARCHAR(36) CHARACTER SET ascii COLLATE ascii_general_ci DEFAULT NULL,
  PRIMARY KEY (router_id),
  UNIQUE KEY address (address, router_name)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4
$$
CREATE TABLE IF NOT EXISTS router_stats (
  router_id INT UNSIGNED NOT NULL,
  last_check_in TIMESTAMP NULL DEFAULT NULL,
  PRIMARY KEY (router_id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4
$$
CREATE TABLE IF NOT EXISTS router_rest_accounts (
  cluster_id CHAR(36) CHARACTER SET ascii COLLATE ascii_general_ci NOT NULL,
  user VARCHAR(256) NOT NULL,
  authentication_method VARCHAR(64) NOT NULL DEFAULT 'modular_crypt_format',
  authentication_string TEXT CHARACTER SET ascii COLLATE ascii_general_ci,
  description VARCHAR(255) DEFAULT NULL,
  privileges JSON,
  attributes JSON DEFAULT NULL,
  PRIMARY KEY (cluster_id, user)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4
$$
CREATE TABLE IF NOT EXISTS clustersets (
  clusterset_id VARCHAR(36) CHARACTER SET ascii COLLATE ascii_general_ci NOT NULL,
  domain_name VARCHAR(63) NOT NULL,
  options JSON,
  attributes JSON,
  router_options JSON,
  topology_type ENUM('SINGLE-PRIMARY-STAR') DEFAULT NULL,
  PRIMARY KEY (clusterset_id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4
$$
CREATE TABLE IF NOT EXISTS clusterset_views (
  clusterset_id VARCHAR(36) CHARACTER SET ascii COLLATE ascii_general_ci NOT NULL,
  view_id BIGINT UNSIGNED NOT NULL,
  topology_type ENUM('SINGLE-PRIMARY-TREE') DEFAULT NULL,
  view_change_reason VARCHAR(32) NOT NULL,
  view_change_time TIMESTAMP(6) NOT NULL,
  view_change_info JSON NOT NULL,
  attributes JSON NOT NULL,
  PRIMARY KEY (clusterset_id, view_id),
  INDEX (view_id),
  CONSTRAINT clusterset_views_ibfk_1 FOREIGN KEY (clusterset_id) REFERENCES clustersets (clusterset_id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4
$$
CREATE TABLE IF NOT EXISTS clusterset_members (
  clusterset_id VARCHAR(36) CHARACTER SET ascii COLLATE ascii_general_ci NOT NULL,
  view_id BIGINT UNSIGNED NOT NULL,
  cluster_id VARCHAR(36) CHARACTER SET ascii COLLATE ascii_general_ci NOT NULL,
  master_cluster_id VARCHAR(36) CHARACTER SET ascii COLLATE ascii_general_ci DEFAULT NULL,
  primary_cluster BOOL NOT NULL,
  attributes JSON NOT NULL,
  PRIMARY KEY (clusterset_id, view_id, cluster_id),
  INDEX (view_id),
  INDEX (cluster_id),
  CONSTRAINT clusterset_members_ibfk_1 FOREIGN KEY (clusterset_id, view_id)
    REFERENCES clusterset_views (clusterset_id, view_id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4
$$
CREATE TABLE IF NOT EXISTS async_cluster_views (
  cluster_id CHAR(36) CHARACTER SET ascii COLLATE ascii_general_ci NOT NULL,
  view_id INT UNSIGNED NOT NULL,
  topology_type ENUM('SINGLE-PRIMARY-TREE') DEFAULT NULL,
  view_change_reason VARCHAR(32) NOT NULL,
  view_change_time TIMESTAMP(6) NOT NULL,
  view_change_info JSON NOT NULL,
  attributes JSON NOT NULL,
  PRIMARY KEY (cluster_id, view_id),
  INDEX (view_id),
  CONSTRAINT async_cluster_views_ibfk_1 FOREIGN KEY (cluster_id) REFERENCES clusters (cluster_id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4
$$
CREATE TABLE IF NOT EXISTS async_cluster_members (
  cluster_id CHAR(36) CHARACTER SET ascii COLLATE ascii_general_ci NOT NULL,
  view_id INT UNSIGNED NOT NULL,
  instance_id INT UNSIGNED NOT NULL,
  master_instance_id INT UNSIGNED DEFAULT NULL,
  primary_master BOOL NOT NULL,
  attributes JSON NOT NULL,
  PRIMARY KEY (cluster_id, view_id, instance_id),
  INDEX (view_id),
  INDEX (instance_id),
  CONSTRAINT async_cluster_members_ibfk_1 FOREIGN KEY (cluster_id, view_id)
    REFERENCES async_cluster_views (cluster_id, view_id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4
$$
CREATE TABLE IF NOT EXISTS routing_guidelines (
  guideline_id VARCHAR(36) CHARACTER SET ascii COLLATE ascii_general_ci NOT NULL,
  name VARCHAR(63) NOT NULL,
  guideline JSON,
  clusterset_id VARCHAR(36) CHARACTER SET ascii COLLATE ascii_general_ci DEFAULT NULL,
  cluster_id VARCHAR(36) CHARACTER SET ascii COLLATE ascii_general_ci DEFAULT NULL,
  last_update TIMESTAMP NULL DEFAULT NULL,
  default_guideline BOOL NOT NULL,
  PRIMARY KEY (guideline_id),
  UNIQUE KEY name (name),
  CONSTRAINT routing_guidelines_ibfk_1 FOREIGN KEY (clusterset_id) REFERENCES clustersets (clusterset_id),
  CONSTRAINT routing_guidelines_ibfk_2 FOREIGN KEY (cluster_id) REFERENCES clusters (cluster_id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4
$$
