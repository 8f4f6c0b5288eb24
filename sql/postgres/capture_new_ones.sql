INSERT INTO {{history}} (epoch_lineage, {{key}}, epoch_existed)
            SELECT {{distinct}}1, {{key_n}}, false FROM epoch_new n
            WHERE NOT EXISTS (
                SELECT FROM (SELECT h.epoch_xid FROM {{history}} h
                             WHERE h.epoch_lineage OPERATOR(pg_catalog.=) 1 AND {{match_n}}
                             ORDER BY h.epoch_to DESC, h.epoch_seq DESC LIMIT 1) h
                WHERE h.epoch_xid OPERATOR(pg_catalog.=) pg_catalog.pg_current_xact_id() OFFSET 0);
            {{noted}}
