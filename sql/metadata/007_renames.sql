-- A table that a merge into main gave another name leaves its own to others that are registered later: older commits and
-- branches go on showing it under that. Two that main shows at one time have different names; that is seen to under the
-- operation lock.
DROP INDEX tables_name;
