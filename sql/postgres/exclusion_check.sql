
    SELECT {{values}} INTO epoch_v_hit
    FROM (SELECT epoch_lineage AS epoch_l, {{parts}} FROM {{rows}} WHERE {{own}} OFFSET 0) n
    LEFT JOIN epoch.lineage e ON e.id = n.epoch_l
    CROSS JOIN LATERAL ({{below}} OFFSET 0) x
    LIMIT 1;
    IF FOUND THEN
        RAISE exclusion_violation USING MESSAGE = {{message}}, DETAIL = {{detail}},
            SCHEMA = {{schema}}, TABLE = {{table}}, CONSTRAINT = {{constraint}};
    END IF;
