// What htmx adds: LINK. A choice is saved without a page being loaded, and the focus stays where it was.
const { opened, main } = require('./browser')

const [link] = process.argv.slice(2)
const root = new URL('/privacy', link).href

main(async () => {
  const said = []
  const { browser, page } = await opened({ locale: 'en-GB' }, said)
  await page.goto(link)
  await page.click('main button')
  await page.waitForURL(root)
  const found = { said, asked: [] }
  page.on('request', (request) => found.asked.push([request.method(), request.resourceType(), new URL(request.url()).pathname]))
  await page.evaluate(() => { window.stayed = true })
  await page.check('input[value="basic"]')
  await page.click('#mode-save')
  await page.waitForSelector('#notice .notice')
  found.mode = [await page.evaluate(() => window.stayed === true), await page.isChecked('input[value="basic"]'), await page.evaluate(() => document.activeElement.id)]
  await page.goto(`${root}/choices`)
  await page.evaluate(() => { window.stayed = true })
  const before = await page.getAttribute('#s-personalisation', 'aria-checked')
  await page.focus('#s-personalisation')
  await page.keyboard.press('Space')
  await page.waitForSelector('#s-personalisation[aria-checked="true"]')
  found.switched = [await page.evaluate(() => window.stayed === true), before, await page.evaluate(() => document.activeElement.id), await page.locator('#notice').innerText()]
  found.words = await page.locator('#said').innerText()
  // what goes wrong is shown, too
  await page.evaluate(() => document.querySelectorAll('form[id^=f-] input[name=csrf]').forEach((one) => { one.value = 'forged' }))
  await page.click('#s-personalisation')
  await page.waitForSelector('#sorry-en')
  found.wrong = [await page.evaluate(() => window.stayed === true), await page.locator('main').innerText()]
  await browser.close()
  return found
})
