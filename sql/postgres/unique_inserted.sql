-- Of many rows: whether main has any key between the least and the greatest of theirs.
    GET DIAGNOSTICS epoch_v_rows = ROW_COUNT;
    IF epoch_v_rows OPERATOR(pg_catalog.>) 100 THEN
        epoch_v_near := {{near}};
    END IF;
    IF epoch_v_near THEN
        {{unique}}
    END IF;
