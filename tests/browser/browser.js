// A real Chromium for the programs beside this one.
const { chromium } = require('playwright-core')

const QUIET = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-dev-shm-usage', '--disable-sync']

// What is said in the console, and what fails in a page, goes into `said`; answers of 4xx are part of some walks.
exports.opened = async (options, said) => {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: QUIET })
  const context = await browser.newContext({ viewport: { width: 390, height: 844 }, acceptDownloads: true, ...options })
  const page = await context.newPage()
  page.on('pageerror', (error) => said.push(error.message))
  page.on('console', (message) => {
    const text = message.text()
    if (['error', 'warning'].includes(message.type()) && !/status of 4\d\d/.test(text)) said.push(text)
  })
  page.setDefaultTimeout(20000)
  return { browser, context, page }
}

exports.main = (run) => run().then((found) => console.log(JSON.stringify(found)), (error) => { console.error(error); process.exit(1) })
