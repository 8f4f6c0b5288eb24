-- Moves pending work of one table into an ordinal: exactly what is visible in the snapshot, and
-- this transaction's own. Per key the first image counts; the state after is the first image that
-- isn't part of this, else the row as it stands. What didn't change on balance is forgotten.
-- $1: the lineage, $2: the ordinal, $3: the snapshot.
WITH done AS (
    DELETE FROM {{history}} h
    WHERE h.epoch_lineage = $1 AND h.epoch_to = 9223372036854775807 AND h.epoch_seq >= '0/0'
        AND (pg_visible_in_snapshot(h.epoch_xid, (SELECT $3::text::pg_snapshot)) OR h.epoch_xid = pg_current_xact_id()) {{own}}
    RETURNING h.*),
-- Usually there is none of these, and then nothing has to be looked up per row.
in_flight AS (
    SELECT EXISTS (SELECT FROM {{history}} x
        WHERE x.epoch_lineage = $1 AND x.epoch_to = 9223372036854775807 AND x.epoch_seq >= '0/0'
            AND NOT (pg_visible_in_snapshot(x.epoch_xid, (SELECT $3::text::pg_snapshot)) OR x.epoch_xid = pg_current_xact_id())) AS there),
published AS (
    SELECT EXISTS (SELECT FROM {{line}} x
        WHERE x.epoch_lineage = $1 AND x.epoch_to < 9223372036854775807 AND x.epoch_seq >= '0/0') AS there),
first AS (SELECT DISTINCT ON ({{key_h}}) h.* FROM done h ORDER BY {{key_h}}, h.epoch_seq),
compared AS (
    SELECT f.*, coalesce(l.epoch_existed, b.epoch_there, false) AS epoch_exists, {{after}}
    FROM first f
    LEFT JOIN LATERAL (
        SELECT w.* FROM {{history}} w
        WHERE w.epoch_lineage = $1 AND {{match_w}} AND w.epoch_to = 9223372036854775807
            AND NOT (pg_visible_in_snapshot(w.epoch_xid, (SELECT $3::text::pg_snapshot)) OR w.epoch_xid = pg_current_xact_id())
            AND (SELECT there FROM in_flight)
        ORDER BY w.epoch_to, w.epoch_seq LIMIT 1) l ON true
    LEFT JOIN LATERAL ({{current}} AND l.epoch_existed IS NULL OFFSET 0) b ON true
    OFFSET 0),
net AS MATERIALIZED (
    SELECT n.* FROM compared n
    WHERE n.epoch_existed <> n.epoch_exists
        OR (n.epoch_existed AND NOT (ROW({{columns_n}})::pg_catalog.record OPERATOR(pg_catalog.*=) ROW({{after_n}})::pg_catalog.record))
    -- They come in this order anyway; sorting them for the digest took as long as working it out.
    ORDER BY {{key_n}}),
moved AS (
    INSERT INTO {{history}} (epoch_lineage, {{columns}}, epoch_existed, epoch_seq, epoch_xid, epoch_from, epoch_to, epoch_depth)
    SELECT $1, {{columns_f}}, f.epoch_existed, f.epoch_seq, NULL,
        coalesce((SELECT g.epoch_to FROM {{line}} g
                  WHERE g.epoch_lineage = $1 AND {{match_g}} AND g.epoch_to < 9223372036854775807
                      AND (SELECT there FROM published)
                  ORDER BY g.epoch_to DESC LIMIT 1), 0),
        $2::int8, 0
    FROM net f)
SELECT count(*) FILTER (WHERE NOT n.epoch_existed), count(*) FILTER (WHERE n.epoch_existed AND n.epoch_exists),
    count(*) FILTER (WHERE NOT n.epoch_exists),
    encode(sha256(string_agg(sha256(convert_to(
        CASE WHEN n.epoch_exists THEN '+' || ROW({{after_n}})::text ELSE '-' || ROW({{key_n}})::text END, 'UTF8')), ''::bytea)), 'hex'),
    {{beside}}
FROM net n
