-- The schema's version, made last: where it can be read, all that comes before it is there.
DELIMITER $$
CREATE OR REPLACE SQL SECURITY INVOKER VIEW schema_version (major, minor, patch) AS SELECT 2, 4, 0
$$
