// knex: a query builder over node-postgres, its transactions and its schema inspection.
'use strict'
const assert = require('node:assert')
const makeKnex = require('knex')

async function main (url) {
  const knex = makeKnex({ client: 'pg', connection: url, pool: { min: 0, max: 4 } })
  const count = async () => Number((await knex('customers').count('* as n'))[0].n)
  const base = await count()

  await assert.rejects(knex.transaction(async trx => {
    const [made] = await trx('customers').insert({ id: 2001, email: 'knex@example.com', name: 'Knex', doc: { a: 1 } }).returning('*')
    assert.deepStrictEqual([made.id, made.credit, made.doc], [2001, '0.00', { a: 1 }])
    assert.strictEqual(await trx('customers').where('id', 2001).increment('credit', 5), 1)
    await trx('orders').insert(Array.from({ length: 20 }, (_, i) => ({ id: 2100 + i, customer_id: 2001, total: i })))
    await trx('orders').insert({ id: 2100, customer_id: 2001, total: 99 }).onConflict('id').merge()
    await trx('orders').insert({ id: 2100, customer_id: 2001, total: 1 }).onConflict('id').ignore()
    const rows = await trx('customers').join('orders', 'orders.customer_id', 'customers.id')
      .where('customers.id', 2001).groupBy('customers.name').select('customers.name').sum('orders.total as spent')
    assert.deepStrictEqual(rows, [{ name: 'Knex', spent: String(19 * 20 / 2 + 99) + '.00' }])
    const locked = await trx('orders').where('customer_id', 2001).orderBy('id').limit(2).forUpdate().skipLocked()
    assert.deepStrictEqual(locked.map(r => r.id), [2100, 2101])
    await assert.rejects(trx.transaction(inner => inner('customers').insert({ id: 1, email: 'x', name: 'x' })),
      e => e.code === '23505' && e.constraint === 'customers_pkey')
    assert.strictEqual(await trx('orders').where('customer_id', 2001).del(), 20)
    throw new Error('undo')
  }), /undo/)
  assert.strictEqual(await count(), base)

  const page = await knex('customers').where('id', '>', 10).orderBy('id').limit(5).pluck('id')
  assert.deepStrictEqual(page, [11, 12, 13, 14, 15])
  const seen = []
  for await (const row of knex('orders').where('id', '<=', 20).orderBy('id').stream()) seen.push(row.id)
  assert.strictEqual(seen.length, 20)

  assert.deepStrictEqual([await knex.schema.hasTable('customers'), await knex.schema.hasTable('nothing')], [true, false])
  assert.strictEqual(await knex.schema.hasColumn('orders', 'total'), true)
  const columns = await knex('orders').columnInfo()
  assert.deepStrictEqual(Object.keys(columns).sort(), ['customer_id', 'id', 'total'])
  assert.strictEqual(columns.total.type, 'numeric')
  await knex.destroy()
}

main(process.argv[2]).catch(e => { console.error(e); process.exit(1) })
