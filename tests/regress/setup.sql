-- Keys for the tables that PostgreSQL's test_setup makes, which have none. On both sides.
ALTER TABLE onek ADD PRIMARY KEY (unique1);
ALTER TABLE onek2 ADD PRIMARY KEY (unique1);
ALTER TABLE tenk1 ADD PRIMARY KEY (unique1);
ALTER TABLE tenk2 ADD PRIMARY KEY (unique1);
ALTER TABLE int2_tbl ADD PRIMARY KEY (f1);
ALTER TABLE int4_tbl ADD PRIMARY KEY (f1);
ALTER TABLE int8_tbl ADD PRIMARY KEY (q1, q2);
ALTER TABLE float8_tbl ADD PRIMARY KEY (f1);
ALTER TABLE text_tbl ADD PRIMARY KEY (f1);
-- As create_index makes them.
CREATE INDEX onek_unique2 ON onek USING btree (unique2 int4_ops);
CREATE INDEX onek_hundred ON onek USING btree (hundred int4_ops);
CREATE INDEX onek_stringu1 ON onek USING btree (stringu1 name_ops);
CREATE INDEX tenk1_unique2 ON tenk1 USING btree (unique2 int4_ops);
CREATE INDEX tenk1_hundred ON tenk1 USING btree (hundred int4_ops);
CREATE INDEX tenk1_thous_tenthous ON tenk1 (thousand, tenthous);
CREATE INDEX tenk2_unique2 ON tenk2 USING btree (unique2 int4_ops);
CREATE INDEX tenk2_hundred ON tenk2 USING btree (hundred int4_ops);
ANALYZE;
