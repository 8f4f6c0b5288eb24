EXISTS (SELECT FROM (SELECT {{parts}} FROM {{rows}} WHERE {{own}} OFFSET 0) n
            WHERE EXISTS (SELECT FROM {{base}} b WHERE {{condition}} OFFSET 0)
                OR EXISTS (SELECT FROM {{images}} b WHERE b.epoch_lineage OPERATOR(pg_catalog.=) 1 AND b.epoch_existed AND {{condition}} OFFSET 0))
