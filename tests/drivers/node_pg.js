// node-postgres: simple and extended queries, prepared statements, transactions, a pool.
'use strict'
const assert = require('node:assert')
const { Client, Pool } = require('pg')

async function main (url) {
  const client = new Client({ connectionString: url })
  await client.connect()
  const base = (await client.query('SELECT count(*)::int AS n FROM customers')).rows[0].n
  const one = await client.query('SELECT * FROM customers WHERE id = $1', [4])
  assert.deepStrictEqual(one.fields.map(f => f.name), ['id', 'email', 'name', 'credit', 'tags', 'doc'])
  assert.deepStrictEqual(one.rows[0].tags, ['a', 'b'])

  await client.query('BEGIN')
  const inserted = await client.query(
    'INSERT INTO customers (id, email, name, doc) VALUES ($1, $2, $3, $4) RETURNING *', [8001, 'node@example.com', 'Node', { a: 1 }])
  assert.strictEqual(inserted.rowCount, 1)
  assert.deepStrictEqual(inserted.rows[0].doc, { a: 1 })
  const updated = await client.query('UPDATE customers SET credit = credit + 1 WHERE id <= $1', [5])
  assert.deepStrictEqual([updated.command, updated.rowCount], ['UPDATE', 5])
  await client.query('SAVEPOINT s')
  await assert.rejects(client.query("INSERT INTO customers (id, email, name) VALUES (1, 'x', 'x')"),
    e => e.code === '23505' && e.constraint === 'customers_pkey' && e.table === 'customers')
  await client.query('ROLLBACK TO s')
  await client.query('ROLLBACK')
  assert.strictEqual((await client.query('SELECT count(*)::int AS n FROM customers')).rows[0].n, base)

  for (let i = 1; i < 10; i++) {
    const got = await client.query({ name: 'by-id', text: 'SELECT name FROM customers WHERE id = $1', values: [i] })
    assert.strictEqual(got.rows[0].name, `Customer ${i}`)
  }
  const several = await client.query('SELECT 1 AS a; SELECT 2 AS b')
  assert.strictEqual(several[1].rows[0].b, 2)
  assert.ok((await client.query('SELECT * FROM epoch_log()')).rows.length > 0)
  await client.end()

  const pool = new Pool({ connectionString: url, max: 4 })
  const names = await Promise.all([...Array(20).keys()].map(i => pool.query('SELECT name FROM customers WHERE id = $1', [i + 1])))
  assert.deepStrictEqual(names.map(r => r.rows[0].name), [...Array(20).keys()].map(i => `Customer ${i + 1}`))
  await pool.end()
}

main(process.argv[2]).catch(error => { console.error(error); process.exit(1) })
