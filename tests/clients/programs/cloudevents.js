// Publish by the CloudEvents SDK: URL KEY USER MODULE binary|structured
const [url, key, subject, module_, mode] = process.argv.slice(2)
const { CloudEvent, HTTP } = require(module_)
const send = async (type, data) => {
  const message = HTTP[mode](new CloudEvent({ type, source: 'https://shop.example/', subject, data }))
  const headers = { ...message.headers, authorization: `Bearer ${key}` }
  const answer = await fetch(`${url}/v1/events`, { method: 'POST', headers, body: message.body })
  if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`)
}
const run = async () => {
  await send('identify', { traits: { plan: 'gold', city: 'Zürich' } })
  await send('Order Completed', { total: 40.9 })
  await send('Order Completed', { total: 5 })
}
run().catch((error) => { console.error(error); process.exit(1) })
