// Each act of the privacy centre with JavaScript switched off: LINK choices|erase FILE, where codes are told. What the pages said, as JSON on the last line.
const fs = require('fs')
const { opened, main } = require('./browser')

const [link, what, file] = process.argv.slice(2)
const root = new URL('/privacy', link).href

main(async () => {
  const said = []
  const { browser, context, page } = await opened({ javaScriptEnabled: false, locale: 'en-GB' }, said)
  const sent = []
  page.on('request', (request) => sent.push(`${request.method()} ${new URL(request.url()).pathname}`))
  const notice = () => page.locator('#notice').innerText()
  const downloaded = async (selector) => {
    const [file] = await Promise.all([page.waitForEvent('download'), page.click(selector)])
    return fs.readFileSync(await file.path(), 'utf8')
  }
  const found = { said }
  await page.goto('about:blank')
  await page.goto(link)
  await page.click('main button')
  found.entered = page.url()
  const cookies = await context.cookies()
  found.cookies = cookies.map((one) => [one.httpOnly, one.sameSite, one.secure, one.path])

  if (what === 'choices') await choose()
  else await erase()
  found.scripts = sent.filter((one) => one.endsWith('.js')).length
  await browser.close()
  return found

  async function choose() {
    await page.check('input[value="basic+marketing"]')
    await page.click('#mode-save')
    found.mode = [page.url(), await notice(), await page.isChecked('input[value="basic+marketing"]')]
    await page.goto(`${root}/choices`)
    await page.click('summary')
    await page.click('[id="s-marketing.sms"]')
    found.switched = [page.url(), await notice(), await page.getAttribute('[id="s-marketing.sms"]', 'aria-checked')]
    await page.click('[id="s-sharing"]')
    await page.fill('#code', '12')
    await page.click('main form button')
    found.code = await page.locator('#wrong').innerText()
    const told = fs.readFileSync(file, 'utf8').trim().split('\n').map(JSON.parse).filter((one) => one.data.action === 'confirm')
    await page.fill('#code', told.at(-1).data.properties.code)
    await page.click('main form button')
    found.shared = await page.getAttribute('[id="s-sharing"]', 'aria-checked')

    await page.goto(`${root}/data`)
    found.data = await page.locator('main').innerText()
    await page.goto(`${root}/download`)
    found.json = await downloaded('a[href$=".json"]')
    found.html = await downloaded('a[href$=".html"]')

    await page.goto(`${root}/requests`)
    await page.check('input[value="correct"]')
    await page.fill('textarea', 'My name is <b>Anna Lee</b>, with two n.\nBorn 1990-02-03.')
    await page.click('main form button')
    found.asked = [page.url(), await notice(), await page.locator('.items').innerText()]
    await page.click('.tools form:first-child button')
    found.chinese = [page.url(), await page.getAttribute('html', 'lang'), await page.locator('h1').innerText()]

  }

  async function erase() {
    await page.goto(`${root}/erase`)
    await page.click('a.danger')
    await page.click('main form button')
    found.unsure = await page.locator('#unsure').innerText()
    await page.check('#sure')
    await page.click('main form button')
    found.erasing = page.url()
    for (let tries = 0; tries < 120 && !(await page.locator('a[href$="receipt.json"]').count()); tries++) {
      await page.waitForTimeout(500)
      await page.goto(`${root}/erase`)
  }
  found.erased = await page.locator('h1').innerText()
  found.receipt = await downloaded('a[href$="receipt.json"]')
  await page.goto(`${root}/data`)
  found.afterwards = page.url()
  await page.click('.tools form:last-child button')
  found.left = (await context.cookies()).length
  found.outside = (await page.goto(root)).status()
  found.again = (await page.goto(link)).status()
  }
})
