-- What all versioned tables of a database share.
CREATE SCHEMA epoch;
-- The number is layout.rs's, and is looked at before anything else of ours is.
COMMENT ON SCHEMA epoch IS 'Horizon Epoch: history of versioned tables, layout {{layout}}';

-- The repository whose tables these are.
CREATE TABLE epoch.repository (id text NOT NULL);
INSERT INTO epoch.repository SELECT current_setting('epoch.repository') WHERE current_setting('epoch.repository', true) <> '';

-- The database that wrote what is here. One that was made from a dump of it counts places in its log, transactions and
-- objects from anew (moved.rs).
CREATE TABLE epoch.written_by (system_identifier int8 NOT NULL, database oid NOT NULL);
INSERT INTO epoch.written_by SELECT c.system_identifier, d.oid FROM pg_control_system() c, pg_database d WHERE d.datname = current_database();

-- Branch lineages that hold rows here, and the ordinal of main below them. Main (1) isn't listed.
CREATE TABLE epoch.lineage (id int8 PRIMARY KEY, base int8 NOT NULL);
-- Versioned tables by registration. Versions of one table have one family: the number of the first. "columns" says which
-- column of the family each is, "source" where main's rows are (NULL: in the table itself). "until" is the ordinal of
-- main at which another version took the place of this one, 2^63-1 for main's tables, NULL for what was never main's.
CREATE TABLE epoch.registered (id int8 PRIMARY KEY, schema_name text NOT NULL, table_name text NOT NULL,
    family int8 NOT NULL, columns jsonb NOT NULL, source jsonb, until int8, UNIQUE (schema_name, table_name));
CREATE INDEX ON epoch.registered (family);
-- Partitions of versioned tables that have triggers of ours.
CREATE TABLE epoch.partition (table_id int8, relation oid, name text NOT NULL, PRIMARY KEY (table_id, relation));
{{written}}
-- Layers of nested branches that are copied from their parent's, and of versions of tables; lineage 0: a version that
-- was main's table isn't any more. A snapshot that doesn't see such a row is too old.
CREATE TABLE epoch.layer (lineage int8, table_id int8, PRIMARY KEY (lineage, table_id));
-- Says which entry came later, in epoch.shown and epoch.block.
CREATE SEQUENCE epoch.numbers;
-- Which version of a table a branch shows, if it isn't the one that main had below it: of a family, the entry with the
-- greatest number says it.
CREATE TABLE epoch.shown (lineage int8, family int8, table_id int8, there bool NOT NULL, number int8 NOT NULL,
    PRIMARY KEY (lineage, family, table_id));
-- Data definition in transactions of clients, by the transaction's operation: what a transaction sees of it here is what it
-- did and hasn't taken back.
CREATE TABLE epoch.block (operation text, number int8 NOT NULL DEFAULT nextval('epoch.numbers'), PRIMARY KEY (operation, number));
-- Operations that took place: makes a repeated seal return the first one's result.
CREATE TABLE epoch.seal (operation text PRIMARY KEY, lineage int8 NOT NULL, ordinal int8 NOT NULL, result jsonb NOT NULL,
    UNIQUE (lineage, ordinal));

-- Rows of a statement's that its own transaction had made (capture_plain.sql), until the statement ends.
CREATE UNLOGGED TABLE epoch.own (xid xid8 NOT NULL, statement int8 NOT NULL, key text NOT NULL);
CREATE INDEX ON epoch.own (xid, statement);

-- That a transaction wrote rows which refer to a table (slots from 1), or took rows that are referred to away or gave them
-- other keys (slot 0), by branch and by the family of the table that is referred to. Nobody reads this: a transaction with
-- a snapshot of its own, which can't see what others wrote since, fails on entries that they wrote since (decision 59).
CREATE TABLE epoch.fk_write (lineage int8, family int8, slot int4, number int8 NOT NULL DEFAULT 0, PRIMARY KEY (lineage, family, slot))
    WITH (fillfactor = 50);

-- Enters that the transaction wrote rows which refer to a table. It shares the lock of these foreign keys. Called by their
-- triggers, with their rights and search path.
CREATE FUNCTION epoch.note_child(int8, int8) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    epoch_v_noted text := coalesce(current_setting('epoch.fk_children', true), '');
    epoch_v_this text := format('%s.%s ', $1, $2);
    epoch_v_own_snapshot bool := current_setting('transaction_isolation') <> 'read committed';
    epoch_v_entered bool := false;
