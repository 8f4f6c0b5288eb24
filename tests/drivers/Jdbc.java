// pgjdbc: CRUD, batches, prepared statements that the server keeps, cursors, COPY, metadata.

import java.math.BigDecimal;
import java.net.URI;
import java.sql.Array;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.util.Properties;
import java.util.Set;
import java.util.TreeSet;
import org.postgresql.PGConnection;
import org.postgresql.util.PSQLException;

public class Jdbc {
    public static void main(String[] args) throws Exception {
        for (String threshold : new String[] {"1", "5", "0"}) {
            try (Connection conn = connect(args[0], threshold)) {
                crud(conn);
                batches(conn);
                keptStatements(conn);
                copy(conn);
            }
        }
        try (Connection conn = connect(args[0], "5")) {
            metadata(conn);
        }
    }

    static Connection connect(String url, String threshold) throws Exception {
        URI uri = URI.create(url);
        Properties properties = new Properties();
        properties.setProperty("user", uri.getUserInfo().split(":")[0]);
        if (uri.getUserInfo().contains(":")) properties.setProperty("password", uri.getUserInfo().split(":")[1]);
        properties.setProperty("prepareThreshold", threshold);
        properties.setProperty("reWriteBatchedInserts", "true");
        String name = uri.getPath().substring(1).replace("/", "%2F");
        return DriverManager.getConnection("jdbc:postgresql://" + uri.getHost() + ":" + uri.getPort() + "/" + name, properties);
    }

    static void check(boolean holds, Object shown) {
        if (!holds) throw new AssertionError(String.valueOf(shown));
    }

    static long count(Connection conn, String query) throws SQLException {
        try (Statement statement = conn.createStatement(); ResultSet rows = statement.executeQuery(query)) {
            rows.next();
            return rows.getLong(1);
        }
    }

    static void crud(Connection conn) throws SQLException {
        long base = count(conn, "SELECT count(*) FROM customers");
        conn.setAutoCommit(false);
        String insert = "INSERT INTO customers (id, email, name, credit, tags, doc) VALUES (?, ?, ?, ?, ?, ?::jsonb)";
        try (PreparedStatement statement = conn.prepareStatement(insert, Statement.RETURN_GENERATED_KEYS)) {
            statement.setInt(1, 3001);
            statement.setString(2, "jdbc@example.com");
            statement.setString(3, "Jdbc");
            statement.setBigDecimal(4, new BigDecimal("1.25"));
            statement.setArray(5, conn.createArrayOf("text", new String[] {"x", null}));
            statement.setString(6, "{\"a\": 1}");
            check(statement.executeUpdate() == 1, "one row");
            try (ResultSet keys = statement.getGeneratedKeys()) {
                check(keys.next() && keys.getInt("id") == 3001 && keys.getString("name").equals("Jdbc"), "generated keys");
            }
        }
        try (PreparedStatement statement = conn.prepareStatement("SELECT * FROM customers WHERE id = ?")) {
            statement.setInt(1, 3001);
            try (ResultSet rows = statement.executeQuery()) {
                check(rows.next(), "the row");
                check(rows.getBigDecimal("credit").equals(new BigDecimal("1.25")), rows.getBigDecimal("credit"));
                Array tags = rows.getArray("tags");
                check(((Object[]) tags.getArray()).length == 2, tags);
                check(rows.getMetaData().getColumnCount() == 6, rows.getMetaData().getColumnCount());
                check(rows.getMetaData().getPrecision(4) == 12 && rows.getMetaData().getScale(4) == 2, "numeric(12,2)");
            }
        }
        Savepoint savepoint = conn.setSavepoint("s");
        try (Statement statement = conn.createStatement()) {
            statement.executeUpdate("INSERT INTO customers (id, email, name) VALUES (1, 'x', 'x')");
            throw new AssertionError("a key must hold");
        } catch (PSQLException error) {
            check(error.getSQLState().equals("23505"), error);
            check(error.getServerErrorMessage().getConstraint().equals("customers_pkey"), error.getServerErrorMessage());
            check(error.getServerErrorMessage().getTable().equals("customers"), error.getServerErrorMessage());
        }
        conn.rollback(savepoint);
        // A cursor behind setFetchSize: a portal that is read in parts.
        try (PreparedStatement statement = conn.prepareStatement("SELECT id FROM customers ORDER BY id")) {
            statement.setFetchSize(7);
            try (ResultSet rows = statement.executeQuery()) {
                long seen = 0;
                while (rows.next()) seen++;
                check(seen == base + 1, seen);
            }
        }
        // A result set that is changed in place: on a branch the columns of a result don't say of which
        // table they are.
        changeInPlace(conn);
        conn.rollback();
        conn.setAutoCommit(true);
        check(count(conn, "SELECT count(*) FROM customers") == base, "after the rollback");
    }

    static void changeInPlace(Connection conn) throws SQLException {
        try (Statement statement = conn.createStatement(ResultSet.TYPE_SCROLL_INSENSITIVE, ResultSet.CONCUR_UPDATABLE);
                ResultSet rows = statement.executeQuery("SELECT id, name FROM customers WHERE id = 3001")) {
            check(rows.next(), "the row");
            rows.updateString("name", "Updated in place");
            rows.updateRow();
        }
        check(count(conn, "SELECT count(*) FROM customers WHERE name = 'Updated in place'") == 1, "updateRow");
    }

