-- Uncommitted images of a history that was made from a dump. Those of the dump come first, in their order; of what was
-- written since, each is later than all of the dump. Their transactions have ended (3: one that everybody sees).
-- Those of the dump were inserted by one COPY, so that their xmin is the oldest and not the transaction they tell.
-- Places are moved to where none is and back, because each is unique while the statement runs.
WITH epoch_n AS MATERIALIZED (
    SELECT h.ctid AS place, h.epoch_seq AS seq, h.epoch_xid >= pg_snapshot_xmax(pg_current_snapshot())
        OR (age(h.xmin) = max(age(h.xmin)) OVER () AND h.epoch_xid::xid <> h.xmin) AS dumped
    FROM {{history}} h WHERE h.epoch_to = 9223372036854775807)
UPDATE {{history}} h SET epoch_seq = 'F0000000/0'::pg_lsn + n.rank,
    epoch_xid = CASE WHEN n.dumped THEN '3'::xid8 ELSE h.epoch_xid END
FROM (SELECT place, dumped, row_number() OVER (ORDER BY dumped DESC, seq)::numeric AS rank FROM epoch_n) n
WHERE h.ctid = n.place;
UPDATE {{history}} SET epoch_seq = '0/0'::pg_lsn + (epoch_seq - 'F0000000/0'::pg_lsn)
WHERE epoch_to = 9223372036854775807 AND epoch_seq >= 'F0000000/0'::pg_lsn;
