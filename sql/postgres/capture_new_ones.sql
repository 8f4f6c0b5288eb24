INSERT INTO {{history}} (epoch_lineage, {{key}}, epoch_existed)
            SELECT {{distinct}}1, {{key_n}}, false FROM epoch_new n
            WHERE NOT EXISTS (
                SELECT FROM (SELECT h.epoch_xid FROM {{history}} h
                             WHERE h.epoch_lineage = 1 AND {{match_n}}
                             ORDER BY h.epoch_to DESC, h.epoch_seq DESC LIMIT 1) h
                WHERE h.epoch_xid = pg_current_xact_id() OFFSET 0);
            PERFORM set_config('epoch.{{again}}', 'on', true);
