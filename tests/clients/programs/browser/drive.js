// Run a page's script in a real Chromium: URL KEY USER SCRIPT [argument]. The script is bundled, and says `done` in the console.
// HEADERS (JSON) in the environment: what the browser says with each request besides.
const http = require('http')
const { chromium } = require('playwright-core')
const { buildSync } = require('esbuild')

const [url, writeKey, user, script, argument = ''] = process.argv.slice(2)
const QUIET = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync']
const WITHIN_MS = 20000

const bundle = buildSync({ entryPoints: [script], bundle: true, write: false, logLevel: 'error', format: 'iife', platform: 'browser', nodePaths: ['node_modules'],
  alias: argument.includes('@') ? { client: argument } : {}, define: { 'process.env.NODE_ENV': '"production"', global: 'window' } }).outputFiles[0].text
const settings = `window.publish = ${JSON.stringify({ url, writeKey, user, argument })};`
const pages = {
  '/script.js': ['text/javascript', `${settings}\n${bundle}`],
  '/': ['text/html', '<!doctype html><meta charset="utf-8"><title>Shop</title><script src="/script.js"></script>'],
}

const run = async () => {
  const shop = http.createServer((request, response) => {
    const [type, body] = pages[new URL(request.url, 'http://shop').pathname] ?? ['text/plain', '']
    response.setHeader('content-type', `${type}; charset=utf-8`)
    response.end(body)
  }).listen(0, '127.0.0.1')
  await new Promise((listening) => shop.on('listening', listening))
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: QUIET })
  const page = await browser.newPage({ extraHTTPHeaders: JSON.parse(process.env.HEADERS || '{}') })
  const said = []
  page.on('pageerror', (error) => said.push(`error in the page: ${error.message}`))
  page.on('requestfailed', (failed) => said.push(`failed: ${failed.url()} ${failed.failure().errorText}`))
  page.on('console', (message) => ['error', 'warning'].includes(message.type()) && said.push(message.text()))
  const done = page.waitForEvent('console', { predicate: (message) => message.text() === 'done', timeout: WITHIN_MS })
  await page.goto(`http://127.0.0.1:${shop.address().port}/`)
  await done.catch((error) => { throw new Error([...said, error.message].join('\n')) })
  await page.waitForTimeout(3000) // clients queue
  await page.goto('about:blank') // and send the rest when a page is left
  await page.waitForTimeout(500)
  await browser.close()
  shop.close()
  if (said.length) console.error(said.join('\n'))
}
run().catch((error) => { console.error(error); process.exit(1) })
