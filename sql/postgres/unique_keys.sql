-- Nearly always no row of main has such a key, whoever sees it: that is asked first, in one query whose names have their
    -- schemas, so that it needs no search path of its own where no expression of the user's is in it (decision 61).
    IF {{may_be_there}} THEN
        DECLARE
            epoch_v_hit record;
            epoch_v_base pg_catalog.int8;
            epoch_v_path pg_catalog.text := pg_catalog.current_setting('search_path');
        BEGIN
            PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
            epoch_v_base := nullif(current_setting('epoch.base', true), '')::int8;
            {{checks}}
            PERFORM pg_catalog.set_config('search_path', epoch_v_path, true);
        END;
    END IF;
