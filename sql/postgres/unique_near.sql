(SELECT EXISTS (SELECT FROM {{base}} b WHERE {{row_b}} OPERATOR(pg_catalog.>=) {{row_lo}} AND {{row_b}} OPERATOR(pg_catalog.<=) {{row_hi}} OFFSET 0)
            OR EXISTS (SELECT FROM {{images}} b WHERE b.epoch_lineage OPERATOR(pg_catalog.=) 1 AND b.epoch_existed
                AND {{row_b}} OPERATOR(pg_catalog.>=) {{row_lo}} AND {{row_b}} OPERATOR(pg_catalog.<=) {{row_hi}} OFFSET 0)
            FROM (SELECT {{columns}} FROM {{rows}} WHERE {{own}} ORDER BY {{ascending}} LIMIT 1) lo,
                (SELECT {{columns}} FROM {{rows}} WHERE {{own}} ORDER BY {{descending}} LIMIT 1) hi)
