-- Capture of before-images on overlays and on tables with partitions: the functions of capture_triggers.sql. (Other
-- tables: capture_plain.sql. On an overlay a row's version may be of the transaction because it was copied up. No client's
-- statements and no cascades of the server's run within statements there.)
--
-- The true before-image of a key in a transaction is the one of the statement that *started* first,
-- but AFTER triggers of nested statements (a user's trigger that writes the same table) fire before
-- those of the outer one. So a BEFORE trigger notes in a setting how many captures (of partitioned tables marks, too)
-- the transaction has seen (epoch.marks), and where the write-ahead log is; it is done in the WHEN condition, which costs a
-- fraction of a call. If nothing was counted since, nothing was nested and the image is just inserted; else
-- what nested statements noted for the same keys gives way. Images are ordered by where in the log they
-- were written: those of one key by several transactions because the row lock (or the unique index) orders
-- the transactions. (Not by a sequence: the user's lastval() would show it.)
--
-- The last image of a key tells whether this transaction has one: the row lock keeps others out.
-- As in capture_plain.sql, names are written with their schemas. Without enable_seqscan = off, a plan made while the history is empty reads all of it for every row.
CREATE FUNCTION {{fn}}_old() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER{{path}} SET enable_seqscan = off AS $epoch$
#variable_conflict use_column
BEGIN
    {{first_old}}
    DECLARE
        epoch_v_depth pg_catalog.int4 := pg_catalog.pg_trigger_depth();
        epoch_v_setting pg_catalog.text := pg_catalog.concat('epoch.', TG_ARGV[0], '_', epoch_v_depth OPERATOR(pg_catalog.-) 1);
        epoch_v_mark pg_catalog.text := pg_catalog.current_setting(epoch_v_setting, true);
        epoch_v_count pg_catalog.int8 := pg_catalog.concat('0', pg_catalog.current_setting('epoch.marks', true));
    BEGIN
        IF coalesce(epoch_v_mark, '') OPERATOR(pg_catalog.=) '' THEN -- queued by a cascade: noted one level deeper
            epoch_v_setting := pg_catalog.concat('epoch.', TG_ARGV[0], '_', epoch_v_depth);
            epoch_v_mark := pg_catalog.current_setting(epoch_v_setting, true);
            IF coalesce(epoch_v_mark, '') OPERATOR(pg_catalog.=) '' THEN
                epoch_v_mark := pg_catalog.concat(epoch_v_count, ' 0/0');
            END IF;
        END IF;
        PERFORM pg_catalog.set_config(epoch_v_setting, '', true),
            pg_catalog.set_config('epoch.marks', (epoch_v_count OPERATOR(pg_catalog.+) 1)::pg_catalog.text, true);
        {{note}}
        {{partitions}}
        IF epoch_v_count OPERATOR(pg_catalog.>) pg_catalog.split_part(epoch_v_mark, ' ', 1)::pg_catalog.int8 THEN
            DELETE FROM {{history}} h USING {{rows_old}} o
            WHERE h.epoch_lineage OPERATOR(pg_catalog.=) {{lineage_o}} AND {{match_o}} AND h.epoch_to OPERATOR(pg_catalog.=) 9223372036854775807
                AND h.epoch_seq OPERATOR(pg_catalog.>=) pg_catalog.split_part(epoch_v_mark, ' ', 2)::pg_catalog.pg_lsn AND h.epoch_xid OPERATOR(pg_catalog.=) pg_catalog.pg_current_xact_id()
                AND (h.epoch_depth OPERATOR(pg_catalog.>) epoch_v_depth OR (h.epoch_depth OPERATOR(pg_catalog.=) epoch_v_depth AND NOT h.epoch_existed));
            IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN
                -- Rows that got their keys from this statement have no version before, whatever was done to them then.
                IF {{may_rekey}} THEN
                    DELETE FROM {{history}} h USING {{rows_new}} n
                    WHERE h.epoch_lineage OPERATOR(pg_catalog.=) {{lineage_n}} AND {{match_n}} AND h.epoch_to OPERATOR(pg_catalog.=) 9223372036854775807
                        AND h.epoch_seq OPERATOR(pg_catalog.>=) pg_catalog.split_part(epoch_v_mark, ' ', 2)::pg_catalog.pg_lsn AND h.epoch_xid OPERATOR(pg_catalog.=) pg_catalog.pg_current_xact_id()
                        AND (h.epoch_depth OPERATOR(pg_catalog.>) epoch_v_depth OR (h.epoch_depth OPERATOR(pg_catalog.=) epoch_v_depth AND NOT h.epoch_existed));
                END IF;
            END IF;
        END IF;
        INSERT INTO {{history}} (epoch_lineage, {{columns}}, epoch_existed)
        SELECT {{lineage_o}}, {{columns_o}}, true FROM {{rows_old}} o
        WHERE NOT EXISTS (
            SELECT FROM (SELECT h.epoch_xid FROM {{history}} h
                         WHERE h.epoch_lineage OPERATOR(pg_catalog.=) {{lineage_o}} AND {{match_o}}
                         ORDER BY h.epoch_to DESC, h.epoch_seq DESC LIMIT 1) h
            WHERE h.epoch_xid OPERATOR(pg_catalog.=) pg_catalog.pg_current_xact_id() OFFSET 0);
        IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN
            IF {{may_rekey}} THEN
                INSERT INTO {{history}} (epoch_lineage, {{key}}, epoch_existed)
                SELECT {{lineage_n}}, {{key_n}}, false FROM {{rows_new}} n
                WHERE NOT EXISTS (
                    SELECT FROM (SELECT h.epoch_xid FROM {{history}} h
                                 WHERE h.epoch_lineage OPERATOR(pg_catalog.=) {{lineage_n}} AND {{match_n}}
                                 ORDER BY h.epoch_to DESC, h.epoch_seq DESC LIMIT 1) h
                    WHERE h.epoch_xid OPERATOR(pg_catalog.=) pg_catalog.pg_current_xact_id() OFFSET 0);
            END IF;
        END IF;
    END;
    {{end_first}}
    RETURN NULL;
END $epoch$;

CREATE FUNCTION {{fn}}_new() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER{{path_new}} SET enable_seqscan = off AS $epoch$
#variable_conflict use_column
DECLARE
    epoch_v_rows pg_catalog.int8;
    epoch_v_near pg_catalog.bool := true;
BEGIN
    {{first_new}}
    DECLARE
        epoch_v_depth pg_catalog.int4 := pg_catalog.pg_trigger_depth();
        epoch_v_setting pg_catalog.text := pg_catalog.concat('epoch.', TG_ARGV[0], '_', epoch_v_depth OPERATOR(pg_catalog.-) 1);
        epoch_v_mark pg_catalog.text := pg_catalog.current_setting(epoch_v_setting, true);
        epoch_v_count pg_catalog.int8 := pg_catalog.concat('0', pg_catalog.current_setting('epoch.marks', true));
    BEGIN
        IF coalesce(epoch_v_mark, '') OPERATOR(pg_catalog.=) '' THEN
            epoch_v_setting := pg_catalog.concat('epoch.', TG_ARGV[0], '_', epoch_v_depth);
            epoch_v_mark := pg_catalog.current_setting(epoch_v_setting, true);
            IF coalesce(epoch_v_mark, '') OPERATOR(pg_catalog.=) '' THEN
                epoch_v_mark := pg_catalog.concat(epoch_v_count, ' 0/0');
            END IF;
        END IF;
        PERFORM pg_catalog.set_config(epoch_v_setting, '', true),
            pg_catalog.set_config('epoch.marks', (epoch_v_count OPERATOR(pg_catalog.+) 1)::pg_catalog.text, true);
        {{note}}
        {{partitions}}
        IF epoch_v_count OPERATOR(pg_catalog.>) pg_catalog.split_part(epoch_v_mark, ' ', 1)::pg_catalog.int8 THEN
            DELETE FROM {{history}} h USING {{rows_new}} n
            WHERE {{own_n}} AND h.epoch_lineage OPERATOR(pg_catalog.=) {{lineage_n}} AND {{match_n}} AND h.epoch_to OPERATOR(pg_catalog.=) 9223372036854775807
                AND h.epoch_seq OPERATOR(pg_catalog.>=) pg_catalog.split_part(epoch_v_mark, ' ', 2)::pg_catalog.pg_lsn AND h.epoch_xid OPERATOR(pg_catalog.=) pg_catalog.pg_current_xact_id()
                AND h.epoch_depth OPERATOR(pg_catalog.>) epoch_v_depth;
        END IF;
        {{nothing_before}}
        INSERT INTO {{history}} (epoch_lineage, {{key}}, epoch_existed)
        SELECT {{lineage_n}}, {{key_n}}, false FROM {{rows_new}} n
        WHERE {{own_n}} AND NOT EXISTS (
            SELECT FROM (SELECT h.epoch_xid FROM {{history}} h
                         WHERE h.epoch_lineage OPERATOR(pg_catalog.=) {{lineage_n}} AND {{match_n}}
                         ORDER BY h.epoch_to DESC, h.epoch_seq DESC LIMIT 1) h
            WHERE h.epoch_xid OPERATOR(pg_catalog.=) pg_catalog.pg_current_xact_id() OFFSET 0);
    END;
    {{end_first}}
    {{checks_new}}
    RETURN NULL;
END $epoch$;