BEGIN
    IF strpos(' ' || epoch_v_noted, ' ' || epoch_v_this) > 0 THEN
        RETURN;
    END IF;
    IF epoch_v_own_snapshot THEN
        -- Fails if a row that is referred to went since the snapshot. What is entered for that is taken back: others would wait.
        BEGIN
            INSERT INTO epoch.fk_write VALUES ($1, $2, 0) ON CONFLICT DO NOTHING;
            RAISE EXCEPTION SQLSTATE 'EPOCH';
        EXCEPTION WHEN SQLSTATE 'EPOCH' THEN
            NULL;
        END;
    END IF;
    -- A slot that no transaction under way has; from the other end where it must not have changed since the snapshot.
    FOR epoch_v_i IN 1..64 LOOP
        IF epoch_v_own_snapshot THEN
            BEGIN
                IF pg_try_advisory_xact_lock(hashtextextended(format('epoch.fk_write.%s.%s.%s', $1, $2, 65 - epoch_v_i), 0)) THEN
                    INSERT INTO epoch.fk_write AS w VALUES ($1, $2, 65 - epoch_v_i) ON CONFLICT (lineage, family, slot) DO UPDATE SET number = w.number + 1;
                    epoch_v_entered := true;
                END IF;
            EXCEPTION WHEN serialization_failure THEN
                NULL;
            END;
        ELSIF pg_try_advisory_xact_lock(hashtextextended(format('epoch.fk_write.%s.%s.%s', $1, $2, epoch_v_i), 0)) THEN
            INSERT INTO epoch.fk_write AS w VALUES ($1, $2, epoch_v_i) ON CONFLICT (lineage, family, slot) DO UPDATE SET number = w.number + 1;
            epoch_v_entered := true;
        END IF;
        EXIT WHEN epoch_v_entered;
    END LOOP;
    IF NOT epoch_v_entered THEN
        IF epoch_v_own_snapshot THEN
            RAISE serialization_failure USING MESSAGE = 'could not serialize access due to concurrent update';
        END IF;
        -- All are taken: it shares one, and waits for its owner.
        INSERT INTO epoch.fk_write AS w VALUES ($1, $2, 1 + pg_backend_pid() % 64) ON CONFLICT (lineage, family, slot) DO UPDATE SET number = w.number + 1;
    END IF;
    PERFORM set_config('epoch.fk_children', epoch_v_noted || epoch_v_this, true);
END $$;

-- Enters that the transaction took rows that are referred to away, or gave them other keys. It has the lock of these foreign
-- keys for itself until it ends, so once is enough.
CREATE FUNCTION epoch.note_parent(int8, int8) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    epoch_v_noted text := coalesce(current_setting('epoch.fk_parents', true), '');
    epoch_v_this text := format('%s.%s ', $1, $2);
BEGIN
    IF strpos(' ' || epoch_v_noted, ' ' || epoch_v_this) > 0 THEN
        RETURN;
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        -- Fails if rows that refer to the table were written since the snapshot.
        INSERT INTO epoch.fk_write SELECT $1, $2, s FROM generate_series(1, 64) s ON CONFLICT DO NOTHING;
    END IF;
    INSERT INTO epoch.fk_write AS w VALUES ($1, $2, 0) ON CONFLICT (lineage, family, slot) DO UPDATE SET number = w.number + 1;
    PERFORM set_config('epoch.fk_parents', epoch_v_noted || epoch_v_this, true);
END $$;

-- The function of triggers whose WHEN condition does all the work.
CREATE FUNCTION epoch.nothing() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$;

-- The function of guard.sql.
CREATE FUNCTION epoch.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE feature_not_supported USING
        MESSAGE = format('writing to table "%s" of main from a branch', TG_TABLE_NAME),
        DETAIL = 'A function, cast, domain or trigger that the statement calls writes to the table itself.',
        HINT = 'Do it on main, or write the change out as a statement of its own.';
END $$;

-- The version of a table that a branch shows, given where main is below it; 0 if there is none, -1 if nobody knows.
CREATE FUNCTION epoch.version_of(lineage int8, base int8, family int8) RETURNS int8 LANGUAGE sql STABLE AS $$
    SELECT coalesce(
        (SELECT CASE WHEN s.there THEN s.table_id ELSE 0 END FROM epoch.shown s
            WHERE s.lineage = $1 AND s.family = $3 ORDER BY s.number DESC LIMIT 1),
        (SELECT r.id FROM epoch.registered r WHERE r.family = $3 AND r.until > coalesce($2, 0) ORDER BY r.until LIMIT 1),
        -1) $$;

-- A statement that was planned before its branch got another version of the table, or before main's got its place, and
-- waited for a lock since, must not write to this one. Whoever has a snapshot of its own looks at what there is now.
CREATE FUNCTION epoch.refuse_replaced() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    epoch_v_lineage int8 := nullif(current_setting('epoch.lineage', true), '')::int8;
    epoch_v_base int8;
BEGIN
    IF epoch_v_lineage IS NULL OR epoch_v_lineage = 0 THEN
        RETURN NULL;
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        PERFORM FROM epoch.shown s WHERE s.lineage = epoch_v_lineage AND s.family = TG_ARGV[1]::int8 FOR SHARE;
    END IF;
    epoch_v_base := coalesce((SELECT e.base FROM epoch.lineage e WHERE e.id = epoch_v_lineage),
        nullif(current_setting('epoch.base', true), '')::int8);
    IF epoch.version_of(epoch_v_lineage, epoch_v_base, TG_ARGV[1]::int8) NOT IN (TG_ARGV[0]::int8, -1) THEN
        RAISE serialization_failure USING MESSAGE = format('table "%s" was altered by another session', TG_TABLE_NAME), HINT = 'Retry.';
    END IF;
    RETURN NULL;
END $$;
