const { url, writeKey, user } = window.publish
const batch = [
  { type: 'identify', userId: user, traits: { plan: 'gold', city: 'Zürich' } },
  { type: 'track', userId: user, event: 'Order Completed', properties: { total: 40.9 } },
  { type: 'track', userId: user, event: 'Order Completed', properties: { total: 5 } },
  { type: 'page', userId: user, name: 'Home' },
]
const body = new Blob([JSON.stringify({ writeKey, batch })], { type: 'application/json' })
if (navigator.sendBeacon(`${url}/v1/batch`, body)) console.log('done')
