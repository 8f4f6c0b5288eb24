CREATE TABLE n (id bigint PRIMARY KEY, i bigint, r double precision, d numeric(10,2), b boolean, t text, v varchar(20),
  dt date, ts timestamp, tz timestamptz, u uuid, j json, x bytea, big numeric(38,10));
INSERT INTO n VALUES
 (1, 7, 1.5, 10.50, true, 'Hello World', 'abc', '2024-02-29', '2024-02-29 10:30:45.123456', '2024-03-31 00:30:00+00:00', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"a": 1}', '\x00ff', 12345.0123456789),
 (2, -7, -2.25, -3.33, false, '', 'x%y_z', '2023-12-31', '2023-12-31 23:59:59', '2024-10-27 01:30:00+00:00', 'B0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', '[1, 2]', '\x', 0.0000000001),
 (3, 0, 0.1, 0, NULL, 'Ünïcödé ß', 'ABC', '2000-01-01', '2000-01-01 00:00:00', '2000-01-01 00:00:00+00:00', NULL, 'null', NULL, -5),
 (4, NULL, NULL, NULL, true, NULL, NULL, NULL, NULL, NULL, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', NULL, '\x0102', NULL),
 (5, 9223372036854775807, 1e300, 99999999.99, false, '  trim me  ', 'line', '1970-01-01', '1970-01-01 12:00:00', '1970-01-01 12:00:00+00:00', '00000000-0000-0000-0000-000000000000', '"s"', '\xff', 99999.9999999999),
 (6, 7, 0.2, 10.50, true, 'a,b,,c', 'abc', '2024-02-29', '2024-02-29 10:30:45', '2024-02-29 10:30:45+00:00', NULL, '{}', '\x00', 7);
CREATE TABLE m (k bigint PRIMARY KEY, n_id bigint, w numeric(6,3), s text);
INSERT INTO m VALUES (1, 1, 1.250, 'one'), (2, 1, 2.000, 'two'), (3, 3, NULL, 'three'), (4, NULL, 10.500, NULL), (5, 6, 0.001, 'one');
