SELECT dt, ts, tz FROM n ORDER BY id
SELECT dt + 1, dt - 1, dt - '2000-01-01'::date FROM n ORDER BY id
SELECT dt + i FROM n
SELECT dt - dt, ts - ts, tz - tz FROM n ORDER BY id
SELECT '2024-03-01'::date - '2024-02-01'::date
SELECT ts - '2024-01-01 00:00:00'::timestamp FROM n ORDER BY id
SELECT tz - '2024-01-01 00:00:00+00'::timestamptz FROM n ORDER BY id
SELECT dt + interval '1 month', dt - interval '1 day', ts + interval '1 hour 30 minutes' FROM n ORDER BY id
SELECT '2024-01-31'::date + interval '1 month', '2024-03-31'::timestamp - interval '1 month', '2023-01-31'::date + interval '1 month'
SELECT tz + interval '1 day', tz + interval '24 hours', tz + interval '1 month' FROM n ORDER BY id
SELECT '2024-03-30 02:30:00'::timestamptz + interval '1 day', '2024-10-26 02:30:00'::timestamptz + interval '1 day'
SELECT '2024-03-30 12:00:00'::timestamptz + interval '1 day', '2024-03-30 12:00:00'::timestamptz + interval '24 hours'
SELECT '2024-03-31 02:30:00'::timestamptz, '2024-10-27 02:30:00'::timestamptz
SELECT interval '1 day' + interval '2 hours', interval '1 month' - interval '1 day', -interval '1 day 2 hours', interval '1 day' * 3, 2 * interval '1 hour'
SELECT interval '1 year 2 months 3 days 04:05:06.789', interval '90 minutes', '1 week'::interval, interval '1' day, interval '-1 day', interval '1.5 hours'
SELECT interval '36 hours', interval '1 day -2 hours', interval '00:00:00'
SELECT 'nonsense'::interval
! SELECT 'P1D'::interval
! SELECT interval '1 day' = interval '24 hours'
! SELECT interval '1 day' / 2
! SELECT x FROM (VALUES (interval '1 day'), (interval '24 hours')) s(x) ORDER BY x
SELECT extract(year FROM dt), extract(month FROM dt), extract(day FROM dt), extract(dow FROM dt), extract(doy FROM dt), extract(week FROM dt), extract(quarter FROM dt), extract(isodow FROM dt), extract(isoyear FROM dt) FROM n ORDER BY id
SELECT extract(hour FROM ts), extract(minute FROM ts), extract(second FROM ts), extract(milliseconds FROM ts), extract(microseconds FROM ts), extract(epoch FROM ts) FROM n ORDER BY id
SELECT extract(hour FROM tz), extract(day FROM tz), extract(epoch FROM tz) FROM n ORDER BY id
SELECT extract(epoch FROM dt), extract(century FROM dt), extract(decade FROM dt), extract(millennium FROM dt) FROM n ORDER BY id
SELECT extract(hour FROM dt) FROM n
SELECT extract(nonsense FROM ts) FROM n
SELECT date_part('year', dt), date_part('hour', ts), date_part('epoch', tz), date_part('second', ts) FROM n ORDER BY id
SELECT date_trunc('month', ts), date_trunc('hour', ts), date_trunc('week', ts), date_trunc('quarter', ts), date_trunc('year', ts), date_trunc('second', ts), date_trunc('day', ts) FROM n ORDER BY id
SELECT date_trunc('day', tz), date_trunc('hour', tz), date_trunc('month', tz) FROM n ORDER BY id
SELECT date_trunc('month', dt) FROM n ORDER BY id
SELECT date_trunc('nonsense', ts) FROM n
SELECT tz AT TIME ZONE 'UTC', ts AT TIME ZONE 'UTC', tz AT TIME ZONE 'America/New_York', ts AT TIME ZONE 'Asia/Kolkata' FROM n ORDER BY id
SELECT tz AT TIME ZONE 'Mars/Olympus' FROM n
SELECT dt = '2024-02-29', dt < '2024-01-01', dt > ts, ts < tz FROM n ORDER BY id
SELECT id FROM n WHERE dt = '2024-02-29' ORDER BY id
SELECT id FROM n WHERE dt >= '2000-01-01'::date AND dt < '2024-01-01'::date ORDER BY id
SELECT id FROM n WHERE ts > '2024-01-01' ORDER BY id
SELECT id FROM n WHERE ts >= '2024-02-29 10:30:45.123456' ORDER BY id
SELECT id FROM n WHERE tz > '2024-02-29 11:30:45' ORDER BY id
SELECT id FROM n WHERE tz = '2024-02-29 10:30:45+00' ORDER BY id
SELECT id FROM n WHERE tz = '2024-02-29 11:30:45' ORDER BY id
SELECT id FROM n WHERE dt BETWEEN '2000-01-01' AND '2023-12-31' ORDER BY id
SELECT id FROM n WHERE dt IN ('2024-02-29', '1970-01-01') ORDER BY id
SELECT id FROM n WHERE dt = 'nonsense'
SELECT id FROM n WHERE dt = '2024-02-30'
SELECT id FROM n WHERE ts = '2024-01-01 25:00:00'
SELECT dt = 5 FROM n
SELECT '2024-1-5'::date, '20240105'::date, '2024-01-05 10:00'::date
! SELECT 'Jan 5, 2024'::date
! SELECT 'now'::timestamptz > '2000-01-01'
! SELECT 'today'::date > '2000-01-01'
! SELECT 'infinity'::timestamp
! SELECT '01/05/2024'::date
SELECT '2024-01-05T10:00:00'::timestamp, '2024-01-05 10:00:00.5'::timestamp, '2024-01-05 10:00+02'::timestamp, '2024-01-05 10:00+02'::timestamptz, '2024-01-05 10:00:00Z'::timestamptz
SELECT '2024-01-05 24:00:00'::timestamp
SELECT 'x'::timestamp
SELECT '10:30'::time, '10:30:15.25'::time, '10:30'::time + interval '20 hours', '10:30'::time - '08:00'::time
SELECT '25:00'::time
! SELECT '10:30+02'::timetz
SELECT ts::date, tz::date, dt::timestamp, dt::timestamptz, ts::timestamptz, tz::timestamp, ts::time, tz::time FROM n ORDER BY id
SELECT dt::text, ts::text, tz::text FROM n ORDER BY id
SELECT ts::int FROM n
! SELECT ts::timestamp(0) FROM n
SELECT min(dt), max(dt), min(ts), max(ts), min(tz), max(tz) FROM n
SELECT dt, count(*) FROM n GROUP BY dt ORDER BY dt
SELECT DISTINCT dt FROM n ORDER BY dt DESC
SELECT dt FROM n ORDER BY dt DESC NULLS LAST, id
SELECT tz FROM n ORDER BY tz, id
SELECT coalesce(dt, '2020-01-01'), coalesce(ts, dt), coalesce(tz, ts) FROM n ORDER BY id
SELECT CASE WHEN b THEN dt ELSE ts END FROM n ORDER BY id
SELECT greatest(dt, '2010-01-01'), least(ts, dt) FROM n ORDER BY id
SELECT now() > '2020-01-01', current_date > '2020-01-01'::date, now() = current_timestamp, localtimestamp > '2020-01-01'
! SELECT age(ts) FROM n
! SELECT make_date(2024, 1, 1)
! SELECT ts + '1 day' FROM n
SELECT ts - '2024-01-01' FROM n ORDER BY id
SELECT dt - '2024-01-01' FROM n ORDER BY id
SELECT dt + dt FROM n
SELECT ts + 1 FROM n
SELECT dt || '' FROM n ORDER BY id
SELECT id, lag(dt) OVER (ORDER BY id) FROM n ORDER BY id
