// Drives the classic Jupyter Notebook in a headless Chromium, as a user would.
// Usage: node classic.cjs PLAYWRIGHT CHROMIUM ADDRESS TOKEN NOTEBOOK PLOTLY_JS PICTURES
// Prints a line of JSON for each thing seen; the exit code is 0 when it got to the end.
const [playwright, chromium, address, token, notebook, plotly, pictures] = process.argv.slice(2);
const { chromium: browserType } = require(playwright);
const path = require('path');

const patience = 90000;
const say = (name, value) => console.log(JSON.stringify({ name, value }));
const picture = (page, name) => page.screenshot({ path: path.join(pictures, name + '.png') });

// Busy until every cell ran: cells that wait are marked with an asterisk.
const settled = (page) =>
  page.waitForFunction(
    () =>
      window.Jupyter && Jupyter.notebook && Jupyter.notebook.kernel && !Jupyter.notebook.kernel_busy &&
      Jupyter.notebook.get_cells().every((cell) => cell.cell_type !== 'code' || cell.input_prompt_number !== '*'),
    null,
    { timeout: patience }
  );

// Puts code into a new cell at the end and selects it for editing.
const write = async (page, code) => {
  await page.evaluate((text) => {
    const notebook = Jupyter.notebook;
    const cell = notebook.insert_cell_at_bottom('code');
    cell.set_text(text);
    notebook.select(notebook.ncells() - 1);
    notebook.edit_mode();
    cell.code_mirror.focus();
    cell.code_mirror.setCursor(cell.code_mirror.lineCount(), 0);
    cell.code_mirror.execCommand('goDocEnd');
  }, code);
};

(async () => {
  const browser = await browserType.launch({ executablePath: chromium, args: ['--no-sandbox', '--disable-gpu'] });
  const page = await browser.newPage({ viewport: { width: 1200, height: 1000 } });
  const errors = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  // plotly.js comes from its public address; here it comes from a file, and nothing else leaves the machine.
  await page.route('**/*', (route) => {
    const url = route.request().url();
    if (url.startsWith(address)) return route.continue();
    if (/plotly.*\.js$/.test(url)) return route.fulfill({ path: plotly, contentType: 'application/javascript' });
    return route.abort();
  });
  await page.goto(`${address}/notebooks/${notebook}?token=${token}`, { waitUntil: 'load', timeout: patience });
  await page.waitForFunction(() => window.Jupyter && Jupyter.notebook && Jupyter.notebook.kernel && Jupyter.notebook.kernel.is_connected(), null, { timeout: patience });
  say('kernel', await page.evaluate(() => Jupyter.notebook.kernel.name));

  await page.click('#celllink');
  await page.click('#run_all_cells');
  await settled(page);
  await page.waitForSelector('.js-plotly-plot .main-svg', { state: 'visible', timeout: patience });
  await page.waitForTimeout(500);
  await page.evaluate(() => document.querySelector('.js-plotly-plot').scrollIntoView({ block: 'center' }));
  await picture(page, 'classic-1-chart');
  const box = await page.locator('.js-plotly-plot .main-svg').first().boundingBox();
  say('chart', { width: box.width, height: box.height });
  say('errors-in-cells', await page.locator('.output_error').count());
  say('highlighted', await page.locator('.cm-keyword').count());

  await write(page, 'List.ma');
  await page.keyboard.press('Tab');
  await page.waitForSelector('.completions', { state: 'visible', timeout: patience });
  await picture(page, 'classic-2-completion');
  say('completions', await page.locator('.completions option').allTextContents());
  await page.keyboard.press('Escape');

  await write(page, 'let numbers = [ 1; 2 ]\nnumbers |> List.map (fun n -> n + unknownName)');
  await page.keyboard.press('Shift+Enter');
  await settled(page);
  await write(page, 'let rec deep n = if n = 0 then failwith "the cell failed on purpose" else 1 + deep (n - 1)\ndeep 2');
  await page.keyboard.press('Shift+Enter');
  await settled(page);
  await page.waitForFunction(() => document.querySelectorAll('.output_error').length >= 2, null, { timeout: patience });
  await page.evaluate(() => [...document.querySelectorAll('.output_error')].pop().scrollIntoView({ block: 'center' }));
  await picture(page, 'classic-3-error');
  say('error-texts', await page.locator('.output_error').allTextContents());

  await write(page, 'List.map');
  await page.keyboard.press('Shift+Tab');
  await page.waitForSelector('#tooltip .tooltiptext', { state: 'visible', timeout: patience });
  await page.waitForTimeout(500); // it fades in
  await picture(page, 'classic-4-tooltip');
  say('tooltip', await page.locator('#tooltip .tooltiptext').first().textContent());
  say('page-errors', errors);
  await browser.close();
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
