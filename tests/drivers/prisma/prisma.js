// Prisma: its client over node-postgres, nested writes, transactions, relations, raw queries.
'use strict'
const assert = require('node:assert')
const { PrismaPg } = require('@prisma/adapter-pg')
const { PrismaClient, Prisma } = require(process.env.EPOCH_PRISMA_CLIENT)

async function main (url) {
  const prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString: url }) })
  const base = await prisma.customers.count()

  await assert.rejects(prisma.$transaction(async tx => {
    const made = await tx.customers.create({
      data: {
        id: 1001, email: 'prisma@example.com', name: 'Prisma', tags: ['x', 'y'], doc: { a: [1, null] },
        orders: { create: [{ id: 1001, total: '1.50' }, { id: 1002, total: 2 }] }
      },
      include: { orders: { orderBy: { id: 'asc' } } }
    })
    assert.deepStrictEqual([made.credit.toString(), made.tags, made.doc], ['0', ['x', 'y'], { a: [1, null] }])
    assert.deepStrictEqual(made.orders.map(o => o.total.toString()), ['1.5', '2'])
    const raised = await tx.customers.update({ where: { id: 1001 }, data: { credit: { increment: 5 } } })
    assert.strictEqual(raised.credit.toString(), '5')
    await tx.orders.createMany({ data: Array.from({ length: 20 }, (_, i) => ({ id: 1100 + i, customer_id: 1001, total: i })) })
    const upserted = await tx.orders.upsert({
      where: { id: 1100 }, create: { id: 1100, customer_id: 1001, total: 1 }, update: { total: 77 }
    })
    assert.strictEqual(upserted.total.toString(), '77')
    const sums = await tx.orders.groupBy({ by: ['customer_id'], where: { customer_id: 1001 }, _count: true, _max: { total: true } })
    assert.deepStrictEqual([sums[0]._count, sums[0]._max.total.toString()], [22, '77'])
    assert.strictEqual((await tx.orders.updateMany({ where: { total: { lt: 3 }, customer_id: 1001 }, data: { total: 3 } })).count, 4)
    assert.strictEqual((await tx.orders.deleteMany({ where: { customer_id: 1001 } })).count, 22)
    throw new Error('undo')
  }), /undo/)
  assert.strictEqual(await prisma.customers.count(), base)

  await assert.rejects(prisma.customers.create({ data: { id: 1, email: 'x', name: 'x' } }),
    e => e instanceof Prisma.PrismaClientKnownRequestError && e.code === 'P2002')
  await assert.rejects(prisma.orders.create({ data: { id: 1003, customer_id: 424242, total: 1 } }),
    e => e instanceof Prisma.PrismaClientKnownRequestError && e.code === 'P2003')

  const page = await prisma.customers.findMany({ cursor: { id: 10 }, skip: 1, take: 5, orderBy: { id: 'asc' }, select: { id: true } })
  assert.deepStrictEqual(page.map(c => c.id), [11, 12, 13, 14, 15])
  const some = await prisma.customers.findMany({ where: { orders: { some: { total: { gt: 290 } } } }, include: { orders: true } })
  assert.ok(some.length > 0 && some.every(c => c.orders.some(o => o.total.gt(290))))
  const none = await prisma.customers.findFirst({ where: { orders: { none: {} } }, orderBy: { id: 'asc' } })
  assert.strictEqual(none.id, 51)
  const raw = await prisma.$queryRaw`SELECT name FROM customers WHERE id = ANY(${[1, 2]}) ORDER BY id`
  assert.deepStrictEqual(raw, [{ name: 'Customer 1' }, { name: 'Customer 2' }])
  const both = await prisma.$transaction([prisma.orders.count(), prisma.customers.findUnique({ where: { email: 'c5@example.com' } })])
  assert.deepStrictEqual([both[0], both[1].id], [200, 5])
  await prisma.$disconnect()
}

main(process.argv[2]).catch(e => { console.error(e); process.exit(1) })
