-- Rows that came into a table with a partition: those that nobody's change is noted of.
INSERT INTO {{history}} (epoch_lineage, {{key}}, epoch_existed)
SELECT 1, {{key_o}}, false FROM ONLY {{target}} o
WHERE NOT EXISTS (SELECT FROM {{history}} h WHERE h.epoch_lineage = 1 AND {{match_o}} AND h.epoch_to = 9223372036854775807 OFFSET 0)
