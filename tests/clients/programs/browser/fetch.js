const { url, writeKey, user } = window.publish
const batch = [
  { type: 'identify', userId: user, traits: { plan: 'gold', city: 'Zürich' } },
  { type: 'track', userId: user, event: 'Order Completed', properties: { total: 40.9 } },
  { type: 'track', userId: user, event: 'Order Completed', properties: { total: 5 } },
  { type: 'page', userId: user, name: 'Home' },
]
const headers = { 'content-type': 'application/json', authorization: `Basic ${btoa(`${writeKey}:`)}` }
const options = { method: 'POST', headers, body: JSON.stringify({ batch }), keepalive: true, credentials: 'include' }
fetch(`${url}/v1/batch`, options).then((answer) => answer.json()).then(({ success }) => success && console.log('done'))
