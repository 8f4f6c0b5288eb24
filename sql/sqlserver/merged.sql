
  -- MERGE fires a trigger per action, in no order that is known: a row that it puts in the place of one that it removes
  -- may have been noted as new before the other was.
  IF EXISTS (SELECT 1 FROM deleted AS d JOIN {table} AS b ON {b_is_d}
    JOIN {history} AS h WITH (READCOMMITTEDLOCK, FORCESEEK) ON h.epoch_lineage = {old_lineage} AND {h_is_d}
      AND h.epoch_to = {pending} AND h.epoch_existed = 0
    WHERE NOT EXISTS (SELECT 1 FROM inserted AS i WHERE {d_is_i}))
    THROW 50000, N'epoch: a MERGE that puts a row in the place of one that it removes is not supported', 1;