    static void batches(Connection conn) throws SQLException {
        conn.setAutoCommit(false);
        try (PreparedStatement statement = conn.prepareStatement("INSERT INTO orders (id, customer_id, total) VALUES (?, ?, ?)")) {
            for (int i = 0; i < 50; i++) {
                statement.setInt(1, 3100 + i);
                statement.setInt(2, 1 + i % 10);
                statement.setBigDecimal(3, BigDecimal.valueOf(i));
                statement.addBatch();
            }
            check(statement.executeBatch().length == 50, "a batch of 50");
        }
        try (PreparedStatement statement = conn.prepareStatement("UPDATE orders SET total = total + ? WHERE id = ?")) {
            for (int i = 0; i < 20; i++) {
                statement.setBigDecimal(1, BigDecimal.ONE);
                statement.setInt(2, 3100 + i);
                statement.addBatch();
            }
            for (int changed : statement.executeBatch()) check(changed == 1, changed);
        }
        check(count(conn, "SELECT sum(total)::int FROM orders WHERE id >= 3100") == 49 * 50 / 2 + 20, "the sum");
        conn.rollback();
        conn.setAutoCommit(true);
    }

    /** The same statement often enough to be kept by the server, while another one is changed by DML. */
    static void keptStatements(Connection conn) throws SQLException {
        try (PreparedStatement statement = conn.prepareStatement("SELECT name, credit FROM customers WHERE id = ?")) {
            for (int i = 1; i <= 20; i++) {
                statement.setInt(1, i);
                try (ResultSet rows = statement.executeQuery()) {
                    check(rows.next() && rows.getString(1).equals("Customer " + i), i);
                }
            }
        }
        conn.setAutoCommit(false);
        try (PreparedStatement statement = conn.prepareStatement("UPDATE customers SET credit = credit + ? WHERE id = ? RETURNING credit")) {
            for (int i = 0; i < 12; i++) {
                statement.setBigDecimal(1, BigDecimal.ONE);
                statement.setInt(2, 10);
                try (ResultSet rows = statement.executeQuery()) {
                    check(rows.next() && rows.getBigDecimal(1).compareTo(BigDecimal.valueOf(11 + i)) == 0, rows.getBigDecimal(1));
                }
            }
        }
        conn.rollback();
        conn.setAutoCommit(true);
    }

    static void copy(Connection conn) throws Exception {
        conn.setAutoCommit(false);
        byte[] lines = "3201\t1\t5\n3202\t1\t6\n".getBytes();
        long copied = conn.unwrap(PGConnection.class).getCopyAPI()
                .copyIn("COPY orders FROM STDIN", new java.io.ByteArrayInputStream(lines));
        check(copied == 2, copied);
        check(count(conn, "SELECT count(*) FROM orders WHERE id > 3200") == 2, "copied rows");
        conn.rollback();
        conn.setAutoCommit(true);
    }

    static Set<String> names(ResultSet rows, String column) throws SQLException {
        Set<String> all = new TreeSet<>();
        while (rows.next()) all.add(rows.getString(column));
        rows.close();
        return all;
    }

    static void metadata(Connection conn) throws SQLException {
        DatabaseMetaData meta = conn.getMetaData();
        String[] tables = {"TABLE"};
        check(names(meta.getTables(null, "public", "%", tables), "TABLE_NAME").equals(Set.of("customers", "orders")), "tables");
        check(names(meta.getColumns(null, "public", "orders", "%"), "COLUMN_NAME").equals(Set.of("id", "customer_id", "total")), "columns");
        check(names(meta.getPrimaryKeys(null, "public", "customers"), "COLUMN_NAME").equals(Set.of("id")), "the key");
        check(names(meta.getImportedKeys(null, "public", "orders"), "PKTABLE_NAME").equals(Set.of("customers")), "imported keys");
        check(names(meta.getExportedKeys(null, "public", "customers"), "FKTABLE_NAME").equals(Set.of("orders")), "exported keys");
        check(names(meta.getIndexInfo(null, "public", "customers", true, false), "INDEX_NAME")
                .equals(Set.of("customers_pkey", "customers_email_key")), "indexes");
        // Nothing of ours in any schema.
        check(names(meta.getSchemas(), "TABLE_SCHEM").equals(Set.of("information_schema", "pg_catalog", "public")), names(meta.getSchemas(), "TABLE_SCHEM"));
        check(names(meta.getTables(null, null, "%", tables), "TABLE_NAME").equals(Set.of("customers", "orders")), "tables of all schemas");
        Set<String> functions = names(meta.getFunctions(null, null, "epoch%"), "FUNCTION_SCHEM");
        check(functions.isEmpty(), functions);
        Set<String> types = names(meta.getUDTs(null, "epoch%", "%", null), "TYPE_SCHEM");
        check(types.isEmpty(), types);
    }
}
