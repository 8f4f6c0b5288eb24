-- On an overlay, before the rest of a function of capture.sql. The statement that wrote through views has ended (view_check.sql).
    IF pg_catalog.current_setting('epoch.checks', true) OPERATOR(pg_catalog.<>) '' AND pg_catalog.pg_trigger_depth() OPERATOR(pg_catalog.=) 1 THEN
        PERFORM pg_catalog.set_config('epoch.checks', '', true);
    END IF;
    -- What a transaction changes first of a table finds no images of its own. (A condition is evaluated by itself, PERFORM as a query.)
    IF coalesce(pg_catalog.current_setting('epoch.{{noted}}', true), '') OPERATOR(pg_catalog.=) '' THEN
        IF pg_catalog.concat(pg_catalog.set_config('epoch.{{noted}}', 'on', true), pg_catalog.set_config('epoch.marks',
            (pg_catalog.concat('0', pg_catalog.current_setting('epoch.marks', true))::pg_catalog.int8 OPERATOR(pg_catalog.+) 1)::pg_catalog.text, true)) IS NULL THEN
        END IF;
        {{images}}
    ELSE
